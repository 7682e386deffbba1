"""The filter options of `recsys recommend`."""

from __future__ import annotations

import json

import pytest

from recsys.cli.options import parse_filter
from recsys.errors import RequestError
from recsys.types import AtLeast, Comparison, Filter
from tests.surface.test_cli import run


def test_options_become_a_filter() -> None:
    assert parse_filter(
        ["genre=Drama", "genre=War"], ["genre=Horror"], ["genre=Film-Noir:2"], "1990-"
    ) == Filter(
        where={"genre": ("Drama", "War")},
        without={"genre": ("Horror",)},
        year_from=1990,
        at_least=(AtLeast(attribute="genre", values=("Film-Noir",), n=2),),
    )


@pytest.mark.parametrize(
    ("years", "bounds"), [("", (None, None)), ("1994", (1994, 1994)), ("-1970", (None, 1970))]
)
def test_years(years: str, bounds: tuple[int | None, int | None]) -> None:
    rule = parse_filter(None, None, None, years)
    assert (rule.year_from, rule.year_to) == bounds


def test_conditions_may_compare() -> None:
    rule = parse_filter(["price=2..5.50", "weight > 1 lb", "genre=Drama"], None, None, "")
    assert rule.where == {"genre": ("Drama",)}
    assert rule.compare == (
        Comparison(attribute="price", operator=">=", value="2"),
        Comparison(attribute="price", operator="<=", value="5.50"),
        Comparison(attribute="weight", operator=">", value="1 lb"),
    )
    with pytest.raises(RequestError, match="is a comparison"):
        parse_filter(None, ["price<=5"], None, "")


@pytest.mark.parametrize(
    ("where", "at_least", "years"),
    [(["genre"], None, ""), (None, ["genre=Drama"], ""), (None, ["genre=Drama:0"], ""), (None, None, "old")],
)
def test_an_invalid_filter_is_refused(
    where: list[str] | None, at_least: list[str] | None, years: str
) -> None:
    with pytest.raises(RequestError):
        parse_filter(where, None, at_least, years)


@pytest.mark.usefixtures("no_engine")
def test_only_films_that_pass_are_recommended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        monkeypatch,
        "recommend",
        "--user",
        "196",
        "--where",
        "genre=Western",
        "--years",
        "1950-1969",
        "-k",
        "3",
        "--json",
    )
    recommendations = json.loads(capsys.readouterr().out)["recommendations"]
    assert len(recommendations) == 3
    assert all("Western" in line["item"]["attributes"]["genre"] for line in recommendations)
    assert all(1950 <= line["item"]["year"] <= 1969 for line in recommendations)
