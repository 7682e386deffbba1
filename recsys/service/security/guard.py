"""What a route asks of whoever calls it, in one word."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from recsys.service.security.auth import Principal, require
from recsys.service.security.keys import Scope

_CHECKS = {scope: require(scope) for scope in ("read", "write", "admin")}
Admin = Annotated[Principal, Depends(_CHECKS["admin"])]


def needs(scope: Scope) -> list[Any]:
    """Dependencies of a route that a key of this scope may call."""
    return [Depends(_CHECKS[scope])]
