"""What was measured for one candidate, and the words for a part of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recsys.explain.causes import Cause
from recsys.explain.item_parts import ItemPart
from recsys.explain.past import Past
from recsys.explain.phrases import Fact
from recsys.explain.request_parts import Kind, RequestPart
from recsys.types import Candidate, Context, Evidence, EvidenceKind, HistoryEntry, Item
from recsys.utils.sanitize import clean_text

MEASURE = "log p with and without"
ITEM_MEASURE = "log p of the item read with and without"
RETRIEVAL_DEPENDENT = "without it no candidate"
WISH = RequestPart("wish")
PROFILE = RequestPart("profile")
POPULARITY = RequestPart("popularity")
AGAINST_SHOWN = 3
POPULAR = 0.9  # cite popularity only if at least this share of the catalogue is less popular
RARE_AMONG = 10  # a fact can be rare only in a history of at least so many items
RARE_SHARE = 0.1  # and if at most this share of them has it
TITLE_LIMIT = 120  # characters of a title in a reason

CONTEXT_KINDS: tuple[Kind, ...] = ("time", "place", "fact")
_EVIDENCE_KINDS: Mapping[Kind, EvidenceKind] = {
    "time": "context",
    "place": "context",
    "fact": "context",
    "wish": "wish",
    "profile": "profile",
    "popularity": "popularity",
    "history": "history",
}


@dataclass(frozen=True)
class AskedFor:
    """What of the items a wish asks for, as it was read."""

    facts: Mapping[str, Sequence[Fact]] = field(default_factory=dict)  # item id -> facts of it
    examples: frozenset[str] = frozenset()  # ids of items that it names: "like Alien, but older"


@dataclass(frozen=True)
class MeasuredCandidate:
    """One candidate with what was measured for it."""

    candidate: Candidate
    facts: Sequence[Fact]  # what a reason may say of it
    past: Past
    context: Context
    effects: Mapping[RequestPart, float]  # nats; log p with the part less log p without it
    causes: Sequence[tuple[Cause, float]]  # of the history, with their effects
    own_effects: Mapping[ItemPart, float] = field(default_factory=dict)  # of parts of the item
    noise: float = 0.0  # nats; an effect up to this size is not cited
    measure: str = MEASURE
    listed: bool = True
    rank: int = 1
    history_effect: float = 0.0  # nats; of the whole history at once
    retrieval_dependent: bool = False  # without the wish the item would not be a candidate
    asked: Sequence[Fact] = ()  # facts of the item that the wish asks for
    examples: frozenset[str] = frozenset()  # ids in `history` of items that the wish names
    close: bool = False  # whether its text is close to the wish
    chosen: HistoryEntry | None = None  # when the person chose the item itself, where that may repeat
    own: Sequence[Fact] = ()  # facts of the item that the person's profile has too

    @property
    def item(self) -> Item:
        return self.candidate.item

    def effect(self, part: RequestPart) -> float:
        return self.effects.get(part, 0.0)

    @cached_property
    def is_wish_result(self) -> bool:
        """Whether only a wish that names a fact of it made the item a candidate."""
        return self.retrieval_dependent and bool(self.asked)


@dataclass(frozen=True)
class Opposition:
    """Evidence against an item, strongest first, and what kind the first is."""

    evidence: tuple[Evidence, ...] = ()
    parts: Mapping[str, frozenset[RequestPart]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)  # evidence id -> form of `[against]`

    @property
    def strongest(self) -> float:
        """The size of the first effect, nats."""
        return -min((entry.contribution or 0.0 for entry in self.evidence), default=0.0)


def opposition(measured: MeasuredCandidate, nouns: tuple[str, str]) -> Opposition:
    """Collect what counts against an item.

    If the history as a whole has a negative effect, so does a fact of the item that is rare in it.
    """
    excluded = {"popularity", "wish"} if measured.is_wish_result else {"popularity"}
    weak = sorted(
        (
            part
            for part, effect in measured.effects.items()
            if effect < -measured.noise and part.kind not in excluded and part.name != measured.item.id
        ),
        key=lambda part: (measured.effect(part), part.kind, part.name),
    )
    found: list[Evidence] = []
    parts: dict[str, frozenset[RequestPart]] = {}
    kinds: dict[str, str] = {}
    for part in weak[:AGAINST_SHOWN]:
        for kind, text in describe_part(part, measured.past.by_id, measured.context, nouns):
            entry = Evidence(
                id=f"n{len(found) + 1}",
                kind=kind,
                text=text,
                item_id=part.name if part.kind == "history" else None,
                contribution=measured.effect(part),
                measure=measured.measure,
            )
            found.append(entry)
            parts[entry.id] = frozenset([part])
            kinds[entry.id] = _opposing_kind(measured, part)
    if rare := _rare_fact(measured):
        entry = Evidence(
            id=f"n{len(found) + 1}",
            kind="attribute",
            text=rare.value,
            attribute=rare.attribute,
            item_id=measured.item.id,
            contribution=measured.history_effect,
            measure=measured.measure,
        )
        found.append(entry)
        kinds[entry.id] = "rare"
    return Opposition(tuple(found), parts, kinds)


def _opposing_kind(measured: MeasuredCandidate, part: RequestPart) -> str:
    if part.kind == "wish":
        return "wish"
    if part.kind != "history":
        return "counter"
    if measured.past.by_id[part.name].liked is not False:
        return "chosen"
    return "disliked_alike" if common_dislike(measured, part.name) else "disliked"


def common_dislike(measured: MeasuredCandidate, item_id: str) -> list[Fact]:
    """Return what an item has in common with one that the person disliked."""
    return [fact for fact in measured.facts if fact in measured.past.facts[item_id]]


def _rare_fact(measured: MeasuredCandidate) -> Fact | None:
    """Return the first fact that is rare in a long history against the item."""
    history = measured.past.facts
    if measured.history_effect >= -measured.noise or len(history) < RARE_AMONG:
        return None
    for fact in measured.facts:
        if sum(fact in facts for facts in history.values()) <= RARE_SHARE * len(history):
            return fact
    return None


def describe_part(
    part: RequestPart, history: Mapping[str, HistoryEntry], context: Context, nouns: tuple[str, str]
) -> list[tuple[EvidenceKind, str]]:
    """Describe a part of a request in words.

    Returns:
        [(kind, text)], or nothing where the part has no text.
    """
    place = context.place.name if context.place else ""
    when = " ".join(filter(None, (context.weekday, context.part_of_day if context.weekday else None)))
    text = {
        "time": f"a {when}" if when else "",
        "place": f"being in {place}" if place else "",
        "fact": f"{part.name} {context.extra[part.name]}" if part.name in context.extra else "",
        "wish": f'"{clean_text(context.wish)}"',
        "popularity": f"the {nouns[1]} people here choose most",
        "profile": "your profile",
    }.get(part.kind, "")
    if part.kind == "history" and part.name in history:
        text = shown_title(history[part.name].item, nouns[0])
    return [(_EVIDENCE_KINDS[part.kind], clean_text(text))] if text else []


def shown_title(item: Item, noun: str) -> str:
    """Return an item's title as reasons show it; noun and id if it is invisible."""
    return clean_text(item.title, TITLE_LIMIT) or clean_text(f"{noun} {item.id}", TITLE_LIMIT)
