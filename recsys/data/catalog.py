"""The items of a domain, found by id or by title."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from recsys.config import Feedback, Privacy
from recsys.context.pii import mask
from recsys.errors import RequestError, UnknownItem
from recsys.types import HistoryEntry, Interaction, Item

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


class Catalog:
    """All items of a domain, in a stable order."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._by_id = {item.id: item for item in items}
        self._by_title: dict[str, list[Item]] = defaultdict(list)
        for item in self._by_id.values():
            self._by_title[_key(item.title)].append(item)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._by_id.values())

    @cached_property
    def attributes(self) -> Mapping[str, frozenset[str]]:
        """Return attribute -> all its values, as they are written."""
        values: dict[str, set[str]] = defaultdict(set)
        for item in self:
            for name, own in item.attributes.items():
                values[name].update(own)
        return {name: frozenset(of) for name, of in values.items()}

    def get(self, item_id: str) -> Item | None:
        """Return the item with an id, if there is one."""
        return self._by_id.get(item_id)

    def by_id(self, item_id: str) -> Item:
        """Return the item with an id. Raises UnknownItem."""
        try:
            return self._by_id[item_id]
        except KeyError:
            raise UnknownItem(
                f"no item '{_quoted(item_id)}'", hint="ids are those of the imported data"
            ) from None

    def find(self, title: str) -> Item:
        """Find an item by its title, with or without the year, in any case.

        Raises:
            UnknownItem: No item has the title; the hint names similar ones.
            RequestError: Several items have the title; the hint names them.
        """
        match = _YEAR.search(title)
        year = int(match.group(1)) if match else None
        without_year = _YEAR.sub("", title)
        matches = self._by_title.get(_key(title)) or self._by_title.get(_key(without_year)) or []
        if year is not None and len(matches) > 1:
            matches = [item for item in matches if item.year == year]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(f"{item.name} = id {item.id}" for item in matches[:5])
            raise RequestError(f"several items are called '{_quoted(title)}'", hint=f"say which: {names}")
        close = difflib.get_close_matches(_key(without_year)[:200], self._by_title, n=3, cutoff=0.6)
        names = ", ".join(self._by_title[key][0].name for key in close)
        raise UnknownItem(
            f"no item is called '{_quoted(title)}'",
            hint=f"did you mean: {names}?" if names else "check the title",
        )

    def find_any(self, title_or_id: str) -> Item:
        """Find an item by its exact id, else by its title."""
        return self._by_id.get(title_or_id) or self.find(title_or_id)

    def entries(self, events: Iterable[Interaction], feedback: Feedback) -> tuple[HistoryEntry, ...]:
        """Return events as a history with each item once.

        An item stands where it came last, with its last rating and how often it came.
        Events of items that no longer exist are left out.
        """
        latest: dict[str, tuple[Interaction, float | None]] = {}  # with the last rating
        times: dict[str, list[float | None]] = defaultdict(list)
        for event in events:
            if event.item_id not in self._by_id:
                continue
            times[event.item_id].append(event.timestamp)
            _, before = latest.pop(event.item_id, (None, None))  # so that it moves to the end
            latest[event.item_id] = (event, before if event.rating is None else event.rating)
        return tuple(
            HistoryEntry(
                item=self._by_id[event.item_id],
                liked=feedback.liked(rating),
                rating=rating,
                timestamp=event.timestamp,
                times=len(times[event.item_id]),
                first=times[event.item_id][0] if len(times[event.item_id]) > 1 else None,
            )
            for event, rating in latest.values()
        )

    def history_of(self, liked: Sequence[str], disliked: Sequence[str] = ()) -> tuple[HistoryEntry, ...]:
        """Build a history from titles or ids, oldest first."""
        entries = [HistoryEntry(item=self.find_any(name), liked=False) for name in disliked]
        return (*entries, *(HistoryEntry(item=self.find_any(name), liked=True) for name in liked))


def _quoted(text: str) -> str:
    """Return what a message quotes of a title that somebody typed."""
    return mask(text[:200], Privacy())[:80]


def _key(title: str) -> str:
    """Return a title without case, punctuation, and English article at either end."""
    words = re.findall(r"\w+", title.casefold())
    if len(words) > 1 and words[-1] in ("the", "a", "an"):
        words.pop()
    if len(words) > 1 and words[0] in ("the", "a", "an"):
        words.pop(0)
    return " ".join(words) or title.strip()
