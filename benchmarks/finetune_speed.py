"""Candidates trained per second: packed prompts against TRL's SFTTrainer.

    pip install --no-deps trl
    python -m benchmarks.finetune_speed --out benchmarks/results/finetune_speed.json

Model, LoRA, machine and examples (with the domain's options) are the same. Each side runs in its own
process, in turns, so that changes in the machine's load affect both; the first step of each is not
counted. "trl" is SFTTrainer with its defaults; "trl, fp32" is without gradient checkpointing and bf16.
Peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.environment import describe, write_json

if TYPE_CHECKING:
    from finetune.job import FinetuneJob

SIDES = ("ours", "trl", "trl, fp32")


def load_job() -> FinetuneJob:
    """Prepare the domain as `recsys finetune` does."""
    from finetune.job import FinetuneJob
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from retrieval import SentenceEmbedder

    domain, settings = load_domain("movies"), load_settings()
    store = Store(settings.database_url)
    ensure_imported(domain, store)
    return FinetuneJob(domain, store, settings, SentenceEmbedder(settings.embedder))


def time_ours(steps: int) -> tuple[list[float], int]:
    """Train with packed prompts; return the seconds of steps, and candidates per step."""
    from finetune.model import load_base, make_trainable
    from finetune.trainer import train

    job = load_job()
    config = job.domain.finetune.model_copy(update={"steps": steps, "evaluate_every": steps})
    model = make_trainable(load_base(job.base_model, config), config)
    moments: list[float] = []

    def on_step(_step: int, _line: Mapping[str, float]) -> None:
        moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            config,
            job.packed_example,
            lambda _score: {"score": 0.0},
            Path(folder),
            identity="benchmark",
            on_step=on_step,
        )
    # The last step also writes a checkpoint, which TRL does not: left out.
    seconds = [b - a for a, b in pairwise(moments[:-1])]
    return seconds, config.batch * config.examples.candidates


def time_trl(steps: int, *, fp32: bool) -> tuple[list[float], int]:
    """Train with TRL on the same candidates, each a prompt answered by Yes or No."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    job = load_job()
    config = job.domain.finetune
    rows = []
    for number in range(1000):
        example = job.train_examples.example(number)
        for index, text in enumerate(job.render(example, "pointwise").texts):
            rows.append({"prompt": text, "completion": "Yes" if index == example.target else "No"})
        if len(rows) >= steps * 8:
            break
    moments: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"gradient_checkpointing": False, "bf16": False} if fp32 else {}
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=True,
            **options,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(job.base_model, dtype="float32"),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(job.base_model),
            peft_config=LoraConfig(
                r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Clock()],
        )
        trainer.train()
    return [b - a for a, b in pairwise(moments)], 8


def run_side(side: str, steps: int) -> None:
    """Measure one side in this process; print its rate and peak memory as JSON."""
    seconds, candidates = time_ours(steps) if side == "ours" else time_trl(steps, fp32=side != "trl")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"rate": candidates / statistics.median(seconds), "peak_gib": round(peak, 2)}))


def main() -> None:
    """Run every side in turns and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--worker", choices=SIDES)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/finetune_speed.json"))
    options = parser.parse_args()
    if options.worker:
        run_side(options.worker, options.steps)
        return
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            print(f"round {number + 1}: {side}", flush=True)
            arguments = ("--worker", side, "--steps", str(options.steps))
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.finetune_speed", *arguments],
                capture_output=True,
                text=True,
                check=False,
            )
            if process.returncode:
                raise SystemExit(f"{side} failed:\n{process.stderr[-3000:]}")
            runs[side].append(json.loads(process.stdout.strip().splitlines()[-1]))
    rates = {side: [run["rate"] for run in of_side] for side, of_side in runs.items()}
    write_json(
        options.out,
        {
            "environment": describe(),
            "candidates_per_second": {
                side: {
                    "median": round(statistics.median(of_side), 3),
                    "low": round(min(of_side), 3),
                    "high": round(max(of_side), 3),
                }
                for side, of_side in rates.items()
            },
            "peak_gib": {side: max(run["peak_gib"] for run in of_side) for side, of_side in runs.items()},
            "ratio": {
                side: round(
                    statistics.median([a / b for a, b in zip(rates["ours"], rates[side], strict=True)]), 2
                )
                for side in SIDES[1:]
            },
        },
    )


if __name__ == "__main__":
    main()
