"""Rate limits per key: how many units in which time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.service.security.keys import KeyRing
from recsys.service.security.limits import RateLimited, RateLimiter, parse_rate
from tests.service.test_auth import client, sent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        yield store


def refused(limiter: RateLimiter, key: str, rate: str | None = None, cost: int = 1) -> bool:
    try:
        limiter.count(key, rate, cost)
    except RateLimited:
        return True
    return False


def test_a_key_may_ask_so_often_and_others_are_not_held_up() -> None:
    limiter = RateLimiter("3/day")
    assert [refused(limiter, "a") for _ in range(5)] == [False] * 3 + [True] * 2
    assert not refused(limiter, "b")


def test_a_key_may_have_a_rate_of_its_own() -> None:
    limiter = RateLimiter("1/day")
    assert [refused(limiter, "a", "2/day") for _ in range(3)] == [False, False, True]


def test_a_request_for_many_counts_as_many() -> None:
    limiter = RateLimiter("10/day")
    assert not refused(limiter, "a", cost=8)
    assert refused(limiter, "a", cost=3)
    assert not refused(limiter, "a", cost=2), "what was refused was not counted"


def test_who_is_refused_is_told_when_to_come_back() -> None:
    limiter = RateLimiter("1/minute")
    limiter.count("a")
    with pytest.raises(RateLimited) as caught:
        limiter.count("a")
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 120
    assert caught.value.retryable
    assert caught.value.status == 429


def test_threads_together_get_no_more_than_is_allowed() -> None:
    limiter = RateLimiter("50/day")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refused(limiter, "a"), range(200)))
    assert answers.count(False) == 50


@pytest.mark.parametrize("text", ["", "often", "10", "x/minute", "10/fortnight"])
def test_a_rate_that_cannot_be_read_is_told(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_rate(text)
    assert "600/minute" in caught.value.hint


def test_over_http_it_is_a_429_with_retry_after(store: Store) -> None:
    text, _ = KeyRing(store).create("app", rate="2/day")
    web = client(store, rate="100/day")
    answers = [web.get("/read", headers=sent(text)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert answers[2].json()["retryable"]
    other, _ = KeyRing(store).create("other")
    assert web.get("/read", headers=sent(other)).status_code == 200


def test_without_keys_nothing_is_counted(store: Store) -> None:
    web = client(store, rate="1/day")
    assert [web.get("/read").status_code for _ in range(5)] == [200] * 5
