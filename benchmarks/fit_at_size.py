"""Time and memory of fitting retrieval channels, and the latency, by size.

    python -m benchmarks.fit_at_size --events 100000 1000000
    python -m benchmarks.fit_at_size --events --domain shop-products --whole-fit

Events are generated (`benchmarks/synthetic_events.py`), or those of an imported domain. Each channel is
fitted in a process of its own, whose peak of memory is that of the channel; latency is of one caller with
all channels, after a warm-up. CPU seconds are of all threads: on a busy machine they tell more.
`--whole-fit` also runs `recsys fit`. What the output has already is not measured again.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.environment import describe, write_json
from recsys.config import load_domain, load_settings
from recsys.config.retrieval import Channel, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.data.store import Store
from recsys.types import Context, Item
from retrieval import Query, SentenceEmbedder
from retrieval.build import RetrieverBuilder
from retrieval.fit import DEFAULT_CHANNELS, REPEAT_CHANNELS
from retrieval.holding_out import history_before
from retrieval.needs import need_of
from retrieval.reading import read_log

QUERIES, WARM_UP, N_CANDIDATES = 500, 50, 20
ITEMS_SHARE = 50  # generated events per item
LATENCY = "latency"
CHANNELS = (*DEFAULT_CHANNELS, *REPEAT_CHANNELS, "trend")


@dataclass(frozen=True)
class Data:
    """A catalogue and its events."""

    items: list[Item]
    log: EventLog


def prepare(name: str, work: Path) -> None:
    """Generate the events of a size, once."""
    from benchmarks.synthetic_events import generate

    path = work / "log.npz"
    if name.isdigit() and not path.is_file():
        log = generate(int(name), max(1_000, int(name) // ITEMS_SHARE))
        work.mkdir(parents=True, exist_ok=True)
        np.savez(path, start=log.start, item=log.item, time=log.time, n_items=len(log.items))


def load(name: str, work: Path) -> Data:
    """Read a generated size from `work`, or an imported domain from its store."""
    if not name.isdigit():
        with Store(load_settings().database_url) as store:
            items = store.items(load_domain(name).name)
            return Data(items, read_log(store, load_domain(name), [item.id for item in items]))
    from benchmarks.synthetic_events import titles

    arrays = np.load(work / "log.npz")
    ids = [f"i{row:08}" for row in range(int(arrays["n_items"]))]
    items = [
        Item(id=item_id, title=title, attributes={"category": (kind,)})
        for item_id, (title, kind) in zip(ids, titles(len(ids)), strict=True)
    ]
    log = EventLog(
        items=tuple(ids),
        users=tuple(f"u{row:08}" for row in range(len(arrays["start"]) - 1)),
        start=arrays["start"],
        item=arrays["item"],
        time=arrays["time"],
        preference=np.zeros(len(arrays["item"]), dtype=np.int8),
    )
    return Data(items, log)


def builder(data: Data, work: Path, weights: dict[str, float]) -> RetrieverBuilder:
    """Return what fits these channels and keeps them in `work`."""
    config = RetrieverConfig.model_validate({"weights": weights})
    return RetrieverBuilder(
        data.items, data.log, SentenceEmbedder(load_settings().embedder), config, work / "fitted"
    )


def measure_channel(data: Data, name: str, work: Path) -> dict[str, Any]:
    """Fit one channel and save it."""
    before, begun, cpu_before = _peak_mib(), time.perf_counter(), _cpu_s()
    fitting = builder(data, work, {name: 1.0})
    need = need_of(name, data.log, fitting.config, len(data.items))
    fitting.build()
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(_cpu_s() - cpu_before, 1),
        "peak_mib": _peak_mib(),
        "above_data_mib": _peak_mib() - before,
        "estimated_seconds": round(need.seconds, 1),
        "estimated_mib": round(need.bytes / 2**20),
        "notes": fitting.notes,
    }


def measure_latency(data: Data, channels: list[str], work: Path) -> dict[str, Any]:
    """Query with all channels for the last event of many users, one by one."""
    retriever = builder(data, work, dict.fromkeys(channels, 1.0)).build()
    log, table = data.log, retriever.state.table
    rng = np.random.default_rng(0)
    last = (log.start[1:] - 1)[np.diff(log.start) > 1]
    positions = rng.choice(last, min(QUERIES + WARM_UP, len(last)), replace=False).tolist()
    seconds, cpu_seconds = [], []
    for position in positions:
        history = history_before(log, position, table)
        moment = dt.datetime.fromtimestamp(float(log.time[position]), dt.UTC)
        exclude = frozenset(entry.item.id for entry in history)
        query = Query(history, exclude=exclude, context=Context(time=moment))
        begun, cpu_begun = time.perf_counter(), time.process_time()
        retriever.retrieve(query, N_CANDIDATES)
        seconds.append(time.perf_counter() - begun)
        cpu_seconds.append(time.process_time() - cpu_begun)
    warm, cpu = (np.array(values[WARM_UP:] or values) * 1000 for values in (seconds, cpu_seconds))
    return {
        "queries": len(warm),
        "p50_ms": round(float(np.percentile(warm, 50)), 1),
        "p99_ms": round(float(np.percentile(warm, 99)), 1),
        "p50_cpu_ms": round(float(np.percentile(cpu, 50)), 1),
        "p99_cpu_ms": round(float(np.percentile(cpu, 99)), 1),
        "channels": list(retriever.weights),
        "peak_mib": _peak_mib(),
    }


def measure_whole_fit(name: str) -> dict[str, Any]:
    """Run `recsys fit` on an imported domain."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "recsys.cli", "fit", "--domain", name, "--score-minutes", "0", "--json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # the peak is the highest of all children
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": usage.ru_maxrss // 2**10,
        "fitted": json.loads(output),
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10


