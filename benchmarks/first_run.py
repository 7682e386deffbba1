"""Time and memory of every stage between a fresh clone and a warm answer.

    python -m benchmarks.first_run --setup --out benchmarks/results/first_run.json

Works in empty folders of its own, so each stage is a first time. `--setup` also
clones the repository and installs everything (minutes). Memory is the peak of this
process and its children together, sampled ten times a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environment import describe, write_json
from recsys.config import load_domain, load_settings

WARM_USERS = ("22", "244", "166", "298", "115", "253", "305")


class Stages:
    """Seconds and peak memory by stage."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, float]] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure the block as one stage."""
        peak = [_memory()]
        done = threading.Event()

        def sample() -> None:
            while not done.wait(0.1):
                peak[0] = max(peak[0], _memory())

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        begun = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begun
            done.set()
            sampler.join()
            self.results[name] = {
                "seconds": round(seconds, 3),
                "peak_mib": round(max(peak[0], _memory()) / 2**20),
            }
            print(f"{name:24} {seconds:8.2f} s  {self.results[name]['peak_mib']:6.0f} MiB", flush=True)


def _memory() -> int:
    process = psutil.Process()
    total: int = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", action="store_true", help="also clone and install")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/first_run.json"))
    options = parser.parse_args()
    stages = Stages()
    with tempfile.TemporaryDirectory(prefix="whyrec-") as folder:
        home = Path(folder)
        if options.setup:
            _set_up(stages, home)
        timings = _run_stages(stages, home)
    totals = [timing["total"] for timing in timings]
    stages.results["warm request"] = {
        "seconds": round(statistics.median(totals), 3),
        "min": round(min(totals), 3),
        "max": round(max(totals), 3),
        "peak_mib": stages.results.pop("warm requests")["peak_mib"],
    }
    per_stage = {name: round(statistics.median(timing[name] for timing in timings), 4) for name in timings[0]}
    result = {"stages": stages.results, "warm_request_stages_s": per_stage, "environment": describe()}
    write_json(options.out, result)


def _set_up(stages: Stages, home: Path) -> None:
    repository = Path(__file__).resolve().parent.parent
    with stages.measure("set-up"):
        subprocess.run(["git", "clone", "--quiet", str(repository), str(home / "clone")], check=True)
        subprocess.run(["make", "setup"], cwd=home / "clone", check=True)


def _run_stages(stages: Stages, home: Path) -> list[dict[str, float]]:
    """From the import to warm requests; returns the timings of the warm ones."""
    from recsys.data.importers import import_domain
    from recsys.data.store import Store
    from recsys.engine.checkpoints.weights import prepare_model
    from recsys.recommender.recommender import Recommender

    settings = load_settings(cache_dir=home / "cache", data_dir=home / "data")
    domain = load_domain("movies")
    with stages.measure("import"), Store(settings.database_url) as store:
        import_domain(domain, store)
    with stages.measure("retriever"):
        recommender = Recommender.load("movies", settings=settings)
    with stages.measure("model conversion"):
        prepare_model(settings)
    with stages.measure("engine start"):
        recommender.engine()
    context: dict[str, Any] = {"at": "Friday 21:00", "place": "Minneapolis, MN", "k": 5}
    with stages.measure("first request"):
        recommender.recommend("196", **context)
    timings = []
    with stages.measure("warm requests"):
        for user in WARM_USERS:
            timings.append(dict(recommender.recommend(user, **context).timings))
    recommender.close()
    return timings


if __name__ == "__main__":
    main()
