"""How often a key may ask: a sliding window per key, in the memory of this process.

The window is approximated from two fixed ones, in constant memory per key: so many of the one
before as it would still hold if they had come evenly ("sliding window counter", as in the library
`limits`, which reads the rates here; its own counters go by the wall clock, and one that is set back
or forward would let a burst through). Several processes each count for themselves.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItem, parse

from recsys.errors import RequestError
from recsys.service.transport.problems import ServiceError


class RateLimited(ServiceError):
    """A key asked more often than it may; `headers` say when to come back."""

    def __init__(self, rate: RateLimitItem, seconds: int) -> None:
        super().__init__(429, f"more than {rate} were asked with this key", hint=f"wait {seconds} s")
        self.headers = {"Retry-After": str(seconds)}


@dataclass(slots=True)
class _Windows:
    """What was counted in the fixed window of this number, and in the one before."""

    number: int
    before: int = 0
    now: int = 0

    def move_to(self, number: int) -> None:
        if number != self.number:
            self.before = self.now if number == self.number + 1 else 0
            self.number, self.now = number, 0


class RateLimiter:
    """Counts requests per key. Safe to use from several threads. `rate` is for keys without their own."""

    def __init__(self, rate: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = parse_rate(rate)
        self._clock = clock
        self._counts: dict[tuple[str, RateLimitItem], _Windows] = {}
        self._lock = threading.Lock()

    def count(self, key_id: str, rate: str | None = None, cost: int = 1) -> None:
        """Count a request, as `cost` of them where it does more. Raises RateLimited, and counts nothing then."""
        allowed = parse_rate(rate) if rate else self._rate
        length = allowed.get_expiry()
        number, into = divmod(self._clock(), length)
        with self._lock:
            counted = self._counts.setdefault((key_id, allowed), _Windows(int(number)))
            counted.move_to(int(number))
            room = allowed.amount - counted.now - cost
            if room < 0 or math.floor(counted.before * (1 - into / length)) > room:
                # Until the window ends, or the one before has let go of enough.
                wait = length if room < 0 else length * (1 - (room + 1) / counted.before)
                raise RateLimited(allowed, max(1, math.ceil(wait - into)))
            counted.now += cost


def parse_rate(text: str) -> RateLimitItem:
    """ "600/minute", "10/second", "5000/day". Raises RequestError."""
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError(
            f"'{text[:60]}' is no rate", hint='write how many in which time: "600/minute"'
        ) from error
