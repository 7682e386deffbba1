"""What rules cost a request: the same requests with 20 rules and with none, in turns.

    python -m benchmarks.rule_cost --out benchmarks/results/rule_cost.json

68,000 generated items and their buyers; each request asks for 10 of 20 candidates, without an engine. The
rules read items, the person, the moment and the history, and two are about pairs. The masks of a catalogue
are made by its first requests, which do not count. Times are CPU time of the process: a machine that does
other things beside does not change them much.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import describe, write_json
from benchmarks.synthetic_events import generate
from recsys.config import Domain, Rule, Settings
from recsys.data.batch import ImportBatch
from recsys.data.catalog import Catalog
from recsys.data.store import Store
from recsys.recommender.recommender import Recommender
from recsys.types import Interaction, Item, User
from retrieval import build_retriever
from tests.knowledge.random_rules import DOMAIN, WithoutEngine
from tests.retrieval.contract import HashEmbedder

ITEMS, EVENTS, USERS = 68_000, 200_000, 200
FIRST = 20  # requests that do not count
WEIGHTS = {"repeat": 1.0, "transitions": 0.5, "recent": 0.3, "popularity": 0.2}

RULES: tuple[tuple[str, str, str], ...] = (
    # of an item
    ("forbid", 'item.mpaa == "R" && item.price < 2', "allow"),
    ("forbid", '"Horror" in item.genre && item.kids', "allow"),
    ("require", "item.price > 0", "forbid"),
    ("forbid", '"Lima" in item.maker && size(item.genre) == 2', "allow"),
    ("forbid", "item.runtime > 115 && item.price > 11", "allow"),
    ("require", 'item.title != ""', "forbid"),
    ("bury", 'item.year < 1986 && "War" in item.genre', ""),
    ("boost", '"Drama" in item.genre', ""),
    # of the person
    ("forbid", 'item.mpaa == "R" && user.age < 18', "allow"),
    ("require", "item.price <= user.budget * 4.0", "allow"),
    ("forbid", "item.kids && user.age > 70", "allow"),
    ("boost", "user.town in item.maker", ""),
    # of the moment
    ("forbid", 'context.company == "children" && item.mpaa != "G"', "allow"),
    ("forbid", 'context.weekday == "Sunday" && context.hour < 12 && item.price > 9', "allow"),
    ("require", "item.released < now", "allow"),
    # of the history
    ("forbid", 'now - item.last_chosen < duration("72h")', "allow"),
    ("forbid", "now - item.last_chosen < item.cycle", "allow"),
    ("forbid", "item in history && item.times_chosen > 9", "allow"),
    # of pairs
    ("forbid", "item.title == other.title", "allow"),
    ("forbid", 'item.mpaa == "R" && other.mpaa == "R"', "allow"),
)


def rules() -> tuple[Rule, ...]:
    """Return the 20 rules."""
    return tuple(
        Rule.model_validate(
            {"name": f"r{number}", "do": do, "when": when} | ({"missing": missing} if missing else {})
        )
        for number, (do, when, missing) in enumerate(RULES)
    )


def recommender(folder: Path, rng: random.Random) -> tuple[Recommender, list[str]]:
    """Return a recommender of generated items, and the users that ask."""
    log = generate(EVENTS, ITEMS)
    items = [_item(item_id, number, rng) for number, item_id in enumerate(log.items)]
    users = [User(id=user, profile=_profile(rng)) for user in log.users[:USERS]]
    events = [
        Interaction(user_id=log.users[user], item_id=log.items[item], timestamp=float(moment))
        for user, item, moment in zip(log.user.tolist(), log.item.tolist(), log.time.tolist(), strict=True)
        if user < USERS
    ]
    domain = Domain.model_validate(DOMAIN | {"retriever": {"weights": WEIGHTS}})
    settings = Settings(cache_dir=folder / "cache", data_dir=folder)
    store = Store(settings.database_url)
    store.import_batch(domain.name, ImportBatch(items=tuple(items), users=tuple(users), interactions=events))
    retriever, _ = build_retriever(items, log, HashEmbedder(), domain.retriever, folder)
    served = WithoutEngine(domain, settings, store, Catalog(items), retriever)
    return served, [user.id for user in users]


def measure(served: Recommender, users: Sequence[str], requests: int, rng: random.Random) -> dict[str, Any]:
    """Ask each request once with the rules and once without, in random order."""
    ruled = served.with_state(domain=served.domain.model_copy(update={"rules": rules()}))
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    acted = short = 0
    gc.disable()
    for number in range(requests + FIRST):
        options: dict[str, Any] = {"user": rng.choice(users), "at": f"2017-{rng.randint(2, 12):02}-05 10:00"}
        options["extra"] = {"company": rng.choice(("friends", "children"))}
        ways = [("with", ruled), ("without", served)]
        rng.shuffle(ways)
        for way, asked in ways:
            begun = time.process_time()
            answer = asked.recommend(k=10, n_candidates=20, reasons=False, **options)
            took = time.process_time() - begun
            if number >= FIRST:
                seconds[way].append(took)
                acted += bool(answer.rules)
                short += len(answer) < 10
        gc.collect()
    milliseconds = {way: np.array(taken) * 1000 for way, taken in seconds.items()}
    extra = milliseconds["with"] - milliseconds["without"]
    p50, p99 = ({way: float(np.percentile(of, q)) for way, of in milliseconds.items()} for q in (50, 99))
    return {
        "requests": requests,
        "lists_that_rules_changed": acted,
        "short_lists": short,
        "p50_cpu_ms": p50,
        "p99_cpu_ms": p99,
        "more_at_p50_cpu_ms": p50["with"] - p50["without"],
        "more_at_p99_cpu_ms": p99["with"] - p99["without"],
        "paired_difference_cpu_ms": {f"p{q}": float(np.percentile(extra, q)) for q in (50, 90, 99)},
    }


def _item(item_id: str, number: int, rng: random.Random) -> Item:
    attributes: dict[str, tuple[str, ...]] = {
        "price": (f"${rng.randint(50, 1999) / 100:.2f}",),
        "genre": tuple(rng.sample(("Drama", "Comedy", "Horror", "War"), rng.randint(1, 2))),
        "mpaa": (rng.choice(("G", "PG", "R")),),
        "released": (f"{rng.randint(1990, 2016)}-0{rng.randint(1, 9)}-11",),
        "kids": (rng.choice(("kids", "not kids")),),
        "runtime": (f"{rng.randint(70, 160)} minutes",),
        "maker": (rng.choice(("Oslo", "Rome", "Lima")),),
    }
    held = {name: values for name, values in attributes.items() if rng.random() < 0.9}
    return Item(id=item_id, title=f"Thing {number % 50_000}", year=rng.randint(1980, 2016), attributes=held)


def _profile(rng: random.Random) -> dict[str, str]:
    town = rng.choice(("Oslo", "Rome", "Bern"))
    return {"age": str(rng.randint(12, 80)), "budget": str(rng.randint(1, 6)), "town": town}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rule_cost.json"))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        served, users = recommender(Path(folder), rng)
        result = measure(served, users, options.requests, rng)
        served.close()
    shape = {"items": ITEMS, "events": EVENTS, "rules": len(RULES), "candidates": 20, "k": 10}
    write_json(options.out, shape | result | {"environment": describe()})


if __name__ == "__main__":
    main()
