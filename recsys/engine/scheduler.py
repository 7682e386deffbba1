"""Many callers, one vLLM: what they ask at the same time is computed in the same steps."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from recsys.errors import EngineDead, EngineError

_WATCH_S = 0.2  # how often a waiting call looks whether the engine still lives


@dataclass(eq=False)
class _Call:
    """What one caller asked. `rounds` are prompts yet to be handed to vLLM, `running` those that it has."""

    rounds: deque[list[tuple[int, Any, Any]]]  # number, prompt, sampling parameters
    lora: Any
    alone: bool
    answers: queue.SimpleQueue[tuple[int, Any] | EngineError] = field(default_factory=queue.SimpleQueue)
    running: dict[str, int] = field(default_factory=dict)  # vLLM's id of a request -> number of the prompt
    spent: float = 0.0  # seconds of the engine, those of shared steps in equal parts
    left: bool = False  # nobody waits for the rest any more


class BatchScheduler:
    """Drives one `vllm.LLM`, which is not thread-safe, from a thread of its own.

    Before each step all that was asked meanwhile joins what runs (continuous batching), so that
    one caller's prefill shares its step with the decoding of others. A call may use the engine
    for `timeout_s` seconds; a step that takes as long is a hang, and ends the engine. `processes`
    are vLLM's own: when one dies, vLLM waits for ever, so every caller watches them.
    """

    def __init__(self, llm: Any, processes: Sequence[Any], timeout_s: float) -> None:
        self._llm = llm
        self._processes = processes
        self._timeout_s = timeout_s
        self._changed = threading.Condition()  # guards the next two
        self._asked: deque[_Call] = deque()
        self._gone = ""  # why there is no engine any more
        self._running: list[_Call] = []  # of the driving thread alone
        self._turn: float | None = None  # when that thread last turned to vLLM; None while it rests
        threading.Thread(target=self._drive, name="whyrec-engine", daemon=True).start()

    def answers(
        self, prompts: Sequence[Any], params: Sequence[Any], *, lora: Any = None, alone: bool = False
    ) -> Generator[tuple[int, Any]]:
        """(number of a prompt, vLLM's output for it), each as soon as it is there.

        Who leaves early frees the engine of the rest. `alone`: nothing else is computed at the
        same time, the first prompt is computed before the others, and all others start together.
        Raises EngineError, EngineDead.
        """
        if not prompts:
            return
        asked = list(zip(range(len(prompts)), prompts, params, strict=True))
        rounds = [asked[:1], asked[1:]] if alone else [asked]
        call = _Call(deque(part for part in rounds if part), lora, alone)
        with self._changed:
            self._check()
            self._asked.append(call)
            self._changed.notify()
        try:
            for _ in prompts:
                yield self._answer(call)
        finally:
            call.left = True

    def close(self) -> None:
        """Let go of the engine: every call, waiting or to come, raises EngineDead."""
        with self._changed:
            self._gone = self._gone or "the engine was closed"
            self._changed.notify()

    def _answer(self, call: _Call) -> tuple[int, Any]:
        while True:
            try:
                answer = call.answers.get(timeout=_WATCH_S)
            except queue.Empty:
                with self._changed:
                    self._check()
                continue
            if isinstance(answer, EngineError):
                raise answer
            return answer

    def _check(self) -> None:
        """Raise EngineDead if the engine is gone, died or hangs. The lock is held."""
        turn = self._turn
        if not self._gone and not self._alive():
            self._give_up("the vLLM process died")
        elif not self._gone and turn is not None and time.monotonic() - turn > self._timeout_s:
            self._give_up(f"no answer within {self._timeout_s:g} s")
        if self._gone:
            raise EngineDead(
                self._gone, hint="the next request starts a new one; if it was killed, was memory short?"
            )

    def _alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def _give_up(self, why: str) -> None:
        self._gone = why
        for process in self._processes:
            process.kill()
        self._changed.notify()

    def _drive(self) -> None:
        try:
            while self._turned():
                pass
        except Exception as error:  # whatever it is, nobody may wait for a thread that has ended
            with self._changed:
                self._give_up(f"vLLM failed: {first_line(error)}")

    def _turned(self) -> bool:
        """Let calls in and out, then one step. False once there is no engine any more."""
        with self._changed:
            self._turn = None
            self._changed.wait_for(lambda: self._asked or self._running or self._gone)
            if self._gone:
                return False
            self._turn = time.monotonic()
            entering = self._admitted()
        for call in [call for call in self._running if call.left]:
            self._drop(call)
        for call in entering:
            self._enter(call)
        if self._running:
            self._step()
        return True

    def _admitted(self) -> list[_Call]:
        """Calls that may join what runs, in the order in which they came; one that must be alone waits for it."""
        entering: list[_Call] = []
        while self._asked and not any(call.alone for call in (*self._running, *entering)):
            if self._asked[0].alone and (self._running or entering):
                break
            call = self._asked.popleft()
            if not call.left:
                entering.append(call)
        return entering

    def _enter(self, call: _Call) -> None:
        """Hand vLLM the next round of a call."""
        numbers, prompts, params = zip(*call.rounds.popleft(), strict=True)
        try:
            with self._held_back() if call.alone else nullcontext():
                first = self._llm.request_counter.counter  # vLLM's `LLM` numbers its requests
                self._llm.enqueue(list(prompts), list(params), lora_request=call.lora, use_tqdm=False)
        except Exception as error:  # what it asks cannot be asked; the others' is not touched
            self._fail(call, error)
            return
        call.running = {str(first + place): number for place, number in enumerate(numbers)}
        if call not in self._running:
            self._running.append(call)

    @contextmanager
    def _held_back(self) -> Iterator[None]:
        """vLLM begins when this ends, not with whichever prompts have reached its process by then."""
        self._llm.sleep(level=0, mode="keep")
        try:
            yield
        finally:
            self._llm.wake_up(tags=["scheduling"])

    def _step(self) -> None:
        """One step of vLLM, and its answers to those who asked."""
        begun = time.monotonic()
        try:
            outputs = self._llm.llm_engine.step()
        except Exception as error:  # whose prompt it was is not known
            for call in list(self._running):
                self._fail(call, error)
            return
        calls = {name: call for call in self._running for name in call.running}
        for output in outputs:
            if output.finished and (asker := calls.get(output.request_id)):
                asker.answers.put((asker.running.pop(output.request_id), output))
        share = (time.monotonic() - begun) / len(self._running)
        for call in list(self._running):
            call.spent += share
            if call.running and call.spent > self._timeout_s:
                call.answers.put(
                    EngineError(
                        f"not done after {self._timeout_s:g} s of the engine",
                        hint="ask for less at a time, or raise WHYREC_TIMEOUT_S",
                    )
                )
                self._drop(call)
            elif not call.running and call.rounds and not call.left:
                self._enter(call)
            elif not call.running:
                self._running.remove(call)

    def _drop(self, call: _Call) -> None:
        """Take what is left of a call out of the engine."""
        if call in self._running:
            self._running.remove(call)
        if call.running:
            self._llm.llm_engine.abort_request(list(call.running))

    def _fail(self, call: _Call, error: Exception) -> None:
        with self._changed:
            if type(error).__name__ == "EngineDeadError" or not self._alive():
                self._give_up("the vLLM process died")  # every caller sees it
                return
        failed = EngineError(f"vLLM failed: {first_line(error)}", hint="see the log above")
        failed.__cause__ = error
        call.answers.put(failed)
        self._drop(call)


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
