"""Lists in pages: a limit, and an opaque cursor that says where the page before ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from recsys.errors import RequestError
from recsys.service.api.schemas import MAX_PAGE, Name, Page

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many at once")]
Cursor = Annotated[Name | None, Query(description="`next_cursor` of the page before", max_length=400)]


def cursor_of(last: Any) -> str:
    """A cursor that says where the page ended. Opaque to clients."""
    return base64.urlsafe_b64encode(str(last).encode()).decode().rstrip("=")


def page_of(found: Sequence[T], limit: int, place: Callable[[T], Any]) -> Page[T]:
    """The first `limit` of what was found; one row more says that there is another page, after its `place`."""
    last = cursor_of(place(found[limit - 1])) if len(found) > limit else None
    return Page(data=list(found[:limit]), next_cursor=last)


def after(cursor: str | None) -> str | None:
    """Where the page before ended. Raises RequestError for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = raw.decode()
    except (binascii.Error, ValueError):
        raise RequestError("that is no cursor", hint="send next_cursor as it came") from None
    if "\0" in text:
        raise RequestError("that is no cursor", hint="send next_cursor as it came")
    return text


def number_after(cursor: str | None, kind: Callable[[str], T]) -> T | None:
    """The same where pages are ordered by a number."""
    text = after(cursor)
    try:
        return None if text is None else kind(text)
    except ValueError:
        raise RequestError("that is no cursor", hint="send next_cursor as it came") from None
