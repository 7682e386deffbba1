"""Wishes of cases, read as in a served request."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from recsys.data.catalog import Catalog
from recsys.evaluation.protocol.base import EvaluationData
from recsys.knowledge.rules import RuleBook
from recsys.recommender.wishes import ReadWish, WishWorld, apply_wish, linking_reader
from retrieval import HybridRetriever, Query, Retriever

_books: WeakKeyDictionary[Catalog, RuleBook] = WeakKeyDictionary()


def read_wish(
    retriever: Retriever, data: EvaluationData, query: Query, n: int
) -> tuple[Query, ReadWish | None]:
    """Return the query as its wish is read; single channels get the words."""
    if not query.wish or not isinstance(retriever, HybridRetriever):
        return query, None
    if data.catalog not in _books:
        _books[data.catalog] = RuleBook(data.domain)
    reader = linking_reader(data.domain, data.catalog, retriever)
    world = WishWorld(data.domain, data.catalog, _books[data.catalog], retriever.state.table, reader=reader)
    return apply_wish(query.wish, query, n, world)
