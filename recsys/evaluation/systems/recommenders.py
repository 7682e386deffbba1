"""Retrieval channels, their fusion and the LLM as systems under evaluation.

Everything is fitted on the split's train events, in a folder named after their hash:
evaluations share what was fitted if, and only if, they have the same events.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.special import expit, logsumexp

from recsys.config import Domain, load_settings
from recsys.config.ranking import MODEL_ALONE
from recsys.config.retrieval import TextConfig
from recsys.data.importers.files import given_folder
from recsys.data.splits import Case
from recsys.data.synthetic import investors, news, patients
from recsys.data.synthetic.investors import Market
from recsys.data.synthetic.patients import Clinic
from recsys.data.synthetic.readers import Readership
from recsys.data.synthetic.town import Town, town
from recsys.engine import Engine, open_engine
from recsys.engine.adapters import BASE, resolve_adapter
from recsys.errors import RequestError
from recsys.evaluation.protocol.base import NOTE, EvaluationData, Ranked, System, SystemFactory
from recsys.evaluation.protocol.leaks import check_adapter, check_requests
from recsys.evaluation.systems.reading import read_wish
from recsys.prompting.library import PromptLibrary
from recsys.ranking import Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.ranking.base import model_decides, softmax
from recsys.recommender.history_filter import without_noise
from recsys.recommender.request import retriever_order
from recsys.recommender.wishes import ReadWish, preferred_first
from recsys.types import Candidate, Filter, HistoryEntry
from retrieval import (
    ChannelRetriever,
    HybridRetriever,
    ItemRows,
    Query,
    Retriever,
    SentenceEmbedder,
)
from retrieval.fit import fit_retriever


@dataclass(frozen=True)
class RetrieverSystem:
    """A retriever; items it does not know come last, by id."""

    name: str
    retriever: Retriever
    data: EvaluationData
    fitted_on: str
    probabilities: bool  # whether the softmax of its scores is p(item | user)
    options: Mapping[str, str] = field(default_factory=dict)

    def rank(self, case: Case, depth: int) -> Ranked:
        """Rank with the retriever; given candidates are all listed."""
        candidates = retrieve(self.name, self.retriever, self.data, case, depth)
        scores = list(itertools.accumulate((one.score for one in candidates), min))
        if self.probabilities and scores:
            scores = list(softmax(scores))
        return append_missing([candidate.item.id for candidate in candidates], scores, case)


@dataclass(frozen=True)
class LlmSystem:
    """The served path: the model ranks the first candidates of the fused retriever."""

    data: EvaluationData
    retriever: HybridRetriever
    engine: Engine
    ranker: Ranker
    parts: RankerParts  # of the ranker
    fitted_on: str
    name: str = "llm"
    probabilities: bool = True
    adapter_notes: tuple[str, ...] = ()  # what its adapter read that is close to the targets

    @property
    def options(self) -> dict[str, str]:
        """All that the answers depend on."""
        return {
            "model": self.engine.model,
            "adapter": self.engine.adapter or "",
            "ranker": self.data.domain.ranker.model_dump_json(),
            "retriever": self.retriever.config.model_dump_json(),
            **({NOTE: "; ".join(self.adapter_notes)} if self.adapter_notes else {}),
        }

    def rank(self, case: Case, depth: int) -> Ranked:
        """Rank the first `n_candidates`, or all given candidates, with the model."""
        return self.rank_many([case], depth)[0]

    def rank_many(self, cases: Sequence[Case], depth: int) -> list[Ranked]:
        """Rank several cases, which share the steps of the engine."""
        n = self.data.domain.ranker.n_candidates
        read = [retrieve_read(self.name, self.retriever, self.data, case, depth) for case in cases]
        retrieved = [candidates for candidates, _ in read]
        heads = [
            candidates if case.candidates is not None else candidates[:n]
            for case, candidates in zip(cases, retrieved, strict=True)
        ]
        requests = [
            self.request(case, head) if head else None for case, head in zip(cases, heads, strict=True)
        ]
        asked = [request for request in requests if request and self._is_asked(request)]
        rankings = iter(self.ranker.rank_many(asked))
        answers = []
        for case, (candidates, wish), request in zip(cases, read, requests, strict=True):
            if request is None:
                answers.append(Ranked((), ()))
                continue
            head, tail = request.candidates, candidates[len(request.candidates) :]
            if self._is_asked(request):
                ranking = next(rankings)
                order = preferred_first(ranking.order(), head, wish)
                probabilities = _probabilities(ranking, case, order)
            else:
                order = preferred_first(retriever_order(head), head, wish)
                of_head = softmax([candidate.score for candidate in head])
                probabilities = [of_head[position] for position in order]
            items = [candidate.item.id for candidate in (*(head[position] for position in order), *tail)]
            scores = list(itertools.accumulate(probabilities, min))
            answers.append(append_missing(items, scores + [0.0] * len(tail), case))
        return answers

    def _is_asked(self, request: RankRequest) -> bool:
        """Return whether the model is asked, as it is in a served request."""
        n = len(request.candidates)
        return n == 1 or model_decides(request, self.parts.weights_for(request), n)

    def request(self, case: Case, candidates: Sequence[Candidate]) -> RankRequest:
        """Build the request to the model about some candidates. Raises LeakError."""
        history = visible_history(self.retriever, self.data, case)
        context, profile = self.data.context_of(case), self.data.profile_of(case)
        request = RankRequest.of(self.data.domain, candidates, history, context, profile)
        check_requests(self.name, case, [request], context)
        return request

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()


def retrieve(
    system: str, retriever: Retriever, data: EvaluationData, case: Case, depth: int
) -> list[Candidate]:
    """Retrieve as `retrieve_read`."""
    return retrieve_read(system, retriever, data, case, depth)[0]


def retrieve_read(
    system: str, retriever: Retriever, data: EvaluationData, case: Case, depth: int
) -> tuple[list[Candidate], ReadWish | None]:
    """Retrieve candidates from the case's history, wish and context alone.

    A single given candidate is scored among the whole catalogue: fused scores compare the
    items of one list, and say nothing about one item. Raises LeakError if the query knows more.
    """
    entries, context = data.catalog.entries(case.history, data.domain.feedback), data.context_of(case)
    history, single = visible_history(retriever, data, case), _is_single(case)
    if case.candidates is None or single:
        exclude = frozenset() if case.repeats else frozenset(entry.item.id for entry in entries)
        query = Query(history, case.wish, exclude=exclude, context=context, profile=data.profile_of(case))
    else:
        only = Filter(only=frozenset(case.candidates))
        query = Query(history, case.wish, filter=only, context=context, profile=data.profile_of(case))
    query = dataclasses.replace(query, moment=data.moment_of(case))
    n = depth if case.candidates is None else len(data.items if single else case.candidates)
    check_requests(system, case, [query], context)
    query, read = read_wish(retriever, data, query, n)
    candidates = retriever.retrieve(query, n)
    candidates = [candidates[index] for index in preferred_first(range(len(candidates)), candidates, read)]
    if not single:
        return candidates, read
    return [candidate for candidate in candidates if candidate.item.id in (case.candidates or ())], read


def visible_history(retriever: Retriever, data: EvaluationData, case: Case) -> tuple[HistoryEntry, ...]:
    """Return the case's history, without noise where the domain filters it."""
    entries = data.catalog.entries(case.history, data.domain.feedback)
    channels = retriever.state.channels if isinstance(retriever, HybridRetriever) else {}
    return without_noise(entries, channels, data.domain.noise_filter)


