"""What is known of a candidate in this request, in a few words that a small model can read.

A language model cannot count who met what; the retriever did. `match` tells how the
retriever sees the candidate against the best it brought, `popularity` how many know it,
`with` which item of the history it is most often met together with. An item that nobody
met has none of these. Nor can it measure a map or read a clock: `distance` is how far the
candidate is from where the person is, `open` whether it is open at the time of the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.config.ranking import Fact
from recsys.context.geo import DAY, distance_km, hours_of, minute_of_week
from recsys.types import Candidate, Context, HistoryEntry, Site

BEST = 99
PER_NAT = 10  # match points per nat of the retriever's score


def candidate_facts(
    candidates: Sequence[Candidate],
    history: Sequence[HistoryEntry],
    wanted: Sequence[Fact],
    context: Context | None = None,
) -> list[dict[str, str]]:
    """The wanted facts of each candidate, as name -> short text; what is not known is left out."""
    names = {entry.item.id: entry.item.name for entry in history}
    found = [
        _retrieved(candidate, names) | _situated(candidate.item.site, context or Context())
        for candidate in candidates
    ]
    return [{name: facts[name] for name in wanted if facts.get(name)} for facts in found]


def _retrieved(candidate: Candidate, names: Mapping[str, str]) -> dict[str, str]:
    if candidate.popularity is None:
        return {}
    return {
        "match": "" if candidate.lead is None else str(max(0, round(BEST + PER_NAT * candidate.lead))),
        "popularity": str(min(9, int(10 * candidate.popularity))),
        "with": next((names[item_id] for item_id in candidate.co_consumed if item_id in names), ""),
    }


def _situated(site: Site | None, context: Context) -> dict[str, str]:
    return (
        {} if site is None else {"distance": distance_text(site, context), "open": open_text(site, context)}
    )


def distance_text(site: Site, context: Context) -> str:
    """ "1.2 km" from where the person is; "" where either is unknown."""
    here = context.place
    if here is None or here.latitude is None or here.longitude is None:
        return ""
    if site.latitude is None or site.longitude is None:
        return ""
    far = float(distance_km(here.latitude, here.longitude, site.latitude, site.longitude))
    return f"{far:.1f} km" if far < 10 else f"{far:,.0f} km"


def open_text(site: Site, context: Context) -> str:
    """ "now", "at 17:00" (later today) or "not today"; "" where hours or clock time are unknown."""
    hours, now = hours_of(site), minute_of_week(context)
    if hours is None or now is None:
        return ""
    if hours.open_at(now):
        return "now"
    opens = hours.opens_after(now)
    if opens is None or opens <= now or opens // DAY != now // DAY:
        return "not today"
    return f"at {opens % DAY // 60:02}:{opens % 60:02}"
