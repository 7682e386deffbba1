"""A smaller model: speed, memory and NDCG@10 of int8, fp32 and fewer layers against the model as it is served.

    python -m benchmarks.trimming --users 200 --out benchmarks/results/trimming.json

Quality: validation (each user's last event but one), the target among 19 uniformly sampled
items, pointwise, no facts of the retriever. Each variant runs beside a fresh engine of the
default: both rank one user's list in turns before the next user comes, so that the machine's
moods hit both alike, and the differences are paired. Every list is of a user that
the engine has not met. Memory is that of vLLM's own processes after the last list. Removed layers
are the last, or every so manieth; nothing is tuned again after that.
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
"""From the default's checkpoint and settings to a variant's."""


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
    "awq": "WHYREC_MODEL of such a checkpoint, and WHYREC_QUANTIZATION=awq to be sure that it is one",
    "gptq": "int4 by GPTQ: the same with WHYREC_QUANTIZATION=gptq",
}


@dataclass
class Running:
    """An engine of one variant, and what it did."""

    ranker: Ranker
    processes: list[psutil.Process]
    seconds: list[float] = field(default_factory=list)
    orders: list[list[str]] = field(default_factory=list)

    def rank(self, recommender: Recommender, case: splits.Case) -> None:
        begun = time.perf_counter()
        ranking = self.ranker.rank(request_for(recommender, case))
        self.seconds.append(time.perf_counter() - begun)
        self.orders.append([(case.candidates or ())[place] for place in ranking.order()])

    def p50_ms(self) -> float:
        return round(float(np.median(self.seconds)) * 1000, 1)

    def rss_mib(self) -> int:
        """Resident memory of vLLM's processes, with the part of the KV cache that was used."""
        rss: int = sum(process.memory_info().rss for process in self.processes)
        return round(rss / 2**20)


@contextmanager
def running(recommender: Recommender, checkpoint: Path, settings: Settings) -> Iterator[Running]:
    from recsys.engine.vllm_local import VllmEngine

    before = set(multiprocessing.active_children())
    engine: Engine = VllmEngine(checkpoint, settings)
    try:
        own = [psutil.Process(child.pid) for child in set(multiprocessing.active_children()) - before]
        every = {process for one in own for process in (one, *one.children(recursive=True))}
        yield Running(recommender.ranker("pointwise", engine), list(every))
    finally:
        engine.close()


def measure(recommender: Recommender, base: Path, users: int, names: list[str]) -> dict[str, Any]:
    """Per variant its figures, or `failed` with the reason."""
    events = recommender.store.interactions(recommender.domain.name)
    held_out = splits.of_users(splits.leave_one_out(events, "validation"), users + 1, seed=SEED)
    asked, _ = tasks.sampled(held_out, [item.id for item in recommender.catalog], 19, seed=SEED)
    warm_up, *cases = asked.cases
    found: dict[str, Any] = {}
    for name in names:
        what, make = VARIANTS[name]
        try:
            checkpoint, settings = make(base, recommender.settings)
            with (
                running(recommender, base, recommender.settings) as default,
                running(recommender, checkpoint, settings) as variant,
            ):
                figures = _in_turns(recommender, (default, variant), warm_up, cases, name)
        except RecsysError as error:
            print(f"{name} failed: {error}")
            found[name] = {"what": what, "failed": error.message}
            continue
        found.setdefault(DEFAULT, {"what": "as served: adapter merged"} | figures[0] | _size(base))
        found[name] = {"what": what} | figures[1] | _size(checkpoint)
    return found


def _in_turns(
    recommender: Recommender,
    pair: tuple[Running, Running],
    warm_up: splits.Case,
    cases: list[splits.Case],
    name: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of the default and of the variant, both on the same lists."""
    for one in pair:
        one.rank(recommender, warm_up)
        one.seconds.clear()
        one.orders.clear()
    for number, case in enumerate(track(cases, description=name)):
        for one in pair if number % 2 else pair[::-1]:
            one.rank(recommender, case)
    targets = [case.target.item_id for case in cases]
    default, variant = (np.asarray(ranking_metrics(one.orders, targets)[PRIMARY]) for one in pair)
    figures = [
        {
            "p50_ms": one.p50_ms(),
            "rss_mib": one.rss_mib(),
            PRIMARY: dataclasses.asdict(bootstrap(values)),
        }
        for one, values in zip(pair, (default, variant), strict=True)
    ]
    beside = {
        "p50_ratio": round(pair[1].p50_ms() / pair[0].p50_ms(), 3),
        f"{PRIMARY}_minus_default": dataclasses.asdict(bootstrap(variant - default)),
    }
    return figures[0], figures[1] | beside


def _size(checkpoint: Path) -> dict[str, int]:
    return {
        "weights_mib": round(sum(path.stat().st_size for path in checkpoint.glob("*.safetensors")) / 2**20)
    }


def main() -> None:
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
