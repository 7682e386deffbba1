"""Health, readiness, metrics, version, and the domains that are served."""

from __future__ import annotations

import platform

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

import recsys
from recsys.service.api.schemas import DomainInfo
from recsys.service.security.auth import requires
from recsys.service.state import Service, ServiceDep
from recsys.service.transport.problems import ServiceError

router = APIRouter()


@router.get("/healthz", tags=["operation"])
async def healthz() -> dict[str, str]:
    """Report that the process answers; says nothing about database or engine."""
    return {"status": "ok"}


@router.get("/readyz", tags=["operation"])
def readyz(service: ServiceDep) -> dict[str, str]:
    """Report whether the store can be read and no engine is starting.

    Without an engine the service is ready: its answers are degraded.
    """
    if not service.is_warm:
        raise ServiceError(503, "the engine is starting", hint="wait for it")
    for name, recommender in service.recommenders.items():
        recommender.store.data_hash(name)
    return {"status": "ready"}


@router.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
def metrics(service: ServiceDep) -> PlainTextResponse:
    """Return the metrics in Prometheus' text format."""
    return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version", tags=["operation"])
def version() -> dict[str, str]:
    """Return the versions of whyrec, Python and the API."""
    return {"whyrec": recsys.__version__, "python": platform.python_version(), "api": "v1"}


@router.get("/v1/domains", dependencies=requires("read"), tags=["domains"])
def domains(service: ServiceDep) -> list[DomainInfo]:
    """List the domains that are served, the default first."""
    return [domain_info(service, name) for name in service.recommenders]


def domain_info(service: Service, name: str) -> DomainInfo:
    """Describe a domain that is served. Raises UnknownDomain."""
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
