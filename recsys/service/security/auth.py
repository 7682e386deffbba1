"""Authentication by API key, and authorization by scope."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount

from recsys.data.store import Store
from recsys.errors import ConfigError
from recsys.service.security.keys import SCOPES, KeyRing, Scope
from recsys.service.security.limits import Allowance, RateLimiter
from recsys.service.transport.problems import ServiceError

LOCAL = "local"
"""Name and key id of the client of a service without keys, which only this machine can reach."""

FORWARDED = ("forwarded", "via", "x-real-ip")
"""Headers that a proxy adds, besides those that begin with x-forwarded-."""

_LOCAL_NAMES = ("localhost", "ip6-localhost")
_bearer = HTTPBearer(auto_error=False, description="a key of `recsys keys create`")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a request."""

    name: str  # of their key
    scopes: frozenset[Scope]  # what the key allows
    key_id: str = LOCAL
    allowance: Allowance | None = None  # None: nothing is counted


class Unauthorized(ServiceError):
    """There is no key, or it is invalid."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(401, message, hint=hint)
        self.headers = {"WWW-Authenticate": "Bearer"}


class Authenticator:
    """Recognises keys and counts their requests.

    While no key exists, only this machine is served.
    """

    def __init__(self, store: Store, rate: str = "600/minute") -> None:
        self._keys = KeyRing(store)
        self.has_keys = False  # whether a key, ended or not, was found to exist
        self._limits = RateLimiter(rate)

    def principal(self, key: str | None, *, local: bool) -> Principal:
        """Return who sent a request, and count it.

        Args:
            key: The key that was sent.
            local: Whether the request is of this machine, see `is_local`.

        Raises:
            Unauthorized: The key is missing or invalid.
            RateLimited: The key has sent too many requests.
        """
        if key is None:
            self.has_keys = self.has_keys or self._keys.any()
            if self.has_keys:
                raise Unauthorized("a key is needed", "send `Authorization: Bearer <key>`")
            if not local:
                raise Unauthorized(
                    "only this machine is served without keys, and nothing that a proxy forwards",
                    "`recsys keys create` makes one",
                )
            return Principal(LOCAL, frozenset(SCOPES))
        info = self._keys.recognise(key)
        if info is None:
            raise Unauthorized("this key is not valid", "it may have expired: `recsys keys list`")
        allowance = self._limits.allowance(info.id, info.rate)
        allowance.spend(1)
        return Principal(info.name, frozenset(info.scopes), info.id, allowance)


def authenticator_of(request: Request) -> Authenticator:
    """Return the authenticator of the app, which is at `app.state.authenticator`."""
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def principal_of(request: HTTPConnection) -> Principal:
    """Return whom the guard let in, see `recsys.service.security.guard`."""
    principal: Principal = request.scope["state"]["caller"]
    return principal


def check_scope(principal: Principal, scopes: Collection[Scope]) -> None:
    """Raise ServiceError 403 if a key has none of these scopes; none implies another."""
    if principal.scopes.isdisjoint(scopes):
        wanted = " or ".join(sorted(scopes))
        raise ServiceError(
            403, f"the key '{principal.name}' may not {wanted}", hint=f"use one with the scope '{wanted}'"
        )


@cache
def require(scope: Scope) -> Callable[..., Principal]:
    """Return the FastAPI dependency by which a route requires a scope.

    The guard finds it in the route and has checked the key before the body comes; it gives the principal.
    """

    def principal(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        return principal_of(request)

    return principal


def scopes_of(route: BaseRoute) -> frozenset[Scope]:
    """Return the scopes of which a route requires one; none if everybody may use it.

    What is mounted checks the scope of each call itself, and requires any key.
    """
    if isinstance(route, Mount):
        return frozenset(SCOPES)
    dependant = getattr(route, "dependant", None)
    calls = [dependency.call for dependency in dependant.dependencies] if dependant else []
    return frozenset(scope for scope in SCOPES if require(scope) in calls)


Admin = Annotated[Principal, Depends(require("admin"))]
"""The principal of a route that needs the scope "admin"."""


def requires(scope: Scope) -> list[Any]:
    """Return the dependencies of a route that needs this scope."""
    return [Depends(require(scope))]


def check_bind(host: str, store: Store) -> None:
    """Raise ConfigError if other machines could use the service without a key."""
    if not is_loopback(host) and not KeyRing(store).any():
        raise ConfigError(
            f"on {host or 'all addresses'} anybody could ask, as there is no key",
            hint="make one with `recsys keys create NAME`, or serve on 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine's; names are not looked up."""
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_local(connection: HTTPConnection) -> bool:
    """Return whether a request is of this machine, and came straight from it.

    Its Host header must name this machine, too: a web page can make a browser here call the service under a
    name of its own (DNS rebinding).
    """
    address = connection.client.host if connection.client else None  # None for a Unix socket
    forwarded = any(name in FORWARDED or name.startswith("x-forwarded-") for name in connection.headers)
    host = _host_name(connection.headers.get("host", ""))
    return (address is None or is_loopback(address)) and is_loopback(host) and not forwarded


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
