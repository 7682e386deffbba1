"""What a request knows, and where the model can change its order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from recsys.config.ranking import RequestKind
from recsys.types import Candidate, Context, HistoryEntry

KNOWN_FROM = 3  # entries of a history; with fewer a person is new
STEP = 1e-9  # by which equal scores are set apart: less than any other difference


class Asked(Protocol):
    """What of a request tells its kinds."""

    @property
    def candidates(self) -> Sequence[Candidate]: ...

    @property
    def history(self) -> Sequence[HistoryEntry]: ...

    @property
    def context(self) -> Context: ...


def kinds_of(request: Asked) -> list[RequestKind]:
    """Return what kinds a request is of, the one that says most first; last "plain"."""
    new = sum(candidate.popularity is None for candidate in request.candidates)
    holds: dict[RequestKind, bool] = {
        "wish": bool(request.context.wish.strip()),
        "new-items": 2 * new > len(request.candidates),
        "new-user": len(request.history) < KNOWN_FROM,
        "context": bool(request.context.facts),
        "plain": True,
    }
    return [kind for kind, is_so in holds.items() if is_so]


def tells_apart(candidates: Sequence[Candidate]) -> bool:
    """Return whether the retriever knows more of some candidates than of others."""
    return len({candidate.score for candidate in candidates}) > 1


def has_ties(candidates: Sequence[Candidate], k: int) -> bool:
    """Return whether the retriever leaves open what the first k are, or their order."""
    order = sorted(candidates, key=lambda candidate: -candidate.score)
    return any(_known(one) == _known(other) for one, other in itertools.pairwise(order[: k + 1]))


def with_ties_broken(candidates: Sequence[Candidate], log_odds: Sequence[float]) -> list[float]:
    """Return the retriever's scores, of which equal ones are ordered by the model.

    Those that fill a list up have one score, but come in the order of their popularity: they are no ties.
    """
    first: dict[tuple[float, float | None], int] = {}
    for position, candidate in enumerate(candidates):
        first.setdefault(_known(candidate), position)
    order = sorted(
        range(len(candidates)),
        key=lambda p: (-candidates[p].score, first[_known(candidates[p])], -log_odds[p]),
    )
    places = {position: place for place, position in enumerate(order)}
    return [candidate.score - STEP * places[position] for position, candidate in enumerate(candidates)]


def _known(candidate: Candidate) -> tuple[float, float | None]:
    return candidate.score, candidate.popularity
