"""Long work says how far it is, without a terminal too."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from recsys.cli.output import ProgressBars, progress_line


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (30, 120, 10, "fitting: 30 of 120, 3 a second, about 30 s left"),
        (1_000, 12_000, 60, "fitting: 1,000 of 12,000, 17 a second, about 11 min left"),
        (120, 120, 10, "fitting: 120 of 120, 12 a second, about 0 s left"),
        (3, 15, 90, "fitting: 3 of 15, 2 a minute, about 6 min left"),
        (0, 120, 20, "fitting: 20 s so far"),
        (5, 0, 20, "fitting: 20 s so far"),
    ],
)
def test_a_line_says_how_far_it_is_and_how_long_it_takes(
    done: int, total: int, seconds: float, line: str
) -> None:
    assert progress_line("fitting", done, total, seconds) == line


def test_without_a_terminal_a_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr("recsys.cli.output.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    with ProgressBars() as progress:
        for done in range(20):
            progress("fitting", done, 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("fitting ...")
    assert 2 <= len([line for line in lines if " left" in line]) <= 8


@pytest.mark.parametrize("total", [0, 20])
def test_time_of_a_stage_that_comes_twice_is_counted_anew(
    total: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second training in `recsys fit` used to take "90 min", counted from the start of the first."""
    seconds = 0.0
    monkeypatch.setattr("recsys.cli.output.time", SimpleNamespace(monotonic=lambda: seconds))
    with ProgressBars() as progress:
        for stage in ("training", "embedding", "training"):
            for done in (0, 5, 10) if total else (0, 0, 0):
                progress(stage, done, total)
                seconds += 20
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training")]
    assert told[0] == told[3] == "training ..."
    assert told[1:3] == told[4:]
