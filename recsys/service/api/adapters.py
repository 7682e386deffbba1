"""`/v1/adapters`: which tuned adapter a domain is served with. Only those of the registry, never a path."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from recsys.engine.adapters import BASE, check_files, default_adapter, find_adapter, promote, rollback, scan
from recsys.errors import ModelError
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import AdapterChange, AdapterInfo
from recsys.service.security import audit
from recsys.service.security.guard import Admin, needs
from recsys.service.state import TheRecommender
from recsys.service.transport.problems import ServiceError
from recsys.types import StrictModel

router = APIRouter(prefix="/v1/adapters", tags=["adapters"])
REF = r"[a-z0-9][a-z0-9_-]{0,60}@[0-9a-f]{4,64}"


class LoadRequest(StrictModel):
    """What this process serves from now on, until it ends: an adapter, the domain's default, or the base model alone."""

    ref: Annotated[str, Field(pattern=rf"^({REF}|default|none)$")]


class PromoteRequest(StrictModel):
    """The adapter that becomes the default of its domain, in every process."""

    ref: Annotated[str, Field(pattern=rf"^{REF}$")]
    force: bool = Field(False, description="even if it was not shown to be better; that is recorded")


@router.get("", dependencies=needs("read"))
def list_adapters(recommender: TheRecommender) -> list[AdapterInfo]:
    """The adapters of a domain, the oldest first."""
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
def load_adapter(body: LoadRequest, recommender: TheRecommender, principal: Admin) -> AdapterChange:
    """Serve another adapter from this process. Requests go on with the old one until the new one has started."""
    settings = recommender.settings
    if settings.engine.startswith(("http://", "https://")):
        raise ModelError("the engine's own server holds the adapters", hint="name one there by WHYREC_MODEL")
    ref = "" if body.ref == "default" else body.ref
    if ref not in ("", "none"):
        adapter = find_adapter(_own(recommender, ref), settings, recommender.domain.folder)
        check_files(adapter)
        ref = adapter.ref
    recommender.use_adapter(ref)
    audit.record(recommender.store, principal.name, "adapters.load", f"{recommender.domain.name}:{body.ref}")
    return AdapterChange(domain=recommender.domain.name, adapter=ref or "default")


@router.post("/promote")
def promote_adapter(body: PromoteRequest, recommender: TheRecommender, principal: Admin) -> AdapterChange:
    """Make an adapter the default, if it was shown to be better. Processes that serve it change over by themselves."""
    domain = recommender.domain
    made = promote(_own(recommender, body.ref), recommender.settings, domain.folder, force=body.force)
    audit.record(
        recommender.store,
        principal.name,
        "adapters.promote",
        made.ref,
        replaced=made.replaced,
        forced=made.forced,
    )
    return AdapterChange(domain=domain.name, adapter=made.ref, objections=list(made.objections))


@router.post("/rollback")
def roll_back(recommender: TheRecommender, principal: Admin) -> AdapterChange:
    """Undo the last promotion of a domain."""
    domain = recommender.domain
    now = rollback(domain.name, recommender.settings, domain.folder)
    ref = now.ref if now else BASE
    audit.record(recommender.store, principal.name, "adapters.rollback", f"{domain.name}:{ref}")
    return AdapterChange(domain=domain.name, adapter=ref)


def _own(recommender: Recommender, ref: str) -> str:
    """Raises ServiceError for an adapter of another domain."""
    if not ref.startswith(f"{recommender.domain.name}@"):
        raise ServiceError(
            422, f"{ref} is not an adapter of '{recommender.domain.name}'", hint="name its domain by ?domain="
        )
    return ref
