"""`recsys fit`: channels and weights on a small domain."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Domain, Settings, load_domain
from recsys.config.retrieval import RetrieverConfig, SequenceConfig
from recsys.data.dataset import EventLog
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.types import HistoryEntry, Interaction
from retrieval import HybridRetriever, Query, build_retriever
from retrieval.build import saved_weights
from retrieval.fit import fit_domain
from retrieval.sequence import training
from tests.retrieval.contract import HashEmbedder, make_items

FILES = """
name = "walks"
noun = "walk"
plural = "walks"
[items]
file = "items.csv"
id = "id"
title = "title"
[interactions]
file = "events.csv"
user = "user"
item = "item"
timestamp = "time"
"""


@pytest.fixture
def walks(tmp_path: Path) -> Domain:
    """Everybody walks round one of two circles of ten items, sometimes skipping one."""
    folder = tmp_path / "walks"
    folder.mkdir()
    (folder / "domain.toml").write_text(FILES, encoding="utf-8")
    items = [f"{number},Item {number}" for number in range(20)]
    (folder / "items.csv").write_text("\n".join(["id,title", *items]) + "\n", encoding="utf-8")
    chance, events = random.Random(0), list[str]()
    for user in range(60):
        place, circle = chance.randrange(10), 10 * (user % 2)
        for step in range(8):
            events.append(f"u{user},{circle + place % 10},{1000 * user + step}")
            place += 1 if chance.random() < 0.9 else 2
    (folder / "events.csv").write_text("\n".join(["user,item,time", *events]) + "\n", encoding="utf-8")
    return load_domain(folder)


def test_fitted_weights_are_saved_and_used(walks: Domain, tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    steps = list[str]()
    with Store(settings.database_url) as store:
        import_domain(walks, store)
        fitted = fit_domain(
            walks,
            store,
            settings,
            HashEmbedder(),
            channels=("transitions", "linear", "popularity"),
            progress=lambda what, done, total: steps.append(what),
        )
        log = EventLog.of(store.interactions("walks"), [item.id for item in store.items("walks")])
        folder = settings.retriever_folder("walks")
        retriever, notes = build_retriever(store.items("walks"), log, HashEmbedder(), walks.retriever, folder)
    assert "asking the channels" in steps
    assert fitted.users == 60
    assert fitted.metrics["fusion"]["ndcg@10"] > fitted.metrics["popularity"]["ndcg@10"]
    assert saved_weights(folder) == fitted.weights
    assert retriever.weights == {name: weight for name, weight in fitted.weights.items() if weight > 0}
    assert notes == ()


def test_unknown_channel_is_named(walks: Domain, tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    with Store(settings.database_url) as store, pytest.raises(RequestError, match="nonsense") as caught:
        fit_domain(walks, store, settings, HashEmbedder(), channels=("nonsense",))  # type: ignore[arg-type]
    assert "transitions" in caught.value.hint


def test_too_few_events_say_so(tmp_path: Path, walks: Domain) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    with Store(settings.database_url) as store, pytest.raises(RequestError, match="too few events"):
        fit_domain(walks, store, settings, HashEmbedder(), channels=("popularity",))


def test_two_that_start_at_once_train_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes a minute of all cores: a second replica waits, and says so."""
    trained: list[int] = []
    said: list[str] = []
    at_once = threading.Event()
    train = training.train

    def slowly(*args: Any) -> Any:
        trained.append(threading.get_ident())
        assert at_once.wait(30)
        return train(*args)

    def progress(stage: str, done: int, total: int) -> None:
        said.append(stage)
        if stage.startswith("waiting"):
            at_once.set()

    monkeypatch.setattr(training, "train", slowly)
    items = make_items(8)
    events = [
        Interaction(user_id=f"u{n % 6}", item_id=items[n % 8].id, timestamp=float(n)) for n in range(60)
    ]
    log = EventLog.of(events, [item.id for item in items])
    config = RetrieverConfig(weights={"gru": 1.0}, gru=SequenceConfig(dimension=4, epochs=1))

    def start() -> HybridRetriever:
        return build_retriever(items, log, HashEmbedder(), config, tmp_path, progress=progress)[0]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: start(), range(2))
    assert len(trained) == 1
    assert "waiting for another process that trains gru" in said
    history = (HistoryEntry(item=items[0]), HistoryEntry(item=items[3]))
    answers = [one.retrieve(Query(history), 5) for one in (first, second)]
    assert answers[0] == answers[1]
