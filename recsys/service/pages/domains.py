"""The pages of domains and adapters: figures, loss curves, promotion and rollback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from recsys.config import Domain
from recsys.data import audit
from recsys.engine.adapters import (
    Adapter,
    adapters_folder,
    default_adapter,
    find_adapter,
    gate,
    promote,
    read_promotions,
    rollback,
    scan,
)
from recsys.engine.adapters.promotion import BASE
from recsys.errors import ModelError
from recsys.knowledge.sources import SourceReport
from recsys.recommender.recommender import Recommender
from recsys.service.pages.charts import Chart, line_chart, moving_average
from recsys.service.pages.rendering import (
    HEADERS,
    RecommenderDep,
    page_router,
    render_page,
)
from recsys.service.security.auth import Admin, requires
from recsys.service.state import ServiceDep
from recsys.service.transport.problems import ServiceError

router = page_router()
MAX_REPORT_BYTES = 10 << 20  # a larger training report is not read


@dataclass(frozen=True)
class DomainOverview:
    """A domain with its adapters."""

    domain: Domain
    counts: dict[str, int]  # rows of each table
    sources: SourceReport | None  # what further sources gave
    adapters: list[Adapter]  # the newest first
    problems: list[str]  # adapters that cannot be read, and why
    default: str  # ref of the default adapter, "" for the base model


@router.get("/domains", dependencies=requires("read"))
def domains_page(request: Request, recommender: RecommenderDep, service: ServiceDep) -> Response:
    """List the domains that are served, each with its adapters."""
    overviews = [_overview(served) for served in service.recommenders.values()]
    return render_page(request, "domains.html", recommender, overviews=overviews)


@router.get("/adapters/{ref}", dependencies=requires("read"))
def adapter_page(request: Request, service: ServiceDep, ref: str) -> Response:
    """Show what an adapter was trained on, and how well it did."""
    recommender = _recommender_of(service.recommenders, ref)
    adapter = _find_adapter(recommender, ref)
    history = read_promotions(adapters_folder(recommender.settings, recommender.domain.name)).history
    loss_chart, validation_chart = _training_charts(adapter)
    return render_page(
        request,
        "adapter.html",
        recommender,
        adapter=adapter,
        manifest=adapter.published(),
        default=_default_ref(recommender),
        objections=gate(adapter, _default_adapter(recommender)),
        loss_chart=loss_chart,
        validation_chart=validation_chart,
        promotions=[promotion for promotion in history if promotion.ref == adapter.ref],
        can_roll_back=bool(history) and history[-1].ref == adapter.ref,
    )


@router.post("/adapters/{ref}/promote")
def promote_adapter(
    service: ServiceDep, principal: Admin, ref: str, force: Annotated[bool, Form()] = False
) -> Response:
    """Make an adapter the default; `force` allows one that was not shown to be better."""
    recommender = _recommender_of(service.recommenders, ref)
    adapter = _find_adapter(recommender, ref)
    promotion = promote(adapter.ref, recommender.settings, recommender.domain.folder, force=force)
    audit.record(
        recommender.store,
        principal.name,
        "adapters.promote",
        promotion.ref,
        replaced=promotion.replaced,
        forced=promotion.forced,
    )
    return RedirectResponse(f"/adapters/{adapter.ref}", 303, HEADERS)


@router.post("/domains/rollback")
def roll_back(recommender: RecommenderDep, principal: Admin) -> Response:
    """Undo the last promotion of the domain."""
    name = recommender.domain.name
    adapter = rollback(name, recommender.settings, recommender.domain.folder)
    ref = adapter.ref if adapter else BASE
    audit.record(recommender.store, principal.name, "adapters.rollback", f"{name}:{ref}")
    return RedirectResponse(f"/domains?domain={name}", 303, HEADERS)


def _overview(recommender: Recommender) -> DomainOverview:
    domain = recommender.domain
    adapters, problems = scan(recommender.settings, domain.name, domain.folder)
    return DomainOverview(
        domain=domain,
        counts=recommender.store.counts(domain.name),
        sources=recommender.store.sources(domain.name),
        adapters=adapters[::-1],
        problems=problems,
        default=_default_ref(recommender),
    )


def _default_adapter(recommender: Recommender) -> Adapter | None:
    """Find the default adapter; None too where it cannot be read."""
    try:
        return default_adapter(recommender.domain.name, recommender.settings, recommender.domain.folder)
    except ModelError:
        return None


def _default_ref(recommender: Recommender) -> str:
    adapter = _default_adapter(recommender)
    return adapter.ref if adapter else ""


def _recommender_of(recommenders: dict[str, Recommender], ref: str) -> Recommender:
    """Find the recommender of an adapter's domain. Raises ServiceError 404."""
    name, at_sign, _ = ref.partition("@")
    if not at_sign or name not in recommenders:
        raise ServiceError(404, f"there is no adapter '{ref[:80]}' here", hint="the Domains page lists all")
    return recommenders[name]


def _find_adapter(recommender: Recommender, ref: str) -> Adapter:
    try:
        return find_adapter(ref, recommender.settings, recommender.domain.folder)
    except ModelError as error:
        raise ServiceError(404, error.message, hint=error.hint) from error


def _training_charts(adapter: Adapter) -> tuple[Chart | None, Chart | None]:
    """Draw training loss and validation metrics by step; None if not reported."""
    path = adapter.folder / "training.json"
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            return None, None
        curve = json.loads(path.read_text(encoding="utf-8")).get("curve", [])
        losses = [(float(entry["step"]), float(entry["loss"])) for entry in curve if "loss" in entry]
        metrics: dict[str, list[tuple[float, float]]] = {}
        for entry in curve:
            for name, value in entry.items():
                if name not in ("step", "loss", "lr") and isinstance(value, int | float):
                    metrics.setdefault(name, []).append((float(entry["step"]), float(value)))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None, None  # an adapter works without its report
    loss_chart = line_chart({"mean of 20": moving_average(losses), "each step": losses}, faint=("each step",))
    return loss_chart, line_chart(metrics)
