"""What may be said about an item: facts that exist, each with what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recsys.explain.ablation import Part
from recsys.prompting import clean_text
from recsys.types import Candidate, Context, Evidence, EvidenceKind, HistoryEntry, Item

MEASURE = "log p with and without"
ATTRIBUTES_SHOWN = 3
RARE_AMONG = 10  # "little of what you chose lately has it": of at least so many items
RARE_SHARE = 0.1  # at most this share
TITLE_LIMIT = 120  # characters of a title in a reason
ATTRIBUTE_LIMIT = 60  # and of an attribute


@dataclass(frozen=True)
class ReasonCase:
    """One item to explain. `shared` tells, for each history id, which attribute ids
    of the item that history item has too; `nouns` are the domain's own words for an
    item; `variant` chooses among equal sentences. `against` has what speaks against the
    item (ids n1, n2 ...): disliked items that share an attribute with it (kind history),
    and its attributes that the history hardly has (kind attribute). `other` is the item
    ranked next, for comparative reasons. `parts` tells what an id is of the request."""

    item: Item
    evidence: tuple[Evidence, ...]
    shared: Mapping[str, tuple[str, ...]]
    nouns: tuple[str, str]
    variant: int = 0
    against: tuple[Evidence, ...] = ()
    other: Item | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)

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
    effects: Mapping[Part, float],
    *,
    nouns: tuple[str, str],
    history_shown: int,
    top_rank: int,
    noise: float = 0.0,
    measure: str = MEASURE,
    variant: int = 0,
) -> ReasonCase:
    """Everything that may be cited for one candidate, strongest first.

    `effects` is what each part of the request did to the item (nats): what did no more than
    `noise` is not cited. Liked items are history; those that nobody said anything of are cited
    where people who chose them choose this item too. A wish needs the text channel to have put
    the item among its first `top_rank`. Popularity is cited only where nothing else speaks for
    the item and it is among the `top_rank` most popular.
    """
    by_id = {entry.item.id: entry for entry in history}
    strong = sorted(
        (part for part, effect in effects.items() if effect > noise and part.name != candidate.item.id),
        key=lambda part: (-effects[part], part.name),
    )
    past = [part for part in strong if part.kind == "history" and part.name in by_id]
    liked = [part for part in past if by_id[part.name].liked][:history_shown]
    together = [p for p in past if by_id[p.name].liked is None and p.name in candidate.together][
        :history_shown
    ]
    situation = [part for part in strong if part.kind in ("time", "place", "fact")]
    wish = [part for part in strong if part.kind == "wish"]
    popular = [part for part in strong if part.kind == "popularity"]
    if candidate.channels.get("text", top_rank + 1) > top_rank:
        wish = []
    if liked or together or context.wish or candidate.channels.get("popularity", top_rank + 1) > top_rank:
        popular = []

    def evidence(letter: str, found: Sequence[Part]) -> list[Evidence]:
        named = [(part, kind, text) for part in found for kind, text in told(part, by_id, context, nouns)]
        parts.update({f"{letter}{n}": part for n, (part, _, _) in enumerate(named, 1)})
        return [
            Evidence(
                id=f"{letter}{n}", kind="together" if letter == "t" else kind, text=text,
                item_id=part.name if part.kind == "history" else None,
                contribution=effects[part], measure=measure,
            )
            for n, (part, kind, text) in enumerate(named, 1)
        ]  # fmt: skip

    parts: dict[str, Part] = {}
    chosen = evidence("h", liked)
    attributes = _attribute_evidence(candidate.item, [by_id[part.name].item for part in liked])
    shared = {
        fact.id: tuple(a.id for a in attributes if a.text in attribute_values(by_id[part.name].item))
        for fact, part in zip(chosen, liked, strict=True)
    }
    unshared = [fact for fact in attributes if not any(fact.id in held for held in shared.values())]
    return ReasonCase(
        item=candidate.item,
        evidence=(
            *chosen, *attributes, *evidence("t", together), *evidence("w", wish), *evidence("c", situation),
            *evidence("p", popular),
        ),
        shared=shared,
        nouns=nouns,
        variant=variant,
        against=_against(candidate.item, history, unshared, nouns[0]),
        parts=parts,
    )  # fmt: skip


def told(
    part: Part, history: Mapping[str, HistoryEntry], context: Context, nouns: tuple[str, str]
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


def _attribute_evidence(item: Item, liked: Sequence[Item]) -> list[Evidence]:
    """The item's attribute values, those that liked items have too first."""
    votes = {
        value: sum(value in attribute_values(other) for other in liked) for value in attribute_values(item)
    }
    values = sorted(votes, key=lambda value: -votes[value])[:ATTRIBUTES_SHOWN]
    return [
        Evidence(id=f"a{n}", kind="attribute", text=value, item_id=item.id)
        for n, value in enumerate(values, 1)
    ]


def _against(
    item: Item, history: Sequence[HistoryEntry], attributes: Sequence[Evidence], noun: str
) -> tuple[Evidence, ...]:
    """The disliked item most like this one, if it has half of its attributes; an attribute hardly met lately."""
    mine = set(attribute_values(item))
    disliked = [entry for entry in history if entry.liked is False]
    alike = max(
        disliked, key=lambda entry: len(mine.intersection(attribute_values(entry.item))), default=None
    )
    found = []
    if (
        alike
        and 2 * len(common := mine.intersection(attribute_values(alike.item))) >= max(1, len(mine))
        and common
    ):
        found.append(
            Evidence(
                id="n1",
                kind="history",
                text=shown_title(alike.item, noun),
                item_id=alike.item.id,
                contribution=-len(common) / len(mine),
                measure="share of attributes in common with a disliked item",
            )
        )
    for fact in attributes if len(history) >= RARE_AMONG else ():
        share = sum(fact.text in attribute_values(entry.item) for entry in history) / len(history)
        if share <= RARE_SHARE:
            measure = "share of the history that has it"
            found.append(fact.model_copy(update={"id": "n2", "contribution": share, "measure": measure}))
            break
    return tuple(found)


def shown_title(item: Item, noun: str) -> str:
    """An item's title as a reason may show it; of one that has nothing to show, its id."""
    return clean_text(item.title, TITLE_LIMIT) or clean_text(f"{noun} {item.id}", TITLE_LIMIT)


def attribute_values(item: Item) -> list[str]:
    """Attribute values as they are shown; what cleaning leaves nothing of is none."""
    cleaned = [clean_text(value, ATTRIBUTE_LIMIT) for values in item.attributes.values() for value in values]
    return [value for value in cleaned if value]