def append_missing(items: list[str], scores: list[float], case: Case) -> Ranked:
    """Append the candidates that were not retrieved, by id, at the lowest score."""
    missing = sorted(set(case.candidates or ()) - set(items))
    lowest = min(scores, default=0.0)
    return Ranked((*items, *missing), (*scores, *([lowest] * len(missing))))


def fit_on_train(data: EvaluationData, names: tuple[str, ...] | None) -> HybridRetriever:
    """Fit the domain's retriever, or the channels `names` alone, on the train events."""
    settings = data.settings or load_settings()
    return fit_retriever(
        data.domain if names is None else _with_channels(data.domain, names),
        data.items,
        data.split.train,
        data.users,
        settings,
        SentenceEmbedder(settings.embedder),
        edges=data.edges,
        progress=data.progress,
    )


def _with_channels(domain: Domain, names: tuple[str, ...]) -> Domain:
    """Return the domain whose retriever has these channels alone, at equal weight."""
    weights = {"weights": dict.fromkeys(names, 1.0), "returning_weights": {}}
    retriever = domain.retriever.model_copy(update=weights)
    return domain.model_copy(update={"retriever": retriever})


def hybrid(data: EvaluationData, *, name: str = "hybrid") -> RetrieverSystem:
    """Fit all channels with the domain's weights. The retriever has no p(liked)."""
    retriever = fit_on_train(data, None)
    weighted = retriever.config.fusion == "weighted" and not _rated(data)
    options = {"retriever": retriever.config.model_dump_json()}
    return RetrieverSystem(name, retriever, data, data.log.hash, weighted, options)


