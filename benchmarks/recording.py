"""Recording of a service's engine calls, and their replay without the service.

    python -m benchmarks.recording calls.jsonl serve --domain movies

runs `recsys serve --domain movies` and appends a line to calls.jsonl for each engine call.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from recsys.engine import Engine, GenerationRequest
from recsys.service.observability.logs import request_id

CALLS = ("label_logprobs", "continuation_logprobs", "generate", "stream")
Call = tuple[str, list[Any], dict[str, Any]]


class Recorder:
    """An engine that appends [request id, method, arguments, options] to a file."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        return partial(self._recorded, name, attribute) if name in CALLS else attribute

    def _recorded(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        line = json.dumps([request_id.get(), name, args, options], default=_plain)
        with self._lock:
            self._file.write(line + "\n")
        return call(*args, **options)


def read_calls(path: Path) -> dict[str, list[Call]]:
    """Read the calls of each request, in order."""
    calls: dict[str, list[Call]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            request, name, args, options = json.loads(line)
            calls.setdefault(request, []).append((name, args, options))
    return calls


def replay(
    engine: Engine, requests: Sequence[Sequence[Call]], callers: int
) -> tuple[list[float], float, Counter[str]]:
    """Repeat the calls of each request in order, with so many requests at once.

    Returns:
        Seconds of each request, elapsed seconds, and tokens.
    """
    tokens: Counter[str] = Counter()
    lock = threading.Lock()

    def replay_request(calls: Sequence[Call]) -> float:
        begun = time.perf_counter()
        for name, args, options in calls:
            arguments = [GenerationRequest(**args[0])] if name in ("generate", "stream") else args
            results = list(getattr(engine, name)(*arguments, **options))
            answers = [answer for _, answer in results] if name == "stream" else results
            with lock:
                for answer in answers:
                    tokens["prompt_tokens"] += answer.prompt_tokens
                    tokens["cached_tokens"] += answer.cached_tokens
                    tokens["generated_tokens"] += getattr(answer, "generated_tokens", 1)  # a score costs one
        return time.perf_counter() - begun

    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        seconds = list(pool.map(replay_request, requests))
        return seconds, time.perf_counter() - begun, tokens


def _plain(value: Any) -> Any:
    if isinstance(value, GenerationRequest):
        return vars(value)
    return dict(value) if isinstance(value, Mapping) else list(value)


def main() -> None:
    from recsys import cli

    path, *rest = sys.argv[1:]
    pipeline: Any = importlib.import_module("recsys.recommender.recommender")
    open_engine = pipeline.open_engine

    def open_recorded(*args: Any, **options: Any) -> Any:
        return Recorder(open_engine(*args, **options), Path(path))

    pipeline.open_engine = open_recorded
    sys.argv = ["recsys", *rest]
    cli.main()


if __name__ == "__main__":
    main()
