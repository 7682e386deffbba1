"""Domains with the same model and adapter use one engine; different engines must fit into memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from recsys.config import Settings
from recsys.engine.base import GenerationRequest
from recsys.engine.memory import GIB, lack_of_memory
from recsys.engine.sharing import EnginePool, engine_key
from recsys.errors import ConfigError, EngineDead, EngineError
from recsys.recommender import shared_engines
from recsys.recommender.shared_engines import require_memory
from tests.contracts import EngineContract, check_closed
from tests.fakes import ScriptedEngine


class TestContract(EngineContract):
    @pytest.fixture
    def engine(self) -> Any:
        return EnginePool().lend(engine_key(Settings(), None), ScriptedEngine)

    def test_closed_engine_is_dead(self) -> None:
        check_closed(EnginePool().lend(engine_key(Settings(), None), ScriptedEngine))


class Starts:
    """Starts engines and keeps them."""

    def __init__(self) -> None:
        self.engines: list[ScriptedEngine] = []

    def __call__(self) -> ScriptedEngine:
        self.engines.append(ScriptedEngine())
        return self.engines[-1]


@pytest.mark.parametrize("domains", [1, 2, 3, 4, 8])
def test_domains_with_the_same_key_share_one_engine_until_the_last_closes_it(domains: int) -> None:
    """Four domains used to start four engines of 3.4 GiB each."""
    pool, starts, key = EnginePool(), Starts(), engine_key(Settings(), None)
    lent = [pool.lend(key, starts) for _ in range(domains)]
    assert len(starts.engines) == 1
    for engine in lent:
        assert not starts.engines[0].closed
        engine.close()
        engine.close()  # twice is once
    assert starts.engines[0].closed
    pool.lend(key, starts)
    assert len(starts.engines) == 2


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((Settings(), None), (Settings(), None), True),
        ((Settings(), "a@1"), (Settings(), "a@1"), True),
        ((Settings(adapter="none"), None), (Settings(), None), True),
        ((Settings(adapter="a@1"), "a@1"), (Settings(), "a@1"), True),
        ((Settings(), None), (Settings(), "a@1"), False),
        ((Settings(), "a@1"), (Settings(), "b@1"), False),
        ((Settings(), None), (Settings(model="other"), None), False),
        ((Settings(), None), (Settings(dtype="float32"), None), False),
        ((Settings(), None), (Settings(max_model_len=512), None), False),
        ((Settings(engine="http://h"), None), (Settings(engine="http://h", adapter="tuned"), None), False),
    ],
)
def test_key_is_the_model_and_the_adapter(first: Any, second: Any, same: bool) -> None:
    assert (engine_key(*first) == engine_key(*second)) == same


def test_domains_that_start_at_once_start_one_engine() -> None:
    pool, starts, key = EnginePool(), Starts(), engine_key(Settings(), None)
    threads = [threading.Thread(target=pool.lend, args=(key, starts)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(starts.engines) == 1


CALLS: list[Callable[[Any], Any]] = [
    lambda engine: engine.label_logprobs([[1]], [2]),
    lambda engine: engine.continuation_logprobs([[1]], [[2]]),
    lambda engine: engine.generate(GenerationRequest([[1]], max_tokens=2)),
    lambda engine: list(engine.stream(GenerationRequest([[1]], max_tokens=2))),
]


@pytest.mark.parametrize("call", CALLS)
def test_engine_that_died_is_lent_no_more(call: Callable[[Any], Any]) -> None:
    pool, starts, key = EnginePool(), Starts(), engine_key(Settings(), None)
    one, other = pool.lend(key, starts), pool.lend(key, starts)
    starts.engines[0].fail_at[0] = EngineDead("it is gone")
    with pytest.raises(EngineDead):
        call(one)
    one.close()
    fresh = pool.lend(key, starts)
    call(fresh)
    assert len(starts.engines) == 2
    other.close()
    call(fresh)  # the last loan of the dead one ends nothing of the new one


def test_engine_that_fails_once_is_kept_and_a_start_that_fails_is_tried_again() -> None:
    pool, starts, key = EnginePool(), Starts(), engine_key(Settings(), None)

    def refuse() -> ScriptedEngine:
        raise EngineError("no room")

    with pytest.raises(EngineError, match="no room"):
        pool.lend(key, refuse)
    one = pool.lend(key, starts)
    starts.engines[0].fail_at[0] = EngineError("busy")
    with pytest.raises(EngineError, match="busy"):
        one.label_logprobs([[1]], [2])
    pool.lend(key, starts)
    assert len(starts.engines) == 1


@pytest.mark.parametrize(
    ("engines", "cache", "free", "fits"),
    [(1, 2.0, 4, True), (2, 2.0, 7.9, False), (2, 2.0, 8, True), (4, 1.0, 11, False), (4, 0.5, 12, True)],
)
def test_memory_is_counted_and_told(engines: int, cache: float, free: float, fits: bool) -> None:
    why = lack_of_memory(engines, Settings(kv_cache_gb=cache), gpu=False, free=free * GIB)
    assert (why == "") == fits
    if why:
        needed = engines * (max(1, round(cache)) + 2)
        assert f"about {needed} GiB, {free:.1f} are there ({engines} engines" in why


@pytest.mark.parametrize(
    ("adapters", "refused"),
    [
        ([None, None, None, None], False),
        (["a@1", "a@1"], False),
        (["a@1"], False),
        (["a@1", None], True),
        (["a@1", "b@1", "c@1", None], True),
    ],
)
def test_domains_with_different_adapters_must_fit(
    adapters: list[str | None], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_engines, "on_gpu", lambda: False)
    monkeypatch.setattr(shared_engines, "available_memory", lambda: 7 * GIB)
    keys = [engine_key(Settings(), adapter) for adapter in adapters]
    if not refused:
        require_memory(keys, Settings())
        return
    with pytest.raises(ConfigError, match=r"about \d+ GiB, 7\.0 are there") as caught:
        require_memory(keys, Settings())
    assert "WHYREC_ENGINE" in caught.value.hint
    monkeypatch.setattr(shared_engines, "available_memory", lambda: 64 * GIB)
    require_memory(keys, Settings())
    monkeypatch.setattr(shared_engines, "on_gpu", lambda: True)
    with pytest.raises(ConfigError, match="a GPU holds one"):
        require_memory(keys, Settings())


def test_a_server_takes_no_memory_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_engines, "available_memory", lambda: 0)
    settings = [Settings(engine="http://h", adapter=name) for name in ("a", "b")]
    require_memory([engine_key(each, None) for each in settings], settings[0])
