"""Discrete-event simulation of pods: queues, start-up, draining and autoscaler.

A pod works on at most `places` requests at once and shares its speed among them; `queue` more wait,
first come, first served; the rest are shed. The autoscaler follows Kubernetes' HorizontalPodAutoscaler:
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

DAY_S = 86_400.0
EMPTY = 1e-9  # seconds of work that count as none


@dataclass(frozen=True)
class PodKind:
    """The properties that all pods share."""

    speed: tuple[float, ...]  # [n - 1]: seconds of work done in a second while n requests run
    queue: int  # requests that may wait
    start_s: float = 0.0
    drain_s: float = 0.0

    @property
    def places(self) -> int:
        """How many requests run at once."""
        return len(self.speed)


@dataclass(eq=False)
class Pod:
    """The state of one pod, times in seconds."""

    created: float
    ready: float
    running: list[list[float]] = field(default_factory=list)  # [work left, arrival]
    waiting: deque[tuple[float, float]] = field(default_factory=deque)  # (work, arrival)
    scrapes: deque[tuple[float, int]] = field(default_factory=deque)  # (time, metric)
    now: float = 0.0  # time of the last update
    version: int = 0  # of the plan: an end event of an older one is void
    draining: bool = False
    gone: float | None = None


class Scaler(Protocol):
    """Decides every `sync_s` seconds how many pods there are."""

    sync_s: float
    scrape_s: float
    window_s: float
    in_flight: bool

    def wanted(self, now: float, metrics: Sequence[float | None]) -> int:
        """Decide how many pods there are."""
        ...


@dataclass
class Autoscaler:
    """The HorizontalPodAutoscaler of one metric, averaged over pods. Times in seconds."""

    least: int
    most: int
    target: float
    up: tuple[float, int, float]  # (stabilization window, pods, period)
    down: tuple[float, int, float]
    sync_s: float = 15.0
    scrape_s: float = 15.0
    window_s: float = 60.0  # that the metric is averaged over
    tolerance: float = 0.1
    in_flight: bool = False  # the metric counts running requests too, not only waiting ones
    _advice: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _changes: deque[tuple[float, int]] = field(default_factory=deque, init=False)

    def wanted(self, now: float, metrics: Sequence[float | None]) -> int:
        """Decide how many pods there are, from the mean of each, None if not ready."""
        current = len(metrics)
        advice = min(self.most, max(self.least, self._desired(metrics)))
        self._advice.append((now, advice))
        longest = max(self.up[0], self.down[0])
        while self._advice[0][0] < now - longest:
            self._advice.popleft()
        raised = min(n for at, n in self._advice if at >= now - self.up[0])
        lowered = max(n for at, n in self._advice if at >= now - self.down[0])
        stable = min(max(current, raised), lowered)
        if stable > current:
            stable = max(current, min(stable, self._before(now, self.up[2], current) + self.up[1]))
        elif stable < current:
            stable = min(current, max(stable, self._before(now, self.down[2], current) - self.down[1]))
        if stable != current:
            self._changes.append((now, stable - current))
        return stable

    def _desired(self, metrics: Sequence[float | None]) -> int:
        """Scale by the ratio to the target; pods without a metric count against a change."""
        known, current = [value for value in metrics if value is not None], len(metrics)
        if not known:
            return current
        ratio = sum(known) / len(known) / self.target
        if abs(ratio - 1) <= self.tolerance and len(known) == current:
            return current
        filled = sum(known) + (current - len(known)) * (self.target if ratio < 1 else 0.0)
        whole = filled / current / self.target
        if abs(whole - 1) <= self.tolerance or (ratio < 1) != (whole < 1):
            return current
        return math.ceil(whole * current)

    def _before(self, now: float, period: float, current: int) -> int:
        """How many pods there were when the period began."""
        return current - sum(n for at, n in self._changes if at > now - period)


@dataclass
class QueueOutcome:
    """Counts and times of the simulated requests."""

    arrived: int = 0
    shed: int = 0
    cut: int = 0  # by the end of a pod's draining time
    waits: list[float] = field(default_factory=list)  # seconds
    answers: list[float] = field(default_factory=list)  # seconds from arrival to answer
    pod_hours: float = 0.0
    pods: list[tuple[float, int, int]] = field(default_factory=list)  # (time, present, ready)


class Simulation:
    """A service with a fixed number of pods, or one that the scaler changes."""

    def __init__(self, kind: PodKind, replicas: int, scaler: Scaler | None = None, seed: int = 0) -> None:
        self._kind, self._scaler = kind, scaler
        self._rng = Random(seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._pods = [Pod(0.0, 0.0) for _ in range(replicas)]
        self._all = list(self._pods)
        self.outcome = QueueOutcome()

    def run(self, arrivals: Iterator[tuple[float, float]], until: float) -> QueueOutcome:
        """Serve (time, seconds of work) in order; only `arrived` counts unfinished ones."""
        if self._scaler:
            self._at(0.0, self._scrape)
            self._at(self._scaler.sync_s, self._sync)
        self._next(arrivals)
        while self._events and self._events[0][0] <= until:
            now, _, act, rest = heapq.heappop(self._events)
            act(now, *rest)
        ends = ((pod.gone if pod.gone is not None else until) - pod.created for pod in self._all)
        self.outcome.pod_hours = sum(ends) / 3600
        return self.outcome

    def _at(self, when: float, act: Callable[..., None], *rest: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, act, rest))

    def _next(self, arrivals: Iterator[tuple[float, float]]) -> None:
        if (arrival := next(arrivals, None)) is not None:
            self._at(arrival[0], self._arrive, arrival[1], arrivals)

    def _arrive(self, now: float, work: float, arrivals: Iterator[tuple[float, float]]) -> None:
        """Assign to a random ready pod, as kube-proxy's iptables rules do."""
        self._next(arrivals)
        self.outcome.arrived += 1
        ready = [pod for pod in self._pods if pod.ready <= now]
        pod = self._rng.choice(ready) if ready else None
        if pod is None or (len(pod.running) >= self._kind.places and len(pod.waiting) >= self._kind.queue):
            self.outcome.shed += 1
            return
        self._advance(pod, now)
        if len(pod.running) < self._kind.places:
            self._begin(pod, now, work, now)
        else:
            pod.waiting.append((work, now))
        self._plan(pod, now)

    def _begin(self, pod: Pod, now: float, work: float, arrived: float) -> None:
        pod.running.append([work, arrived])
        self.outcome.waits.append(now - arrived)

    def _advance(self, pod: Pod, now: float) -> None:
        if n := len(pod.running):
            done = (now - pod.now) * self._kind.speed[n - 1] / n
            for job in pod.running:
                job[0] -= done
        pod.now = now

    def _plan(self, pod: Pod, now: float) -> None:
        """Schedule the end of the pod's next request, unless something changes before."""
        pod.version += 1
        if n := len(pod.running):
            left = min(job[0] for job in pod.running) * n / self._kind.speed[n - 1]
            self._at(now + max(left, 0.0), self._end, pod, pod.version)

    def _end(self, now: float, pod: Pod, version: int) -> None:
        if version != pod.version:
            return
        self._advance(pod, now)
        for job in [job for job in pod.running if job[0] <= EMPTY]:
            pod.running.remove(job)
            self.outcome.answers.append(now - job[1])
        while pod.waiting and len(pod.running) < self._kind.places:
            self._begin(pod, now, *pod.waiting.popleft())
        self._plan(pod, now)
        if pod.draining and not pod.running:
            pod.gone = now

    def _scrape(self, now: float) -> None:
        assert self._scaler
        for pod in self._pods:
            if pod.ready <= now:
                running = len(pod.running) if self._scaler.in_flight else 0
                pod.scrapes.append((now, len(pod.waiting) + running))
                while pod.scrapes[0][0] <= now - self._scaler.window_s:
                    pod.scrapes.popleft()
        self._at(now + self._scaler.scrape_s, self._scrape)

    def _sync(self, now: float) -> None:
        assert self._scaler
        metrics = [
            sum(n for _, n in pod.scrapes) / len(pod.scrapes) if pod.scrapes else None for pod in self._pods
        ]
        wanted = self._scaler.wanted(now, metrics)
        while len(self._pods) < wanted:
            self._pods.append(Pod(now, now + self._kind.start_s))
            self._all.append(self._pods[-1])
        while len(self._pods) > wanted:
            self._remove(max(self._pods, key=lambda pod: (pod.ready > now, pod.created)), now)
        self.outcome.pods.append((now, len(self._pods), sum(pod.ready <= now for pod in self._pods)))
        self._at(now + self._scaler.sync_s, self._sync)

    def _remove(self, pod: Pod, now: float) -> None:
        self._pods.remove(pod)
        pod.draining = True
        if pod.running:
            self._at(now + self._kind.drain_s, self._cut, pod)
        else:
            pod.gone = now

    def _cut(self, now: float, pod: Pod) -> None:
        """End a pod whose draining time is over."""
        if pod.gone is None:
            self.outcome.cut += len(pod.running) + len(pod.waiting)
            pod.version, pod.gone = pod.version + 1, now


def poisson(
    rate: Callable[[float], float], most: float, until: float, work: Callable[[Random], float], seed: int
) -> Iterator[tuple[float, float]]:
    """Simulate a Poisson process by thinning (Lewis and Shedler, 1979).

    Args:
        rate: Arrivals per second at a time.
        most: Upper bound of the rate.
        until: End, in seconds.
        work: Samples the seconds of work of an arrival.
        seed: Of arrivals and work.

    Yields:
        Time and seconds of work of each arrival.
    """
    rng, now = Random(seed), 0.0
    while (now := now + rng.expovariate(most)) < until:
        if rng.random() * most < rate(now):
            yield now, work(rng)
