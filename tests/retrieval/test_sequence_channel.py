"""What a next-item model says of the items of a table."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.types import HistoryEntry, Item
from retrieval import ItemRows, Query
from retrieval.channels.sequence import SequenceAnswer, SequenceChannel
from retrieval.sequence.model import SequenceConfig, SequenceModel, Training
from retrieval.sequence.network import build
from tests.retrieval.contract import make_items

ITEMS = make_items(60)
KNOWN = tuple(sorted(item.id for item in ITEMS[:50]))  # the last ten have no training event
HISTORY = tuple(HistoryEntry(item=ITEMS[n], timestamp=1e9 + 60 * n) for n in (3, 1, 4))


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    """Random weights; two items have the same ones."""
    config = SequenceConfig(architecture="lru", dimension=8)
    rng = np.random.default_rng(5)
    weights = {
        name: rng.normal(size=tuple(values.shape)).astype(np.float32)
        for name, values in build(config, len(KNOWN)).state_dict().items()
    }
    first, second = KNOWN.index("i20"), KNOWN.index("i7")
    for name in ("outputs.weight", "outputs.bias"):
        weights[name][second] = weights[name][first]
    return SequenceModel(
        KNOWN, weights, Training(config=config, fitted_on="x", epochs=0, seconds=0, validation={})
    )


def asked(model: SequenceModel, table: ItemRows) -> SequenceAnswer:
    answer = SequenceChannel(model).ask(Query(HISTORY), table)
    assert answer is not None
    return answer


def likely(model: SequenceModel) -> dict[str, float]:
    """Log-probability of each item the model knows."""
    scores = model.score([one.item.id for one in HISTORY], [one.timestamp or 0.0 for one in HISTORY])
    assert scores is not None
    return dict(zip(model.items, scores.tolist(), strict=True))


def ids(table: ItemRows, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    return [table.items[row].id for row in rows.tolist()]


def test_scores_are_log_probabilities_but_for_a_constant(model: SequenceModel) -> None:
    table, true = ItemRows(ITEMS), likely(model)
    scores = asked(model, table).of(np.arange(len(table)))
    away = [
        score - true[item.id]
        for item, score in zip(table.items, scores.tolist(), strict=True)
        if item.id in true
    ]
    assert away == pytest.approx([away[0]] * len(KNOWN), abs=1e-4)
    assert {item.id for item, score in zip(table.items, scores, strict=True) if np.isnan(score)} == {
        item.id for item in ITEMS[50:]
    }


@pytest.mark.parametrize("n", [0, 1, 7, 50, 1000])
def test_the_most_likely_of_what_is_allowed_comes_first(model: SequenceModel, n: int) -> None:
    table, true = ItemRows(ITEMS), likely(model)
    allowed = np.random.default_rng(1).random(len(table)) < 0.7
    may = [item.id for item, ok in zip(table.items, allowed, strict=True) if ok and item.id in true]
    expected = sorted(may, key=lambda one: (-true[one], table.row_of[one]))
    assert ids(table, asked(model, table).top(n, allowed)) == expected[:n]


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_equal_items_are_in_the_order_of_the_table(model: SequenceModel, n: int) -> None:
    table = ItemRows(ITEMS).changed([Item(id="i20", title="i20 moves to the end")])
    allowed = np.zeros(len(table), dtype=bool)
    allowed[[table.row_of[one] for one in ("i20", "i7", "i9")]] = True
    found = ids(table, asked(model, table).top(n, allowed))
    assert [one for one in found if one != "i9"] == ["i7", "i20"][: len(found) - ("i9" in found)]


def test_a_deleted_item_is_not_found_and_a_new_one_is_unknown(model: SequenceModel) -> None:
    table = ItemRows(ITEMS)
    best = ids(table, asked(model, table).top(1, table.available))[0]
    changed = table.changed([Item(id="new", title="New")], removed=[best])
    found = ids(changed, asked(model, changed).top(1000, changed.available))
    assert sorted(found) == sorted(set(KNOWN) - {best})
    assert np.isnan(asked(model, changed).of(np.array([changed.row_of["new"]])))[0]


def test_it_has_nothing_to_say_after_nothing_known(model: SequenceModel) -> None:
    channel = SequenceChannel(model)
    assert channel.ask(Query(), ItemRows(ITEMS)) is None
    assert channel.ask(Query((HistoryEntry(item=ITEMS[55]),)), ItemRows(ITEMS)) is None
