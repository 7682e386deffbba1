"""Yes or No for each candidate over one shared prefix."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.engine.checks import label_ids
from recsys.prompting import RenderedPrompt
from recsys.ranking.base import Ranker, RankerParts, Ranking, RankRequest, label_usage, softmax
from recsys.types import ParseReport

TEMPLATE = "rank/pointwise"


@dataclass(frozen=True)
class PointwiseRanker(Ranker):
    """log-odds = log p(Yes) - log p(No) after "will this person enjoy X?".

    No candidate sees another, so the order in which they come cannot matter. The
    first prompt goes alone and fills the prefix cache that the rest then read.
    """

    parts: RankerParts
    name: str = "pointwise"

    def render(self, request: RankRequest) -> RenderedPrompt:
        return self.parts.render(TEMPLATE, request, [{"candidate": item} for item in request.items])

    def rank(self, request: RankRequest) -> Ranking:
        prompt = self.render(request)
        engine = self.parts.engine
        yes_no = label_ids(engine.tokenizer, prompt.template.meta.labels)
        prompts = prompt.token_ids
        answers = engine.label_logprobs(prompts[:1], yes_no)
        answers += engine.label_logprobs(prompts[1:], yes_no) if len(prompts) > 1 else []
        log_odds = tuple(answer.logprobs[0] - answer.logprobs[1] for answer in answers)
        return Ranking(
            scores=softmax(log_odds),
            log_odds=log_odds,
            prompt=prompt,
            report=ParseReport(category="ok"),
            usage=label_usage(answers),
        )
