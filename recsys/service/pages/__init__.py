"""The HTML pages of `recsys serve`, rendered on the server and updated by htmx.

The modules named after a page hold its routes: they read the form, call what the CLI and `/v1` call,
and render a template. `rendering` has what all pages share; `static/` has the style sheet, htmx and a
small script. Nothing is fetched from another host.
"""

from __future__ import annotations

from fastapi import APIRouter

from recsys.service.pages import (
    api,
    compare,
    domains,
    evaluations,
    health,
    inspector,
    recommend,
    static_and_login,
    traces,
    why,
)

router = APIRouter(include_in_schema=False)
for module in (
    static_and_login,
    recommend,
    inspector,
    compare,
    why,
    traces,
    domains,
    evaluations,
    health,
    api,
):
    router.include_router(module.router)

__all__ = ["router"]
