"""Many callers of one vLLM, which here is a stand-in that answers when it is told to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.engine.scheduler import BatchScheduler
from recsys.errors import EngineDead, EngineError

SOON = 10  # seconds after which a test is stuck


@dataclass
class Counter:
    counter: int = 0


@dataclass
class Process:
    alive: bool = True

    def is_alive(self) -> bool:
        return self.alive

    def kill(self) -> None:
        self.alive = False


@dataclass
class FakeLLM:
    """Finishes at each step whatever it holds that is not called "slow"; a step waits for `let`."""

    request_counter: Counter = field(default_factory=Counter)
    held: dict[str, str] = field(default_factory=dict)
    log: list[Any] = field(default_factory=list)
    steps: queue.SimpleQueue[Exception | None] = field(default_factory=queue.SimpleQueue)
    entered: queue.SimpleQueue[tuple[str, ...]] = field(default_factory=queue.SimpleQueue)

    @property
    def llm_engine(self) -> FakeLLM:
        return self

    def let(self, *failures: Exception | None) -> None:
        """Allow one step, or one for each of `failures`."""
        for failure in failures or (None,):
            self.steps.put(failure)

    def enqueue(self, prompts: list[str], params: list[Any], lora_request: Any, use_tqdm: bool) -> None:
        if "bad" in prompts:
            raise ValueError("too long")
        for prompt in prompts:
            self.held[str(self.request_counter.counter)] = prompt
            self.request_counter.counter += 1
        self.log.append(("enter", *prompts))

    def step(self) -> list[Any]:
        self.entered.put(tuple(self.held.values()))
        failure = self.steps.get(timeout=SOON)
        if failure:
            raise failure
        done = {name: prompt for name, prompt in self.held.items() if prompt != "slow"}
        self.log.append(("step", *self.held.values()))
        self.held = {name: prompt for name, prompt in self.held.items() if name not in done}
        return [
            SimpleNamespace(request_id=name, finished=True, said=prompt.upper())
            for name, prompt in done.items()
        ]

    def abort_request(self, names: list[str]) -> None:
        self.log.append(("abort", *(self.held.pop(name) for name in names)))

    def sleep(self, level: int, mode: str) -> None:
        self.log.append("hold back")

    def wake_up(self, tags: list[str]) -> None:
        self.log.append("begin")


@pytest.fixture
def llm() -> FakeLLM:
    return FakeLLM()


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def driver(llm: FakeLLM, process: Process) -> Iterator[BatchScheduler]:
    driver = BatchScheduler(llm, [process], SOON)
    yield driver
    driver.close()
    llm.let()


@pytest.fixture
def ask(driver: BatchScheduler) -> Iterator[Callable[..., Future[list[str]]]]:
    """Ask in a thread of its own."""
    with ThreadPoolExecutor(8) as pool:

        def answers(*prompts: str, alone: bool = False) -> list[str]:
            found = dict(driver.answers(prompts, [None] * len(prompts), alone=alone))
            return [found[number].said for number in range(len(prompts))]

        yield lambda *prompts, **options: pool.submit(answers, *prompts, **options)
        driver.close()


def waiting(driver: BatchScheduler, n: int) -> None:
    """Wait until so many calls have come that have not been let in."""
    ticks = threading.Event()
    while len(driver._asked) < n:
        ticks.wait(0.001)


Ask = Callable[..., Future[list[str]]]


def test_calls_that_come_during_a_step_share_the_next_one(
    driver: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    first = ask("a", "slow")
    assert llm.entered.get(timeout=SOON) == ("a", "slow")
    others = [ask("b", "c"), ask("d")]
    waiting(driver, 2)
    llm.let()
    together = llm.entered.get(timeout=SOON)
    assert together[0] == "slow"
    assert sorted(together[1:]) == ["b", "c", "d"]
    llm.let()
    assert [other.result(SOON) for other in others] == [["B", "C"], ["D"]]
    assert not first.done()


def test_each_answer_is_handed_out_when_it_is_there(driver: BatchScheduler, llm: FakeLLM) -> None:
    llm.let()
    answers = driver.answers(["slow", "a"], [None, None])
    assert next(answers)[0] == 1


def test_prompt_that_cannot_be_asked_is_its_callers_fault_alone(
    driver: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    first = ask("slow")
    llm.entered.get(timeout=SOON)
    bad, good = ask("bad"), ask("a")
    waiting(driver, 2)
    llm.let(None, None)
    with pytest.raises(EngineError, match="too long"):
        bad.result(SOON)
    assert good.result(SOON) == ["A"]
    assert not first.done()


def test_caller_who_leaves_frees_the_engine_and_the_others_go_on(
    driver: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    llm.let()
    answers = driver.answers(["a", "slow"], [None, None])
    next(answers)
    llm.entered.get(timeout=SOON)
    other = ask("b")
    waiting(driver, 1)
    answers.close()
    llm.let(None, None)
    assert other.result(SOON) == ["B"]
    assert ("abort", "slow") in llm.log


def test_step_that_fails_fails_those_in_it_and_the_next_call_is_answered(llm: FakeLLM, ask: Ask) -> None:
    llm.let(RuntimeError("a kernel failed\nat length"))
    with pytest.raises(EngineError, match="a kernel failed\n") as failure:
        ask("a").result(SOON)
    assert failure.value.retryable
    llm.let()
    assert ask("b").result(SOON) == ["B"]


def test_engine_that_dies_is_dead_for_all_who_wait_and_all_who_come(
    driver: BatchScheduler, llm: FakeLLM, process: Process, ask: Ask
) -> None:
    first = ask("a")
    llm.entered.get(timeout=SOON)
    second = ask("b")
    waiting(driver, 1)
    process.kill()
    for call in (first, second, ask("c")):
        with pytest.raises(EngineDead):
            call.result(SOON)


def test_engine_that_hangs_is_killed(llm: FakeLLM, process: Process) -> None:
    driver = BatchScheduler(llm, [process], timeout_s=0.01)
    with pytest.raises(EngineDead, match="no answer within"):
        next(driver.answers(["a"], [None]))
    assert not process.alive
    llm.let()


def test_call_that_uses_up_its_time_is_taken_out_and_the_engine_lives(
    driver: BatchScheduler, llm: FakeLLM, process: Process, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a step is shared by all who are in it."""
    clock = [0.0]
    monkeypatch.setattr("recsys.engine.scheduler.time", SimpleNamespace(monotonic=lambda: clock[0]))
    slow = ask("slow")
    llm.entered.get(timeout=SOON)
    beside = ask("slow")
    waiting(driver, 1)
    clock[0] += SOON - 1  # of `slow` alone
    llm.let()
    llm.entered.get(timeout=SOON)
    clock[0] += 4  # half of it of each
    llm.let()
    with pytest.raises(EngineError, match="not done after"):
        slow.result(SOON)
    assert llm.entered.get(timeout=SOON) == ("slow",)
    assert not beside.done()
    assert process.alive
    clock[0] += 1
    beside.cancel()


