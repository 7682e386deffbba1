"""`/v1/adapters`: the fine-tuned adapter that a domain is served with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from recsys.data import audit
from recsys.engine.adapters import BASE, check_files, default_adapter, find_adapter, promote, rollback, scan
from recsys.errors import ModelError
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import AdapterChange, AdapterInfo
from recsys.service.security.auth import Admin, requires
from recsys.service.state import RecommenderDep
from recsys.service.transport.problems import ServiceError
from recsys.types import StrictModel

router = APIRouter(prefix="/v1/adapters", tags=["adapters"])
REF = r"[a-z0-9][a-z0-9_-]{0,60}@[0-9a-f]{4,64}"


class LoadRequest(StrictModel):
    """What this process serves: an adapter, "default", or "none" for the base model."""

    ref: Annotated[str, Field(pattern=rf"^({REF}|default|none)$")]


class PromoteRequest(StrictModel):
    """The adapter that becomes the default of its domain, in every process."""

    ref: Annotated[str, Field(pattern=rf"^{REF}$")]
    force: bool = Field(False, description="even if it is not shown to be better; that is recorded")


@router.get("", dependencies=requires("read"))
def list_adapters(recommender: RecommenderDep) -> list[AdapterInfo]:
    """List the adapters of a domain, the oldest first."""
    domain, settings = recommender.domain, recommender.settings
    adapters, _ = scan(settings, domain.name, domain.folder)
    default = default_adapter(domain.name, settings, domain.folder)
    return [
        AdapterInfo(
            ref=adapter.ref,
            default=default is not None and default.ref == adapter.ref,
            base_model=adapter.published().base_model,
            template=adapter.published().template,
            created=adapter.published().created,
            metrics={
                name: figure["value"]
                for name, figure in adapter.published().metrics.items()
                if "value" in figure
            },
        )
        for adapter in adapters
    ]


@router.post("/load")
def load_adapter(body: LoadRequest, recommender: RecommenderDep, principal: Admin) -> AdapterChange:
    """Serve another adapter from this process.

    The old one answers until the new one has started.
    """
    settings = recommender.settings
    if settings.is_remote:
        raise ModelError(
            "the adapters are loaded by the engine's server", hint="name one there by WHYREC_MODEL"
        )
    ref = "" if body.ref == "default" else body.ref
    if ref not in ("", "none"):
        adapter = find_adapter(_of_domain(recommender, ref), settings, recommender.domain.folder)
        check_files(adapter)
        ref = adapter.ref
    recommender.use_adapter(ref)
    audit.record(recommender.store, principal.name, "adapters.load", f"{recommender.domain.name}:{body.ref}")
    return AdapterChange(domain=recommender.domain.name, adapter=ref or "default")


@router.post("/promote")
def promote_adapter(body: PromoteRequest, recommender: RecommenderDep, principal: Admin) -> AdapterChange:
    """Make an adapter the default of its domain, in every process.

    It must be shown to be better, unless `force` is set.
    """
    domain = recommender.domain
    promotion = promote(
        _of_domain(recommender, body.ref), recommender.settings, domain.folder, force=body.force
    )
    audit.record(
        recommender.store,
        principal.name,
        "adapters.promote",
        promotion.ref,
        replaced=promotion.replaced,
        forced=promotion.forced,
    )
    return AdapterChange(domain=domain.name, adapter=promotion.ref, objections=list(promotion.objections))


@router.post("/rollback")
def roll_back(recommender: RecommenderDep, principal: Admin) -> AdapterChange:
    """Undo the last promotion of a domain."""
    domain = recommender.domain
    current = rollback(domain.name, recommender.settings, domain.folder)
    ref = current.ref if current else BASE
    audit.record(recommender.store, principal.name, "adapters.rollback", f"{domain.name}:{ref}")
    return AdapterChange(domain=domain.name, adapter=ref)


def _of_domain(recommender: Recommender, ref: str) -> str:
    """Return the reference. Raises ServiceError for an adapter of another domain."""
    if not ref.startswith(f"{recommender.domain.name}@"):
        raise ServiceError(
            422, f"{ref} is not an adapter of '{recommender.domain.name}'", hint="name its domain by ?domain="
        )
    return ref
