"""Listwise ranking: one prefill gives log p of every candidate's letter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.engine.base import LabelScores, Tokenizer
from recsys.engine.labels import label_ids
from recsys.errors import RequestError
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.ranking.base import (
    Ranker,
    RankerParts,
    Ranking,
    RankRequest,
    label_usage,
    log_odds,
    prefix_first,
    rank_variables,
    softmax,
)
from recsys.ranking.windows import anchored_windows, join_windows, rank_by_sliding_windows
from recsys.types import ParseReport

TEMPLATE = "rank/listwise"


def render_listwise(
    prompts: PromptLibrary,
    tokenizer: Tokenizer,
    request: RankRequest,
    noun: str,
    plural: str,
    max_tokens: int,
    windows: Sequence[Sequence[int]] | None = None,
) -> RenderedPrompt:
    """Render one prompt that gives every candidate a letter, or one prompt per window.

    Args:
        prompts: The templates.
        tokenizer: Counts tokens.
        request: What is ranked.
        noun: The domain's word for an item.
        plural: Its plural.
        max_tokens: Most tokens of a prompt.
        windows: Positions of the candidates in each prompt; None: one prompt for all.

    Raises:
        RequestError: A window has more candidates than there are letters.
    """
    letters = prompts.get(TEMPLATE).meta.labels
    windows = [range(len(request.items))] if windows is None else windows
    if (longest := max(map(len, windows))) > len(letters):
        raise RequestError(
            f"a prompt names at most {len(letters)} candidates, not {longest}",
            hint="lower n_candidates, or use windows",
        )
    items = request.shown_items
    suffixes = [{"candidates": [items[p] for p in window], "letters": letters} for window in windows]
    return prompts.render(
        TEMPLATE, tokenizer, rank_variables(request, noun, plural), suffixes, max_tokens=max_tokens
    )


@dataclass(frozen=True)
class ListwiseRanker(Ranker):
    """Score = p(letter), normalised over the letters (LlamaRec, arXiv 2311.02089).

    Fast, but a small model that is not fine-tuned prefers some letters whatever they stand for;
    `permutations` average over that. More candidates than letters are split into windows. `log_odds`
    is log p / (1 - p) within the list.
    """

    parts: RankerParts
    name: str = "listwise"

    def render(self, request: RankRequest) -> RenderedPrompt:
        parts = self.parts
        if parts.windows == "sliding" and len(request.candidates) > len(self._letters):
            request = dataclasses.replace(request, candidates=request.candidates[-parts.window :])
        return render_listwise(
            parts.prompts,
            parts.engine.tokenizer,
            request,
            parts.noun,
            parts.plural,
            parts.budget(),
            self._windows(request),
        )

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        if self.parts.windows == "sliding":
            return rank_by_sliding_windows(
                requests, self.parts.window, len(self._letters), self._rank_at_once
            )
        return self._rank_at_once(requests)

    def _rank_at_once(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """Score all windows of all requests in two calls."""
        if not requests:
            return []
        engine = self.parts.engine
        prompts = [self.render(request) for request in requests]
        windows = [self._windows(request) for request in requests]
        longest = max((len(window) for split in windows for window in split), default=0)
        letters = label_ids(engine.tokenizer, self._letters[:longest], prompts[0].tails[0])
        responses = prefix_first(
            lambda ids: engine.label_logprobs(ids, letters), [prompt.token_ids for prompt in prompts]
        )
        return [self._ranking(*parts) for parts in zip(requests, prompts, windows, responses, strict=True)]

    def _ranking(
        self,
        request: RankRequest,
        prompt: RenderedPrompt,
        windows: Sequence[Sequence[int]],
        responses: Sequence[LabelScores],
    ) -> Ranking:
        logprobs = [r.logprobs[: len(window)] for r, window in zip(responses, windows, strict=True)]
        scores = join_windows(len(request.candidates), windows, logprobs)
        return Ranking(
            scores=self.parts.scores(request, scores),
            log_odds=tuple(map(log_odds, softmax(scores))),
            prompt=prompt,
            report=ParseReport(category="ok"),
            usage=label_usage(responses),
        )

    def _windows(self, request: RankRequest) -> list[list[int]]:
        parts = self.parts
        return anchored_windows(len(request.candidates), parts.window, len(self._letters), parts.permutations)

    @property
    def _letters(self) -> tuple[str, ...]:
        return self.parts.prompts.get(TEMPLATE).meta.labels
