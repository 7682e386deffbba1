"""Explanation sentences to learn from: drawn from the grammar of what is true, as the model is asked for them.

The evidence is the retriever's alone (no model has ranked yet). A sentence that would fit all of the
other candidates as well is not taught.
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

OTHERS = 4  # candidates that a sentence must not fit all of
DRAWS = 8  # sentences that are tried


@dataclass(frozen=True)
class ReasonExamples:
    """Makes prompts for a reason, each with an answer that is true."""

    domain: Domain
    prompts: PromptLibrary
    retriever_of: Callable[[str], HybridRetriever]
    catalog: Catalog
    tokenizer: Tokenizer
    max_model_len: int

    def packed_example(
        self, example: TrainingExample, draw: random.Random
    ) -> tuple[RenderedPrompt, str] | None:
        """Why the example's target, and one way to say it; None where nothing can be said that tells it apart."""
        request = example.request
        met = frozenset(entry.item.id for entry in request.history)
        query = Query(request.history, request.context.wish, exclude=met, context=request.context)
        others = [place for place in range(len(request.candidates)) if place != example.target][:OTHERS]
        explainer = Explainer(self.domain, self.prompts, self.retriever_of(example.user_id), self.catalog)
        case, *rest = explainer.cases(explainer.measure(query, request, [example.target, *others]))
        if not case.has_content or (said := self._sentence(case, rest, draw)) is None:
            return None
        # It ends where the engine ends it: when the JSON is complete.
        cited = list(dict.fromkeys(name for name in PLACEHOLDER.findall(said) if name != "item"))
        answer = json.dumps({"evidence": cited, "sentence": said}, ensure_ascii=False, separators=(",", ":"))
        return render_reason(case, self, self.prompts, self.domain.reasons), answer

    def _sentence(self, case: ReasonCase, others: list[ReasonCase], draw: random.Random) -> str | None:
        config = self.domain.reasons
        grammar = self.prompts.file(in_language(GRAMMAR, config.language, self.prompts))
        pattern = sentence_pattern(case, grammar, style=config.style)
        for _ in range(DRAWS):
            sentence = sample_sentence(pattern, draw)
            cited = set(PLACEHOLDER.findall(sentence))
            told = [entry for entry in (*case.evidence, *case.against) if entry.id in cited]
            if not fits_all(told, others):
                return sentence
        return None


def sample_sentence(pattern: str, draw: random.Random) -> str:
    """A text that an expression of the grammar matches: it has letters, groups, `|`, and `?` after either."""
    left = deque(pattern.removeprefix("^").removesuffix("$"))
    text = _alternatives(left, draw)
    if left:
        raise ValueError(f"not understood: {''.join(left)[:80]}")
    return text


def _alternatives(left: deque[str], draw: random.Random) -> str:
    """One of what stands between `|`, each as likely; reads up to the end of the group."""
    found = [_sequence(left, draw)]
    while left and left[0] == "|":
        left.popleft()
        found.append(_sequence(left, draw))
    return draw.choice(found)


def _sequence(left: deque[str], draw: random.Random) -> str:
    text = ""
    while left and left[0] not in "|)":
        part = left.popleft()
        if part == "(":
            part = _alternatives(left, draw)
            left.popleft()
        elif part == "\\":
            part = left.popleft()
        if left and left[0] == "?":
            left.popleft()
            part = draw.choice((part, ""))
        text += part
    return text
