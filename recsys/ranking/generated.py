"""The model writes the whole order as JSON. Slow; kept as the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recsys.parsing import parse_order
from recsys.prompting import RenderedPrompt
from recsys.ranking.base import Ranker, RankerParts, Ranking, RankRequest, generation_usage

TEMPLATE = "rank/generated"


@dataclass(frozen=True)
class GeneratedRanker(Ranker):
    """Score = 1 / rank, normalised: a written order carries no probabilities."""

    parts: RankerParts
    name: str = "generated"

    def render(self, request: RankRequest) -> RenderedPrompt:
        return self.parts.render(
            TEMPLATE, request, [{"candidates": request.items}], reserve=_answer_tokens(len(request.items))
        )

    def rank(self, request: RankRequest) -> Ranking:
        prompt = self.render(request)
        n = len(request.items)
        answers = self.parts.engine.generate(
            prompt.token_ids, max_tokens=_answer_tokens(n), schemas=[order_schema(n)]
        )
        order, report = parse_order(answers[0].text, n, truncated=answers[0].truncated)
        weights = [0.0] * n
        for rank, position in enumerate(order, start=1):
            weights[position] = 1 / rank
        total = sum(weights)
        return Ranking(
            scores=tuple(weight / total for weight in weights),
            log_odds=(None,) * n,
            prompt=prompt,
            report=report,
            usage=generation_usage(answers),
            raw=(answers[0].text,),
        )


def order_schema(n: int) -> dict[str, Any]:
    """A list of exactly n of the numbers 1..n. JSON schema grammars cannot ask for
    distinct ones, so the parser still has to look."""
    return {"type": "array", "items": {"enum": list(range(1, n + 1))}, "minItems": n, "maxItems": n}


def _answer_tokens(n: int) -> int:
    return 4 * n + 8
