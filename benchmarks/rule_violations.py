"""Random rules, catalogues and requests: is anything forbidden in an answer?

    python -m benchmarks.rule_violations --cases 100000
    python -m benchmarks.rule_violations --domain medicine --cases 10000

With --part, a call asks so many of the cases, and the next one goes on where it ended.

Each case is one request, under random rules, to one of the surfaces: Python, its stream, similar items,
HTTP, its events, the page, MCP and the command. A list is checked by a second opinion that shares no code
(`tests/knowledge/random_rules.py`): nothing forbidden, no two items that cannot stand together, and where
the list is short, nothing left that could have been in it. Most cases ask in Python, the fastest.

With --domain, medicine or finance, the requests are those of its generated people under its own rules, and
the second opinion is that of the generator (`benchmarks/generated_requests.py`). More than half of them
are asked through the other surfaces.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from benchmarks.environment import describe, write_json
from benchmarks.generated_requests import served_domain
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from tests.fakes import ScriptedEngine
from tests.knowledge.random_rules import SURFACES, Served, World, recommender_of, violations

CASES_A_WORLD = 250
SLOW = [name for name in SURFACES if name not in ("python", "stream")]
SLOW_SHARE = 0.06  # of the cases, on all surfaces other than Python and its stream
SLOW_SHARE_OF_A_DOMAIN = 0.6  # about a thousand of ten thousand on each


@contextmanager
def served(seed: int) -> Iterator[Served]:
    """Serve a random world; every eighth has an engine."""
    world = World(random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        recommender = recommender_of(world, Path(folder), ScriptedEngine() if seed % 8 == 0 else None)
        app = create_app({"random": recommender}, ServiceOptions())
        with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
            yield Served(world, recommender, client)


def run(cases: int, seed: int) -> dict[str, Any]:
    """Ask until there are enough cases; return the counts."""
    asked: Counter[str] = Counter()
    about: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    first_seed = seed
    while asked.total() < cases:
        with served(seed) as world:
            for number in range(min(CASES_A_WORLD, cases - asked.total())):
                case, rng = world.world.case(), world.world.rng
                surface = (
                    rng.choice(SLOW) if rng.random() < SLOW_SHARE else ("python", "stream")[number % 8 == 0]
                )
                if surface == "page" and case.company:
                    surface = "python"  # the form has no field for further facts
                answer = world.answer(surface, case)
                asked[surface] += 1
                about["with_an_engine"] += seed % 8 == 0
                about["with_a_short_list"] += len(answer) < case.k
                about["where_something_is_forbidden"] += any(not case.allowed(one) for one in case.items)
                if problems := violations(case, answer, surface):
                    found.append({"seed": seed, "case": number, "surface": surface, "problems": problems})
        seed += 1
    return {
        "cases": asked.total(),
        "violations": len(found),
        "worlds": seed - first_seed,
        **about,
        "by_surface": dict(asked),
        "examples": found[:20],
    }


def run_domain(name: str, cases: int, first: int) -> dict[str, Any]:
    """Ask for the people of a domain; every eighth stretch of cases has an engine."""
    asked: Counter[str] = Counter()
    about: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    engines = {number // CASES_A_WORLD % 8 == 0 for number in range(first, first + cases)}
    for with_engine in sorted(engines):
        with served_domain(name, with_engine=with_engine) as served:
            for number in range(first, first + cases):
                if (number // CASES_A_WORLD % 8 == 0) != with_engine:
                    continue
                rng = random.Random(f"{name}/{number}")
                case = served.case(rng)
                slow = rng.random() < SLOW_SHARE_OF_A_DOMAIN
                surface = rng.choice(SLOW) if slow else ("python", "stream")[number % 8 == 0]
                problems, length = served.violations(case, surface)
                asked[surface] += 1
                about["with_an_engine"] += with_engine
                about["with_a_short_list"] += length < case.k
                about["items"] += length
                if problems:
                    found.append({"case": number, "surface": surface, "problems": problems[:5]})
    counts = {"cases": asked.total(), "violations": len(found), **about}
    return counts | {"by_surface": dict(asked), "examples": found[:20]}


def joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of the counts of two runs."""
    both: dict[str, Any] = {}
    for name, value in one.items():
        if isinstance(value, dict):
            both[name] = dict(Counter(value) + Counter(other[name]))
        else:
            both[name] = value + other[name]
    return both


def main() -> None:
    """Run the cases and write the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--part", type=int, help="cases of this call")
    parser.add_argument("--domain", choices=("medicine", "finance"), help="its own rules and people")
    parser.add_argument("--out", type=Path, help="by default in benchmarks/results")
    options = parser.parse_args()
    name = f"rule_violations_{options.domain}" if options.domain else "rule_violations"
    out = options.out or Path(f"benchmarks/results/{name}.json")
    logging.disable(logging.CRITICAL)
    before: dict[str, Any] = {}
    if options.part and out.exists():
        before = json.loads(out.read_text(encoding="utf-8"))
        before.pop("environment")
    wanted = min(options.part or options.cases, options.cases - before.get("cases", 0))
    if options.domain:
        result = run_domain(options.domain, wanted, before.get("cases", 0))
    else:
        result = run(wanted, before.get("worlds", 0))
    write_json(out, (joined(before, result) if before else result) | {"environment": describe()})


if __name__ == "__main__":
    main()
