"""Events as columns are the sequence of events that objects would be."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from recsys.config import Feedback
from recsys.data.batch import ImportBatch
from recsys.data.dataset import DISLIKED, LIKED, UNKNOWN, EventLog
from recsys.data.event_columns import EventColumns
from recsys.data.store import Store
from recsys.errors import StoreError
from recsys.types import Interaction, Item, User

EVENTS = [
    Interaction(user_id="zoë", item_id="b", rating=4, timestamp=1.5, context={"b": "1", "a": "é"}),
    Interaction(user_id="ann", item_id="a", timestamp=2),
    Interaction(user_id="zoë", item_id="a", rating=1),
    Interaction(user_id="𝒳", item_id="gone", rating=3, timestamp=3),
]


def test_columns_are_a_sequence_of_events() -> None:
    columns = EventColumns.of(iter(EVENTS))
    assert columns == EVENTS
    assert tuple(EVENTS) == columns
    assert columns != EVENTS[:3]
    assert columns != [*EVENTS[:3], EVENTS[0]]
    assert [columns[0], columns[-1]] == [EVENTS[0], EVENTS[-1]]
    assert columns[1:3] == EVENTS[1:3]
    assert list(columns[0].context) == ["b", "a"]
    assert EventColumns.of(columns) is columns
    assert len(EventColumns.of(())) == 0
    with pytest.raises(IndexError):
        columns[4]


def test_log_groups_events_by_user_and_drops_unknown_items() -> None:
    log = EventLog.of(EVENTS, ["b", "a", "c"], Feedback(liked_at_least=4, disliked_at_most=2))
    assert (log.items, log.users) == (("a", "b", "c"), ("ann", "zoë"))
    assert log.start.tolist() == [0, 1, 3]
    assert log.item.tolist() == [0, 1, 0]
    assert np.array_equal(log.time, [2, 1.5, np.nan], equal_nan=True)
    assert log.preference.tolist() == [UNKNOWN, LIKED, DISLIKED]
    assert len(EventLog.of((), ["a"])) == len(EventLog.of(EVENTS, ())) == 0


@pytest.mark.parametrize(
    ("column", "value"), [("context", "{broken"), ("context", '{"a": 7}'), ("rating", "often")]
)
def test_a_damaged_event_is_told_in_words(tmp_path: Path, column: str, value: str) -> None:
    path = tmp_path / "store.db"
    users, items = (User(id="ann"),), (Item(id="a", title="A"),)
    with Store(f"sqlite:///{path}") as store:
        store.import_batch("films", ImportBatch(items, users, EVENTS[1:2]))
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute(f"UPDATE interactions SET {column} = ?", [value])
        raw.close()
        with pytest.raises(StoreError, match="cannot be read"):
            store.interactions("films")
