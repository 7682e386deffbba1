"""Is it alive, may it be sent requests, what does it measure, which version is it, which domains does it serve?"""

from __future__ import annotations

import platform

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

import recsys
from recsys.service.api.schemas import DomainInfo
from recsys.service.security.guard import needs
from recsys.service.state import Service, TheService
from recsys.service.transport.problems import ServiceError

router = APIRouter()


@router.get("/healthz", tags=["operation"])
async def healthz() -> dict[str, str]:
    """The process answers. Says nothing of the database or the engine."""
    return {"status": "ok"}


@router.get("/readyz", tags=["operation"])
def readyz(service: TheService) -> dict[str, str]:
    """The store can be read and the engine is not just starting. Without an engine it is ready: it degrades."""
    if not service.is_warm:
        raise ServiceError(503, "the engine is starting", hint="wait for it")
    for name, recommender in service.recommenders.items():
        recommender.store.data_hash(name)
    return {"status": "ready"}


@router.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
def metrics(service: TheService) -> PlainTextResponse:
    """Prometheus' text format."""
    return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version", tags=["operation"])
def version() -> dict[str, str]:
    """Which whyrec this is."""
    return {"whyrec": recsys.__version__, "python": platform.python_version(), "api": "v1"}


@router.get("/v1/domains", dependencies=needs("read"), tags=["domains"])
def domains(service: TheService) -> list[DomainInfo]:
    """What is served, the default first."""
    return [domain_info(service, name) for name in service.recommenders]


def domain_info(service: Service, name: str) -> DomainInfo:
    """A domain and what it holds. Raises UnknownDomain."""
    recommender = service.recommender(name)
    domain = recommender.domain
    return DomainInfo(
        name=name,
        title=domain.title,
        noun=domain.noun,
        plural=domain.plural,
        licence=domain.licence,
        strategy=domain.ranker.strategy,
        language=domain.reasons.language,
        counts=recommender.store.counts(name),
        attributes=sorted({key for item in recommender.catalog for key in item.attributes}),
    )
