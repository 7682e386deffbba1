"""Keys of the service, kept as hashes: made, listed, revoked, rotated, and recognised.

A key is 256 random bits, so one round of SHA-256 is all its hash needs: there is nothing to guess.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

import sqlalchemy as sa

from recsys.data.database import API_KEYS
from recsys.data.store import Store
from recsys.errors import MissingDependency, RequestError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "whyrec"
MAX_NAME = 60
DAY = 86_400.0  # seconds

_columns = API_KEYS.c


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key; its text is not. Times are seconds since 1970."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    rate: str | None
    created: float
    expires: float | None = None
    revoked: float | None = None

    @property
    def shown(self) -> str:
        """How its text begins."""
        return f"{PREFIX}_{self.id}_"

    def valid(self, now: float | None = None) -> bool:
        now = time.time() if now is None else now
        return self.revoked is None and (self.expires is None or now < self.expires)


class KeyRing:
    """The keys in a store. A key that was revoked elsewhere is refused at once: nothing is remembered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        name: str,
        scopes: Collection[str] = ("read",),
        *,
        lasts: float | None = None,
        rate: str | None = None,
    ) -> tuple[str, KeyInfo]:
        """A new key: its text, which is told only now, and what is known of it.

        `lasts` is in seconds, for ever by default; `rate` as in `recsys.service.security.limits`.
        Raises RequestError for a name, scope, time or rate that cannot be, MissingDependency
        where rates cannot be read.
        """
        _check(name, scopes, lasts, rate)
        with self._store.transaction(writes=True) as connection:
            return _insert(connection, name, tuple(s for s in SCOPES if s in scopes), lasts, rate)

    def rotate(self, key_id: str, *, grace: float = DAY) -> tuple[str, KeyInfo]:
        """A key of the same name, scopes, rate and length of life; the old one holds `grace` seconds more.

        Raises RequestError for a key that is not there or no longer valid, and a negative `grace`.
        """
        if grace < 0:
            raise RequestError("the old key cannot end in the past", hint="grace is 0 or more")
        with self._store.transaction(writes=True) as connection:
            old, now = _find(connection, key_id), time.time()
            if not old.valid(now):
                raise RequestError(f"key {key_id} is no longer valid", hint="create a new one instead")
            lasts = None if old.expires is None else old.expires - old.created
            ends = min(now + grace, old.expires or float("inf"))
            connection.execute(sa.update(API_KEYS).where(_columns.id == key_id).values(expires=ends))
            return _insert(connection, old.name, old.scopes, lasts, old.rate)

    def revoke(self, key_id: str) -> KeyInfo:
        """End a key now. Raises RequestError for one that is not there."""
        with self._store.transaction(writes=True) as connection:
            _find(connection, key_id)
            open_row = (_columns.id == key_id) & _columns.revoked.is_(None)
            connection.execute(sa.update(API_KEYS).where(open_row).values(revoked=time.time()))
            return _find(connection, key_id)

    def keys(self) -> list[KeyInfo]:
        """All keys, those that ended too, oldest first."""
        with self._store.transaction() as connection:
            rows = connection.execute(sa.select(API_KEYS).order_by(_columns.created, _columns.id)).mappings()
            return [_info(row) for row in rows]

    def any(self) -> bool:
        """Whether a key was ever made. Where all have ended, the service stays closed."""
        with self._store.transaction() as connection:
            return connection.scalar(sa.select(_columns.id).limit(1)) is not None

    def recognise(self, text: str) -> KeyInfo | None:
        """The valid key of this text. Hashes are compared in constant time, for unknown ids too."""
        key_id = text.split("_")[1] if text.startswith(f"{PREFIX}_") and text.count("_") > 1 else ""
        with self._store.transaction() as connection:
            row = connection.execute(sa.select(API_KEYS).where(_columns.id == key_id)).mappings().first()
        same = secrets.compare_digest(_hash(text), row["sha256"] if row else _hash(""))
        info = _info(row) if row and same else None
        return info if info and info.valid() else None


def _hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()


def _check(name: str, scopes: Collection[str], lasts: float | None, rate: str | None) -> None:
    if not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
        raise RequestError("a key needs a name", hint=f"say in 1 to {MAX_NAME} characters who will use it")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise RequestError(f"no scope '{unknown[0]}'", hint=f"there are: {', '.join(SCOPES)}")
    if not scopes:
        raise RequestError("a key needs a scope", hint=f"give one or more of: {', '.join(SCOPES)}")
    if lasts is not None and lasts <= 0:
        raise RequestError("the key would end before it begins", hint="give a longer time, or none")
    if rate is not None:
        try:
            from recsys.service.security.limits import parse_rate
        except ImportError as error:
            raise MissingDependency(
                f"a rate needs '{error.name}'", hint="pip install 'whyrec[serve]', or give no rate"
            ) from error
        parse_rate(rate)


def _insert(
    connection: sa.Connection, name: str, scopes: tuple[Scope, ...], lasts: float | None, rate: str | None
) -> tuple[str, KeyInfo]:
    now = time.time()
    key_id = secrets.token_hex(6)
    text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    info = KeyInfo(key_id, name.strip(), scopes, rate, now, None if lasts is None else now + lasts)
    row = {name: getattr(info, name) for name in KeyInfo.__slots__} | {"scopes": list(scopes)}
    connection.execute(sa.insert(API_KEYS), [row | {"sha256": _hash(text)}])
    return text, info


def _find(connection: sa.Connection, key_id: str) -> KeyInfo:
    row = connection.execute(sa.select(API_KEYS).where(_columns.id == key_id)).mappings().first()
    if row is None:
        raise RequestError(f"no key '{key_id[:MAX_NAME]}'", hint="`recsys keys list` shows the ids")
    return _info(row)


def _info(row: sa.RowMapping) -> KeyInfo:
    fields = {name: row[name] for name in KeyInfo.__slots__}
    return KeyInfo(**fields | {"scopes": tuple(row["scopes"])})
