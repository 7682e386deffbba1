"""Does a model learn to read wishes, and does it read better than the dictionary? The validation half.

    python -m benchmarks.read_curve --domain movies --train runs/read-movies
    python -m benchmarks.read_curve --domain movies --measure runs/read-movies
    python -m benchmarks.read_curve --domain shop --measure runs/read-movies

The first fine-tunes the base model on made-up wishes alone and keeps the adapter at some steps. The others
ask the wishes of a domain with each of them and with the untuned model, and add a line for each to
benchmarks/results/read_curve.json. Nothing of the wishes is in the made-up ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.environment import describe, write_json
from finetune.model import load_base, make_trainable
from finetune.read_examples import WISHES, ReadExampleBuilder
from finetune.trainer import PackedExample, train
from recsys.config import load_domain, load_settings
from recsys.config.wishes import ReaderName
from recsys.data.catalog import Catalog
from recsys.data.importers import ensure_imported
from recsys.data.store import Store
from recsys.engine import load_tokenizer
from recsys.engine.checkpoints.merge import merge_adapter
from recsys.engine.checkpoints.weights import prepare_model
from recsys.evaluation.wishes import study
from recsys.prompting.library import PromptLibrary
from recsys.recommender.recommender import Recommender
from recsys.recommender.wishes import linking_reader, model_reader
from recsys.wishes.lexicon import Lexicon
from recsys.wishes.model_reader import ReadingTask

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results" / "read_curve.json"
BATCH = 2  # sequences a step, of `WISHES` wishes each
TIMED = 20  # wishes that are read one after another
PATIENCE_S = 15.0


def train_reader(name: str, folder: Path, at: list[int]) -> None:
    """Fine-tune on made-up wishes of a domain; keep the adapter after each number of wishes in `at`."""
    domain, settings = load_domain(name), load_settings()
    store = Store(settings.database_url)
    ensure_imported(domain, store)
    task = ReadingTask(
        Lexicon(domain, Catalog(store.items(domain.name))), PromptLibrary(domain.prompt_folder)
    )
    base = prepare_model(settings)
    builder = ReadExampleBuilder(task, load_tokenizer(str(base)), settings.max_model_len)
    steps = {max(1, wishes // (BATCH * WISHES)): wishes for wishes in at}
    config = domain.finetune.model_copy(
        update={"steps": max(steps), "batch": BATCH, "learning_rate": 5e-4, "evaluate_every": 10**6}
    )
    model = make_trainable(load_base(base, config), config)
    counter = itertools.count()

    def keep(step: int, line: Mapping[str, float]) -> None:
        print(step, json.dumps(line), flush=True)
        if step in steps:
            model.save_pretrained(folder / f"{steps[step]:06}")

    def example(number: int) -> PackedExample:
        return PackedExample(builder.packed(number), 0)

    folder.mkdir(parents=True, exist_ok=True)
    train(
        model,
        config,
        example,
        lambda _: {"score": float(next(counter))},
        folder / "run",
        identity=f"read/{name}/{at}",
        on_step=keep,
    )


def measure(name: str, folder: Path, part: str) -> list[dict[str, Any]]:
    """Ask the wishes of a domain with each adapter in a folder, and without."""
    cases = study.read_cases(FOLDER / "wishes" / f"{name}.jsonl", part)
    lines: list[dict[str, Any]] = []
    for adapter in (None, *sorted(path for path in folder.iterdir() if path.name.isdigit())):
        settings = load_settings(adapter="none")
        if adapter is not None:
            merged = folder / "merged"
            shutil.rmtree(merged, ignore_errors=True)
            merge_adapter(Path(prepare_model(settings)), adapter, merged)
            settings = load_settings(adapter="none", model=str(merged))
        readers: tuple[ReaderName, ...] = ("model", "both") if adapter else ("dictionary", "model", "both")
        with Recommender.load(name, settings=settings, patience_s=PATIENCE_S) as loaded:
            wishes = int(adapter.name) if adapter else 0
            about = {"domain": name, "wishes": wishes, "trained_on": folder.name, "part": part}
            lines += [about | _line(loaded.with_state(reader=reader), cases) for reader in readers]
    return lines


def _line(recommender: Recommender, cases: list[study.WishCase]) -> dict[str, Any]:
    """Return what one reader comes to."""
    recommender = recommender.pinned()
    words = linking_reader(recommender.domain, recommender.catalog, recommender.retriever)
    name, engine = recommender.wish_reader, recommender.engine
    reader = model_reader(words, recommender.catalog, recommender.prompts, name, engine)
    seconds = []
    for case in cases[: TIMED + 1]:
        begun = perf_counter()
        reader.read(case.wish)
        seconds.append(perf_counter() - begun)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda case: reader.read(case.wish), cases))
    measures = study.summary(study.study(recommender, cases))
    shown = {group: measures[group] for group in measures if group == "all" or group.startswith("language:")}
    line = {"reader": name, "read_p50_s": median(seconds[1:]), "measures": shown}
    figures = {
        key: round(value["value"], 3) for key, value in shown["all"].items() if isinstance(value, dict)
    }
    print(json.dumps({"reader": name, "read_p50_s": line["read_p50_s"], **figures}), flush=True)
    return line


def main() -> None:
    """Train or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", default="movies")
    parser.add_argument("--train", type=Path, help="folder for the adapters")
    parser.add_argument("--at", default="512,1024,2048,4096", help="wishes after which an adapter is kept")
    parser.add_argument("--measure", type=Path, help="folder with adapters")
    parser.add_argument("--part", default="validation", choices=["test", "validation"])
    options = parser.parse_args()
    if options.train:
        train_reader(options.domain, options.train, [int(number) for number in options.at.split(",")])
    if options.measure:
        known = json.loads(RESULTS.read_text("utf-8"))["lines"] if RESULTS.is_file() else []
        lines = measure(options.domain, options.measure, options.part)
        write_json(RESULTS, {"lines": [*known, *lines], "environment": describe()})


if __name__ == "__main__":
    main()
