"""What rules cost on held-out events: NDCG@10 without them less with them.

The retriever's own order is measured, under the rules of the domain with and without one of them, and with
all and none; a rule on trial is measured as if it were in force. Lists that rules make too short are not
filled: a list has 20 candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys.config import Domain, Settings
from recsys.data.batch import Progress
from recsys.data.importers import read_domain
from recsys.data.splits import Case, leave_one_out, sample_users
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.protocol.baskets import next_basket
from recsys.evaluation.ruled import RuledRetriever
from recsys.knowledge.reordering import apply_rules
from recsys.knowledge.rules import CheckedRule, Gate
from recsys.ranking.base import softmax
from recsys.utils.intervals import bootstrap
from retrieval import HybridRetriever, Query

DEPTH = 20  # candidates of a list
ALL = "all rules"

Pair = tuple[list[str], list[str]]
"""The list with a rule, and the list without it."""


def rule_costs(
    domain: Domain, users: int, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure every rule on the last events of users, fitted on the others.

    Returns:
        "rules": name -> "share" of the lists that it changes, and NDCG@10 "lost" with its interval; those
        in force together under `ALL`.
    """
    batch = read_domain(domain)
    split = (
        next_basket(batch.interactions, "next-basket")
        if domain.repeats
        else leave_one_out(batch.interactions)
    )
    split = sample_users(split, users)
    people = {user.id: user for user in batch.users}
    data = EvaluationData.of(
        domain,
        tuple(batch.items),
        people,
        split,
        settings=settings,
        progress=progress,
        edges=batch.edges or (),
    )
    ruled = RuledRetriever.fit(data)
    lists: dict[str, list[Pair]] = {}
    for number, case in enumerate(split.cases, start=1):
        for name, pair in _lists(case, ruled).items():
            lists.setdefault(name, []).append(pair)
        if progress:
            progress("rules", number, len(split.cases))
    targets = [case.target.item_id for case in split.cases]
    return {
        "cases": len(split.cases),
        "split": f"{split.name}, {split.part}",
        "method": "the retriever's order; a paired bootstrap over users",
        "rules": {name: _cost(pairs, targets) for name, pairs in lists.items()},
    }


def _cost(pairs: Sequence[Pair], targets: Sequence[str]) -> dict[str, Any]:
    with_it, without = (ranking_metrics([pair[side] for pair in pairs], targets)[PRIMARY] for side in (0, 1))
    changed = float(np.mean([one[:10] != other[:10] for one, other in pairs]))
    return {"share": changed, "lost": dataclasses.asdict(bootstrap(without - with_it))}


def _lists(case: Case, ruled: RuledRetriever) -> dict[str, Pair]:
    """Return for each rule, and for all, the list with it and without."""
    query = ruled.query(case)

    def ordered(rules: Sequence[CheckedRule]) -> list[str]:
        return _ordered(query, ruled.retriever, ruled.gate(case, rules))

    acting = [rule for rule in ruled.book.rules if rule.rule.do != "remark"]
    in_force = [rule for rule in acting if not rule.rule.trial]
    base = ordered(in_force)
    lists = {ALL: (base, ordered([]))} if in_force else {}
    for rule in acting:
        if rule.rule.trial:
            tried = dataclasses.replace(rule, rule=rule.rule.model_copy(update={"trial": False}))
            lists[rule.name] = (ordered([*in_force, tried]), base)
        else:
            lists[rule.name] = (base, ordered([other for other in in_force if other is not rule]))
    return lists


def _ordered(query: Query, retriever: HybridRetriever, gate: Gate) -> list[str]:
    query = dataclasses.replace(query, at_least=tuple(gate.at_least))
    candidates = retriever.retrieve_gated(query, DEPTH, gate).candidates
    scores = softmax([candidate.score for candidate in candidates]) if candidates else ()
    order = apply_rules(gate, candidates, range(len(candidates)), scores).order
    return [candidates[position].item.id for position in order]
