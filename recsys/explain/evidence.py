"""Evidence for one candidate: facts that exist, each with its measured effect."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from recsys.explain.ablation import Kind, RequestPart
from recsys.knowledge.attributes import matched_attributes
from recsys.ranking.facts import repeat_text
from recsys.types import Candidate, Context, Evidence, EvidenceKind, HistoryEntry, Item
from recsys.utils.sanitize import clean_text

MEASURE = "log p with and without"
RETRIEVAL_DEPENDENT = "without it no candidate"
WISH = RequestPart("wish")
ATTRIBUTES_SHOWN = 3
AGAINST_SHOWN = 3
POPULAR = 0.9  # cite popularity only if at least this share of the catalogue is less popular
RARE_AMONG = 10  # an attribute can be rare only in a history of at least so many items
RARE_SHARE = 0.1  # and if at most this share of them has it
TITLE_LIMIT = 120  # characters of a title in a reason
ATTRIBUTE_LIMIT = 60  # characters of an attribute value in a reason

_CONTEXT_KINDS = ("time", "place", "fact")
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
class ReasonCase:
    """One item to explain and everything a reason for it may cite."""

    item: Item
    evidence: tuple[Evidence, ...]
    shared: Mapping[str, tuple[str, ...]]  # history id -> ids of the item's attributes that it has too
    nouns: tuple[str, str]  # the domain's word for an item: singular, plural
    variant: int = 0  # chooses among equally true sentences
    against: tuple[Evidence, ...] = ()  # measured against the item, strongest first: n1, n2 ...
    disliked: frozenset[str] = frozenset()  # ids in `against` of history items that the person disliked
    alike: frozenset[str] = frozenset()  # ids in `against` of history items that share an attribute
    wish_attributes: frozenset[str] = frozenset()  # ids of attributes that a cited wish names
    distinguishing_attributes: frozenset[str] = frozenset()  # ids of those that not every other item has
    listed: bool = True  # whether the item is recommended
    rank: int = 1
    other: Item | None = None  # the item ranked next, for comparative reasons
    parts: Mapping[str, RequestPart] = field(default_factory=dict)  # evidence id -> part of the request

    def by_kind(self, kind: str) -> list[Evidence]:
        return [entry for entry in self.evidence if entry.kind == kind]

    @property
    def has_content(self) -> bool:
        """Whether a sentence can be written: context and profile alone are not enough."""
        return self.net_negative or any(entry.kind not in ("context", "profile") for entry in self.evidence)

    @property
    def net_negative(self) -> bool:
        """Whether an unlisted item has stronger evidence against it than for it."""
        worst = min((entry.contribution or 0.0 for entry in self.against), default=0.0)
        return not self.listed and worst < min(0.0, -self._strongest)

    @property
    def major_counter_evidence(self) -> tuple[Evidence, ...]:
        """The evidence against at least half as strong as the strongest for the item."""
        return tuple(e for e in self.against if -2 * (e.contribution or 0.0) >= self._strongest)

    @property
    def _strongest(self) -> float:
        return max((entry.contribution or 0.0 for entry in self.evidence), default=0.0)


class RelationPhrase(NamedTuple):
    """What may be said, once the liked item is found to support the candidate."""

    order: int  # of the relation in domain.toml: the first is said rather than others
    text: str  # "is a sequel of Alien, which you liked"


@dataclass(frozen=True)
class MeasuredCandidate:
    """One candidate with the effect of every part of the request on it."""

    candidate: Candidate
    history: Sequence[HistoryEntry]
    context: Context
    effects: Mapping[RequestPart, float]  # nats; log p with the part less log p without it
    nouns: tuple[str, str]
    history_shown: int  # most history items cited of a kind
    top_rank: int  # a wish that names no attribute is cited up to this rank of the text channel
    noise: float = 0.0  # nats; an effect up to this size is not cited
    measure: str = MEASURE
    variant: int = 0
    listed: bool = True
    rank: int = 1
    history_effect: float = 0.0  # nats; of the whole history at once
    retrieval_dependent: bool = False  # without the wish the item would not be a candidate
    phrases: Mapping[str, RelationPhrase] = field(default_factory=dict)  # id of a liked item -> how related
    chosen: HistoryEntry | None = None  # when the person chose the item itself, where that may repeat
    profile: frozenset[str] = frozenset()  # values of the person's profile

    @cached_property
    def by_id(self) -> dict[str, HistoryEntry]:
        return {entry.item.id: entry for entry in self.history}

    @cached_property
    def wish_matches(self) -> list[str]:
        """Attribute values of the item that a wish with an effect names."""
        wished = self.retrieval_dependent or self.effects.get(WISH, 0.0) > self.noise
        return matched_attributes(self.context.wish, attribute_values(self.candidate.item)) if wished else []

    @property
    def is_wish_result(self) -> bool:
        """Whether only a wish that names an attribute made the item a candidate."""
        return self.retrieval_dependent and bool(self.wish_matches)


def collect_evidence(measured: MeasuredCandidate) -> ReasonCase:
    """Collect everything that may be cited for one candidate, strongest first.

    - An effect of at most `noise` is not cited; one below -`noise` is evidence against the item.
    - Liked items are cited as history; unrated ones where people who chose them also choose this item.
    - How the item is related to a liked item that is evidence is cited with the effect of that item.
    - A wish is cited if it names an attribute of the item, or the text channel ranks the item high
      enough. If the item is a candidate only because of the wish, the wish is cited whatever its
      effect among the candidates was, without a contribution where that is not above the noise.
    - Popularity is cited only where nothing else supports the item and few items are more popular.
    - If the history as a whole has a negative effect, an attribute that is rare in it counts against
      the item.
    """
    item = measured.candidate.item
    supporting, opposing = _supporting_parts(measured), _opposing_parts(measured)
    cited = {prefix: _evidence(measured, prefix, parts) for prefix, parts in supporting.items()}
    counter = _evidence(measured, "n", opposing)
    liked = [(entry, measured.by_id[part.name].item) for entry, part in cited["h"]]
    others = [other for _, other in liked]
    attributes = _attribute_evidence(item, others, measured.wish_matches, measured.profile)
    shared = {
        entry.id: tuple(a.id for a in attributes if a.text in attribute_values(other))
        for entry, other in liked
    }
    against = [entry for entry, _ in counter]
    against += _rare_attribute(measured, attributes, shared, number=len(against) + 1)
    past = {entry.id: measured.by_id[entry.item_id or ""] for entry in against if entry.kind == "history"}
    own_values = set(attribute_values(item))
    ordered = {prefix: [entry for entry, _ in pairs] for prefix, pairs in cited.items()}
    return ReasonCase(
        item=item,
        evidence=(*ordered.pop("h"), *attributes, *(entry for group in ordered.values() for entry in group)),
        shared=shared,
        nouns=measured.nouns,
        variant=measured.variant,
        against=tuple(against),
        disliked=frozenset(name for name, entry in past.items() if entry.liked is False),
        alike=frozenset(
            name for name, entry in past.items() if own_values.intersection(attribute_values(entry.item))
        ),
        wish_attributes=frozenset(a.id for a in attributes if a.text in measured.wish_matches),
        listed=measured.listed,
        rank=measured.rank,
        parts={entry.id: part for pairs in (*cited.values(), counter) for entry, part in pairs},
    )


def _supporting_parts(measured: MeasuredCandidate) -> dict[str, list[RequestPart]]:
    """Return the parts to cite by the first letter of their evidence ids, in order."""
    candidate, effects = measured.candidate, measured.effects
    strong = sorted(
        (
            part
            for part, effect in effects.items()
            if effect > measured.noise and part.name != candidate.item.id
        ),
        key=lambda part: (-effects[part], part.name),
    )
    past = [part for part in strong if part.kind == "history" and part.name in measured.by_id]
    liked = [part for part in past if measured.by_id[part.name].liked]
    unrated = [part for part in past if measured.by_id[part.name].liked is None]
    co_consumed = [part for part in unrated if part.name in candidate.co_consumed]
    cited = {
        "h": liked[: measured.history_shown],
        "t": co_consumed[: measured.history_shown],  # "together"
        "g": sorted(  # "graph"
            (part for part in (*liked, *unrated) if part.name in measured.phrases),
            key=lambda part: measured.phrases[part.name].order,
        )[: measured.history_shown],
        "w": _of_kinds(strong, "wish"),
        "c": _of_kinds(strong, *_CONTEXT_KINDS),
        "f": _of_kinds(strong, "profile"),  # "facts about the person"
        "p": _of_kinds(strong, "popularity"),
        "r": _repeats(measured),
    }
    if measured.is_wish_result:
        cited["w"] = [WISH]
    text_rank = candidate.channels.get("text", measured.top_rank + 1)
    if not measured.wish_matches and text_rank > measured.top_rank:
        cited["w"] = []
    popular = (candidate.popularity or 0.0) >= POPULAR
    if cited["h"] or cited["t"] or cited["r"] or measured.context.wish or not popular:
        cited["p"] = []
    return cited


def _repeats(measured: MeasuredCandidate) -> list[RequestPart]:
    """Return the part that is the item itself, if choosing it before speaks for it."""
    part = RequestPart("history", measured.candidate.item.id)
    return [part] if measured.chosen and measured.effects.get(part, 0.0) > measured.noise else []


def _opposing_parts(measured: MeasuredCandidate) -> list[RequestPart]:
    """Return the parts with the strongest negative effects."""
    effects = measured.effects
    weak = sorted(
        (
            part
            for part, effect in effects.items()
            if effect < -measured.noise and part.name != measured.candidate.item.id
        ),
        key=lambda part: (effects[part], part.kind, part.name),
    )
    excluded = ("popularity", "wish") if measured.is_wish_result else ("popularity",)
    return [part for part in weak if part.kind not in excluded][:AGAINST_SHOWN]


def _of_kinds(parts: Iterable[RequestPart], *kinds: str) -> list[RequestPart]:
    return [part for part in parts if part.kind in kinds]


def _evidence(
    measured: MeasuredCandidate, prefix: str, parts: Sequence[RequestPart]
) -> list[tuple[Evidence, RequestPart]]:
    """Describe parts as evidence `prefix`1, `prefix`2 ...; skip those without text."""
    described: list[tuple[RequestPart, EvidenceKind, str]] = []
    for part in parts:
        if prefix == "r" and measured.chosen:
            described.append((part, "repeat", repeat_text(measured.chosen, measured.context)))
            continue
        if prefix == "g":
            described.append((part, "relation", measured.phrases[part.name].text))
            continue
        texts = describe_part(part, measured.by_id, measured.context, measured.nouns)
        described += [(part, kind, text) for kind, text in texts]
    return [
        (
            Evidence(
                id=f"{prefix}{number}",
                kind="co_consumed" if prefix == "t" else kind,
                text=text,
                item_id=part.name if part.kind == "history" else None,
                **_figures(measured, part),
            ),
            part,
        )
        for number, (part, kind, text) in enumerate(described, 1)
    ]


def _figures(measured: MeasuredCandidate, part: RequestPart) -> dict[str, Any]:
    """Return `contribution` and `measure` of a part."""
    if part != WISH or not measured.is_wish_result:
        return {"contribution": measured.effects[part], "measure": measured.measure}
    effect = measured.effects.get(part, 0.0)
    if effect > measured.noise:
        return {"contribution": effect, "measure": f"{measured.measure}; {RETRIEVAL_DEPENDENT}"}
    return {"measure": RETRIEVAL_DEPENDENT}


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


def _attribute_evidence(
    item: Item, liked: Sequence[Item], wish_matches: Sequence[str], profile: Collection[str]
) -> list[Evidence]:
    """List attribute values: those of wish and profile, then of most liked items.

    Where the profile has a value of the item, what neither it nor wish nor a liked item has is left out.
    """
    votes = {
        value: sum(value in attribute_values(other) for other in liked) for value in attribute_values(item)
    }
    if own := [value for value in votes if value in profile]:
        votes = {name: n for name, n in votes.items() if n or name in own or name in wish_matches}
    order = sorted(votes, key=lambda value: (value not in wish_matches, value not in own, -votes[value]))
    values = order[:ATTRIBUTES_SHOWN]
    return [
        Evidence(id=f"a{n}", kind="attribute", text=value, item_id=item.id)
        for n, value in enumerate(values, 1)
    ]


def _rare_attribute(
    measured: MeasuredCandidate,
    attributes: Sequence[Evidence],
    shared: Mapping[str, Sequence[str]],
    number: int,
) -> list[Evidence]:
    """Return the first attribute that is rare in a long history, or []."""
    history = measured.history
    if measured.history_effect >= -measured.noise or len(history) < RARE_AMONG:
        return []
    unshared = [fact for fact in attributes if not any(fact.id in held for held in shared.values())]
    for fact in unshared:
        if sum(fact.text in attribute_values(entry.item) for entry in history) <= RARE_SHARE * len(history):
            update = {
                "id": f"n{number}",
                "contribution": measured.history_effect,
                "measure": measured.measure,
            }
            return [fact.model_copy(update=update)]
    return []


def shown_title(item: Item, noun: str) -> str:
    """Return an item's title as reasons show it; noun and id if it is invisible."""
    return clean_text(item.title, TITLE_LIMIT) or clean_text(f"{noun} {item.id}", TITLE_LIMIT)


def attribute_values(item: Item) -> list[str]:
    """Return the item's attribute values as they are shown, without invisible ones."""
    cleaned = [clean_text(value, ATTRIBUTE_LIMIT) for values in item.attributes.values() for value in values]
    return [value for value in cleaned if value]
