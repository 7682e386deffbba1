"""Training examples for reasons: a prompt, and a true sentence as its answer.

The evidence is the retriever's alone, since no model has ranked yet. A sentence that would also
fit all of the other candidates is not used.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from finetune.examples import TrainingExample
from recsys.config import Domain
from recsys.data.catalog import Catalog
from recsys.engine.base import Tokenizer
from recsys.explain import ReasonCase, in_language, render_reason
from recsys.explain.explainer import Explainer
from recsys.explain.grammar import PLACEHOLDER, sentence_pattern
from recsys.explain.verifier import fits_all
from recsys.explain.writer import GRAMMAR
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from retrieval import HybridRetriever, Query

MAX_OTHERS = 4  # candidates that a sentence must not all fit
ATTEMPTS = 8  # sentences sampled for one that tells the target apart


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
        """Explain the example's target; None where no true sentence is specific to it."""
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
        case, *rest = explainer.cases(explainer.measure(query, request, [example.target, *others]))
        if not case.has_content or (sentence := self._sample_specific_sentence(case, rest, rng)) is None:
            return None
        cited = list(dict.fromkeys(name for name in PLACEHOLDER.findall(sentence) if name != "item"))
        # The answer ends where the engine stops: when the JSON is complete.
        answer = json.dumps(
            {"evidence": cited, "sentence": sentence}, ensure_ascii=False, separators=(",", ":")
        )
        return render_reason(case, self, self.prompts, self.domain.reasons), answer

    def _sample_specific_sentence(
        self, case: ReasonCase, others: list[ReasonCase], rng: random.Random
    ) -> str | None:
        config = self.domain.reasons
        grammar = self.prompts.file(in_language(GRAMMAR, config.language, self.prompts))
        pattern = sentence_pattern(case, grammar, style=config.style)
        for _ in range(ATTEMPTS):
            sentence = sample_sentence(pattern, rng)
            names = set(PLACEHOLDER.findall(sentence))
            cited = [entry for entry in (*case.evidence, *case.against) if entry.id in names]
            if not fits_all(cited, others):
                return sentence
        return None


def sample_sentence(pattern: str, rng: random.Random) -> str:
    """Sample a text that a pattern of letters, groups, `|` and `?` matches.

    Raises:
        ValueError: The pattern has anything else.
    """
    left = deque(pattern.removeprefix("^").removesuffix("$"))
    text = _sample_alternative(left, rng)
    if left:
        raise ValueError(f"not a pattern of the reason grammar, from: {''.join(left)[:80]}")
    return text


def _sample_alternative(left: deque[str], rng: random.Random) -> str:
    """Sample one of the parts between `|`, uniformly; read to the end of the group."""
    alternatives = [_sample_sequence(left, rng)]
    while left and left[0] == "|":
        left.popleft()
        alternatives.append(_sample_sequence(left, rng))
    return rng.choice(alternatives)


def _sample_sequence(left: deque[str], rng: random.Random) -> str:
    text = ""
    while left and left[0] not in "|)":
        part = left.popleft()
        if part == "(":
            part = _sample_alternative(left, rng)
            left.popleft()
        elif part == "\\":
            part = left.popleft()
        if left and left[0] == "?":
            left.popleft()
            part = rng.choice((part, ""))
        text += part
    return text
