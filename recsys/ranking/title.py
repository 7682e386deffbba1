"""Ranking by titles: how much knowing the person raises log p of each title."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.engine.base import ContinuationScores, TokenIds
from recsys.prompting.library import RenderedPrompt
from recsys.ranking.base import Ranker, RankerParts, Ranking, RankRequest, continuation_usage, prefix_first
from recsys.types import Context, Item, ParseReport
from recsys.utils.sanitize import clean_text

TEMPLATE = "rank/title"


def title_text(item: Item) -> str:
    """Return the title to score; the id if no character of it is visible."""
    return clean_text(item.name) or clean_text(item.id) or "-"


@dataclass(frozen=True)
class TitleRanker(Ranker):
    """Score = mean over title tokens of log p(token | person) - log p(token), nats.

    The second term, from the same prompt without the person, removes what makes a title likely for
    everyone, such as fame and common words (domain-conditional PMI: Holtzman et al., EMNLP 2021).
    Candidates are scored independently, so their order does not matter. The objective "title"
    fine-tunes for it.
    """

    parts: RankerParts
    name: str = "title"

    def render(self, request: RankRequest) -> RenderedPrompt:
        titles = self._titles(request)
        prompt = self.parts.render(TEMPLATE, request, [{}], reserve=1 + max(map(len, titles)))
        (tail,), (tail_ids,) = prompt.tails, prompt.tail_ids
        return dataclasses.replace(
            prompt,
            tails=tuple(tail + title_text(item) for item in request.items),
            tail_ids=tuple((*tail_ids, *title) for title in titles),
        )

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        personal = [self.render(request) for request in requests]
        baselines = [self.render(RankRequest(request.candidates, (), Context(), {})) for request in requests]
        groups = [
            list(zip(prompt.token_ids, self._titles(request), strict=True))
            for request, prompt in zip((*requests, *requests), (*personal, *baselines), strict=True)
        ]
        scores = prefix_first(self._score, groups)
        return [
            self._ranking(request, personal[n], baselines[n], scores[n], scores[len(personal) + n])
            for n, request in enumerate(requests)
        ]

    def _ranking(
        self,
        request: RankRequest,
        prompt: RenderedPrompt,
        baseline: RenderedPrompt,
        scores: Sequence[ContinuationScores],
        baseline_scores: Sequence[ContinuationScores],
    ) -> Ranking:
        gains = tuple(
            (sum(personal.logprobs) - sum(general.logprobs)) / len(personal.logprobs)
            for personal, general in zip(scores, baseline_scores, strict=True)
        )
        return Ranking(
            scores=self.parts.scores(request, gains),
            log_odds=gains,
            prompt=prompt,
            report=ParseReport(category="ok"),
            usage=continuation_usage([*scores, *baseline_scores]),
            baseline=baseline,
        )

    def _titles(self, request: RankRequest) -> list[list[int]]:
        """Return the token ids of each title, as fine-tuning encodes them."""
        encode = self.parts.engine.tokenizer.encode
        return [encode(title_text(item), add_special_tokens=False) for item in request.items]

    def _score(self, prompts: Sequence[tuple[TokenIds, TokenIds]]) -> list[ContinuationScores]:
        return self.parts.engine.continuation_logprobs(
            [ids[: len(ids) - len(title)] for ids, title in prompts], [title for _, title in prompts]
        )
