"""The model writes the whole order as JSON. Slow; kept as the comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsys.engine.base import Generation
from recsys.prompting.library import RenderedPrompt
from recsys.prompting.parsing import parse_json, parse_order
from recsys.ranking.base import Ranker, RankerParts, Ranking, RankRequest, summed
from recsys.ranking.windows import by_rank, slide
from recsys.types import ParseReport

AT_ONCE = 26  # candidates of one prompt, as many as listwise has letters


@dataclass(frozen=True)
class GeneratedRanker(Ranker):
    """A list of numbers, best first. A longer list goes through sliding windows.

    Score = 1 / rank, normalised: a written order carries no probabilities.
    """

    parts: RankerParts
    name: str = "generated"
    template: str = "rank/generated"

    def render(self, request: RankRequest) -> RenderedPrompt:
        candidates = request.items[-self.parts.window :] if len(request.items) > AT_ONCE else request.items
        reserve = self.answer_tokens(len(candidates))
        return self.parts.render(self.template, request, [{"candidates": candidates}], reserve=reserve)

    def rank_many(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        return slide(requests, self.parts.window, AT_ONCE, self._at_once)

    def _at_once(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        prompts = [self.render(request) for request in requests]
        sizes = [len(request.candidates) for request in requests]
        answers = self.parts.engine.generate(
            [prompt.token_ids[0] for prompt in prompts],
            max_tokens=max(map(self.answer_tokens, sizes)),
            schemas=[self.schema(n) for n in sizes],
        )
        return [self._ranking(*one) for one in zip(sizes, prompts, answers, strict=True)]

    def _ranking(self, n: int, prompt: RenderedPrompt, answer: Generation) -> Ranking:
        order, report = self.parse(answer, n)
        return Ranking(
            scores=by_rank(order),
            log_odds=(None,) * n,
            prompt=prompt,
            report=report,
            usage=summed([answer]),
            raw=(answer.text,),
        )

    @staticmethod
    def schema(n: int) -> dict[str, Any]:
        """A list of exactly n of the numbers 1..n. JSON schema grammars cannot ask for
        distinct ones, so the parser still has to look."""
        return {"type": "array", "items": {"enum": list(range(1, n + 1))}, "minItems": n, "maxItems": n}

    @staticmethod
    def parse(answer: Generation, n: int) -> tuple[list[int], ParseReport]:
        """Positions best first, whatever was written."""
        return parse_order(answer.text, n, truncated=answer.truncated)

    @staticmethod
    def answer_tokens(n: int) -> int:
        """Room for the longest answer."""
        return 4 * n + 8


@dataclass(frozen=True)
class ScoredListRanker(GeneratedRanker):
    """A list of objects with number and score, ordered by score: how chat models are often asked to rank."""

    name: str = "generated-scores"
    template: str = "rank/generated-scores"

    @staticmethod
    def schema(n: int) -> dict[str, Any]:
        """Exactly n of {"id": 1..n, "score": 0..99}."""
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
        """As written, then by score: what has none, or is not named, comes last."""
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
