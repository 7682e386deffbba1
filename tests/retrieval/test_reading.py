"""Events read as arrays, and their last ones held out, as objects would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.config import Domain, Settings, load_domain
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.importers import import_domain
from recsys.data.splits import leave_one_out
from recsys.data.store import Store
from retrieval.holding_out import history_before, hold_out
from retrieval.reading import read_log
from retrieval.table import ItemRows
from tests.fakes import RATINGS, VIEWERS, write_films

TWICE = (("ann", "f3", "2", "500"), ("Zoe", "f1", "", ""), ("Zoe", "f2", "4", ""), ("bob", "f2", "", "300"))


def films(folder: Path) -> Domain:
    users = (*VIEWERS, ("Zoe", "30", ""))
    return load_domain(write_films(folder, users=users, events=(*RATINGS, *TWICE)))


def test_log_is_the_same_as_from_objects(tmp_path: Path, store_url: str) -> None:
    domain = films(tmp_path / "films")
    with Store(store_url) as store:
        import_domain(domain, store)
        ids = [item.id for item in store.items("films") if item.id != "f10"]
        log = read_log(store, domain, ids)
        assert log.hash == EventLog.of(store.interactions("films"), ids, domain.feedback).hash
        assert len(read_log(store, domain, [])) == 0


def test_held_out_events_are_those_of_leave_one_out(tmp_path: Path, settings: Settings) -> None:
    domain = films(tmp_path / "films")
    with Store(settings.database_url) as store:
        import_domain(domain, store)
        items, events = store.items("films"), store.interactions("films")
        log = read_log(store, domain, [item.id for item in items])
    split = leave_one_out(events, last=2)
    held_out = hold_out(log, 2, 100)
    assert held_out.train.hash == EventLog.of(split.train, log.items, domain.feedback).hash
    table, catalog = ItemRows(items), Catalog(items)
    assert len(held_out.targets) == len(split.cases) > 4
    for case, position in zip(split.cases, held_out.targets.tolist(), strict=True):
        assert case.target.item_id == log.items[log.item[position]]
        expected = catalog.entries(case.history, domain.feedback)
        actual = history_before(log, position, table)
        assert [(entry.item.id, entry.timestamp) for entry in actual] == [
            (entry.item.id, entry.timestamp) for entry in expected
        ]


def test_only_some_of_the_held_out_events_are_asked_for(tmp_path: Path) -> None:
    log = EventLog(
        items=("a", "b", "c"),
        users=("u", "v"),
        start=np.array([0, 3, 6]),
        item=np.array([0, 1, 2, 2, 1, 0], dtype=np.int32),
        time=np.full(6, np.nan),
        preference=np.zeros(6, dtype=np.int8),
    )
    assert hold_out(log, 5, 100).targets.tolist() == [1, 2, 4, 5]
    assert hold_out(log, 5, 2).targets.tolist() == [1, 4]
