"""Rate limits: a sliding window per key, in the memory of this process.

The sliding window is approximated from two fixed ones in constant memory per key: of the previous window
count as many requests as would still be in the sliding one if they had come evenly ("sliding window
counter", as in the library `limits`, which parses the rates here; its counters use the wall clock, and
setting that would let a burst through). Each process counts for itself.
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
    """A key has sent more requests than its rate allows."""

    def __init__(self, rate: RateLimitItem, seconds: int) -> None:
        super().__init__(429, f"more than {rate} were asked with this key", hint=f"wait {seconds} s")
        self.headers = {"Retry-After": str(seconds)}


@dataclass(slots=True)
class _Windows:
    """Counts of a fixed window and of the one before."""

    number: int  # of the window, counted from the clock's zero
    previous: int = 0
    current: int = 0

    def move_to(self, number: int) -> None:
        if number != self.number:
            self.previous = self.current if number == self.number + 1 else 0
            self.number, self.current = number, 0


class RateLimiter:
    """Counts requests per key; thread-safe. `rate` is for keys without one."""

    def __init__(self, rate: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = parse_rate(rate)
        self._clock = clock
        self._counts: dict[tuple[str, RateLimitItem], _Windows] = {}
        self._lock = threading.Lock()

    def count(self, key_id: str, rate: str | None = None, cost: int = 1) -> None:
        """Count a request as `cost` requests.

        Raises:
            RateLimited: The rate is exceeded; the request is not counted.
        """
        allowed = parse_rate(rate) if rate else self._rate
        length = allowed.get_expiry()
        number, elapsed = divmod(self._clock(), length)
        with self._lock:
            windows = self._counts.setdefault((key_id, allowed), _Windows(int(number)))
            windows.move_to(int(number))
            room = allowed.amount - windows.current - cost
            if room < 0 or math.floor(windows.previous * (1 - elapsed / length)) > room:
                # Until the window ends, or until little enough of the previous one counts.
                wait = length if room < 0 else length * (1 - (room + 1) / windows.previous)
                raise RateLimited(allowed, max(1, math.ceil(wait - elapsed)))
            windows.current += cost


def parse_rate(text: str) -> RateLimitItem:
    """Parse a rate such as "600/minute" or "5000/day". Raises RequestError."""
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError(
            f"'{text[:60]}' is no rate", hint='write how many in which time: "600/minute"'
        ) from error
