"""What may be said about an item: facts that exist, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys.explain.ablation import RequestPart
from recsys.types import Candidate, Context, Evidence, EvidenceKind, HistoryEntry, Item
from recsys.utils.sanitize import clean_text
from retrieval.channels.attributes import matched_attributes

MEASURE = "log p with and without"
RETRIEVAL_DEPENDENT = "without it no candidate"
WISH = RequestPart("wish")
ATTRIBUTES_SHOWN = 3
POPULAR = 0.9  # of the catalogue's items, so many must be less popular
AGAINST_SHOWN = 3
RARE_AMONG = 10  # "little of what you chose lately has it": of at least so many items
RARE_SHARE = 0.1  # at most this share
TITLE_LIMIT = 120  # characters of a title in a reason
ATTRIBUTE_LIMIT = 60  # and of an attribute


@dataclass(frozen=True)
class ReasonCase:
    """One item to explain. `shared` tells, for each history id, which attribute ids
    of the item that history item has too; `nouns` are the domain's own words for an
    item; `variant` chooses among equal sentences. `against` has what measurably spoke
    against the item, the strongest first (ids n1, n2 ...), an attribute that the history
    hardly has among it; of its items `disliked` names those that the person did not like,
    `alike` those with an attribute of this item. `wish_attributes` has the ids of attributes that the
    wish names, where the wish is cited, `distinguishing_attributes` of those that another of the explained items
    lacks. `listed` says whether the item is one of those recommended, `rank` where it came;
    `other` is the item ranked next, for comparative reasons. `parts` tells what an id is of the
    request."""

    item: Item
    evidence: tuple[Evidence, ...]
    shared: Mapping[str, tuple[str, ...]]
    nouns: tuple[str, str]
    variant: int = 0
    against: tuple[Evidence, ...] = ()
    disliked: frozenset[str] = frozenset()
    alike: frozenset[str] = frozenset()
    wish_attributes: frozenset[str] = frozenset()
    distinguishing_attributes: frozenset[str] = frozenset()
    listed: bool = True
    rank: int = 1
    other: Item | None = None
    parts: Mapping[str, RequestPart] = field(default_factory=dict)

    def by_kind(self, kind: str) -> list[Evidence]:
        return [entry for entry in self.evidence if entry.kind == kind]

    @property
    def has_content(self) -> bool:
        """Whether there is something to say; situation and profile alone make no sentence."""
        return self.net_negative or any(entry.kind not in ("context", "profile") for entry in self.evidence)

    @property
    def net_negative(self) -> bool:
        """Whether it is not recommended, and something spoke more strongly against it than anything for it."""
        worst = min((entry.contribution or 0.0 for entry in self.against), default=0.0)
        return not self.listed and worst < min(0.0, -self._strongest)

    @property
    def major_counter_evidence(self) -> tuple[Evidence, ...]:
        """Of `against`, what weighs at least half as much as the strongest that speaks for the item."""
        return tuple(e for e in self.against if -2 * (e.contribution or 0.0) >= self._strongest)

    @property
    def _strongest(self) -> float:
        return max((entry.contribution or 0.0 for entry in self.evidence), default=0.0)


def collect_evidence(
    candidate: Candidate,
    history: Sequence[HistoryEntry],
    context: Context,
    effects: Mapping[RequestPart, float],
    *,
    nouns: tuple[str, str],
    history_shown: int,
    top_rank: int,
    noise: float = 0.0,
    measure: str = MEASURE,
    variant: int = 0,
    listed: bool = True,
    rank: int = 1,
    history_effect: float = 0.0,
    retrieval_dependent: bool = False,
) -> ReasonCase:
    """Everything that may be cited for one candidate, strongest first.

    `effects` is what each part of the request did to the item (nats), `history_effect` what all of
    the history together did: what did no more than `noise` is not cited. Liked items are history;
    those that nobody said anything of are cited where people who chose them choose this item
    too. A wish needs to name an attribute of the item, or the text channel to have put it among its
    first `top_rank`; what it names is also cited where the item would not be a candidate without it
    (`retrieval_dependent`), whatever it did among those that are: without a contribution then. Popularity is
    cited only where nothing else speaks for the item and hardly any item is more popular (`POPULAR`). Against it is what did less than -`noise`; where the history as a whole did, also
    an attribute that hardly any of it has.
    """
    by_id = {entry.item.id: entry for entry in history}
    strong = sorted(
        (part for part, effect in effects.items() if effect > noise and part.name != candidate.item.id),
        key=lambda part: (-effects[part], part.name),
    )
    past = [part for part in strong if part.kind == "history" and part.name in by_id]
    liked = [part for part in past if by_id[part.name].liked][:history_shown]
    co_consumed = [p for p in past if by_id[p.name].liked is None and p.name in candidate.co_consumed][
        :history_shown
    ]
    event_context = [part for part in strong if part.kind in ("time", "place", "fact")]
    wish = [part for part in strong if part.kind == "wish"]
    profile = [part for part in strong if part.kind == "profile"]
    popular = [part for part in strong if part.kind == "popularity"]
    weak = sorted(
        (part for part, effect in effects.items() if effect < -noise and part.name != candidate.item.id),
        key=lambda part: (effects[part], part.kind, part.name),
    )
    weak = [part for part in weak if part.kind != "popularity"]
    named = (
        matched_attributes(context.wish, attribute_values(candidate.item))
        if wish or retrieval_dependent
        else []
    )
    retrieval_dependent = retrieval_dependent and bool(named)
    if retrieval_dependent:
        wish = [WISH]
        weak = [part for part in weak if part != WISH]
    if not named and candidate.channels.get("text", top_rank + 1) > top_rank:
        wish = []
    if liked or co_consumed or context.wish or (candidate.popularity or 0.0) < POPULAR:
        popular = []

    def figures(part: RequestPart) -> dict[str, Any]:
        if part != WISH or not retrieval_dependent:
            return {"contribution": effects[part], "measure": measure}
        if effects.get(part, 0.0) > noise:
            return {"contribution": effects[part], "measure": f"{measure}; {RETRIEVAL_DEPENDENT}"}
        return {"measure": RETRIEVAL_DEPENDENT}

    def evidence(letter: str, found: Sequence[RequestPart]) -> list[Evidence]:
        described = [
            (part, kind, text) for part in found for kind, text in describe_part(part, by_id, context, nouns)
        ]
        parts.update({f"{letter}{n}": part for n, (part, _, _) in enumerate(described, 1)})
        return [
            Evidence(
                id=f"{letter}{n}",
                kind="co_consumed" if letter == "t" else kind,
                text=text,
                item_id=part.name if part.kind == "history" else None,
                **figures(part),
            )
            for n, (part, kind, text) in enumerate(described, 1)
        ]

    parts: dict[str, RequestPart] = {}
    chosen = evidence("h", liked)
    attributes = _attribute_evidence(candidate.item, [by_id[part.name].item for part in liked], named)
    shared = {
        fact.id: tuple(a.id for a in attributes if a.text in attribute_values(by_id[part.name].item))
        for fact, part in zip(chosen, liked, strict=True)
    }
    unshared = [fact for fact in attributes if not any(fact.id in held for held in shared.values())]
    against = evidence("n", weak[:AGAINST_SHOWN])
    if history_effect < -noise and (rare := _rare(unshared, history)):
        rare = rare.model_copy(update={"id": f"n{len(against) + 1}", "contribution": history_effect})
        against.append(rare.model_copy(update={"measure": measure}))
    past_of = {entry.id: by_id[entry.item_id or ""] for entry in against if entry.kind == "history"}
    mine = set(attribute_values(candidate.item))
    return ReasonCase(
        item=candidate.item,
        evidence=(
            *chosen,
            *attributes,
            *evidence("t", co_consumed),
            *evidence("w", wish),
            *evidence("c", event_context),
            *evidence("f", profile),
            *evidence("p", popular),
        ),
        shared=shared,
        nouns=nouns,
        variant=variant,
        against=tuple(against),
        disliked=frozenset(name for name, entry in past_of.items() if entry.liked is False),
        alike=frozenset(
            name for name, entry in past_of.items() if mine.intersection(attribute_values(entry.item))
        ),
        wish_attributes=frozenset(fact.id for fact in attributes if fact.text in named),
        listed=listed,
        rank=rank,
        parts=parts,
    )


def describe_part(
    part: RequestPart, history: Mapping[str, HistoryEntry], context: Context, nouns: tuple[str, str]
) -> list[tuple[EvidenceKind, str]]:
    """A part of a request in words: [(kind, text)], empty where there is nothing to say of it."""
    place = context.place.name if context.place else ""
    when = " ".join(filter(None, (context.weekday, context.part_of_day if context.weekday else None)))
    kind: EvidenceKind = part.kind if part.kind not in ("time", "place", "fact") else "context"  # type: ignore[assignment]
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
    return [(kind, clean_text(text))] if text else []


def _attribute_evidence(item: Item, liked: Sequence[Item], named: Sequence[str]) -> list[Evidence]:
    """The item's attribute values: first those that a wish names, then those that liked items have too."""
    votes = {
        value: sum(value in attribute_values(other) for other in liked) for value in attribute_values(item)
    }
    values = sorted(votes, key=lambda value: (value not in named, -votes[value]))[:ATTRIBUTES_SHOWN]
    return [
        Evidence(id=f"a{n}", kind="attribute", text=value, item_id=item.id)
        for n, value in enumerate(values, 1)
    ]


def _rare(attributes: Sequence[Evidence], history: Sequence[HistoryEntry]) -> Evidence | None:
    """The first of the attributes that hardly anything in a long history has."""
    for fact in attributes if len(history) >= RARE_AMONG else ():
        if sum(fact.text in attribute_values(entry.item) for entry in history) <= RARE_SHARE * len(history):
            return fact
    return None


def shown_title(item: Item, noun: str) -> str:
    """An item's title as a reason may show it; of one that has nothing to show, its id."""
    return clean_text(item.title, TITLE_LIMIT) or clean_text(f"{noun} {item.id}", TITLE_LIMIT)


def attribute_values(item: Item) -> list[str]:
    """Attribute values as they are shown; what cleaning leaves nothing of is none."""
    cleaned = [clean_text(value, ATTRIBUTE_LIMIT) for values in item.attributes.values() for value in values]
    return [value for value in cleaned if value]
