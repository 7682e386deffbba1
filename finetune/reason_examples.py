"""Training examples for reasons: a prompt, and a true sentence as its answer.

The evidence is the retriever's alone, since no model has ranked yet.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from finetune.examples import TrainingExample
from recsys.config import Domain
from recsys.data.catalog import Catalog
from recsys.engine.base import Tokenizer
from recsys.explain import render_reason
from recsys.explain.explainer import Explainer
from recsys.explain.grammar import sample_sentence, sentence_pattern
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from retrieval import HybridRetriever, Query

MAX_OTHERS = 4  # candidates whose reasons are planned with that of the target


@dataclass(frozen=True)
class ReasonExampleBuilder:
    """Builds prompts for a reason, each with a true answer."""

    domain: Domain
    prompts: PromptLibrary
    retriever_of: Callable[[str], HybridRetriever]  # the retriever of a user id
    catalog: Catalog
    tokenizer: Tokenizer
    max_model_len: int

    def prompt_and_answer(
        self, example: TrainingExample, rng: random.Random
    ) -> tuple[RenderedPrompt, str] | None:
        """Explain the example's target; None where nothing speaks for it."""
        request = example.request
        interacted = frozenset(entry.item.id for entry in request.history)
        query = Query(
            request.history,
            request.context.wish,
            exclude=interacted,
            context=request.context,
            profile=request.profile,
        )
        others = [index for index in range(len(request.candidates)) if index != example.target][:MAX_OTHERS]
        explainer = Explainer(self.domain, self.prompts, self.retriever_of(example.user_id), self.catalog)
        case = explainer.cases(explainer.measure(query, request, [example.target, *others]))[0]
        if not case.has_content:
            return None
        sentence = sample_sentence(sentence_pattern(case, explainer.phrases.grammar), rng.choice)
        # The answer ends where the engine stops: when the JSON is complete.
        answer = json.dumps({"sentence": sentence}, ensure_ascii=False, separators=(",", ":"))
        return render_reason(case, self, self.prompts, explainer.phrases), answer
