"""Sets for people whose later events are hidden, with rules and without.

People are divided, as for recommendations of drugs in PyHealth: all events of six in ten are learned from,
two in ten choose a threshold, two in ten are reported. Of those only the first events are known; the truth is
what they chose later. A set is all items with p at the threshold or above, p being the softmax of the scores:
under the rules from the top, each beside what is already in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config import Domain, Settings
from recsys.data.batch import Progress
from recsys.data.importers import read_domain
from recsys.data.splits import Case, Part, Split, fold_of, in_time_order
from recsys.errors import RequestError
from recsys.evaluation.metrics import sets as measures
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol import leaks
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.results.journal import means, ratio, study_facts, write_section
from recsys.evaluation.ruled import RuledRetriever
from recsys.evaluation.systems.recommenders import true_values
from recsys.knowledge.expressions import Related
from recsys.knowledge.rules import Gate
from recsys.ranking.base import softmax
from recsys.types import Interaction, Item
from recsys.utils.intervals import bootstrap

FOLDS, TRAIN, VALIDATION = 10, 6, 8  # folds below TRAIN are learned from, below VALIDATION choose
DEPTH = 500  # items that are ranked
LONGEST = 40  # items of a set
K = 5  # items of a list
THRESHOLDS = tuple(float(p) for p in np.geomspace(0.005, 0.5, 41))
SYSTEMS = ("rules", "no rules", "popularity, rules", "popularity, no rules")
RULED = ("rules", "popularity, rules")


@dataclass(frozen=True)
class SetOptions:
    """How sets are evaluated."""

    known: int = 1  # first events of a person that are known
    users: int | None = None  # at most so many are reported; None: all
    seed: int = 0
    overwrite: bool = False
    command: str = ""


@dataclass(frozen=True)
class Found:
    """What a system found for one case."""

    ranking: tuple[str, ...]  # of what its rules allow by itself, best first
    members: tuple[tuple[str, float], ...]  # what can stand together, from the top, with p

    def at(self, threshold: float) -> tuple[str, ...]:
        """Return the set of a threshold."""
        return tuple(item for item, p in self.members if p >= threshold)

    @property
    def first(self) -> tuple[str, ...]:
        """The list of K."""
        return tuple(item for item, _ in self.members[:K])


def evaluate_sets(
    domain: Domain, out: Path, settings: Settings, options: SetOptions, progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate sets and add the section `sets` to `out/result.json`.

    Raises:
        RequestError: Nobody has more events than are known, or the folder holds other data.
    """
    _make_folder(out)
    batch = read_domain(domain)
    users = {user.id: user for user in batch.users}

    def part(name: Part) -> EvaluationData:
        split = split_people(batch.interactions, name, options.known, options.users)
        leaks.check(split)
        edges = batch.edges or ()
        return EvaluationData.of(
            domain,
            tuple(batch.items),
            users,
            split,
            seed=options.seed,
            settings=settings,
            progress=progress,
            edges=edges,
        )

    validation, test = part("validation"), part("test")
    ruled = RuledRetriever.fit(test)  # both parts learn from the same people
    thresholds = _thresholds(_found(ruled, validation), _truths(validation))
    found, truths = _found(ruled, test), _truths(test)
    rows = {name: _rows(ruled, test, truths, found[name], thresholds[name]) for name in SYSTEMS}
    people = [case.user_id for case in test.split.cases]
    lost = {
        name: rows["no rules"].values[name] - with_rules for name, with_rules in rows["rules"].values.items()
    }
    section = {
        "people": len(people),
        "known": options.known,
        "systems": {
            name: {
                "threshold": round(thresholds[name], 4),
                "measures": _figures(rows[name], people, options.seed),
            }
            for name in SYSTEMS
        },
        "rules_cost": {
            name: dataclasses.asdict(bootstrap(differences)) for name, differences in lost.items()
        },
    }
    run = study_facts(test, options.command)
    return write_section(out, run, {"sets": section}, overwrite=options.overwrite)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write to {out}: {error.strerror}", hint="choose another --out") from error


