"""What a model under tuning is validated on: people's later events, list by list."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

from finetune.examples import ExampleMaker, TrainingExample, unknown
from finetune.packing import Packed
from finetune.ranked_lists import ValidationList, mean_of, ndcg

SAMPLED = 19  # random items beside the target


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
    order = mean_of([ndcg(row, target) for row, target in zip(scores, targets, strict=True)])
    users = tuple(one.user_id for one in examples)
    return ValidationList(name, tuple(map(render, examples)), targets, users, scores, order, prior)


def without_facts(example: TrainingExample) -> TrainingExample:
    """The example with candidates that nobody is said to have met."""
    bare = tuple(unknown(candidate) for candidate in example.request.candidates)
    request = dataclasses.replace(example.request, candidates=bare)
    return dataclasses.replace(example, request=request, dropped=("facts",))
