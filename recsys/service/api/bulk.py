"""Bulk import: JSON lines of items, users and interactions, checked together and stored in one transaction."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from recsys.data.batch import Changes, ImportBatch
from recsys.data.importers.item_lines import parse_item_line
from recsys.errors import DataError
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import Changed, Event, ImportResponse, NewUser
from recsys.types import Interaction, Item, User

SOURCE = "import"
EXAMPLE = '{"interaction": {"user_id": "7", "item_id": "42", "rating": 4, "timestamp": 1700000000}}'
M = TypeVar("M", bound=BaseModel)


def import_lines(recommender: Recommender, data: bytes) -> ImportResponse:
    """Store all lines or none; people who are not known yet are added. Raises DataError naming the line."""
    store, domain = recommender.store, recommender.domain.name
    items: dict[str, Item] = {}
    users: dict[str, User] = {}
    events: dict[tuple[str, str, float | None], Interaction] = {}
    at: dict[str, int] = {}  # the first line that names an item
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        kind, fields = _parse(number, line)
        if kind == "item":
            item = parse_item_line(SOURCE, number, json.dumps(fields))
            items[item.id] = item
        elif kind == "user":
            users[str(fields.get("id"))] = User(**_checked(number, NewUser, fields).model_dump())
        else:
            event = Interaction(**_checked(number, Event, fields).model_dump())
            events[event.user_id, event.item_id, event.timestamp] = event
            at.setdefault(event.item_id, number)
    recommender.live.refresh()
    for item_id, number in at.items():
        if item_id not in items and recommender.catalog.get(item_id) is None:
            raise DataError(
                SOURCE,
                number,
                "interaction.item_id",
                f"no item '{item_id[:60]}'",
                hint="send the item too, or before; nothing was kept",
            )
    known = set(store.users(domain))
    strangers = {event.user_id for event in events.values()} - known - set(users)
    users |= {one: User(id=one) for one in sorted(strangers)}
    batch = ImportBatch(tuple(items.values()), tuple(users.values()), tuple(events.values()))
    done = store.import_batch(domain, batch)
    return ImportResponse(
        items=changed(done.items), users=changed(done.users), interactions=changed(done.interactions)
    )


def changed(changes: Changes, removed: int = 0) -> Changed:
    """The same counts as an answer."""
    return Changed(added=changes.added, updated=changes.updated, unchanged=changes.unchanged, removed=removed)


def _parse(number: int, line: bytes) -> tuple[str, dict[str, Any]]:
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


def _checked(number: int, noun: type[M], fields: dict[str, Any]) -> M:
    try:
        return noun.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or None
        raise DataError(SOURCE, number, field, first["msg"], hint=f"such as {EXAMPLE}") from error
