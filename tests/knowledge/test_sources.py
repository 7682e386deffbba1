"""Rows of further sources are joined where there is no doubt; all else is listed."""

from __future__ import annotations

from typing import Any

from recsys.knowledge.sources import SourceCoverage, SourceReport, SourceRows, join_sources, merge_sources
from recsys.types import Item


def item(item_id: str, title: str = "", year: int | None = None, **attributes: str) -> Item:
    return Item(
        id=item_id,
        title=title or item_id,
        year=year,
        attributes={name: tuple(values.split("|")) for name, values in attributes.items()},
    )


def source(*rows: Item, name: str = "facts", **options: Any) -> SourceRows:
    names = tuple(dict.fromkeys(name for row in rows for name in row.attributes))
    return SourceRows(name, rows, names, **{"by_title": True, "year_within": 2} | options)


def joined(items: list[Item], *sources: SourceRows) -> tuple[dict[str, Item], SourceReport]:
    rows = [(one, {row.id: row for row in one.source.rows}) for one in join_sources(items, sources)]
    result, report = merge_sources(items, rows, ("genre",))
    assert [entry.id for entry in result] == [entry.id for entry in items]
    return {entry.id: entry for entry in result}, report


def first(report: SourceReport) -> SourceCoverage:
    return report.sources[0]


def test_a_title_joins_within_the_years_and_the_item_says_from_where() -> None:
    items, report = joined(
        [item("1", "The Firm", 1993, genre="Drama"), item("2", "Heat", 1995)],
        source(item("a", "Firm", 1995, director="Sydney Pollack"), item("b", "Heat", 1998, director="X")),
    )
    assert items["1"].attributes == {"genre": ("Drama",), "director": ("Sydney Pollack",)}
    assert items["1"].sources == {"director": "facts"}
    assert items["2"].sources is None
    assert first(report).matched == {"title": 1}
    assert [entry.name for entry in first(report).unmatched] == ["Heat (1995)"]
    assert [(entry.attribute, entry.source, entry.items) for entry in report.attributes] == [
        ("genre", "items", 1),
        ("director", "facts", 1),
    ]


def test_of_two_rows_the_one_of_the_very_year_wins_and_else_none() -> None:
    rows = [item("a", "Emma", 1996, director="A"), item("b", "Emma", 1997, director="B")]
    items, report = joined([item("1", "Emma", 1996), item("2", "Emma", 1998)], source(*rows))
    assert items["1"].attributes == {"director": ("A",)}
    _, report = joined([item("1", "Emma", 1995)], source(*rows))
    assert first(report).ambiguous[0].candidates == ("Emma (1996), id a", "Emma (1997), id b")
    assert (first(report).n_ambiguous, first(report).n_unmatched) == (1, 0)


def test_a_row_of_two_items_goes_to_the_one_of_its_year() -> None:
    rows = source(item("a", "Fear", 1996, director="A"))
    items, report = joined([item("1", "Fear", 1996), item("2", "The Fear", 1995)], rows)
    assert items["1"].attributes == {"director": ("A",)}
    assert [entry.id for entry in first(report).ambiguous] == ["2"]
    items, _ = joined([item("1", "Fear", 1995), item("2", "The Fear", 1997)], rows)
    assert not items["1"].attributes
    assert not items["2"].attributes


def test_an_item_that_is_in_the_catalog_twice_is_joined_twice() -> None:
    items, _ = joined(
        [item("1", "Kull", 1997), item("2", "Kull", 1997)], source(item("a", "Kull", 1997, director="A"))
    )
    assert items["1"].attributes == items["2"].attributes == {"director": ("A",)}


def test_an_item_of_unknown_year_is_not_guessed() -> None:
    items, report = joined([item("1", "Heat")], source(item("a", "Heat", 1995, director="A")))
    assert not items["1"].attributes
    assert first(report).n_unmatched == 1
    items, _ = joined([item("1", "Heat")], source(item("a", "Heat", director="A"), year_within=None))
    assert items["1"].attributes == {"director": ("A",)}


def test_an_alias_wins_over_the_title_and_may_say_that_there_is_no_row() -> None:
    rows = [
        item("a", "Star Wars: A New Hope", 1977, director="Lucas"),
        item("b", "Wonderland", 1999, director="W"),
    ]
    items, report = joined(
        [item("1", "Star Wars", 1977), item("2", "Wonderland", 1997)],
        source(*rows, aliases={"1": "a", "2": ""}),
    )
    assert items["1"].attributes == {"director": ("Lucas",)}
    assert not items["2"].attributes
    assert first(report).matched == {"alias": 1}


def test_rows_join_by_id_and_through_an_earlier_source() -> None:
    by_id = source(item("1", color="red"), item("9", color="blue"), by_title=False)
    titles = source(item("x7", "Heat", 1995, director="Mann"), name="titles")
    through = source(item("x7", studio="Warner"), name="studios", by_title=False, via="titles")
    items, report = joined([item("1", "Heat", 1995), item("2", "Fargo", 1996)], by_id, titles, through)
    assert items["1"].attributes == {"color": ("red",), "director": ("Mann",), "studio": ("Warner",)}
    assert items["1"].sources == {"color": "facts", "director": "titles", "studio": "studios"}
    assert report.sources[2].matched == {"id": 1}
    assert report.sources[2].n_unmatched == 0  # "Fargo" has no row in `titles`


def test_the_first_source_wins_and_others_are_counted() -> None:
    rows = source(item("1", genre="Comedy", color="red"), item("2", genre="drama"), by_title=False)
    later = source(item("1", color="blue"), name="later", by_title=False)
    items, report = joined([item("1", genre="Drama|Crime"), item("2", genre="Drama")], rows, later)
    assert items["1"].attributes == {"genre": ("Drama", "Crime"), "color": ("red",)}
    genre, color, again = report.attributes[1:]
    assert (genre.items, genre.agreed, genre.conflicts) == (0, 1, 1)
    assert (genre.examples[0].kept, genre.examples[0].kept_from) == (("Drama", "Crime"), "items")
    assert (color.items, again.conflicts, again.examples[0].kept_from) == (1, 1, "facts")
