"""Pointwise ranking: log-odds of Yes for each candidate, over one shared prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.config.ranking import Fact
from recsys.engine.base import LabelScores, Tokenizer
from recsys.engine.labels import label_ids
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.ranking.base import (
    Ranker,
    RankerParts,
    Ranking,
    RankRequest,
    label_usage,
    prefix_first,
    rank_variables,
)
from recsys.ranking.facts import candidate_facts
from recsys.types import ParseReport

TEMPLATE = "rank/pointwise"


def render_pointwise(
    prompts: PromptLibrary,
    tokenizer: Tokenizer,
    request: RankRequest,
    noun: str,
    plural: str,
    facts: Sequence[Fact],
    max_tokens: int,
    spare: int = 0,
) -> RenderedPrompt:
    """Render a prompt per candidate over a shared prefix; fine-tuning uses it too."""
    by_candidate = candidate_facts(
        request.candidates, request.history, facts, request.context, request.chosen
    )
    suffixes = [
        {"candidate": item, "facts": known}
        for item, known in zip(request.shown_items, by_candidate, strict=True)
    ]
    variables = rank_variables(request, noun, plural)
    return prompts.render(TEMPLATE, tokenizer, variables, suffixes, max_tokens=max_tokens, spare=spare)


@dataclass(frozen=True)
class PointwiseRanker(Ranker):
    """log-odds = log p(Yes) - log p(No) after "will this person enjoy X?".

    Candidates are scored independently, so their order does not matter except for rounding: the rest
    of the batch and the state of the cache change log-odds by some hundredths of a nat. `exact`
    prevents that: each request is scored by itself, in the order of item ids. The first prompt goes
    alone and fills the prefix cache that the others then hit.
    """

    parts: RankerParts
    name: str = "pointwise"

    def render(self, request: RankRequest) -> RenderedPrompt:
        parts = self.parts
        return render_pointwise(
            parts.prompts,
            parts.engine.tokenizer,
            request,
            parts.noun,
            parts.plural,
            parts.facts,
            parts.budget(),
            parts.max_history_trim,
        )

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        if not requests:
            return []
        engine, prompts = self.parts.engine, [self.render(request) for request in requests]
        yes_no = label_ids(engine.tokenizer, prompts[0].template.meta.labels, prompts[0].tails[0])
        if self.parts.exact:
            responses = [
                self._score_exactly(request, prompt, yes_no)
                for request, prompt in zip(requests, prompts, strict=True)
            ]
        else:
            responses = prefix_first(
                lambda ids: engine.label_logprobs(ids, yes_no), [prompt.token_ids for prompt in prompts]
            )
        rankings = []
        for request, prompt, scores in zip(requests, prompts, responses, strict=True):
            log_odds = tuple(score.logprobs[0] - score.logprobs[1] for score in scores)
            rankings.append(
                Ranking(
                    scores=self.parts.scores(request, log_odds),
                    log_odds=log_odds,
                    prompt=prompt,
                    report=ParseReport(category="ok"),
                    usage=label_usage(scores),
                )
            )
        return rankings

    def _score_exactly(
        self, request: RankRequest, prompt: RenderedPrompt, yes_no: Sequence[int]
    ) -> list[LabelScores]:
        """Score in the order of item ids; return scores in the order of the request."""
        order = sorted(range(len(request.items)), key=lambda position: request.items[position].id)
        prompts = [prompt.token_ids[position] for position in order]
        scores = self.parts.engine.label_logprobs(prompts, yes_no, exact=True)
        by_position = dict(zip(order, scores, strict=True))
        return [by_position[position] for position in range(len(order))]
