"""What a request may say, and the request after retrieval."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from recsys.data.store import Store
from recsys.errors import RequestError, UnknownUser
from recsys.explain.evidence import AskedFor
from recsys.knowledge.reordering import Refusal
from recsys.knowledge.rules import BoundRule, CheckedRule, Gate
from recsys.ranking import RankRequest
from recsys.recommender.wishes import ReadWish
from recsys.types import Candidate, Conversation, Filter, Item, Place, User
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
    conversation: Conversation | None  # of an earlier answer: the wish is a follow-up, and may be empty
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
    gate: Gate  # the rules in force
    k: int  # how many are returned
    found: tuple[Item, ...] = ()  # what retrieval would have returned without rules
    conflicts: tuple[tuple[Item, Refusal], ...] = ()  # with items of the list, from an earlier ranking
    read: ReadWish | None = None  # how the wish was read; None without one

    def asked_of(self, top: Iterable[int]) -> AskedFor | None:
        """Return what the wish asks for of the candidates at `top`; None without one."""
        items = self.request.items
        return self.read.told_of(items[position] for position in top) if self.read else None


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
    notes = tuple(f"{_why_missing(prepared, item)}: scored beside the candidates" for item in missing)
    return dataclasses.replace(
        prepared,
        request=dataclasses.replace(request, candidates=(*request.candidates, *scored)),
        notes=prepared.notes + notes,
    )


def compatible_candidates(
    prepared: Prepared, kept: Sequence[Candidate], k: int, retriever: HybridRetriever
) -> list[Candidate]:
    """Return k candidates that can stand in one list, `kept` first, or fewer."""
    chosen = list(kept)
    while len(chosen) < k:
        gate = _BesideGate(prepared.gate, [candidate.item for candidate in chosen])
        exclude = prepared.query.exclude.union(item.id for item in gate.kept)
        query = dataclasses.replace(prepared.query, exclude=exclude)
        found = retriever.retrieve_gated(query, k - len(chosen), gate).candidates
        if not found:
            break
        for candidate in found:
            if gate.allows(candidate.item):
                chosen.append(candidate)
                gate.kept.append(candidate.item)
    return chosen


@dataclass(frozen=True)
class _BesideGate:
    """Lets items through that can stand beside others."""

    gate: Gate
    kept: list[Item]

    @property
    def masks(self) -> list[CheckedRule | BoundRule]:
        return self.gate.masks

    def allows(self, item: Item) -> bool:
        alone = self.gate.allows(item) and not self.gate.over_limit(item, self.kept)
        return alone and not any(self.gate.conflict(item, other) for other in self.kept)


def _why_missing(prepared: Prepared, item: Item) -> str:
    if rule := prepared.gate.refusal(item):
        return f"{item.name[:80]} is left out by the rule '{rule.name}'"
    if prepared.read and (not_met := prepared.read.not_met(item)):
        return f"{item.name[:80]} is not what was asked for ({', '.join(not_met)})"
    if item.id in prepared.query.exclude:
        return f"{item.name[:80]} is in the history already"
    return f"{item.name[:80]} was not among the {len(prepared.request.candidates)} candidates"


def retriever_order(candidates: Sequence[Candidate]) -> list[int]:
    """Return positions by the retriever's score, best first; ties keep their order."""
    return sorted(range(len(candidates)), key=lambda position: -candidates[position].score)
