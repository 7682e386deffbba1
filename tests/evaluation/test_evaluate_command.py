"""`recsys evaluate` on a small domain of CSV files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys.cli import main
from tests.evaluation.world import event, world, write_shop

BASE = ("--systems", "popularity,random", "--only")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return write_shop(tmp_path / "shop", world())


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """`recsys evaluate WORDS`, and its exit status."""
    monkeypatch.setattr(sys, "argv", ["recsys", "evaluate", *map(str, words)])
    try:
        main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def test_a_comparison_is_shown_and_kept(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, "--domain", shop, *BASE, "--out", out) == 0
    message = capsys.readouterr().out
    for word in ("popularity", "random", "ndcg@10", "12 users", "report.html"):
        assert word in message
    assert json.loads((out / "result.json").read_text())["run"]["command"].startswith(
        "recsys evaluate --domain"
    )
    assert "<script" not in (out / "report.html").read_text()
    assert {path.name for path in (out / "rankings").iterdir()} == {"popularity.jsonl", "random.jsonl"}


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"split": "leave-one-out", "part": "test", "protocol": "full", "cases": 12}),
        (("--part", "validation"), {"part": "validation", "cases": 12}),
        (("--last", "2"), {"cases": 24, "users": 12}),
        (("--users", "5", "--seed", "3"), {"users": 5, "seed": 3}),
        (("--split", "temporal", "--share", "0.6"), {"split": "temporal"}),
        (("--split", "cold-users", "--cold", "3"), {"split": "cold-users-3", "users": 6}),
        (("--split", "cold-items", "--share", "0.3"), {"split": "cold-items"}),
        (("--protocol", "sampled", "--sampled", "9"), {"protocol": "sampled"}),
        (("--protocol", "rated", "--last", "3"), {"protocol": "rated"}),
        (("--depth", "10"), {"depth": 10}),
    ],
)
def test_every_way_to_ask_gives_a_result(
    words: tuple[str, ...],
    expected: dict[str, Any],
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "--domain", shop, *BASE, "--json", *words) == 0
    result = json.loads(capsys.readouterr().out)
    assert {key: result["run"][key] for key in expected} == expected
    assert set(result["systems"]) == {"popularity", "random"}


@pytest.mark.usefixtures("no_plots")
def test_candidates_come_from_a_file(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"u01": ["i28", "i29"], "u02": ["i29"]}))
    assert run(monkeypatch, "--domain", shop, *BASE, "--json", "--candidates", lists) == 0
    assert json.loads(capsys.readouterr().out)["run"]["users"] == 2
    lists.write_text(json.dumps({"u01": ["i99"]}))
    assert run(monkeypatch, "--domain", shop, *BASE, "--candidates", lists, "--out", tmp_path / "b") == 1
    assert "'i99'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--users", "0"), "0 users"),
        (("--last", "0"), "held out"),
        (("--depth", "3"), "too short"),
        (("--share", "0.5"), "--share"),
        (("--split", "temporal", "--share", "2"), "a share of 2"),
        (("--split", "cold-users", "--cold", "-1"), "-1 events"),
        (("--protocol", "sampled", "--sampled", "0"), "0 sampled"),
        (("--protocol", "rated", "--candidates", "x.json"), "two protocols"),
        (("--candidates", "none.json"), "none.json"),
    ],
)
def test_what_cannot_be_is_two_lines_that_say_what_to_do(
    words: tuple[str, ...],
    message: str,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "--domain", shop, *BASE, *words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert "->" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.usefixtures("no_plots")
def test_a_folder_of_another_run_is_not_touched_unless_told(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--domain", shop, *BASE) == 0
    assert run(monkeypatch, "--domain", shop, *BASE, "--seed", "1") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(monkeypatch, "--domain", shop, *BASE, "--seed", "1", "--overwrite") == 0


@pytest.mark.usefixtures("no_plots")
def test_events_without_times_or_ratings_are_evaluated_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = write_shop(tmp_path / "shop", world(), times=False, ratings=False)
    systems = ("--systems", "popularity,recent-popularity,liked-share", "--only")
    assert run(monkeypatch, "--domain", shop, *systems, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["systems"]) == 3
    assert run(monkeypatch, "--domain", shop, *BASE, "--protocol", "rated", "--out", "b") == 1
    assert "need both" in capsys.readouterr().err
    assert run(monkeypatch, "--domain", shop, *BASE, "--split", "temporal", "--out", "c") == 1
    assert "no times" in capsys.readouterr().err


def test_a_domain_where_nobody_met_two_items_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = write_shop(tmp_path / "shop", [event("a", "i00", 1, 5), event("b", "i00", 1, 5)])
    assert run(monkeypatch, "--domain", shop, *BASE) == 1
    assert "no held-out event" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "command"),
    [
        ("--reasons", "reasons"),
        ("--attack", "robustness --attack"),
        ("--noise", "robustness --noise"),
        ("--online", "online"),
    ],
)
def test_a_flag_that_became_a_command_is_answered_with_that_command(
    flag: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--domain", "movies", flag, "--users", "3") == 1
    assert f"recsys evaluate {command}" in capsys.readouterr().err


def test_options_before_a_subcommand_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--domain", "movies", "reasons") == 1
    assert "recsys evaluate reasons --domain" in capsys.readouterr().err


def test_an_unknown_system_is_answered_with_those_there_are(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--domain", shop, "--systems", "magic", "--only") == 1
    message = capsys.readouterr().err
    assert "no system 'magic'" in message
    assert "recent-popularity" in message
    assert "hybrid" in message