def main() -> None:
    """Measure what the output does not have yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--domain", help="an imported domain, beside the generated events")
    parser.add_argument("--channels", nargs="+", default=list(CHANNELS), choices=get_args(Channel))
    parser.add_argument("--whole-fit", action="store_true", help="also run 'recsys fit' on the domain")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "whyrec-fit-at-size")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fit_at_size.json"))
    parser.add_argument("--part", help=argparse.SUPPRESS)  # what a child process measures
    options = parser.parse_args()
    names = [*map(str, options.events), *([options.domain] if options.domain else [])]
    if options.part:
        data = load(names[0], options.work)
        part = (
            measure_latency(data, options.channels, options.work)
            if options.part == LATENCY
            else measure_channel(data, options.part, options.work)
        )
        sys.stdout.write("\n" + json.dumps(part) + "\n")
        return
    result = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for name in names:
        work = options.work / name
        prepare(name, work)
        measured = result.setdefault("data", {}).setdefault(name, {})
        if "shape" not in measured:
            log = load(name, work).log
            measured["shape"] = {"events": len(log), "items": len(log.items), "users": len(log.users)}
        for part in [*options.channels, LATENCY]:
            if part not in measured:
                measured[part] = _in_a_child(name, part, work, options.channels)
                print(name, part, measured[part], flush=True)
                write_json(options.out, result | {"environment": describe()})
    if options.whole_fit and options.domain:
        result["data"][options.domain]["recsys fit"] = measure_whole_fit(options.domain)
        write_json(options.out, result | {"environment": describe()})


def _in_a_child(name: str, part: str, work: Path, channels: list[str]) -> dict[str, Any]:
    data = ["--events", name] if name.isdigit() else ["--events", "--domain", name]
    command = [sys.executable, "-m", "benchmarks.fit_at_size", *data, "--part", part, "--work", str(work)]
    output = subprocess.run(
        [*command, "--channels", *channels], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


if __name__ == "__main__":
    main()
