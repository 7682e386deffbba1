"""`recsys finetune` on a shop of CSV files and a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import publish
from finetune.model import load_base, make_trainable
from finetune.trainer import read_curve
from finetune.warm_start import load_starting_weights
from recsys.config import PACKAGED_MODEL, Settings, load_domain, load_settings
from recsys.config.domain import shipped_domains
from recsys.engine.adapters import default_adapter, find_adapter, list_adapters, promote
from recsys.engine.checkpoints.weights import prepare_model
from tests.fakes import DOMAIN
from tests.finetune.world import SMALL, finetune_job, write_model, write_shop

Command = Callable[..., int]
QUICK = ("--set", "steps=2", "--set", "validation=2", "--set", "final=3")


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- dry runs -----------------------------------------------------------------------


@pytest.mark.usefixtures("films")
def test_a_dry_run_shows_examples_and_trains_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--dry-run") == 0
    output = capsys.readouterr().out
    assert output.count("[target] Will this person enjoy the film") == 10
    assert output.count("[other]") == 30
    for word in ("example 10: ", "label_balance", "tokens", "kinds", "left_out", "Liked: "):
        assert word in output
    assert not (tmp_path / "runs").exists()
    assert list_adapters(load_settings(), "films") == []
    assert command("--dry-run", "--json", "--set", "examples.wish=1", "--set", "examples.hard=0") == 0
    preview = json.loads(capsys.readouterr().out)
    assert preview["label_balance"] == {"yes": 40, "no": 160}
    assert preview["kinds"]["wish"] > 20
    assert "hard" not in preview["kinds"]
    assert len(preview["examples"]) == 10


# --- runs ---------------------------------------------------------------------------


@pytest.mark.usefixtures("films")
def test_a_run_publishes_an_adapter_and_the_next_is_compared_with_it(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "one", *QUICK) == 0
    output = capsys.readouterr().out
    settings = load_settings()
    (first,) = list_adapters(settings, "films")
    assert first.ref in output
    assert ("promoted, served" in output) != (
        "kept, not promoted: it is not clearly better than base" in output
    )
    manifest = first.published()
    assert manifest.base_model == settings.model
    assert manifest.template == "rank/pointwise"
    assert manifest.options["steps"] == 2
    assert manifest.options["facts"] == ["match", "popularity", "with"]
    assert manifest.comparison is not None
    assert manifest.comparison.incumbent == "base"
    assert manifest.metrics["ndcg@10 hard"]["n"] == 3
    assert "--set steps=2" in manifest.command
    assert {"report.html", "training.json"} <= set(manifest.files)
    page = (first.folder / "report.html").read_text()
    assert "Fine-tuning films" in page
    training = json.loads((first.folder / "training.json").read_text())
    assert [line["step"] for line in training["curve"]] == [0, 1, 2]
    if default_adapter("films", settings) is None:
        promote(first.ref, settings, force=True)

    before = files(first.folder)
    assert command("--out", tmp_path / "two", "--json", "--set", "seed=1", *QUICK) == 0
    result = json.loads(capsys.readouterr().out)
    second = next(a for a in list_adapters(settings, "films") if a.ref == result["adapter"])
    assert second.ref != first.ref
    comparison = second.published().comparison
    assert comparison is not None
    assert comparison.incumbent == first.ref
    assert result["promoted"] == (not result["why_not"])
    assert result["promoted"] or first.ref in result["why_not"][0]
    assert files(first.folder) == before


@pytest.mark.usefixtures("films")
def test_the_incumbent_is_measured_with_its_own_weights(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same run again against itself: no difference in any case."""
    options = ("--json", *QUICK, "--set", "learning_rate=0.05")
    assert command("--out", tmp_path / "one", *options) == 0
    first = json.loads(capsys.readouterr().out)
    if not first["promoted"]:
        promote(first["adapter"], load_settings(), force=True)
    assert command("--out", tmp_path / "one", *options) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["adapter"] == first["adapter"]
    assert again["metrics"] == again["base_metrics"] == first["metrics"]
    assert not again["promoted"]


