"""`recsys domains`: what there is, and what sources know of the items."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recsys.cli import main
from recsys.cli.output import console
from recsys.config import load_settings
from recsys.config.ranking import Estimate, FittedScore, KindFit, Weights
from recsys.config.retrieval import FittedWeights
from retrieval.build import save_weights
from tests.fakes import DOMAIN, write_films

SOURCE = """
[[sources]]
name = "facts"
file = "facts.csv"
id = "id"
title = "name"
year = "year"
attributes = { director = "by", genre = "kind" }
"""
ITEMS = [
    ("1", "The Firm", "1993", "Drama", ""),
    ("2", "Emma", "1996", "", ""),
    ("3", "Fargo", "1996", "", ""),
]
FACTS = "id,name,year,by,kind\na,Firm,1993,Pollack,Thriller\nb,Emma,1995,X,\nc,Emma,1997,Y,\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(console, "width", 200)  # what COLUMNS says is read once, at the first import
    write_films(tmp_path / "films", ITEMS, [], [], DOMAIN + SOURCE)
    (tmp_path / "films" / "facts.csv").write_text(FACTS)
    return str(tmp_path / "films")


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["recsys", "domains", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return capsys.readouterr().out


def test_show_tells_coverage_conflicts_and_what_is_not_joined(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(monkeypatch, capsys, "show", folder)
    assert ["director", "facts", "1", "33.3%", "0", "0"] in [line.split() for line in text.splitlines()]
    assert "conflict: genre of The Firm (1993): Drama (items), not Thriller (facts)" in text
    assert "facts: 3 rows, joined: 1 by title; 1 ambiguous, 1 without a row" in text
    assert "ambiguous: Emma (1996) (id 2): Emma (1995), id b; Emma (1997), id c" in text
    assert "no row: Fargo (1996) (id 3)" in text


def test_show_prints_what_was_fitted(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "`recsys fit` fits them" in shown(monkeypatch, capsys, "show", folder)
    nothing = Estimate(value=0.021, low=-0.01, high=0.05)
    fit = KindFit(
        weights=Weights(model=0.3, retriever=1.2),
        model_weight=nothing,
        gain=nothing,
        ndcg=nothing,
        cases=50,
        asked=90,
    )
    score = FittedScore(model=load_settings().model, adapter=None, kinds={"plain": fit})
    weights = FittedWeights(weights={"text": 0.5, "gru": 0}, fitted_on="", users=7, score=score)
    save_weights(load_settings().retriever_folder("films"), weights)
    printed = shown(monkeypatch, capsys, "show", folder)
    assert "channels (fitted on 7 users): text 0.5\n" in printed
    assert "score: 1.2 x retriever + 0.3 x model" in printed
    assert "0.021 (-0.010 to 0.050)" in printed
    assert "50 of 90" in printed


def test_show_as_json_has_all_of_it(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(shown(monkeypatch, capsys, "show", folder, "--json"))["sources"]
    assert report["sources"][0]["matched"] == {"title": 1}
    assert report["attributes"][-1]["conflicts"] == 1
    assert report["sources"][0]["unmatched"] == [{"id": "3", "name": "Fargo (1996)"}]


def test_the_list_is_printed_without_a_name(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "MovieLens-100K: not imported" in shown(monkeypatch, capsys)
