"""One letter out of all candidates: a single prefill ranks the list."""

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
from recsys.ranking.windows import anchored, joined, slide
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
    """One prompt that gives every candidate its letter; with `windows` one for the positions in each.

    Raises RequestError for more than there are letters.
    """
    letters = prompts.get(TEMPLATE).meta.labels
    windows = [range(len(request.items))] if windows is None else windows
    if (most := max(map(len, windows))) > len(letters):
        raise RequestError(
            f"a prompt names at most {len(letters)} candidates, not {most}",
            hint="lower n_candidates, or ask in windows",
        )
    items = request.items
    suffixes = [{"candidates": [items[p] for p in window], "letters": letters} for window in windows]
    return prompts.render(
        TEMPLATE, tokenizer, rank_variables(request, noun, plural), suffixes, max_tokens=max_tokens
    )


@dataclass(frozen=True)
class ListwiseRanker(Ranker):
    """Score = p(letter), normalised over the letters in use (LlamaRec, arXiv 2311.02089).

    Fast, but a small untuned model prefers some letters whatever stands behind them: several
    `permutations` average over that. More candidates than letters are asked about in windows.
    `log_odds` is log p / (1 - p) within the list.
    """

    parts: RankerParts
    name: str = "listwise"

    def render(self, request: RankRequest) -> RenderedPrompt:
        parts, n, at_once = self.parts, len(request.candidates), len(self._letters)
        if parts.windows == "sliding" and n > at_once:
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
            return slide(requests, self.parts.window, len(self._letters), self._at_once)
        return self._at_once(requests)

    def _at_once(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """All windows of all requests in two calls."""
        engine = self.parts.engine
        prompts = [self.render(request) for request in requests]
        windows = [self._windows(request) for request in requests]
        longest = max((len(window) for of in windows for window in of), default=0)
        letters = label_ids(engine.tokenizer, self._letters[:longest])
        found = prefix_first(
            lambda ids: engine.label_logprobs(ids, letters), [prompt.token_ids for prompt in prompts]
        )
        return [self._ranking(*one) for one in zip(requests, prompts, windows, found, strict=True)]

    def _ranking(
        self,
        request: RankRequest,
        prompt: RenderedPrompt,
        windows: Sequence[Sequence[int]],
        answers: Sequence[LabelScores],
    ) -> Ranking:
        logprobs = [a.logprobs[: len(window)] for a, window in zip(answers, windows, strict=True)]
        said = joined(len(request.candidates), windows, logprobs)
        return Ranking(
            scores=self.parts.scores(request, said),
            log_odds=tuple(map(log_odds, softmax(said))),
            prompt=prompt,
            report=ParseReport(category="ok"),
            usage=label_usage(answers),
        )

    def _windows(self, request: RankRequest) -> list[list[int]]:
        parts = self.parts
        return anchored(len(request.candidates), parts.window, len(self._letters), parts.permutations)

    @property
    def _letters(self) -> tuple[str, ...]:
        return self.parts.prompts.get(TEMPLATE).meta.labels
