"""The service under load: latency, throughput, shedding, and growth of memory.

    python -m benchmarks.service_load --domain movies --seconds 60 --concurrency 1,2,4,8,16
    python -m benchmarks.service_load --concurrency "" --soak 10 --out benchmarks/results/service_soak.json

`recsys serve` runs as a process of its own on loopback with an empty store. So many callers send
requests over HTTP, each for one list at a time and for a new user. Then the service stops, an engine
of the same kind starts here, and as many callers repeat exactly the calls that the service made for
those requests: the difference is all that is not the engine. The callers share the machine's cores
with both. Every answer is checked, also against the copy that the service keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.environment import describe, write_json
from benchmarks.load_checks import KnownIds, Tally, latency, slope
from benchmarks.recording import read_calls, replay
from recsys.config import load_domain, load_settings
from recsys.engine import Engine
from recsys.service.options import ServiceOptions

SEED = 7
BEYOND = 12  # callers more than the service can run and queue
SAMPLE_S = 2.0
ANSWER_S = 600  # a request that takes longer counts as lost
WARM_UP = "load-0"
START_S = 900  # until the service is ready


@dataclass(frozen=True)
class LoadOptions:
    """What is measured."""

    domain: str = "movies"
    seconds: float = 60.0  # of each level
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)  # callers of each level
    soak: float = 0.0  # minutes; 0: none
    soak_callers: int = 4
    k: int = 5
    at: str = "Friday 21:00"


class Callers:
    """Clients of one service, which cycle through the users."""

    def __init__(self, client: httpx.AsyncClient, known: KnownIds, options: LoadOptions) -> None:
        self._client, self._known, self._options = client, known, options
        users = sorted(known.histories)
        random.Random(SEED).shuffle(users)
        self._users = itertools.cycle(users)
        self._number = itertools.count()

    async def load(self, callers: int, seconds: float, *, reasons: bool) -> tuple[Tally, float]:
        """Send requests for so many seconds, one per caller or more.

        Returns outcomes and seconds.
        """
        tally = Tally()
        begun = time.perf_counter()

        async def call() -> None:
            while True:
                await self.ask(tally, next(self._users), reasons=reasons)
                if time.perf_counter() - begun >= seconds:
                    return

        await asyncio.gather(*(call() for _ in range(callers)))
        elapsed = time.perf_counter() - begun
        for given in tally.given:
            tally.kept(given, await self._client.get(f"/v1/recommendations/{given}"))
        return tally, elapsed

    async def ask(self, tally: Tally, user: str, *, reasons: bool) -> None:
        """Send one request; where the service asks to come back later, wait that long."""
        options, request_id = self._options, f"load-{next(self._number)}"
        body = {"user": user, "k": options.k, "at": options.at, "reasons": reasons}
        begun = time.perf_counter()
        response: httpx.Response | Exception
        try:
            response = await self._client.post(
                "/v1/recommendations", json=body, headers={"X-Request-Id": request_id}
            )
        except httpx.HTTPError as error:
            response = error
        wait = tally.take(
            response,
            time.perf_counter() - begun,
            request_id=request_id,
            user=user,
            k=options.k,
            reasons=reasons,
            known=self._known,
        )
        if wait is not None:
            await asyncio.sleep(wait)


async def levels(callers: Callers, options: LoadOptions) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Measure each level; returns its figures and the ids of its requests."""
    await callers.load(1, 0.0, reasons=True)  # warm-up: one request
    results, request_ids = [], []
    for reasons in (True, False):
        for number in options.concurrency:
            tally, elapsed = await callers.load(number, options.seconds, reasons=reasons)
            results.append({"reasons": reasons, "callers": number, **tally.figures(elapsed)})
            request_ids.append([request for request, _, _ in tally.given.values()])
            print(_line(results[-1]), flush=True)
    return results, request_ids


async def shedding(callers: Callers, options: LoadOptions, bounds: ServiceOptions) -> dict[str, Any]:
    """Measure more callers than the service has room for, without reasons."""
    number = bounds.concurrency + bounds.queue + BEYOND
    tally, elapsed = await callers.load(number, options.seconds, reasons=False)
    result = {"callers": number, "places": bounds.concurrency, "queue": bounds.queue}
    result |= tally.figures(elapsed)
    print("beyond the queue:", _line(result), flush=True)
    return result


