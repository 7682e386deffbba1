"""The shipped `movies` domain, read from the installed package that holds MovieLens-100K."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recsys.config import load_domain
from recsys.data.batch import Changes, ImportBatch
from recsys.data.importers import read_domain
from recsys.data.store import Store


@pytest.fixture(scope="module")
def movies() -> ImportBatch:
    return read_domain(load_domain("movies"))


def test_every_row_is_read(movies: ImportBatch) -> None:
    assert (len(movies.users), len(movies.items), len(movies.interactions)) == (943, 1682, 100_000)
    assert movies.report.rows == {"users": 943, "items": 1682, "interactions": 100_000}
    assert movies.report.duplicates == {}
    assert "recbole" not in sys.modules


def test_odd_rows_are_handled_and_counted(movies: ImportBatch) -> None:
    items = {item.id: item for item in movies.items}
    assert items["1412"].name == "Land Before Time III: The Time of the Great Giving (1995)"
    assert movies.report.years_from_titles == 1
    assert (items["267"].title, items["267"].year) == ("unkonwn", None)
    assert movies.report.missing["year"] == 1
    assert movies.report.tied_timestamps == 75_772


def test_homes_of_codes_that_no_table_knows_are_counted(movies: ImportBatch) -> None:
    homeless = [user for user in movies.users if user.home is None]
    assert len(homeless) == movies.report.missing["home"]
    assert 0 < len(homeless) < 30
    first = movies.users[0]
    assert dict(first.profile) == {"age": "24", "occupation": "technician"}
    assert first.home
    assert first.home.postal_code == "85711"


def test_titles_and_genres_read_as_a_person_writes_them(movies: ImportBatch) -> None:
    items = {item.id: item for item in movies.items}
    assert items["1"].name == "Toy Story (1995)"
    assert items["1"].attributes["genre"] == ("Animation", "Children's", "Comedy")
    assert items["543"].title == "Les Misérables"
    assert not [item.title for item in movies.items if item.title.endswith((", The", ", A", ", An"))]


def test_import_and_import_again(movies: ImportBatch, tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        first = store.import_batch("movies", movies)
        assert first.interactions == Changes(added=100_000)
        again = store.import_batch("movies", movies)
        assert (again.items, again.users) == (Changes(unchanged=1682), Changes(unchanged=943))
        assert again.interactions == Changes(unchanged=100_000)
        assert again.data_hash == first.data_hash
        stored = store.interactions("movies")
    assert stored == sorted(movies.interactions, key=lambda event: event.timestamp or 0)  # a stable sort
