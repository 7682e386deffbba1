"""Authentication by API key, and authorization by scope."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from recsys.data.store import Store
from recsys.errors import ConfigError
from recsys.service.security.keys import SCOPES, KeyRing, Scope
from recsys.service.security.limits import RateLimiter
from recsys.service.transport.problems import ServiceError

LOCAL = "local"
"""Name and key id of the client of a service without keys, which only this machine can reach."""

_LOCAL_NAMES = ("localhost", "ip6-localhost")
_bearer = HTTPBearer(auto_error=False, description="a key of `recsys keys create`")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a request."""

    name: str  # of their key
    scopes: frozenset[Scope]  # what the key allows
    key_id: str = LOCAL


class Unauthorized(ServiceError):
    """There is no key, or it is invalid."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(401, message, hint=hint)
        self.headers = {"WWW-Authenticate": "Bearer"}


class Authenticator:
    """Recognises keys and counts their requests.

    While no key exists, only loopback is served.
    """

    def __init__(self, store: Store, rate: str = "600/minute") -> None:
        self._keys = KeyRing(store)
        self._limits = RateLimiter(rate)

    def principal(self, key: str | None, address: str | None, host: str) -> Principal:
        """Return who sent a request, and count it.

        Args:
            key: The key that was sent.
            address: The client's IP address, None for a Unix socket.
            host: The Host header. Without keys it must name this machine: a web page can make a browser
                on this machine call the service under a name of its own (DNS rebinding).

        Raises:
            Unauthorized: The key is missing or invalid.
            RateLimited: The key has sent too many requests.
        """
        if key is None:
            if self._keys.any():
                raise Unauthorized("a key is needed", "send `Authorization: Bearer <key>`")
            if not (address is None or is_loopback(address)) or not is_loopback(_host_name(host)):
                raise Unauthorized(
                    "only this machine is served without keys", "`recsys keys create` makes one"
                )
            return Principal(LOCAL, frozenset(SCOPES))
        info = self._keys.recognise(key)
        if info is None:
            raise Unauthorized("this key is not valid", "it may have expired: `recsys keys list`")
        self._limits.count(info.id, info.rate)
        return Principal(info.name, frozenset(info.scopes), info.id)


def authenticator_of(request: Request) -> Authenticator:
    """Return the authenticator of the app, which is at `app.state.authenticator`."""
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def require(scope: Scope) -> Callable[..., Principal]:
    """Return a FastAPI dependency: the principal, if their key has this scope.

    No scope implies another.

    It leaves the id of the key at `request.state.principal`, and raises as `authorize` does.
    """

    def principal(
        request: Request, sent: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        key = sent.credentials if sent else None
        hint = f"use one with the scope '{scope}'"
        return authorize(authenticator_of(request), request, key, scope, hint)

    return principal


def authorize(
    authenticator: Authenticator, request: Request, key: str | None, scope: Scope, hint: str
) -> Principal:
    """Return the principal of a key that came with a request.

    Raises:
        Unauthorized: The key is missing or invalid.
        RateLimited: The key has sent too many requests.
        ServiceError: 403, with this `hint`: the key lacks the scope.
    """
    address = request.client.host if request.client else None
    principal = authenticator.principal(key, address, request.headers.get("host", ""))
    if scope not in principal.scopes:
        raise ServiceError(403, f"the key '{principal.name}' may not {scope}", hint=hint)
    request.state.principal = principal.key_id
    return principal


_CHECKS = {scope: require(scope) for scope in SCOPES}
Admin = Annotated[Principal, Depends(_CHECKS["admin"])]
"""The principal of a route that needs the scope "admin"."""


def requires(scope: Scope) -> list[Any]:
    """Return the dependencies of a route that needs this scope."""
    return [Depends(_CHECKS[scope])]


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


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