async def soak(callers: Callers, options: LoadOptions, pid: int) -> dict[str, Any]:
    """Sample memory during minutes of load, half of it with reasons."""
    samples: list[dict[str, float]] = []

    async def sample() -> None:
        begun = time.perf_counter()
        while True:
            samples.append({"minutes": round((time.perf_counter() - begun) / 60, 4), **resident(pid)})
            await asyncio.sleep(SAMPLE_S)

    sampler = asyncio.create_task(sample())
    half = max(1, options.soak_callers // 2)
    runs = await asyncio.gather(
        *(callers.load(half, options.soak * 60, reasons=reasons) for reasons in (True, False))
    )
    sampler.cancel()
    minutes = [sample["minutes"] for sample in samples]
    names = ("service_mib", "engine_mib")
    return {
        "minutes": options.soak,
        "callers": 2 * half,
        "runs": [
            {"reasons": reasons, **tally.figures(elapsed)}
            for reasons, (tally, elapsed) in zip((True, False), runs, strict=True)
        ],
        "slope_mib_per_minute": {
            name: slope(minutes, [sample[name] for sample in samples]) for name in names
        },
        "samples": samples,
    }


def resident(pid: int) -> dict[str, float]:
    """Read the resident MiB of the service's process and of its children, the engine."""
    service = psutil.Process(pid)
    children = 0
    for child in service.children(recursive=True):
        try:
            children += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return {
        "service_mib": round(service.memory_info().rss / 2**20, 2),
        "engine_mib": round(children / 2**20, 2),
    }


@contextmanager
def serving(domain: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Run `recsys serve` with recorded calls; yields its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    fitted = load_settings().data_dir / "retrievers"
    if fitted.is_dir():  # fitting takes a minute; it is repeated where the data differ
        shutil.copytree(fitted, folder / "data" / "retrievers")
    command = [
        sys.executable,
        "-m",
        "benchmarks.recording",
        str(folder / "calls.jsonl"),
        "serve",
        "--domain",
        domain,
        "--port",
        str(port),
    ]
    log = folder / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, env=os.environ | {"WHYREC_DATA_DIR": str(folder / "data")}, stdout=sink, stderr=sink
        )
        try:
            _ready(f"http://127.0.0.1:{port}/readyz", process, log)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_S):
        if process.poll() is None:
            try:
                if httpx.get(url, timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(1)
    raise SystemExit(f"the service did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def replay_levels(
    engine: Engine, calls: Path, results: Sequence[dict[str, Any]], request_ids: Sequence[Sequence[str]]
) -> None:
    """Add to each level the time of the engine alone for the calls of its requests."""
    recorded = read_calls(calls)
    replay(engine, [recorded.get(WARM_UP, [])], 1)
    for level, ids in zip(results, request_ids, strict=True):
        requests = [recorded[id_] for id_ in ids if id_ in recorded]  # all, unless the engine was down
        seconds, elapsed, tokens = replay(engine, requests, level["callers"])
        level["bare"] = {**latency(seconds, elapsed), "tokens": dict(tokens)}
        print("bare:", _line(level["bare"] | {"callers": level["callers"]}), flush=True)


def _line(result: dict[str, Any]) -> str:
    marks = "  ".join(
        f"{mark} {result[f'{mark}_s']:.2f} s" for mark in ("p50", "p95", "p99") if f"{mark}_s" in result
    )
    counts = "  ".join(
        f"{result[name]} {name}" for name in ("answered", "wrong", "lost", "shed") if name in result
    )
    return f"{result['callers']:3} at once  {marks}  {result['per_s']:.3f} a second  {counts}"


async def measure(
    client: httpx.AsyncClient, pid: int, known: KnownIds, options: LoadOptions
) -> tuple[dict[str, Any], list[list[str]]]:
    """Measure all that needs the service; returns also the request ids of each level."""
    callers = Callers(client, known, options)
    level_results, request_ids = await levels(callers, options)
    result: dict[str, Any] = {"levels": level_results}
    if options.concurrency:
        result["shedding"] = await shedding(callers, options, ServiceOptions())
    if options.soak:
        result["soak"] = await soak(callers, options, pid)
    return result, request_ids


async def _measured(url: str, *rest: Any) -> tuple[dict[str, Any], list[list[str]]]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S, limits=limits) as client:
        return await measure(client, *rest)


def main() -> None:
    from recsys.data.importers import read_domain
    from recsys.engine import open_engine
    from recsys.engine.adapters import resolve_adapter

    default = LoadOptions()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", default=default.domain)
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of each level")
    parser.add_argument(
        "--concurrency", type=_numbers, default=default.concurrency, help='1,2,4; "" for none'
    )
    parser.add_argument("--soak", type=float, default=default.soak, metavar="MINUTES")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/service_load.json"))
    arguments = parser.parse_args()
    options = LoadOptions(arguments.domain, arguments.seconds, arguments.concurrency, arguments.soak)
    domain = load_domain(options.domain)
    known = KnownIds.of(domain, read_domain(domain))
    about = {"title": domain.title or domain.name, "options": asdict(options), "environment": describe()}
    with tempfile.TemporaryDirectory(prefix="whyrec-load-") as folder:
        with serving(options.domain, Path(folder)) as (url, pid):
            result, ids = asyncio.run(_measured(url, pid, known, options))
        write_json(arguments.out, about | result)
        if options.concurrency:
            settings = load_settings()
            engine = open_engine(settings, adapter=resolve_adapter(domain, settings))
            about["model"] = f"{engine.model} + {engine.adapter}" if engine.adapter else engine.model
            try:
                replay_levels(engine, Path(folder) / "calls.jsonl", result["levels"], ids)
            finally:
                engine.close()
            write_json(arguments.out, about | result)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number.strip())


if __name__ == "__main__":
    main()
