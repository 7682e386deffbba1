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