def split_people(events: Sequence[Interaction], part: Part, known: int, most: int | None = None) -> Split:
    """Divide people by a hash of their ids; held-out ones give a case each.

    Args:
        events: In any order.
        part: The people who choose the threshold, or those who are reported.
        known: How many first events of a case are known.
        most: Cases at most.

    Raises:
        RequestError: There is none.
    """
    by_user: dict[str, list[Interaction]] = {}
    for event in in_time_order(events):
        by_user.setdefault(event.user_id, []).append(event)
    folds = {user: fold_of(user, FOLDS) for user in by_user}
    wanted = range(TRAIN, VALIDATION) if part == "validation" else range(VALIDATION, FOLDS)
    cases = [
        Case(user, tuple(own[:known]), own[known])
        for user, own in sorted(by_user.items())
        if folds[user] in wanted and len(own) > known
    ]
    if not cases:
        raise RequestError(f"nobody has more than {known} events", hint="give a lower --known")
    ordered = in_time_order(events)
    cases = cases[:most]
    rule = (
        f"By a hash of their ids {TRAIN} of {FOLDS} people are learned from, {VALIDATION - TRAIN} choose the "
        f"threshold and {FOLDS - VALIDATION} are reported. Of those the first {known} events are known."
    )
    return Split(
        "people",
        rule,
        tuple(event for event in ordered if folds[event.user_id] < TRAIN),
        tuple(cases),
        held_out=tuple(event for event in ordered if folds[event.user_id] >= TRAIN),
        part=part,
    )


def _truths(data: EvaluationData) -> list[frozenset[str]]:
    """Return what each person of the cases chose later."""
    chosen: dict[str, set[str]] = {}
    for event in data.split.held_out:
        chosen.setdefault(event.user_id, set()).add(event.item_id)
    return [
        frozenset(chosen[case.user_id] - {event.item_id for event in case.history})
        for case in data.split.cases
    ]


def _found(ruled: RuledRetriever, data: EvaluationData) -> dict[str, list[Found]]:
    """Return what each system finds for the cases."""
    items = {item.id: item for item in data.items}
    counts = data.log.counts + 0.5
    popular = dict(zip(data.log.items, (counts / counts.sum()).tolist(), strict=True))
    found: dict[str, list[Found]] = {name: [] for name in SYSTEMS}
    for number, case in enumerate(data.split.cases, start=1):
        query, gate = ruled.query(case), ruled.gate(case)
        candidates = ruled.retriever.retrieve(query, min(DEPTH, len(items)))
        scores = softmax([candidate.score for candidate in candidates])
        p = {candidate.item.id: score for candidate, score in zip(candidates, scores, strict=True)}
        by_popularity = {item: share for item, share in popular.items() if item not in query.exclude}
        for name, ranked in zip(SYSTEMS, (p, p, by_popularity, by_popularity), strict=True):
            found[name].append(_together(ranked, items, gate if name in RULED else None))
        if data.progress:
            data.progress(f"sets, {data.split.part}", number, len(data.split.cases))
    return found


def _together(p: Mapping[str, float], items: Mapping[str, Item], gate: Gate | None) -> Found:
    """Return what may stand together, from the top."""
    order = sorted(p, key=lambda item: (-p[item], item))[:DEPTH]
    allowed = [item for item in order if gate is None or gate.allows(items[item])]
    kept: list[Item] = []
    for item in (items[name] for name in allowed):
        if len(kept) == LONGEST:
            break
        if gate is None or not (
            gate.over_limit(item, kept) or any(gate.conflict(item, other) for other in kept)
        ):
            kept.append(item)
    return Found(tuple(allowed), tuple((item.id, p[item.id]) for item in kept))


def _thresholds(found: Mapping[str, Sequence[Found]], truths: Sequence[frozenset[str]]) -> dict[str, float]:
    """Return each system's threshold with the highest mean Jaccard."""

    def mean(name: str, threshold: float) -> float:
        pairs = zip(found[name], truths, strict=True)
        return float(np.mean([measures.jaccard(one.at(threshold), truth) for one, truth in pairs]))

    return {name: max(THRESHOLDS, key=lambda threshold: mean(name, threshold)) for name in found}


