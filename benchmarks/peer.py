"""The time of one ranking here and by rank_llm: same model, candidates and cores.

    pip install --target PEER --no-deps rank_llm==0.25.7 ftfy dacite wcwidth
    python -m benchmarks.peer --peer PEER --users 24 --rounds 2

Each user's target is among 19 sampled items. Sides take turns, each in a process of its own with
its defaults: rank_llm lets vLLM compile the model, which is a setting here (`WHYREC_COMPILE`), so
both are measured; so is int8 (`WHYREC_QUANTIZATION`), another setting that saves time. rank_llm's
"list" generates the order of all passages, "first token" reads it off the probabilities of the
first letter. Both use the base model: only time is compared. rank_llm imports T5 code that current
transformers no longer has; a stub replaces it, as it is never called.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import describe, write_json
from benchmarks.lists import Lists
from recsys.engine.checkpoints.weights import prepare_model
from recsys.engine.vllm_local import prepare_cpu
from recsys.knowledge.typed_values import with_attributes
from recsys.ranking import RankRequest
from recsys.recommender.recommender import Recommender
from recsys.types import Item

SIDES: dict[str, dict[str, str]] = {
    "whyrec": {"WHYREC_COMPILE": "0"},
    "whyrec compiled": {"WHYREC_COMPILE": "1"},
    "whyrec int8": {"WHYREC_COMPILE": "0", "WHYREC_QUANTIZATION": "int8"},
    "rank_llm": {},
}
"""Environment variables of each side."""
PEER = "rank_llm"
CANDIDATES = 20
AT_ONCE = 16
WARM_UP = 2
Rank = Callable[[Sequence[RankRequest]], object]


def ours(recommender: Recommender) -> dict[str, Rank]:
    """Return our ways to rank several lists at once, by name."""
    engine = recommender.engine()
    return {
        name: recommender.ranker(strategy, engine).rank_many
        for name, strategy in {"letters": "listwise", "pointwise": "pointwise"}.items()
    }


def theirs(recommender: Recommender, folder: str) -> dict[str, Rank]:
    """Return the ways of rank_llm, both on one engine."""
    sys.path.insert(0, folder)
    unused = types.ModuleType("rank_llm.rerank.listwise.lit5.model")
    vars(unused).update(FiD=object, FiDCrossAttentionScore=object)
    sys.modules[unused.__name__] = unused
    prepare_cpu()
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "2"
    import rank_llm.rerank.listwise.rank_listwise_os_llm as module  # type: ignore[import-not-found]
    from rank_llm.data import Candidate, Query, Request  # type: ignore[import-not-found]

    module.VllmHandler = functools.cache(module.VllmHandler)
    model = str(prepare_model(recommender.settings))

    def convert(number: int, request: RankRequest) -> Any:
        def describe(item: Item) -> str:
            return _describe(with_attributes(item, request.attributes))

        liked = "; ".join(describe(entry.item) for entry in request.history if entry.liked)
        candidates = [
            Candidate(docid=candidate.item.id, score=0.0, doc={"text": describe(candidate.item)})
            for candidate in request.candidates
        ]
        query = f"a {recommender.domain.noun} for a person who liked {liked}"
        return Request(Query(text=query, qid=str(number)), candidates)

    def way(**options: bool) -> Rank:
        reranker = module.RankListwiseOSLLM(model=model, context_size=2048, window_size=CANDIDATES, **options)
        return lambda requests: reranker.rerank_batch(
            [convert(number, request) for number, request in enumerate(requests)], rank_end=CANDIDATES
        )

    return {"list": way(), "first token": way(use_logits=True, use_alpha=True)}


def _describe(item: Item) -> str:
    return f"{item.name} [{', '.join(value for values in item.attributes.values() for value in values)}]"


def worker(side: str, peer: str, users: int) -> None:
    """Print the seconds of every list, ranked one at a time and several at once."""
    with Recommender.load("movies") as recommender:
        lists = Lists(recommender)
        ways = theirs(recommender, peer) if side == PEER else ours(recommender)
        results = {}
        for name, rank in ways.items():
            for case in lists.take(WARM_UP, CANDIDATES):
                rank([lists.request(case)])
            seconds = [
                _seconds(rank, [lists.request(case)]) for case in lists.take(users, CANDIDATES)
            ]  # users that no way ranked for before
            at_once = _seconds(rank, [lists.request(case) for case in lists.take(AT_ONCE, CANDIDATES)])
            results[name] = {"seconds": seconds, "at_once_s": at_once}
    print("\n" + json.dumps(results), flush=True)
    # rank_llm leaves vLLM running, and Python would wait for it.
    for process in multiprocessing.active_children():
        process.kill()


def _seconds(rank: Rank, requests: Sequence[RankRequest]) -> float:
    begun = time.perf_counter()
    rank(requests)
    return time.perf_counter() - begun


def _run(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The results of each side in every round."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side, environment in SIDES.items():
            print(f"round {number + 1}: {side}", flush=True)
            arguments = ["--worker", side, "--peer", options.peer, "--users", str(options.users)]
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.peer", *arguments],
                env=os.environ | {"WHYREC_ADAPTER": "none"} | environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if process.returncode:
                raise SystemExit(f"{side} failed:\n{process.stderr[-3000:]}")
            runs[side].append(json.loads(process.stdout.strip().splitlines()[-1]))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, metavar="FOLDER", help="where rank_llm was installed")
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--worker", choices=list(SIDES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peer.json"))
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.peer, options.users)
        return
    ways = {
        f"{side}, {name}": {
            "p50_s": round(float(np.median([run[name]["seconds"] for run in runs])), 4),
            "p95_s": round(float(np.percentile([run[name]["seconds"] for run in runs], 95)), 4),
            "rounds_p50_s": [round(statistics.median(run[name]["seconds"]), 4) for run in runs],
            f"{AT_ONCE}_at_once_s": round(statistics.median(run[name]["at_once_s"] for run in runs), 3),
        }
        for side, runs in _run(options).items()
        for name in runs[0]
    }
    counts = f"--users {options.users} --rounds {options.rounds}"
    command = {"command": f"python -m benchmarks.peer --peer PEER {counts}"}
    write_json(
        options.out,
        {
            "users": options.users,
            "rounds": options.rounds,
            "at_once": AT_ONCE,
            "ways": ways,
            "environment": describe() | command,
        },
    )


if __name__ == "__main__":
    main()
