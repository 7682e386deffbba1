"""What retrieval is asked, and what every retriever promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recsys.types import Candidate, HistoryEntry


@dataclass(frozen=True)
class Query:
    """One request for candidates.

    `history` is oldest first. `wish` is what the person asks for in their own
    words, empty if nothing. `exclude` holds item ids that are never returned;
    history is not excluded by itself.
    """

    history: tuple[HistoryEntry, ...] = ()
    wish: str = ""
    exclude: frozenset[str] = frozenset()


class Retriever(Protocol):
    """Finds the items of the catalogue that are worth ranking."""

    def retrieve(self, query: Query, n: int) -> list[Candidate]:
        """At most `n` candidates, best first: no duplicates, none of `query.exclude`.

        The list is shorter than `n` only if the catalogue has no more, or if the
        retriever has nothing to go by (text, with neither history nor wish).
        Equal queries give equal lists; ties are ordered by item id.
        """
        ...
