"""Looking inside: templates listed and compared, and what exactly a request would send and get back.

`recsys prompt`, the HTTP service and the pages all show these same objects, as plain JSON values.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from recsys.engine import Engine
from recsys.engine.tokenizer_only import TokenizerEngine
from recsys.errors import EngineError, MissingDependency, ModelError
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared


def listing(library: PromptLibrary) -> list[dict[str, Any]]:
    """Every template with its hash and what it says of itself."""
    found = [library.get(name) for name in library.names()]
    return [{"name": one.name, "hash": one.hash} | one.meta.model_dump(mode="json") for one in found]


def difference(a: str, b: str, name_a: str, name_b: str) -> list[str]:
    """Lines of a unified diff of two texts, without their ends; none where both are alike."""
    return list(difflib.unified_diff(a.splitlines(), b.splitlines(), name_a, name_b, lineterm=""))


def tokens_engine(recommender: Recommender) -> Engine:
    """The engine, or where there is none its tokenizer, which is all that rendering needs."""
    try:
        return recommender.engine()
    except (EngineError, MissingDependency, ModelError):
        return TokenizerEngine.of(recommender.settings)


def rendered(
    recommender: Recommender, prompts: Sequence[RenderedPrompt], prepared: Prepared, *, run: bool = False
) -> dict[str, Any]:
    """The prompts that `Recommender.render` gave, what their variables held, and with `run` what the model answered.

    Raises EngineError with `run`.
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
        "variables": {key: plain(value) for key, value in first.variables.items()},
        "text": [text for prompt in prompts for text in prompt.texts],
        "answer": answer_of(recommender, first.template.name, prepared) if run else None,
        "notes": list(prepared.notes),
    }


def answer_of(recommender: Recommender, name: str, prepared: Prepared) -> dict[str, Any]:
    """What the model answers to the prompts of this template, raw and parsed."""
    if not name.startswith("rank/"):
        written = recommender.reasons(prepared)
        return {
            "raw": [generation.text for generation in written.generations],
            "explanations": [explanation.model_dump(mode="json") for explanation in written.explanations],
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


def plain(value: Any) -> Any:
    """A template variable as JSON values."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return dict(value) if isinstance(value, Mapping) else value
