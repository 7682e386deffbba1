"""What may have moved an item up, to be left out of the request and measured.

One of ninety films moves nothing, the eleven like it do: items of the history are left out in groups that
have something in common with the candidate, as the retriever's neighbours, and one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from recsys.explain.past import Past
from recsys.explain.phrases import Fact, FactCounts, facts_of
from recsys.explain.request_parts import RequestPart
from recsys.types import Candidate, HistoryEntry

CauseKind = Literal[
    "group",
    "shared",
    "history",
    "co_consumed",
    "relation",
    "repeat",
    "wish",
    "profile",
    "popularity",
    "own",
    "passage",
]

GROUP = 4  # fewer items are named one by one
GROUPS = 5  # groups that are measured for one candidate
SINGLES = 3  # items of the history that are proposed one by one
FACTS_SHARED = 2  # facts that are named of what items have in common
PAIRED = 0.33  # a further item is named beside the strongest if it has this share of its effect
TELLING = 1.0  # bits; what more than half of a catalogue has says nothing of an item

Effects = Mapping[RequestPart, float]


@dataclass(frozen=True)
class Cause:
    """Parts of a request that may support an item, and why they would."""

    kind: CauseKind
    parts: frozenset[RequestPart]
    items: tuple[str, ...] = ()  # ids of the history, strongest first
    facts: tuple[Fact, ...] = ()  # what these items share with the candidate
    text: str = ""  # how the item is related, in the words of the domain
    rated: bool = True  # whether the items were liked, rather than chosen


@dataclass(frozen=True)
class Proposer:
    """Proposes causes for the candidates of one request."""

    past: Past
    counts: FactCounts
    is_noun: Callable[[Fact], bool]
    rated: bool = True  # whether the domain has ratings: an item without one then speaks for nothing
    examples: frozenset[str] = frozenset()  # ids of items that the wish names, not the past

    def causes(
        self,
        candidate: Candidate,
        effects: Effects,
        related: Mapping[str, str],
        citable: Callable[[Fact], bool],
    ) -> list[Cause]:
        """Propose what of the history may support a candidate.

        Args:
            candidate: The item.
            effects: Of items of the history that were left out one by one, nats.
            related: Id of a history item -> how the candidate is related to it.
            citable: Whether a fact of the candidate may be told.
        """
        item = candidate.item
        own = [fact for fact in facts_of(item) if citable(fact) and self.counts.bits(fact) >= TELLING]
        named = [entry for entry in self.past.entries if entry.item.id in self.examples]
        causes = self._singles(own, _alike(_strongest(_ids(named), effects), effects), rated=True)
        past = [entry for entry in self.past.entries if entry.item.id not in {item.id, *self.examples}]
        for rated in (True, None):
            entries = [entry for entry in past if entry.liked is rated]
            ids, liked = _strongest(_ids(entries), effects), rated is True
            if together := _alike([id_ for id_ in ids if id_ in candidate.co_consumed], effects):
                causes.append(Cause("co_consumed", _parts(together), together, rated=liked))
            if not liked and self.rated:
                continue
            causes += self._groups(own, entries, effects, rated=liked)
            causes += self._singles(own, _alike(ids, effects), rated=liked)
            if near := [id_ for id_ in related if id_ in ids]:
                causes.append(
                    Cause("relation", _parts(near[:1]), (near[0],), text=related[near[0]], rated=liked)
                )
        return causes

    def _groups(
        self, own: Sequence[Fact], entries: Sequence[HistoryEntry], effects: Effects, *, rated: bool
    ) -> list[Cause]:
        """Propose groups that share one fact, or a noun and another fact, with the item."""
        having: dict[Fact, set[str]] = {fact: set() for fact in own}
        for entry in entries:
            for fact in having.keys() & self.past.facts[entry.item.id]:
                having[fact].add(entry.item.id)
        nouns = [fact for fact in own if self.is_noun(fact)]
        sets: list[tuple[tuple[Fact, ...], set[str]]] = [((fact,), ids) for fact, ids in having.items()]
        sets += [
            ((noun, fact), having[noun] & having[fact])
            for noun in nouns
            for fact in own
            if fact.attribute != noun.attribute
        ]
        groups = [
            Cause("group", _parts(members), _strongest(members, effects), facts, rated=rated)
            for facts, members in sets
            if len(members) >= GROUP
        ]

        def weight(cause: Cause) -> tuple[float, float]:
            total = sum(max(0.0, effects.get(part, 0.0)) for part in cause.parts)
            return -total, -sum(map(self.counts.bits, cause.facts))

        return list(islice(_of_different_items(sorted(groups, key=weight)), GROUPS))

    def _singles(self, own: Sequence[Fact], ids: Sequence[str], *, rated: bool) -> list[Cause]:
        """Propose the strongest items: one, or two that have something in common with it."""
        chosen = [(name,) for name in ids] + [
            (one, two) for number, one in enumerate(ids) for two in ids[number + 1 :]
        ]
        causes = []
        for group in chosen:
            common = set(own).intersection(*(self.past.facts[name] for name in group))
            facts = self.told(sorted(common, key=own.index))
            if facts or len(group) == 1:
                kind: CauseKind = "shared" if facts else "history"
                causes.append(Cause(kind, _parts(group), group, facts, rated=rated))
        return causes

    def told(self, facts: Sequence[Fact]) -> tuple[Fact, ...]:
        """Choose facts to name: a noun, and the rarest."""
        noun = next((fact for fact in facts if self.is_noun(fact)), None)
        others = sorted(
            (fact for fact in facts if not self.is_noun(fact)), key=lambda fact: -self.counts.bits(fact)
        )
        return tuple([*([noun] if noun else []), *others][:FACTS_SHARED])


def _alike(ids: Sequence[str], effects: Effects) -> tuple[str, ...]:
    """Return the first ids whose effects are not much smaller than the first one."""
    sizes = [effects.get(RequestPart("history", name), 0.0) for name in ids[:SINGLES]]
    return tuple(
        name for name, size in zip(ids, sizes, strict=False) if size > 0 and size >= PAIRED * sizes[0]
    )


def _of_different_items(causes: Iterable[Cause]) -> Iterable[Cause]:
    """Leave out causes with the same items as one before."""
    seen: set[frozenset[RequestPart]] = set()
    for cause in causes:
        if cause.parts not in seen:
            seen.add(cause.parts)
            yield cause


def _ids(entries: Iterable[HistoryEntry]) -> list[str]:
    return list(dict.fromkeys(entry.item.id for entry in entries))


def _parts(ids: Iterable[str]) -> frozenset[RequestPart]:
    return frozenset(RequestPart("history", name) for name in ids)


def _strongest(ids: Iterable[str], effects: Effects) -> tuple[str, ...]:
    """Order history items by their effects."""
    return tuple(sorted(ids, key=lambda name: (-effects.get(RequestPart("history", name), 0.0), name)))
