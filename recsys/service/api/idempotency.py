"""`Idempotency-Key`: a POST that is repeated with its key is done only once.

It is for requests that write and are answered with counts and ids; recommendations are found by their key
among the traces. Draft: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from recsys.data import idempotency
from recsys.data.store import Store
from recsys.errors import KeyInUse, KeyReused, StoreError
from recsys.service.state import ServiceDep, StoreDep
from recsys.service.transport.problems import ServiceError

log = logging.getLogger(__name__)
M = TypeVar("M", bound=BaseModel)
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        min_length=1,
        description="the same key again does nothing twice",
    ),
]


def digest(*parts: object) -> str:
    """Return the SHA-256, in hex, of what distinguishes a request."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()


def scoped_key(request: Request, key: str | None) -> str | None:
    """Return a digest of client, address and key: other clients may send the same key."""
    if not key:
        return None
    principal = request.scope.get("state", {}).get("principal", "")
    return digest(principal, request.method, request.url.path, request.url.query, key)


class IdempotentRequest:
    """A request that may have an Idempotency-Key."""

    def __init__(self, request: Request, store: Store, key: str | None, hours: int) -> None:
        self._request, self._store, self._key, self._hours = request, store, key, hours

    def once(self, body: str, response: type[M], work: Callable[[], M], *, atomic: bool = False) -> M:
        """Do the work, or return the response to the earlier request with the same key.

        Args:
            body: The body of the request, or a digest of it.
            response: The type of the response.
            work: What the request does. If it raises, the key is free again.
            atomic: For work in the store only: work and key are stored in one transaction. Other work
                must be harmless when repeated, which happens if its response could not be stored.

        Raises:
            ServiceError: 422, the key came with another body; 409, the first request has not ended.
        """
        key = scoped_key(self._request, self._key)
        if key is None:
            return work()
        if atomic:
            with self._store.atomic():
                earlier = self._claim(key, digest(body))
                if earlier is not None:
                    return response.model_validate(earlier)
                done = work()
                self._keep(key, done)
            return done
        earlier = self._claim(key, digest(body))
        if earlier is not None:
            return response.model_validate(earlier)
        try:
            done = work()
        except BaseException:
            with suppress(StoreError):
                idempotency.release(self._store, key)
            raise
        try:
            self._keep(key, done)
        except StoreError as error:  # the work is done, so the response is sent
            log.warning("the answer of a key was not kept: %s", error.message)
        return done

    def _claim(self, key: str, body_digest: str) -> Any:
        try:
            return idempotency.claim(self._store, key, body_digest, self._hours)
        except KeyReused as error:
            raise ServiceError(422, error.message, hint=error.hint) from error
        except KeyInUse as error:
            raise ServiceError(409, error.message, hint=error.hint) from error

    def _keep(self, key: str, done: BaseModel) -> None:
        idempotency.keep_answer(self._store, key, done.model_dump(mode="json"))


def idempotent_request(
    request: Request, store: StoreDep, service: ServiceDep, key: Key = None
) -> IdempotentRequest:
    """Return the request with its key, if it has one."""
    return IdempotentRequest(request, store, key, service.options.idempotency_hours)


IdempotencyDep = Annotated[IdempotentRequest, Depends(idempotent_request)]
