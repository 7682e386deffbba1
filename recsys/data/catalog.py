"""The items of a domain, found by id or by the title a person would type."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from recsys.config import Feedback
from recsys.errors import RequestError, UnknownItem
from recsys.types import HistoryEntry, Interaction, Item

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


class Catalog:
    """All items, in a stable order."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._by_id = {item.id: item for item in items}
        self._by_title: dict[str, list[Item]] = defaultdict(list)
        for item in self._by_id.values():
            self._by_title[_key(item.title)].append(item)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._by_id.values())

    def get(self, item_id: str) -> Item | None:
        return self._by_id.get(item_id)

    def by_id(self, item_id: str) -> Item:
        """Raises UnknownItem."""
        try:
            return self._by_id[item_id]
        except KeyError:
            raise UnknownItem(
                f"no item '{item_id[:80]}'", hint="ids are those of the imported data"
            ) from None

    def find(self, title: str) -> Item:
        """The item a person means by a title, with or without its year, in any case.

        Raises UnknownItem with close titles, or RequestError when several items
        bear that title.
        """
        match = _YEAR.search(title)
        year = int(match.group(1)) if match else None
        plain = _YEAR.sub("", title)
        found = self._by_title.get(_key(title)) or self._by_title.get(_key(plain)) or []
        if year is not None and len(found) > 1:
            found = [item for item in found if item.year == year]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{item.name} = id {item.id}" for item in found[:5])
            raise RequestError(f"several items are called '{title[:80]}'", hint=f"say which: {names}")
        close = difflib.get_close_matches(_key(plain)[:200], self._by_title, n=3, cutoff=0.6)
        names = ", ".join(self._by_title[key][0].name for key in close)
        raise UnknownItem(
            f"no item is called '{title[:80]}'",
            hint=f"did you mean: {names}?" if names else "check the title",
        )

    def find_any(self, title_or_id: str) -> Item:
        """By id where one matches exactly, else by title."""
        return self._by_id.get(title_or_id) or self.find(title_or_id)

    def entries(self, events: Iterable[Interaction], feedback: Feedback) -> tuple[HistoryEntry, ...]:
        """Events as history, those left out whose item the catalogue no longer has."""
        return tuple(
            HistoryEntry(
                item=item, liked=feedback.liked(event.rating), rating=event.rating, timestamp=event.timestamp
            )
            for event in events
            if (item := self.get(event.item_id)) is not None
        )

    def history_of(self, liked: Sequence[str], disliked: Sequence[str] = ()) -> tuple[HistoryEntry, ...]:
        """A history for someone without an id, out of titles or ids, oldest first."""
        entries = [HistoryEntry(item=self.find_any(name), liked=False) for name in disliked]
        return (*entries, *(HistoryEntry(item=self.find_any(name), liked=True) for name in liked))


def _key(title: str) -> str:
    """Case, punctuation and a leading or trailing English article do not matter."""
    words = re.findall(r"\w+", title.casefold())
    if len(words) > 1 and words[-1] in ("the", "a", "an"):
        words.pop()
    if len(words) > 1 and words[0] in ("the", "a", "an"):
        words.pop(0)
    return " ".join(words) or title.strip()