def channel(data: EvaluationData, *, name: str, channel: str) -> RetrieverSystem:
    """Fit one channel alone. Raises RequestError where the data have nothing for it."""
    retriever = fit_on_train(data, (channel,))
    state = retriever.state
    if channel not in state.channels:
        raise RequestError(
            f"channel '{channel}' has nothing to learn from in '{data.domain.name}'",
            hint="it needs events with times or contexts",
        )
    single = ChannelRetriever(channel, state.channels[channel], ItemRows(data.items))
    options = {"retriever": retriever.config.model_dump_json()}
    return RetrieverSystem(name, single, data, data.log.hash, False, options)


def embedder(data: EvaluationData) -> RetrieverSystem:
    """Rank by the same texts as `text`, at the defaults of that channel."""
    config = data.domain.retriever
    text = TextConfig(attributes=config.text.attributes, description=config.text.description)
    retriever = config.model_copy(update={"text": text})
    plain = data.domain.model_copy(update={"retriever": retriever})
    return channel(dataclasses.replace(data, domain=plain), name="embedder", channel="text")


def llm(data: EvaluationData, *, name: str = "llm", fuse: bool = False) -> LlmSystem:
    """Rank the fused retriever's candidates with the model of the settings.

    By the model's log-odds alone, or with `fuse` as served: plus the weighted retriever score.
    """
    retriever, domain, settings = fit_on_train(data, None), data.domain, data.settings or load_settings()
    adapter = resolve_adapter(domain, settings)
    notes: tuple[str, ...] = ()
    if adapter and adapter.manifest:
        notes = check_adapter(name, adapter.ref, adapter.manifest.options["examples"], data.split)
    elif adapter:
        notes = (f"nothing is known of what {adapter.ref} was tuned on",)

    def start() -> Engine:
        return open_engine(settings, adapter=adapter)

    engine = data.engines.get(adapter.ref if adapter else BASE, start) if data.engines else start()
    parts = RankerParts.of(engine, PromptLibrary(domain.prompt_folder), domain)
    parts = parts if fuse else dataclasses.replace(parts, weights=MODEL_ALONE, kind_weights={})
    # The other strategies compare the items of a list: they say nothing about a single item.
    probabilistic = domain.ranker.strategy == "pointwise" or not _rated(data)
    ranker = make_ranker(domain.ranker.strategy, parts)
    return LlmSystem(data, retriever, engine, ranker, parts, data.log.hash, name, probabilistic, notes)


def without_context(data: EvaluationData, *, factory: SystemFactory) -> System:
    """Build the same system without the context of a case."""
    return factory(dataclasses.replace(data, has_event_contexts=False))


def without_facts(data: EvaluationData, *, factory: SystemFactory) -> System:
    """Build the same system without the retriever's facts in prompts: text only."""
    ranker = data.domain.ranker.model_copy(update={"facts": ()})
    return factory(dataclasses.replace(data, domain=data.domain.model_copy(update={"ranker": ranker})))


TINY = 1e-12  # the probability of what is impossible: it has a logarithm


@dataclass(frozen=True)
class Optimum:
    """The generator of the domain's data itself: no system can rank better."""

    truth: Callable[[Case], Mapping[str, float]]  # log p, or utility, of each item that is possible
    name: str = "optimum"
    fitted_on: None = None
    probabilities: bool = True

    def rank(self, case: Case, depth: int) -> Ranked:
        """Rank by the probability with which the generator draws each item."""
        truth = self.truth(case)
        candidates = case.candidates or list(truth)
        order = sorted(candidates, key=lambda item: (-truth[item], item))
        ranked = tuple(order if case.candidates else order[:depth])
        total = logsumexp(list(truth.values()))
        return Ranked(ranked, tuple(float(np.exp(truth[item] - total)) for item in ranked))


