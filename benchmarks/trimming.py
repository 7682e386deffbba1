"""Speed, memory and NDCG@10 of int8, fp32 and fewer layers against the default.

    python -m benchmarks.trimming --users 200 --out benchmarks/results/trimming.json

Quality: validation (each user's last event but one), the target and 19 uniformly sampled items,
pointwise, without the retriever's facts. Each variant runs next to a new engine of the default: both
rank a user's list in turns before the next user follows, so that changes in the machine's load affect
both, and the differences are paired. Every list is of another user, so nothing is in the prefix cache.
Memory is that of vLLM's processes after the last list. Layers are removed at the end or at even
distances, without fine-tuning afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.progress import track

from benchmarks.environment import describe, write_json
from benchmarks.lists import SEED, request_for
from recsys.config import Settings
from recsys.data import splits
from recsys.engine import prepare_checkpoint
from recsys.engine.adapters import resolve_adapter
from recsys.engine.base import Engine
from recsys.engine.checkpoints.trimming import int8_model, without_layers
from recsys.engine.checkpoints.weights import model_folder
from recsys.errors import RecsysError
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol import tasks
from recsys.ranking import Ranker
from recsys.recommender.recommender import Recommender
from recsys.utils.intervals import bootstrap

DEFAULT = "bf16"
Make = Callable[[Path, Settings], tuple[Path, Settings]]
"""From checkpoint and settings of the default to those of a variant."""


def _int8(base: Path, settings: Settings) -> tuple[Path, Settings]:
    return int8_model(base, settings, print), settings


def _fp32(base: Path, settings: Settings) -> tuple[Path, Settings]:
    return base, settings.model_copy(update={"dtype": "float32"})


def _without(*layers: int) -> Make:
    return lambda base, settings: (without_layers(base, layers, settings, print), settings)


VARIANTS: dict[str, tuple[str, Make]] = {
    "int8": ("weights by channel, activations by token", _int8),
    "fp32": ("twice the bytes of bf16", _fp32),
    "last-2": ("without the last 2 of 30 layers", _without(28, 29)),
    "last-6": ("without the last 6", _without(*range(24, 30))),
    "every-10th": ("without 3 layers, spread", _without(9, 18, 27)),
    "every-5th": ("without 6 layers, spread", _without(4, 9, 14, 19, 24, 28)),
}
NOT_RUN = {
    "fp8": "a GPU of compute capability 8.9 or later: WHYREC_QUANTIZATION=fp8, rounded while loading",
    "awq": "WHYREC_MODEL of such a checkpoint, and WHYREC_QUANTIZATION=awq to check that it is one",
    "gptq": "int4 by GPTQ: the same with WHYREC_QUANTIZATION=gptq",
}


@dataclass
class Running:
    """A running engine of one variant, with what it measured."""

    ranker: Ranker
    processes: list[psutil.Process]
    seconds: list[float] = field(default_factory=list)
    orders: list[list[str]] = field(default_factory=list)

    def rank(self, recommender: Recommender, case: splits.Case) -> None:
        start = time.perf_counter()
        ranking = self.ranker.rank(request_for(recommender, case))
        self.seconds.append(time.perf_counter() - start)
        self.orders.append([(case.candidates or ())[index] for index in ranking.order()])

    def p50_ms(self) -> float:
        return round(float(np.median(self.seconds)) * 1000, 1)

    def rss_mib(self) -> int:
        """Return the resident memory of vLLM's processes; unused KV cache does not count."""
        rss: int = sum(process.memory_info().rss for process in self.processes)
        return round(rss / 2**20)


@contextmanager
def running(recommender: Recommender, checkpoint: Path, settings: Settings) -> Iterator[Running]:
    """Start an engine; stop it at the end."""
    from recsys.engine.vllm_local import VllmEngine

    before = set(multiprocessing.active_children())
    engine: Engine = VllmEngine(checkpoint, settings)
    try:
        started = [psutil.Process(child.pid) for child in set(multiprocessing.active_children()) - before]
        processes = {p for parent in started for p in (parent, *parent.children(recursive=True))}
        yield Running(recommender.ranker("pointwise", engine), list(processes))
    finally:
        engine.close()


def measure(recommender: Recommender, base: Path, users: int, names: list[str]) -> dict[str, Any]:
    """Measure the variants; each has its figures, or `failed` with the reason."""
    events = recommender.store.interactions(recommender.domain.name)
    held_out = splits.sample_users(splits.leave_one_out(events, "validation"), users + 1, seed=SEED)
    split, _ = tasks.sampled(held_out, [item.id for item in recommender.catalog], 19, seed=SEED)
    warm_up, *cases = split.cases
    figures: dict[str, Any] = {}
    for name in names:
        what, make = VARIANTS[name]
        try:
            checkpoint, settings = make(base, recommender.settings)
            with (
                running(recommender, base, recommender.settings) as default,
                running(recommender, checkpoint, settings) as variant,
            ):
                pair = _in_turns(recommender, (default, variant), warm_up, cases, name)
        except RecsysError as error:
            print(f"{name} failed: {error}")
            figures[name] = {"what": what, "failed": error.message}
            continue
        figures.setdefault(DEFAULT, {"what": "as served: adapter merged"} | pair[0] | _size(base))
        figures[name] = {"what": what} | pair[1] | _size(checkpoint)
    return figures


def _in_turns(
    recommender: Recommender,
    pair: tuple[Running, Running],
    warm_up: splits.Case,
    cases: list[splits.Case],
    name: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the default and the variant on the same lists."""
    for engine in pair:
        engine.rank(recommender, warm_up)
        engine.seconds.clear()
        engine.orders.clear()
    for number, case in enumerate(track(cases, description=name)):
        for engine in pair if number % 2 else pair[::-1]:
            engine.rank(recommender, case)
    targets = [case.target.item_id for case in cases]
    default, variant = (np.asarray(ranking_metrics(engine.orders, targets)[PRIMARY]) for engine in pair)
    figures = [
        {
            "p50_ms": engine.p50_ms(),
            "rss_mib": engine.rss_mib(),
            PRIMARY: dataclasses.asdict(bootstrap(values)),
        }
        for engine, values in zip(pair, (default, variant), strict=True)
    ]
    against_default = {
        "p50_ratio": round(pair[1].p50_ms() / pair[0].p50_ms(), 3),
        f"{PRIMARY}_minus_default": dataclasses.asdict(bootstrap(variant - default)),
    }
    return figures[0], figures[1] | against_default


def _size(checkpoint: Path) -> dict[str, int]:
    return {
        "weights_mib": round(sum(path.stat().st_size for path in checkpoint.glob("*.safetensors")) / 2**20)
    }


def main() -> None:
    """Measure the chosen variants and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/trimming.json"))
    options = parser.parse_args()
    with Recommender.load(options.domain) as recommender:
        adapter = resolve_adapter(recommender.domain, recommender.settings)
        base, _ = prepare_checkpoint(recommender.settings, adapter, print)
        variants = measure(recommender, model_folder(base), options.users, options.variants)
        result = {
            "protocol": "validation, target + 19 uniformly sampled items, pointwise, NDCG@10",
            "users": options.users,
            "domain": recommender.domain.title or recommender.domain.name,
            "model": recommender.settings.model,
            "adapter": adapter.ref if adapter else None,
            "kv_cache_gb": recommender.settings.kv_cache_gb,
            "variants": variants,
            "not_run": NOT_RUN,
            "environment": describe(),
        }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
