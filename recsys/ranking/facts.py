"""What retrieval knows of a candidate, in a few words that a small model can read.

A language model cannot count who met what; the retriever did. `match` tells how the
retriever sees the candidate against the best it brought, `popularity` how many know it,
`with` which item of the history it is most often met together with. An item that nobody
met has none of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.config import Fact
from recsys.types import Candidate, HistoryEntry

BEST = 99
PER_NAT = 10  # match points per nat of the retriever's score


def candidate_facts(
    candidates: Sequence[Candidate], history: Sequence[HistoryEntry], wanted: Sequence[Fact]
) -> list[dict[str, str]]:
    """The wanted facts of each candidate, as name -> short text; {} for an item nobody met."""
    names = {entry.item.id: entry.item.name for entry in history}
    return [_facts(candidate, names, wanted) for candidate in candidates]


def _facts(candidate: Candidate, names: Mapping[str, str], wanted: Sequence[Fact]) -> dict[str, str]:
    if candidate.popularity is None:
        return {}
    facts = {
        "match": "" if candidate.lead is None else str(max(0, round(BEST + PER_NAT * candidate.lead))),
        "popularity": str(min(9, int(10 * candidate.popularity))),
        "with": next((names[item_id] for item_id in candidate.together if item_id in names), ""),
    }
    return {name: facts[name] for name in wanted if facts[name]}
