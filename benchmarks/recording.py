"""The engine's calls, written down as a service makes them, and made again without the service.

    python -m benchmarks.recording calls.jsonl serve --domain movies

is `recsys serve --domain movies` that adds a line to calls.jsonl for each call to its engine.
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

from recsys.engine import Engine
from recsys.service.observability.logs import request_id

CALLS = ("label_logprobs", "continuation_logprobs", "generate", "stream")
Call = tuple[str, list[Any], dict[str, Any]]


class Recorder:
    """An engine that appends what it is asked to a file: [request id, method, arguments, options] a line."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        return partial(self._noted, name, found) if name in CALLS else found

    def _noted(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        line = json.dumps([request_id.get(), name, args, options], default=_plain)
        with self._lock:
            self._file.write(line + "\n")
        return call(*args, **options)


def read_calls(path: Path) -> dict[str, list[Call]]:
    """The calls of each request, in order."""
    found: dict[str, list[Call]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            request, name, args, options = json.loads(line)
            found.setdefault(request, []).append((name, args, options))
    return found


def replay(
    engine: Engine, requests: Sequence[Sequence[Call]], callers: int
) -> tuple[list[float], float, Counter[str]]:
    """Make the calls of each request one after the other, so many requests at once.

    Returns seconds of each request, of all together, and tokens.
    """
    tokens: Counter[str] = Counter()
    lock = threading.Lock()

    def one(calls: Sequence[Call]) -> float:
        begun = time.perf_counter()
        for name, args, options in calls:
            done = list(getattr(engine, name)(*args, **options))
            answers = [answer for _, answer in done] if name == "stream" else done
            with lock:
                for answer in answers:
                    tokens["prompt_tokens"] += answer.prompt_tokens
                    tokens["cached_tokens"] += answer.cached_tokens
                    tokens["generated_tokens"] += getattr(answer, "generated_tokens", 1)  # a score costs one
        return time.perf_counter() - begun

    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        seconds = list(pool.map(one, requests))
        return seconds, time.perf_counter() - begun, tokens


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)


def main() -> None:
    from recsys import cli

    path, *rest = sys.argv[1:]
    pipeline: Any = importlib.import_module("recsys.recommender.recommender")
    opened = pipeline.open_engine

    def open_recorded(*args: Any, **options: Any) -> Any:
        return Recorder(opened(*args, **options), Path(path))

    pipeline.open_engine = open_recorded
    sys.argv = ["recsys", *rest]
    cli.main()


if __name__ == "__main__":
    main()
