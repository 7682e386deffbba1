"""What the options diversity and long_tail gain, and what they cost in NDCG@10.

    python -m benchmarks.knobs --users 943 --out benchmarks/results/knobs.json

Validation: each user's last event but one. The retriever's first candidates, as many as the domain
ranks, are reranked with the retriever's probabilities at each setting; no model is run.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.environment import describe, write_json
from recsys.config import load_domain, load_settings
from recsys.config.ranking import RankerConfig
from recsys.data.importers import read_domain
from recsys.data.splits import leave_one_out, sample_users
from recsys.evaluation.metrics.beyond_accuracy import beyond_accuracy
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.systems.recommenders import fit_on_train, retrieve
from recsys.ranking.reranking import rerank
from recsys.types import Candidate
from recsys.utils.intervals import bootstrap

SETTINGS: dict[str, tuple[float, ...]] = {
    "diversity": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7),
    "long_tail": (0.5, 1.0, 2.0, 4.0),
}
BEYOND = ("diversity@10", "novelty@10", "coverage@10", "popularity_lift@10")


def measure(data: EvaluationData, lists: list[list[Candidate]]) -> dict[str, Any]:
    """Measure the reranked lists of each setting: NDCG@10 and beyond accuracy."""
    cases = data.split.cases
    targets = [case.target.item_id for case in cases]
    figures: dict[str, Any] = {}
    for knob, values in SETTINGS.items():
        for value in values:
            ranker = _with_knobs(data.domain.ranker, **{knob: value})
            orders = [
                tuple(
                    candidates[index].item.id
                    for index in rerank(candidates, range(len(candidates)), None, ranker).order
                )
                for candidates in lists
            ]
            quality = ranking_metrics(orders, targets)[PRIMARY]
            beyond = beyond_accuracy(orders, cases, data.by_id, data.log)
            figures[f"{knob} {value}"] = {
                PRIMARY: dataclasses.asdict(bootstrap(quality)),
                **{name: beyond[name] for name in BEYOND},
            }
    return figures


def _with_knobs(ranker: RankerConfig, **knobs: float) -> RankerConfig:
    return ranker.model_copy(update={"diversity": 0.0, "long_tail": 0.0} | knobs)


def main() -> None:
    """Measure every setting and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=943)
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/knobs.json"))
    options = parser.parse_args()
    domain = load_domain(options.domain)
    batch = read_domain(domain)
    split = sample_users(leave_one_out(batch.interactions, "validation"), options.users)
    users = {user.id: user for user in batch.users}
    data = EvaluationData.of(domain, tuple(batch.items), users, split, settings=load_settings())
    retriever = fit_on_train(data, None)
    lists = [
        retrieve("knobs", retriever, data, case, domain.ranker.n_candidates)
        for case in track(split.cases, description="users")
    ]
    result = {
        "domain": domain.title or domain.name,
        "users": len(split.cases),
        "candidates": domain.ranker.n_candidates,
        "settings": measure(data, lists),
        "environment": describe(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
