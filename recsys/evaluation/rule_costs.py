"""What each rule costs on held-out events: NDCG@10 without it less with it.

The retriever's own order is measured, under the rules of the domain with and without one of them; a rule
on trial is measured as if it were in force.
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
from recsys.evaluation.systems.recommenders import fit_on_train, visible_history
from recsys.knowledge.fields import Moment
from recsys.knowledge.reordering import apply_rules
from recsys.knowledge.rules import CheckedRule, Gate, RuleBook
from recsys.ranking.base import softmax
from recsys.utils.intervals import bootstrap
from retrieval import HybridRetriever, Query

DEPTH = 20  # candidates of a list


def rule_costs(
    domain: Domain, users: int, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure every rule on the last events of users, fitted on the others.

    Returns:
        "rules": name -> "share" of the lists that it changes, and NDCG@10 "lost" with its interval.
    """
    batch = read_domain(domain)
    split = (
        next_basket(batch.interactions, "next-basket")
        if domain.repeats
        else leave_one_out(batch.interactions)
    )
    split = sample_users(split, users)
    people = {user.id: user for user in batch.users}
    data = EvaluationData.of(domain, tuple(batch.items), people, split, settings=settings, progress=progress)
    retriever, book = fit_on_train(data, None), RuleBook(domain)
    lists: dict[CheckedRule, list[tuple[list[str], list[str]]]] = {rule: [] for rule in book.rules}
    for number, case in enumerate(split.cases, start=1):
        for rule, pair in _lists(case, data, retriever, book).items():
            lists[rule].append(pair)
        if progress:
            progress("rules", number, len(split.cases))
    targets = [case.target.item_id for case in split.cases]
    return {
        "cases": len(split.cases),
        "split": f"{split.name}, {split.part}",
        "method": "the retriever's order; a paired bootstrap over users",
        "rules": {rule.name: _cost(pairs, targets) for rule, pairs in lists.items()},
    }


def _cost(pairs: Sequence[tuple[list[str], list[str]]], targets: Sequence[str]) -> dict[str, Any]:
    with_it, without = (ranking_metrics([pair[side] for pair in pairs], targets)[PRIMARY] for side in (0, 1))
    changed = float(np.mean([one[:10] != other[:10] for one, other in pairs]))
    return {"share": changed, "lost": dataclasses.asdict(bootstrap(without - with_it))}


def _lists(
    case: Case, data: EvaluationData, retriever: HybridRetriever, book: RuleBook
) -> dict[CheckedRule, tuple[list[str], list[str]]]:
    """Return for each rule the list with it and the list without it."""
    entries, context = data.catalog.entries(case.history, data.domain.feedback), data.context_of(case)
    exclude = frozenset() if case.repeats else frozenset(entry.item.id for entry in entries)
    history, profile = visible_history(retriever, data, case), data.profile_of(case)
    query = Query(history, case.wish, exclude=exclude, context=context, profile=profile)
    moment = Moment.of(data.users.get(case.user_id), context, entries)
    related = retriever.state.relations.related
    in_force = [rule for rule in book.rules if not rule.rule.trial]
    base = _ordered(query, retriever, Gate(book, moment, in_force, related=related))
    lists = {}
    for rule in book.rules:
        if rule.rule.trial:
            tried = dataclasses.replace(rule, rule=rule.rule.model_copy(update={"trial": False}))
            lists[rule] = (
                _ordered(query, retriever, Gate(book, moment, [*in_force, tried], related=related)),
                base,
            )
        else:
            others = [other for other in in_force if other is not rule]
            lists[rule] = (base, _ordered(query, retriever, Gate(book, moment, others, related=related)))
    return lists


def _ordered(query: Query, retriever: HybridRetriever, gate: Gate) -> list[str]:
    query = dataclasses.replace(query, at_least=tuple(gate.at_least))
    candidates = retriever.retrieve_gated(query, DEPTH, gate).candidates
    scores = softmax([candidate.score for candidate in candidates]) if candidates else ()
    order = apply_rules(gate, candidates, range(len(candidates)), scores).order
    return [candidates[position].item.id for position in order]
