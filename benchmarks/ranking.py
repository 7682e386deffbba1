"""Every way to rank, in one run and on the same held-out users.

    python -m benchmarks.ranking --users 200 --out benchmarks/results/ranking.json

Quality: leave-one-out, the target among 19 uniformly sampled items. All strategies rank one
user's list before the next user comes, in turns, so that the machine's moods hit all alike, each
from an empty prefix cache, so that it helps within a request only. For a model and a GPU that are
not here the same requests are computed from rates: --prefill-rate and --decode-rate, tokens a
second, of one request. Unless told, they are those of a model of Llama-2-7B's shape on one H100,
at a prompt of 740 tokens, as `benchmarks.gpu_rates` measured them (results/gpu_rates.json).
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

SERIAL = 4  # requests behind the throughput of one caller
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in STRATEGIES},
    "pointwise-exact": ("pointwise", {"exact": True}),
    "listwise-2-orders": ("listwise", {"permutations": 2}),
    "listwise-sliding": ("listwise", {"windows": "sliding"}),
}
REFERENCES = ("generated", "generated-scores")  # bare order; ids and scores under schema


@dataclass(frozen=True)
class RankingOptions:
    """What is measured. `few` users stand behind figures other than quality at the first size."""

    users: int = 200
    few: int = 10
    sizes: tuple[int, ...] = (20, 50, 100)
    concurrent: tuple[int, ...] = (1, 8, 32)
    strategies: tuple[str, ...] = tuple(VARIANTS)
    prefill_rate: float = 29_486.0
    decode_rate: float = 132.9


@dataclass
class Log:
    """What one strategy did with lists of one size."""

    seconds: list[float] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)

    def timed(self, ranker: Ranker, request: RankRequest) -> Ranking:
        begun = time.perf_counter()
        ranking = ranker.rank(request)
        self.seconds.append(time.perf_counter() - begun)
        self.rankings.append(ranking)
        return ranking

    def latency(self) -> dict[str, float]:
        p50, p95 = np.percentile(self.seconds, [50, 95]) * 1000
        return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}

    def tokens(self) -> dict[str, float]:
        """Per request: prompt tokens, those read from the cache and those computed, tokens written."""

        def mean(name: str) -> float:
            return round(float(np.mean([getattr(one.usage, name) for one in self.rankings])), 1)

        prompt, cached = mean("prompt_tokens"), mean("cached_tokens")
        return {
            "prompt_tokens": prompt,
            "cached_tokens": cached,
            "computed_tokens": round(prompt - cached, 1),
            "generated_tokens": mean("generated_tokens"),
        }


def measure(recommender: Recommender, options: RankingOptions) -> dict[str, Any]:
    """All figures; what they mean is said in `benchmarks/report.py`."""
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
    found: dict[str, dict[str, Any]] = {}
    for name, log in logs.items():
        outputs = Counter(ranking.report.category for ranking in log.rankings)
        found[name] = {
            **log.latency(),
            **_quality(_orders(cases, log.rankings), cases),
            **log.tokens(),
            "outputs": dict(outputs),
            "invalid_outputs": 1 - outputs["ok"] / len(cases),
            "candidates": {str(options.sizes[0]): log.latency()},
            "kendall_tau": _stability(rankers[name], lists, cases[: options.few], log.rankings),
        }
    for size in options.sizes[1:]:
        asked = lists.take(min(options.few, options.users), size)
        for name, log in _in_turns(rankers, lists, asked, f"{size} candidates").items():
            found[name]["candidates"][str(size)] = log.latency() | log.tokens()
    for name, ranker in rankers.items():
        found[name]["requests_per_s"] = {
            str(callers): _throughput(ranker, lists, callers, options.sizes[0])
            for callers in track(options.concurrent, description=f"{name}, concurrent")
        }
    _ratios(found, options)
    chance = random.Random(SEED)
    baselines = {
        "random": [chance.sample(case.candidates or (), len(case.candidates or ())) for case in cases],
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
        "strategies": found,
        "baselines": {name: _quality(orders, cases) for name, orders in baselines.items()},
        "without_shared_prefix": _without_shared_prefix(rankers, lists, options),
        "environment": describe(),
    }


def _in_turns(
    rankers: Mapping[str, Ranker], lists: Lists, cases: Sequence[splits.Case], what: str
) -> dict[str, Log]:
    logs = {name: Log() for name in rankers}
    engine = lists.recommender.engine()
    for number, case in enumerate(track(cases, description=what)):
        request, names = lists.request(case), list(rankers)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            forget(engine)
            logs[name].timed(rankers[name], request)
    return logs


def _orders(cases: Sequence[splits.Case], rankings: Sequence[Ranking]) -> list[list[str]]:
    return [
        [(case.candidates or ())[place] for place in ranking.order()]
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
        places = {shuffled[place]: rank for rank, place in enumerate(again.order())}
        taus.append(float(kendalltau(range(len(order)), [places[item] for item in order]).statistic))
    return float(np.mean(taus))


def _throughput(ranker: Ranker, lists: Lists, callers: int, size: int) -> float:
    """Requests a second while so many callers ask, each for one list at a time."""
    requests = [lists.request(case) for case in lists.take(max(callers, SERIAL), size)]
    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        list(pool.map(ranker.rank, requests))
        return round(len(requests) / (time.perf_counter() - begun), 3)


def _without_shared_prefix(
    rankers: Mapping[str, Ranker], lists: Lists, options: RankingOptions
) -> dict[str, float] | None:
    """Pointwise, each prompt behind a token of its own, so that no two share a block of the cache."""
    if "pointwise" not in rankers:
        return None
    ranker, engine = rankers["pointwise"], lists.recommender.engine()
    seconds, computed, shared = [], [], Log()
    for case in track(lists.take(min(options.few, options.users), options.sizes[0]), description="no prefix"):
        request = lists.request(case)
        prompt = ranker.render(request)
        labels = label_ids(engine.tokenizer, prompt.template.meta.labels)
        apart = [
            [*engine.tokenizer.encode(f"{number} ", add_special_tokens=False), *ids]
            for number, ids in enumerate(prompt.token_ids)
        ]
        begun = time.perf_counter()
        answers = engine.label_logprobs(apart, labels)
        seconds.append(time.perf_counter() - begun)
        computed.append(sum(answer.prompt_tokens - answer.cached_tokens for answer in answers))
        shared.timed(ranker, request)
    tokens = shared.tokens()["computed_tokens"]
    return {
        "p50_ms": round(float(np.median(seconds)) * 1000, 1),
        "computed_tokens": float(np.mean(computed)),
        "shared_p50_ms": shared.latency()["p50_ms"],
        "shared_computed_tokens": tokens,
        "times_computed": round(float(np.mean(computed)) / tokens, 2),
    }


def _ratios(found: Mapping[str, dict[str, Any]], options: RankingOptions) -> None:
    """How many times faster than the generated lists: as measured, and from rates."""
    for name, one in found.items():
        # A label or title costs its prefill: the one token that vLLM samples comes out of it.
        written = one["generated_tokens"] if VARIANTS[name][0] in REFERENCES else 0
        step = 1 / options.decode_rate  # no prefill is faster
        seconds = max(one["computed_tokens"] / options.prefill_rate, step) + written * step
        one["from_rates_ms"] = round(1000 * seconds, 1)
    for ratio, clock in (("times_faster_than", "p50_ms"), ("times_faster_than_from_rates", "from_rates_ms")):
        for one in found.values():
            one[ratio] = {
                slow: round(found[slow][clock] / one[clock], 2) for slow in REFERENCES if slow in found
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
