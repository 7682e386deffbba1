"""All ranking strategies, in one run and on the same held-out users.

    python -m benchmarks.ranking --users 200 --out benchmarks/results/ranking.json

Quality: leave-one-out, the target among 19 uniformly sampled items. All strategies rank one user's
list before the next user's, in rotating order, so that load on the machine affects all alike, each
from an empty prefix cache, so that it helps within a request only. For a GPU that is not here,
times are computed from rates: --prefill-rate and --decode-rate, tokens per second of one request.
By default they are those of a model of Llama-2-7B's shape on one H100, at a prompt of 740 tokens,
as measured by `benchmarks.gpu_rates` (results/gpu_rates.json).
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.environment import describe, write_json
from benchmarks.lists import SEED, Lists, forget
from recsys.data import splits
from recsys.engine.labels import label_ids
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.ranking import STRATEGIES, Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.recommender.recommender import Recommender
from recsys.utils.intervals import bootstrap

MIN_REQUESTS = 4  # that throughput is measured on
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in STRATEGIES},
    "pointwise-exact": ("pointwise", {"exact": True}),
    "listwise-2-orders": ("listwise", {"permutations": 2}),
    "listwise-sliding": ("listwise", {"windows": "sliding"}),
}
REFERENCES = ("generated", "generated-scores")  # order alone; ids and scores by a schema


@dataclass(frozen=True)
class RankingOptions:
    """What is measured."""

    users: int = 200  # quality at the first size
    few: int = 10  # users for all other figures
    sizes: tuple[int, ...] = (20, 50, 100)  # candidates of a list
    concurrent: tuple[int, ...] = (1, 8, 32)  # callers
    strategies: tuple[str, ...] = tuple(VARIANTS)
    prefill_rate: float = 29_486.0  # tokens per second
    decode_rate: float = 132.9  # tokens per second


@dataclass
class StrategyLog:
    """The rankings and times of one strategy for lists of one size."""

    seconds: list[float] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)

    def rank(self, ranker: Ranker, request: RankRequest) -> Ranking:
        """Rank and record the time."""
        begun = time.perf_counter()
        ranking = ranker.rank(request)
        self.seconds.append(time.perf_counter() - begun)
        self.rankings.append(ranking)
        return ranking

    def latency(self) -> dict[str, float]:
        """Return the percentiles of the time, in milliseconds."""
        p50, p95 = np.percentile(self.seconds, [50, 95]) * 1000
        return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}

    def tokens(self) -> dict[str, float]:
        """Average per request: prompt, cached, computed and generated tokens."""

        def mean(name: str) -> float:
            return round(float(np.mean([getattr(ranking.usage, name) for ranking in self.rankings])), 1)

        prompt, cached = mean("prompt_tokens"), mean("cached_tokens")
        return {
            "prompt_tokens": prompt,
            "cached_tokens": cached,
            "computed_tokens": round(prompt - cached, 1),
            "generated_tokens": mean("generated_tokens"),
        }


def measure(recommender: Recommender, options: RankingOptions) -> dict[str, Any]:
    """Measure all that `benchmarks/report_ranking.py` shows."""
    engine = recommender.engine()
    parts = RankerParts.of(engine, recommender.prompts, recommender.domain)
    rankers = {
        name: make_ranker(strategy, dataclasses.replace(parts, **changed))
        for name, (strategy, changed) in VARIANTS.items()
        if name in options.strategies
    }
    lists = Lists(recommender)
    warm_up = lists.request(lists.take(1, options.sizes[0])[0])
    for ranker in rankers.values():
        ranker.rank(warm_up)

    cases = lists.take(options.users, options.sizes[0])
    logs = _in_turns(rankers, lists, cases, f"{options.sizes[0]} candidates")
    strategies: dict[str, dict[str, Any]] = {}
    for name, log in logs.items():
        outputs = Counter(ranking.report.category for ranking in log.rankings)
        strategies[name] = {
            **log.latency(),
            **_quality(_orders(cases, log.rankings), cases),
            **log.tokens(),
            "outputs": dict(outputs),
            "invalid_outputs": 1 - outputs["ok"] / len(cases),
            "candidates": {str(options.sizes[0]): log.latency()},
            "kendall_tau": _stability(rankers[name], lists, cases[: options.few], log.rankings),
        }
    for size in options.sizes[1:]:
        few = lists.take(min(options.few, options.users), size)
        for name, log in _in_turns(rankers, lists, few, f"{size} candidates").items():
            strategies[name]["candidates"][str(size)] = log.latency() | log.tokens()
    for name, ranker in rankers.items():
        strategies[name]["requests_per_s"] = {
            str(callers): _throughput(ranker, lists, callers, options.sizes[0])
            for callers in track(options.concurrent, description=f"{name}, concurrent")
        }
    _ratios(strategies, options)
    rng = random.Random(SEED)
    baselines = {
        "random": [rng.sample(case.candidates or (), len(case.candidates or ())) for case in cases],
        "popularity": [
            sorted(case.candidates or (), key=lambda item: (-lists.popularity[item], item)) for case in cases
        ],
    }
    return {
        "protocol": f"leave-one-out, target + {options.sizes[0] - 1} uniformly sampled items, NDCG@10",
        "seed": SEED,
        "options": dataclasses.asdict(options),
        "data_hash": recommender.store.data_hash(recommender.domain.name),
        "model": engine.model,
        "adapter": engine.adapter,
        "strategies": strategies,
        "baselines": {name: _quality(orders, cases) for name, orders in baselines.items()},
        "without_shared_prefix": _without_shared_prefix(rankers, lists, options),
        "environment": describe(),
    }


def _in_turns(
    rankers: Mapping[str, Ranker], lists: Lists, cases: Sequence[splits.Case], what: str
) -> dict[str, StrategyLog]:
    logs = {name: StrategyLog() for name in rankers}
    engine = lists.recommender.engine()
    for number, case in enumerate(track(cases, description=what)):
        request, names = lists.request(case), list(rankers)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            forget(engine)
            logs[name].rank(rankers[name], request)
    return logs


def _orders(cases: Sequence[splits.Case], rankings: Sequence[Ranking]) -> list[list[str]]:
    return [
        [(case.candidates or ())[index] for index in ranking.order()]
        for case, ranking in zip(cases, rankings, strict=True)
    ]


def _quality(orders: Sequence[Sequence[str]], cases: Sequence[splits.Case]) -> dict[str, float]:
    targets = [case.target.item_id for case in cases]
    interval = bootstrap(ranking_metrics(orders, targets)[PRIMARY])
    return {
        PRIMARY: interval.value,
        f"{PRIMARY}_low": interval.low,
        f"{PRIMARY}_high": interval.high,
        "users": interval.n,
    }


def _stability(
    ranker: Ranker, lists: Lists, cases: Sequence[splits.Case], before: Sequence[Ranking]
) -> float:
    """Mean Kendall tau between the order of a list and that of the same list shuffled."""
    from scipy.stats import kendalltau

    taus = []
    for case, order in zip(cases, _orders(cases, before[: len(cases)]), strict=True):
        shuffled = random.Random(f"{SEED}:{case.user_id}").sample(order, len(order))
        again = ranker.rank(lists.request(case, shuffled))
        rank_of = {shuffled[index]: rank for rank, index in enumerate(again.order())}
        taus.append(float(kendalltau(range(len(order)), [rank_of[item] for item in order]).statistic))
    return float(np.mean(taus))


def _throughput(ranker: Ranker, lists: Lists, callers: int, size: int) -> float:
    """Requests per second of so many callers, each with one list at a time."""
    requests = [lists.request(case) for case in lists.take(max(callers, MIN_REQUESTS), size)]
    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        list(pool.map(ranker.rank, requests))
        return round(len(requests) / (time.perf_counter() - begun), 3)


def _without_shared_prefix(
    rankers: Mapping[str, Ranker], lists: Lists, options: RankingOptions
) -> dict[str, float] | None:
    """Pointwise with a distinct first token per prompt: no two share a cache block."""
    if "pointwise" not in rankers:
        return None
    ranker, engine = rankers["pointwise"], lists.recommender.engine()
    seconds, computed, shared = [], [], StrategyLog()
    for case in track(lists.take(min(options.few, options.users), options.sizes[0]), description="no prefix"):
        request = lists.request(case)
        prompt = ranker.render(request)
        labels = label_ids(engine.tokenizer, prompt.template.meta.labels)
        distinct = [
            [*engine.tokenizer.encode(f"{number} ", add_special_tokens=False), *ids]
            for number, ids in enumerate(prompt.token_ids)
        ]
        begun = time.perf_counter()
        answers = engine.label_logprobs(distinct, labels)
        seconds.append(time.perf_counter() - begun)
        computed.append(sum(answer.prompt_tokens - answer.cached_tokens for answer in answers))
        shared.rank(ranker, request)
    tokens = shared.tokens()["computed_tokens"]
    return {
        "p50_ms": round(float(np.median(seconds)) * 1000, 1),
        "computed_tokens": float(np.mean(computed)),
        "shared_p50_ms": shared.latency()["p50_ms"],
        "shared_computed_tokens": tokens,
        "times_computed": round(float(np.mean(computed)) / tokens, 2),
    }


def _ratios(strategies: Mapping[str, dict[str, Any]], options: RankingOptions) -> None:
    """Add the speed-up over generated lists: as measured, and from rates."""
    for name, strategy in strategies.items():
        # A label or title costs its prefill alone: vLLM samples its one token from that.
        generated = strategy["generated_tokens"] if VARIANTS[name][0] in REFERENCES else 0
        step = 1 / options.decode_rate  # no prefill is faster
        seconds = max(strategy["computed_tokens"] / options.prefill_rate, step) + generated * step
        strategy["from_rates_ms"] = round(1000 * seconds, 1)
    for ratio, clock in (("times_faster_than", "p50_ms"), ("times_faster_than_from_rates", "from_rates_ms")):
        for strategy in strategies.values():
            strategy[ratio] = {
                slow: round(strategies[slow][clock] / strategy[clock], 2)
                for slow in REFERENCES
                if slow in strategies
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = RankingOptions()
    parser.add_argument("--users", type=int, default=default.users)
    parser.add_argument("--few", type=int, default=default.few, help="users behind the other figures")
    parser.add_argument("--sizes", type=int, nargs="+", default=default.sizes, help="candidates of a list")
    parser.add_argument("--concurrent", type=int, nargs="*", default=default.concurrent, help="callers")
    parser.add_argument("--strategies", nargs="+", default=default.strategies, choices=list(VARIANTS))
    parser.add_argument("--prefill-rate", type=float, default=default.prefill_rate, help="tokens a second")
    parser.add_argument("--decode-rate", type=float, default=default.decode_rate, help="tokens a second")
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ranking.json"))
    given: dict[str, Any] = vars(parser.parse_args())
    domain, out = given.pop("domain"), given.pop("out")
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    options = RankingOptions(**given)
    with Recommender.load(domain) as recommender:
        result = measure(recommender, options)
    write_json(out, result)


if __name__ == "__main__":
    main()
