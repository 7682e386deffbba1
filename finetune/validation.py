"""How a model under tuning ranks people's later events, list by list."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.examples import ExampleMaker, TrainingExample, unknown
from finetune.packing import Packed
from retrieval.tuning import rank_of

LogOdds = Callable[[Packed], list[float]]
"""Scores the candidates of a packed prompt, in nats."""

SAMPLED = 19  # random items beside the target


@dataclass(frozen=True)
class ValidationList:
    """Cases of one kind, ready to be scored: prompts, right answers, the retriever's scores.

    `users` are whose cases they are, `retriever` is the NDCG@10 of the retriever's own order,
    `prior` the weight of its scores beside the log-odds wherever the list is ordered.
    """

    name: str
    packed: tuple[Packed, ...]
    targets: tuple[int, ...]
    users: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    retriever: float
    prior: float = 0.0

    def ndcgs(self, odds: Sequence[Sequence[float]]) -> list[float]:
        """NDCG@10 of each case, given the log-odds of its candidates."""
        return [
            ndcg([one + self.prior * score for one, score in zip(row, scores, strict=True)], target)
            for row, scores, target in zip(odds, self.scores, self.targets, strict=True)
        ]


def validation_lists(
    maker: ExampleMaker, render: Callable[[TrainingExample], Packed], n: int, seed: int
) -> list[ValidationList]:
    """Three lists of at most `n` cases each, those without any left out; prompts have all their parts.

    "hard": the retriever's first, as many as are served, where the target is among them,
    with the prior that the model is tuned beside. "random": the target and 19 others,
    with facts. "text": the same without facts, as for new items.
    """
    draw = random.Random(f"validation:{seed}")
    cases = list(maker.cases)
    draw.shuffle(cases)
    examples: dict[str, list[TrainingExample]] = {"hard": [], "random": [], "text": []}
    for case in cases:
        if len(examples["hard"]) < n and (found := maker.served(case, maker.domain.ranker.n_candidates)):
            examples["hard"].append(found)
        if len(examples["random"]) < n:
            sampled = maker.sampled(case, SAMPLED, draw)
            examples["random"].append(sampled)
            examples["text"].append(without_facts(sampled))
        if min(map(len, examples.values())) >= n:
            break
    priors = {"hard": maker.domain.finetune.prior}
    return [_list(name, those, render, priors.get(name, 0.0)) for name, those in examples.items() if those]


def _list(
    name: str, examples: Sequence[TrainingExample], render: Callable[[TrainingExample], Packed], prior: float
) -> ValidationList:
    targets = tuple(one.target for one in examples)
    scores = tuple(tuple(c.score for c in one.request.candidates) for one in examples)
    order = _mean([ndcg(row, target) for row, target in zip(scores, targets, strict=True)])
    users = tuple(one.user_id for one in examples)
    return ValidationList(name, tuple(map(render, examples)), targets, users, scores, order, prior)


def without_facts(example: TrainingExample) -> TrainingExample:
    """The example with candidates that nobody is said to have met."""
    bare = tuple(unknown(candidate) for candidate in example.request.candidates)
    request = dataclasses.replace(example.request, candidates=bare)
    return dataclasses.replace(example, request=request, dropped=("facts",))


def figures(lists: Sequence[ValidationList], log_odds: LogOdds) -> Mapping[str, float]:
    """NDCG@10 of each list, and their mean as "score"."""
    found = {f"ndcg@10 {one.name}": _mean(one.ndcgs([log_odds(p) for p in one.packed])) for one in lists}
    return found | {"score": _mean(list(found.values()))}


def ndcg(scores: Sequence[float], target: int) -> float:
    """NDCG@10 where one item is relevant; ties shared, and nothing for scores that are not numbers."""
    if np.isnan(scores).any():
        return 0.0
    rank = rank_of(scores, target)
    return 1 / math.log2(1 + rank) if rank <= 10 else 0.0


def _mean(values: Sequence[float]) -> float:
    return round(math.fsum(values) / len(values), 4) if values else 0.0
