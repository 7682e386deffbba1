"""Bulk import of items, users and interactions as JSON lines."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from recsys.data.batch import Changes, ImportBatch
from recsys.data.importers.item_lines import parse_item_line
from recsys.data.importers.readers import decode_text
from recsys.errors import DataError
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import ChangeCounts, ImportResponse, InteractionInput, UserInput
from recsys.types import Interaction, Item, User

SOURCE = "import"
EXAMPLE = '{"interaction": {"user_id": "7", "item_id": "42", "rating": 4, "timestamp": 1700000000}}'
M = TypeVar("M", bound=BaseModel)


def import_lines(recommender: Recommender, data: bytes) -> ImportResponse:
    """Store all lines or none; users of interactions who do not exist are added.

    Raises:
        DataError: A line is invalid; the error names it.
    """
    store, domain = recommender.store, recommender.domain.name
    items: dict[str, Item] = {}
    users: dict[str, User] = {}
    events: dict[tuple[str, str, float | None], Interaction] = {}
    first_line: dict[str, int] = {}  # of the interactions with an item
    text = decode_text(SOURCE, data, hint="send UTF-8; nothing was kept")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        kind, fields = _parse(number, line)
        if kind == "item":
            item = parse_item_line(SOURCE, number, json.dumps(fields))
            items[item.id] = item
        elif kind == "user":
            user = User(**_validate(number, UserInput, fields).model_dump())
            users[user.id] = user
        else:
            event = Interaction(**_validate(number, InteractionInput, fields).model_dump())
            events[event.user_id, event.item_id, event.timestamp] = event
            first_line.setdefault(event.item_id, number)
    recommender.live.refresh()
    for item_id, number in first_line.items():
        if item_id not in items and recommender.catalog.get(item_id) is None:
            raise DataError(
                SOURCE,
                number,
                "interaction.item_id",
                f"no item '{item_id[:60]}'",
                hint="send the item too, or before; nothing was kept",
            )
    new_ids = {event.user_id for event in events.values()} - set(store.users(domain)) - set(users)
    users |= {user_id: User(id=user_id) for user_id in sorted(new_ids)}
    batch = ImportBatch(tuple(items.values()), tuple(users.values()), tuple(events.values()))
    result = store.import_batch(domain, batch)
    return ImportResponse(
        items=change_counts(result.items),
        users=change_counts(result.users),
        interactions=change_counts(result.interactions),
    )


def change_counts(changes: Changes, removed: int = 0) -> ChangeCounts:
    """Convert the counts of the store to a response."""
    return ChangeCounts(
        added=changes.added, updated=changes.updated, unchanged=changes.unchanged, removed=removed
    )


def _parse(number: int, line: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            SOURCE, number, None, f"not valid JSON: {error}", hint=f"such as {EXAMPLE}"
        ) from error
    if isinstance(row, dict) and len(row) == 1:
        ((kind, fields),) = row.items()
        if kind in ("item", "user", "interaction") and isinstance(fields, dict):
            return kind, fields
    problem = "expected an object with one key: item, user or interaction"
    raise DataError(SOURCE, number, None, problem, hint=f"such as {EXAMPLE}")


def _validate(number: int, model: type[M], fields: dict[str, Any]) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or None
        raise DataError(SOURCE, number, field, first["msg"], hint=f"such as {EXAMPLE}") from error
