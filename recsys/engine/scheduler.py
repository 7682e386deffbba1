"""Many callers, one vLLM: simultaneous requests share its steps."""

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

_WATCH_S = 0.2  # how often a waiting call checks that the engine is alive


@dataclass(eq=False)
class _Call:
    """The prompts of one caller."""

    rounds: deque[list[tuple[int, Any, Any]]]  # for vLLM: (index, prompt, sampling parameters)
    lora: Any
    alone: bool
    answers: queue.SimpleQueue[tuple[int, Any] | EngineError] = field(default_factory=queue.SimpleQueue)
    running: dict[str, int] = field(default_factory=dict)  # vLLM's request id -> index of the prompt
    spent: float = 0.0  # seconds of the engine; a shared step counts in equal parts
    abandoned: bool = False  # nobody waits for the rest any more


class BatchScheduler:
    """Runs one `vllm.LLM`, which is not thread-safe, in a thread of its own.

    Before each step all calls that arrived meanwhile join those that run (continuous batching), so
    that one caller's prefill shares its step with the decoding of others.

    Args:
        llm: The `vllm.LLM`.
        processes: vLLM's own. When one dies, vLLM waits for ever, so every caller watches them.
        timeout_s: Seconds of the engine that a call may use. A step that takes as long is a hang,
            and ends the engine.
    """

    def __init__(self, llm: Any, processes: Sequence[Any], timeout_s: float) -> None:
        self._llm = llm
        self._processes = processes
        self._timeout_s = timeout_s
        self._changed = threading.Condition()  # guards the next two
        self._queue: deque[_Call] = deque()
        self._dead = ""  # why there is no engine any more
        self._running: list[_Call] = []  # used by the scheduler's thread alone
        self._step_began: float | None = None  # None while the thread rests
        threading.Thread(target=self._loop, name="whyrec-engine", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Number of calls that have not joined a step yet."""
        with self._changed:
            return len(self._queue)

    def answers(
        self, prompts: Sequence[Any], params: Sequence[Any], *, lora: Any = None, alone: bool = False
    ) -> Generator[tuple[int, Any]]:
        """Yield (index of the prompt, vLLM's output) as each is finished.

        A caller that closes the generator early frees the engine of the rest.

        Args:
            prompts: Prompts of one call.
            params: Sampling parameters of each prompt.
            lora: vLLM's request for an adapter.
            alone: Compute nothing else at the same time, the first prompt before the others, and
                start all others together.

        Raises:
            EngineError: This call failed.
            EngineDead: The engine is gone.
        """
        if not prompts:
            return
        jobs = list(zip(range(len(prompts)), prompts, params, strict=True))
        rounds = [jobs[:1], jobs[1:]] if alone else [jobs]
        call = _Call(deque(jobs for jobs in rounds if jobs), lora, alone)
        with self._changed:
            self._check()
            self._queue.append(call)
            self._changed.notify()
        try:
            for _ in prompts:
                yield self._answer(call)
        finally:
            call.abandoned = True

    def close(self) -> None:
        """Stop: every call, waiting or to come, raises EngineDead."""
        with self._changed:
            self._dead = self._dead or "the engine was closed"
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
        began = self._step_began
        if not self._dead and not self._alive():
            self._kill("the vLLM process died")
        elif not self._dead and began is not None and time.monotonic() - began > self._timeout_s:
            self._kill(f"no answer within {self._timeout_s:g} s")
        if self._dead:
            raise EngineDead(
                self._dead, hint="the next request starts a new one; if it was killed, was memory short?"
            )

    def _alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def _kill(self, reason: str) -> None:
        self._dead = reason
        for process in self._processes:
            process.kill()
        self._changed.notify()

    def _loop(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:  # whatever it is, nobody may wait for a thread that has ended
            with self._changed:
                self._kill(f"vLLM failed: {first_line(error)}")

    def _turn(self) -> bool:
        """Admit and drop calls, then run one step. False once there is no engine any more."""
        with self._changed:
            self._step_began = None
            self._changed.wait_for(lambda: self._queue or self._running or self._dead)
            if self._dead:
                return False
            self._step_began = time.monotonic()
            admitted = self._admit()
        for call in [call for call in self._running if call.abandoned]:
            self._drop(call)
        for call in admitted:
            self._enter(call)
        if self._running:
            self._step()
        return True

    def _admit(self) -> list[_Call]:
        """Take calls that may join, in order; one that must be alone waits for it."""
        admitted: list[_Call] = []
        while self._queue and not any(call.alone for call in (*self._running, *admitted)):
            if self._queue[0].alone and (self._running or admitted):
                break
            call = self._queue.popleft()
            if not call.abandoned:
                admitted.append(call)
        return admitted

    def _enter(self, call: _Call) -> None:
        """Hand vLLM the next round of a call."""
        indices, prompts, params = zip(*call.rounds.popleft(), strict=True)
        try:
            with self._paused() if call.alone else nullcontext():
                first = self._llm.request_counter.counter  # vLLM's `LLM` numbers its requests
                self._llm.enqueue(list(prompts), list(params), lora_request=call.lora, use_tqdm=False)
        except Exception as error:  # this call cannot be asked; the others go on
            self._fail(call, error)
            return
        call.running = {str(first + offset): index for offset, index in enumerate(indices)}
        if call not in self._running:
            self._running.append(call)

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Let vLLM begin with all prompts that enter within, not the first to arrive."""
        self._llm.sleep(level=0, mode="keep")
        try:
            yield
        finally:
            self._llm.wake_up(tags=["scheduling"])

    def _step(self) -> None:
        """Run one step of vLLM, and hand its answers to their callers."""
        began = time.monotonic()
        try:
            outputs = self._llm.llm_engine.step()
        except Exception as error:  # whose prompt it was is not known
            for call in list(self._running):
                self._fail(call, error)
            return
        callers = {request_id: call for call in self._running for request_id in call.running}
        for output in outputs:
            if output.finished and (caller := callers.get(output.request_id)):
                caller.answers.put((caller.running.pop(output.request_id), output))
        share = (time.monotonic() - began) / len(self._running)
        for call in list(self._running):
            call.spent += share
            self._continue(call)

    def _continue(self, call: _Call) -> None:
        """End a call that took too long or is done; start its next round otherwise."""
        if call.running and call.spent > self._timeout_s:
            call.answers.put(
                EngineError(
                    f"not done after {self._timeout_s:g} s of the engine",
                    hint="ask for less at a time, or raise WHYREC_TIMEOUT_S",
                )
            )
            self._drop(call)
        elif not call.running and call.rounds and not call.abandoned:
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
                self._kill("the vLLM process died")  # every caller sees it
                return
        failure = EngineError(f"vLLM failed: {first_line(error)}", hint="see the log above")
        failure.__cause__ = error
        call.answers.put(failure)
        self._drop(call)


def first_line(error: BaseException) -> str:
    """Shorten an error's message to its first line, at most 300 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
