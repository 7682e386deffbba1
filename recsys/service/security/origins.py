"""Requests that a page of another site made a browser send (CSRF).

By fetch metadata and by Origin; clients that are no browser send neither and are served. OWASP, Cross-Site
Request Forgery Prevention Cheat Sheet; https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from recsys.service.transport.problems import ServiceError

OWN = ("same-origin", "none")  # "none": typed, or a bookmark
SAFE_METHODS = ("GET", "HEAD")


class CrossSite(ServiceError):
    """A page of another site sent the request."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "the request came from another site",
            hint="open the service's own page, or allow the origin by WHYREC_SERVE_CORS_ORIGINS; a proxy "
            "must pass the Host header on",
        )


def is_cross_site(headers: Headers, allowed: Collection[str], *, has_key: bool) -> bool:
    """Return whether a page of an origin that is not allowed sent a request.

    Args:
        headers: Of the request.
        allowed: Origins; "*" allows every one to requests that bring a key in a header, which no page of
            a stranger knows.
        has_key: Whether this one does.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin in allowed or ("*" in allowed and has_key):
        return False
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        return True
    return site is not None and site not in OWN


def is_anonymous(headers: Headers) -> bool:
    """Return whether nothing tells which page sent a request."""
    return "origin" not in headers and "sec-fetch-site" not in headers


def is_plain_link(method: str, headers: Headers, query: bytes) -> bool:
    """Return whether a person follows a link to a page in which nothing is filled in."""
    navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return method in SAFE_METHODS and navigates and not query
