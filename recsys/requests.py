"""What may be asked of a recommender, and a request once retrieval is done."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.errors import RequestError
from recsys.ranking import RankRequest

MAX_CANDIDATES = 1000


@dataclass(frozen=True)
class Prepared:
    """A request after retrieval: all that ranking and reasons read."""

    request: RankRequest
    user_id: str | None
    notes: tuple[str, ...]
    timings: dict[str, float]


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
