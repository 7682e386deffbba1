"""The validation lists of a run, made from events later than those it trains on."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

from finetune.examples import ExampleBuilder, TrainingExample, as_new_item
from finetune.packing import PackedPrompt
from finetune.ranked_lists import ValidationList, ndcg, rounded_mean

NEGATIVES = 19  # random items ranked with the target


def build_validation_lists(
    builder: ExampleBuilder, pack: Callable[[TrainingExample], PackedPrompt], n: int, seed: int
) -> list[ValidationList]:
    """Build three lists of at most `n` cases each; their prompts have all parts.

    "hard": the retriever's first candidates, as many as are served, where the target is among them,
    with the prior that the model is trained with. "random": the target and 19 random items, with
    facts. "text": the same without facts, as for new items. An empty list is left out.
    """
    rng = random.Random(f"validation:{seed}")
    cases = list(builder.cases)
    rng.shuffle(cases)
    if builder.domain.finetune.examples.shown:
        shown = [builder.shown_example(case) for case in cases[:n]]
        return [_validation_list("shown", shown, pack, builder.domain.finetune.prior)]
    examples: dict[str, list[TrainingExample]] = {"hard": [], "random": [], "text": []}
    depth = builder.domain.ranker.n_candidates
    for case in cases:
        if len(examples["hard"]) < n and (served := builder.served_example(case, depth)):
            examples["hard"].append(served)
        if len(examples["random"]) < n:
            sampled = builder.sampled_example(case, NEGATIVES, rng)
            examples["random"].append(sampled)
            examples["text"].append(without_facts(sampled))
        if min(map(len, examples.values())) >= n:
            break
    priors = {"hard": builder.domain.finetune.prior}
    return [
        _validation_list(name, of_kind, pack, priors.get(name, 0.0))
        for name, of_kind in examples.items()
        if of_kind
    ]


def _validation_list(
    name: str,
    examples: Sequence[TrainingExample],
    pack: Callable[[TrainingExample], PackedPrompt],
    prior: float,
) -> ValidationList:
    targets = tuple(example.target for example in examples)
    scores = tuple(tuple(c.score for c in example.request.candidates) for example in examples)
    retriever = rounded_mean([ndcg(row, target) for row, target in zip(scores, targets, strict=True)])
    users = tuple(example.user_id for example in examples)
    return ValidationList(name, tuple(map(pack, examples)), targets, users, scores, retriever, prior)


def without_facts(example: TrainingExample) -> TrainingExample:
    """Copy the example with candidates that have no interactions."""
    candidates = tuple(as_new_item(candidate) for candidate in example.request.candidates)
    request = dataclasses.replace(example.request, candidates=candidates)
    return dataclasses.replace(example, request=request, dropped=("facts",))
