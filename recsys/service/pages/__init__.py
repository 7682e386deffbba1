"""The pages of `recsys serve`: rendered here, moved by htmx, nothing fetched from another host.

Views read a form, call what the CLI and `/v1` call, and fill a template; `web.py` has what they
share, `static/` the one style sheet, htmx and a small script.
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
for views in (
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
    router.include_router(views.router)

__all__ = ["router"]
