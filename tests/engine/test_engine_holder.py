"""An engine is replaced while requests go on, and none of them loses the one it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recsys.engine.holder import EngineHolder
from recsys.errors import EngineError, ModelError


class Running:
    """Stands for an engine with an adapter."""

    def __init__(self, adapter: str | None) -> None:
        self.adapter = adapter
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Bench:
    """What is wanted, what was started, and a gate that holds starts up."""

    def __init__(self) -> None:
        self.wanted: str | None = None
        self.started: list[Running] = []
        self.failure: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.holder = EngineHolder(self.start, lambda: self.wanted)

    def start(self) -> Any:
        wanted = self.wanted
        self.open.wait(10)
        if self.failure:
            raise self.failure
        self.started.append(Running(wanted))
        return self.started[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.open.set()
    made.holder.close()


def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    pause = threading.Event()
    for _ in range(1000):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen")


def test_requests_go_on_with_the_old_engine_while_the_new_one_starts(bench: Bench) -> None:
    old: Any = bench.holder.get()
    bench.open.clear()
    bench.wanted = "films@2"
    with bench.holder.request():
        assert bench.holder.get() is old
        assert bench.holder.get() is old
    assert len(bench.started) == 1
    bench.open.set()
    until(lambda: bench.holder.get() is not old)
    assert bench.holder.get().adapter == "films@2"
    until(bench.started[0].closed.is_set)
    assert len(bench.started) == 2


def test_an_engine_lives_until_the_last_request_that_began_with_it_has_ended(bench: Bench) -> None:
    old: Any = bench.holder.get()
    first, second = bench.holder.request(), bench.holder.request()
    first.__enter__()
    second.__enter__()
    bench.wanted = "films@2"
    until(lambda: bench.holder.get() is not old)
    with bench.holder.request():
        pass
    assert not old.closed.is_set()
    first.__exit__(None, None, None)
    assert not old.closed.is_set()
    second.__exit__(None, None, None)
    assert old.closed.is_set()


def test_an_adapter_that_does_not_start_is_refused_once_and_the_old_engine_stays(bench: Bench) -> None:
    old: Any = bench.holder.get()
    bench.wanted, bench.failure = "films@bad", ModelError("wrong base")
    bench.holder.get()
    until(lambda: bench.holder._refused == "films@bad")
    bench.failure = None
    assert bench.holder.get() is old
    assert len(bench.started) == 1
    bench.wanted = "films@3"
    until(lambda: bench.holder.get().adapter == "films@3")


def test_a_dead_engine_is_started_again_with_what_is_wanted_then(bench: Bench) -> None:
    old: Any = bench.holder.get()
    bench.wanted = "films@2"
    bench.holder.let_go(old)
    assert bench.holder.get().adapter == "films@2"
    assert old.closed.is_set()


def test_closing_while_another_engine_starts_leaves_none_running(bench: Bench) -> None:
    old: Any = bench.holder.get()
    bench.open.clear()
    bench.wanted = "films@2"
    bench.holder.get()
    closing = threading.Thread(target=bench.holder.close)
    closing.start()
    bench.open.set()
    closing.join(10)
    assert old.closed.is_set()
    assert [engine.closed.is_set() for engine in bench.started] == [True, True]


def test_a_start_that_fails_is_the_callers_to_handle(bench: Bench) -> None:
    bench.failure = EngineError("no memory")
    with pytest.raises(EngineError, match="no memory"):
        bench.holder.get()
    bench.failure = None
    assert bench.holder.get().adapter is None
