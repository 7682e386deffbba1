"""Whether so many engines fit into this machine's memory."""

from __future__ import annotations

import math

from recsys.config import Settings

GIB = 2**30
ENGINE_OVERHEAD = 2  # GiB that an engine takes besides its key-value cache


def engine_gib(settings: Settings) -> int:
    """Return about how many whole GiB an engine in this process takes on a CPU."""
    return cache_gib(settings) + ENGINE_OVERHEAD


def cache_gib(settings: Settings) -> int:
    """Return how many GiB of key-value cache vLLM reserves."""
    return max(1, math.ceil(settings.kv_cache_gb))


def lack_of_memory(engines: int, settings: Settings, *, gpu: bool, free: float) -> str:
    """Say why so many engines do not fit, with the arithmetic; "" where they do.

    Args:
        engines: In this process. On a CPU each holds a merged model of its own; one fills a GPU.
        settings: Of all of them.
        gpu: Whether they run on one.
        free: Bytes of memory that are available.
    """
    needed = engines * engine_gib(settings)
    if gpu:
        return "a GPU holds one" if engines > 1 else ""
    if free >= needed * GIB:
        return ""
    each = f"{cache_gib(settings)} GiB of cache and {ENGINE_OVERHEAD} GiB besides"
    return f"they need about {needed} GiB, {free / GIB:.1f} are there ({engines} engines, each with {each})"
