"""Retrieval channels, their fusion, and the LLM behind it, as systems under evaluation.

Everything is fitted anew on the split's train events, in a folder that bears their
hash: two evaluations on the same events share what was fitted, and no two others do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.special import expit

from recsys.config import load_settings
from recsys.config.ranking import MODEL_ALONE
from recsys.context.pii import mask_user
from recsys.data.splits import Case
from recsys.data.synthetic.town import Town, town
from recsys.engine import Engine, open_engine
from recsys.engine.adapters import BASE, resolve_adapter
from recsys.errors import RequestError
from recsys.evaluation.protocol.base import NOTE, EvaluationData, Factory, Ranked, System
from recsys.evaluation.protocol.leaks import check_adapter, check_requests
from recsys.prompting.library import PromptLibrary
from recsys.ranking import Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.ranking.base import softmax
from recsys.recommender.history_filter import without_noise
from recsys.types import Candidate, Filter, HistoryEntry
from retrieval import (
    ChannelRetriever,
    HybridRetriever,
    ItemRows,
    Query,
    Retriever,
    SentenceEmbedder,
)
from retrieval.fit import fit_apart


@dataclass(frozen=True)
class RetrieverSystem:
    """A retriever; items it does not know come last, by id.

    `probabilities` turns its scores into those of the items listed.
    """

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
    adapter_read: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, str]:
        """What its answers depend on."""
        return {
            "model": self.engine.model,
            "adapter": self.engine.adapter or "",
            "ranker": self.data.domain.ranker.model_dump_json(),
            "retriever": self.retriever.config.model_dump_json(),
            **({NOTE: "; ".join(self.adapter_read)} if self.adapter_read else {}),
        }

    def rank(self, case: Case, depth: int) -> Ranked:
        """The model's order of the first `n_candidates`, or of all the candidates given."""
        return self.rank_many([case], depth)[0]

    def rank_many(self, cases: Sequence[Case], depth: int) -> list[Ranked]:
        """The same for several cases, which share the steps of the engine."""
        n = self.data.domain.ranker.n_candidates
        found = [retrieve(self.name, self.retriever, self.data, case, depth) for case in cases]
        firsts = [
            brought if case.candidates is not None else brought[:n]
            for case, brought in zip(cases, found, strict=True)
        ]
        asked = [self.request(case, first) for case, first in zip(cases, firsts, strict=True) if first]
        rankings = iter(self.ranker.rank_many(asked))
        answers = []
        for case, brought, first in zip(cases, found, firsts, strict=True):
            if not first:
                answers.append(Ranked((), ()))
                continue
            ranking = next(rankings)
            rest = brought[len(first) :]
            items = [first[place].item.id for place in ranking.order()] + [one.item.id for one in rest]
            answers.append(complete(items, _probabilities(ranking, case) + [0.0] * len(rest), case))
        return answers

    def request(self, case: Case, candidates: Sequence[Candidate]) -> RankRequest:
        """The question to the model about some candidates. Raises LeakError."""
        history = told_history(self.retriever, self.data, case)
        user, context = self.data.users.get(case.user_id), self.data.context_of(case)
        newest = history[max(0, len(history) - self.data.domain.ranker.history_length) :]
        profile = mask_user(user, self.data.domain.privacy).profile if user else {}
        request = RankRequest(tuple(candidates), newest, context, profile)
        check_requests(self.name, case, [request], context)
        return request

    def close(self) -> None:
        self.engine.close()


def retrieve(
    system: str, retriever: Retriever, data: EvaluationData, case: Case, depth: int
) -> list[Candidate]:
    """What the retriever brings when it knows the case's history and situation alone.

    A candidate that is given alone is scored among the whole catalogue: fused scores compare
    the items of one list, and over one item they say nothing. Raises LeakError if the query
    knew more.
    """
    entries, context = data.catalog.entries(case.history, data.domain.feedback), data.context_of(case)
    told, alone = told_history(retriever, data, case), _alone(case)
    if case.candidates is None or alone:
        met = frozenset(entry.item.id for entry in entries)
        query = Query(told, case.wish, exclude=met, context=context)
    else:
        query = Query(told, case.wish, filter=Filter(only=frozenset(case.candidates)), context=context)
    n = depth if case.candidates is None else len(data.items if alone else case.candidates)
    check_requests(system, case, [query], context)
    found = retriever.retrieve(query, n)
    return [one for one in found if one.item.id in (case.candidates or ())] if alone else found


def told_history(retriever: Retriever, data: EvaluationData, case: Case) -> tuple[HistoryEntry, ...]:
    """The case's history; less its noise where the domain filters it and the retriever can tell."""
    entries = data.catalog.entries(case.history, data.domain.feedback)
    channels = retriever.state.channels if isinstance(retriever, HybridRetriever) else {}
    return without_noise(entries, channels, data.domain.noise_filter)


def complete(items: list[str], scores: list[float], case: Case) -> Ranked:
    """With the candidates that were not brought, by id, at the lowest score there is."""
    missing = sorted(set(case.candidates or ()) - set(items))
    lowest = min(scores, default=0.0)
    return Ranked((*items, *missing), (*scores, *([lowest] * len(missing))))


def fitted(data: EvaluationData, names: tuple[str, ...] | None) -> HybridRetriever:
    """The domain's retriever on the split's train events; with `names`, those channels alone."""
    settings = data.settings or load_settings()
    homes = {user_id: user.home for user_id, user in data.users.items()}
    return fit_apart(
        data.domain,
        data.items,
        data.split.train,
        homes,
        settings,
        SentenceEmbedder(settings.embedder),
        channels=names,
        progress=data.progress,
    )


