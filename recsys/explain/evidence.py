"""What may be said about an item: facts that exist, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.prompting import clean_text
from recsys.types import Candidate, Context, Evidence, HistoryEntry, Item

# A change of log-odds below this (nats) is within the noise of bf16 and batching:
# a context that moves an item by less is not offered as a reason.
CONTEXT_EFFECT = 0.1
ATTRIBUTES_SHOWN = 3
TITLE_LIMIT = 120  # characters of a title in a reason
ATTRIBUTE_LIMIT = 60  # and of an attribute


@dataclass(frozen=True)
class ReasonCase:
    """One item to explain. `shared` tells, for each history id, which attribute ids
    of the item that history item has too; `nouns` are the domain's own words for an
    item; `variant` chooses among equal sentences."""

    item: Item
    evidence: tuple[Evidence, ...]
    shared: Mapping[str, tuple[str, ...]]
    nouns: tuple[str, str]
    variant: int = 0

    def by_kind(self, kind: str) -> list[Evidence]:
        return [entry for entry in self.evidence if entry.kind == kind]

    @property
    def claims(self) -> bool:
        """Whether anything speaks for the item; the situation alone makes no sentence."""
        return any(entry.kind != "context" for entry in self.evidence)


def collect_evidence(
    candidate: Candidate,
    history: Sequence[HistoryEntry],
    context: Context,
    *,
    nouns: tuple[str, str],
    history_shown: int,
    top_rank: int,
    context_effect: float | None = None,
    variant: int = 0,
) -> ReasonCase:
    """Everything that may be cited for one candidate, strongest first.

    History: liked items only, by their exact share of the text channel's score,
    and only while that share is positive. Context: only where leaving it out
    lowered the item's log-odds by more than CONTEXT_EFFECT (`context_effect`,
    nats; None = not measured = not offered). Wish: only where the text channel put
    the item among its first `top_rank`. Popularity: only where nothing else speaks
    for the item and it is among the `top_rank` most popular.
    """
    liked = [entry for entry in history if entry.liked and candidate.because.get(entry.item.id, 0.0) > 0]
    chosen = sorted(liked, key=lambda entry: (-candidate.because[entry.item.id], entry.item.id))[
        :history_shown
    ]

    attributes = _attribute_evidence(candidate.item, [entry.item for entry in chosen])
    past = [
        Evidence(
            id=f"h{number}",
            kind="history",
            text=shown_title(entry.item, nouns[0]),
            item_id=entry.item.id,
            contribution=candidate.because[entry.item.id],
            measure="share of text similarity",
        )
        for number, entry in enumerate(chosen, start=1)
    ]
    shared = {
        fact.id: tuple(a.id for a in attributes if a.text in _values(entry.item))
        for fact, entry in zip(past, chosen, strict=True)
    }
    evidence = [*past, *attributes]
    if context.wish and candidate.channels.get("text", top_rank + 1) <= top_rank:
        evidence.append(
            Evidence(
                id="w1",
                kind="wish",
                text=f'"{clean_text(context.wish)}"',
                contribution=float(candidate.channels["text"]),
                measure="rank by text similarity to wish and history",
            )
        )
    if context_effect is not None and context_effect > CONTEXT_EFFECT:
        evidence += _context_evidence(context, context_effect)
    if not past and not context.wish and candidate.channels.get("popularity", top_rank + 1) <= top_rank:
        evidence.append(
            Evidence(
                id="p1",
                kind="popularity",
                text=f"the {nouns[1]} people here choose most",
                contribution=float(candidate.channels["popularity"]),
                measure="rank by popularity",
            )
        )
    return ReasonCase(candidate.item, tuple(evidence), shared, nouns, variant)


def _attribute_evidence(item: Item, liked: Sequence[Item]) -> list[Evidence]:
    """The item's attribute values, those that liked items have too first."""
    votes = {value: sum(value in _values(other) for other in liked) for value in _values(item)}
    values = sorted(votes, key=lambda value: -votes[value])[:ATTRIBUTES_SHOWN]
    return [
        Evidence(id=f"a{n}", kind="attribute", text=value, item_id=item.id)
        for n, value in enumerate(values, 1)
    ]


def _context_evidence(context: Context, effect: float) -> list[Evidence]:
    """The situation as a few phrases; its effect was measured as a whole."""
    when = " ".join(filter(None, (context.weekday, context.part_of_day if context.weekday else None)))
    phrases = [
        f"a {when}" if when else "",
        f"being in {context.place.name}" if context.place and context.place.name else "",
    ]
    phrases += [f"{name} {value}" for name, value in context.extra.items()]
    phrases = [clean_text(phrase) for phrase in phrases]
    return [
        Evidence(
            id=f"c{n}",
            kind="context",
            text=phrase,
            contribution=effect,
            measure="log-odds with and without context",
        )
        for n, phrase in enumerate(filter(None, phrases), start=1)
    ]


def shown_title(item: Item, noun: str) -> str:
    """An item's title as a reason may show it; of one that has nothing to show, its id."""
    return clean_text(item.title, TITLE_LIMIT) or clean_text(f"{noun} {item.id}", TITLE_LIMIT)


def _values(item: Item) -> list[str]:
    """Attribute values as they are shown; what cleaning leaves nothing of is none."""
    cleaned = [clean_text(value, ATTRIBUTE_LIMIT) for values in item.attributes.values() for value in values]
    return [value for value in cleaned if value]
