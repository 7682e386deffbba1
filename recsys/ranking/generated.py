"""Ranking by generation: the model writes the order. Slow; for comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsys.engine.base import Generation, GenerationRequest
from recsys.prompting.library import RenderedPrompt
from recsys.prompting.parsing import parse_json, parse_order
from recsys.ranking.base import Ranker, RankerParts, Ranking, RankRequest, summed
from recsys.ranking.windows import rank_by_sliding_windows, reciprocal_rank_scores
from recsys.types import ParseReport

AT_ONCE = 26  # most candidates in one prompt, as many as listwise has letters


@dataclass(frozen=True)
class GeneratedRanker(Ranker):
    """Generates a list of numbers, best first; longer lists take sliding windows.

    Score = 1 / rank, normalised: a generated order has no probabilities.
    """

    parts: RankerParts
    name: str = "generated"
    template: str = "rank/generated"

    def render(self, request: RankRequest) -> RenderedPrompt:
        items = request.shown_items
        candidates = items[-self.parts.window :] if len(items) > AT_ONCE else items
        reserve = self.answer_tokens(len(candidates))
        return self.parts.render(self.template, request, [{"candidates": candidates}], reserve=reserve)

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        return rank_by_sliding_windows(requests, self.parts.window, AT_ONCE, self._rank_at_once)

    def _rank_at_once(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        prompts = [self.render(request) for request in requests]
        sizes = [len(request.candidates) for request in requests]
        answers = self.parts.engine.generate(
            GenerationRequest(
                [prompt.token_ids[0] for prompt in prompts],
                max_tokens=max(map(self.answer_tokens, sizes)),
                schemas=[self.schema(n) for n in sizes],
            )
        )
        return [
            self._ranking(n, prompt, answer)
            for n, prompt, answer in zip(sizes, prompts, answers, strict=True)
        ]

    def _ranking(self, n: int, prompt: RenderedPrompt, answer: Generation) -> Ranking:
        order, report = self.parse(answer, n)
        return Ranking(
            scores=reciprocal_rank_scores(order),
            log_odds=(None,) * n,
            prompt=prompt,
            report=report,
            usage=summed([answer]),
            raw=(answer.text,),
        )

    @staticmethod
    def schema(n: int) -> dict[str, Any]:
        """Return the schema of a list of exactly n of the numbers 1..n.

        A JSON schema grammar cannot require distinct ones, so the parser checks that.
        """
        return {"type": "array", "items": {"enum": list(range(1, n + 1))}, "minItems": n, "maxItems": n}

    @staticmethod
    def parse(answer: Generation, n: int) -> tuple[list[int], ParseReport]:
        """Return positions best first, whatever was generated."""
        return parse_order(answer.text, n, truncated=answer.truncated)

    @staticmethod
    def answer_tokens(n: int) -> int:
        """Return the token limit that the longest answer needs."""
        return 4 * n + 8


@dataclass(frozen=True)
class ScoredListRanker(GeneratedRanker):
    """Generates objects with number and score: a common way to rank with chat models."""

    name: str = "generated-scores"
    template: str = "rank/generated-scores"

    @staticmethod
    def schema(n: int) -> dict[str, Any]:
        """Return the schema of exactly n objects {"id": 1..n, "score": 0..99}."""
        entry = {
            "type": "object",
            "properties": {
                "id": {"enum": list(range(1, n + 1))},
                "score": {"type": "integer", "minimum": 0, "maximum": 99},
            },
            "required": ["id", "score"],
            "additionalProperties": False,
        }
        return {"type": "array", "items": entry, "minItems": n, "maxItems": n}

    @staticmethod
    def parse(answer: Generation, n: int) -> tuple[list[int], ParseReport]:
        """Return positions by score, then as generated; those without a score come last."""
        order, report = GeneratedRanker.parse(answer, n)
        value, _ = parse_json(answer.text, truncated=answer.truncated)
        scores: dict[int, float] = {}
        for entry in value if isinstance(value, list) else []:
            match entry:
                case {"id": int(number), "score": int() | float() as score} if math.isfinite(score):
                    scores.setdefault(number - 1, float(score))
        return sorted(order, key=lambda position: -scores.get(position, float("-inf"))), report

    @staticmethod
    def answer_tokens(n: int) -> int:
        return 16 * n + 8
