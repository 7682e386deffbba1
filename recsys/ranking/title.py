"""How much likelier does knowing the person make each title?"""

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
    """The title that is scored; of one without a visible sign the id."""
    return clean_text(item.name) or clean_text(item.id) or "-"


@dataclass(frozen=True)
class TitleRanker(Ranker):
    """Score = mean over the title's tokens of log p(token | person) - log p(token), nats.

    The second term, from the same prompt without the person, takes off what makes a title
    likely for anybody: fame, common words (domain-conditional PMI: Holtzman et al., EMNLP
    2021). No candidate sees another, so their order cannot matter. Tuned by the
    objective "title".
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
        told = [self.render(request) for request in requests]
        untold = [self.render(RankRequest(request.candidates, (), Context(), {})) for request in requests]
        groups = [
            list(zip(prompt.token_ids, self._titles(request), strict=True))
            for request, prompt in zip((*requests, *requests), (*told, *untold), strict=True)
        ]
        answers = prefix_first(self._ask, groups)
        return [
            self._ranking(request, told[n], untold[n], answers[n], answers[len(told) + n])
            for n, request in enumerate(requests)
        ]

    def _ranking(
        self,
        request: RankRequest,
        prompt: RenderedPrompt,
        baseline: RenderedPrompt,
        told: Sequence[ContinuationScores],
        untold: Sequence[ContinuationScores],
    ) -> Ranking:
        gains = tuple(
            (sum(known.logprobs) - sum(unknown.logprobs)) / len(known.logprobs)
            for known, unknown in zip(told, untold, strict=True)
        )
        return Ranking(
            scores=self.parts.scores(request, gains),
            log_odds=gains,
            prompt=prompt,
            report=ParseReport(category="ok"),
            usage=continuation_usage([*told, *untold]),
            baseline=baseline,
        )

    def _titles(self, request: RankRequest) -> list[list[int]]:
        """Token ids of each title, as tuning encodes them."""
        encode = self.parts.engine.tokenizer.encode
        return [encode(title_text(item), add_special_tokens=False) for item in request.items]

    def _ask(self, asked: Sequence[tuple[TokenIds, TokenIds]]) -> list[ContinuationScores]:
        return self.parts.engine.continuation_logprobs(
            [ids[: len(ids) - len(title)] for ids, title in asked], [title for _, title in asked]
        )
