"""Many callers of one vLLM, which here is a stand-in whose steps the test allows one by one."""

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
    """Finishes at each step all prompts but those called "slow"; a step waits for `let`."""

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
            SimpleNamespace(request_id=name, finished=True, text=prompt.upper())
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
def scheduler(llm: FakeLLM, process: Process) -> Iterator[BatchScheduler]:
    scheduler = BatchScheduler(llm, [process], SOON)
    yield scheduler
    scheduler.close()
    llm.let()


@pytest.fixture
def ask(scheduler: BatchScheduler) -> Iterator[Callable[..., Future[list[str]]]]:
    """Ask in a thread of its own."""
    with ThreadPoolExecutor(8) as pool:

        def answers(*prompts: str, alone: bool = False) -> list[str]:
            outputs = dict(scheduler.answers(prompts, [None] * len(prompts), alone=alone))
            return [outputs[index].text for index in range(len(prompts))]

        yield lambda *prompts, **options: pool.submit(answers, *prompts, **options)
        scheduler.close()


def until_queued(scheduler: BatchScheduler, n: int) -> None:
    """Wait until so many calls are in the queue."""
    ticks = threading.Event()
    while scheduler.waiting < n:
        ticks.wait(0.001)


Ask = Callable[..., Future[list[str]]]


def test_calls_that_come_during_a_step_share_the_next_one(
    scheduler: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    first = ask("a", "slow")
    assert llm.entered.get(timeout=SOON) == ("a", "slow")
    others = [ask("b", "c"), ask("d")]
    until_queued(scheduler, 2)
    llm.let()
    together = llm.entered.get(timeout=SOON)
    assert together[0] == "slow"
    assert sorted(together[1:]) == ["b", "c", "d"]
    llm.let()
    assert [other.result(SOON) for other in others] == [["B", "C"], ["D"]]
    assert not first.done()


def test_each_answer_is_handed_out_when_it_is_there(scheduler: BatchScheduler, llm: FakeLLM) -> None:
    llm.let()
    answers = scheduler.answers(["slow", "a"], [None, None])
    assert next(answers)[0] == 1


def test_prompt_that_vllm_refuses_fails_its_caller_alone(
    scheduler: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    first = ask("slow")
    llm.entered.get(timeout=SOON)
    bad, good = ask("bad"), ask("a")
    until_queued(scheduler, 2)
    llm.let(None, None)
    with pytest.raises(EngineError, match="too long"):
        bad.result(SOON)
    assert good.result(SOON) == ["A"]
    assert not first.done()


def test_caller_who_leaves_frees_the_engine_and_the_others_go_on(
    scheduler: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    llm.let()
    answers = scheduler.answers(["a", "slow"], [None, None])
    next(answers)
    llm.entered.get(timeout=SOON)
    other = ask("b")
    until_queued(scheduler, 1)
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
    scheduler: BatchScheduler, llm: FakeLLM, process: Process, ask: Ask
) -> None:
    first = ask("a")
    llm.entered.get(timeout=SOON)
    second = ask("b")
    until_queued(scheduler, 1)
    process.kill()
    for call in (first, second, ask("c")):
        with pytest.raises(EngineDead):
            call.result(SOON)


def test_engine_that_hangs_is_killed(llm: FakeLLM, process: Process) -> None:
    scheduler = BatchScheduler(llm, [process], timeout_s=0.01)
    with pytest.raises(EngineDead, match="no answer within"):
        next(scheduler.answers(["a"], [None]))
    assert not process.alive
    llm.let()


def test_call_that_uses_up_its_time_is_taken_out_and_the_engine_lives(
    scheduler: BatchScheduler, llm: FakeLLM, process: Process, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a step is shared by all who are in it."""
    clock = [0.0]
    monkeypatch.setattr("recsys.engine.scheduler.time", SimpleNamespace(monotonic=lambda: clock[0]))
    slow = ask("slow")
    llm.entered.get(timeout=SOON)
    other = ask("slow")
    until_queued(scheduler, 1)
    clock[0] += SOON - 1  # of `slow` alone
    llm.let()
    llm.entered.get(timeout=SOON)
    clock[0] += 4  # half of it of each
    llm.let()
    with pytest.raises(EngineError, match="not done after"):
        slow.result(SOON)
    assert llm.entered.get(timeout=SOON) == ("slow",)
    assert not other.done()
    assert process.alive
    clock[0] += 1
    other.cancel()


def test_call_that_must_be_alone_is_merged_with_nothing(
    scheduler: BatchScheduler, llm: FakeLLM, ask: Ask
) -> None:
    first = ask("a", "slow")
    llm.entered.get(timeout=SOON)
    alone = ask("x1", "x2", "x3", alone=True)
    until_queued(scheduler, 1)
    after = ask("b")
    until_queued(scheduler, 2)
    llm.let()
    assert llm.entered.get(timeout=SOON) == ("slow",)  # neither joins
    llm.held = dict.fromkeys(llm.held, "slowly")
    llm.let(None, None, None, None)
    assert (alone.result(SOON), after.result(SOON)) == (["X1", "X2", "X3"], ["B"])
    assert first.result(SOON) == ["A", "SLOWLY"]
    start = llm.log.index("hold back")
    assert llm.log[start:] == [
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


def test_closed_scheduler_answers_nobody(scheduler: BatchScheduler, llm: FakeLLM, ask: Ask) -> None:
    open_call = ask("slow")
    llm.entered.get(timeout=SOON)
    scheduler.close()
    with pytest.raises(EngineDead, match="closed"):
        open_call.result(SOON)
    with pytest.raises(EngineDead, match="closed"):
        ask("a").result(SOON)


def test_no_prompts_give_no_answers(scheduler: BatchScheduler) -> None:
    assert list(scheduler.answers([], [])) == []
