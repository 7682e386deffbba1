"""What every page shares: rendering, headers, who may see it, and where a form may come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import jinja2
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

import recsys
from recsys.engine.adapters import resolve_adapter
from recsys.errors import ModelError, PromptError, RecsysError
from recsys.recommender.recommender import Recommender
from recsys.service.pages import filters
from recsys.service.security.auth import Principal, Unauthorized, admitted
from recsys.service.security.keys import Scope
from recsys.service.state import Service, service_of
from recsys.service.transport.problems import ServiceError, status_of
from recsys.utils.sanitize import visible

HERE = Path(__file__).resolve().parent
COOKIE = "whyrec_key"
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
STATIC = {
    path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir()) if path.suffix in MEDIA
}
DIGESTS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in STATIC.items()}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NAVIGATION = (
    ("/", "Recommend"),
    ("/why", "Why"),
    ("/prompts", "Prompts"),
    ("/traces", "Traces"),
    ("/domains", "Domains"),
    ("/evaluations", "Evaluations"),
    ("/health", "Health"),
)


@dataclass(frozen=True)
class Provenance:
    """What produces the answers that a page shows. `adapter` is "" for the base model alone."""

    domain: str
    model: str
    adapter: str
    template: str
    version: int
    hash: str
    data: str


def provenance(recommender: Recommender, template: str | None = None) -> Provenance:
    """Of a domain as it is served now; of another template than its ranker's if one is named."""
    name = template or f"rank/{recommender.domain.ranker.strategy}"
    settings = recommender.settings
    try:
        adapter = resolve_adapter(recommender.domain, settings)
        found = adapter.ref if adapter else ""
    except ModelError as error:
        found = f"unusable: {error.message[:80]}"
    try:
        prompt = recommender.prompts.get(name)
        version, digest = prompt.meta.version, prompt.hash
    except PromptError:
        version, digest = 0, "unreadable"
    remote = settings.engine.startswith(("http://", "https://"))
    return Provenance(
        domain=recommender.domain.name,
        model=settings.model,
        adapter=found or ("as its server has it" if remote else ""),
        template=name,
        version=version,
        hash=digest,
        data=recommender.store.data_hash(recommender.domain.name)[:12],
    )


environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: visible(value) if type(value) is str else value,  # no hidden or turned letters
)
environment.filters |= filters.FILTERS
environment.globals |= {
    "navigation": NAVIGATION,
    "static": {name: f"/static/{name}?v={digest}" for name, digest in DIGESTS.items()},
    "version": recsys.__version__,
}


def fragment(name: str, /, **values: Any) -> str:
    """A part of a page as text."""
    return environment.get_template(name).render(values)


def answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """HTML with the headers that every page has."""
    return HTMLResponse(text, status, HEADERS | dict(headers or {}))


def page(request: Request, name: str, recommender: Recommender, /, **values: Any) -> Response:
    """A whole page about one domain."""
    service = service_of(request)
    made = values.pop("provenance", None) or provenance(recommender)
    text = fragment(
        name,
        path=request.url.path,
        query=request.url.query,
        domain=recommender.domain,
        served=list(service.recommenders),
        provenance=made,
        signed_in=COOKIE in request.cookies,
        **values,
    )
    return answer(text)


def allowed(scope: Scope) -> Callable[[Request], Principal]:
    """A dependency: who asks, by the key in their cookie or header. Raises Unauthorized, ServiceError 403."""

    def principal(request: Request) -> Principal:
        kind, _, sent = request.headers.get("authorization", "").partition(" ")
        key = (sent if kind.lower() == "bearer" else "") or request.cookies.get(COOKIE) or None
        hint = f"sign in with one that may {scope}"
        return admitted(request.app.state.authenticator, request, key, scope, hint)

    return principal


_CHECKS = {scope: Depends(allowed(scope)) for scope in ("read", "write", "admin")}
Admin = Annotated[Principal, _CHECKS["admin"]]


def needs(scope: Scope) -> list[Any]:
    """Dependencies of a view that a key of this scope may see."""
    return [_CHECKS[scope]]


def same_origin(request: Request) -> None:
    """Raises ServiceError 403 for a form that another site sent (OWASP: fetch metadata, then Origin)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site == "same-origin" if site else urlsplit(origin or "").netloc == request.headers.get("host")
    if not ours:
        raise ServiceError(403, "this form came from another site", hint="send it from the page itself")


FROM_HERE = [Depends(same_origin)]


class PageRoute(APIRoute):
    """A route whose errors are pages too; who has no key yet is asked for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Unauthorized as error:
                if request.method == "GET" and "hx-request" not in request.headers:
                    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                    return RedirectResponse(f"/login?next={quote(target)}", 303, HEADERS)
                return failure(request, error)
            except RecsysError as error:
                return failure(request, error)
            except RequestValidationError as error:
                fault = error.errors()[0]
                wrong = f"{fault['loc'][-1]}: {fault['msg']}"
                return failure(request, ServiceError(422, wrong, hint="correct it and ask again"))
            except HTTPException as error:
                return failure(request, ServiceError(error.status_code, str(error.detail)))

        return handle


def failure(request: Request, error: RecsysError) -> Response:
    """An error for a person: a part of a page where htmx asked for one, else a page."""
    status = status_of(error)
    headers = {str(name): str(value) for name, value in getattr(error, "headers", {}).items()}
    if "hx-request" in request.headers and "hx-boosted" not in request.headers:
        return answer(fragment("_failure.html", error=error, status=status), status, headers)
    text = fragment(
        "failure.html",
        error=error,
        status=status,
        path=request.url.path,
        query="",
        served=[],
        domain=None,
        provenance=_known(request),
        signed_in=COOKIE in request.cookies,
    )
    return answer(text, status, headers)


def _known(request: Request) -> Provenance | None:
    """For a page of an error: what is served, told only to who was let in."""
    if not hasattr(request.state, "principal"):
        return None
    try:
        return provenance(recommender_of(request))
    except RecsysError:
        return None


def download(value: Any, file: str) -> Response:
    """An object as a JSON file, indented for a person."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    headers = HEADERS | {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(text, media_type="application/json", headers=headers)


def views() -> APIRouter:
    """A router for pages."""
    return APIRouter(route_class=PageRoute)


def recommender_of(request: Request, domain: str | None = None) -> Recommender:
    """The recommender of `?domain=`, else the default."""
    service: Service = service_of(request)
    return service.recommender(domain or None)


TheRecommender = Annotated[Recommender, Depends(recommender_of)]
