"""Idempotency keys: which requests were done, and what was answered.

A key is claimed before the work, and gets the answer after it. Within `Store.atomic` both are part of
the transaction of the work.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from recsys.data.database import IDEMPOTENCY
from recsys.data.store import Store
from recsys.errors import KeyInUse, KeyReused
from recsys.utils import clock

ABANDONED_S = 120  # a request that has not ended by then has died with its process


def claim(store: Store, key: str, body_hash: str, hours: int) -> Any:
    """Claim a key, or return the answer to the earlier request with it.

    Args:
        store: Where keys are stored.
        key: Digest of sender, address and key.
        body_hash: Digest of the body.
        hours: How long keys are kept.

    Returns:
        The answer; None if the key is now claimed by the caller.

    Raises:
        KeyReused: The key came with another body.
        KeyInUse: The first request with the key has not ended.
    """
    c, now = IDEMPOTENCY.c, clock.earliest_now()
    expired = (c.time < now - hours * 3600) | (c.status.is_(None) & (c.time < now - ABANDONED_S))
    with store.transaction(writes=True) as connection:
        connection.execute(sa.delete(IDEMPOTENCY).where(expired))
        row = connection.execute(sa.select(IDEMPOTENCY).where(c.key == key)).first()
        if row is None:
            new = {"key": key, "body_hash": body_hash, "status": None, "answer": None}
            connection.execute(sa.insert(IDEMPOTENCY), [new | {"time": clock.latest_now()}])
            return None
        if row.body_hash != body_hash:
            raise KeyReused("this Idempotency-Key came with another body", hint="use a new key")
        if row.status is None:
            raise KeyInUse("the first request of this key is not done yet", hint="ask again soon")
        return row.answer


def keep_answer(store: Store, key: str, answer: Any) -> None:
    """Store the answer, a JSON value, of a claimed key."""
    values = {"status": 200, "answer": answer}
    with store.transaction(writes=True) as connection:
        connection.execute(sa.update(IDEMPOTENCY).where(IDEMPOTENCY.c.key == key).values(**values))


def release(store: Store, key: str) -> None:
    """Delete a claimed key, so that the request may be repeated."""
    with store.transaction(writes=True) as connection:
        connection.execute(sa.delete(IDEMPOTENCY).where(IDEMPOTENCY.c.key == key))
