"""`recsys fit`: channels and weights of a small domain."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recsys.config import Domain, Settings, load_domain
from recsys.config.retrieval import FittedWeights, GruConfig, RetrieverConfig
from recsys.config.tables import ImpressionTable
from recsys.data.dataset import EventLog
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.types import HistoryEntry, Interaction
from retrieval import HybridRetriever, Query, build_retriever
from retrieval.build import save_weights
from retrieval.fit import ExamplesByUser, _fit_returning, fit_domain
from retrieval.fusion_weights import Example
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
    rng, events = random.Random(0), list[str]()
    for user in range(60):
        position, circle = rng.randrange(10), 10 * (user % 2)
        for step in range(8):
            events.append(f"u{user},{circle + position % 10},{1000 * user + step}")
            position += 1 if rng.random() < 0.9 else 2
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
            progress=lambda step, done, total: steps.append(step),
        )
        log = EventLog.of(store.interactions("walks"), [item.id for item in store.items("walks")])
        folder = settings.retriever_folder("walks")
        retriever, notes = build_retriever(store.items("walks"), log, HashEmbedder(), walks.retriever, folder)
    assert "querying the channels" in steps
    assert fitted.users == 60
    assert fitted.metrics["fusion"]["ndcg@10"] > fitted.metrics["popularity"]["ndcg@10"]
    saved = FittedWeights.saved_in(folder)
    assert saved is not None
    assert saved.weights == fitted.weights
    assert retriever.weights == {name: weight for name, weight in fitted.weights.items() if weight > 0}
    assert notes == ()


def test_items_are_embedded_once_for_the_weights_and_for_what_is_served(
    walks: Domain, tmp_path: Path
) -> None:
    """A shop's 68,000 products took six minutes each time."""
    settings, embedder = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data"), HashEmbedder()
    with Store(settings.database_url) as store:
        import_domain(walks, store)
        fitted = fit_domain(walks, store, settings, embedder, channels=("text", "popularity"))
    assert len(embedder.texts) == 20
    assert set(fitted.weights) == {"text", "popularity"}
    assert (settings.retriever_folder("walks") / "text").is_dir()
    assert not (settings.retriever_folder("walks") / "tuning" / "text").exists()


def test_weights_are_fitted_on_the_lists_that_were_shown(walks: Domain, tmp_path: Path) -> None:
    """Of two items the target is the first or the second; among all twenty it is anywhere."""
    lines = (walks.folder / "events.csv").read_text(encoding="utf-8").splitlines()[1:]
    shown = [f"{line},{line.split(',')[1]} {(int(line.split(',')[1]) + 10) % 20}" for line in lines]
    text = "\n".join(["user,item,time,shown", *shown]) + "\n"
    (walks.folder / "shown.csv").write_text(text, encoding="utf-8")
    table = {"file": "shown.csv", "user": "user", "item": "item", "timestamp": "time"}
    table |= {"shown": {"column": "shown", "separator": " "}}  # type: ignore[dict-item]
    with_lists = walks.model_copy(update={"impressions": ImpressionTable.model_validate(table)})
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    figures = []
    with Store(settings.database_url) as store:
        import_domain(walks, store)
        for domain in (walks, with_lists):
            fitted = fit_domain(domain, store, settings, HashEmbedder(), channels=("popularity", "text"))
            figures.append(fitted.metrics["popularity"]["ndcg@10"])
    assert figures[0] < 0.63 < figures[1]  # a second place is worth .63


def test_unknown_channel_is_named(walks: Domain, tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    with Store(settings.database_url) as store, pytest.raises(RequestError, match="nonsense") as caught:
        fit_domain(walks, store, settings, HashEmbedder(), channels=("nonsense",))  # type: ignore[arg-type]
    assert "transitions" in caught.value.hint


def test_too_few_events_say_so(tmp_path: Path, walks: Domain) -> None:
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    with Store(settings.database_url) as store, pytest.raises(RequestError, match="too few events"):
        fit_domain(walks, store, settings, HashEmbedder(), channels=("popularity",))


def test_two_that_start_at_once_train_once(tmp_path: Path) -> None:
    """Training takes a minute of all cores: a second replica waits, and says so."""
    steps: list[str] = []
    second_waits = threading.Event()

    def progress(step: str, done: int, total: int) -> None:
        steps.append(step)
        if step.startswith("waiting"):
            second_waits.set()
        elif step == "training gru":
            assert second_waits.wait(30)

    items = make_items(8)
    events = [
        Interaction(user_id=f"u{n % 6}", item_id=items[n % 8].id, timestamp=float(n)) for n in range(60)
    ]
    log = EventLog.of(events, [item.id for item in items])
    config = RetrieverConfig(weights={"gru": 1.0}, gru=GruConfig(dimension=4, epochs=1))

    def start() -> HybridRetriever:
        return build_retriever(items, log, HashEmbedder(), config, tmp_path, progress=progress)[0]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: start(), range(2))
    assert "waiting for another process that trains gru" in steps
    assert steps.count("training gru") == 2  # before and after the only epoch
    history = (HistoryEntry(item=items[0]), HistoryEntry(item=items[3]))
    candidates = [retriever.retrieve(Query(history), 5) for retriever in (first, second)]
    assert candidates[0] == candidates[1]


def test_fitted_weights_of_a_channel_that_is_gone_are_not_used_and_reported(tmp_path: Path) -> None:
    items = make_items(3)
    log = EventLog.of([Interaction(user_id="u", item_id=items[0].id)], [item.id for item in items])
    save_weights(tmp_path, FittedWeights(weights={"lru": 1.0}, fitted_on="", users=1))
    config = RetrieverConfig(weights={"popularity": 1.0})
    retriever, notes = build_retriever(items, log, HashEmbedder(), config, tmp_path)
    assert retriever.weights == {"popularity": 1.0}
    assert "'lru', which is no channel: 'recsys fit' renews them" in notes[0]


def chosen_by(column: int, users: int = 60) -> ExamplesByUser:
    """Events whose target is the first of twenty by one of two columns, give or take."""
    rng = np.random.default_rng(column)
    examples = {}
    for user in range(users):
        features = rng.standard_normal((20, 2)).astype(np.float32)
        target = int((features[:, column] + 0.3 * rng.standard_normal(20)).argmax())
        examples[f"u{user:02}"] = [Example(features, target)]
    return examples


def test_returning_people_have_weights_of_their_own_where_these_prove_better() -> None:
    """In a split by time last month's list was .11 better than the fused channels."""
    names, by_person, by_trend = ("person", "trend"), chosen_by(0), chosen_by(1)
    weights, gain = _fit_returning(by_person, by_trend, names)
    assert weights["trend"] > 5 * weights["person"]
    assert gain is not None
    assert gain.low > 0.1
    weights, gain = _fit_returning(by_person, by_person, names)
    assert weights == {}
    assert gain is not None
    assert gain.low <= 0
    assert _fit_returning(by_person, chosen_by(1, users=39), names) == ({}, None)
