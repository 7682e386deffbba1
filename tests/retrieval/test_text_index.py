from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError, IndexDamaged, ModelError, RequestError, UnknownItem
from recsys.types import Item
from retrieval import TextIndex, item_text, open_or_build
from tests.retrieval.contract import HashEmbedder, make_items

ITEMS = make_items(40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "index"
    TextIndex.build(ITEMS, HashEmbedder()).save(folder)
    return folder


def opened(folder: Path, embedder_name: str = "hash") -> TextIndex:
    return TextIndex.open(folder, embedder_name=embedder_name)


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put_vectors(folder: Path, index: Any, **changes: Any) -> None:
    """Replace the vectors by others, with a manifest that vouches for them."""
    import faiss

    faiss.write_index(index, str(folder / "index.faiss"))
    digest = hashlib.sha256((folder / "index.faiss").read_bytes()).hexdigest()
    edit_manifest(folder, index_sha256=digest, **changes)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def put_nan(folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatIP(16)
    vectors = np.ones((40, 16), dtype=np.float32)
    vectors[7, 3] = np.nan
    index.add(vectors)
    put_vectors(folder, index)


def put_distance_index(folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatL2(16)
    index.add(np.ones((40, 16), dtype=np.float32))
    put_vectors(folder, index)


def put_fewer_vectors(folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatIP(16)
    index.add(np.ones((39, 16), dtype=np.float32))
    put_vectors(folder, index)


def put_garbage_with_its_hash(folder: Path) -> None:
    (folder / "index.faiss").write_bytes(b"garbage")
    edit_manifest(folder, index_sha256=hashlib.sha256(b"garbage").hexdigest())


def put_folder_for_ids(folder: Path) -> None:
    (folder / "ids.json").unlink()
    (folder / "ids.json").mkdir()


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "vectors cut short": (lambda f: truncate(f / "index.faiss"), "index.faiss is truncated or altered"),
    "vectors cut in half": (lambda f: halve(f / "index.faiss"), "index.faiss is truncated or altered"),
    "vectors emptied": (lambda f: (f / "index.faiss").write_bytes(b""), "index.faiss is truncated"),
    "vectors altered": (lambda f: flip_a_byte(f / "index.faiss"), "index.faiss is truncated or altered"),
    "vectors missing": (lambda f: (f / "index.faiss").unlink(), "index.faiss is missing"),
    "vectors are garbage": (put_garbage_with_its_hash, "not a FAISS index"),
    "vectors not finite": (put_nan, "not finite"),
    "vectors of another metric": (put_distance_index, "not an inner-product index of kind 'exact'"),
    "vectors too few": (put_fewer_vectors, "another size"),
    "ids altered": (lambda f: flip_a_byte(f / "ids.json"), "ids.json is truncated or altered"),
    "ids cut short": (lambda f: truncate(f / "ids.json"), "ids.json is truncated or altered"),
    "ids missing": (lambda f: (f / "ids.json").unlink(), "ids.json is missing"),
    "manifest missing": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest cut short": (lambda f: truncate(f / "manifest.json"), "not JSON"),
    "manifest not text": (lambda f: (f / "manifest.json").write_bytes(b"\xff\x00"), "not JSON"),
    "manifest without end": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "not JSON"),
    "manifest a list": (lambda f: (f / "manifest.json").write_text("[]"), "lacks fields"),
    "manifest empty": (lambda f: (f / "manifest.json").write_text("{}"), "lacks fields"),
    "ids a folder": (put_folder_for_ids, "cannot be read"),
    "older format": (lambda f: edit_manifest(f, format=1), "format 1"),
    "newer format": (lambda f: edit_manifest(f, format=99), "format 99"),
    "other kind": (lambda f: edit_manifest(f, kind="ivfpq"), "of kind 'ivfpq'"),
    "unknown kind": (lambda f: edit_manifest(f, kind="tree"), "wrong ones"),
    "other count": (lambda f: edit_manifest(f, count=39), "39"),
    "other dimension": (lambda f: edit_manifest(f, dimension=17), "another size"),
    "count as text": (lambda f: edit_manifest(f, count="40"), "wrong ones"),
    "other embedder": (lambda f: edit_manifest(f, embedder="another"), "made by embedder 'another'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_index_is_refused_with_a_reason_and_then_rebuilt(folder: Path, damage: str) -> None:
    hurt, reason = DAMAGES[damage]
    hurt(folder)
    with pytest.raises(IndexDamaged, match=reason):
        opened(folder)
    index, told = open_or_build(folder, ITEMS, HashEmbedder())
    assert reason in told
    assert len(index) == len(opened(folder)) == 40
    assert open_or_build(folder, ITEMS, HashEmbedder())[1] == ""


def test_saved_index_opens_as_it_was(folder: Path) -> None:
    index, built = opened(folder), TextIndex.build(ITEMS, HashEmbedder())
    assert index.ids == built.ids
    assert (index.vectors(index.ids) == built.vectors(built.ids)).all()
    assert sorted(path.name for path in folder.iterdir()) == ["ids.json", "index.faiss", "manifest.json"]


def test_missing_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="there is none"):
        opened(tmp_path / "nowhere")


def test_index_of_another_embedder_is_refused(folder: Path) -> None:
    with pytest.raises(IndexDamaged, match="made by embedder 'hash', not 'better'"):
        opened(folder, embedder_name="better")


def test_order_of_the_catalogue_does_not_matter(folder: Path) -> None:
    assert open_or_build(folder, ITEMS[::-1], HashEmbedder())[1] == ""


def test_half_written_folder_is_rebuilt(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "index.faiss").write_bytes(b"IxFI")
    index, reason = open_or_build(folder, ITEMS, HashEmbedder())
    assert "manifest.json is missing" in reason
    assert len(index) == 40


@pytest.mark.parametrize("moment", [1, 2])
def test_crash_while_saving_leaves_the_old_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    calls, replace = [], os.replace

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == moment:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(KeyboardInterrupt):
        TextIndex.build(ITEMS[:5], HashEmbedder()).save(folder)
    assert len(opened(folder)) == 40
    assert sorted(path.name for path in folder.parent.iterdir()) == [".index.lock", "index"]


def test_leftovers_of_a_killed_writer_are_swept(folder: Path) -> None:
    leftover = folder.parent / ".index.new-abc" / "new"
    leftover.mkdir(parents=True)
    TextIndex.build(ITEMS, HashEmbedder()).save(folder)
    assert not leftover.parent.exists()


def test_index_that_cannot_be_saved_is_still_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    index, reason = open_or_build(folder, ITEMS[:30], HashEmbedder())
    assert len(index.search(np.ones(16, dtype=np.float32), 5)[0]) == 5
    assert "could not be saved" in reason
    assert "No space left" in reason


def test_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    embedder = HashEmbedder()
    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        open_or_build(tmp_path, ITEMS, embedder)
    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        TextIndex.build(ITEMS, HashEmbedder()).save(tmp_path)
    assert embedder.texts == []
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def _build_in_process(folder: Path, barrier: Any, results: Any) -> None:
    barrier.wait()
    embedder = HashEmbedder()
    index, _ = open_or_build(folder, ITEMS, embedder)
    results.put((len(index), len(embedder.texts)))


def test_processes_that_build_at_once_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_build_in_process, args=(tmp_path / "index", barrier, results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert sorted(outcomes) == [(40, 0), (40, 40)]


def test_threads_may_search_at_once(folder: Path) -> None:
    index = opened(folder)
    queries = [index.vectors([item_id])[0] for item_id in index.ids] * 5
    excluded = [frozenset({index.ids[number % 40]}) for number in range(len(queries))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query, out: index.search(query, 10, out)[0], queries, excluded))
    alone = [index.search(query, 10, out)[0] for query, out in zip(queries, excluded, strict=True)]
    assert together == alone


def test_search_agrees_with_the_dot_products(folder: Path) -> None:
    index = opened(folder)
    vector = HashEmbedder().embed(["a wish"])[0]
    ids, scores = index.search(vector, 40, {"i3", "i4", "nobody"})
    products = dict(zip(index.ids, (index.vectors(index.ids) @ vector).tolist(), strict=True))
    del products["i3"], products["i4"]
    assert ids == sorted(products, key=lambda item_id: -products[item_id])
    assert scores == pytest.approx([products[item_id] for item_id in ids], abs=1e-6)


def test_items_of_equal_text_are_all_kept_in_order_of_id() -> None:
    twins = [Item(id=f"{number:03}", title="🎬") for number in range(30)]
    index = TextIndex.build(twins[::-1], HashEmbedder())
    vector = index.vectors(["000"])[0]
    for n in (1, 7, 30):
        assert index.search(vector, n)[0] == [item.id for item in twins[:n]]
    assert index.search(vector, 3, {"000", "002"})[0] == ["001", "003", "004"]


def test_build_embeds_in_chunks_and_tells_progress() -> None:
    items, steps = make_items(4_100), []
    embedder = HashEmbedder()
    index = TextIndex.build(items, embedder, lambda done, total: steps.append((done, total)))
    assert steps == [(2_048, 4_100), (4_096, 4_100), (4_100, 4_100)]
    for item in (items[0], items[2_500], items[4_099]):
        assert (index.vectors([item.id])[0] == embedder.embed([item_text(item)])[0]).all()


@pytest.mark.parametrize("odd_id", ["", "ü/..", 'a"b', "\n", "\udce9", "0"])
def test_item_ids_may_be_any_text(tmp_path: Path, odd_id: str) -> None:
    items = [Item(id="plain", title="one"), Item.model_construct(id=odd_id, title="two")]
    index, _ = open_or_build(tmp_path / "index", items, HashEmbedder())
    assert opened(tmp_path / "index").ids == index.ids == tuple(sorted(["plain", odd_id]))


def test_empty_catalogue_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="empty catalogue"):
        TextIndex.build([], HashEmbedder())
    with pytest.raises(RequestError, match="empty catalogue"):
        open_or_build(tmp_path / "index", [], HashEmbedder())


def test_two_items_of_one_id_are_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'i1' is in the catalogue twice"):
        open_or_build(tmp_path / "index", [*ITEMS, ITEMS[1]], HashEmbedder())


def test_embedder_that_gives_nan_is_a_model_error_and_saves_nothing(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    embedder.embed = lambda texts: np.full((len(texts), 16), np.nan, dtype=np.float32)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="not finite"):
        open_or_build(tmp_path / "index", ITEMS, embedder)
    assert not (tmp_path / "index").exists()


def test_vectors_of_unknown_items_are_refused(folder: Path) -> None:
    index = opened(folder)
    assert index.vectors([]).shape == (0, 16)
    assert "i1" in index
    assert "nobody" not in index
    with pytest.raises(UnknownItem, match="nobody"):
        index.vectors(["i1", "nobody"])
