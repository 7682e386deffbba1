"""The embedded text has the attributes that `[retriever.text]` names; only changed texts are embedded."""

from __future__ import annotations

from pathlib import Path

from recsys.config.retrieval import RetrieverConfig, TextConfig
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, Item
from retrieval import HybridRetriever, Query, build_retriever
from tests.retrieval.contract import HashEmbedder

ITEMS = [
    Item(id=str(number), title=f"Film {number}", attributes={"genre": ("Drama",)}) for number in range(6)
]
FACTS = {"director": ("Ann",)}


def with_facts(item: Item) -> Item:
    return item.model_copy(update={"attributes": {**item.attributes, **FACTS}})


def build(folder: Path, items: list[Item], embedder: HashEmbedder, *attributes: str) -> HybridRetriever:
    config = RetrieverConfig(weights={"text": 1.0}, text=TextConfig(attributes=attributes or None))
    log = EventLog.of((), [item.id for item in items])
    return build_retriever(items, log, embedder, config, folder)[0]


def test_a_source_that_is_added_embeds_the_items_it_changes_alone(tmp_path: Path) -> None:
    build(tmp_path, ITEMS, HashEmbedder())
    embedder = HashEmbedder()
    build(tmp_path, [with_facts(ITEMS[0]), *ITEMS[1:]], embedder)
    assert embedder.texts == ["Film 0\ngenre: Drama\ndirector: Ann"]


def test_attributes_that_the_text_leaves_out_embed_nothing(tmp_path: Path) -> None:
    first, second = HashEmbedder(), HashEmbedder()
    build(tmp_path, ITEMS, first, "genre")
    retriever = build(tmp_path, list(map(with_facts, ITEMS)), second, "genre")
    assert len(first.texts) == len(ITEMS)
    assert not second.texts
    retriever.update([with_facts(item) for item in ITEMS[:2]])
    assert not second.texts
    retriever.update([ITEMS[0].model_copy(update={"attributes": {"genre": ("Crime",), **FACTS}})])
    assert second.texts == ["Film 0\ngenre: Crime"]


def test_a_history_item_of_another_catalog_is_read_as_the_items_are(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    retriever = build(tmp_path, ITEMS, embedder, "genre")
    embedder.texts.clear()
    other = Item(id="x", title="Elsewhere", attributes={"genre": ("Crime",), **FACTS})
    retriever.retrieve(Query(history=(HistoryEntry(item=other, liked=True),)), 3)
    assert embedder.texts == ["Elsewhere\ngenre: Crime"]
