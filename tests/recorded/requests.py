"""Thirty requests whose answers must not change while the code is moved and renamed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from recsys.config import Settings, load_domain
from recsys.engine.base import Engine
from recsys.prompting.library import PromptLibrary
from recsys.recommender.inspection import rendered
from recsys.recommender.recommender import Recommender
from recsys.recommender.scoring import score_line
from recsys.types import Filter
from tests.fakes import DOMAIN, RATINGS, VIEWERS, ScriptedEngine, build_recommender, write_films

MOMENT = dt.datetime(2026, 11, 27, 21, 0, tzinfo=dt.UTC)
AT = MOMENT.isoformat()
ASKED: tuple[tuple[str | None, dict[str, Any]], ...] = (
    ("ann", {}),
    ("ann", {"wish": "a comedy"}),
    ("ann", {"wish": "science fiction from the eighties", "at": AT}),
    ("ann", {"at": AT, "place": "Minneapolis, MN"}),
    ("ann", {"liked": ["Fargo"], "disliked": ["Casablanca"]}),
    ("ann", {"reasons": False, "k": 3}),
    ("ann", {"strategy": "listwise", "k": 4}),
    ("ann", {"strategy": "title", "k": 4}),
    ("ann", {"strategy": "generated", "k": 4}),
    ("bob", {"extra": {"weather": "rain"}, "at": AT}),
    ("bob", {"language": "zh"}),
    ("bob", {"style": "detailed", "wish": "crime"}),
    ("bob", {"style": "comparative", "k": 3}),
    ("bob", {"rule": Filter(where={"genre": ("Crime", "Comedy")})}),
    ("cat", {"n_candidates": 8, "k": 6}),
    ("new", {}),
    ("new", {"wish": "noir"}),
    (None, {}),
    (None, {"liked": ["Alien"], "at": AT, "place": "55405"}),
    (None, {"wish": "a film with no aliens"}),
    ("nobody", {}),
)
EXPLAINED: tuple[tuple[str | None, str, dict[str, Any]], ...] = (
    ("ann", "Toy Story", {}),
    ("ann", "f1", {"instead_of": "f7", "wish": "a comedy"}),
    ("bob", "Alien", {"at": AT, "place": "Minneapolis, MN"}),
    (None, "Fargo", {"liked": ["Heat"]}),
)
SCORED: tuple[dict[str, Any], ...] = (
    {"candidates": [{"title": "Brazil"}, {"title": "Airplane!"}], "history": ["Heat"], "wish": "a comedy"},
    {"history": ["Alien"], "candidates": [{"id": "f4"}, {"title": "Metropolis"}]},
    {"candidates": [{"text": 1}]},
)
TEMPLATES = (
    "rank/pointwise",
    "rank/listwise",
    "rank/title",
    "rank/generated",
    "rank/generated-scores",
    "explain/reason",
)


def dumped(value: Any) -> Any:
    """JSON values without what differs from run to run."""
    found = value.model_dump(mode="json")
    found.pop("timings", None)
    return found


def attempt(ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:
        return {"raised": type(error).__name__, "message": str(error)}


def world(folder: Path) -> Recommender:
    settings = Settings(cache_dir=folder / "cache", data_dir=folder / "data")
    weights = (
        "[retriever.weights]\nlinear = 0.6\ntransitions = 0.6\nease = 0.3\ncooccurrence = 0.2\n"
        "text = 0.3\nattributes = 0.2\npopularity = 0.2\nrecent = 0.1\n"
    )
    toml = (
        DOMAIN.replace("model_weight = 1.0", "model_weight = 0.5").replace(
            "retriever_weight = 0.0", "retriever_weight = 1.0"
        )
        + "wish_weights = { model = 0.6, retriever = 0.3 }\n"
        + weights
    )
    return build_recommender(
        load_domain(write_films(folder / "films", users=VIEWERS, events=RATINGS, toml=toml)),
        settings,
        ScriptedEngine(),
    )


def answers(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with world(folder) as one:
        engine = one.engine()
        assert isinstance(engine, ScriptedEngine)
        for number, (user, asked) in enumerate(ASKED):
            found[f"recommend {number}"] = attempt(lambda u=user, a=asked: dumped(one.recommend(u, **a)))
        for number, (user, item, asked) in enumerate(EXPLAINED):
            found[f"explain {number}"] = attempt(
                lambda u=user, i=item, a=asked: dumped(one.explain(u, i, **a))
            )
        for number, line in enumerate(SCORED):
            found[f"score {number}"] = attempt(
                lambda text=line: score_line(one, json.dumps(text), "pointwise")
            )
        for name in TEMPLATES:
            prepared = one.prepare("ann", wish="a comedy", at=AT)
            shown = attempt(lambda n=name, p=prepared: rendered(one, one.render(n, p, engine), p))
            found[f"render {name}"] = {
                key: shown.get(key) for key in ("name", "hash", "tokens", "text", "shared_tokens", "message")
            }
        found["prompts seen"] = hashlib.sha256("\0".join(engine.prompts).encode()).hexdigest()
        found["calls"] = len(engine.calls)
    library = PromptLibrary()
    found["hashes"] = {name: library.get(name).hash for name in library.names()}
    return found


def real_engine(engine: Engine, folder: Path) -> dict[str, Any]:
    """Log p of Yes and No of ten prompts."""
    with world(folder) as one:
        found = {}
        for number, (user, asked) in enumerate(ASKED[:5] + ASKED[9:10] + ASKED[15:19]):
            kept = {
                k: v for k, v in asked.items() if k not in ("reasons", "k", "strategy", "language", "style")
            }
            prepared = one.prepare(user, **kept)
            ranking = one.ranker("pointwise", engine).rank(prepared.request)
            found[str(number)] = [ranking.prompt.tokens, list(ranking.log_odds)]
    return found
