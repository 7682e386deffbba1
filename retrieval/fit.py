"""Fit a domain's retriever: every channel, and the weights of their fusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from recsys.config import Domain, Settings
from recsys.config.retrieval import Channel, FittedWeights
from recsys.data.batch import Progress
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.event_contexts import attach_contexts, user_homes
from recsys.data.splits import Case, EventKey, event_key, leave_one_out
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.types import Context, Interaction, Item, Place
from retrieval import Embedder, HybridRetriever, Query, build_retriever
from retrieval.arrays import DoubleArray
from retrieval.build import RetrieverBuilder, save_weights
from retrieval.fusion_weights import Example, example_of, fit_weights, rank_of

HELD_OUT = 5  # last events of each user, which the weights are fitted on
MAX_CASES = 5_000
DEFAULT_CHANNELS: tuple[Channel, ...] = (
    "gru",
    "linear",
    "transitions",
    "ease",
    "cooccurrence",
    "text",
    "recent",
    "popularity",
)
CONTEXT_CHANNELS: tuple[Channel, ...] = ("segment", "nearby")  # where events have a context

ExamplesByUser = Mapping[str, Sequence[Example | None]]


def fit_retriever(
    domain: Domain,
    items: Sequence[Item],
    events: Sequence[Interaction],
    homes: Mapping[str, Place | None],
    settings: Settings,
    embedder: Embedder,
    *,
    channels: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> HybridRetriever:
    """Fit the domain's retriever on these events alone, for evaluation and training.

    The cache folder is named by the hash of the events: equal events share what was fitted.

    Args:
        domain: Its channels and their weights.
        items: The catalogue.
        events: What the channels are fitted on.
        homes: Home of each user, for the context of events.
        settings: Where the cache is.
        embedder: For the text channel.
        channels: Use these alone, at equal weight.
        progress: Called with what is fitted.
    """
    log = EventLog.of(events, [item.id for item in items], domain.feedback)
    retriever, _ = build_retriever(
        items,
        log,
        embedder,
        domain.retriever,
        settings.cache_dir / "evaluation" / domain.name / log.hash[:16],
        event_contexts=lambda: attach_contexts(events, homes, domain),
        weights=domain.retriever.by_name if channels is None else dict.fromkeys(channels, 1.0),
        progress=progress,
    )
    return retriever


def fit_domain(
    domain: Domain,
    store: Store,
    settings: Settings,
    embedder: Embedder,
    *,
    channels: Sequence[Channel] = (),
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
        progress: Called with (step, done, total).

    Raises:
        RequestError: A channel is unknown, or there are too few events.
    """
    channels = channels or DEFAULT_CHANNELS + CONTEXT_CHANNELS * domain.has_event_contexts
    unknown = sorted(set(channels) - set(get_args(Channel)))
    if unknown:
        raise RequestError(f"no channel '{unknown[0]}'", hint=f"there are: {', '.join(get_args(Channel))}")
    items = store.items(domain.name)
    ids = {item.id for item in items}
    events = [event for event in store.interactions(domain.name) if event.item_id in ids]
    split = leave_one_out(events, last=HELD_OUT)
    if len(split.cases) < 2:
        raise RequestError(
            "too few events to fit weights on",
            hint="users need two different items each; weights of domain.toml hold",
        )
    homes = user_homes(store, domain.name)
    folder = settings.retriever_folder(domain.name)

    def builder(events: Sequence[Interaction], subfolder: str = "") -> RetrieverBuilder:
        return RetrieverBuilder(
            items,
            EventLog.of(events, ids, domain.feedback),
            embedder,
            domain.retriever,
            folder / subfolder,
            event_contexts=lambda: attach_contexts(events, homes, domain),
            retrain=True,
            progress=progress,
        )

    validation = builder(split.train, "tuning")
    retriever = validation.build(dict.fromkeys(channels, 1.0))
    targets = [case.target for case in split.cases if domain.has_event_contexts]
    contexts = {event_key(event): context for event, context in attach_contexts(targets, homes, domain)}
    cases = split.cases[:: -(-len(split.cases) // MAX_CASES)]
    examples = _collect_examples(retriever, Catalog(items), domain, cases, contexts, progress)
    weights, metrics = _cross_fit(examples, list(retriever.weights))
    fitted = FittedWeights(
        weights=weights, fitted_on=validation.log.hash, users=len(examples), metrics=metrics
    )
    save_weights(folder, fitted)
    builder(events).build()
    return fitted


def _collect_examples(
    retriever: HybridRetriever,
    catalog: Catalog,
    domain: Domain,
    cases: Sequence[Case],
    contexts: Mapping[EventKey, Context],
    progress: Progress | None,
) -> ExamplesByUser:
    """Return each user's held-out events with pools; None if the target is missed."""
    names = list(retriever.weights)
    examples: dict[str, list[Example | None]] = defaultdict(list)
    for number, case in enumerate(cases):
        if progress:
            progress("querying the channels", number, len(cases))
        entries = catalog.entries(case.history, domain.feedback)
        context = contexts.get(event_key(case.target), Context())
        query = Query(entries, exclude=frozenset(entry.item.id for entry in entries), context=context)
        pool, responding, table = retriever.pool(query)
        target = table.row_of.get(case.target.item_id, -1)
        examples[case.user_id].append(example_of(pool, responding, names, target))
    return examples


def _cross_fit(
    by_user: ExamplesByUser, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the weights of all users, and figures under the other half's weights."""
    halves = [[example for user in sorted(by_user)[half::2] for example in by_user[user]] for half in (0, 1)]
    everyone = halves[0] + halves[1]
    first, second = (_fit(half) for half in halves)
    metrics = {"fusion": _figures(_ranks(halves[0], second) + _ranks(halves[1], first))}
    for name, one_channel in zip(names, np.eye(len(names)), strict=True):
        metrics[name] = _figures(_ranks(everyone, one_channel))
    weights = {name: round(float(weight), 3) for name, weight in zip(names, _fit(everyone), strict=True)}
    return weights, metrics


def _fit(examples: Sequence[Example | None]) -> DoubleArray:
    return fit_weights([example for example in examples if example is not None])


def _ranks(examples: Sequence[Example | None], weights: DoubleArray) -> list[float]:
    """Return the target's rank in each pool, ties shared; infinite if missed."""
    return [
        float("inf") if example is None else rank_of(example.features @ weights, example.target)
        for example in examples
    ]


def _figures(ranks: Sequence[float]) -> dict[str, float]:
    array = np.array(ranks)
    gain = np.where(array <= 10, 1 / np.log2(1 + np.minimum(array, 10)), 0.0)
    return {
        "ndcg@10": round(float(gain.mean()), 4),
        "recall@20": round(float((array <= 20).mean()), 4),
        "recall@100": round(float((array <= 100).mean()), 4),
    }
