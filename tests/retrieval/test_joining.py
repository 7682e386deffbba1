"""Channels that are fitted beside the requests, or not at all."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.retrieval import GruConfig, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.errors import ConfigError, ModelError
from recsys.types import Interaction
from retrieval import Query, build, build_retriever
from retrieval.arrays import FloatArray
from retrieval.build import RetrieverBuilder
from retrieval.joining import ChannelJoiner
from retrieval.needs import GIB, Need, need_of
from tests.retrieval.contract import HashEmbedder, history, make_items

ITEMS = make_items(12)
CONFIG = RetrieverConfig(
    weights={"gru": 1.0, "text": 0.3, "linear": 0.5}, gru=GruConfig(dimension=4, hidden=4, epochs=1)
)
QUERY = Query(history(ITEMS[0], ITEMS[3]), "a wish")

Needs = Callable[[str, EventLog, RetrieverConfig, int], Need]


def log() -> EventLog:
    events = [
        Interaction(user_id=f"u{n % 6}", item_id=ITEMS[n % 10].id, timestamp=float(n)) for n in range(60)
    ]
    return EventLog.of(events, [item.id for item in ITEMS])


def builder(folder: Path) -> RetrieverBuilder:
    return RetrieverBuilder(ITEMS, log(), HashEmbedder(), CONFIG, folder)


def needs(**by_name: Need) -> Needs:
    return lambda name, *_: by_name.get(name, Need())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequence model and the text index take minutes."""
    monkeypatch.setattr(build, "need_of", needs(gru=Need(seconds=300), text=Need(seconds=60)))


@pytest.mark.usefixtures("slow")
def test_what_has_joined_answers_as_if_it_had_always_been_there(tmp_path: Path) -> None:
    complete = builder(tmp_path / "complete").build()
    fitted = builder(tmp_path / "later")
    retriever = fitted.build(at_most_s=10)
    assert set(retriever.state.missing) == {"gru", "text"}
    assert retriever.weights == {"linear": 0.5}
    assert len(retriever.retrieve(QUERY, 5)) == 5
    before = retriever.at_state(retriever.state)
    joiner = ChannelJoiner(fitted, retriever)
    joiner.start()
    assert joiner.wait(60)
    assert not retriever.state.missing
    assert retriever.weights == complete.weights
    assert retriever.retrieve(QUERY, 10) == complete.retrieve(QUERY, 10)
    assert before.weights == {"linear": 0.5}  # a request reads one state from beginning to end
    again = builder(tmp_path / "later").build(at_most_s=10)  # what was fitted is kept
    assert not again.state.missing


@pytest.mark.usefixtures("slow")
def test_channel_that_joins_knows_what_changed_while_it_was_fitted(tmp_path: Path) -> None:
    fitted = builder(tmp_path)
    retriever = fitted.build(at_most_s=10)
    new = ITEMS[1].model_copy(update={"id": "new", "title": "Quite new"})
    retriever.update([new], removed=[ITEMS[2].id])
    ChannelJoiner(fitted, retriever).finish()
    found = {candidate.item.id: candidate for candidate in retriever.retrieve(QUERY, 12)}
    assert "text" in found["new"].channels
    assert ITEMS[2].id not in found


@pytest.mark.usefixtures("slow")
def test_variant_with_another_weight_of_a_missing_channel_has_it_from_when_it_joins(tmp_path: Path) -> None:
    fitted = builder(tmp_path)
    retriever = fitted.build(at_most_s=10)
    variant = retriever.reweighted({"gru": 4.0})
    with pytest.raises(ConfigError, match="'ease' is not in use"):
        retriever.reweighted({"ease": 1.0})
    ChannelJoiner(fitted, retriever).finish()
    assert (variant.weights["gru"], retriever.weights["gru"]) == (4.0, 1.0)


@pytest.mark.usefixtures("slow")
def test_channel_that_cannot_be_fitted_stays_missing_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object) -> None:
        raise ModelError("training of the sequence model diverged in epoch 1")

    monkeypatch.setattr(RetrieverBuilder, "_train_gru", diverges)
    fitted = builder(tmp_path)
    retriever = fitted.build(at_most_s=10)
    ChannelJoiner(fitted, retriever).finish()
    assert retriever.state.missing == {
        "gru": "could not be fitted: training of the sequence model diverged in epoch 1"
    }
    assert set(retriever.weights) == {"linear", "text"}


@pytest.mark.usefixtures("slow")
def test_closing_stops_the_fitting_between_two_steps(tmp_path: Path) -> None:
    class Waiting(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> FloatArray:
            begun.set()
            assert closing.wait(30)
            return super().embed(texts)

    begun, closing = threading.Event(), threading.Event()
    fitted = builder(tmp_path)
    retriever = fitted.build(at_most_s=10)
    fitted.embedder = Waiting()
    joiner = ChannelJoiner(fitted, retriever)
    joiner.start()
    assert begun.wait(30)
    joiner._stopped.set()
    closing.set()
    joiner.close()
    assert joiner.wait(30)
    assert "text" in retriever.state.missing


def test_channel_that_does_not_fit_the_memory_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fit of a shop was killed by the system at 16 GiB."""
    monkeypatch.setattr(build, "need_of", needs(linear=Need(5.5 * GIB, 90)))
    monkeypatch.setattr(build, "available_memory", lambda: 3 * GIB)
    fitted = builder(tmp_path)
    retriever = fitted.build()
    assert "linear" not in retriever.weights
    (note,) = fitted.notes
    assert note.startswith(
        "the retrieval channel 'linear' is left out: fitting it needs about 5.5 GiB and 90 s"
    )
    assert note.endswith("3.0 GiB are available")
    with pytest.raises(ConfigError, match="no memory for the retrieval channel 'linear'"):
        build_retriever(ITEMS, log(), HashEmbedder(), CONFIG, tmp_path)  # what evaluation uses
    monkeypatch.setattr(build, "available_memory", lambda: 8 * GIB)
    assert "linear" in builder(tmp_path).build().weights


def test_long_step_says_beforehand_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "need_of", needs(linear=Need(1.2 * GIB, 150)))
    steps = list[str]()
    fitted = builder(tmp_path)
    fitted.progress = lambda step, done, total: steps.append(step)
    fitted.build()
    assert "fitting linear (about 1.2 GiB and 2 min)" in steps


def test_needs_grow_with_the_data_and_stay_bounded() -> None:
    def grown(factor: int) -> EventLog:
        users = np.repeat(np.arange(1000 * factor), 100)
        rng = np.random.default_rng(0)
        return EventLog(
            items=tuple(map(str, range(20_000 * factor))),
            users=tuple(map(str, range(1000 * factor))),
            start=np.arange(0, len(users) + 1, 100),
            item=rng.integers(0, 20_000 * factor, len(users)).astype(np.int32),
            time=np.full(len(users), np.nan),
            preference=np.zeros(len(users), dtype=np.int8),
        )

    config = RetrieverConfig()
    for name in ("transitions", "cooccurrence", "ease", "linear", "gru", "text"):
        small, large = (need_of(name, grown(factor), config, 20_000 * factor) for factor in (1, 10))
        assert 0 < small.seconds <= large.seconds < 3_600
        assert 0 < small.bytes <= large.bytes < 4 * GIB
    assert need_of("popularity", grown(1), config, 1) == Need()
    assert math.isfinite(need_of("ease", EventLog.of([], []), config, 0).seconds)
