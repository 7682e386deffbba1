"""What diversity and the long tail cost: NDCG@10 against what they are for.

    python -m benchmarks.knobs --users 943 --out benchmarks/results/knobs.json

Validation: each user's last event but one. The retriever's first candidates, as many as the domain
ranks, in its order with its probabilities, are ordered anew at each setting; no model is asked.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.environment import describe, write_json
from recsys.config import Domain, load_domain, load_settings
from recsys.data.importers import read_domain
from recsys.data.splits import leave_one_out, of_users
from recsys.evaluation.metrics.beyond_accuracy import beyond_accuracy
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.systems.recommenders import fitted, retrieve
from recsys.ranking.reranking import rerank
from recsys.types import Candidate
from recsys.utils.intervals import bootstrap

SETTINGS: dict[str, tuple[float, ...]] = {
    "diversity": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7),
    "long_tail": (0.5, 1.0, 2.0, 4.0),
}
KEPT = ("diversity@10", "novelty@10", "coverage@10", "popularity_lift@10")


def measure(data: EvaluationData, lists: list[list[Candidate]]) -> dict[str, Any]:
    """Per setting the quality of the lists and what they are like."""
    cases = data.split.cases
    targets = [case.target.item_id for case in cases]
    found: dict[str, Any] = {}
    for knob, values in SETTINGS.items():
        for value in values:
            domain = _with(data.domain, **{knob: value})
            orders = [
                tuple(of[p].item.id for p in rerank(of, range(len(of)), None, domain).order) for of in lists
            ]
            quality = ranking_metrics(orders, targets)[PRIMARY]
            like = beyond_accuracy(orders, cases, data.by_id, data.log)
            found[f"{knob} {value}"] = {
                PRIMARY: dataclasses.asdict(bootstrap(quality)),
                **{name: like[name] for name in KEPT},
            }
    return found


def _with(domain: Domain, **knobs: float) -> Domain:
    ranker = domain.ranker.model_copy(update={"diversity": 0.0, "long_tail": 0.0} | knobs)
    return domain.model_copy(update={"ranker": ranker, "rules": ()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=943)
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/knobs.json"))
    options = parser.parse_args()
    domain = load_domain(options.domain)
    batch = read_domain(domain)
    split = of_users(leave_one_out(batch.interactions, "validation"), options.users)
    users = {user.id: user for user in batch.users}
    data = EvaluationData.of(domain, tuple(batch.items), users, split, settings=load_settings())
    retriever = fitted(data, None)
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
