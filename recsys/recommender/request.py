"""What may be asked of a recommender, and a request once retrieval is done."""

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
    """What a request may say beside its user: `Recommender.prepare` tells what each means."""

    liked: Sequence[str]
    disliked: Sequence[str]
    at: str | dt.datetime | None
    place: str | Place | None
    wish: str
    extra: Mapping[str, str] | None
    rule: Filter | None
    n_candidates: int | None


@dataclass(frozen=True)
class Prepared:
    """A request after retrieval: all that ranking and reasons read. `query` is what was retrieved by."""

    query: Query
    request: RankRequest
    user_id: str | None
    notes: tuple[str, ...]
    timings: dict[str, float]


def known_user(
    store: Store, domain: str, user: str | None, described: bool
) -> tuple[User | None, tuple[str, ...]]:
    """The user if known, and a note that says what happens if not; `described` tells if anything was said of them."""
    if user is None:
        return None, () if described else ("nobody was named or described: the most popular come first",)
    try:
        return store.user(domain, user), ()
    except UnknownUser:
        basis = "what was said of them" if described else "popularity"
        return None, (f"user '{user[:80]}' is not known: recommendations stand on {basis}",)


def candidates_wanted(k: int, n_candidates: int | None, default: int) -> int:
    """How many candidates to retrieve for `k` answers. Raises RequestError for sizes that cannot be meant."""
    wanted = n_candidates if n_candidates is not None else max(k, default)
    if k < 1:
        raise RequestError(f"k is {k}: nothing would be returned", hint="ask for 1 or more")
    if not k <= wanted <= MAX_CANDIDATES:
        raise RequestError(
            f"n_candidates is {wanted}, k is {k}", hint=f"it must lie between k and {MAX_CANDIDATES}"
        )
    return wanted


def with_extra_candidates(prepared: Prepared, items: Sequence[Item], retriever: HybridRetriever) -> Prepared:
    """The same request with these items among its candidates, noting which retrieval did not bring.

    Raises RequestError for one item twice, or one that the retriever does not have.
    """
    if len({item.id for item in items}) < len(items):
        raise RequestError("both items are the same", hint="name two different ones")
    request = prepared.request
    there = {candidate.item.id for candidate in request.candidates}
    missing = [item for item in items if item.id not in there]
    found = retriever.rescore(prepared.query, [item.id for item in missing])
    if len(found) < len(missing):
        raise RequestError(f"'{missing[0].name[:80]}' is not in the index", hint="ask again in a moment")
    notes = tuple(
        f"{item.name[:80]} is in the history already: scored beside the candidates"
        if item.id in prepared.query.exclude
        else f"{item.name[:80]} was not among the {len(there)} candidates: scored beside them"
        for item in missing
    )
    return dataclasses.replace(
        prepared,
        request=dataclasses.replace(request, candidates=(*request.candidates, *found)),
        notes=prepared.notes + notes,
    )


def retriever_order(candidates: Sequence[Candidate]) -> list[int]:
    """Positions by the retriever's score, best first; equal scores stay as they are."""
    return sorted(range(len(candidates)), key=lambda position: -candidates[position].score)
