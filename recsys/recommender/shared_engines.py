"""Domains of one process: they share engines, which must fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recsys.config import Settings
from recsys.engine.memory import lack_of_memory
from recsys.engine.sharing import EngineKey, EnginePool
from recsys.engine.vllm_local import on_gpu
from recsys.errors import ConfigError, ModelError
from recsys.recommender.recommender import Recommender
from recsys.utils.system import available_memory


def share_engines(recommenders: Sequence[Recommender]) -> None:
    """Let domains with the same model and adapter use one engine.

    Raises:
        ConfigError: Their engines do not fit into memory.
    """
    if len(recommenders) < 2:
        return
    require_memory(_keys(recommenders), recommenders[0].settings)
    pool = EnginePool()
    for recommender in recommenders:
        recommender.pool = pool


def require_memory(keys: Iterable[EngineKey], settings: Settings) -> None:
    """Raise ConfigError unless memory has room for one engine of each key."""
    engines = {key for key in keys if not key[0].is_remote}
    if len(engines) < 2:
        return
    if why := lack_of_memory(len(engines), settings, gpu=on_gpu(), free=available_memory()):
        adapters = ", ".join(sorted(adapter or "none" for _, adapter in engines))
        raise ConfigError(
            f"domains with different adapters ({adapters}) have an engine each: {why}",
            hint="serve fewer domains here, lower WHYREC_KV_CACHE_GB, set WHYREC_ADAPTER=none for one engine "
            "without adapters, or WHYREC_ENGINE to a vLLM server that serves the adapters by their names",
        )


def _keys(recommenders: Iterable[Recommender]) -> list[EngineKey]:
    """Return the key of each recommender whose adapter can be found.

    A request reports the others.
    """
    keys = []
    for recommender in recommenders:
        try:
            keys.append(recommender.engine_key)
        except ModelError:
            continue
    return keys
