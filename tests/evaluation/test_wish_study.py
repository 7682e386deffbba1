"""Wishes written by hand: what fits, what was read, and what nobody asked for are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import RequestError
from recsys.evaluation.wishes.study import read_cases, study, summary, write_failures
from recsys.recommender.recommender import Recommender


def case(wish: str, fits: str, *conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "wish": wish,
        "part": "validation",
        "kind": "genre",
        "language": "en",
        "fits": fits,
        "conditions": conditions,
        "like": [],
    } | more


def genre(name: str, **more: Any) -> dict[str, Any]:
    return {"attribute": "genre", "operator": "in", "value": [name], "wanted": True, "hard": True} | more


CRIME = case("a crime film", '"Crime" in item.genre', genre("Crime"))
OLD = case(
    "before 1950", "item.year < 1950", {"attribute": "year", "operator": "<", "value": 1950}, kind="years"
)


def written(folder: Path, *cases: dict[str, Any]) -> Path:
    path = folder / "wishes.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in cases), "utf-8")
    return path


def test_what_fits_is_counted_of_five(tmp_path: Path, recommender: Recommender) -> None:
    cases = read_cases(written(tmp_path, CRIME, OLD), "validation")
    (crime, old) = study(recommender, cases)
    assert (crime.precision, crime.possible, crime.exact) == (0.6, 0.6, True)
    assert (old.precision, old.exact, old.false_hard, old.missed) == (0.6, True, False, 0.0)
    measures = summary([crime, old])
    assert set(measures) == {"all", "language:en", "en:genre", "en:years"}
    assert measures["all"]["precision@5"]["value"] == pytest.approx(0.6)
    assert measures["all"]["n"] == 2


@pytest.mark.parametrize(
    ("meant", "false_hard", "missed", "exact"),
    [
        ([genre("Crime", hard=False)], True, 0.0, False),
        ([genre("Comedy")], True, 1.0, False),
        ([genre("Crime"), genre("Comedy")], False, 0.5, False),
        ([genre("Crime", wanted=False)], True, 1.0, False),
        ([genre("Crime"), {"attribute": "year", "operator": ">", "value": 1900}], False, 0.0, True),
    ],
)
def test_a_must_that_nobody_meant_and_what_was_not_read_are_counted(
    meant: list[dict[str, Any]],
    false_hard: bool,
    missed: float,
    exact: bool,
    tmp_path: Path,
    recommender: Recommender,
) -> None:
    asked = CRIME | {"wish": "only crime films", "conditions": meant}
    cases = read_cases(written(tmp_path, asked), "validation")
    (result,) = study(recommender, cases)
    assert (result.false_hard, result.missed, result.exact) == (false_hard, missed, exact)


def test_without_a_reader_only_what_fits_is_counted(tmp_path: Path, recommender: Recommender) -> None:
    cases = read_cases(written(tmp_path, CRIME), "validation")
    (result,) = study(recommender.with_state(reader="none"), cases)
    assert (result.exact, result.false_hard, result.missed) == (None, None, None)


def test_what_went_wrong_is_written_with_what_was_meant(tmp_path: Path, recommender: Recommender) -> None:
    wrong = CRIME | {"conditions": [genre("Comedy")]}
    cases = read_cases(written(tmp_path, wrong, OLD), "validation")
    write_failures(study(recommender, cases), tmp_path / "failures.jsonl")
    (line,) = (tmp_path / "failures.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["wish"] == "a crime film"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"wish": "x"}, "line 1: part"),
        (CRIME | {"colour": 1}, "line 1: colour"),
    ],
)
def test_a_wrong_line_is_named(line: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=problem):
        read_cases(written(tmp_path, line), "validation")


def test_a_missing_file_and_an_unknown_operator_are_named(tmp_path: Path, recommender: Recommender) -> None:
    with pytest.raises(RequestError, match="no file of wishes"):
        read_cases(tmp_path / "none.jsonl", "validation")
    odd = CRIME | {"conditions": [genre("Crime", operator="about")]}
    with pytest.raises(RequestError, match="no operator 'about'"):
        study(recommender, read_cases(written(tmp_path, odd), "validation"))


def test_the_part_and_the_language_choose(tmp_path: Path) -> None:
    path = written(tmp_path, CRIME, OLD | {"part": "test"}, OLD | {"wish": "老片", "language": "zh"})
    assert [one.wish for one in read_cases(path, "validation")] == ["a crime film", "老片"]
    assert [one.wish for one in read_cases(path, "validation", "zh")] == ["老片"]
    assert [one.wish for one in read_cases(path, "test")] == ["before 1950"]
