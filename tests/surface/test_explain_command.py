"""`recsys explain` without a model: table, JSON, picture and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.cli.explain import draw_effects, print_explanation
from recsys.cli.output import console
from recsys.recommender.recommender import Recommender
from recsys.types import Why
from tests.fakes import ScriptedEngine
from tests.surface.test_cli import run


@pytest.fixture
def why(recommender: Recommender, scripted: ScriptedEngine) -> Why:
    """Explain Casablanca to a user whose liking of Alien raises its score."""

    def score(text: str, label: str) -> float:
        shared, _, about = text.partition("Will this person")
        return 2.0 * (label == "Yes" and "Alien" in shared and "Casablanca" in about)

    scripted.score = score
    return recommender.explain("ann", "Casablanca", instead_of="Metropolis", n_candidates=8)


def test_the_table_shows_each_effect_and_the_rank_without_it(
    why: Why, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 140)
    print_explanation(why)
    printed = capsys.readouterr().out
    line = next(row for row in printed.splitlines() if "chosen before: Alien" in row)
    assert "|█" in line
    assert "█|" in line  # it counts against the other item
    assert "instead of 1" in line
    assert "1 of 8  Casablanca (1942)" in printed
    assert "Metropolis (1927)" in printed


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_picture_is_drawn(why: Why, tmp_path: Path, suffix: str, start: bytes) -> None:
    odd = why.effects[0].model_copy(update={"text": "$_{x}$ 🎬 \\frac"})
    draw_effects(why.model_copy(update={"effects": (odd, *why.effects[1:])}), tmp_path / f"why{suffix}")
    assert (tmp_path / f"why{suffix}").read_bytes().startswith(start)


def test_an_explanation_without_effects_is_printed_and_drawn(
    why: Why, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_effects = why.model_copy(update={"effects": ()})
    print_explanation(without_effects)
    draw_effects(without_effects, tmp_path / "why.png")
    assert "measurable effect" in capsys.readouterr().out


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_the_answer_is_degraded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", "--user", "196", "--item", "302", "--json") == 0
    why = Why.model_validate(json.loads(capsys.readouterr().out))
    assert why.degraded
    assert why.item.item.id == "302"
    assert why.item.explanation is not None
    assert any(effect.kind == "history" for effect in why.effects)


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--item", "No Such Film"], "No Such Film"),
        (["--item", "302", "--instead-of", "302"], "the same"),
        (["--item", "302", "--picture", "why.txt"], "why.txt"),
        (["--item", "302", "--picture", "/nowhere/why.png"], "nowhere"),
        (["--item", "302", "--at", "25:99"], "25:99"),
    ],
)
def test_bad_input_prints_an_error_and_what_to_do(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "explain", "--user", "196", *arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert "->" in printed.err
    assert "Traceback" not in printed.err
