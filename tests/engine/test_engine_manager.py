"""An engine is replaced while requests go on, and none of them loses the one it uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recsys.engine.manager import FIRST_PAUSE, LONGEST_PAUSE, EngineManager
from recsys.errors import EngineError, ModelError, RecsysError


class Running:
    """Stands for an engine with an adapter."""

    def __init__(self, adapter: str | None) -> None:
        self.adapter = adapter
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Bench:
    """A manager, and what controls its starts."""

    def __init__(self) -> None:
        self.wanted: str | None = None
        self.started: list[Running] = []
        self.tries = 0
        self.now = 1000.0
        self.failure: Exception | None = None
        self.open = threading.Event()  # starts wait while it is cleared
        self.open.set()
        self.manager = EngineManager(self.start, lambda: self.wanted, clock=lambda: self.now)

    def start(self) -> Any:
        wanted = self.wanted
        self.tries += 1
        self.open.wait(10)
        if self.failure:
            raise self.failure
        self.started.append(Running(wanted))
        return self.started[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.open.set()
    bench.manager.close()


def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    pause = threading.Event()
    for _ in range(1000):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen")


def swapping() -> bool:
    """Tell whether an engine is being replaced."""
    return any(thread.name == "whyrec-engine-swap" for thread in threading.enumerate())


def test_requests_go_on_with_the_old_engine_while_the_new_one_starts(bench: Bench) -> None:
    old: Any = bench.manager.get()
    bench.open.clear()
    bench.wanted = "films@2"
    with bench.manager.request():
        assert bench.manager.get() is old
        assert bench.manager.get() is old
    assert len(bench.started) == 1
    bench.open.set()
    until(lambda: bench.manager.get() is not old)
    assert bench.manager.get().adapter == "films@2"
    until(bench.started[0].closed.is_set)
    assert len(bench.started) == 2


def test_an_engine_lives_until_the_last_request_that_began_with_it_has_ended(bench: Bench) -> None:
    old: Any = bench.manager.get()
    first, second = bench.manager.request(), bench.manager.request()
    first.__enter__()
    second.__enter__()
    bench.wanted = "films@2"
    until(lambda: bench.manager.get() is not old)
    with bench.manager.request():
        pass
    assert not old.closed.is_set()
    first.__exit__(None, None, None)
    assert not old.closed.is_set()
    second.__exit__(None, None, None)
    assert old.closed.is_set()


def test_an_adapter_that_does_not_start_is_refused_once_and_the_old_engine_stays(bench: Bench) -> None:
    old: Any = bench.manager.get()
    bench.wanted, bench.failure = "films@bad", ModelError("wrong base")
    bench.manager.get()
    until(lambda: bench.tries == 2 and not swapping())
    bench.failure = None
    assert [bench.manager.get() for _ in range(3)] == [old] * 3
    assert not swapping()
    assert (bench.tries, len(bench.started)) == (2, 1)
    bench.wanted = "films@3"
    until(lambda: bench.manager.get().adapter == "films@3")


def test_a_dead_engine_is_started_again_with_what_is_wanted_then(bench: Bench) -> None:
    old: Any = bench.manager.get()
    bench.wanted = "films@2"
    bench.manager.discard(old)
    assert bench.manager.get().adapter == "films@2"
    assert old.closed.is_set()


def test_closing_while_another_engine_starts_leaves_none_running(bench: Bench) -> None:
    old: Any = bench.manager.get()
    bench.open.clear()
    bench.wanted = "films@2"
    bench.manager.get()
    closing = threading.Thread(target=bench.manager.close)
    closing.start()
    bench.open.set()
    closing.join(10)
    assert old.closed.is_set()
    assert [engine.closed.is_set() for engine in bench.started] == [True, True]


def test_a_start_that_fails_is_the_callers_to_handle(bench: Bench) -> None:
    bench.failure = EngineError("no memory")
    with pytest.raises(EngineError, match="no memory"):
        bench.manager.get()
    bench.failure = None
    bench.now += FIRST_PAUSE
    assert bench.manager.get().adapter is None


def test_a_start_that_failed_is_not_tried_again_for_a_while_and_the_same_error_comes_at_once(
    bench: Bench,
) -> None:
    """Each request used to load everything anew, one after the other, to learn that nobody answers."""
    bench.failure = EngineError("nobody answers", hint="start it")
    with pytest.raises(EngineError):
        bench.manager.get()
    bench.now += 10.5
    with pytest.raises(EngineError, match="nobody answers") as caught:
        bench.manager.get()
    assert caught.value.retryable
    assert caught.value.hint == "start it; it is tried again in 20 s"
    assert bench.failure.hint == "start it"
    assert bench.tries == 1


def test_pauses_between_failing_starts_double_up_to_a_bound_and_a_success_ends_them(bench: Bench) -> None:
    bench.failure = ModelError("no weights")
    pauses = []
    for _ in range(6):
        tries, began = bench.tries, bench.now
        while bench.tries == tries:
            with pytest.raises(ModelError):
                bench.manager.get()
            bench.now += 1
        pauses.append(bench.now - 1 - began)
        bench.now -= 1
    assert pauses == [0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE, LONGEST_PAUSE]
    bench.now += LONGEST_PAUSE
    bench.failure = None
    bench.manager.discard(bench.manager.get())
    bench.failure = ModelError("no weights")
    with pytest.raises(ModelError):
        bench.manager.get()
    bench.failure = None
    bench.now += FIRST_PAUSE
    assert bench.manager.get() is bench.started[-1]  # type: ignore[comparison-overlap]


def test_while_one_request_tries_again_the_others_get_the_error(bench: Bench) -> None:
    bench.failure = EngineError("nobody answers")
    with pytest.raises(EngineError):
        bench.manager.get()
    bench.now += FIRST_PAUSE
    bench.failure = None
    bench.open.clear()
    trying = threading.Thread(target=bench.manager.get)
    trying.start()
    until(lambda: bench.tries == 2)
    with bench.manager.request(), pytest.raises(EngineError, match="nobody answers") as caught:
        bench.manager.get()
    assert caught.value.hint == "it is being tried again"
    bench.open.set()
    trying.join(10)
    assert bench.manager.get() is bench.started[0]  # type: ignore[comparison-overlap]


def test_requests_that_wait_for_a_first_start_share_its_failure(bench: Bench) -> None:
    bench.failure = EngineError("nobody answers")
    bench.open.clear()
    errors: list[RecsysError] = []

    def ask() -> None:
        try:
            bench.manager.get()
        except RecsysError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    bench.open.set()
    for thread in threads:
        thread.join(10)
    assert [error.message for error in errors] == ["nobody answers"] * 4
    assert bench.tries == 1


def test_another_adapter_is_tried_at_once_after_one_that_does_not_start(bench: Bench) -> None:
    bench.wanted, bench.failure = "films@bad", ModelError("wrong base")
    with pytest.raises(ModelError):
        bench.manager.get()
    bench.wanted, bench.failure = "films@1", None
    assert bench.manager.get().adapter == "films@1"


def test_closing_forgets_a_start_that_failed(bench: Bench) -> None:
    bench.failure = EngineError("nobody answers")
    with pytest.raises(EngineError):
        bench.manager.get()
    bench.manager.close()
    bench.failure = None
    assert bench.manager.get().adapter is None


def test_an_unexpected_error_is_not_remembered(bench: Bench) -> None:
    bench.failure = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        bench.manager.get()
    bench.failure = None
    assert bench.manager.get().adapter is None
