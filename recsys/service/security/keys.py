"""API keys, kept as hashes: created, listed, rotated, revoked and recognised.

A key is 256 random bits, so one round of SHA-256 suffices as its hash: it cannot be guessed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Literal, get_args

from recsys.data import api_keys
from recsys.data.store import Row, Store
from recsys.errors import MissingDependency, RequestError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "whyrec"
MAX_NAME = 60
DAY = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is stored of a key, without its hash. Times are seconds since 1970."""

    id: str  # the public part of the key
    name: str  # who uses it
    scopes: tuple[Scope, ...]
    rate: str | None  # such as "600/minute"; None for the rate of the settings
    created: float
    expires: float | None = None
    revoked: float | None = None

    @property
    def prefix(self) -> str:
        """How the text of the key begins."""
        return f"{PREFIX}_{self.id}_"

    def valid(self, now: float | None = None) -> bool:
        """Return whether it is neither revoked nor expired."""
        now = time.time() if now is None else now
        return self.revoked is None and (self.expires is None or now < self.expires)


class KeyRing:
    """The keys in a store.

    Nothing is cached: a key that another process revokes is refused at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        name: str,
        scopes: Collection[str] = ("read",),
        *,
        lifetime: float | None = None,
        rate: str | None = None,
    ) -> tuple[str, KeyInfo]:
        """Create a key.

        Args:
            name: Who will use it.
            scopes: What it allows.
            lifetime: Seconds until it expires, None for never.
            rate: Units of work per time, see `recsys.service.security.limits`.

        Returns:
            The text of the key, which is not stored, and what is stored of it.

        Raises:
            RequestError: A name, scope, lifetime or rate is invalid.
            MissingDependency: Rates cannot be parsed.
        """
        _check(name, scopes, lifetime, rate)
        return self._insert(name, tuple(s for s in SCOPES if s in scopes), lifetime, rate)

    def rotate(self, key_id: str, *, grace: float = DAY) -> tuple[str, KeyInfo]:
        """Create a key with the name, scopes, rate and lifetime of another.

        The old key stays valid for `grace` seconds more, unless it expires earlier.

        Raises:
            RequestError: The key does not exist or is no longer valid, or `grace` is negative.
        """
        if grace < 0:
            raise RequestError("the old key cannot expire in the past", hint="grace is 0 or more")
        with self._store.atomic():
            old, now = self._find(key_id), time.time()
            if not old.valid(now):
                raise RequestError(f"key {key_id} is no longer valid", hint="create a new one instead")
            lifetime = None if old.expires is None else old.expires - old.created
            api_keys.set_expiry(self._store, key_id, min(now + grace, old.expires or float("inf")))
            return self._insert(old.name, old.scopes, lifetime, old.rate)

    def revoke(self, key_id: str) -> KeyInfo:
        """Make a key invalid now. Raises RequestError if it does not exist."""
        with self._store.atomic():
            self._find(key_id)
            api_keys.set_revoked(self._store, key_id, time.time())
            return self._find(key_id)

    def keys(self) -> list[KeyInfo]:
        """Return all keys, invalid ones too, the oldest first."""
        return [_info(row) for row in api_keys.list_keys(self._store)]

    def any(self) -> bool:
        """Return whether a key was ever created, valid or not."""
        return api_keys.has_keys(self._store)

    def recognise(self, text: str) -> KeyInfo | None:
        """Return the valid key with this text, None if there is none.

        Hashes are compared in constant time, also for unknown ids.
        """
        key_id = text.split("_")[1] if text.startswith(f"{PREFIX}_") and text.count("_") > 1 else ""
        row = api_keys.find_key(self._store, key_id)
        same = secrets.compare_digest(_hash(text), row["sha256"] if row else _hash(""))
        info = _info(row) if row and same else None
        return info if info and info.valid() else None

    def _insert(
        self, name: str, scopes: tuple[Scope, ...], lifetime: float | None, rate: str | None
    ) -> tuple[str, KeyInfo]:
        now = time.time()
        key_id = secrets.token_hex(6)
        text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
        info = KeyInfo(key_id, name.strip(), scopes, rate, now, None if lifetime is None else now + lifetime)
        api_keys.insert_key(self._store, asdict(info) | {"scopes": list(scopes), "sha256": _hash(text)})
        return text, info

    def _find(self, key_id: str) -> KeyInfo:
        row = api_keys.find_key(self._store, key_id)
        if row is None:
            raise RequestError(f"no key '{key_id[:MAX_NAME]}'", hint="`recsys keys list` shows the ids")
        return _info(row)


def _hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()


def _check(name: str, scopes: Collection[str], lifetime: float | None, rate: str | None) -> None:
    if not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
        raise RequestError("a key needs a name", hint=f"say in 1 to {MAX_NAME} characters who will use it")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise RequestError(f"no scope '{unknown[0]}'", hint=f"there are: {', '.join(SCOPES)}")
    if not scopes:
        raise RequestError("a key needs a scope", hint=f"give one or more of: {', '.join(SCOPES)}")
    if lifetime is not None and lifetime <= 0:
        raise RequestError("the key would expire before it begins", hint="give a longer time, or none")
    if rate is not None:
        try:
            from recsys.service.security.limits import parse_rate
        except ImportError as error:
            raise MissingDependency(
                f"a rate needs '{error.name}'", hint="pip install 'whyrec[serve]', or give no rate"
            ) from error
        parse_rate(rate)


def _info(row: Row) -> KeyInfo:
    fields = {name: row[name] for name in KeyInfo.__slots__}
    return KeyInfo(**fields | {"scopes": tuple(row["scopes"])})
