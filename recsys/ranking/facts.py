"""Facts about a candidate in this request, in a few words for a small model.

A language model cannot count interactions; the retriever did. `match` compares the retriever's score
with that of its best candidate, `popularity` is a decile, `with` the history item it co-occurs with
most. An item without interactions has none of these. `related` is what it is to an item of the history
by the relations of the domain. Nor can the model measure distances or read
clocks: `repeat` is how often and when the person chose the candidate before, `distance` is from the
person to the candidate, `open` its opening at the time of the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.config.ranking import Fact
from recsys.context.geo import DAY, distance_km, hours_of, minute_of_week
from recsys.types import Candidate, Context, HistoryEntry, Site

BEST = 99  # match points of the best candidate
SECONDS_A_DAY = 86_400
PER_NAT = 10  # match points per nat of the retriever's score


def candidate_facts(
    candidates: Sequence[Candidate],
    history: Sequence[HistoryEntry],
    wanted: Sequence[Fact],
    context: Context | None = None,
    chosen: Mapping[str, HistoryEntry] | None = None,
) -> list[dict[str, str]]:
    """Return the wanted facts of each candidate: name -> short text, if known."""
    names = {entry.item.id: entry.item.name for entry in history}
    context = context or Context()
    known = [
        _retrieval_facts(candidate, names)
        | {"related": related_text(candidate, names)}
        | _site_facts(candidate.item.site, context)
        | _repeat_facts((chosen or {}).get(candidate.item.id), context)
        for candidate in candidates
    ]
    return [{name: facts[name] for name in wanted if facts.get(name)} for facts in known]


def _retrieval_facts(candidate: Candidate, names: Mapping[str, str]) -> dict[str, str]:
    if candidate.popularity is None:
        return {}
    return {
        "match": "" if candidate.lead is None else str(max(0, round(BEST + PER_NAT * candidate.lead))),
        "popularity": str(min(9, int(10 * candidate.popularity))),
        "with": next((names[item_id] for item_id in candidate.co_consumed if item_id in names), ""),
    }


def related_text(candidate: Candidate, names: Mapping[str, str]) -> str:
    """Return how a candidate is related to the history, in words; "" if it is not.

    Such as "sequel of Alien (1979)" or "director Ridley Scott, as Alien (1979)".
    """
    for related in candidate.related:
        if related.item_id in names:
            name, relation = names[related.item_id], related.relation.replace("_", " ")
            if related.value:
                return f"{relation} {related.value}, as {name}"
            return f"{relation} of {name}" if related.forward else f"{name} is its {relation}"
    return ""


def _repeat_facts(entry: HistoryEntry | None, context: Context) -> dict[str, str]:
    return {} if entry is None else {"repeat": repeat_text(entry, context)}


def repeat_text(entry: HistoryEntry, context: Context) -> str:
    """Return how often and when an item was chosen, in words.

    Such as "12 times, about every 7 days, last 6 days ago".
    """
    parts = ["once" if entry.times == 1 else f"{entry.times} times"]
    if entry.cycle is not None:
        days = max(1, round(entry.cycle / SECONDS_A_DAY))
        parts.append(f"about every {days} days" if days > 1 else "about every day")
    if entry.timestamp is not None and context.time is not None:
        ago = int((context.time.timestamp() - entry.timestamp) / SECONDS_A_DAY)
        if ago >= 0:
            last = {0: "within a day", 1: "a day ago"}.get(ago, f"{ago} days ago")
            parts.append(f"last {last}" if entry.times > 1 else last)
    return ", ".join(parts)


def _site_facts(site: Site | None, context: Context) -> dict[str, str]:
    if site is None:
        return {}
    return {"distance": distance_text(site, context), "open": open_text(site, context)}


def distance_text(site: Site, context: Context) -> str:
    """Return the distance from the person, such as "1.2 km"; "" if unknown."""
    origin = context.place
    if origin is None or origin.latitude is None or origin.longitude is None:
        return ""
    if site.latitude is None or site.longitude is None:
        return ""
    km = float(distance_km(origin.latitude, origin.longitude, site.latitude, site.longitude))
    return f"{km:.1f} km" if km < 10 else f"{km:,.0f} km"


def open_text(site: Site, context: Context) -> str:
    """Return "now", "at 17:00" (later today) or "not today"; "" if unknown."""
    hours, now = hours_of(site), minute_of_week(context)
    if hours is None or now is None:
        return ""
    if hours.open_at(now):
        return "now"
    opens = hours.opens_after(now)
    if opens is None or opens <= now or opens // DAY != now // DAY:
        return "not today"
    return f"at {opens % DAY // 60:02}:{opens % 60:02}"
