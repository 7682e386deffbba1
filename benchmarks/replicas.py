"""The autoscaler of deploy/kubernetes simulated against fixed replica numbers.

    python -m benchmarks.replicas --days 7

Days of requests with reasons: demand rises and falls once a day, and jumps twice for some minutes.
How long a request takes, how requests slow each other and how long a pod takes to start come from
measurements: `service_load.json` if it exists, else `first_run.json`. Thresholds and delays are
read from deploy/. Writes a JSON file, the picture, and the section of docs/service.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from rich.progress import track

from benchmarks.environment import describe, write_json
from benchmarks.queueing import DAY_S, Autoscaler, PodKind, QueueOutcome, Simulation, poisson
from benchmarks.tables import with_interval
from recsys.utils.intervals import bootstrap

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DEPLOY, DOCS = ROOT / "benchmarks" / "results", ROOT / "deploy", ROOT / "docs"
PICTURE = "replicas.svg"
BEGIN, END = "<!-- replicas: written by `python -m benchmarks.replicas` -->", "<!-- replicas: end -->"
FIRST_START = ("retriever", "model conversion", "engine start")  # of a pod whose folder is empty
MOST_FIXED = 8
STEADY = "in flight of 3"  # shown next to the deployed policy


@dataclass(frozen=True)
class Demand:
    """The demand of a day, in busy pods."""

    low: float = 0.5
    high: float = 4.0
    peak_h: float = 16.0
    jump: float = 3.0  # on top of the daily course
    jumps_h: tuple[float, ...] = (11.0, 20.0)
    jump_s: float = 600.0

    def at(self, seconds: float) -> float:
        """How many pods would be busy at that time."""
        hour = seconds % DAY_S / 3600
        slow = (1 + math.cos((hour - self.peak_h) * math.pi / 12)) / 2
        jumps = any(begun <= hour < begun + self.jump_s / 3600 for begun in self.jumps_h)
        return self.low + (self.high - self.low) * slow + (self.jump if jumps else 0.0)


@dataclass(frozen=True)
class Work:
    """How long requests take."""

    source: str  # file of the measurement
    seconds: tuple[float, ...]  # quantiles of a request alone, at even steps
    speed: tuple[float, ...]  # as in `PodKind`

    @property
    def mean(self) -> float:
        """Mean seconds of a request alone."""
        return float(np.trapezoid(self.seconds, dx=1 / (len(self.seconds) - 1)))

    @property
    def rate(self) -> float:
        """Requests that a busy pod finishes per second."""
        return self.speed[-1] / self.mean

    def sample(self, rng: Random) -> float:
        """Sample the seconds of a request by inverting the quantiles."""
        step, part = divmod(rng.random() * (len(self.seconds) - 1), 1)
        low, high = self.seconds[int(step) : int(step) + 2]
        return low + part * (high - low)


def measured_work(places: int, results: Path = RESULTS) -> Work:
    """Read the work of a request with reasons from the best file that exists."""
    path = results / "service_load.json"
    if path.is_file():
        loads = json.loads(path.read_text("utf-8"))["levels"]
        levels = {load["callers"]: load for load in loads if load["reasons"]}
        alone = levels.get(1, {}).get("seconds", ())
        if len(alone) > 1:
            numbers = sorted(levels)
            rates = np.interp(range(1, places + 1), numbers, [levels[n]["per_s"] for n in numbers])
            speed = tuple(round(float(rate / levels[1]["per_s"]), 4) for rate in rates)
            return Work(path.name, tuple(sorted(alone)), speed)
    path = results / "first_run.json"
    warm = json.loads(path.read_text("utf-8"))["stages"]["warm request"]
    return Work(path.name, (warm["min"], warm["seconds"], warm["max"]), (1.0,) * places)


def start_s(results: Path = RESULTS) -> float:
    """Read the seconds from a new pod to its first answer."""
    stages = json.loads((results / "first_run.json").read_text("utf-8"))["stages"]
    return float(sum(stages[name]["seconds"] for name in FIRST_START))


def deployed(deploy: Path = DEPLOY) -> tuple[Autoscaler, dict[str, str]]:
    """Read the autoscaler that is deployed, and the settings of its pods."""

    def read(name: str) -> Any:
        return yaml.safe_load((deploy / name).read_text(encoding="utf-8"))

    def rule(name: str) -> tuple[float, int, float]:
        (policy,) = spec["behavior"][name]["policies"]
        assert policy["type"] == "Pods", policy
        return spec["behavior"][name]["stabilizationWindowSeconds"], policy["value"], policy["periodSeconds"]

    spec = read("kubernetes/hpa.yaml")["spec"]
    (metric,) = spec["metrics"]
    (series,) = read("prometheus-adapter.yaml")["rules"]["custom"]
    assert "avg_over_time(<<.Series>>{<<.LabelMatchers>>}[1m])" in series["metricsQuery"]
    scaler = Autoscaler(
        least=spec["minReplicas"],
        most=spec["maxReplicas"],
        target=float(metric["pods"]["target"]["averageValue"]),
        up=rule("scaleUp"),
        down=rule("scaleDown"),
        scrape_s=float(read("prometheus.yml")["global"]["scrape_interval"].removesuffix("s")),
        window_s=60.0,
        in_flight={"whyrec_in_flight": True, "whyrec_queue_length": False}[metric["pods"]["metric"]["name"]],
    )
    return scaler, read("kubernetes/config.yaml")["data"]


def policies(shipped: Autoscaler) -> dict[str, tuple[int, Autoscaler | None]]:
    """Map names to (initial pods, autoscaler): fixed, as shipped, and variants."""
    by_name: dict[str, tuple[int, Autoscaler | None]] = {
        f"fixed {n}": (n, None) for n in range(1, MOST_FIXED + 1)
    }
    for target, in_flight in (
        (1.0, False),
        (2.0, False),
        (4.0, False),
        (8.0, False),
        (2.0, True),
        (3.0, True),
        (4.0, True),
    ):
        scaler = dataclasses.replace(shipped, target=target, in_flight=in_flight)
        by_name[label_of(scaler)] = (shipped.least, scaler)
    return by_name


def label_of(scaler: Autoscaler) -> str:
    """Name a policy for tables."""
    return f"{'in flight' if scaler.in_flight else 'queue'} of {scaler.target:g}"


def figures(days: Sequence[QueueOutcome]) -> dict[str, Any]:
    """Average over days, with 95 % bootstrap intervals."""
    columns = {
        "wait_p95_s": [float(np.percentile(day.waits, 95)) for day in days],
        "answer_p95_s": [float(np.percentile(day.answers, 95)) for day in days],
        "shed": [day.shed / day.arrived for day in days],
        "cut": [day.cut / day.arrived for day in days],
        "pod_hours": [day.pod_hours for day in days],
    }
    return {name: dataclasses.asdict(bootstrap(np.asarray(values))) for name, values in columns.items()}


def simulate(days: int, work: Work, demand: Demand, kind: PodKind, shipped: Autoscaler) -> dict[str, Any]:
    """Simulate every policy on the same days."""
    most = (demand.high + demand.jump) * work.rate
    results, courses = {}, {}
    for name, (first, scaler) in track(policies(shipped).items(), description="policies"):
        outcomes = []
        for day in range(days):
            arrivals = poisson(lambda at: demand.at(at) * work.rate, most, DAY_S, work.sample, day)
            fresh = dataclasses.replace(scaler) if scaler else None  # it has state
            outcomes.append(Simulation(kind, first, fresh, seed=day).run(arrivals, DAY_S))
        results[name] = figures(outcomes)
        if name in (label_of(shipped), STEADY):
            courses[name] = [pods for pods in outcomes[0].pods if pods[0] % 300 == 0]
    return {"policies": results, "courses": courses}


def section(result: Mapping[str, Any]) -> str:
    """Write the part of docs/service.md between BEGIN and END."""
    pod, demand, work = result["pod"], result["demand"], result["work"]
    scaler, shipped = result["autoscaler"], result["deployed"]
    rows = []
    for name, policy in result["policies"].items():
        label = f"**{name}, as deployed**" if name == shipped else name
        shed, cut = (_share(policy[which]) for which in ("shed", "cut"))
        wait, hours = (with_interval(policy[which], digits=1) for which in ("wait_p95_s", "pod_hours"))
        rows.append(f"| {label} | {wait} | {shed} | {cut} | {hours} |")
    return "\n".join(
        [
            BEGIN,
            "## How many pods",
            "",
            (
                f"Simulated, never run on a cluster: {result['days']} days of requests with reasons. Demand "
                f"goes from {demand['low']:g} to {demand['high']:g} busy pods and back once a day, and jumps "
                f"by {demand['jump']:g} for {demand['jump_s'] / 60:g} minutes {len(demand['jumps_h'])} "
                f"times. A request takes {work['mean']:.1f} s alone (`{work['source']}`), a pod ends "
                f"{work['rate'] * 60:.1f} a minute, works on {pod['places']} at once, lets {pod['queue']} "
                f"wait, and starts in {pod['start_s']:.0f} s (`first_run.json`). "
                '"queue of n" is the autoscaler of '
                f"`deploy/kubernetes/hpa.yaml` ({scaler['least']} to {scaler['most']} pods) with n as the "
                'number waiting per pod that it aims at, "in flight of n" the same by the number waiting or '
                "running. Clients that are shed do not come back. Means of days, 95 % intervals."
            ),
            "",
            f"![Demand and pods over a day; what waiting costs]({PICTURE})",
            "",
            "| pods | p95 wait, s | shed | cut off by draining | pod-hours a day |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"`{result['environment']['command']}`, {result['environment']['date']}.",
            END,
        ]
    )


def with_section(page: str, part: str) -> str:
    """Replace the section of the page, or add it at the end."""
    before, begins, rest = page.partition(BEGIN)
    if not begins:
        return f"{page.rstrip()}\n\n{part}\n"
    return before + part + rest.partition(END)[2]


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Plot a day under the deployed autoscaler, and the cost of all policies."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "whyrec"  # the same figures give the same file
    from matplotlib import pyplot as plt

    demand = Demand(**result["demand"] | {"jumps_h": tuple(result["demand"]["jumps_h"])})
    shipped = result["deployed"]
    figure, (day, cost) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, course in result["courses"].items():
        hours = [at / 3600 for at, _, _ in course]
        label = f"pods, {name}{', as deployed' if name == shipped else ''}"
        colour = "C3" if name == shipped else "C0"
        day.step(hours, [n for _, n, _ in course], colour, where="post", label=label, linewidth=1)
    minutes = np.arange(0, 24, 1 / 60)
    day.plot(
        minutes,
        [demand.at(float(hour) * 3600) for hour in minutes],
        color="0.3",
        label="demand, in busy pods",
        linewidth=1,
    )
    day.set(xlabel="hour", ylabel="pods", xlim=(0, 24), ylim=(0, None), xticks=range(0, 25, 4))
    day.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7)
    for name, policy in result["policies"].items():
        point = policy["pod_hours"]["value"], policy["wait_p95_s"]["value"]
        fixed, shed = name.startswith("fixed"), policy["shed"]["value"]
        cost.plot(*point, "o" if fixed else "D", color="0.5" if fixed else "C3" if name == shipped else "C0")
        label = name.removeprefix("fixed ") + (f"\n{shed:.0%} shed" if shed >= 0.005 else "")
        label_at = {"fixed": ((0, 6), "center"), "queue": ((6, -2), "left"), "in": ((-6, -2), "right")}
        offset, side = label_at[name.split()[0]]
        cost.annotate(label, point, xytext=offset, textcoords="offset points", fontsize=7, ha=side)
    cost.set(xlabel="pod-hours a day", ylabel="p95 wait, s", xlim=(0, None))
    cost.margins(x=0.1, y=0.15)
    cost.set_ylim(bottom=-8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _share(figure: Mapping[str, float]) -> str:
    return "0" if figure["value"] == 0 else f"{figure['value']:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS / "replicas.json")
    options = parser.parse_args()
    shipped, settings = deployed()
    work, demand = measured_work(int(settings["WHYREC_SERVE_CONCURRENCY"])), Demand()
    kind = PodKind(
        work.speed,
        int(settings["WHYREC_SERVE_QUEUE"]),
        start_s(),
        float(settings["WHYREC_SERVE_DRAIN_S"]),
    )
    result: dict[str, Any] = {
        "days": options.days,
        "work": {"source": work.source, "mean": work.mean, "rate": work.rate, "quantiles": work.seconds},
        "demand": dataclasses.asdict(demand),
        "deployed": label_of(shipped),
        "pod": dataclasses.asdict(kind) | {"places": kind.places},
        "autoscaler": {
            name.name: getattr(shipped, name.name) for name in dataclasses.fields(shipped) if name.init
        },
        **simulate(options.days, work, demand, kind, shipped),
        "environment": describe(),
    }
    write_json(options.out, result)
    draw(result, DOCS / PICTURE)
    page = DOCS / "service.md"
    page.write_text(with_section(page.read_text("utf-8"), section(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