def test_call_that_must_be_alone_is_merged_with_nothing(
    driver: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    first = ask("a", "slow")
    llm.entered.get(timeout=SOON)
    alone = ask("x1", "x2", "x3", alone=True)
    waiting(driver, 1)
    after = ask("b")
    waiting(driver, 2)
    llm.let()
    assert llm.entered.get(timeout=SOON) == ("slow",)  # neither joins
    llm.held = dict.fromkeys(llm.held, "slowly")
    llm.let(None, None, None, None)
    assert (alone.result(SOON), after.result(SOON)) == (["X1", "X2", "X3"], ["B"])
    assert first.result(SOON) == ["A", "SLOWLY"]
    begun = llm.log.index("hold back")
    assert llm.log[begun:] == [
        "hold back",
        ("enter", "x1"),
        "begin",
        ("step", "x1"),
        "hold back",
        ("enter", "x2", "x3"),
        "begin",
        ("step", "x2", "x3"),
        ("enter", "b"),
        ("step", "b"),
    ]


def test_closed_driver_answers_nobody(driver: BatchScheduler, llm: FakeLLM, ask: Ask) -> None:
    open_call = ask("slow")
    llm.entered.get(timeout=SOON)
    driver.close()
    with pytest.raises(EngineDead, match="closed"):
        open_call.result(SOON)
    with pytest.raises(EngineDead, match="closed"):
        ask("a").result(SOON)


def test_nothing_asked_is_nothing_answered(driver: BatchScheduler) -> None:
    assert list(driver.answers([], [])) == []
