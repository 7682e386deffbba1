"""Pointwise against listwise against a generated list, on held-out users.

    python -m benchmarks.sampled_ranking --users 200 --out benchmarks/results/sampled_ranking.json

Target + 19 uniformly sampled items, leave-one-out; popularity and random order
beside them. All strategies rank the same list for one user before the next user
comes, so that the machine's moods hit all alike. Latency is one request at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmarks.environment import describe, write_json
from recsys.evaluation import protocols, splits
from recsys.evaluation.intervals import bootstrap
from recsys.evaluation.metrics import PRIMARY, ranking_metrics
from recsys.pipeline import Recommender
from recsys.ranking import STRATEGIES, Ranking, RankRequest
from recsys.types import Candidate, Context

SEED = 7


def request_for(recommender: Recommender, case: splits.Case) -> RankRequest:
    """What serving would send for this user, had retrieval brought these candidates."""
    length = recommender.domain.ranker.history_length
    history = recommender.catalog.entries(case.history[-length:], recommender.domain.feedback)
    candidates = tuple(
        Candidate(item=recommender.catalog.by_id(item), score=0.0, source="sampled")
        for item in case.candidates or ()
    )
    profile = recommender.store.user(recommender.domain.name, case.user_id).profile
    return RankRequest(candidates, history, Context(), profile)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sampled_ranking.json"))
    options = parser.parse_args()

    with Recommender.load(options.domain) as recommender:
        events = recommender.store.interactions(recommender.domain.name)
        held_out = splits.of_users(splits.leave_one_out(events), options.users, seed=SEED)
        catalogue = [item.id for item in recommender.catalog]
        asked, _ = protocols.sampled(held_out, catalogue, 19, seed=SEED)
        popularity = Counter(event.item_id for event in asked.train)
        chance = random.Random(SEED)
        rankings: dict[str, list[list[str]]] = {name: [] for name in ("random", "popularity", *STRATEGIES)}
        seconds: dict[str, list[float]] = {name: [] for name in STRATEGIES}
        categories: dict[str, dict[str, int]] = {name: {} for name in STRATEGIES}
        rankers = {name: recommender.ranker(name, recommender.engine()) for name in STRATEGIES}
        warm_up = request_for(recommender, asked.cases[0])
        for ranker in rankers.values():
            ranker.rank(warm_up)
        for case in track(asked.cases, description="users"):
            candidates = case.candidates or ()
            rankings["random"].append(chance.sample(candidates, len(candidates)))
            rankings["popularity"].append(sorted(candidates, key=lambda item: (-popularity[item], item)))
            request = request_for(recommender, case)
            # Rotated, so that no strategy always finds the prefix another one left in the cache.
            names = list(STRATEGIES)
            shift = len(rankings["random"]) % len(names)
            for name in names[shift:] + names[:shift]:
                begun = time.perf_counter()
                ranking: Ranking = rankers[name].rank(request)
                seconds[name].append(time.perf_counter() - begun)
                rankings[name].append([candidates[place] for place in ranking.order()])
                category = ranking.report.category
                categories[name][category] = categories[name].get(category, 0) + 1

        targets = [case.target.item_id for case in asked.cases]
        median = {name: float(np.median(seconds[name])) for name in STRATEGIES}
        result = {
            "protocol": "leave-one-out, target + 19 uniformly sampled items, NDCG@10",
            "seed": SEED,
            "data_hash": recommender.store.data_hash(recommender.domain.name),
            "model": recommender.engine().model,
            "environment": describe(),
            "systems": {
                name: {
                    "ndcg@10": dataclasses.asdict(bootstrap(ranking_metrics(found, targets)[PRIMARY])),
                    **(
                        {
                            "p50_s": median[name],
                            "p95_s": float(np.percentile(seconds[name], 95)),
                            "times_generated": median["generated"] / median[name],
                            "parse": categories[name],
                        }
                        if name in STRATEGIES
                        else {}
                    ),
                }
                for name, found in rankings.items()
            },
        }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
