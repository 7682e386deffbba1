"""What each reason of a list says: its main cause, and what tells the item apart.

The reasons of a list are planned together: what all items share is said once above it, and neighbours
do not tell the same cause where another one is nearly as strong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.config import Style
from recsys.explain.cases import Further, ReasonCase, Slot
from recsys.explain.causes import TELLING, Cause
from recsys.explain.evidence import (
    CONTEXT_KINDS,
    ITEM_MEASURE,
    POPULAR,
    POPULARITY,
    PROFILE,
    RARE_AMONG,
    RETRIEVAL_DEPENDENT,
    WISH,
    MeasuredCandidate,
    Opposition,
    common_dislike,
    describe_part,
    opposition,
    shown_title,
)
from recsys.explain.grammar import TITLED
from recsys.explain.item_parts import ItemPart
from recsys.explain.lead import common_facts, common_moment, said
from recsys.explain.passages import measured_passage, telling_passage
from recsys.explain.phrases import DECADE, YEAR, Fact, FactCounts, Phrases, facts_of
from recsys.explain.request_parts import RequestPart
from recsys.ranking.facts import repeat_text
from recsys.types import Evidence, EvidenceKind, Item

NEARLY = 0.7  # a cause that the list has not told yet is told if it has this share of the strongest effect
STALE = 0.5  # or this one, where the list has told the strongest
SPECIFIC = 4.0  # bits that items have in common, to be told rather than that people chose both
SECOND = 0.34  # a second cause, or the profile, is told if it has this share; a cause in any case where
# two sentences are asked for
MATERIAL = 0.1  # time, place and facts of the moment are told if they have this share
ENOUGH = 8.0  # bits; more information than this makes no fact more worth telling
EXAMPLES = 2  # items of a group, or values of an attribute, that are named
MANY = 5  # values of an attribute, of which one says little to a person who never met it
DUE = 0.8  # of the cycle of a repeat has to be over, for it to be due


def plan_list(
    measured: Sequence[MeasuredCandidate], phrases: Phrases, counts: FactCounts, style: Style = "short"
) -> list[ReasonCase]:
    """Plan the reasons of a list, in the order of its items."""
    told: set[tuple[object, ...]] = set()
    shared = frozenset(common_facts(measured, counts))
    moment = frozenset(common_moment(measured))
    cases = []
    for number, one in enumerate(measured):
        following = measured[number + 1] if style == "comparative" and number + 1 < len(measured) else None
        other = following.item if following and following.rank >= one.rank else None
        planner = _Planner(one, phrases, counts, number, other, shared, moment, told, style)
        cases.append(planner.case())
    return cases


@dataclass(frozen=True)
class _Planner:
    measured: MeasuredCandidate
    phrases: Phrases
    counts: FactCounts
    variant: int
    other: Item | None
    shared: frozenset[Fact]  # what all items of the list have
    moment: frozenset[RequestPart]  # what of the moment speaks for all of them
    told: set[tuple[object, ...]]  # causes that the list told before; this one is added
    style: Style

    def case(self) -> ReasonCase:
        builder = _CaseBuilder(self)
        against = opposition(self.measured, self.phrases.domain_nouns)
        main = self._main()
        strongest = main[1] if main else 0.0
        if not self.measured.listed and against.strongest > max(0.0, strongest):
            return builder.opposing(against, main)
        if main is None:
            return builder.undecided(against, self._passage(None))
        cause, effect = main
        again = cause.kind == "group" and _point(cause) in self.told
        self.told.add(_point(cause))
        second = self._second(cause, effect) or self._passage(cause)
        if second is not None:
            self.told.add(_point(second[0]))
        return builder.supporting(cause, effect, second, against, again=again)

    def _supporting(self) -> list[tuple[Cause, float]]:
        """List the causes that may be told with their effects, the strongest first."""
        one = self.measured
        found = [(cause, effect) for cause, effect in one.causes if effect > one.noise]
        itself = RequestPart("history", one.item.id)
        if one.chosen and one.effect(itself) > one.noise:
            found.append(
                (Cause("repeat", frozenset([itself]), (one.item.id,), rated=False), one.effect(itself))
            )
        if one.effect(PROFILE) > one.noise and one.own:
            found.append((Cause("profile", frozenset([PROFILE]), facts=tuple(one.own)), one.effect(PROFILE)))
        popular = (one.candidate.popularity or 0.0) >= POPULAR
        if popular and one.effect(POPULARITY) > one.noise and not one.context.wish:
            found.append((Cause("popularity", frozenset([POPULARITY])), one.effect(POPULARITY)))
        found += self._own_causes()
        return sorted(found, key=lambda pair: (-pair[1], self._vagueness(pair[0])))

    def _own_causes(self) -> list[tuple[Cause, float]]:
        """List the attributes of the item that lift it, in what the model reads of it."""
        one, unwelcome = self.measured, self.shared | self.measured.past.disliked_facts
        causes: list[tuple[Cause, float]] = []
        if one.context.wish:  # what was asked for counts more than what the model reads
            return causes
        for part, effect in one.own_effects.items():
            facts = [fact for fact in one.facts if fact.attribute == part.attribute and fact not in unwelcome]
            if facts and effect > one.noise:
                causes.append((Cause("own", frozenset(), facts=tuple(facts[:EXAMPLES])), effect))
        return causes

    def _passage(self, main: Cause | None) -> tuple[Cause, float] | None:
        """Choose a sentence of the description to quote, where the domain quotes."""
        one = self.measured
        if not self.phrases.domain.reasons.quotes:
            return None
        if measured := measured_passage(one):
            return Cause("passage", frozenset(), text=measured[0]), measured[1]
        titles = [one.past.by_id[item_id].item.title for item_id in (main.items if main else ())]
        orders: str = self.phrases.grammar.table["words"]["orders"]
        text = telling_passage(one, [one.context.wish, *titles], orders, least=1 if main else 0)
        return (Cause("passage", frozenset(), text=text), 0.0) if text else None

    def _vagueness(self, cause: Cause) -> int:
        """Return which of several causes says most, the lowest: what is in common."""
        if cause.kind in ("relation", "profile"):
            return 0
        if cause.kind == "shared" and self.shared.issuperset(cause.facts):
            return 3  # the line above the list says it
        if cause.kind == "own":
            return 3
        known = sum(map(self.counts.bits, cause.facts))
        return 2 if cause.kind == "history" or (cause.kind == "shared" and known < SPECIFIC) else 1

    def _main(self) -> tuple[Cause, float] | None:
        """Choose the cause to tell: the wish, else a strong one that is not told yet."""
        one = self.measured
        wished = one.is_wish_result or one.effect(WISH) > one.noise
        wish_fits = (one.asked and one.effect(WISH) >= -one.noise) or (wished and (one.asked or one.close))
        if one.context.wish and wish_fits:
            return Cause("wish", frozenset([WISH]), facts=tuple(one.asked)), one.effect(WISH)
        found = self._supporting()
        if not found:
            return None
        most = found[0][1]
        least = most * (STALE if _point(found[0][0]) in self.told else NEARLY)
        fresh = [pair for pair in found if pair[1] >= least and _point(pair[0]) not in self.told]
        return min(fresh or found[:1], key=lambda pair: self._vagueness(pair[0]))

    def _second(self, main: Cause, effect: float) -> tuple[Cause, float] | None:
        """Choose a second cause: a relation, or a strong one that is not told yet."""
        others = [
            (cause, size)
            for cause, size in self._supporting()
            if cause.kind in _ALSO
            and cause.kind != main.kind
            and (cause.kind == "relation" or not cause.parts & main.parts)
            and not any(fact.value in cause.text for fact in main.facts)
        ]
        most = max([effect, *(size for _, size in others)])
        relation = [pair for pair in others if pair[0].kind == "relation"]
        least = 0.0 if self.style == "detailed" else SECOND * most
        strong = [pair for pair in others if pair[1] >= least and _point(pair[0]) not in self.told]
        return next(iter(relation or strong), None)


_ALSO = ("group", "shared", "history", "co_consumed", "relation", "popularity")


def _point(cause: Cause) -> tuple[object, ...]:
    """Return what a cause tells, to compare it with that of a neighbour."""
    return cause.kind, cause.facts if cause.kind in ("group", "own") else cause.items, cause.text


class _CaseBuilder:
    """Collects the slots and the evidence of one case."""

    def __init__(self, planner: _Planner) -> None:
        self.planner, self.measured, self.phrases = planner, planner.measured, planner.phrases
        self.grammar = planner.phrases.grammar
        self.nouns = self.phrases.domain_nouns
        self.slots: dict[str, Slot] = {"item": Slot(self._title(self.measured.item))}
        self.evidence: list[Evidence] = []
        self.parts: dict[str, frozenset[RequestPart]] = {}

    def supporting(
        self,
        cause: Cause,
        effect: float,
        second: tuple[Cause, float] | None,
        against: Opposition,
        *,
        again: bool = False,
    ) -> ReasonCase:
        """Build the case of an item that something speaks for.

        Args:
            cause: What the reason is about.
            effect: Of the cause, nats.
            second: A second cause, with its effect.
            against: What counts against the item.
            again: Whether an item above has the same cause.
        """
        section = self._tell(cause, effect)
        section = "again" if again else section
        self._aside(cause)
        self._moment(effect)
        return self._case(section, against, did=self._did(cause), also=self._also(second), strongest=effect)

    def _also(self, second: tuple[Cause, float] | None) -> Further | None:
        """Fill the slots of a second sentence."""
        if second is None:
            return None
        return Further(self._tell(*second, prefix="also"), self._did(second[0]))

    def undecided(self, against: Opposition, passage: tuple[Cause, float] | None = None) -> ReasonCase:
        """Build the case of an item that nothing measured speaks for."""
        measured = self.measured
        popular = (measured.candidate.popularity or 0.0) >= POPULAR and not measured.context.wish
        if (
            popular
            and measured.effect(POPULARITY) > -measured.noise
            and len(measured.past.by_id) >= RARE_AMONG
        ):
            self._tell(Cause("popularity", frozenset([POPULARITY])), measured.effect(POPULARITY))
            self._aside(None)
            return self._case("outsider", against)
        facts = [*measured.asked, *self._worth_telling(measured.asked)]
        if not facts:
            self.slots["aside"] = Slot("")
            return self._case("nothing", against)
        self.slots["what"] = Slot(self.phrases.one(facts), self._cite_facts(facts))
        self._moment(0.0)
        return self._case("attribute", against, also=self._also(passage))

    def opposing(self, against: Opposition, main: tuple[Cause, float] | None) -> ReasonCase:
        """Build the case of an item that is not recommended, for a stronger cause."""
        if main and main[0].kind in ("shared", "history") and main[0].rated:
            self._tell(main[0], main[1])
        return self._case("against", against)

    def _case(
        self,
        section: str,
        against: Opposition,
        *,
        did: str = "",
        also: Further | None = None,
        strongest: float = 0.0,
    ) -> ReasonCase:
        opposed = ""
        if section == "against":
            opposed = self._oppose(against)
        elif section != "nothing" and against.evidence and against.strongest >= strongest:
            opposed = against.kinds[against.evidence[0].id]
            opposed = self._oppose(against) if opposed in self.grammar.table["although"] else ""
        return ReasonCase(
            item=self.measured.item,
            section=section,
            slots=self.slots,
            evidence=tuple(self.evidence),
            against=against.evidence,
            parts={**self.parts, **against.parts},
            values={
                entry.id: frozenset(fact.value for fact in self.measured.past.facts[entry.item_id])
                for entry in self.evidence
                if entry.kind in TITLED and entry.item_id
            },
            did=did,
            also=also,
            opposed=opposed,
            nouns=self.nouns,
            variant=self.planner.variant,
            listed=self.measured.listed,
            rank=self.measured.rank,
            other=self.planner.other,
        )

    def _tell(self, cause: Cause, effect: float, prefix: str = "") -> str:
        """Fill the slots of a cause; return the section that tells it."""
        slots = self._slots_of(cause, effect)
        self.slots.update({f"{prefix}{name}": slot for name, slot in slots.items()})
        if cause.kind == "repeat" and self._is_due():
            return "due"
        if cause.kind != "wish":
            return cause.kind
        return "wish" if cause.facts else "wish_close"

    def _is_due(self) -> bool:
        """Return whether the item was chosen as long ago as the person waits between two."""
        chosen, now = self.measured.chosen, self.measured.context.time
        if chosen is None or chosen.cycle is None or chosen.timestamp is None or now is None:
            return False
        return now.timestamp() - chosen.timestamp >= DUE * chosen.cycle

    def _slots_of(self, cause: Cause, effect: float) -> dict[str, Slot]:
        if cause.kind == "group":
            return self._group(cause, effect)
        if cause.kind == "passage":
            cited = self._add("passage", cause.text, effect or None, frozenset(), measure=ITEM_MEASURE)
            return {"passage": Slot(self.grammar.table["quoted"].replace("{}", cause.text), (cited,))}
        if cause.kind == "own":
            return {"shared": Slot(self.phrases.one(cause.facts), self._cite_facts(cause.facts))}
        if cause.kind == "relation":
            return {"related": Slot(cause.text, (self._cite("relation", cause.text, cause, effect),))}
        if cause.kind == "repeat" and self.measured.chosen is not None:
            text = self.grammar.localize("repeat", repeat_text(self.measured.chosen, self.measured.context))
            return {"repeat": Slot(text, (self._cite("repeat", text, cause, effect),))}
        if cause.kind in _WHOLE:
            part, slot, of_facts = _WHOLE[cause.kind]
            slots = self._described(part, slot, effect)
        else:
            kind: EvidenceKind = "co_consumed" if cause.kind == "co_consumed" else "history"
            slots, of_facts = {"liked": self._titles(kind, cause, effect)}, "shared"
        if cause.facts:
            whole = slots[slot].cites if cause.kind == "wish" else ()
            facts = [*self._noun_beside(cause.facts), *cause.facts] if cause.kind == "wish" else cause.facts
            slots[of_facts] = Slot(self.phrases.one(facts), (*whole, *self._cite_facts(facts)))
        return slots

    def _noun_beside(self, facts: Sequence[Fact]) -> list[Fact]:
        """Return what the item is, if `facts` and what is said above the list do not tell."""
        own = [fact for fact in self.measured.facts if self.phrases.is_noun(fact)]
        if self.planner.shared.intersection(own) or any(map(self.phrases.is_noun, facts)):
            return []
        return [fact for fact in own if fact not in self.measured.past.disliked_facts][:1]

    def _group(self, cause: Cause, effect: float) -> dict[str, Slot]:
        """Say how many items are so, and name the strongest of them."""
        many = self.phrases.many(len(cause.items), cause.facts)
        group = self._cite("group", many, cause, effect)
        examples = self.grammar.joined([self._title_of(item_id) for item_id in cause.items[:EXAMPLES]])
        return {
            "past": Slot(many, (group, *self._cite_facts(cause.facts))),
            "examples": Slot(examples, (group,)),
        }

    def _titles(self, kind: EvidenceKind, cause: Cause, effect: float) -> Slot:
        """Name items one by one; their effect is that of all of them together."""
        names = [self._title_of(item_id) for item_id in cause.items]
        cited = []
        for item_id in cause.items:
            part = RequestPart("history", item_id)
            alone = effect if len(cause.items) == 1 else self.measured.effects.get(part)
            title = shown_title(self.measured.past.by_id[item_id].item, self.nouns[0])
            cited.append(self._add(kind, title, alone, frozenset([part]), item_id=item_id))
        return Slot(self.grammar.joined(names), tuple(cited))

    def _described(self, part: RequestPart, slot: str, effect: float) -> dict[str, Slot]:
        measured = self.measured
        texts = describe_part(part, measured.past.by_id, measured.context, self.nouns)
        contribution: float | None = effect
        measure = measured.measure
        if part == WISH and measured.is_wish_result:
            alone = effect <= measured.noise
            contribution = None if alone else effect
            measure = RETRIEVAL_DEPENDENT if alone else f"{measure}; {RETRIEVAL_DEPENDENT}"
        kind, text = texts[0]
        cited = self._add(kind, text, contribution, frozenset([part]), measure=measure)
        return {slot: Slot(self.grammar.localize(kind, text), (cited,))}

    def _moment(self, strongest: float) -> None:
        """Tell what of the moment and the profile matters beside the strongest cause."""
        measured = self.measured
        least = max(measured.noise, MATERIAL * strongest)
        context = [
            part
            for part, effect in measured.effects.items()
            if part.kind in CONTEXT_KINDS
            and part not in self.planner.moment
            and effect > least
            and said(part, measured)
        ]
        context.sort(key=lambda part: -measured.effect(part))
        if context:
            self.slots |= self._described(context[0], "now", measured.effect(context[0]))
        told = "person" in self.slots or PROFILE in self.planner.moment
        if not told and measured.effect(PROFILE) > max(measured.noise, SECOND * strongest):
            self.slots |= self._described(PROFILE, "person", measured.effect(PROFILE))

    def _aside(self, cause: Cause | None) -> None:
        """Tell the item apart by facts that the cause does not name."""
        named = cause is not None and cause.kind in ("group", "shared", "profile", "wish", "own")
        named = named and bool(cause and cause.facts)
        told = list(cause.facts) if cause else []
        facts = self._worth_telling(told)
        if self.planner.other is not None:
            theirs = set(facts_of(self.planner.other))
            lacking = [fact for fact in facts if fact not in theirs]
            if theirs.isdisjoint(told) and (told or lacking):
                self.slots["other"] = Slot(self._title(self.planner.other))
                facts = lacking
        if named:
            facts = [fact for fact in facts if not self.phrases.is_noun(fact)]
        if cause is not None and cause.kind == "group":
            self.slots["another"] = Slot(self.phrases.another([]))
        self.slots["aside"] = Slot(self.phrases.aside(facts, named=named), self._cite_facts(facts))

    def _worth_telling(self, told: Iterable[Fact]) -> list[Fact]:
        """Choose what to say of the item: a noun, and the attribute that tells most."""
        measured, counts, phrases = self.measured, self.planner.counts, self.phrases
        avoided = {*told, *self.planner.shared, *measured.past.disliked_facts}
        used = {fact.attribute for fact in told}
        used |= {DECADE} if YEAR in used else set()
        used |= {part.attribute for part, effect in measured.own_effects.items() if effect < -measured.noise}
        title = measured.item.title.casefold()
        open_facts = [
            fact
            for fact in measured.facts
            if fact not in avoided and fact.attribute not in used and fact.value.casefold() not in title
        ]
        nouns = [fact for fact in open_facts if phrases.is_noun(fact)]
        by_attribute: dict[str, list[Fact]] = {}
        for fact in open_facts:
            if not phrases.is_noun(fact):
                by_attribute.setdefault(fact.attribute, []).append(fact)
        if len(by_attribute) > 1:
            by_attribute.pop(DECADE, None)
        for name, facts in list(by_attribute.items()):
            if len(facts) > MANY:
                by_attribute[name] = [fact for fact in facts if measured.past.welcome[fact]]
        told_of = [facts for facts in by_attribute.values() if facts]
        ordered = sorted(told_of, key=lambda facts: -self._worth(facts))
        if not ordered:
            return nouns[:EXAMPLES]
        best = [facts for facts in ordered if self._worth(facts) >= min(ENOUGH, self._worth(ordered[0]))]
        chosen = best[self.planner.variant % len(best)]
        known = sorted(chosen, key=lambda fact: (-measured.past.welcome[fact], -counts.of[fact]))
        return [*nouns[:1], *known[:EXAMPLES]]

    def _worth(self, facts: Sequence[Fact]) -> float:
        return max(min(ENOUGH, self.planner.counts.bits(fact)) for fact in facts)

    def _cite_facts(self, facts: Iterable[Fact]) -> tuple[str, ...]:
        ids = []
        for fact in facts:
            known = next(
                (e.id for e in self.evidence if e.kind == "attribute" and (e.attribute, e.text) == fact), None
            )
            ids.append(
                known
                or self._add(
                    "attribute",
                    fact.value,
                    self.measured.own_effects.get(ItemPart(attribute=fact.attribute)),
                    frozenset(),
                    item_id=self.measured.item.id,
                    attribute=fact.attribute,
                    measure=ITEM_MEASURE,
                )
            )
        return tuple(ids)

    def _cite(self, kind: EvidenceKind, text: str, cause: Cause, effect: float) -> str:
        single = cause.items[0] if len(cause.items) == 1 else None
        several = cause.items if len(cause.items) > 1 else ()
        return self._add(kind, text, effect, cause.parts, item_id=single, item_ids=several)

    def _add(
        self,
        kind: EvidenceKind,
        text: str,
        contribution: float | None,
        parts: frozenset[RequestPart],
        **further: Any,
    ) -> str:
        letter = _LETTERS[kind]
        number = sum(entry.kind == kind for entry in self.evidence) + 1
        measure = further.pop("measure", self.measured.measure)
        entry = Evidence(
            id=f"{letter}{number}",
            kind=kind,
            text=text,
            contribution=contribution,
            measure=measure if contribution is not None or measure == RETRIEVAL_DEPENDENT else None,
            **further,
        )
        self.evidence.append(entry)
        if parts:
            self.parts[entry.id] = parts
        return entry.id

    def _did(self, cause: Cause) -> str:
        if self.measured.examples.intersection(cause.items):
            named: str = self.grammar.table["named"]
            return named
        return "" if cause.rated else self.phrases.verb

    def _title(self, item: Item) -> str:
        return self.grammar.titled(shown_title(item, self.nouns[0]))

    def _title_of(self, item_id: str) -> str:
        return self._title(self.measured.past.by_id[item_id].item)

    def _oppose(self, against: Opposition) -> str:
        """Fill the slots of the strongest evidence against the item; return its form."""
        first = against.evidence[0]
        kind, text = against.kinds[first.id], self.grammar.localize(first.kind, first.text)
        if kind == "rare":
            text = self.phrases.some(Fact(first.attribute or "", first.text))
        self.slots["against"] = Slot(text, (first.id,))
        if kind != "disliked_alike":
            return kind
        bits = self.planner.counts.bits
        common = [f for f in common_dislike(self.measured, first.item_id or "") if bits(f) >= TELLING]
        told = [fact for fact in common if self.phrases.is_noun(fact)][:1] or common[:1]
        if not told:
            return "disliked"
        self.slots["common"] = Slot(self.phrases.one(told), (first.id,))
        return kind


_WHOLE: Mapping[str, tuple[RequestPart, str, str]] = {  # kind of a cause -> its part, slot, slot of its facts
    "wish": (WISH, "wish", "asked"),
    "profile": (PROFILE, "person", "shared"),
    "popularity": (POPULARITY, "popular", ""),
}
_LETTERS: Mapping[EvidenceKind, str] = {
    "history": "h",
    "group": "s",
    "co_consumed": "t",
    "relation": "g",
    "attribute": "a",
    "context": "c",
    "profile": "f",
    "wish": "w",
    "popularity": "p",
    "repeat": "r",
    "passage": "q",
}
