"""Slow and withheld requests without a key, and a client with a key beside them.

    python -m benchmarks.slow_bodies --domain movies --seconds 60 --connections 1000

`recsys serve` runs as a process of its own on loopback, without a model. One client with a key asks for
similar items and for an item, 15 times a second; first alone, then while another process holds so many
connections, then alone again. A held connection that the service closes is opened again after a pause.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.environment import describe, write_json
from benchmarks.service_load import resident, serving
from recsys.config import Settings
from recsys.data.store import Store
from recsys.service.security.keys import KeyRing

DEAD = "http://127.0.0.1:9"  # no model answers here
PAUSE_S = 10.0  # before a connection that was closed is opened again; the first ones come as far apart
SETTLE_S = 15.0  # until the memory is read: longer than any limit on headers and parts of bodies
EVERY_S = 1 / 15  # the client with a key asks
BYTES_SENT = 64 << 10  # of a body that is withheld

HEAD = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
KINDS: dict[str, tuple[bytes, bool]] = {
    "headers withheld": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", False),
    "headers byte by byte": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", True),
    "body withheld": (HEAD.format(path="/v1/import", length=60 << 20).encode() + bytes(BYTES_SENT), False),
    "body byte by byte": (HEAD.format(path="/v1/recommendations", length=1000).encode(), True),
    "form withheld": (HEAD.format(path="/login", length=1000).encode(), False),
}
"""What a connection sends at once, and whether it goes on by a byte a second."""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    domain: str = "movies"
    seconds: float = 60.0
    connections: int = 1000


async def hold(address: tuple[str, int], kind: str, until: float, counts: Counter[str]) -> None:
    """Hold one connection again and again."""
    first, goes_on = KINDS[kind]
    await asyncio.sleep(random.uniform(0, PAUSE_S))
    while time.monotonic() < until:
        counts["opened"] += 1
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(first)
                while time.monotonic() < until and not reader.at_eof():
                    with suppress(TimeoutError):
                        answer = await asyncio.wait_for(reader.read(1 << 12), timeout=1)
                        if answer.startswith(b"HTTP/1.1 "):
                            counts[answer[9:12].decode()] += 1
                    if goes_on:
                        writer.write(b"x")
            finally:
                writer.transport.abort()
        await asyncio.sleep(PAUSE_S)


def attack(url: str, options: Options, results: Any) -> None:
    """Hold all connections while others measure; runs in a process of its own.

    It puts a first result when it begins, and then how many connections it opened and what was answered.
    """
    parts = urlsplit(url)
    address = str(parts.hostname), int(parts.port or 80)
    counts: Counter[str] = Counter()

    async def run() -> None:
        until = time.monotonic() + options.seconds
        kinds = [list(KINDS)[number % len(KINDS)] for number in range(options.connections)]
        await asyncio.gather(*(hold(address, kind, until, counts) for kind in kinds))

    results.put({})
    asyncio.run(run())
    results.put(dict(counts))


def ask(client: httpx.Client, seconds: float, pid: int) -> dict[str, Any]:
    """Ask for so long; return latencies in ms by request, and the largest MiB."""
    items = [item["id"] for item in client.get("/v1/items").json()["data"]]
    taken: dict[str, list[float]] = {"similar": [], "item": []}
    failed, memory, until = 0, 0.0, time.monotonic() + seconds
    for item in itertools.cycle(items):
        if time.monotonic() > until:
            break
        due = time.monotonic() + EVERY_S
        for kind, method, path, body in (
            ("similar", "POST", "/v1/similar", {"item": item, "k": 5}),
            ("item", "GET", f"/v1/items/{item}", None),
        ):
            begun = time.perf_counter()
            failed += client.request(method, path, json=body).status_code != 200
            taken[kind].append(1000 * (time.perf_counter() - begun))
        memory = max(memory, resident(pid)["service_mib"])
        time.sleep(max(0.0, due - time.monotonic()))
    latency = {kind: _latency(times) for kind, times in taken.items()}
    load = round(os.getloadavg()[0], 1)  # of the last minute: more than a few is other work
    return {"latency_ms": latency, "failed": failed, "peak_mib": memory, "load_average": load}


def _latency(times: list[float]) -> dict[str, float]:
    cuts = quantiles(times, n=100)
    return {"n": len(times), "p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}


def measure(url: str, pid: int, key: str, options: Options) -> dict[str, Any]:
    """Measure alone, beside the attack, and alone again."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        ask(client, 5, pid)  # warm
        before = ask(client, options.seconds / 2, pid)
        mib_before = resident(pid)["service_mib"]
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=attack, args=(url, options, results))
        process.start()
        results.get()
        beside = ask(client, options.seconds, pid)
        counts = results.get()
        process.join()
        time.sleep(SETTLE_S)
        mib_after = resident(pid)["service_mib"]
        after = ask(client, options.seconds / 2, pid)
    ratio = {}
    for kind, latency in beside["latency_ms"].items():
        alone = [run["latency_ms"][kind]["p99"] for run in (before, after)]
        ratio[kind] = round(latency["p99"] / (sum(alone) / 2), 2)
    return {
        "before": before,
        "beside": beside,
        "after": after,
        "p99_ratio": ratio,
        "connections": counts,
        "mib_before": mib_before,
        "mib_after": mib_after,
    }


def main() -> None:
    default = Options()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", default=default.domain)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--connections", type=int, default=default.connections)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/slow_bodies.json"))
    arguments = parser.parse_args()
    options = Options(arguments.domain, arguments.seconds, arguments.connections)
    os.environ["WHYREC_ENGINE"] = DEAD
    with (
        tempfile.TemporaryDirectory(prefix="whyrec-doors-") as folder,
        serving(options.domain, Path(folder)) as (url, pid),
        Store(Settings(data_dir=Path(folder) / "data").database_url) as store,
    ):
        key, _ = KeyRing(store).create("benchmark", ["read"], rate="1000000/second")
        result = measure(url, pid, key, options)
    write_json(
        arguments.out, {"options": asdict(options), **result, "environment": describe(), "kinds": list(KINDS)}
    )


if __name__ == "__main__":
    main()
