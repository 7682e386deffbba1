"""Who asks, and whether they may: keys in the `Authorization` header, checked before a route is run."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from recsys.data.store import Store
from recsys.errors import ConfigError
from recsys.service.security.keys import SCOPES, KeyRing, Scope
from recsys.service.security.limits import RateLimiter
from recsys.service.transport.problems import ServiceError

LOCAL = "local"
"""The name of whoever asks a service without keys, which only this machine can reach."""

_LOCAL_NAMES = ("localhost", "ip6-localhost")
_bearer = HTTPBearer(auto_error=False, description="a key of `recsys keys create`")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the name and id of their key (both "local" without keys), and what it allows."""

    name: str
    scopes: frozenset[Scope]
    key_id: str = LOCAL


class Unauthorized(ServiceError):
    """There is no key, or none that is valid."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(401, message, hint=hint)
        self.headers = {"WWW-Authenticate": "Bearer"}


class Authenticator:
    """Tells who sent a request, and counts what they ask. Without any key, loopback alone is served."""

    def __init__(self, store: Store, rate: str = "600/minute") -> None:
        self._keys = KeyRing(store)
        self._limits = RateLimiter(rate)

    def principal(self, key: str | None, address: str | None, host: str) -> Principal:
        """Who sends `key` from `address` (None: a Unix socket) to us under the name `host`.

        The name matters where there are no keys: a web page can make a browser on this
        machine ask us under a name of its own (DNS rebinding). Raises Unauthorized, RateLimited.
        """
        if key is None:
            if self._keys.any():
                raise Unauthorized("a key is needed", "send `Authorization: Bearer <key>`")
            if not (address is None or is_loopback(address)) or not is_loopback(_name_of(host)):
                raise Unauthorized(
                    "only this machine is served without keys", "`recsys keys create` makes one"
                )
            return Principal(LOCAL, frozenset(SCOPES))
        known = self._keys.recognise(key)
        if known is None:
            raise Unauthorized("this key is not valid", "it may have ended: `recsys keys list`")
        self._limits.count(known.id, known.rate)
        return Principal(known.name, frozenset(known.scopes), known.id)


def require(scope: Scope) -> Callable[..., Principal]:
    """A FastAPI dependency: the principal, if their key has this scope. Of the three none implies another.

    The app keeps its `Authenticator` at `app.state.authenticator`. The key's id is left at
    `request.state.principal`. Raises Unauthorized, RateLimited, and ServiceError 403.
    """

    def principal(
        request: Request, sent: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        key = sent.credentials if sent else None
        hint = f"use one with the scope '{scope}'"
        return admitted(request.app.state.authenticator, request, key, scope, hint)

    return principal


def admitted(
    authenticator: Authenticator, request: Request, key: str | None, scope: Scope, hint: str
) -> Principal:
    """The principal of a key that came with a request. Sets and raises as `require`; `hint` is the 403's."""
    address = request.client.host if request.client else None
    found = authenticator.principal(key, address, request.headers.get("host", ""))
    if scope not in found.scopes:
        raise ServiceError(403, f"the key '{found.name}' may not {scope}", hint=hint)
    request.state.principal = found.key_id
    return found


def check_bind(host: str, store: Store) -> None:
    """Raise ConfigError where a service would answer others than this machine without asking for a key."""
    if not is_loopback(host) and not KeyRing(store).any():
        raise ConfigError(
            f"on {host or 'all addresses'} anybody could ask, as there is no key",
            hint="make one with `recsys keys create NAME`, or serve on 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether an address or name reaches this machine alone. Names are not looked up."""
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
