"""Static files, and signing in and out with an API key."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from recsys.service.pages.rendering import (
    DIGESTS,
    HEADERS,
    KEY_COOKIE,
    MEDIA_TYPES,
    STATIC_FILES,
    html_response,
    page_router,
    render,
)
from recsys.service.security.auth import Unauthorized, authenticator_of, is_local
from recsys.service.transport.problems import ServiceError

router = page_router()
MONTH_S = 30 * 24 * 3600


@router.get("/static/{name}")
def static(name: str, v: str = "") -> Response:
    """Send a static file, to be cached for good if `v` is the digest of its content."""
    if name not in STATIC_FILES:
        raise ServiceError(404, f"there is no static file '{name[:60]}'")
    media_type = MEDIA_TYPES[PurePath(name).suffix]
    immutable = v == DIGESTS[name] or media_type == "font/woff2"  # the style sheet names fonts without digest
    caching = "public, max-age=31536000, immutable" if immutable else "no-cache"
    return Response(STATIC_FILES[name], media_type=media_type, headers=HEADERS | {"Cache-Control": caching})


@router.get("/favicon.ico")
def favicon() -> Response:
    """Send the icon under the name that browsers ask for."""
    return static("icon.svg")


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002
    """Show the form that asks for a key."""
    return _render_login(request, next)


@router.post("/login")
def login(
    request: Request,
    key: Annotated[str, Form(max_length=200)],
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002
) -> Response:
    """Store a valid key in a cookie that scripts and other sites cannot use."""
    try:
        authenticator_of(request).principal(key.strip(), local=is_local(request))
    except Unauthorized as error:
        return _render_login(request, next, error.message)
    response = RedirectResponse(_local_path(next), 303, HEADERS)
    response.set_cookie(
        KEY_COOKIE,
        key.strip(),
        max_age=MONTH_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def logout() -> Response:
    """Delete the cookie."""
    response = RedirectResponse("/", 303, HEADERS)
    response.delete_cookie(KEY_COOKIE)
    return response


def _render_login(request: Request, next: str, problem: str = "") -> Response:  # noqa: A002
    html = render(
        "login.html",
        next=_local_path(next),
        problem=problem,
        path="/login",
        query="",
        domain_names=[],
        domain=None,
        provenance=None,
        signed_in=KEY_COOKIE in request.cookies,
    )
    return html_response(html, 401 if problem else 200)


def _local_path(target: str) -> str:
    """Return a path of this service, "/" for any target elsewhere."""
    parts = urlsplit(target)
    is_path = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_path and not parts.scheme and not parts.netloc else "/"
