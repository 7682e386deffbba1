"""Measure a warm retrieval of a domain that is imported and fitted, and what each channel takes of it.

    recsys import --domain shop-products && recsys fit --domain shop-products
    python -m benchmarks.retrieval_latency --domain shop-products

All channels have weight, those to which `recsys fit` gave none too. A query is the history of a user and the
time of their last event. Times are CPU time of the process: a machine that does other things beside
lengthens them less than the clock.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.environment import describe, write_json
from recsys.config import load_settings
from recsys.recommender.recommender import Recommender
from recsys.types import Context
from retrieval import HybridRetriever, Query
from retrieval.query_channels import score_query

WARM = 200  # queries of other users that come first and do not count
LEAST = 0.01  # weight of a channel that has none


def make_queries(recommender: Recommender, count: int, seed: int) -> list[Query]:
    """Return queries of random users with a history."""
    store, domain = recommender.store, recommender.domain
    users = sorted(user.id for user in store.all_users(domain.name))
    queries = []
    for user in random.Random(seed).sample(users, min(len(users), 2 * count)):
        if history := recommender.catalog.entries(store.history(domain.name, user), domain.feedback):
            last = history[-1].timestamp
            context = Context(time=None if last is None else dt.datetime.fromtimestamp(last, dt.UTC))
            seen = frozenset() if domain.repeats else frozenset(entry.item.id for entry in history)
            queries.append(Query(tuple(history), exclude=seen, context=context))
    return queries[:count]


def timed(action: Callable[[Query], Any], queries: Sequence[Query], name: str) -> dict[str, float]:
    """Return the CPU milliseconds of an action on each query."""
    taken = []
    for query in track(queries, description=name):
        begun = time.process_time()
        action(query)
        taken.append(1000 * (time.process_time() - begun))
    return {f"p{q}": round(float(np.percentile(taken[WARM:], q)), 2) for q in (50, 90, 99)}


def channel_alone(retriever: HybridRetriever, name: str) -> Callable[[Query], Any]:
    """Return what scores one channel and finds its best items."""
    state = retriever.state

    def act(query: Query) -> None:
        for pooled in score_query(query, state, [name]).values():
            top = pooled.scores.top(retriever.config.depth, query.allowed(state.table))
            pooled.scores.at(top)

    return act


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", default="shop-products")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("-n", type=int, default=20, help="candidates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/retrieval_latency.json"))
    options = parser.parse_args()
    with Recommender.load(options.domain, settings=load_settings()) as recommender:
        fitted = recommender.retriever
        names = list(fitted.state.channels)
        everything = fitted.reweighted({name: max(fitted.weights.get(name, 0), LEAST) for name in names})
        queries = make_queries(recommender, options.queries + WARM, options.seed)
        result = {
            "domain": options.domain,
            "items": len(fitted.state.table),
            "queries": len(queries) - WARM,
            "candidates": options.n,
            "all_channels_cpu_ms": timed(lambda query: everything.retrieve(query, options.n), queries, "all"),
            "fitted_weights": fitted.weights,
            "fitted_cpu_ms": timed(lambda query: fitted.retrieve(query, options.n), queries, "fitted"),
            "channel_cpu_ms": {name: timed(channel_alone(fitted, name), queries, name) for name in names},
        }
    write_json(options.out, result | {"environment": describe()})


if __name__ == "__main__":
    main()