def optimum(data: EvaluationData) -> Optimum:
    """Build the generator. Raises RequestError for data that were not generated."""
    if data.domain.source.generator == "town":
        return Optimum(partial(_true_visits, data, town()))
    if data.domain.source.prepare == "news":
        return Optimum(partial(_true_clicks, news.readership(given_folder(data.domain))))
    if data.domain.source.prepare == "finance":
        return Optimum(partial(_true_orders, investors.market(given_folder(data.domain))))
    if data.domain.source.prepare == "medicine":
        return Optimum(partial(_true_prescriptions, patients.clinic(given_folder(data.domain))))
    raise RequestError(
        f"the ground truth of '{data.domain.name}' is unknown",
        hint="'optimum' is for generated domains: places, news, finance, medicine",
    )


def true_values(data: EvaluationData, case: Case) -> Mapping[str, float] | None:
    """Return what items are truly worth, forbidden or not; None where unknown."""
    if data.domain.source.prepare != "finance":
        return None
    market = investors.market(given_folder(data.domain))
    return market.utility(case.user_id, [event.item_id for event in case.history])


def _true_visits(data: EvaluationData, town: Town, case: Case) -> dict[str, float]:
    seen = {event.item_id for event in case.history}
    truth = town.optimum(case.user_id, data.context_of(case), seen)
    return {item: truth[item] for item in case.candidates or truth if item not in seen}


def _true_clicks(readership: Readership, case: Case) -> dict[str, float]:
    return readership.optimum(case.user_id, case.target.timestamp or 0.0, case.candidates or ())


def _true_orders(market: Market, case: Case) -> dict[str, float]:
    held = {event.item_id for event in case.history}
    utility = market.optimum(case.user_id, held)
    return {item: utility[item] for item in case.candidates or utility if item not in held}


def _true_prescriptions(clinic: Clinic, case: Case) -> dict[str, float]:
    taken = {event.item_id for event in case.history}
    truth = clinic.optimum(case.user_id, taken)
    left = {item: truth[item] for item in case.candidates or truth if item not in taken}
    return {item: float(np.log(max(p, TINY))) for item, p in left.items()}


def _is_single(case: Case) -> bool:
    return case.candidates is not None and len(case.candidates) == 1


def _rated(data: EvaluationData) -> bool:
    """Whether every case has a single candidate, which is liked or not."""
    return all(_is_single(case) for case in data.split.cases)


def _probabilities(ranking: Ranking, case: Case, order: Sequence[int]) -> list[float]:
    """p(item | user) in an order of the candidates; of a single candidate p(liked)."""
    if _is_single(case) and (log_odds := ranking.log_odds[0]) is not None:
        return [float(expit(log_odds))]
    return [ranking.scores[index] for index in order]


_CHANNELS: dict[str, str] = {
    "text": "text",
    "transitions": "transitions",
    "cooccurrence": "cooccurrence",
    "ease": "ease",
    "linear": "linear",
    "gru": "gru",
    "segment": "segment",
    "nearby": "nearby",
    "repeat": "repeat",
    "fields": "fields",
    "trend": "trend",
    "user_knn": "user_knn",
    "profile": "profile",
    "age": "age",
    "audience": "audience",
}

SYSTEMS: dict[str, SystemFactory] = {
    **{name: partial(channel, name=name, channel=kind) for name, kind in _CHANNELS.items()},
    "embedder": embedder,
    "hybrid": hybrid,
    "llm": llm,
    "fused": partial(llm, name="fused", fuse=True),
    "llm-no-facts": partial(without_facts, factory=partial(llm, name="llm-no-facts")),
    "optimum": optimum,
    "hybrid-no-context": partial(without_context, factory=partial(hybrid, name="hybrid-no-context")),
    "fused-no-context": partial(without_context, factory=partial(llm, name="fused-no-context", fuse=True)),
}
