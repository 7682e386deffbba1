"""Fit a domain's retriever: every channel, and the weights that join them."""

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
from recsys.data.splits import event_key, leave_one_out
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.types import Context, Interaction, Item, Place
from retrieval import Embedder, HybridRetriever, Query, build_retriever
from retrieval.build import save_weights
from retrieval.fusion_weights import Example, example, fit_weights, rank_of

HELD_OUT = 5  # last events of each user: the validation that weights are tuned on
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
SITUATED_CHANNELS: tuple[Channel, ...] = (
    "segment",
    "nearby",
)  # where events say in which situation they were


def fit_apart(
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
    """The domain's retriever fitted on these events alone; with `channels`, those alone at equal weight.

    It is kept in a cache folder that bears the hash of the events: what asks for the same
    events shares what was fitted, and nothing else does.
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
    """Tune weights on each user's last events, then fit every channel with weight on all events.

    Without `channels` all but the slowest are tried. For tuning the channels are fitted without these events. The figures are cross-fitted:
    the weights that rank one half of the users come from the other half. What is found is
    saved beside the channels and used from the next request on. A fit that was stopped
    goes on where it was.

    Raises RequestError for an unknown channel or where there are too few events.
    """
    channels = channels or DEFAULT_CHANNELS + SITUATED_CHANNELS * domain.has_event_contexts
    unknown = sorted(set(channels) - set(get_args(Channel)))
    if unknown:
        raise RequestError(f"no channel '{unknown[0]}'", hint=f"there are: {', '.join(get_args(Channel))}")
    items = store.items(domain.name)
    ids = {item.id for item in items}
    events = [event for event in store.interactions(domain.name) if event.item_id in ids]
    split = leave_one_out(events, last=HELD_OUT)
    if len(split.cases) < 2:
        raise RequestError(
            "too few events to tune on",
            hint="users need two different items each; weights of domain.toml hold",
        )
    homes_of = user_homes(store, domain.name)
    log = EventLog.of(split.train, ids, domain.feedback)
    folder = settings.retriever_folder(domain.name)
    inner, _ = build_retriever(
        items,
        log,
        embedder,
        domain.retriever,
        folder / "tuning",
        event_contexts=lambda: attach_contexts(split.train, homes_of, domain),
        weights=dict.fromkeys(channels, 1.0),
        retrain=True,
        progress=progress,
    )
    catalog, names = Catalog(items), list(inner.weights)
    told = attach_contexts((case.target for case in split.cases if domain.has_event_contexts), homes_of, domain)
    contexts = {event_key(event): context for event, context in told}
    step = -(-len(split.cases) // MAX_CASES)
    found: dict[str, list[Example | None]] = defaultdict(list)
    cases = split.cases[::step]
    for number, case in enumerate(cases):
        if progress:
            progress("asking the channels", number, len(cases))
        entries = catalog.entries(case.history, domain.feedback)
        context = contexts.get(event_key(case.target), Context())
        query = Query(entries, exclude=frozenset(entry.item.id for entry in entries), context=context)
        pool, responding, table = inner.pool(query)
        row = table.row_of.get(case.target.item_id, -1)
        found[case.user_id].append(example(pool, responding, names, row))

    halves = [[one for user in sorted(found)[half::2] for one in found[user]] for half in (0, 1)]
    fits = [fit_weights([one for one in half if one is not None]) for half in halves]
    metrics = {"fusion": _figures(_ranks(halves[0], fits[1]) + _ranks(halves[1], fits[0]))}
    for column, name in enumerate(names):
        alone = np.eye(len(names))[column]
        metrics[name] = _figures(_ranks(halves[0] + halves[1], alone))
    weight_vector = fit_weights([one for half in halves for one in half if one is not None])
    weights = {name: round(float(weight), 3) for name, weight in zip(names, weight_vector, strict=True)}
    fitted = FittedWeights.model_validate(
        {"weights": weights, "fitted_on": log.hash, "users": len(found), "metrics": metrics}
    )
    save_weights(folder, fitted)
    build_retriever(
        items,
        EventLog.of(events, ids, domain.feedback),
        embedder,
        domain.retriever,
        folder,
        event_contexts=lambda: attach_contexts(events, homes_of, domain),
        retrain=True,
        progress=progress,
    )
    return fitted


def _ranks(
    examples: Sequence[Example | None], weights: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> list[float]:
    """The target's rank in each pool, ties shared; infinite where it was missed."""
    ranks = []
    for one in examples:
        if one is None:
            ranks.append(float("inf"))
            continue
        ranks.append(rank_of(one.features @ weights, one.target))
    return ranks


def _figures(ranks: Sequence[float]) -> dict[str, float]:
    array = np.array(ranks)
    gain = np.where(array <= 10, 1 / np.log2(1 + np.minimum(array, 10)), 0.0)
    return {
        "ndcg@10": round(float(gain.mean()), 4),
        "recall@20": round(float((array <= 20).mean()), 4),
        "recall@100": round(float((array <= 100).mean()), 4),
    }