def hybrid(data: EvaluationData, *, name: str = "hybrid") -> RetrieverSystem:
    """All channels with the domain's weights: retriever order. Of liking it has no probability."""
    retriever = fitted(data, None)
    weighted = retriever.config.fusion == "weighted" and not _rated(data)
    options = {"retriever": retriever.config.model_dump_json()}
    return RetrieverSystem(name, retriever, data, data.log.hash, weighted, options)


def channel(data: EvaluationData, *, name: str, channel: str) -> RetrieverSystem:
    """One channel alone. Raises RequestError where the data have nothing for it."""
    retriever = fitted(data, (channel,))
    state = retriever.state
    if channel not in state.channels:
        raise RequestError(
            f"channel '{channel}' has nothing to learn from in '{data.domain.name}'",
            hint="it needs events with times or contexts",
        )
    alone = ChannelRetriever(channel, state.channels[channel], ItemRows(data.items))
    options = {"retriever": retriever.config.model_dump_json()}
    return RetrieverSystem(name, alone, data, data.log.hash, False, options)


def llm(data: EvaluationData, *, name: str = "llm", fuse: bool = False) -> LlmSystem:
    """The model of the settings over the fused retriever's candidates.

    Ordered by the model's log-odds alone, or with `fuse` as served: the retriever's score
    added with the domain's weight.
    """
    retriever, domain, settings = fitted(data, None), data.domain, data.settings or load_settings()
    adapter = resolve_adapter(domain, settings)
    read: tuple[str, ...] = ()
    if adapter and adapter.manifest:
        read = check_adapter(name, adapter.ref, adapter.manifest.options["examples"], data.split)
    elif adapter:
        read = (f"nothing is known of what {adapter.ref} was tuned on",)

    def start() -> Engine:
        return open_engine(settings, adapter=adapter)

    engine = data.engines.get(adapter.ref if adapter else BASE, start) if data.engines else start()
    parts = RankerParts.of(engine, PromptLibrary(domain.prompt_folder), domain)
    parts = parts if fuse else dataclasses.replace(parts, weights=MODEL_ALONE, wish_weights=None)
    # The other strategies compare the items of a list: of one item alone they know nothing.
    judges = domain.ranker.strategy == "pointwise" or not _rated(data)
    ranker = make_ranker(domain.ranker.strategy, parts)
    return LlmSystem(data, retriever, engine, ranker, data.log.hash, name, judges, read)


def without_context(data: EvaluationData, *, factory: Factory) -> System:
    """The same system, fitted alike, that is not told in which situation a case is."""
    return factory(dataclasses.replace(data, has_event_contexts=False))


def without_facts(data: EvaluationData, *, factory: Factory) -> System:
    """The same system, whose prompts tell nothing of what retrieval knows: text only."""
    ranker = data.domain.ranker.model_copy(update={"facts": ()})
    return factory(dataclasses.replace(data, domain=data.domain.model_copy(update={"ranker": ranker})))


@dataclass(frozen=True)
class Optimum:
    """The generator of the domain's data itself: nothing that is asked can be answered better."""

    data: EvaluationData
    town: Town
    name: str = "optimum"
    fitted_on: None = None
    probabilities: bool = True

    def rank(self, case: Case, depth: int) -> Ranked:
        """By the probability with which the generator draws each item."""
        met = {event.item_id for event in case.history}
        truth = self.town.optimum(case.user_id, self.data.context_of(case), met)
        asked = case.candidates or [item for item in truth if item not in met]
        order = sorted(asked, key=lambda item: (-truth[item], item))
        ranked = tuple(order if case.candidates else order[:depth])
        return Ranked(ranked, tuple(float(np.exp(truth[item])) for item in ranked))


def optimum(data: EvaluationData) -> Optimum:
    """What generated the data. Raises RequestError for data that nobody generated."""
    if data.domain.source.generator != "town":
        raise RequestError(
            f"nobody knows the truth of '{data.domain.name}'",
            hint="'optimum' is for generated domains: places",
        )
    return Optimum(data, town())


def _alone(case: Case) -> bool:
    return case.candidates is not None and len(case.candidates) == 1


def _rated(data: EvaluationData) -> bool:
    """Whether every case asks about one item: is it liked?"""
    return all(_alone(case) for case in data.split.cases)


def _probabilities(ranking: Ranking, case: Case) -> list[float]:
    """p(item | user) in the order of the ranking; of an item that is given alone p(liked)."""
    if _alone(case) and (log_odds := ranking.log_odds[0]) is not None:
        return [float(expit(log_odds))]
    return [ranking.scores[place] for place in ranking.order()]


_CHANNELS: dict[str, str] = {
    "text": "text",
    "attributes": "attributes",
    "transitions": "transitions",
    "cooccurrence": "cooccurrence",
    "ease": "ease",
    "linear": "linear",
    "gru": "gru",
    "lru": "lru",
    "sequence": "attention",
    "segment": "segment",
    "nearby": "nearby",
}

SYSTEMS: dict[str, Factory] = {
    **{name: partial(channel, name=name, channel=kind) for name, kind in _CHANNELS.items()},
    "hybrid": hybrid,
    "llm": llm,
    "fused": partial(llm, name="fused", fuse=True),
    "llm-no-facts": partial(without_facts, factory=partial(llm, name="llm-no-facts")),
    "optimum": optimum,
    "hybrid-no-context": partial(without_context, factory=partial(hybrid, name="hybrid-no-context")),
    "fused-no-context": partial(without_context, factory=partial(llm, name="fused-no-context", fuse=True)),
}
