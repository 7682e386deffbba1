"""From a catalogue to a few hundred candidates.

A `Retriever` answers a `Query` with candidates, best first. Text embeddings in an
exact FAISS index and popularity are two of them; `HybridRetriever` joins them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recsys.config import RetrieverConfig
from recsys.errors import RequestError
from recsys.types import Item
from retrieval.base import Query, Retriever
from retrieval.embedding import Embedder, SentenceEmbedder, item_text
from retrieval.fusion import HybridRetriever
from retrieval.index import Progress, TextIndex, open_or_build
from retrieval.popularity import PopularityRetriever
from retrieval.text import TextRetriever

__all__ = [
    "Embedder",
    "HybridRetriever",
    "PopularityRetriever",
    "Progress",
    "Query",
    "Retriever",
    "SentenceEmbedder",
    "TextIndex",
    "TextRetriever",
    "build_retriever",
    "item_text",
    "open_or_build",
]


def build_retriever(
    items: Sequence[Item],
    counts: Mapping[str, int],
    embedder: Embedder,
    config: RetrieverConfig,
    index_folder: Path,
    data_hash: str,
    progress: Progress | None = None,
) -> tuple[HybridRetriever, str]:
    """The text and popularity channels over `items`, joined as `config` says.

    `counts` is the number of interactions per item id. The text index is opened
    from `index_folder`, or built there; the second value says why it was built,
    "" if it was opened or if text has no weight. `progress(done, total)` is called
    with item counts while vectors are made.

    Raises RequestError for an empty catalogue, ConfigError if no channel has weight.
    """
    if not items:
        raise RequestError("empty catalogue", hint="import at least one item")
    channels: dict[str, tuple[Retriever, float]] = {}
    reason = ""
    if config.text_weight > 0:
        index, reason = open_or_build(index_folder, items, embedder, data_hash, progress)
        channels["text"] = (TextRetriever(items, index, embedder, config), config.text_weight)
    channels["popularity"] = (PopularityRetriever(items, counts), config.popularity_weight)
    return HybridRetriever(channels, config.rrf_k), reason
