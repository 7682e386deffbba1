"""Baselines that know the items alone: their words, attributes and dates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.sparse as sp

from recsys.data.splits import Case
from recsys.errors import MissingDependency, RequestError
from recsys.evaluation.protocol.base import EvaluationData, SystemFactory
from recsys.evaluation.systems.baselines import ScoredCatalogue, Scores
from recsys.knowledge.typed_values import read_value
from recsys.types import Item

HISTORY = 20  # newest events that make the question of BM25
PRIOR = 1.0  # events that the shares of all people count for
LITTLE = 1e-6  # the share of a value that nobody chose


def bm25(data: EvaluationData) -> ScoredCatalogue:
    """Rank by BM25 for the wish and the texts of the newest events.

    Lù: BM25S, 2024. Scores of the events are averaged.

    Raises:
        MissingDependency: bm25s is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependency("bm25s is not installed", hint="pip install 'whyrec[evaluate]'") from error
    items = [data.by_id[item] for item in data.log.items]
    words = bm25s.tokenize([_text(item) for item in items], return_ids=False, show_progress=False)
    index = bm25s.BM25()
    index.index(words, show_progress=False)

    @cache
    def scores_of(row: int) -> Scores:
        return np.asarray(index.get_scores(words[row]), dtype=np.float64)

    def score(case: Case) -> Scores:
        total = np.zeros(len(items))
        rows = [data.log.row_of[event.item_id] for event in case.history[-HISTORY:]]
        for row in rows:
            total += scores_of(row) / len(rows)
        if case.wish:
            wish = bm25s.tokenize([case.wish], return_ids=False, show_progress=False)[0]
            total += index.get_scores(wish)
        return total

    return ScoredCatalogue("bm25", data.log, score)


def own_attributes(data: EvaluationData) -> ScoredCatalogue:
    """Rank by how often the user, and all people, chose the item's attributes.

    A log-linear count: the sum over attributes of the log of the mean share of the item's values.
    """
    silent = {name for name, kind in data.domain.attributes.items() if kind.ordered}
    names = sorted({name for item in data.items for name in item.attributes if name not in silent})
    rows = [data.log.row_of[event.item_id] for event in data.split.train]
    known = [
        _membership([data.by_id[item].attributes.get(name, ()) for item in data.log.items]) for name in names
    ]
    everybody = [(has[rows] > 0).mean(axis=0) for has in known]

    def score(case: Case) -> Scores:
        total = np.zeros(len(data.log.items))
        own = [data.log.row_of[event.item_id] for event in case.history]
        for has, shares in zip(known, everybody, strict=True):
            liked = (np.asarray((has[own] > 0).sum(axis=0)) + PRIOR * np.asarray(shares)) / (len(own) + PRIOR)
            total += np.log(has @ np.ravel(liked) + LITTLE)
        return total

    return ScoredCatalogue("own-attributes", data.log, score, data.log.hash)


def newest(data: EvaluationData) -> ScoredCatalogue:
    """Rank by the first attribute that is a date or a time, the newest first.

    Raises:
        RequestError: No attribute is one.
    """
    dated = [name for name, kind in data.domain.attributes.items() if kind.type in ("date", "time")]
    if not dated:
        raise RequestError(
            f"'{data.domain.name}' does not know how old its {data.domain.plural} are",
            hint='give an attribute of items the type "date" or "time"',
        )
    name, kind = dated[0], data.domain.attributes[dated[0]]
    attributes = {item.id: item.attributes for item in data.items}  # `by_id` has those of the prompt alone
    texts = [attributes[item].get(name) for item in data.log.items]
    scores = np.array([read_value(of[0], name, kind).first if of else 0.0 for of in texts], dtype=np.float64)
    return ScoredCatalogue("newest", data.log, lambda case: scores)


def _text(item: Item) -> str:
    return " ".join(
        (item.title, item.description, *(value for of in item.attributes.values() for value in of))
    )


def _membership(values: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """Return (items, values): the share of each value among an item's."""
    columns = {value: column for column, value in enumerate(sorted({value for of in values for value in of}))}
    rows = [row for row, of in enumerate(values) for _ in of]
    cells = [1 / len(of) for of in values for _ in of]
    shape = (len(values), max(1, len(columns)))
    return sp.csr_matrix((cells, (rows, [columns[value] for of in values for value in of])), shape=shape)


CONTENT_BASELINES: dict[str, SystemFactory] = {
    "bm25": bm25,
    "own-attributes": own_attributes,
    "newest": newest,
}
