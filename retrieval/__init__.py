"""From a catalogue to a few hundred candidates.

A `Retriever` answers a `Query` with candidates, best first. *Channels* are the ways to find items:
text embeddings in a FAISS index, item-to-item strengths, a sequence model, popularity and others.
`HybridRetriever` fuses them.
"""

from __future__ import annotations

from recsys.data.dataset import EventLog
from retrieval.base import Channel, ChannelRetriever, ChannelScores, DenseScores, Query, Retriever
from retrieval.build import build_retriever
from retrieval.channels.text import TextChannel
from retrieval.embedding import Embedder, SentenceEmbedder, item_text
from retrieval.hybrid import HybridRetriever
from retrieval.table import ItemRows
from retrieval.text_index.index import TextIndex, open_or_build

__all__ = [
    "Channel",
    "ChannelRetriever",
    "ChannelScores",
    "DenseScores",
    "Embedder",
    "EventLog",
    "HybridRetriever",
    "ItemRows",
    "Query",
    "Retriever",
    "SentenceEmbedder",
    "TextChannel",
    "TextIndex",
    "build_retriever",
    "item_text",
    "open_or_build",
]
