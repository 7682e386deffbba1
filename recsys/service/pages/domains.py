"""Domains and their adapters: figures, loss curves, promotion and its undoing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

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
from recsys.recommender.recommender import Recommender
from recsys.service.pages.charts import Chart, chart, smooth
from recsys.service.pages.rendering import FROM_HERE, HEADERS, Admin, TheRecommender, needs, page, views
from recsys.service.security import audit
from recsys.service.state import TheService
from recsys.service.transport.problems import ServiceError

router = views()
MAX_TRAINING = 10 << 20  # bytes of a training report that are read


@dataclass(frozen=True)
class Shown:
    """A domain with its adapters, the default and what is wrong with the others."""

    recommender: Recommender
    counts: dict[str, int]
    adapters: list[Adapter]
    problems: list[str]
    default: str

    @property
    def domain(self) -> Any:
        return self.recommender.domain


@router.get("/domains", dependencies=needs("read"))
def domains(request: Request, recommender: TheRecommender, service: TheService) -> Response:
    """All that are served, each with its adapters."""
    return page(
        request, "domains.html", recommender, shown=[_shown(one) for one in service.recommenders.values()]
    )


@router.get("/adapters/{ref}", dependencies=needs("read"))
def adapter_page(request: Request, service: TheService, ref: str) -> Response:
    """What an adapter was made from, and what was measured of it."""
    recommender = _owner(service.recommenders, ref)
    adapter = _find(recommender, ref)
    default = _default(recommender)
    domain = recommender.domain
    history = read_promotions(adapters_folder(recommender.settings, domain.name)).history
    objections = gate(adapter, _incumbent(recommender))
    loss, validation = _curves(adapter)
    return page(
        request,
        "adapter.html",
        recommender,
        adapter=adapter,
        manifest=adapter.published(),
        default=default,
        objections=objections,
        loss=loss,
        validation=validation,
        promotions=[one for one in history if one.ref == adapter.ref],
        rolls_back=bool(history) and history[-1].ref == adapter.ref,
    )


@router.post("/adapters/{ref}/promote", dependencies=FROM_HERE)
def promote_adapter(
    service: TheService, principal: Admin, ref: str, force: Annotated[bool, Form()] = False
) -> Response:
    """Make it the default, if it was shown to be better or `force` says so anyway."""
    recommender = _owner(service.recommenders, ref)
    adapter = _find(recommender, ref)
    made = promote(adapter.ref, recommender.settings, recommender.domain.folder, force=force)
    audit.record(
        recommender.store,
        principal.name,
        "adapters.promote",
        made.ref,
        replaced=made.replaced,
        forced=made.forced,
    )
    return RedirectResponse(f"/adapters/{adapter.ref}", 303, HEADERS)


@router.post("/domains/rollback", dependencies=FROM_HERE)
def roll_back(recommender: TheRecommender, principal: Admin) -> Response:
    """Undo the last promotion of the domain."""
    name = recommender.domain.name
    now = rollback(name, recommender.settings, recommender.domain.folder)
    audit.record(recommender.store, principal.name, "adapters.rollback", f"{name}:{now.ref if now else BASE}")
    return RedirectResponse(f"/domains?domain={name}", 303, HEADERS)


def _shown(recommender: Recommender) -> Shown:
    domain, settings = recommender.domain, recommender.settings
    adapters, problems = scan(settings, domain.name, domain.folder)
    return Shown(
        recommender, recommender.store.counts(domain.name), adapters[::-1], problems, _default(recommender)
    )


def _incumbent(recommender: Recommender) -> Adapter | None:
    try:
        return default_adapter(recommender.domain.name, recommender.settings, recommender.domain.folder)
    except ModelError:
        return None


def _default(recommender: Recommender) -> str:
    found = _incumbent(recommender)
    return found.ref if found else ""


def _owner(recommenders: dict[str, Recommender], ref: str) -> Recommender:
    """The recommender whose domain an adapter is of. Raises ServiceError 404."""
    name, sign, _ = ref.partition("@")
    if not sign or name not in recommenders:
        raise ServiceError(404, f"no adapter '{ref[:80]}' here", hint="see the page of domains")
    return recommenders[name]


def _find(recommender: Recommender, ref: str) -> Adapter:
    try:
        return find_adapter(ref, recommender.settings, recommender.domain.folder)
    except ModelError as error:
        raise ServiceError(404, error.message, hint=error.hint) from error


def _curves(adapter: Adapter) -> tuple[Chart | None, Chart | None]:
    """Loss by step, and figures on validation by step, of the report of its training; None without one."""
    path = adapter.folder / "training.json"
    try:
        if path.stat().st_size > MAX_TRAINING:
            return None, None
        curve = json.loads(path.read_text(encoding="utf-8")).get("curve", [])
        losses = [(float(line["step"]), float(line["loss"])) for line in curve if "loss" in line]
        figures: dict[str, list[tuple[float, float]]] = {}
        for line in curve:
            for name, value in line.items():
                if name not in ("step", "loss", "lr") and isinstance(value, int | float):
                    figures.setdefault(name, []).append((float(line["step"]), float(value)))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None, None  # a report is no part of what makes an adapter work
    return chart({"mean of 20": smooth(losses), "each step": losses}, faint=("each step",)), chart(figures)
