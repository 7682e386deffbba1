"""Lists in pages: a limit, and an opaque cursor for where the previous page ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from recsys.errors import RequestError
from recsys.service.api.schemas import MAX_PAGE, Page

T = TypeVar("T")
N = TypeVar("N", int, float)
MAX_POSITION = 2**63  # beyond it are the integers of no database

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many at once")]
Cursor = Annotated[
    str | None,
    Query(
        description="`next_cursor` of the previous page",
        pattern=r"^[A-Za-z0-9_-]*$",
        max_length=1100,  # 200 characters of any script
    ),
]


def page_of(rows: Sequence[T], limit: int, position: Callable[[T], Any]) -> Page[T]:
    """Return a page of the first `limit` rows.

    If there are more rows, its cursor is the `position` of the last row on the page.
    """
    last = _cursor_of(position(rows[limit - 1])) if len(rows) > limit else None
    return Page(data=list(rows[:limit]), next_cursor=last)


def text_after(cursor: str | None) -> str | None:
    """Decode a cursor; None stays None. Raises RequestError."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = raw.decode()
    except (binascii.Error, ValueError):
        raise _invalid_cursor() from None
    if "\0" in text:
        raise _invalid_cursor()
    return text


def number_after(cursor: str | None, kind: type[N]) -> N | None:
    """Decode the cursor of a list that is ordered by a number. Raises RequestError."""
    text = text_after(cursor)
    if text is None:
        return None
    try:
        number = kind(text)
    except ValueError:
        raise _invalid_cursor() from None
    if str(number) != text or not abs(number) < MAX_POSITION:  # nor is what is not a number
        raise _invalid_cursor()
    return number


def _cursor_of(position: Any) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def _invalid_cursor() -> RequestError:
    return RequestError("that is no cursor", hint="send next_cursor as it came")
