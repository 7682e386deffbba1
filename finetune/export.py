"""Training examples made beforehand, as token ids: all that a machine with a GPU needs to train.

Examples are made on a CPU, a few dozen a second, of a retriever, a store and a tokenizer; a GPU
trains on hundreds. A folder of them holds no names of people, can be copied to where the GPU
is, and is trained on there:

    python -m finetune.export FOLDER --out RUN

Back here `recsys finetune --out RUN`, with the options that the examples were made with, goes
on where that run ended: it measures, publishes and promotes.
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
from typing import Any

from finetune.model import load_adapter, load_base, make_trainable
from finetune.packing import Packed
from finetune.ranked_lists import ValidationList, figures
from finetune.trainer import PackedExample, TrainingOutcome, Watch, train
from recsys.config import load_settings
from recsys.config.finetuning import FinetuneConfig
from recsys.engine.checkpoints.lora import WEIGHTS
from recsys.engine.checkpoints.weights import model_fingerprint, prepare_model
from recsys.errors import ModelError, RecsysError, RequestError
from recsys.utils.files import write_bytes

RUN = "run.json"
SHARD = 500  # examples a file
_TUPLES = ("packed", "targets", "users", "scores")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A folder of examples: whose run they are of, and what it is validated on."""

    folder: Path
    identity: str
    base: str
    config: FinetuneConfig
    lists: tuple[ValidationList, ...]

    @classmethod
    def read(cls, folder: Path) -> Recorded:
        """Raises RequestError for a folder that is not whole."""
        try:
            told = json.loads((folder / RUN).read_text(encoding="utf-8"))
            config = FinetuneConfig.model_validate(told["config"])
            lists = tuple(map(_list, told["lists"]))
            found = cls(folder, told["identity"], told["base"], config, lists)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(
                f"{folder} holds no training examples that can be read: {error}",
                hint="make them with recsys finetune --export-examples",
            ) from error
        if missing := [path for path in shards(folder, config) if not path.exists()]:
            raise RequestError(
                f"{missing[0]} is missing",
                hint="recsys finetune --export-examples goes on where it was stopped",
            )
        return found

    def packed_example(self, number: int) -> PackedExample:
        """Example `number`, as `FinetuneJob.packed_example` gave it. Raises RequestError for a damaged file."""
        return _shard(shards(self.folder, self.config)[number // SHARD])[number % SHARD]


def shards(folder: Path, config: FinetuneConfig) -> list[Path]:
    """The files of all examples of a run."""
    return [folder / f"{number:05}.jsonl.xz" for number in range(-(-config.steps * config.batch // SHARD))]


def write_shard(packed_example: Callable[[int], PackedExample], path: Path, total: int) -> None:
    """The examples of one file, one JSON object a line. Raises OSError."""
    begin = int(path.name.partition(".")[0]) * SHARD
    packed_examples = [packed_example(number) for number in range(begin, min(begin + SHARD, total))]
    lines = [
        json.dumps(one._asdict() | {"packed": dataclasses.asdict(one.packed)}) for one in packed_examples
    ]
    write_bytes(path, lzma.compress("\n".join(lines).encode()))


def write_run(
    folder: Path,
    identity: str,
    base: str,
    config: FinetuneConfig,
    lists: list[ValidationList],
    start: Path | None,
) -> None:
    """What the examples belong to, and the weights to begin with. Raises RequestError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["identity"] != identity:
        raise RequestError(
            f"{folder} holds examples of other options or data", hint="give another folder, or delete it"
        )
    if start:
        shutil.copyfile(start / WEIGHTS, folder / WEIGHTS)
    nameless = [dataclasses.asdict(one) | {"users": ()} for one in lists]
    told = {"identity": identity, "base": base, "config": config.model_dump(mode="json"), "lists": nameless}
    write_bytes(path, json.dumps(told).encode())


@lru_cache(maxsize=2)
def _shard(path: Path) -> list[PackedExample]:
    try:
        lines = lzma.decompress(path.read_bytes()).decode().splitlines()
        return [
            PackedExample(_packed(row["packed"]), row["target"], tuple(row["prior"]))
            for row in map(json.loads, lines)
        ]
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path} cannot be read: {error}",
            hint="delete it and make it again with recsys finetune --export-examples",
        ) from error


def _list(row: dict[str, Any]) -> ValidationList:
    rows = row | {"packed": map(_packed, row["packed"]), "scores": map(tuple, row["scores"])}
    return ValidationList(**rows | {name: tuple(rows[name]) for name in _TUPLES})


def _packed(row: Mapping[str, Any]) -> Packed:
    return Packed(tuple(row["ids"]), tuple(row["tails"]), tuple(map(tuple, row["labels"])), row["objective"])


def train_on(
    recorded: Recorded, model: Path | str, out: Path, watch: Watch | None = None, *, compiled: bool = False
) -> TrainingOutcome:
    """Train on recorded examples, with checkpoints in `out`. Raises ModelError for another base model."""
    if model_fingerprint(model) != recorded.base:
        raise ModelError(
            f"the examples are of the model {recorded.base}, {model} is {model_fingerprint(model)}",
            hint="set WHYREC_MODEL to the one they were made for",
        )
    module = make_trainable(load_base(model, recorded.config), recorded.config)
    if recorded.config.start:
        load_adapter(module, recorded.folder / WEIGHTS, recorded.config.start)
    return train(
        module,
        recorded.config,
        recorded.packed_example,
        lambda log_odds: figures(recorded.lists, log_odds),
        out,
        identity=recorded.identity,
        watch=watch,
        compiled=compiled,
    )


def _tell(step: int, line: Mapping[str, float]) -> None:
    if "score" in line or step % 10 == 0:
        print(json.dumps({name: round(value, 4) for name, value in line.items()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what recsys finetune --export-examples wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints")
    options = parser.parse_args()
    try:
        settings = load_settings()
        recorded = Recorded.read(options.folder)
        train_on(recorded, prepare_model(settings), options.out, _tell, compiled=settings.compile)
    except RecsysError as error:
        sys.exit(f"{error}\n{error.hint}")


if __name__ == "__main__":
    main()
