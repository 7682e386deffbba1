"""Candidates trained per second: packed prompts here against TRL's SFTTrainer, one candidate a sequence.

    pip install --no-deps trl
    python -m benchmarks.finetune_speed --out benchmarks/results/finetune_speed.json

Same model, LoRA, machine and examples (of the domain's own recipe). Each side runs in a process
of its own, in turn, so that the machine's moods hit both; the first step of each is not counted.
"trl" is SFTTrainer as it comes; "trl, fp32" is without its gradient checkpointing and bf16.
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
from typing import Any

from benchmarks.environment import describe, write_json

SIDES = ("ours", "trl", "trl, fp32")


def prepared() -> Any:
    """The domain made ready, as `recsys finetune` does it."""
    from finetune.job import FinetuneJob
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from retrieval import SentenceEmbedder

    domain, settings = load_domain("movies"), load_settings()
    store = Store(settings.database_url)
    ensure_imported(domain, store)
    return FinetuneJob(domain, store, settings, SentenceEmbedder(settings.embedder))


def ours(steps: int) -> tuple[list[float], int]:
    """Seconds of each step, and candidates per step."""
    from finetune.model import load_base, make_trainable
    from finetune.trainer import train

    tuning = prepared()
    config = tuning.domain.finetune.model_copy(update={"steps": steps, "evaluate_every": steps})
    model = make_trainable(load_base(tuning.model, config), config)
    moments: list[float] = []

    def watch(_step: int, _line: Mapping[str, float]) -> None:
        moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            config,
            tuning.packed_example,
            lambda _score: {"score": 0.0},
            Path(folder),
            identity="benchmark",
            watch=watch,
        )
    # The last step writes a checkpoint too: left out, as TRL writes none.
    steps_s = [b - a for a, b in pairwise(moments[:-1])]
    return steps_s, config.batch * config.examples.candidates


def trl(steps: int, *, plain: bool) -> tuple[list[float], int]:
    """The same candidates, each a prompt of its own with the completion Yes or No."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    tuning = prepared()
    config = tuning.domain.finetune
    rows = []
    for number in range(1000):
        example = tuning.maker.example(number)
        for place, text in enumerate(tuning.render(example, "pointwise").texts):
            rows.append({"prompt": text, "completion": "Yes" if place == example.target else "No"})
        if len(rows) >= steps * 8:
            break
    moments: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"gradient_checkpointing": False, "bf16": False} if plain else {}
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
            model=AutoModelForCausalLM.from_pretrained(tuning.model, dtype="float32"),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(tuning.model),
            peft_config=LoraConfig(
                r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Clock()],
        )
        trainer.train()
    return [b - a for a, b in pairwise(moments)], 8


def worker(side: str, steps: int) -> None:
    seconds, candidates = ours(steps) if side == "ours" else trl(steps, plain=side != "trl")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"rate": candidates / statistics.median(seconds), "peak_gib": round(peak, 2)}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--worker", choices=SIDES)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/finetune_speed.json"))
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.steps)
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            print(f"round {number + 1}: {side}", flush=True)
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.finetune_speed",
                    "--worker",
                    side,
                    "--steps",
                    str(options.steps),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
            found[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
    rates = {side: [one["rate"] for one in runs] for side, runs in found.items()}
    write_json(
        options.out,
        {
            "environment": describe(),
            "candidates_per_second": {
                side: {
                    "median": round(statistics.median(those), 3),
                    "low": round(min(those), 3),
                    "high": round(max(those), 3),
                }
                for side, those in rates.items()
            },
            "peak_gib": {side: max(one["peak_gib"] for one in runs) for side, runs in found.items()},
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
