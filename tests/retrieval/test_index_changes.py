"""A text index to which items are added and from which they are deleted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from recsys.errors import IndexDamaged, ModelError, RequestError, UnknownItem
from recsys.types import Item
from retrieval import TextIndex, item_text, open_or_build
from retrieval.arrays import FloatArray
from retrieval.text_index.index import COMPACT_FROM
from tests.retrieval.contract import HashEmbedder, make_items

ITEMS = make_items(40)
ALL = len(ITEMS)


def embed(*items: Item) -> FloatArray:
    return HashEmbedder().embed([item_text(item) for item in items])


@pytest.fixture
def index() -> TextIndex:
    return TextIndex.build(ITEMS, HashEmbedder())


def test_a_new_item_is_found_at_once(index: TextIndex) -> None:
    new = Item(id="new", title="Brand new")
    larger = index.with_items([new], HashEmbedder())
    ids, scores = larger.search(embed(new)[0], 3)
    assert ids[0] == "new"
    assert scores[0] == pytest.approx(1.0)
    assert "new" in larger
    assert len(larger) == ALL + 1
    assert larger.ids[-1] == "new"


def test_only_new_and_changed_items_are_embedded(index: TextIndex) -> None:
    embedder = HashEmbedder()
    changed, new = Item(id="i3", title="Renamed"), Item(id="new", title="Brand new")
    larger = index.with_items([*ITEMS[:3], changed, *ITEMS[4:], new], embedder)
    assert embedder.texts == ["Renamed", "Brand new"]
    assert len(larger) == ALL + 1


def test_adding_what_is_there_gives_the_same_index(index: TextIndex) -> None:
    assert index.with_items(ITEMS, HashEmbedder()) is index
    assert index.with_items([], HashEmbedder()) is index
    assert index.without(["nobody"]) is index
    assert index.compact() is index


def test_a_changed_item_is_found_by_its_new_text_only(index: TextIndex) -> None:
    changed = Item(id="i3", title="Renamed")
    newer = index.with_items([changed], HashEmbedder())
    ids, scores = newer.search(embed(ITEMS[3])[0], ALL)
    assert sorted(ids) == sorted(index.ids)
    assert scores[0] < 0.99
    assert newer.search(embed(changed)[0], 1)[0] == ["i3"]
    assert (newer.vectors(["i3"]) == embed(changed)).all()


def test_deleted_items_are_never_found(index: TextIndex) -> None:
    fewer = index.without(["i3", "i7", "nobody"])
    assert len(fewer) == len(fewer.ids) == ALL - 2
    assert "i3" not in fewer
    ids, _ = fewer.search(embed(ITEMS[3])[0], ALL)
    assert sorted(ids) == sorted(set(index.ids) - {"i3", "i7"})
    with pytest.raises(UnknownItem, match="i3"):
        fewer.vectors(["i3"])


def test_an_item_may_be_deleted_and_added_again(index: TextIndex) -> None:
    again = index.without(["i3"]).with_items([ITEMS[3]], HashEmbedder())
    assert again.search(embed(ITEMS[3])[0], 1)[0] == ["i3"]
    assert len(again) == ALL
    fewer = again.without(["i3"])
    assert "i3" not in fewer
    assert "i3" not in fewer.search(embed(ITEMS[3])[0], ALL)[0]


def test_the_old_index_stays_as_it_was(index: TextIndex) -> None:
    before = index.search(embed(ITEMS[3])[0], ALL)
    index.without(["i3"]).with_items([Item(id="new", title="Title 3")], HashEmbedder()).compact()
    ids, scores = index.search(embed(ITEMS[3])[0], ALL)
    assert (ids, scores.tolist()) == (before[0], before[1].tolist())
    assert len(index) == ALL


def test_rows_are_the_base_then_what_was_added_and_after_compaction_by_id(index: TextIndex) -> None:
    added = [Item(id=item_id, title=item_id) for item_id in ("z", "a", "m")]
    changed = index.with_items(added, HashEmbedder()).without(["i0", "m"])
    assert changed.ids == (*(item_id for item_id in index.ids if item_id != "i0"), "a", "z")
    assert changed.compact().ids == tuple(sorted(changed.ids))
    rows = np.array([len(changed) - 1, 0, 3])
    for state in (changed, changed.compact()):
        assert (state.vectors_at(rows) == state.vectors([state.ids[row] for row in rows])).all()


def test_equal_items_in_base_and_added_are_ordered_by_id() -> None:
    twins = [Item(id=f"{number:02}", title="🎬") for number in range(30)]
    index = TextIndex.build(twins[::2], HashEmbedder()).with_items(twins[1::2], HashEmbedder())
    for n in (1, 7, 30):
        assert index.search(embed(twins[0])[0], n)[0] == [item.id for item in twins[:n]]


@pytest.mark.parametrize("dimension", [3, 16, 33, 384])
def test_ties_do_not_depend_on_where_the_rows_lie(dimension: int) -> None:
    """Kernels take several rows at a time, and round the remaining ones differently."""
    items = [Item(id=f"{number:03}", title="odd" if number % 3 else f"{number}") for number in range(200)]
    index = TextIndex.build(items, HashEmbedder(dimension=dimension))
    odd = [item.id for item in items if item.title == "odd"]
    query = HashEmbedder(dimension=dimension).embed(["odd"])[0]
    for n in (1, 5, 50, 100):
        assert index.search(query, n)[0] == odd[:n]
        assert index.search(query, n, odd[:7])[0] == odd[7 : n + 7]


def test_removing_everything_is_a_request_error(index: TextIndex) -> None:
    with pytest.raises(RequestError, match="empty catalogue"):
        index.without(index.ids)
    assert len(index.without(index.ids[1:])) == 1


def test_index_of_one_item_takes_another_and_loses_the_first() -> None:
    index = TextIndex.build(ITEMS[:1], HashEmbedder()).with_items(ITEMS[1:2], HashEmbedder())
    index = index.without([ITEMS[0].id])
    assert index.ids == ("i1",)
    assert (
        index.search(embed(ITEMS[0])[0], 5)[0] == index.compact().search(embed(ITEMS[0])[0], 5)[0] == ["i1"]
    )


def test_adding_two_items_of_one_id_is_a_request_error(index: TextIndex) -> None:
    with pytest.raises(RequestError, match="'new' is in the catalogue twice"):
        index.with_items([Item(id="new", title="a"), Item(id="new", title="b")], HashEmbedder())


def test_vectors_of_two_embedders_are_never_mixed(index: TextIndex) -> None:
    with pytest.raises(RequestError, match="made by embedder 'hash', not 'better'"):
        index.with_items(make_items(41), HashEmbedder(name="better"))
    with pytest.raises(ModelError, match="wrong shape"):
        index.with_items(make_items(41), HashEmbedder(dimension=17))


def test_many_changes_are_compacted_by_themselves(index: TextIndex) -> None:
    many = [Item(id=f"n{number}", title=f"New {number}") for number in range(COMPACT_FROM + 1)]
    few = index.with_items(many[:-1], HashEmbedder())
    assert few.compact() is not few
    full = few.with_items(many[-1:], HashEmbedder())
    assert full.compact() is full
    assert full.ids == tuple(sorted(full.ids))
    assert full.search(embed(many[-1])[0], 1)[0] == [many[-1].id]


def test_removed_vectors_are_in_no_saved_file(index: TextIndex, tmp_path: Path) -> None:
    secret, other = embed(ITEMS[3])[0].tobytes(), embed(ITEMS[4])[0].tobytes()
    index.without(["i3"]).save(tmp_path / "index")
    files = {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    assert other in files["index.faiss"]
    assert secret not in files["index.faiss"]
    assert b'"i3"' not in files["ids.json"]


def test_what_is_saved_opens_as_it_was_searched(index: TextIndex, tmp_path: Path) -> None:
    changed = index.without(["i3"]).with_items([Item(id="new", title="Brand new")], HashEmbedder())
    changed.save(tmp_path / "index")
    opened = TextIndex.open(tmp_path / "index", embedder_name="hash")
    query = embed(Item(id="", title="a wish"))[0]
    assert opened.search(query, ALL)[0] == changed.search(query, ALL)[0]


def test_saved_index_is_brought_up_to_date_with_the_least_work(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    open_or_build(folder, ITEMS, HashEmbedder())
    embedder = HashEmbedder()
    wanted = [*ITEMS[5:], Item(id="i3", title="Renamed"), Item(id="new", title="Brand new")]
    index, reason = open_or_build(folder, wanted, embedder)
    assert reason == "items: 1 new, 1 changed, 4 gone"
    assert embedder.texts == ["Renamed", "Brand new"]
    assert index.ids == tuple(sorted(item.id for item in wanted))
    assert open_or_build(folder, wanted, embedder)[1] == ""
    assert (index.vectors(index.ids) == TextIndex.build(wanted, HashEmbedder()).vectors(index.ids)).all()


def test_of_two_writers_one_embeds_and_the_other_waits(tmp_path: Path) -> None:
    open_or_build(tmp_path / "index", ITEMS, HashEmbedder())
    start, wanted, embedders = threading.Barrier(2), make_items(60), [HashEmbedder(), HashEmbedder()]

    def bring_up_to_date(embedder: HashEmbedder) -> int:
        start.wait()
        return len(open_or_build(tmp_path / "index", wanted, embedder)[0])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(bring_up_to_date, embedders)) == [60, 60]
    assert sorted(len(embedder.texts) for embedder in embedders) == [0, 20]


def test_dropping_items_asks_nothing_of_the_embedder(tmp_path: Path) -> None:
    open_or_build(tmp_path / "index", ITEMS, HashEmbedder())

    class Unloaded(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> FloatArray:
            raise AssertionError("the model was loaded")

    index, reason = open_or_build(tmp_path / "index", ITEMS[:30], Unloaded())
    assert (len(index), reason) == (30, "items: 10 gone")


def test_a_wholly_other_catalogue_takes_over_the_folder(tmp_path: Path) -> None:
    open_or_build(tmp_path / "index", ITEMS, HashEmbedder())
    others = [Item(id=f"o{number}", title=f"Other {number}") for number in range(5)]
    index, reason = open_or_build(tmp_path / "index", others, HashEmbedder())
    assert reason == "items: 5 new, 40 gone"
    assert len(index) == len(TextIndex.open(tmp_path / "index", embedder_name="hash")) == 5


def test_embedder_of_another_dimension_builds_anew(tmp_path: Path) -> None:
    open_or_build(tmp_path / "index", ITEMS, HashEmbedder())
    with pytest.raises(IndexDamaged, match="there is none"):
        TextIndex.open(tmp_path / "nowhere", embedder_name="hash")
    index, reason = open_or_build(tmp_path / "index", make_items(41), HashEmbedder(dimension=32))
    assert "has dimension 16, the embedder gives 32" in reason
    assert index.dimension == 32


def test_readers_see_one_state_while_a_writer_changes_it(index: TextIndex) -> None:
    """Every state holds the items of one version only: a mixture would be a torn read."""
    current, done, torn = [index], threading.Event(), []

    def read() -> None:
        query = embed(ITEMS[0])[0]
        while not done.is_set():
            taken = current[0]
            ids, _ = taken.search(query, 2 * ALL)
            versions = {item_id.partition("-")[0] for item_id in ids if "-" in item_id}
            if len(versions) > 1 or sorted(ids) != sorted(taken.ids) or len(ids) != len(taken):
                torn.append((versions, len(ids), len(taken)))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(40):
        old = [item_id for item_id in current[0].ids if "-" in item_id]
        new = [Item(id=f"v{version}-{number}", title=f"{version} {number}") for number in range(8)]
        following = index.without(["i5"]).with_items(new, HashEmbedder())
        if version % 3 == 0:
            following = current[0].without(old).with_items(new, HashEmbedder()).compact()
        current[0] = following
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


TITLES = ("one", "two", "three", "four", "five")
VECTORS = dict(zip(TITLES, HashEmbedder().embed(TITLES), strict=True))


class IndexAgainstModel(RuleBasedStateMachine):
    """Whatever is done to an index, it answers as a scan of the texts it should hold."""

    ids = st.sampled_from([f"i{number}" for number in range(12)])
    titles = st.sampled_from(TITLES)

    @initialize(titles=st.dictionaries(ids, titles, min_size=1))
    def start(self, titles: dict[str, str]) -> None:
        self.held = dict(titles)
        self.index = TextIndex.build(self._items(titles), HashEmbedder())

    @rule(titles=st.dictionaries(ids, titles))
    def put(self, titles: dict[str, str]) -> None:
        self.held |= titles
        self.index = self.index.with_items(self._items(titles), HashEmbedder())

    @rule(gone=st.sets(ids))
    def remove(self, gone: set[str]) -> None:
        if gone >= self.held.keys():
            with pytest.raises(RequestError):
                self.index.without(gone)
            return
        self.held = {item_id: title for item_id, title in self.held.items() if item_id not in gone}
        self.index = self.index.without(gone)

    @rule()
    def compact(self) -> None:
        self.index = self.index.compact()

    @rule(wish=titles, n=st.integers(0, 14), out=st.frozensets(ids), seed=st.none() | st.integers(0, 99))
    def search(self, wish: str, n: int, out: frozenset[str], seed: int | None) -> None:
        allowed = None
        if seed is not None:
            allowed = np.random.default_rng(seed).random(len(self.index)) < 0.5
        may = dict(
            zip(self.index.ids, allowed if allowed is not None else [True] * len(self.held), strict=True)
        )
        scored = {
            item_id: float(VECTORS[title] @ VECTORS[wish])
            for item_id, title in self.held.items()
            if may[item_id] and item_id not in out
        }
        found, scores = self.index.search(VECTORS[wish], n, out, allowed)
        assert found == sorted(scored, key=lambda item_id: (-round(scored[item_id], 5), item_id))[:n]
        assert scores == pytest.approx([scored[item_id] for item_id in found], abs=1e-6)

    @invariant()
    def holds_what_it_should(self) -> None:
        assert sorted(self.index.ids) == sorted(self.held)
        assert len(self.index) == len(self.held)
        vectors = np.stack([VECTORS[self.held[item_id]] for item_id in self.index.ids])
        assert (self.index.vectors(self.index.ids) == vectors).all()

    @staticmethod
    def _items(titles: dict[str, str]) -> list[Item]:
        return [Item(id=item_id, title=title) for item_id, title in titles.items()]


TestIndexAgainstModel = IndexAgainstModel.TestCase
TestIndexAgainstModel.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
