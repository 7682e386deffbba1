"""A small ranking request to check that a model answers with the labels."""

from __future__ import annotations

import math

from recsys.config import Domain
from recsys.engine.base import Engine, LabelScores
from recsys.engine.labels import label_ids
from recsys.errors import PromptError, UnusableModel
from recsys.prompting.library import PromptLibrary
from recsys.ranking import RankerParts, RankRequest, make_ranker
from recsys.types import Candidate, Context, Item

LABEL_MASS_FLOOR = 0.01
"""Least summed probability of the labels.

Two of 50,000 tokens have 0.00004 by chance, a model that begins a thought or a greeting instead has as
little, and one that answers has most of it: the packaged model, of 135 million parameters, has 0.4.
"""

LABELLED = ("pointwise", "listwise")
_REQUEST = RankRequest(
    candidates=tuple(
        Candidate(item=Item(id=title, title=title), score=0.0, source="probe") for title in ("Blue", "Green")
    ),
    history=(),
    context=Context(),
    profile={},
)


def check_ranking_prompt(engine: Engine, prompts: PromptLibrary, domain: Domain) -> LabelScores | None:
    """Render the prompt of the domain's strategy, and score its labels once.

    Returns:
        The labels' scores; None where the strategy reads no labels.

    Raises:
        UnusableModel: The chat template loses a text, a label is not one token where it is read, or
            the model gives the labels almost no probability.
        EngineError: The engine fails.
    """
    strategy = domain.ranker.strategy
    try:
        prompt = make_ranker(strategy, RankerParts.of(engine, prompts, domain)).render(_REQUEST)
    except PromptError:  # the template is at fault, and a request says how
        return None
    if strategy not in LABELLED:
        return None
    labels = prompt.template.meta.labels[: len(_REQUEST.candidates)]  # two for Yes and No, too
    ids = label_ids(engine.tokenizer, labels, prompt.tails[0])
    (scores,) = engine.label_logprobs(prompt.token_ids[:1], ids)
    if not all(value < math.inf for value in scores.logprobs):
        raise UnusableModel(
            f"the model's log-probabilities of {_listed(labels)} are not numbers",
            hint="try WHYREC_DTYPE=float32, then another WHYREC_MODEL",
        )
    if not scores.label_mass >= LABEL_MASS_FLOOR:
        raise UnusableModel(
            f"the model gives {_listed(labels)} a probability of {scores.label_mass:.2g} in all where it is "
            f"asked for one of them (prompt {prompt.template.name}); {LABEL_MASS_FLOOR} is the least",
            hint="choose an instruction-tuned model that answers without thinking aloud, or see the prompt: "
            f"recsys prompt render {prompt.template.name}",
        )
    return scores


def _listed(labels: tuple[str, ...]) -> str:
    return " and ".join(f"'{label}'" for label in labels)
