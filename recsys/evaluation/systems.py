"""Retrieval channels, their fusion, and the LLM behind it, as systems under evaluation.

Everything is fitted anew on the split's train events, in a folder that bears their
hash: two evaluations on the same events share what was fitted, and no two others do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from recsys.config import load_settings
from recsys.engine import Engine, open_engine
from recsys.errors import RequestError
from recsys.evaluation.base import EvaluationData, Factory, Ranked
from recsys.evaluation.leaks import check_requests
from recsys.evaluation.splits import Case
from recsys.prompting import PromptLibrary
from recsys.ranking import Ranker, RankerParts, RankRequest, make_ranker
from recsys.ranking.base import softmax
from recsys.situations import with_context
from recsys.types import Candidate, Context, Filter
from retrieval import (
    ChannelRetriever,
    HybridRetriever,
    ItemTable,
    Query,
    Retriever,
    SentenceEmbedder,
    build_retriever,
)


@dataclass(frozen=True)
class RetrieverSystem:
    """A retriever; items it does not know come last, by id."""

    name: str
    retriever: Retriever
    data: EvaluationData
    fitted_on: str
    probabilities: bool
    options: Mapping[str, str] = field(default_factory=dict)

    def rank(self, case: Case, depth: int) -> Ranked:
        """The retriever's list; for given candidates all of them."""
        candidates = retrieve(self.name, self.retriever, self.data, case, depth)
        scores = [candidate.score for candidate in candidates]
        if self.probabilities and scores:
            scores = list(softmax(scores))
        return complete([candidate.item.id for candidate in candidates], scores, case)


@dataclass(frozen=True)
class LlmSystem:
    """The served path: the fused retriever's candidates, ranked by the model; the rest in retriever order."""

    data: EvaluationData
    retriever: HybridRetriever
    engine: Engine
    ranker: Ranker
    fitted_on: str
    name: str = "llm"
    probabilities: bool = True

    @property
    def options(self) -> dict[str, str]:
        """What its answers depend on."""
        return {"model": self.engine.model, "ranker": self.data.domain.ranker.model_dump_json()}

    def rank(self, case: Case, depth: int) -> Ranked:
        """The model's order of the first `n_candidates`, or of all the candidates given."""
        config = self.data.domain.ranker
        found = retrieve(self.name, self.retriever, self.data, case, depth)
        first = len(found) if case.candidates is not None else min(config.n_candidates, len(found))
        if not first:
            return Ranked((), ())
        history = self.data.catalog.entries(case.history, self.data.domain.feedback)
        user = self.data.users.get(case.user_id)
        request = RankRequest(
            tuple(found[:first]),
            history[max(0, len(history) - config.history_length) :],
            Context(),
            user.profile if user else {},
        )
        check_requests(self.name, case, [request])
        ranking = self.ranker.rank(request)
        order = ranking.order()
        items = [found[place].item.id for place in order] + [one.item.id for one in found[first:]]
        scores = [ranking.scores[place] for place in order] + [0.0] * (len(found) - first)
        return complete(items, scores, case)

    def close(self) -> None:
        self.engine.close()


def retrieve(
    system: str, retriever: Retriever, data: EvaluationData, case: Case, depth: int
) -> list[Candidate]:
    """What the retriever brings when it knows of the user the case's history alone.

    Raises LeakError if the query knew more.
    """
    entries = data.catalog.entries(case.history, data.domain.feedback)
    if case.candidates is None:
        query, n = Query(entries, exclude=frozenset(entry.item.id for entry in entries)), depth
    else:
        query, n = Query(entries, filter=Filter(only=frozenset(case.candidates))), len(case.candidates)
    check_requests(system, case, [query])
    return retriever.retrieve(query, n)


def complete(items: list[str], scores: list[float], case: Case) -> Ranked:
    """With the candidates that were not brought, by id, at the lowest score there is."""
    missing = sorted(set(case.candidates or ()) - set(items))
    lowest = min(scores, default=0.0)
    return Ranked((*items, *missing), (*scores, *([lowest] * len(missing))))


def fitted(data: EvaluationData, names: tuple[str, ...] | None) -> HybridRetriever:
    """The domain's retriever on the split's train events; with `names`, those channels alone."""
    settings = data.settings or load_settings()
    folder = settings.cache_dir / "evaluation" / data.domain.name / data.log.hash[:16]
    homes = {user_id: user.home for user_id, user in data.users.items()}
    retriever, _ = build_retriever(
        data.items,
        data.log,
        SentenceEmbedder(settings.embedder),
        data.domain.retriever,
        folder,
        situations=lambda: with_context(data.split.train, homes),
        weights=data.domain.retriever.by_name if names is None else dict.fromkeys(names, 1.0),
        progress=data.progress,
    )
    return retriever


def hybrid(data: EvaluationData) -> RetrieverSystem:
    """All channels with the domain's weights: retriever order."""
    retriever = fitted(data, None)
    weighted = retriever.config.fusion == "weighted"
    options = {"retriever": retriever.config.model_dump_json()}
    return RetrieverSystem("hybrid", retriever, data, data.log.hash, weighted, options)


def channel(data: EvaluationData, *, name: str, channel: str) -> RetrieverSystem:
    """One channel alone. Raises RequestError where the data have nothing for it."""
    retriever = fitted(data, (channel,))
    state = retriever.state
    if channel not in state.channels:
        raise RequestError(
            f"channel '{channel}' has nothing to learn from in '{data.domain.name}'",
            hint="it needs events with times or contexts",
        )
    alone = ChannelRetriever(channel, state.channels[channel], ItemTable(data.items))
    options = {"retriever": retriever.config.model_dump_json()}
    return RetrieverSystem(name, alone, data, data.log.hash, False, options)


def llm(data: EvaluationData) -> LlmSystem:
    """The fused retriever and the model of the settings."""
    retriever, domain = fitted(data, None), data.domain
    engine = open_engine(data.settings or load_settings())
    prompts = PromptLibrary(domain.prompt_folder)
    parts = RankerParts(engine, prompts, domain.noun, domain.plural, domain.ranker.max_prompt_tokens)
    return LlmSystem(data, retriever, engine, make_ranker(domain.ranker.strategy, parts), data.log.hash)


_CHANNELS: dict[str, str] = {
    "text": "text",
    "transitions": "transitions",
    "cooccurrence": "cooccurrence",
    "ease": "ease",
    "linear": "linear",
    "gru": "gru",
    "lru": "lru",
    "sequence": "attention",
    "segment": "segment",
}

SYSTEMS: dict[str, Factory] = {
    **{name: partial(channel, name=name, channel=kind) for name, kind in _CHANNELS.items()},
    "hybrid": hybrid,
    "llm": llm,
}
