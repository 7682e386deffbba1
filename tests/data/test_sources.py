"""Further sources are read, joined, kept and reported; what is wrong in them is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from recsys.config import load_domain
from recsys.data.importers import import_domain, read_domain
from recsys.data.store import Store
from recsys.errors import ConfigError, DataError, MissingDependency
from recsys.knowledge.sources import SourceReport
from tests.fakes import DOMAIN, write_films

SOURCE = """
[[sources]]
name = "facts"
file = "facts.csv"
id = "id"
title = "name"
year = "year"
[sources.attributes]
director = { column = "by", separator = "," }
runtime = { column = "minutes", invalid = "missing" }
[attributes.runtime]
type = "duration"
"""
FACTS = "id,name,year,by,minutes\n"


def films(folder: Path, facts: str, toml: str = SOURCE, **files: str) -> Path:
    write_films(folder, [("1", "The Firm", "1993", "Drama", ""), ("2", "Heat", "1995", "Crime", "")], [], [])
    (folder / "domain.toml").write_text(DOMAIN + toml)
    (folder / "facts.csv").write_text(FACTS + facts)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_a_source_adds_typed_attributes_and_the_store_keeps_what_came_of_it(tmp_path: Path) -> None:
    rows = 'a,Firm,1993,"Sydney Pollack, X",154\nb,Fargo,1996,Joel Coen,98\nc,HEAT,1996,Mann,long\n'
    domain = load_domain(films(tmp_path, rows))
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        assert store.sources("films") is None
        outcome = import_domain(domain, store)
        firm, heat = store.items("films")
        report = store.sources("films")
    assert firm.attributes["director"] == ("Sydney Pollack", "X")
    assert firm.attributes["runtime"] == ("154 minutes",)
    assert firm.sources == {"director": "facts", "runtime": "facts"}
    assert heat.attributes.keys() - {"genre"} == {"director"}
    assert outcome.report.missing == {"runtime of facts": 1}
    assert isinstance(report, SourceReport)
    assert report == outcome.report.sources
    assert report.sources[0].matched == {"title": 2}


def test_importing_without_the_source_takes_its_values_back(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        import_domain(load_domain(films(tmp_path, "a,Firm,1993,Pollack,154\n")), store)
        result = import_domain(load_domain(films(tmp_path, "", toml="")), store).result
        assert (result.items.updated, result.items.unchanged) == (1, 1)
        assert store.sources("films") is None
        assert not [item for item in store.items("films") if item.sources]


@pytest.mark.parametrize(
    ("aliases", "field", "problem"),
    [
        ("9,a", "item", "no item has the id '9'"),
        ("1,z", "row", "the source has no row of id 'z'"),
        ("1,a\n1,", "item", "item '1' has an alias already"),
    ],
)
def test_a_wrong_alias_is_named(tmp_path: Path, aliases: str, field: str, problem: str) -> None:
    toml = SOURCE.replace('year = "year"', 'year = "year"\naliases = "aliases.csv"')
    folder = films(tmp_path, "a,Firm,1993,Pollack,154\n", toml, aliases=f"item,row\n{aliases}\n")
    with pytest.raises(DataError, match=problem) as caught:
        read_domain(load_domain(folder))
    assert "aliases.csv" in caught.value.message
    assert field in caught.value.message


def test_an_alias_joins_what_no_title_does(tmp_path: Path) -> None:
    toml = SOURCE.replace('year = "year"', 'year = "year"\naliases = "aliases.csv"')
    folder = films(tmp_path, "7,Thief,1981,Mann,1\n", toml, aliases="item,title,row\n2,Heat,7\n")
    items = read_domain(load_domain(folder)).items
    assert items[1].attributes["director"] == ("Mann",)


def test_a_source_that_joins_nothing_is_warned_of(tmp_path: Path) -> None:
    report = read_domain(load_domain(films(tmp_path, "a,Fargo,1996,Coen,98\n"))).report
    (warning,) = report.warnings
    assert warning.startswith("source 'facts' joins none of its 1 rows by title and year: compare ")
    assert warning.endswith("'The Firm (1993)' with 'Fargo (1996)'")


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = films(tmp_path, "a,Firm,1993,Pollack,154\n", SOURCE.replace('"by"', '"regie"'))
    with pytest.raises(DataError, match="'regie': no such column; there are: id, name, year, by"):
        read_domain(load_domain(folder))


def test_a_package_that_is_missing_is_named_with_its_pip_command(tmp_path: Path) -> None:
    folder = films(tmp_path, "", SOURCE.replace('id = "id"\n', 'package = "no-such-facts"\nid = "id"\n', 1))
    with pytest.raises(MissingDependency, match="source facts") as caught:
        read_domain(load_domain(folder))
    assert caught.value.hint == "pip install --no-deps no-such-facts"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "facts"', 'name = "items"', "choose another name"),
        ('title = "name"\n', "", "without a title"),
        ('title = "name"\nyear = "year"', 'via = "other"', "no source before it"),
        ('title = "name"', 'title = "name"\nvia = "x"', "leave out title and aliases"),
        (
            'type = "duration"',
            'type = "duration"\n[attributes.cast]\ntype = "list"',
            "sources]] have no 'cast'",
        ),
        (
            "[attributes.runtime]\n",
            "[attributes.runtime]\ntype = 'text'\n[attributes.runtime]\n",
            "not valid TOML",
        ),
        ("[attributes.runtime]\n", "[attributes.director]\n", "need its type"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    folder = films(tmp_path, "", SOURCE.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_domain(folder)
    assert problem in caught.value.message


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    again = (
        SOURCE.partition("[attributes.runtime]")[0]
        .replace("runtime", "length")
        .replace(', invalid = "missing"', "")
    )
    with pytest.raises(ConfigError, match="two sources are called 'facts'"):
        load_domain(films(tmp_path, "", SOURCE + again))


def database(folder: Path, *statements: str) -> str:
    with closing(sqlite3.connect(folder / "facts.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return SOURCE.replace("facts.csv", "facts.db")


FILM_TABLE = 'CREATE TABLE film (id INTEGER, name TEXT, year INTEGER, "by" TEXT, minutes REAL)'


def test_an_sqlite_table_is_read_as_a_file_is(tmp_path: Path) -> None:
    folder = films(tmp_path, "")
    row = "INSERT INTO film VALUES (7, 'Heat', 1995, 'Mann', 170.0), (8, 'Fargo', 1996, NULL, NULL)"
    (folder / "domain.toml").write_text(DOMAIN + database(folder, FILM_TABLE, row))
    heat = read_domain(load_domain(folder)).items[1]
    assert (heat.attributes["director"], heat.attributes["runtime"]) == (("Mann",), ("170 minutes",))


def test_of_several_sqlite_tables_one_must_be_named(tmp_path: Path) -> None:
    folder = films(tmp_path, "")
    toml = database(folder, FILM_TABLE, "CREATE TABLE other (id INTEGER)")
    (folder / "domain.toml").write_text(DOMAIN + toml)
    with pytest.raises(DataError, match="there are: film, other") as caught:
        read_domain(load_domain(folder))
    assert "set table" in caught.value.hint
    (folder / "domain.toml").write_text(DOMAIN + toml.replace('id = "id"', 'table = "film"\nid = "id"'))
    with pytest.raises(DataError, match="there are no rows"):
        read_domain(load_domain(folder))


def test_a_file_that_is_no_sqlite_database_is_named_and_left_alone(tmp_path: Path) -> None:
    folder = films(tmp_path, "", SOURCE.replace("facts.csv", "facts.db"))
    (folder / "facts.db").write_text("no database at all, though it is long enough for a header")
    with pytest.raises(DataError, match="not readable as an SQLite database"):
        read_domain(load_domain(folder))
    (folder / "facts.db").unlink()
    with pytest.raises(DataError, match="no such file"):
        read_domain(load_domain(folder))
    assert not (folder / "facts.db").exists()


def test_table_is_refused_for_other_files(tmp_path: Path) -> None:
    folder = films(tmp_path, "", SOURCE.replace('id = "id"', 'table = "film"\nid = "id"', 1))
    with pytest.raises(ConfigError, match="table would do nothing in a csv file"):
        load_domain(folder)
