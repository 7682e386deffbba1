"""Fit a domain's retriever: every channel, and the weights of their fusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from recsys.config import Domain, Settings
from recsys.config.ranking import Estimate, FittedScore
from recsys.config.retrieval import Channel, FittedWeights
from recsys.data.batch import Progress
from recsys.data.dataset import EventLog
from recsys.data.event_contexts import attach_contexts, user_homes
from recsys.data.impressions import Shown, read_impressions
from recsys.data.splits import EventKey, event_key
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.knowledge.relations import Edge, RelationGraph
from recsys.types import Context, Filter, Interaction, Item, User
from recsys.utils.intervals import bootstrap
from retrieval import Embedder, HybridRetriever, Query
from retrieval.arrays import DoubleArray
from retrieval.build import RetrieverBuilder, save_weights
from retrieval.channels.profile import Profiles
from retrieval.fusion import FALLBACK
from retrieval.fusion_weights import L2, Example, example_of, fit_weights, rank_of
from retrieval.holding_out import HeldOutEvents, history_before, hold_out
from retrieval.reading import read_log

HELD_OUT = 5  # last events of each user, which the weights are fitted on
MAX_CASES = 5_000
LEAST_RETURNING = 40  # events of returning people, with fewer of which they have no weights of their own
RETURNING_L2 = 1e-2  # these are few
DEFAULT_CHANNELS: tuple[Channel, ...] = (
    "gru",
    "linear",
    "transitions",
    "ease",
    "cooccurrence",
    "text",
    "recent",
    "popularity",
    "trend",
)
CONTEXT_CHANNELS: tuple[Channel, ...] = ("segment", "nearby")  # where events have a context
REPEAT_CHANNELS: tuple[Channel, ...] = ("repeat", "user_knn")  # where an item may be chosen again
RELATION_CHANNELS: tuple[Channel, ...] = ("related",)  # where items have relations
PROFILE_CHANNELS: tuple[Channel, ...] = ("profile",)  # where users have profiles

ExamplesByUser = Mapping[str, Sequence[Example | None]]


@dataclass(frozen=True)
class HeldOutRequest:
    """A request before an event, and what was chosen then."""

    user: str
    target: str
    query: Query


FitScore = Callable[[HybridRetriever, Sequence[HeldOutRequest]], tuple[FittedScore | None, str]]
"""Fits the score on held-out events; a note where there is none."""


def fit_retriever(
    domain: Domain,
    items: Sequence[Item],
    events: Sequence[Interaction],
    users: Mapping[str, User],
    settings: Settings,
    embedder: Embedder,
    *,
    edges: Iterable[Edge] = (),
    progress: Progress | None = None,
) -> HybridRetriever:
    """Fit the domain's retriever on these events alone, for evaluation and training.

    The cache folder is named by the hash of the events: equal events share what was fitted.

    Args:
        domain: Its channels and their weights.
        items: The catalogue.
        events: What the channels are fitted on.
        users: By id: their homes are for the context of events.
        settings: Where the cache is.
        embedder: For the text channel.
        edges: Of the relations that have a file.
        progress: Called with what is fitted.
    """
    log = EventLog.of(events, [item.id for item in items], domain.feedback)
    homes = {user_id: user.home for user_id, user in users.items()}
    folder = settings.cache_dir / "evaluation" / domain.name
    builder = RetrieverBuilder(
        items,
        log,
        embedder,
        domain.retriever,
        folder / log.hash[:16],
        event_contexts=lambda: attach_contexts(events, homes, domain),
        relations=RelationGraph.of(domain.relations, edges, items),
        profiles=lambda: Profiles.of(domain, users.values()),
        complete=True,
        text_folder=folder / "text",  # no event changes it
        progress=progress,
    )
    return builder.build(domain.retriever.by_name, domain.retriever.returning_by_name)


def fit_domain(
    domain: Domain,
    store: Store,
    settings: Settings,
    embedder: Embedder,
    *,
    channels: Sequence[Channel] = (),
    fit_score: FitScore | None = None,
    progress: Progress | None = None,
) -> FittedWeights:
    """Fit fusion weights on each user's last events, then channels on all events.

    For the weights the channels are fitted without these events. The figures are cross-fitted: the
    weights that rank one half of the users are fitted on the other half. The weights are saved with
    the channels and used from the next request on. A fit that was interrupted resumes.

    Args:
        domain: What to fit.
        store: Its items, users and interactions.
        settings: Where fitted channels are kept.
        embedder: For the text channel.
        channels: The channels to try; by default all but the slowest.
        fit_score: Fits what the model counts, on the same events.
        progress: Called with (step, done, total).

    Raises:
        RequestError: A channel is unknown, or there are too few events.
    """
    channels = channels or _default_channels(domain)
    unknown = sorted(set(channels) - set(get_args(Channel)))
    if unknown:
        raise RequestError(f"no channel '{unknown[0]}'", hint=f"there are: {', '.join(get_args(Channel))}")
    items = store.items(domain.name)
    log = read_log(store, domain, [item.id for item in items])
    held_out = hold_out(log, HELD_OUT, MAX_CASES, repeats=domain.repeats)
    if len(held_out.targets) < 2:
        raise RequestError(
            "too few events to fit weights on",
            hint="users need two different items each; weights of domain.toml hold",
        )
    contexts = _EventContexts(store, domain)
    relations = RelationGraph.of(domain.relations, store.edges(domain.name), items)
    profiles = Profiles.of(domain, store.all_users(domain.name))
    folder = settings.retriever_folder(domain.name)

    def builder(log: EventLog, subfolder: str = "") -> RetrieverBuilder:
        return RetrieverBuilder(
            items,
            log,
            embedder,
            domain.retriever,
            folder / subfolder,
            event_contexts=lambda: contexts.of(log),
            relations=relations,
            profiles=lambda: profiles,
            retrain=True,
            text_folder=folder / "text",  # one for both
            progress=progress,
        )

    validation = builder(held_out.train, "tuning")
    retriever = validation.build(dict.fromkeys(channels, 1.0))
    requests = list(_held_out_requests(retriever, domain, log, held_out, contexts, profiles))
    examples = _collect_examples(retriever, requests, progress)
    weights, metrics = _cross_fit(examples, list(retriever.weights))
    away = [request for request in requests if request.query.away > domain.retriever.returning_days]
    returning, gain = _fit_returning(
        examples, _collect_examples(retriever, away, progress), list(retriever.weights)
    )
    score, note = None, ""
    if not any(weights.values()):
        weights, note = {FALLBACK: 1.0}, "no channel finds what people choose: the most popular come first"
    elif fit_score is not None:
        score, note = fit_score(retriever.reweighted(weights), requests)
    del retriever  # half of the memory
    fitted = FittedWeights(
        weights=weights,
        returning=returning,
        returning_gain=gain,
        fitted_on=validation.log.hash,
        users=len(examples),
        metrics=metrics,
        notes=(*validation.notes, *filter(None, [note])),
        score=score,
    )
    save_weights(folder, fitted)
    builder(log).build()
    return fitted


def _default_channels(domain: Domain) -> tuple[Channel, ...]:
    """Return the channels that may know something of the data, and configured ones."""
    names: tuple[Channel, ...] = (
        *DEFAULT_CHANNELS,
        *CONTEXT_CHANNELS * domain.has_event_contexts,
        *REPEAT_CHANNELS * domain.repeats,
        *RELATION_CHANNELS * bool(domain.relations),
        *PROFILE_CHANNELS * bool(domain.users and domain.users.profile),
        *(name for name, weight in domain.retriever.weights.items() if weight > 0),
    )
    return tuple(dict.fromkeys(names))


class _EventContexts:
    """The contexts of stored events, read only where the domain has any."""

    def __init__(self, store: Store, domain: Domain) -> None:
        self._store = store
        self._domain = domain

    def of(self, log: EventLog) -> Iterator[tuple[Interaction, Context]]:
        """Yield the events that the log has of each user, with their contexts."""
        left = dict(zip(log.users, np.diff(log.start).tolist(), strict=True))
        for event, context in self._all():
            if event.item_id in log.row_of and left.get(event.user_id, 0) > 0:
                left[event.user_id] -= 1
                yield event, context

    def of_events(self, keys: frozenset[EventKey]) -> dict[EventKey, Context]:
        """Return the context of each event; {} if the domain's events have none."""
        if not self._domain.has_event_contexts:
            return {}
        return {event_key(event): context for event, context in self._all(keys)}

    def _all(self, keys: frozenset[EventKey] | None = None) -> Iterator[tuple[Interaction, Context]]:
        """Yield stored events with their contexts: all, or those with these keys."""
        homes = user_homes(self._store, self._domain.name)
        events: Iterable[Interaction] = self._store.interactions(self._domain.name)
        if keys is not None:
            events = (event for event in events if event_key(event) in keys)
        return attach_contexts(events, homes, self._domain)