@pytest.mark.usefixtures("films")
def test_a_run_continues_from_an_adapter(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--json", *QUICK, "--set", "learning_rate=0.05")
    assert command("--out", tmp_path / "one", *options) == 0
    first = json.loads(capsys.readouterr().out)
    ended = read_curve(tmp_path / "one")[-1]
    assert command("--out", tmp_path / "two", *options, "--set", f"start={first['adapter']}") == 0
    begun = read_curve(tmp_path / "two")[0]
    # Published weights are rounded to bfloat16.
    assert begun["score"] == pytest.approx(ended["score"], abs=0.1)
    assert begun != read_curve(tmp_path / "one")[0]
    second = json.loads(capsys.readouterr().out)["adapter"]
    assert second != first["adapter"]


def test_the_shipped_adapter_can_be_continued(shop: Path, shared: Settings) -> None:
    """Its manifest has former names of options."""
    settings = shared.model_copy(update={"model": PACKAGED_MODEL})
    adapter = shipped_domains() / "movies" / "adapter"
    with finetune_job(shop, settings, start=str(adapter), rank=16) as job:
        model = make_trainable(load_base(job.base_model, job.domain.finetune), job.domain.finetune)
        load_starting_weights(model, job)
    assert all(p.any() for name, p in model.named_parameters() if "lora_B" in name)


@pytest.mark.usefixtures("films")
def test_an_adapter_trained_without_all_items_is_never_the_default(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--json", *QUICK, "--set", "learning_rate=0.05", "--set", "examples.held_items=0.2")
    assert command("--out", tmp_path / "one", *options) == 0
    result = json.loads(capsys.readouterr().out)
    assert not result["promoted"]
    assert "it was fine-tuned without 20% of the items" in result["why_not"][-1]
    adapter = find_adapter(result["adapter"], load_settings(), tmp_path / "films")
    assert adapter.published().options["examples"]["held_items"] == 0.2


@pytest.mark.parametrize(
    ("option", "output"),
    [
        ("rank=2", "does not fit this run"),
        ('modules=["q_proj"]', "layers that this run does not train"),
        ("method=full", "does not fit this run"),
        ("examples.reserved=6", "learned from events that this run is validated on"),
        ("examples.held_items=0.2", "learned from items that this run holds out"),
        ("start=films@ffff", "no adapter"),
    ],
)
@pytest.mark.usefixtures("films")
def test_an_adapter_that_a_run_cannot_begin_with_is_refused(
    option: str, output: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "one", "--json", *QUICK) == 0
    first = json.loads(capsys.readouterr().out)["adapter"]
    words = ("--set", f"start={first}", "--set", option)
    assert command("--out", tmp_path / "two", *QUICK, *words) != 0
    error = " ".join(capsys.readouterr().err.split())
    assert output in error
    assert not (tmp_path / "two" / "last").exists()


def test_letters_and_titles_can_be_trained_too(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A domain that ranks by letters is trained and validated by them, and by titles."""
    folder = write_shop(
        tmp_path / "films", toml=DOMAIN + SMALL.replace("[retriever", 'strategy = "listwise"\n[retriever')
    )
    assert load_domain(folder).ranker.strategy == "listwise"
    mixed = (
        "--set",
        "objectives.pointwise=0",
        "--set",
        "objectives.letters=1",
        "--set",
        "objectives.title=1",
    )
    assert command("--out", tmp_path / "one", "--json", *QUICK, *mixed) == 0
    result = json.loads(capsys.readouterr().out)
    (adapter,) = list_adapters(load_settings(), "films")
    manifest = adapter.published()
    assert manifest.template == "rank/listwise"
    assert manifest.objective == {
        "pointwise": 0.0,
        "letters": 0.5,
        "title": 0.5,
        "reason": 0.0,
        "read": 0.0,
        "calibration": 0.05,
    }
    assert 0 < result["metrics"]["ndcg@10"]["value"] <= 1
    assert command("--dry-run") == 0
    assert "Which one will this person enjoy most?" in capsys.readouterr().out


@pytest.mark.usefixtures("films")
def test_reasons_can_be_mixed_in(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "one", "--json", *QUICK, "--set", "objectives.reason=1") == 0
    result = json.loads(capsys.readouterr().out)
    (adapter,) = list_adapters(load_settings(), "films")
    assert adapter.published().objective["reason"] == 0.5
    assert 0 < result["metrics"]["ndcg@10"]["value"] <= 1


@pytest.mark.usefixtures("films")
def test_a_run_that_was_stopped_continues(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from finetune.job import FinetuneJob

    words = ("--out", tmp_path / "one", "--json", "--set", "final=3", "--set", "validation=2")
    packed_example = FinetuneJob.packed_example

    def stop(self: FinetuneJob, number: int) -> Any:
        if number == 6:
            raise KeyboardInterrupt
        return packed_example(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneJob, "packed_example", stop)
        assert command(*words) == 130
    assert list_adapters(load_settings(), "films") == []
    capsys.readouterr()
    assert command(*words) == 0
    stopped = json.loads(capsys.readouterr().out)
    assert command("--out", tmp_path / "two", *words[2:]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert stopped["adapter"] == whole["adapter"]
    assert stopped["metrics"] == whole["metrics"]
    assert (tmp_path / "one" / "curve.jsonl").read_text() == (tmp_path / "two" / "curve.jsonl").read_text()


@pytest.mark.usefixtures("films")
def test_a_better_adapter_is_promoted_and_reported(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "gate", lambda *_rest: [])
    monkeypatch.setattr("recsys.engine.adapters.registry.gate", lambda *_rest: [])
    assert command(*QUICK) == 0
    default = default_adapter("films", load_settings())
    assert default is not None
    assert f"{default.ref}: promoted" in " ".join(capsys.readouterr().out.split())
    assert (Path("runs") / "finetune-films" / "curve.jsonl").exists()


@pytest.mark.usefixtures("films")
def test_an_incumbent_of_another_base_model_is_ignored(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "one", *QUICK, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    if not first["promoted"]:
        promote(first["adapter"], load_settings(), force=True)
    monkeypatch.setenv("WHYREC_MODEL", str(write_model(tmp_path / "other", hidden=32)))
    assert command("--out", tmp_path / "two", *QUICK, "--json") == 0
    second = json.loads(capsys.readouterr().out)
    assert not second["promoted"]
    assert second["why_not"] == [f"it was compared with base, but the default now is {first['adapter']}"]


@pytest.mark.usefixtures("films")
@pytest.mark.parametrize("method", ["full", "partial"])
def test_a_whole_model_is_written_as_one_that_can_be_served(
    method: str, command: Command, tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--set", f"method={method}", "--set", "layers=1", "--set", "learning_rate=0.003")
    assert command("--out", tmp_path / "one", *words, *QUICK) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "WHYREC_MODEL" in output
    folder = tmp_path / "one" / "model"
    assert prepare_model(load_settings(model=str(folder))) == folder
    assert (folder / "report.html").exists()
    assert list_adapters(load_settings(), "films") == []
    from safetensors.torch import load_file

    before, after = (load_file(where / "model.safetensors") for where in (tiny, folder))
    assert before.keys() == after.keys()
    if json.loads((folder / "training.json").read_text())["best_step"]:
        changed = {name for name in before if not before[name].equal(after[name])}
        assert "model.layers.1.mlp.up_proj.weight" in changed
        assert any("layers.0" in name or "embed" in name for name in changed) == (method == "full")
