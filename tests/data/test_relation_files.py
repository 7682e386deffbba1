"""Files of relations: CSV, JSONL and RecBole's `.kg` and `.link`, from the file to the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Domain
from recsys.config.relations import Relation
from recsys.data.batch import Changes, ImportBatch
from recsys.data.importers import import_domain, read_domain
from recsys.data.store import Store
from recsys.errors import DataError
from recsys.knowledge.relations import Edge, Entity
from tests.data.films import as_csv, make_domain

CSV = {"file": "sequels.csv", "head": "film", "tail": "of"}
KG = {
    "file": "films.kg",
    "head": "head_id",
    "tail": "tail_id",
    "relation": "relation_id",
    "named": "film.film.sequel",
    "link": {"file": "films.link", "item": "item_id", "entity": "entity_id"},
}
GRAPH = "head_id:token\trelation_id:token\ttail_id:token\n"
GRAPH += "m.2\tfilm.film.sequel\tm.1\nm.2\tfilm.film.actor\tm.9\nm.8\tfilm.film.sequel\tm.7\n"
LINKS = "item_id:token\tentity_id:token\n1\tm.1\n2\tm.2\n3\tm.2\n99\tm.8\n"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store(store_url) as store:
        yield store


def films(folder: Path, edges: dict[str, Any], **files: str) -> Domain:
    """Three films, and one relation "sequel" from files."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    items = as_csv([("1", "Alien", "Horror"), ("2", "Aliens", "Action"), ("3", "Heat", "Crime")])
    domain = make_domain(folder, items, None, None, item_columns={"year": None, "description": None})
    relation = Relation.model_validate({"edges": edges})
    return domain.model_copy(update={"relations": {"sequel": relation}})


class TestFiles:
    @pytest.mark.parametrize(
        ("edges", "files"),
        [
            (CSV, {"sequels_csv": "film,of\n2,1\n2,1\n"}),
            (CSV | {"file": "s.jsonl"}, {"s_jsonl": '{"film": 2, "of": 1.0}\n'}),
            (CSV | {"relation": "kind"}, {"sequels_csv": "film,kind,of\n2,sequel,1\n3,remake,1\n"}),
        ],
        ids=["csv", "jsonl", "several relations"],
    )
    def test_edges_join_items_by_their_ids(
        self, tmp_path: Path, edges: dict[str, Any], files: dict[str, str]
    ) -> None:
        batch = read_domain(films(tmp_path, edges, **files))
        assert batch.edges == (Edge("sequel", "2", "1"),)
        assert batch.report.edges == {"sequel": 1}

    def test_a_recbole_graph_joins_items_by_its_links(self, tmp_path: Path) -> None:
        domain = films(tmp_path, KG | {"unknown": "skip"}, films_kg=GRAPH, films_link=LINKS)
        batch = read_domain(domain)
        assert batch.edges == (Edge("sequel", "2", "1"), Edge("sequel", "3", "1"))
        assert batch.report.left_out == {"ends of edges of sequel that are no item, such as 'm.8'": 2}

    def test_what_is_no_item_may_be_something_that_items_have_in_common(self, tmp_path: Path) -> None:
        domain = films(tmp_path, CSV | {"entities": True}, sequels_csv="film,of\n2,Alien  saga\n")
        assert read_domain(domain).edges == (Edge("sequel", "2", Entity("Alien saga")),)

    @pytest.mark.parametrize(
        ("edges", "files", "problem"),
        [
            (CSV, {"sequels_csv": "film,of\n2,1\n2,77\n"}, r"row 3, field 'of': '77' is no item"),
            (CSV, {"sequels_csv": "film,of\n2,\n"}, r"row 2, field 'of': expected a value"),
            (CSV | {"unknown": "skip"}, {"sequels_csv": "film,of\n8,9\n"}, "no edge of sequel joins"),
            (CSV, {"sequels_csv": "film,off\n2,1\n"}, "field 'of': no such column"),
            (CSV, {}, "no such file"),
            (KG, {"films_kg": GRAPH, "films_link": LINKS}, r"row 4, field 'head_id': 'm.8' is no item"),
            (
                KG | {"named": "sequels"},
                {"films_kg": GRAPH, "films_link": LINKS},
                "no row is of the relation 'sequels'; there are: film.film.actor, film.film.sequel",
            ),
        ],
    )
    def test_a_wrong_row_is_named_and_nothing_is_imported(
        self, tmp_path: Path, edges: dict[str, Any], files: dict[str, str], problem: str
    ) -> None:
        with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
            with pytest.raises(DataError, match=problem):
                import_domain(films(tmp_path, edges, **files), store)
            assert store.counts("films")["items"] == 0


class TestStore:
    def test_an_import_again_changes_nothing_and_a_corrected_file_replaces_all(
        self, store: Store, tmp_path: Path
    ) -> None:
        first = import_domain(films(tmp_path, CSV, sequels_csv="film,of\n2,1\n3,1\n"), store).result
        assert first.relations == Changes(added=2)
        assert store.edges("films") == [Edge("sequel", "2", "1"), Edge("sequel", "3", "1")]
        again = import_domain(films(tmp_path, CSV), store).result
        assert again.relations == Changes(unchanged=2)
        assert again.data_hash == first.data_hash
        corrected = films(tmp_path, CSV | {"entities": True}, sequels_csv="film,of\n2,1\n3,Heist\n")
        result = import_domain(corrected, store).result
        assert result.relations == Changes(added=1, unchanged=1, removed=1)
        assert result.data_hash != first.data_hash
        assert store.edges("films") == [Edge("sequel", "2", "1"), Edge("sequel", "3", Entity("Heist"))]
        none = import_domain(films(tmp_path, CSV).model_copy(update={"relations": {}}), store).result
        assert none.relations == Changes(removed=2)

    def test_a_batch_without_relations_leaves_them_and_each_domain_has_its_own(self, store: Store) -> None:
        edge = Edge("sequel", "2", "1")
        store.import_batch("films", ImportBatch(edges=[edge]))
        before = store.data_hash("films")
        store.import_batch("films", ImportBatch())
        store.import_batch("books", ImportBatch(edges=[]))
        assert store.edges("films") == [edge]
        assert store.edges("books") == []
        assert store.data_hash("films") == before
