"""Scores of a next-item model for the items of a table."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.retrieval import GruConfig
from recsys.types import HistoryEntry, Item
from retrieval import ItemRows, Query
from retrieval.channels.sequence import SequenceChannel, SequenceScores
from retrieval.sequence.model import SequenceModel, TrainingRecord
from retrieval.sequence.network import build
from tests.retrieval.contract import make_items

ITEMS = make_items(60)
KNOWN = tuple(sorted(item.id for item in ITEMS[:50]))  # the last ten have no training event
HISTORY = tuple(HistoryEntry(item=ITEMS[n], timestamp=1e9 + 60 * n) for n in (3, 1, 4))


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    """Random weights; two items have the same ones."""
    config = GruConfig(dimension=8)
    rng = np.random.default_rng(5)
    weights = {
        name: rng.normal(size=tuple(values.shape)).astype(np.float32)
        for name, values in build(config, len(KNOWN)).state_dict().items()
    }
    first, second = KNOWN.index("i20"), KNOWN.index("i7")
    for name in ("outputs.weight", "outputs.bias"):
        weights[name][second] = weights[name][first]
    return SequenceModel(
        KNOWN, weights, TrainingRecord(config=config, fitted_on="x", epochs=0, seconds=0, validation={})
    )


def score(model: SequenceModel, table: ItemRows) -> SequenceScores:
    scores = SequenceChannel(model).score(Query(HISTORY), table)
    assert scores is not None
    return scores


def log_p_of(model: SequenceModel) -> dict[str, float]:
    """Log-probability of each item the model knows."""
    scores = model.score([entry.item.id for entry in HISTORY], [entry.timestamp or 0.0 for entry in HISTORY])
    assert scores is not None
    return dict(zip(model.items, scores.tolist(), strict=True))


def ids(table: ItemRows, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    return [table.items[row].id for row in rows.tolist()]


def test_scores_are_log_probabilities_up_to_a_constant(model: SequenceModel) -> None:
    table, log_p = ItemRows(ITEMS), log_p_of(model)
    scores = score(model, table).at(np.arange(len(table)))
    differences = [
        score - log_p[item.id]
        for item, score in zip(table.items, scores.tolist(), strict=True)
        if item.id in log_p
    ]
    assert differences == pytest.approx([differences[0]] * len(KNOWN), abs=1e-4)
    assert {item.id for item, score in zip(table.items, scores, strict=True) if np.isnan(score)} == {
        item.id for item in ITEMS[50:]
    }


@pytest.mark.parametrize("n", [0, 1, 7, 50, 1000])
def test_the_most_likely_of_what_is_allowed_comes_first(model: SequenceModel, n: int) -> None:
    table, log_p = ItemRows(ITEMS), log_p_of(model)
    allowed = np.random.default_rng(1).random(len(table)) < 0.7
    may = [item.id for item, ok in zip(table.items, allowed, strict=True) if ok and item.id in log_p]
    expected = sorted(may, key=lambda item_id: (-log_p[item_id], table.row_of[item_id]))
    assert ids(table, score(model, table).top(n, allowed)) == expected[:n]


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_equal_items_are_in_the_order_of_the_table(model: SequenceModel, n: int) -> None:
    table = ItemRows(ITEMS).with_changes([Item(id="i20", title="i20 moves to the end")])
    allowed = np.zeros(len(table), dtype=bool)
    allowed[[table.row_of[item_id] for item_id in ("i20", "i7", "i9")]] = True
    top = ids(table, score(model, table).top(n, allowed))
    assert [item_id for item_id in top if item_id != "i9"] == ["i7", "i20"][: len(top) - ("i9" in top)]


def test_a_deleted_item_is_not_found_and_a_new_one_is_unknown(model: SequenceModel) -> None:
    table = ItemRows(ITEMS)
    best = ids(table, score(model, table).top(1, table.available))[0]
    changed = table.with_changes([Item(id="new", title="New")], removed=[best])
    top = ids(changed, score(model, changed).top(1000, changed.available))
    assert sorted(top) == sorted(set(KNOWN) - {best})
    assert np.isnan(score(model, changed).at(np.array([changed.row_of["new"]])))[0]


def test_a_history_without_known_items_has_no_scores(model: SequenceModel) -> None:
    channel = SequenceChannel(model)
    assert channel.score(Query(), ItemRows(ITEMS)) is None
    assert channel.score(Query((HistoryEntry(item=ITEMS[55]),)), ItemRows(ITEMS)) is None
