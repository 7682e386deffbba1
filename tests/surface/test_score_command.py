"""`recsys score`: byte order marks, and what its exit status tells."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.recommender import scoring
from recsys.recommender.recommender import Recommender
from tests.surface.test_cli import run

GOOD, BAD = '{"candidates": ["Amélie"]}', '{"candidates": []}'


@pytest.fixture(autouse=True)
def _scores_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(_recommender: object, request: scoring.ScoreRequest, _strategy: str) -> dict[str, Any]:
        return {"scores": request.candidates}

    recommender = SimpleNamespace(domain=SimpleNamespace(ranker=SimpleNamespace(strategy="pointwise")))
    monkeypatch.setattr(Recommender, "load", lambda *_, **__: nullcontext(recommender))
    monkeypatch.setattr(scoring, "_score", score)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_byte_order_mark_of_a_file_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, encoding: str
) -> None:
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(f"{mark}{GOOD}\r\n\r\n{GOOD}\r\n".encode(encoding))
    assert run(monkeypatch, "score", str(path)) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers == [{"line": 1, "scores": ["Amélie"]}, {"line": 3, "scores": ["Amélie"]}]


def test_the_byte_order_mark_of_standard_input_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", [f"\ufeff{GOOD}\n", "\n"])
    assert run(monkeypatch, "score") == 0
    assert json.loads(capsys.readouterr().out)["scores"] == ["Amélie"]


@pytest.mark.parametrize(
    ("lines", "status", "message"),
    [
        ([BAD], 2, "1 of 1 lines failed"),
        ([BAD, "{", "[]", "null", '{"candidates": 3}'], 2, "5 of 5 lines failed"),
        ([GOOD, BAD, BAD], 0, "2 of 3 lines failed"),
        ([GOOD, GOOD], 0, ""),
        ([""], 0, ""),
    ],
)
def test_the_exit_status_tells_that_every_line_failed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lines: list[str],
    status: int,
    message: str,
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(lines) + "\n")
    assert run(monkeypatch, "score", str(path)) == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert ("failed" in captured.err) == bool(message)
    assert len(captured.out.splitlines()) == len([line for line in lines if line])
