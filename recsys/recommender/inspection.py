"""Views of a request's prompts and the model's responses, as plain JSON values.

`recsys prompt`, the HTTP service and the pages all show these objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsys.engine import Engine
from recsys.engine.tokenizer_only import TokenizerEngine
from recsys.errors import EngineError, MissingDependency, ModelError
from recsys.prompting.inspection import as_json
from recsys.prompting.library import RenderedPrompt
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared
from recsys.recommender.wishes import reading_task
from recsys.wishes.model_reader import TEMPLATE as READ_TEMPLATE
from recsys.wishes.query import describe


def tokens_engine(recommender: Recommender) -> Engine:
    """Return the engine, or its tokenizer alone, which is enough for rendering."""
    try:
        return recommender.engine()
    except (EngineError, MissingDependency, ModelError):
        return TokenizerEngine.of(recommender.settings)


def rendered(
    recommender: Recommender, prompts: Sequence[RenderedPrompt], prepared: Prepared, *, run: bool = False
) -> dict[str, Any]:
    """Describe rendered prompts and their variables.

    Args:
        recommender: The recommender that rendered them.
        prompts: What `Recommender.render` returned.
        prepared: The request.
        run: Whether to add the model's response.

    Raises:
        EngineError: With `run`, the engine fails.
    """
    first = prompts[0]
    return {
        "name": first.template.name,
        "version": first.template.meta.version,
        "hash": first.template.hash,
        "prompts": sum(len(prompt.tails) for prompt in prompts),
        "tokens": [len(ids) for prompt in prompts for ids in prompt.token_ids],
        "shared_tokens": len(first.head_ids),
        "dropped_history": first.dropped,
        "variables": {key: as_json(value) for key, value in first.variables.items()},
        "text": [text for prompt in prompts for text in prompt.texts],
        "answer": answer_of(recommender, first.template.name, prepared) if run else None,
        "notes": list(prepared.notes),
    }


def answer_of(recommender: Recommender, name: str, prepared: Prepared) -> dict[str, Any]:
    """Return the model's response to the prompts of this template, raw and parsed."""
    if name == READ_TEMPLATE:
        return _reading(recommender, prepared.query.context.wish)
    if not name.startswith("rank/"):
        reasons = recommender.reasons(prepared)
        return {
            "raw": [generation.text for generation in reasons.generations],
            "explanations": [explanation.model_dump(mode="json") for explanation in reasons.explanations],
        }
    ranking = recommender.rank(prepared.request, name.removeprefix("rank/"))
    return {
        "raw": list(ranking.raw),
        "parse": ranking.report.model_dump(mode="json"),
        "usage": ranking.usage.model_dump(mode="json"),
        "scores": [
            {
                "item": prepared.request.items[p].name,
                "score": ranking.scores[p],
                "log_odds": ranking.log_odds[p],
            }
            for p in ranking.order()
        ],
    }


def _reading(recommender: Recommender, wish: str) -> dict[str, Any]:
    """Return what the model writes for a wish, and what that means."""
    task = reading_task(recommender.domain, recommender.catalog, recommender.prompts)
    answer = task.ask(recommender.engine(), wish)
    return {"raw": [answer], "understood": describe(task.read(wish, answer), recommender.domain, {}).text}
