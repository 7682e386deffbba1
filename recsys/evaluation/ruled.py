"""The retriever of an evaluation under the rules of its domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.data.splits import Case
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.systems.recommenders import fit_on_train, visible_history
from recsys.knowledge.fields import Moment
from recsys.knowledge.rules import CheckedRule, Gate, RuleBook
from retrieval import HybridRetriever, Query


@dataclass(frozen=True)
class RuledRetriever:
    """What is found and allowed for the cases of a split."""

    data: EvaluationData
    retriever: HybridRetriever
    book: RuleBook

    @classmethod
    def fit(cls, data: EvaluationData) -> RuledRetriever:
        """Fit the domain's retriever on the train events."""
        return cls(data, fit_on_train(data, None), RuleBook(data.domain))

    def query(self, case: Case) -> Query:
        """Return the query of a case, without its gate."""
        exclude = frozenset() if case.repeats else frozenset(event.item_id for event in case.history)
        history = visible_history(self.retriever, self.data, case)
        context, profile = self.data.context_of(case), self.data.profile_of(case)
        return Query(history, case.wish, exclude=exclude, context=context, profile=profile)

    def gate(self, case: Case, rules: Sequence[CheckedRule] | None = None) -> Gate:
        """Return the gate of a case, by default of the rules that are in force."""
        entries = self.data.catalog.entries(case.history, self.data.domain.feedback)
        moment = Moment.of(self.data.users.get(case.user_id), self.data.context_of(case), entries)
        if rules is None:
            rules = [rule for rule in self.book.rules if not rule.rule.trial]
        return Gate(self.book, moment, rules, related=self.retriever.state.relations.related)
