"""Rate limits: units of work in a sliding window per key.

A request costs one unit, and one that has the model work costs more, see `Work`. Each process counts for
itself, in memory.

The sliding window is approximated from two fixed ones in constant memory per key: of the previous window
count as many units as would still be in the sliding one if they had come evenly ("sliding window
counter", as in the library `limits`, which parses the rates here; its counters use the wall clock, and
setting that would let a burst through).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem, parse

from recsys.errors import RequestError
from recsys.service.transport.problems import ServiceError

CANDIDATES_PER_UNIT = 20
UNIT = f"a unit is one request, {CANDIDATES_PER_UNIT} candidates ranked for a user, or one reason"


class RateLimited(ServiceError):
    """A key has asked for more work than its rate allows."""

    def __init__(self, rate: RateLimitItem, seconds: int, headers: Mapping[str, str]) -> None:
        message = f"this key may ask for {told(rate)}, and too few are left for this request"
        super().__init__(429, message, hint=f"wait {seconds} s; {UNIT}")
        self.headers = {"Retry-After": str(seconds)} | dict(headers)


@dataclass(frozen=True, slots=True)
class Work:
    """What a request has the model do for each of its users."""

    candidates: int  # that are ranked
    users: int = 1
    reasons: int = 0

    @property
    def units(self) -> int:
        """Its cost: one unit for every 20 candidates begun, and one for every reason."""
        return max(1, self.users * (math.ceil(self.candidates / CANDIDATES_PER_UNIT) + self.reasons))


@dataclass(slots=True)
class _Windows:
    """Units of a fixed window and of the one before."""

    number: int  # of the window, counted from the clock's zero
    previous: int = 0
    current: int = 0

    def move_to(self, number: int) -> None:
        if number != self.number:
            self.previous = self.current if number == self.number + 1 else 0
            self.number, self.current = number, 0

    def spent(self, elapsed: float) -> int:
        """Return the units in the sliding window, `elapsed` (0 to 1) into the fixed one."""
        return self.current + math.floor(self.previous * (1 - elapsed))


class RateLimiter:
    """Counts units per key; thread-safe. `rate` is for keys without one."""

    def __init__(self, rate: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = parse_rate(rate)
        self._clock = clock
        self._counts: dict[tuple[str, RateLimitItem], _Windows] = {}
        self._lock = threading.Lock()

    def allowance(self, key_id: str, rate: str | None = None) -> Allowance:
        """Return what a key with this rate may ask for."""
        return Allowance(self, key_id, self._parsed(rate))

    def count(self, key_id: str, rate: RateLimitItem | str | None = None, cost: int = 1) -> None:
        """Count a request of `cost` units.

        Raises:
            RateLimited: Too few units are left; the request is not counted.
        """
        rate = self._parsed(rate)
        with self._lock:
            windows, elapsed = self._now(key_id, rate)
            length, room = rate.get_expiry(), rate.amount - windows.current - cost
            if windows.spent(elapsed / length) + cost > rate.amount:
                # Until the window ends, or until little enough of the previous one counts.
                wait = length if room < 0 else length * (1 - (room + 1) / windows.previous)
                seconds = max(1, math.ceil(wait - elapsed))
                raise RateLimited(rate, seconds, self._headers(rate, windows, elapsed))
            windows.current += cost

    def headers(self, key_id: str, rate: RateLimitItem) -> dict[str, str]:
        """Return RateLimit-Policy and RateLimit, which tell what is left of the rate.

        Draft: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
        """
        with self._lock:
            return self._headers(rate, *self._now(key_id, rate))

    def _parsed(self, rate: RateLimitItem | str | None) -> RateLimitItem:
        return (parse_rate(rate) if isinstance(rate, str) else rate) or self._rate

    def _now(self, key_id: str, rate: RateLimitItem) -> tuple[_Windows, float]:
        """Return the windows of a key, and the seconds since the current one began."""
        number, elapsed = divmod(self._clock(), rate.get_expiry())
        windows = self._counts.setdefault((key_id, rate), _Windows(int(number)))
        windows.move_to(int(number))
        return windows, elapsed

    @staticmethod
    def _headers(rate: RateLimitItem, windows: _Windows, elapsed: float) -> dict[str, str]:
        length = rate.get_expiry()
        left = max(0, rate.amount - windows.spent(elapsed / length))
        return {
            "RateLimit-Policy": f'"key";q={rate.amount};qu="units";w={length}',
            "RateLimit": f'"key";r={left};t={math.ceil(length - elapsed)}',
        }


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one key may ask for."""

    limiter: RateLimiter
    key_id: str
    rate: RateLimitItem

    def spend(self, units: int, *, counted: int = 0) -> None:
        """Count a request of so many units, of which `counted` are counted already.

        Raises:
            ServiceError: 422, no waiting helps: the request costs more than the whole rate.
            RateLimited: Too few units are left; they are not counted.
        """
        if units > self.rate.amount:
            message = f"this request costs {units} units, and this key may ask for {told(self.rate)}"
            raise ServiceError(422, message, hint=f"ask for less at once; {UNIT}")
        if units > counted:
            self.limiter.count(self.key_id, self.rate, units - counted)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell what is left."""
        return self.limiter.headers(self.key_id, self.rate)


def rate_headers(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers for the caller in the state of a request; none without a key."""
    allowance: Allowance | None = getattr(state.get("caller"), "allowance", None)
    return allowance.headers if allowance else {}


def parse_rate(text: str) -> RateLimitItem:
    """Parse a rate such as "600/minute" or "5000/day". Raises RequestError."""
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError(
            f"'{text[:60]}' is no rate", hint='write how many units in which time: "600/minute"'
        ) from error


def told(rate: RateLimitItem) -> str:
    """Say a rate: "600 units a minute", "10 units in 2 hours"."""
    name = rate.GRANULARITY.name
    return f"{rate.amount} units " + (f"a {name}" if rate.multiples == 1 else f"in {rate.multiples} {name}s")
