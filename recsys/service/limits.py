"""How often a key may ask: a sliding window per key, in the memory of this process.

The window is approximated from two fixed ones, in constant memory per key (`limits`,
"sliding window counter"). Several processes each count for themselves.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from recsys.errors import RequestError
from recsys.service.problems import ServiceError


class RateLimited(ServiceError):
    """A key asked more often than it may; `headers` say when to come back."""

    def __init__(self, rate: RateLimitItem, seconds: int) -> None:
        super().__init__(429, f"more than {rate} were asked with this key", hint=f"wait {seconds} s")
        self.headers = {"Retry-After": str(seconds)}


class RateLimiter:
    """Counts requests per key. Safe to use from several threads. `rate` is for keys without their own."""

    def __init__(self, rate: str) -> None:
        self._rate = parse_rate(rate)
        self._counts = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, key_id: str, rate: str | None = None, cost: int = 1) -> None:
        """Count a request, as `cost` of them where it does more. Raises RateLimited, and counts nothing then."""
        allowed = parse_rate(rate) if rate else self._rate
        if not self._counts.hit(allowed, key_id, cost=cost):
            window = self._counts.get_window_stats(allowed, key_id)
            raise RateLimited(allowed, max(1, math.ceil(window.reset_time - time.time())))


def parse_rate(text: str) -> RateLimitItem:
    """ "600/minute", "10/second", "5000/day". Raises RequestError."""
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError(
            f"'{text[:60]}' is no rate", hint='write how many in which time: "600/minute"'
        ) from error
