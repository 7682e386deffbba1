"""The time spent outside the engine: of an offline batch, and of one warm request.

    python -m benchmarks.throughput --users 200 --warm 20

Batch: lists of `--at-once` users are ranked together, as `recsys evaluate` does; bare vLLM
(`LLM.generate`) gets exactly the same token sequences, before or after in turn, with an empty prefix
cache. Warm: `recommend` as a whole, with reasons, for users without an earlier request; the time
inside engine calls is summed, the rest is ours.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.environment import describe, write_json
from benchmarks.lists import SEED, Lists, forget
from benchmarks.recording import CALLS
from recsys.engine.labels import label_ids
from recsys.ranking.pointwise import TEMPLATE
from recsys.recommender.recommender import Recommender
from recsys.utils.intervals import bootstrap

CANDIDATES = 20
AT = "Friday 21:00"


class TimedEngine:
    """An engine that sums the seconds of its calls and keeps the last prompts."""

    def __init__(self, engine: Any) -> None:
        self.inner = engine
        self.seconds = 0.0
        self.prompts: Sequence[Any] = ()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        return partial(self._timed, attribute) if name in CALLS else attribute

    def _timed(self, call: Callable[..., Any], prompts: Sequence[Any], *args: Any, **options: Any) -> Any:
        self.prompts = prompts
        begun = time.perf_counter()
        results = call(prompts, *args, **options)
        self.seconds += time.perf_counter() - begun
        return results if isinstance(results, list) else self._timed_stream(results)

    def _timed_stream(self, answers: Iterator[Any]) -> Iterator[Any]:
        while True:
            begun = time.perf_counter()
            try:
                answer = next(answers)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - begun
            yield answer


def batch(recommender: Recommender, engine: TimedEngine, users: int, at_once: int) -> dict[str, Any]:
    """Measure prompt tokens per second: ours, bare vLLM's, and their ratio."""
    from vllm import SamplingParams

    lists, ranker = Lists(recommender), recommender.ranker("pointwise", engine)
    ids = list(label_ids(engine.tokenizer, recommender.prompts.get(TEMPLATE).meta.labels))
    sampling = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=ids, detokenize=False)
    llm = engine.inner.llm

    def ours(requests: Sequence[Any]) -> float:
        begun = time.perf_counter()
        ranker.rank_many(requests)
        return time.perf_counter() - begun

    def bare(prompts: Sequence[Any]) -> float:
        begun = time.perf_counter()
        llm.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], sampling, use_tqdm=False)
        return time.perf_counter() - begun

    ours([lists.request(case) for case in lists.take(at_once, CANDIDATES)])
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    tokens = []
    for number in track(range(users // at_once), description="batches"):
        requests = [lists.request(case) for case in lists.take(at_once, CANDIDATES)]
        if number % 2 == 0:
            forget(engine.inner)
            seconds["ours"].append(ours(requests))
            prompts = engine.prompts
            forget(engine.inner)
            seconds["bare"].append(bare(prompts))
        else:
            prompts = [ids for request in requests for ids in ranker.render(request).token_ids]
            forget(engine.inner)
            seconds["bare"].append(bare(prompts))
            forget(engine.inner)
            seconds["ours"].append(ours(requests))
        tokens.append(sum(map(len, prompts)))
    ratios = np.divide(seconds["bare"], seconds["ours"])
    return {
        "users": len(tokens) * at_once,
        "at_once": at_once,
        "prompts": CANDIDATES * at_once * len(tokens),
        "prompt_tokens": sum(tokens),
        "tokens_per_s": {name: round(sum(tokens) / sum(times)) for name, times in seconds.items()},
        "of_bare": dataclasses.asdict(bootstrap(ratios.tolist())),
    }


def warm(recommender: Recommender, engine: TimedEngine, users: int) -> dict[str, Any]:
    """Measure seconds of whole requests, and their share outside the engine."""
    ids = sorted(recommender.store.users(recommender.domain.name))
    random.Random(SEED).shuffle(ids)
    whole, outside, stages = [], [], []
    for number, user in enumerate(track(ids[: users + 1], description="warm requests")):
        engine.seconds, begun = 0.0, time.perf_counter()
        answer = recommender.recommend(user, at=AT)
        seconds = time.perf_counter() - begun
        if number:  # the first one warms up
            whole.append(seconds)
            outside.append(1 - engine.seconds / seconds)
            stages.append(answer.timings)
    return {
        "users": users,
        "p50_s": round(float(np.median(whole)), 3),
        "outside": dataclasses.asdict(bootstrap(outside)),
        "outside_p50": round(float(np.median(outside)), 4),
        "stages_p50_s": {
            name: round(float(np.median([timing.get(name, 0.0) for timing in stages])), 3)
            for name in stages[0]
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200, help="of the batch")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--warm", type=int, default=20, help="users of whole requests")
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/throughput.json"))
    options = parser.parse_args()
    pipeline: Any = importlib.import_module("recsys.recommender.recommender")
    open_engine = pipeline.open_engine
    pipeline.open_engine = lambda *args, **more: TimedEngine(open_engine(*args, **more))
    with Recommender.load(options.domain) as recommender:
        engine: Any = recommender.engine()
        result = {
            "model": f"{engine.model} + {engine.adapter}" if engine.adapter else engine.model,
            "title": recommender.domain.title or recommender.domain.name,
            "warm": warm(recommender, engine, options.warm),
            "batch": batch(recommender, engine, options.users, options.at_once),
            "environment": describe(),
        }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