def _held_out_requests(
    retriever: HybridRetriever,
    domain: Domain,
    log: EventLog,
    held_out: HeldOutEvents,
    contexts: _EventContexts,
    profiles: Profiles,
) -> Iterator[HeldOutRequest]:
    """Yield the request before each held-out event.

    Where the domain knows which list an event was chosen from, that list is asked for.
    """
    shown: Shown = read_impressions(domain, log.items) if domain.impressions is not None else {}
    table = retriever.state.table
    by_event = contexts.of_events(frozenset(_key_of(log, p) for p in held_out.targets.tolist()))
    for position in held_out.targets.tolist():
        key = _key_of(log, position)
        user, target, _ = key
        entries = history_before(log, position, table, repeats=domain.repeats)
        context = by_event.get(key, Context())
        seen = frozenset() if domain.repeats else frozenset(entry.item.id for entry in entries)
        profile = profiles.of_user.get(user, {})
        only = Filter(only=frozenset(shown[key])) if key in shown else Filter()
        query = Query(entries, exclude=seen, filter=only, context=context, profile=profile, moment=key[2])
        yield HeldOutRequest(user, target, query)


def _collect_examples(
    retriever: HybridRetriever, requests: Sequence[HeldOutRequest], progress: Progress | None
) -> ExamplesByUser:
    """Return each user's held-out events with pools; None if the target is missed."""
    names = list(retriever.weights)
    examples: dict[str, list[Example | None]] = defaultdict(list)
    for number, request in enumerate(requests):
        if progress:
            progress("querying the channels", number, len(requests))
        pool, responding, table = retriever.pool(request.query)
        row = table.row_of.get(request.target, -1)
        examples[request.user].append(example_of(pool, responding, names, row))
    return examples


