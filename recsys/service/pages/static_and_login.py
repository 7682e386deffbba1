"""Static files, and signing in with a key where the service asks for one."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from recsys.service.pages.rendering import (
    COOKIE,
    DIGESTS,
    FROM_HERE,
    HEADERS,
    MEDIA,
    STATIC,
    answer,
    fragment,
    views,
)
from recsys.service.security.auth import Unauthorized
from recsys.service.transport.problems import ServiceError

router = views()
MONTH_S = 30 * 24 * 3600


@router.get("/static/{name}")
def static(name: str, v: str = "") -> Response:
    """Style sheet, fonts, htmx and our script; kept by browsers for as long as their content is named."""
    if name not in STATIC:
        raise ServiceError(404, "no such file")
    kind = MEDIA[PurePath(name).suffix]
    named = v == DIGESTS[name] or kind == "font/woff2"  # the style sheet asks for fonts by name alone
    lasting = "public, max-age=31536000, immutable" if named else "no-cache"
    return Response(STATIC[name], media_type=kind, headers=HEADERS | {"Cache-Control": lasting})


@router.get("/favicon.ico")
def favicon() -> Response:
    return static("icon.svg")


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002
    return _login(request, next)


@router.post("/login", dependencies=FROM_HERE)
def login(
    request: Request,
    key: Annotated[str, Form(max_length=200)],
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002
) -> Response:
    """Keep a key in a cookie that scripts cannot read and other sites cannot send."""
    address = request.client.host if request.client else None
    try:
        request.app.state.authenticator.principal(key.strip(), address, request.headers.get("host", ""))
    except Unauthorized as error:
        return _login(request, next, error.message)
    response = RedirectResponse(_inside(next), 303, HEADERS)
    response.set_cookie(
        COOKIE,
        key.strip(),
        max_age=MONTH_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout", dependencies=FROM_HERE)
def logout() -> Response:
    response = RedirectResponse("/", 303, HEADERS)
    response.delete_cookie(COOKIE)
    return response


def _login(request: Request, next: str, problem: str = "") -> Response:  # noqa: A002
    text = fragment(
        "login.html",
        next=_inside(next),
        problem=problem,
        path="/login",
        query="",
        served=[],
        domain=None,
        provenance=None,
        signed_in=COOKIE in request.cookies,
    )
    return answer(text, 401 if problem else 200)


def _inside(target: str) -> str:
    """A path of this service; "/" for anything that leads elsewhere."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if plain and not parts.scheme and not parts.netloc else "/"
