"""One letter out of all candidates: a single prefill ranks the list."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recsys.engine.base import Tokenizer
from recsys.engine.checks import label_ids
from recsys.errors import RequestError
from recsys.prompting import PromptLibrary, RenderedPrompt
from recsys.ranking.base import (
    Ranker,
    RankerParts,
    Ranking,
    RankRequest,
    label_usage,
    rank_variables,
    softmax,
)
from recsys.types import ParseReport

TEMPLATE = "rank/listwise"


def render_listwise(
    prompts: PromptLibrary,
    tokenizer: Tokenizer,
    request: RankRequest,
    noun: str,
    plural: str,
    max_tokens: int,
) -> RenderedPrompt:
    """One prompt that gives every candidate its letter. Raises RequestError for more than there are letters."""
    letters = prompts.get(TEMPLATE).meta.labels
    if len(request.items) > len(letters):
        raise RequestError(
            f"listwise ranks at most {len(letters)} candidates, not {len(request.items)}",
            hint="lower n_candidates, or use the pointwise strategy",
        )
    suffix = {"candidates": request.items, "letters": letters}
    return prompts.render(
        TEMPLATE, tokenizer, rank_variables(request, noun, plural), [suffix], max_tokens=max_tokens
    )


@dataclass(frozen=True)
class ListwiseRanker(Ranker):
    """Score = p(letter), normalised over the letters in use (LlamaRec, arXiv 2311.02089).

    Fast, but a small untuned model prefers some letters whatever stands behind
    them; `log_odds` is log p / (1 - p) within the list.
    """

    parts: RankerParts
    name: str = "listwise"

    def render(self, request: RankRequest) -> RenderedPrompt:
        parts = self.parts
        return render_listwise(
            parts.prompts, parts.engine.tokenizer, request, parts.noun, parts.plural, parts.budget()
        )

    def rank(self, request: RankRequest) -> Ranking:
        prompt = self.render(request)
        engine = self.parts.engine
        letters = label_ids(engine.tokenizer, prompt.template.meta.labels[: len(request.items)])
        answers = engine.label_logprobs(prompt.token_ids, letters)
        scores = softmax(answers[0].logprobs)
        return Ranking(
            scores=scores,
            log_odds=tuple(_log_odds(score) for score in scores),
            prompt=prompt,
            report=ParseReport(category="ok"),
            usage=label_usage(answers),
        )


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(bounded) - math.log1p(-bounded)
