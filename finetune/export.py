"""Training examples exported as token ids, to train on another machine.

Making examples takes a retriever, a store and a tokenizer, and a CPU makes a few dozen a second; a
GPU trains on hundreds a second. `recsys finetune --export-examples FOLDER` writes them into a folder
without user ids, which can be copied to a machine with a GPU and trained on there:

    python -m finetune.export FOLDER --out RUN

Back here `recsys finetune --out RUN`, with the options that the examples were exported with,
continues where that run ended: it measures, publishes and promotes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import lzma
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.model import load_base, load_lora_weights, make_trainable
from finetune.packing import PackedPrompt
from finetune.ranked_lists import ValidationList, evaluate_lists
from finetune.trainer import PackedExample, StepCallback, TrainingOutcome, train
from finetune.warm_start import starting_adapter
from recsys.config import load_settings
from recsys.config.finetuning import FinetuneConfig
from recsys.engine.checkpoints.lora import WEIGHTS
from recsys.engine.checkpoints.weights import model_fingerprint, prepare_model
from recsys.errors import ModelError, RecsysError, RequestError
from recsys.utils.files import write_bytes

if TYPE_CHECKING:
    from finetune.job import FinetuneJob

RUN = "run.json"
SHARD = 500  # examples a file


def export_examples(job: FinetuneJob, folder: Path) -> None:
    """Write all examples of a run; an export that was stopped continues.

    Raises:
        RequestError: The folder holds the examples of another run.
        ModelError: The folder cannot be written.
    """
    config, progress = job.domain.finetune, job.progress
    try:
        _write_run(job, folder)
        paths = shard_paths(folder, config)
        for number, path in enumerate(paths):
            if progress:
                progress("making examples", number, len(paths))
            if not path.exists():
                write_shard(job.packed_example, path, config.steps * config.batch)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="free some disk space; the same command continues from what was written",
        ) from error


def _write_run(job: FinetuneJob, folder: Path) -> None:
    """Write what the examples belong to, and the weights of the starting adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN
    start = starting_adapter(job)
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["identity"] != job.identity:
        raise RequestError(
            f"{folder} holds examples of other options or data", hint="choose another folder, or delete it"
        )
    if start:
        shutil.copyfile(start.folder / WEIGHTS, folder / WEIGHTS)
    run = {
        "identity": job.identity,
        "base": model_fingerprint(job.base_model),
        "config": job.domain.finetune.model_dump(mode="json"),
        "lists": [dataclasses.asdict(cases) | {"users": ()} for cases in job.validation_lists],
    }
    write_bytes(path, json.dumps(run).encode())


def shard_paths(folder: Path, config: FinetuneConfig) -> list[Path]:
    """Return the files of all examples of a run."""
    return [folder / f"{number:05}.jsonl.xz" for number in range(-(-config.steps * config.batch // SHARD))]


def write_shard(packed_example: Callable[[int], PackedExample], path: Path, total: int) -> None:
    """Write the examples of one file, one JSON object a line.

    Raises:
        OSError: The file cannot be written.
    """
    begin = int(path.name.partition(".")[0]) * SHARD
    examples = [packed_example(number) for number in range(begin, min(begin + SHARD, total))]
    lines = [
        json.dumps(example._asdict() | {"packed": dataclasses.asdict(example.packed)}) for example in examples
    ]
    write_bytes(path, lzma.compress("\n".join(lines).encode()))


@dataclasses.dataclass(frozen=True)
class ExportedExamples:
    """A folder of exported examples."""

    folder: Path
    identity: str  # of the run
    base: str  # fingerprint of the base model
    config: FinetuneConfig
    lists: tuple[ValidationList, ...]

    @classmethod
    def read(cls, folder: Path) -> ExportedExamples:
        """Open a folder; its examples are read when they are needed.

        Raises:
            RequestError: The folder holds no export, or not all of one.
        """
        try:
            run = json.loads((folder / RUN).read_text(encoding="utf-8"))
            config = FinetuneConfig.model_validate(run["config"])
            lists = tuple(map(_parse_list, run["lists"]))
            exported = cls(folder, run["identity"], run["base"], config, lists)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(
                f"{folder} holds no readable training examples: {error}",
                hint="make them with recsys finetune --export-examples",
            ) from error
        if missing := [path for path in shard_paths(folder, config) if not path.exists()]:
            raise RequestError(
                f"{missing[0]} is missing",
                hint="run recsys finetune --export-examples again: it continues where it was stopped",
            )
        return exported

    def packed_example(self, number: int) -> PackedExample:
        """Return example `number`, the same as `FinetuneJob.packed_example`.

        Raises:
            RequestError: Its file is damaged.
        """
        return _read_shard(shard_paths(self.folder, self.config)[number // SHARD])[number % SHARD]


@lru_cache(maxsize=2)
def _read_shard(path: Path) -> list[PackedExample]:
    try:
        lines = lzma.decompress(path.read_bytes()).decode().splitlines()
        return [
            PackedExample(_parse_packed(row["packed"]), row["target"], tuple(row["prior"]))
            for row in map(json.loads, lines)
        ]
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path} cannot be read: {error}",
            hint="delete it; recsys finetune --export-examples writes it again",
        ) from error


def _parse_list(row: dict[str, Any]) -> ValidationList:
    fields = row | {"packed": map(_parse_packed, row["packed"]), "scores": map(tuple, row["scores"])}
    tuples = {name: tuple(fields[name]) for name in ("packed", "targets", "users", "scores")}
    return ValidationList(**fields | tuples)


def _parse_packed(row: Mapping[str, Any]) -> PackedPrompt:
    labels = tuple(map(tuple, row["labels"]))
    return PackedPrompt(tuple(row["ids"]), tuple(row["tails"]), labels, row["objective"])


def train_on_examples(
    exported: ExportedExamples,
    model: Path | str,
    out: Path,
    on_step: StepCallback | None = None,
    *,
    compiled: bool = False,
) -> TrainingOutcome:
    """Train on exported examples, with checkpoints in `out`.

    Raises:
        ModelError: The examples are of another base model.
    """
    if (fingerprint := model_fingerprint(model)) != exported.base:
        raise ModelError(
            f"the examples are of the model {exported.base}, {model} is {fingerprint}",
            hint="set WHYREC_MODEL to the model they were exported for",
        )
    trainable = make_trainable(load_base(model, exported.config), exported.config)
    if exported.config.start:
        load_lora_weights(trainable, exported.folder / WEIGHTS, exported.config.start)
    return train(
        trainable,
        exported.config,
        exported.packed_example,
        lambda log_odds: evaluate_lists(exported.lists, log_odds),
        out,
        identity=exported.identity,
        on_step=on_step,
        compiled=compiled,
    )


def _print_step(step: int, line: Mapping[str, float]) -> None:
    if "score" in line or step % 10 == 0:
        print(json.dumps({name: round(value, 4) for name, value in line.items()}), flush=True)


def main() -> None:
    """Train on exported examples from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what recsys finetune --export-examples wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints")
    options = parser.parse_args()
    try:
        settings = load_settings()
        exported = ExportedExamples.read(options.folder)
        train_on_examples(
            exported, prepare_model(settings), options.out, _print_step, compiled=settings.compile
        )
    except RecsysError as error:
        sys.exit(f"{error}\n{error.hint}")


if __name__ == "__main__":
    main()
