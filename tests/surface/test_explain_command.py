"""`recsys explain` without a model: the table, JSON, the picture, and what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.cli.explain import draw, show_why
from recsys.cli.output import console
from recsys.recommender.recommender import Recommender
from recsys.types import Why
from tests.fakes import ScriptedEngine
from tests.surface.test_cli import run


@pytest.fixture
def why(recommender: Recommender, scripted: ScriptedEngine) -> Why:
    """Alien speaks for Casablanca."""

    def score(text: str, label: str) -> float:
        shared, _, about = text.partition("Will this person")
        return 2.0 * (label == "Yes" and "Alien" in shared and "Casablanca" in about)

    scripted.score = score
    return recommender.explain("ann", "Casablanca", instead_of="Metropolis", n_candidates=8)


def test_table_tells_the_cause_its_sign_and_what_would_change(
    why: Why, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 140)
    show_why(why)
    printed = capsys.readouterr().out
    line = next(one for one in printed.splitlines() if "chosen before: Alien" in one)
    assert "|█" in line
    assert "█|" in line  # it speaks against the other
    assert "instead of 1" in line
    assert "1 of 8  Casablanca (1942)" in printed
    assert "Metropolis (1927)" in printed


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_picture_is_drawn(why: Why, tmp_path: Path, suffix: str, start: bytes) -> None:
    odd = why.effects[0].model_copy(update={"text": "$_{x}$ 🎬 \\frac"})
    draw(why.model_copy(update={"effects": (odd, *why.effects[1:])}), tmp_path / f"why{suffix}")
    assert (tmp_path / f"why{suffix}").read_bytes().startswith(start)


def test_nothing_measured_is_drawn_and_shown(
    why: Why, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = why.model_copy(update={"effects": ()})
    show_why(nothing)
    draw(nothing, tmp_path / "why.png")
    assert "measurably" in capsys.readouterr().out


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_it_is_answered_and_flagged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", "--user", "196", "--item", "302", "--json") == 0
    why = Why.model_validate(json.loads(capsys.readouterr().out))
    assert why.degraded
    assert why.item.item.id == "302"
    assert why.item.explanation is not None
    assert any(one.kind == "history" for one in why.effects)


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--item", "No Such Film"], "No Such Film"),
        (["--item", "302", "--instead-of", "302"], "the same"),
        (["--item", "302", "--picture", "why.txt"], "why.txt"),
        (["--item", "302", "--picture", "/nowhere/why.png"], "nowhere"),
        (["--item", "302", "--at", "25:99"], "25:99"),
    ],
)
def test_bad_input_is_two_lines_that_say_what_to_do(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", "--user", "196", *words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "->" in printed.err
    assert "Traceback" not in printed.err
