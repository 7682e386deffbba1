"""What a request may say, and the request after retrieval."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from recsys.data.store import Store
from recsys.errors import RequestError, UnknownUser
from recsys.ranking import RankRequest
from recsys.types import Candidate, Filter, Item, Place, User
from retrieval import HybridRetriever, Query

MAX_CANDIDATES = 1000


class RequestOptions(TypedDict, total=False):
    """What a request may say besides its user."""

    liked: Sequence[str]  # titles or ids
    disliked: Sequence[str]  # titles or ids
    at: str | dt.datetime | None  # as in `build_context`
    place: str | Place | None  # as in `build_context`
    country: str | None  # name or ISO code of what `place` is in; by default the domain's
    wish: str  # what is wanted, in plain words
    extra: Mapping[str, str] | None  # further facts of the moment
    rule: Filter | None  # which items may be recommended
    n_candidates: int | None  # how many candidates are ranked; by default the domain's number


@dataclass(frozen=True)
class Prepared:
    """A request after retrieval: everything that ranking and explaining read."""

    query: Query  # what the retriever was asked
    request: RankRequest
    user_id: str | None
    notes: tuple[str, ...]
    timings: Mapping[str, float]  # seconds of context and retrieval


def known_user(
    store: Store, domain: str, user: str | None, described: bool
) -> tuple[User | None, tuple[str, ...]]:
    """Look up a user.

    Args:
        described: whether the request itself says anything about the person.

    Returns:
        The user or None, and notes about what the answer stands on when the user is not known.
    """
    if user is None:
        return None, () if described else ("nobody was named or described: the most popular come first",)
    try:
        return store.user(domain, user), ()
    except UnknownUser:
        basis = "what was said of them" if described else "popularity"
        return None, (f"user '{user[:80]}' is not known: recommendations stand on {basis}",)


def candidates_wanted(k: int, n_candidates: int | None, default: int) -> int:
    """Return how many candidates to retrieve for `k` items.

    Raises:
        RequestError: A size is impossible.
    """
    wanted = n_candidates if n_candidates is not None else max(k, default)
    if k < 1:
        raise RequestError(f"k is {k}: nothing would be returned", hint="ask for 1 or more")
    if not k <= wanted <= MAX_CANDIDATES:
        raise RequestError(
            f"n_candidates is {wanted}, k is {k}", hint=f"it must lie between k and {MAX_CANDIDATES}"
        )
    return wanted


def with_extra_candidates(prepared: Prepared, items: Sequence[Item], retriever: HybridRetriever) -> Prepared:
    """Add items to the candidates, with a note for each that was not retrieved.

    Raises RequestError if an item is named twice, or is not in the index.
    """
    if len({item.id for item in items}) < len(items):
        raise RequestError("both items are the same", hint="name two different ones")
    request = prepared.request
    candidate_ids = {candidate.item.id for candidate in request.candidates}
    missing = [item for item in items if item.id not in candidate_ids]
    scored = retriever.rescore(prepared.query, [item.id for item in missing])
    if len(scored) < len(missing):
        raise RequestError(f"'{missing[0].name[:80]}' is not in the index", hint="ask again in a moment")
    notes = tuple(
        f"{item.name[:80]} is in the history already: scored beside the candidates"
        if item.id in prepared.query.exclude
        else f"{item.name[:80]} was not among the {len(candidate_ids)} candidates: scored beside them"
        for item in missing
    )
    return dataclasses.replace(
        prepared,
        request=dataclasses.replace(request, candidates=(*request.candidates, *scored)),
        notes=prepared.notes + notes,
    )


def retriever_order(candidates: Sequence[Candidate]) -> list[int]:
    """Return positions by the retriever's score, best first; ties keep their order."""
    return sorted(range(len(candidates)), key=lambda position: -candidates[position].score)
