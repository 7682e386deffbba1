"""Yes or No for each candidate over one shared prefix."""

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
    """One prompt per candidate over a shared prefix: the same for ranking and for tuning."""
    known = candidate_facts(request.candidates, request.history, facts, request.context)
    suffixes = [{"candidate": item, "facts": about} for item, about in zip(request.items, known, strict=True)]
    variables = rank_variables(request, noun, plural)
    return prompts.render(TEMPLATE, tokenizer, variables, suffixes, max_tokens=max_tokens, spare=spare)


@dataclass(frozen=True)
class PointwiseRanker(Ranker):
    """log-odds = log p(Yes) - log p(No) after "will this person enjoy X?".

    No candidate sees another, so the order in which they come does not matter, but for
    rounding: what else is in the batch and what is in the cache moves a log-odds by some
    hundredths of a nat. With `exact` neither does: the prompts go in the order of the items'
    ids, each request by itself. The first prompt goes alone and fills the prefix cache that
    the rest then read.
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
        yes_no = label_ids(engine.tokenizer, prompts[0].template.meta.labels)
        if self.parts.exact:
            found = [self._exactly(*both, yes_no) for both in zip(requests, prompts, strict=True)]
        else:
            found = prefix_first(
                lambda ids: engine.label_logprobs(ids, yes_no), [prompt.token_ids for prompt in prompts]
            )
        rankings = []
        for request, prompt, answers in zip(requests, prompts, found, strict=True):
            log_odds = tuple(answer.logprobs[0] - answer.logprobs[1] for answer in answers)
            rankings.append(
                Ranking(
                    scores=self.parts.scores(request, log_odds),
                    log_odds=log_odds,
                    prompt=prompt,
                    report=ParseReport(category="ok"),
                    usage=label_usage(answers),
                )
            )
        return rankings

    def _exactly(
        self, request: RankRequest, prompt: RenderedPrompt, yes_no: Sequence[int]
    ) -> list[LabelScores]:
        """Scores in the order of the request, asked for in one that does not depend on it."""
        order = sorted(range(len(request.items)), key=lambda place: request.items[place].id)
        asked = [prompt.token_ids[place] for place in order]
        answers = self.parts.engine.label_logprobs(asked, yes_no, exact=True)
        found = dict(zip(order, answers, strict=True))
        return [found[place] for place in range(len(order))]