def _key_of(log: EventLog, position: int) -> EventKey:
    time = log.time[position]
    return (
        log.users[log.user[position]],
        log.items[log.item[position]],
        None if np.isnan(time) else float(time),
    )


def _cross_fit(
    by_user: ExamplesByUser, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the weights of all users, and figures under the other half's weights."""
    halves = _halves(by_user)
    everyone = halves[0] + halves[1]
    first, second = (_fit(half) for half in halves)
    metrics = {"fusion": _figures(_ranks(halves[0], second) + _ranks(halves[1], first))}
    for name, one_channel in zip(names, np.eye(len(names)), strict=True):
        metrics[name] = _figures(_ranks(everyone, one_channel))
    weights = {name: round(float(weight), 3) for name, weight in zip(names, _fit(everyone), strict=True)}
    return weights, metrics


def _fit_returning(
    everyone: ExamplesByUser, returning: ExamplesByUser, names: Sequence[str]
) -> tuple[dict[str, float], Estimate | None]:
    """Return the weights for returning people, and their gain in NDCG@10.

    There are no weights, {}, unless the gain is proven. It is over the weights of all requests; both are
    fitted on the other half of the users.
    """
    users = sorted(everyone)
    halves = [{user: returning.get(user, ()) for user in users[half::2]} for half in (0, 1)]
    found = [example for half in halves for examples in half.values() for example in examples if example]
    if len(found) < LEAST_RETURNING:
        return {}, None
    gains, of_user = list[float](), list[str]()
    for half, other in ((0, 1), (1, 0)):
        own = _fit([one for examples in halves[other].values() for one in examples], RETURNING_L2)
        same = _fit(_halves(everyone)[other])
        for user, examples in halves[half].items():
            gains += (_gains(_ranks(examples, own)) - _gains(_ranks(examples, same))).tolist()
            of_user += [user] * len(examples)
    interval = bootstrap(gains, of_user)
    gain = Estimate(**{name: round(getattr(interval, name), 4) for name in ("value", "low", "high")})
    if interval.low <= 0:
        return {}, gain
    return {name: round(float(w), 3) for name, w in zip(names, _fit(found, RETURNING_L2), strict=True)}, gain


def _halves(by_user: ExamplesByUser) -> list[list[Example | None]]:
    return [[example for user in sorted(by_user)[half::2] for example in by_user[user]] for half in (0, 1)]


def _fit(examples: Sequence[Example | None], l2: float = L2) -> DoubleArray:
    return fit_weights([example for example in examples if example is not None], l2)


def _ranks(examples: Sequence[Example | None], weights: DoubleArray) -> list[float]:
    """Return the target's rank in each pool, ties shared; infinite if missed."""
    return [
        float("inf") if example is None else rank_of(example.features @ weights, example.target)
        for example in examples
    ]


def _gains(ranks: Sequence[float]) -> DoubleArray:
    """Return NDCG@10 of each rank."""
    array = np.array(ranks, dtype=np.float64)
    return np.where(array <= 10, 1 / np.log2(1 + np.minimum(array, 10)), 0.0)


def _figures(ranks: Sequence[float]) -> dict[str, float]:
    array = np.array(ranks)
    return {
        "ndcg@10": round(float(_gains(ranks).mean()), 4),
        "recall@20": round(float((array <= 20).mean()), 4),
        "recall@100": round(float((array <= 100).mean()), 4),
    }
