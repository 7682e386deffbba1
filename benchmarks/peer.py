"""The time of one ranking here and by rank_llm, the reranker that peers use: same model, candidates and cores.

    pip install --target PEER --no-deps rank_llm==0.25.7 ftfy dacite wcwidth
    python -m benchmarks.peer --peer PEER --users 24 --rounds 2

Each user's target is among 19 sampled items. Sides run in turn, each in a process of its own, as they
come: rank_llm lets vLLM compile the model, here that is a setting (`WHYREC_COMPILE`), so both ways are
measured; so is the other setting that saves time here, int8 (`WHYREC_QUANTIZATION`). rank_llm's "list" generates the order of all passages, "first token" reads it off the first
letter's probabilities. The untuned model answers both: only time is compared. rank_llm
imports T5 code that today's transformers no longer has; what is never called here is left out.
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
from recsys.ranking import RankRequest
from recsys.recommender.recommender import Recommender
from recsys.types import Item

SIDES: dict[str, dict[str, str]] = {
    "whyrec": {"WHYREC_COMPILE": "0"},
    "whyrec compiled": {"WHYREC_COMPILE": "1"},
    "whyrec int8": {"WHYREC_COMPILE": "0", "WHYREC_QUANTIZATION": "int8"},
    "rank_llm": {},
}
"""What the settings of each side are, by environment."""
PEER = "rank_llm"
CANDIDATES = 20
AT_ONCE = 16
WARM_UP = 2
Rank = Callable[[Sequence[RankRequest]], object]


def ours(recommender: Recommender) -> dict[str, Rank]:
    """Ways to rank several lists at once, by name."""
    engine = recommender.engine()
    return {
        name: recommender.ranker(strategy, engine).rank_many
        for name, strategy in {"letters": "listwise", "pointwise": "pointwise"}.items()
    }


def theirs(recommender: Recommender, folder: str) -> dict[str, Rank]:
    """The same of rank_llm, both on one engine."""
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

    def request(number: int, asked: RankRequest) -> Any:
        liked = "; ".join(_told(entry.item) for entry in asked.history if entry.liked)
        found = [
            Candidate(docid=one.item.id, score=0.0, doc={"text": _told(one.item)}) for one in asked.candidates
        ]
        query = f"a {recommender.domain.noun} for a person who liked {liked}"
        return Request(Query(text=query, qid=str(number)), found)

    def way(**options: bool) -> Rank:
        reranker = module.RankListwiseOSLLM(model=model, context_size=2048, window_size=CANDIDATES, **options)
        return lambda asked: reranker.rerank_batch(
            [request(number, one) for number, one in enumerate(asked)], rank_end=CANDIDATES
        )

    return {"list": way(), "first token": way(use_logits=True, use_alpha=True)}


def _told(item: Item) -> str:
    return f"{item.name} [{', '.join(value for values in item.attributes.values() for value in values)}]"


def worker(side: str, peer: str, users: int) -> None:
    """Seconds of every list, asked one at a time and several at once."""
    with Recommender.load("movies") as recommender:
        lists = Lists(recommender)
        ways = theirs(recommender, peer) if side == PEER else ours(recommender)
        found = {}
        for name, rank in ways.items():
            for case in lists.take(WARM_UP, CANDIDATES):
                rank([lists.request(case)])
            seconds = [
                _seconds(rank, [lists.request(case)]) for case in lists.take(users, CANDIDATES)
            ]  # of people that no way met before
            many = _seconds(rank, [lists.request(case) for case in lists.take(AT_ONCE, CANDIDATES)])
            found[name] = {"seconds": seconds, "at_once_s": many}
    print("\n" + json.dumps(found), flush=True)
    # rank_llm leaves vLLM running, and Python would wait for it.
    for process in multiprocessing.active_children():
        process.kill()


def _seconds(rank: Rank, asked: Sequence[RankRequest]) -> float:
    begun = time.perf_counter()
    rank(asked)
    return time.perf_counter() - begun


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
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side, own in SIDES.items():
            print(f"round {number + 1}: {side}", flush=True)
            arguments = ["--worker", side, "--peer", options.peer, "--users", str(options.users)]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.peer", *arguments],
                env=os.environ | {"WHYREC_ADAPTER": "none"} | own,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
            runs[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
    found = {
        f"{side}, {name}": {
            "p50_s": round(float(np.median([run[name]["seconds"] for run in those])), 4),
            "p95_s": round(float(np.percentile([run[name]["seconds"] for run in those], 95)), 4),
            "rounds_p50_s": [round(statistics.median(run[name]["seconds"]), 4) for run in those],
            f"{AT_ONCE}_at_once_s": round(statistics.median(run[name]["at_once_s"] for run in those), 3),
        }
        for side, those in runs.items()
        for name in those[0]
    }
    environment = describe()
    environment["command"] = (
        f"python -m benchmarks.peer --peer PEER --users {options.users} --rounds {options.rounds}"
    )
    write_json(
        options.out,
        {
            "users": options.users,
            "rounds": options.rounds,
            "at_once": AT_ONCE,
            "ways": found,
            "environment": environment,
        },
    )


if __name__ == "__main__":
    main()
