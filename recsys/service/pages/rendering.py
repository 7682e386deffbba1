"""What all pages share: rendering, headers, access by key, and errors as pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

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
from recsys.service.security.auth import Unauthorized
from recsys.service.state import Service, service_of
from recsys.service.transport.problems import ServiceError, status_of, without_paths
from recsys.utils.sanitize import visible

FOLDER = Path(__file__).resolve().parent
KEY_COOKIE = "whyrec_key"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
STATIC_FILES = {
    path.name: path.read_bytes()
    for path in sorted((FOLDER / "static").iterdir())
    if path.suffix in MEDIA_TYPES
}
DIGESTS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in STATIC_FILES.items()}
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
    """What produced the answers that a page shows."""

    domain: str
    model: str
    adapter: str  # ref, "" for the base model alone
    template: str
    version: int  # of the template
    hash: str  # of the template
    data: str  # first digits of the hash of the domain's data


def provenance(recommender: Recommender, template: str | None = None) -> Provenance:
    """Describe how a domain is served, by default with its ranker's template."""
    name = template or f"rank/{recommender.domain.ranker.strategy}"
    settings = recommender.settings
    try:
        adapter = resolve_adapter(recommender.domain, settings)
        ref = adapter.ref if adapter else ""
    except ModelError as error:
        ref = f"unusable: {error.message[:80]}"
    try:
        prompt = recommender.prompts.get(name)
        version, digest = prompt.meta.version, prompt.hash
    except PromptError:
        version, digest = 0, "unreadable"
    remote = settings.is_remote
    return Provenance(
        domain=recommender.domain.name,
        model=settings.model,
        adapter=ref or ("chosen by the model server" if remote else ""),
        template=name,
        version=version,
        hash=digest,
        data=recommender.store.data_hash(recommender.domain.name)[:12],
    )


environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: visible(without_paths(value)) if type(value) is str else value,
)
environment.filters |= filters.FILTERS
environment.globals |= {
    "navigation": NAVIGATION,
    "static": {name: f"/static/{name}?v={digest}" for name, digest in DIGESTS.items()},
    "version": recsys.__version__,
}


def render(name: str, /, **values: Any) -> str:
    """Render a template to HTML."""
    return environment.get_template(name).render(values)


def html_response(html: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Build a response with the headers that every page has."""
    return HTMLResponse(html, status, HEADERS | dict(headers or {}))


def render_page(request: Request, name: str, recommender: Recommender, /, **values: Any) -> Response:
    """Render the template of a whole page about one domain."""
    service = service_of(request)
    shown_provenance = values.pop("provenance", None) or provenance(recommender)
    html = render(
        name,
        path=request.url.path,
        query=request.url.query,
        domain=recommender.domain,
        domain_names=list(service.recommenders),
        provenance=shown_provenance,
        signed_in=KEY_COOKIE in request.cookies,
        **values,
    )
    return html_response(html)


class PageRoute(APIRoute):
    """A route whose errors are pages; without a valid key it redirects to sign in.

    The guard takes the key from the cookie too, and answers what it refuses by `error_response`.
    """

    key_cookie = KEY_COOKIE

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RecsysError as error:
                return error_response(request, error)
            except RequestValidationError as error:
                first = error.errors()[0]
                message = f"{first['loc'][-1]}: {first['msg']}"
                hint = "correct this field and try again"
                return error_response(request, ServiceError(422, message, hint=hint))
            except HTTPException as error:
                return error_response(request, ServiceError(error.status_code, str(error.detail)))

        return handle

    def error_response(self, request: Request, error: RecsysError) -> Response:
        """Show an error, or the page that asks for a key."""
        asks_for_key = isinstance(error, Unauthorized) and request.method == "GET"
        if asks_for_key and "hx-request" not in request.headers:
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(target)}", 303, HEADERS)
        return error_response(request, error)


def error_response(request: Request, error: RecsysError) -> Response:
    """Render an error: as a fragment where htmx asks for one, else as a page."""
    status = status_of(error)
    headers = {str(name): str(value) for name, value in getattr(error, "headers", {}).items()}
    if "hx-request" in request.headers and "hx-boosted" not in request.headers:
        return html_response(render("_failure.html", error=error, status=status), status, headers)
    html = render(
        "failure.html",
        error=error,
        status=status,
        path=request.url.path,
        query="",
        domain_names=[],
        domain=None,
        provenance=_provenance_if_admitted(request),
        signed_in=KEY_COOKIE in request.cookies,
    )
    return html_response(html, status, headers)


def _provenance_if_admitted(request: Request) -> Provenance | None:
    """Describe what is served, but only to a client with a valid key."""
    if not hasattr(request.state, "principal"):
        return None
    try:
        return provenance(recommender_of(request))
    except RecsysError:
        return None


def json_download(value: Any, file_name: str) -> Response:
    """Send a value as an indented JSON file."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    headers = HEADERS | {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(text, media_type="application/json", headers=headers)


def page_router() -> APIRouter:
    """Make a router whose errors are pages."""
    return APIRouter(route_class=PageRoute)


def recommender_of(request: Request, domain: str | None = None) -> Recommender:
    """Return the recommender of `?domain=`, by default that of the first domain."""
    service: Service = service_of(request)
    return service.recommender(domain or None)


RecommenderDep = Annotated[Recommender, Depends(recommender_of)]
