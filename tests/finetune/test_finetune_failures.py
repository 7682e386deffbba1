"""`recsys finetune` where options, data or the machine are not as they should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import publish
from recsys.config import Settings, load_settings
from recsys.engine.adapters import adapters_folder, default_adapter, list_adapters, load_adapter, promote
from tests.fakes import DOMAIN
from tests.finetune.world import SMALL, events, items, write_shop

Command = Callable[..., int]
QUICK = ("--set", "steps=2", "--set", "validation=2", "--set", "final=3")


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(settings: Settings) -> dict[Path, bytes]:
    """Return the adapters of the registry, file by file."""
    return files(adapters_folder(settings, "films"))


@pytest.mark.usefixtures("films")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("speed=3", "no option 'speed'"),
        ("together=32", "it is called micro_batch_size now"),
        ("examples.planted=0.2", "it is called examples.adversarial_text now"),
        ("examples.speed=3", "no option 'examples.speed'"),
        ("steps.more=3", "no option 'steps.more'"),
        ("steps", "no option 'steps'"),
        ("=3", "no option ''"),
        ("steps=0", "finetune.steps"),
        ("steps=many", "finetune.steps"),
        ("steps=", "finetune.steps"),
        ("method=magic", "finetune.method"),
        ("learning_rate=nan", "finetune.learning_rate"),
        ("examples=3", "finetune.examples"),
        ("examples.facts_dropout=2", "finetune.examples.facts_dropout"),
        ("examples.reserved=0", "finetune.examples.reserved"),
        ("examples.targets=1", "at least 20"),
    ],
)
def test_a_wrong_option_gives_an_error_and_a_hint(
    option: str, message: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--set", option, "--out", tmp_path / "one") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert "->" in printed.err
    assert "Traceback" not in printed.err
    assert not (tmp_path / "one").exists()


ROWS = events()


@pytest.mark.parametrize(
    "rows",
    [
        [row for row in ROWS if row[0] in ("u00", "u01", "u02")],
        [[f"x{number}", f"m{number % 9}", "5", str(number)] for number in range(60)],
        [[row[0], "m1", *row[2:]] for row in ROWS],
    ],
    ids=["three-users", "one-event-each", "one-item"],
)
def test_too_few_events_are_an_error_at_once(
    rows: list[Any], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shop(tmp_path / "films", rows)
    for words in ((), ("--dry-run",)):
        assert command(*words, "--out", tmp_path / "one") == 1
        printed = capsys.readouterr()
        assert "events to learn from" in printed.err
        assert "reserved" in printed.err
        assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("kind", ["no-times", "no-ratings", "all-twice", "few-items"])
def test_odd_data_can_be_trained_on(
    kind: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml, rows, films = DOMAIN + SMALL, ROWS, items()
    if kind == "no-times":
        toml = toml.replace('timestamp = "time"\n', "")
    if kind == "no-ratings":
        toml = toml.replace('rating = "rating"\n', "")
    if kind == "all-twice":
        rows = [row for row in rows for _ in range(2)]
    if kind == "few-items":
        films, rows = items(6), events(users=20, each=6, n=6)
        toml = toml.replace("reserved = 4", "reserved = 2").replace("targets = 4", "targets = 2")
    write_shop(tmp_path / "films", rows, toml=toml, items=films)
    assert command("--out", tmp_path / "one", "--json", *QUICK) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["adapter"]
    assert result["metrics"]["ndcg@10"]["n"] >= 6


def test_targets_that_retrieval_never_finds_leave_one_list_out(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each target is an item without interactions: it is never among 2 candidates."""
    rows = events(users=8)
    by_user: dict[str, list[Any]] = {}
    for row in rows:
        by_user.setdefault(row[0], []).append(row)
    extra = []
    for user, events_of_user in by_user.items():
        for n, row in enumerate(events_of_user[-8:]):
            row[1] = f"{user}-{n}"
            extra.append([row[1], f"Lone {user} {n}", "", "", ""])
    toml = (DOMAIN + SMALL).replace("n_candidates = 6", "n_candidates = 2").replace("text = 0.3\n", "")
    write_shop(tmp_path / "films", rows, toml=toml, items=[*items(), *extra])
    assert command("--out", tmp_path / "one", *QUICK) == 0
    message = capsys.readouterr().out
    assert "ndcg@10 random" in message
    assert "ndcg@10 hard" not in message
    assert "served lists" not in message


@pytest.mark.parametrize("dry", [True, False])
def test_an_item_longer_than_the_window_is_an_error(
    dry: bool, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = items()
    for row in films:
        row[4] = "long words of a plot " * 400  # is cut to what a prompt shows
    write_shop(tmp_path / "films", items=films)
    assert command("--dry-run") == 0
    capsys.readouterr()
    toml = (DOMAIN + SMALL).replace("max_prompt_tokens = 900", "max_prompt_tokens = 128")
    (tmp_path / "films" / "domain.toml").write_text(toml)
    assert command(*["--dry-run"] * dry, "--out", tmp_path / "one") == 1
    printed = capsys.readouterr()
    assert "without any history, the budget is 128" in printed.err
    assert "max_prompt_tokens" in printed.err
    assert list_adapters(load_settings(), "films") == []


@pytest.mark.usefixtures("films")
@pytest.mark.parametrize("failure", ["loss", "disk", "folder", "room", "model"])
def test_earlier_adapters_are_untouched_by_a_run_that_fails(
    failure: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("--out", tmp_path / "one", "--json", *QUICK) == 0
    first = json.loads(capsys.readouterr().out)
    settings = load_settings()
    if not first["promoted"]:
        promote(first["adapter"], settings, force=True)
    before, out = kept(settings), tmp_path / "two"
    if failure == "loss":
        monkeypatch.setattr("finetune.trainer.example_loss", lambda log_p, *_rest: log_p.sum() * float("nan"))
    elif failure == "disk":

        def full(*_rest: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(publish, "write_report", full)
    elif failure == "folder":
        out = tmp_path / "file" / "two"
        (tmp_path / "file").write_text("")
    elif failure == "room":
        monkeypatch.setattr(publish, "NEEDED_MB", 10**12)
    else:
        monkeypatch.setenv("WHYREC_MODEL", str(tmp_path / "nowhere"))
    assert command("--out", out, *QUICK) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "->" in printed.err
    assert "Traceback" not in printed.err
    assert kept(settings) == before
    assert (
        load_adapter(adapters_folder(settings, "films") / first["adapter"].split("@")[1]).ref
        == first["adapter"]
    )
    default = default_adapter("films", settings)
    assert default is not None
    assert default.ref == first["adapter"]


@pytest.mark.usefixtures("films")
def test_a_folder_of_a_run_with_other_options_is_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "one", *QUICK) == 0
    assert command("--out", tmp_path / "one", *QUICK, "--set", "rank=8") == 1
    assert "--out" in capsys.readouterr().err
