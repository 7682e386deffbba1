"""Examples exported by one machine and trained on by another."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune import export
from finetune.export import ExportedExamples, export_examples, shard_paths, train_on_examples
from finetune.model import load_base, make_trainable
from finetune.trainer import read_curve
from recsys.config import Settings, load_settings
from recsys.engine.adapters import list_adapters
from recsys.errors import ModelError, RequestError
from tests.finetune.world import USERS, finetune_job, write_model

Command = Callable[..., int]
QUICK = ("--set", "steps=3", "--set", "validation=2", "--set", "final=3", "--set", "micro_batch_size=2")


@pytest.fixture(scope="module")
def ready(shop: Path, shared: Settings) -> Iterator[Any]:
    with finetune_job(shop, shared, steps=3, batch=4, micro_batch_size=2, evaluate_every=3) as job:
        yield job


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "SHARD", 5)


@pytest.fixture
def folder(ready: Any, tmp_path: Path, small_shards: None) -> Path:
    export_examples(ready, tmp_path / "examples")
    return tmp_path / "examples"


def test_examples_are_read_as_they_were_built(ready: Any, folder: Path) -> None:
    exported = ExportedExamples.read(folder)
    assert [path.name for path in shard_paths(folder, exported.config)] == [
        "00000.jsonl.xz",
        "00001.jsonl.xz",
        "00002.jsonl.xz",
    ]
    assert [exported.packed_example(number) for number in range(12)] == [
        ready.packed_example(number) for number in range(12)
    ]
    for read, built in zip(exported.lists, ready.validation_lists, strict=True):
        assert (read.name, read.packed, read.targets) == (built.name, built.packed, built.targets)
        assert (read.scores, read.prior) == (built.scores, built.prior)


def test_no_user_id_is_exported(ready: Any, folder: Path) -> None:
    text = (folder / export.RUN).read_text() + "".join(
        lzma.decompress(path.read_bytes()).decode() for path in folder.glob("*.xz")
    )
    assert not [f"u{user:02}" for user in range(USERS) if f"u{user:02}" in text]
    assert str(ready.settings.data_dir) not in text


def test_training_on_an_export_gives_the_same_run(
    ready: Any, folder: Path, tiny: Path, tmp_path: Path
) -> None:
    model = make_trainable(load_base(tiny, ready.domain.finetune), ready.domain.finetune)
    here = ready.train(model, tmp_path / "here")
    there = train_on_examples(ExportedExamples.read(folder), tiny, tmp_path / "there")
    assert read_curve(tmp_path / "there") == read_curve(tmp_path / "here")
    assert (there.best, there.first, there.tokens) == (here.best, here.first, here.tokens)


def test_an_export_continues_where_it_was_stopped(ready: Any, folder: Path) -> None:
    first, second, third = shard_paths(folder, ready.domain.finetune)
    kept, whole = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    with pytest.raises(RequestError, match=r"00001\.jsonl\.xz is missing") as caught:
        ExportedExamples.read(folder)
    assert "it continues where it was stopped" in caught.value.hint
    export_examples(ready, folder)
    assert second.read_bytes() == whole
    assert first.stat().st_mtime_ns == kept
    assert third.exists()


def test_examples_of_another_run_are_refused_and_stay(ready: Any, shop: Path, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with (
        finetune_job(shop, ready.settings, steps=2, batch=4) as other,
        pytest.raises(RequestError, match="other options or data"),
    ):
        export_examples(other, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"no xz", lzma.compress(b'{"packed": 3}')], ids=str)
def test_a_damaged_file_is_named(content: bytes, folder: Path) -> None:
    exported = ExportedExamples.read(folder)
    path = shard_paths(folder, exported.config)[1]
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"00001\.jsonl\.xz") as caught:
        exported.packed_example(5)
    assert "--export-examples" in caught.value.hint


@pytest.mark.parametrize("content", ["", "{}", '{"identity": "x"}', "[]"])
def test_a_folder_without_a_run_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / export.RUN).write_text(content)
    with pytest.raises(RequestError, match="no readable training examples"):
        ExportedExamples.read(tmp_path)


def test_another_base_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="the examples are of the model"):
        train_on_examples(ExportedExamples.read(folder), other, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("films")
def test_examples_are_exported_here_trained_on_there_and_published_here(
    command: Command,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("--export-examples", tmp_path / "examples", *QUICK) == 0
    assert "python -m finetune.export" in capsys.readouterr().out
    assert list_adapters(load_settings(), "films") == []
    # A process that has neither FAISS nor the store's library nor the data.
    absent = ("faiss", "sqlalchemy", "vllm", "sentence_transformers")
    without = f"import sys; sys.modules.update(dict.fromkeys({absent}))"
    runs = "import runpy; runpy.run_module('finetune.export', run_name='__main__', alter_sys=True)"
    process = subprocess.run(
        [sys.executable, "-c", f"{without}; {runs}", "examples", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "WHYREC_MODEL": str(tiny)},
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1])["score"] == read_curve(tmp_path / "run")[-1]["score"]

    def never(_job: Any, _number: int) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("finetune.job.FinetuneJob.packed_example", never)
    assert command("--out", tmp_path / "run", *QUICK) == 0
    (adapter,) = list_adapters(load_settings(), "films")
    assert adapter.published().options["micro_batch_size"] == 2


@pytest.mark.usefixtures("films")
def test_the_weights_of_the_starting_adapter_are_exported(
    command: Command, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "one", "--json", *QUICK, "--set", "learning_rate=0.05") == 0
    first = json.loads(capsys.readouterr().out)["adapter"]
    ended = read_curve(tmp_path / "one")[-1]
    options = (*QUICK, "--set", f"start={first}")
    assert command("--export-examples", tmp_path / "examples", *options) == 0
    train_on_examples(ExportedExamples.read(tmp_path / "examples"), tiny, tmp_path / "two")
    begun = read_curve(tmp_path / "two")[0]
    assert {name: begun[name] for name in begun if "ndcg" in name} == pytest.approx(
        {name: ended[name] for name in ended if "ndcg" in name}, abs=0.02
    )


@pytest.mark.usefixtures("films")
def test_a_full_disk_is_an_error_with_a_hint(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_shard", full)
    assert command("--export-examples", tmp_path / "examples", *QUICK) == 1
    text = capsys.readouterr().err
    assert "No space left" in text
    assert "the same command continues" in text
