"""Bulk import of items, users and interactions as JSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from io import TextIOWrapper
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeVar

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from recsys.data.batch import Changes, ImportBatch
from recsys.data.importers.item_lines import parse_item_line
from recsys.data.importers.readers import decode_text, encoding_of
from recsys.errors import DataError
from recsys.knowledge.typed_values import typed_items
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import ChangeCounts, ImportResponse, InteractionInput, ItemInput, UserInput
from recsys.service.transport.problems import ClientGone, ServiceError
from recsys.types import Interaction, Item, User

SOURCE = "import"
MAX_LINE = 1 << 20  # letters
LINES = {
    "requestBody": {
        "required": True,
        "content": {"application/x-ndjson": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""The body of an import, in the OpenAPI document."""
EXAMPLE = '{"interaction": {"user_id": "7", "item_id": "42", "rating": 4, "timestamp": 1700000000}}'
M = TypeVar("M", bound=BaseModel)


@asynccontextmanager
async def received_file(request: Request) -> AsyncIterator[tuple[BinaryIO, str]]:
    """Receive a body into a temporary file, part by part; yield it and its SHA-256.

    Raises:
        ServiceError: 503, there is no room for the file.
        ClientGone: The client disconnected before the end.
    """
    digest = sha256()
    with _no_room_is_503():
        file = TemporaryFile(buffering=0)  # noqa: SIM115
    with file:
        try:
            async for part in request.stream():
                digest.update(part)
                with _no_room_is_503():
                    await to_thread.run_sync(file.write, part)
        except ClientDisconnect as error:
            raise ClientGone from error
        yield file, digest.hexdigest()


@contextmanager
def _no_room_is_503() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the import cannot be received: {error.strerror}"
        raise ServiceError(503, message, hint="make room, or send less at once") from error


def import_lines(recommender: Recommender, file: BinaryIO) -> ImportResponse:
    """Store all lines or none; users of interactions who do not exist are added.

    Raises:
        DataError: A line is invalid; the error names it.
    """
    store, domain = recommender.store, recommender.domain.name
    items: dict[str, Item] = {}
    users: dict[str, User] = {}
    events: dict[tuple[str, str, float | None], Interaction] = {}
    first_line: dict[str, int] = {}  # of the interactions with an item
    for number, line in _lines(file):
        if not line.strip():
            continue
        kind, fields = _parse(number, line)
        if kind == "item":
            item = parse_item_line(SOURCE, number, json.dumps(fields))
            _validate(number, ItemInput, item.model_dump())
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
    typed = typed_items(list(items.values()), recommender.domain.attributes)
    batch = ImportBatch(tuple(typed), tuple(users.values()), tuple(events.values()))
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


def _lines(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers; one at a time is in memory."""
    file.seek(0)
    start = file.read(4)
    encoding = encoding_of(start)
    if encoding == "utf-8" and b"\0" in start[:2]:
        decode_text(SOURCE, start, hint="send UTF-8; nothing was kept")  # raises
    file.seek(0)
    text = TextIOWrapper(file, encoding, newline="\n")
    try:
        for number, line in enumerate(iter(lambda: text.readline(MAX_LINE + 1), ""), start=1):
            if len(line) > MAX_LINE:
                problem = f"the line has more than {MAX_LINE} letters"
                raise DataError(SOURCE, number, None, problem, hint="send one row a line; nothing was kept")
            yield number, line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeError:
        file.seek(0)
        decode_text(SOURCE, file.read(), hint="send UTF-8; nothing was kept")  # raises, and names the line
        raise
    finally:
        text.detach()


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