@dataclass(frozen=True)
class _Rows:
    """The measures of a system, one value a case."""

    values: Mapping[str, np.typing.NDArray[np.float64]]
    ratios: Mapping[str, list[tuple[int, int]]]  # the sum of the first is over that of the second


def _rows(
    ruled: RuledRetriever,
    data: EvaluationData,
    truths: Sequence[frozenset[str]],
    found: Sequence[Found],
    threshold: float,
) -> _Rows:
    cases = data.split.cases
    values: dict[str, list[float]] = {}
    ratios: dict[str, list[tuple[int, int]]] = {}
    for case, truth, one in zip(cases, truths, found, strict=True):
        members, gate = one.at(threshold), ruled.gate(case)
        of_case = {
            "jaccard": measures.jaccard(members, truth),
            "f1": measures.f1(members, truth),
            "prauc": measures.average_precision(one.ranking, truth),
            "size": len(members),
            **_rule_measures(ruled, case, gate, members, one.first),
        }
        if (value := true_values(data, case)) is not None:
            of_case[f"true utility@{K}"] = float(np.mean([value[item] for item in one.first] or [0.0]))
        for name, figure in of_case.items():
            values.setdefault(name, []).append(float(figure))
        for name, counts in _interactions(ruled, case, members).items():
            ratios.setdefault(name, []).append(counts)
    lists = [[item for item, _ in one.members] for one in found]
    values[PRIMARY] = list(ranking_metrics(lists, [case.target.item_id for case in cases])[PRIMARY])
    return _Rows({name: np.array(column) for name, column in values.items()}, ratios)


def _rule_measures(
    ruled: RuledRetriever, case: Case, gate: Gate, members: Sequence[str], first: Sequence[str]
) -> dict[str, float]:
    """Tell whether set and list break a rule, and how much is of one kind."""
    item = {item.id: item for item in ruled.data.items}
    listed = [item[name] for name in first]
    found = {
        "violations": float(breaks_a_rule(gate, [item[name] for name in members])),
        f"violations@{K}": float(breaks_a_rule(gate, listed)),
    }
    held = [item[event.item_id] for event in case.history] + listed
    for rule in gate.rules:
        if rule.rule.do == "limit" and rule.rule.by:
            counted = [one for one in held if gate.holds(rule, one)]
            share = measures.largest_share(counted, rule.rule.by) * len(counted) / max(1, len(held))
            found[f"largest {rule.rule.by}@{K}"] = share
    return found


def _interactions(ruled: RuledRetriever, case: Case, members: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count the related pairs in a set, and with what is known, by relation."""
    related, past = ruled.retriever.state.relations.related, [event.item_id for event in case.history]
    counts = {}
    for name, kind in ruled.data.domain.relations.items():
        if kind.edges is not None:
            counts[f"ddi: {name}"] = measures.related_pairs(members, partial(_asked, related, name))
            beside = sum(related(one, other, name) for one in members for other in past)
            counts[f"known: {name}"] = (beside, len(members) * len(past))
    return counts


def _asked(related: Related, name: str, one: str, other: str) -> bool:
    return related(one, other, name)


def breaks_a_rule(gate: Gate, items: Sequence[Item]) -> bool:
    """Tell whether a list has what is forbidden, alone or beside others."""
    return any(
        gate.refusal(item)
        or gate.over_limit(item, items[:number])
        or any(gate.conflict(item, other) for other in items[:number])
        for number, item in enumerate(items)
    )


def _figures(rows: _Rows, people: Sequence[str], seed: int) -> dict[str, Any]:
    columns = {name: column.tolist() for name, column in rows.values.items()}
    rates = {
        name: ratio([one for one, _ in pairs], [of for _, of in pairs], people, seed)
        for name, pairs in rows.ratios.items()
    }
    return means(columns, people, seed) | rates
