"""The simulator against queues with known answers, and the autoscaler against what Kubernetes documents."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from benchmarks import replicas
from benchmarks.queueing import Autoscaler, PodKind, QueueOutcome, Simulation, poisson

LONG = 12_000.0


def served(kind: PodKind, rate: float, until: float = LONG) -> QueueOutcome:
    """One pod under Poisson arrivals of that rate, whose work is exponential with mean 1 s."""
    arrivals = poisson(lambda _: rate, rate, until, lambda chance: chance.expovariate(1.0), seed=0)
    return Simulation(kind, 1).run(arrivals, until)


def erlang_c(servers: int, load: float) -> float:
    """Probability that somebody has to wait in M/M/c."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**n / math.factorial(n) for n in range(servers)) + last)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 2.4), (4, 3.2)])
def test_places_that_do_not_slow_each_other_wait_as_erlang_says(servers: int, load: float) -> None:
    kind = PodKind(tuple(float(n) for n in range(1, servers + 1)), queue=10**9)
    waits = np.asarray(served(kind, load).waits)
    expected = erlang_c(servers, load)
    assert (waits > 1e-9).mean() == pytest.approx(expected, rel=0.1)
    assert waits.mean() == pytest.approx(expected / (servers - load), rel=0.15)


def test_shared_speed_takes_as_long_as_processor_sharing() -> None:
    """M/M/1: a mean of 1 / (1 - load), whatever the order of service."""
    answers = served(PodKind((1.0,) * 200, queue=0), 0.7).answers
    assert np.mean(answers) == pytest.approx(1 / 0.3, rel=0.1)


@pytest.mark.parametrize("places", [1, 4])
def test_a_full_queue_sheds_as_much_as_a_bounded_queue_does(places: int) -> None:
    """M/M/1/K: the share lost is that of the time in which all K are there."""
    load, room = 0.9, 10
    outcome = served(PodKind((1.0,) * places, queue=room - places), load, until=8 * LONG)
    expected = (1 - load) * load**room / (1 - load ** (room + 1))
    assert outcome.shed / outcome.arrived == pytest.approx(expected, rel=0.1)
    assert outcome.arrived == pytest.approx(load * 8 * LONG, rel=0.02)
    assert 0 <= outcome.arrived - outcome.shed - len(outcome.answers) <= room


def test_thinning_follows_the_rate() -> None:
    times = [at for at, _ in poisson(lambda at: 2.0 if at < 500 else 0.5, 2.0, 1000.0, lambda _: 1.0, 3)]
    assert sum(at < 500 for at in times) == pytest.approx(1000, rel=0.1)
    assert sum(at >= 500 for at in times) == pytest.approx(250, rel=0.2)


# --- the autoscaler ------------------------------------------------------------------


def scaler(**changed: Any) -> Autoscaler:
    usual = Autoscaler(least=2, most=8, target=4.0, up=(30.0, 2, 120.0), down=(600.0, 1, 120.0))
    return dataclasses.replace(usual, **changed)


def course(of: Autoscaler, queue: float, until: float, pods: int = 2) -> dict[float, int]:
    """Pods after each sync, while every pod has that queue."""
    results = {}
    for number in range(1, int(until / of.sync_s) + 1):
        pods = of.wanted(number * of.sync_s, [queue] * pods)
        results[number * of.sync_s] = pods
    return results


def test_it_adds_two_pods_every_two_minutes_up_to_the_most() -> None:
    results = course(scaler(), 40.0, 600)
    assert results[15.0] == 4
    assert results[120.0] == 4
    assert results[135.0] == 6
    assert results[255.0] == 8
    assert max(results.values()) == 8


def test_one_high_value_within_the_window_adds_nothing() -> None:
    """The least of what was advised in 30 s counts."""
    of = scaler()
    assert of.wanted(15.0, [4.0, 4.0]) == 2
    assert of.wanted(30.0, [40.0, 40.0]) == 2
    assert of.wanted(45.0, [40.0, 40.0]) == 2
    assert of.wanted(60.0, [40.0, 40.0]) == 4


def test_it_removes_one_pod_every_two_minutes_after_ten_of_quiet() -> None:
    of = scaler()
    assert of.wanted(0.0, [4.0] * 8) == 8
    results = course(of, 0.0, 1500, pods=8)
    assert results[600.0] == 8
    assert results[615.0] == 7
    assert results[720.0] == 7
    assert results[735.0] == 6
    assert min(results.values()) == 2


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ([4.3, 4.3], 2),  # within a tenth of the target
        ([6.0, 6.0], 3),
        ([12.0, 12.0, None, None], 6),  # (24 + 0) / 4 pods: those that start count as idle when it grows
        ([8.0, 8.0, None, None], 4),  # what starts will do
        ([0.0, 0.0, None, None], 2),  # 8 / 4 / 4: and as busy when it shrinks
        ([None, None], 2),
    ],
)
def test_pods_without_a_metric_count_against_a_change(metrics: list[float | None], wanted: int) -> None:
    of = scaler(up=(0.0, 9, 1.0), down=(0.0, 9, 1.0), least=1)
    assert of.wanted(15.0, metrics) == wanted


def test_new_pods_answer_only_once_they_have_started() -> None:
    """A jump beyond two pods: they are joined by others, whose start-up the first must bridge."""
    kind = PodKind((1.0,), queue=50, start_s=100.0, drain_s=30.0)
    simulation = Simulation(kind, 2, scaler(), seed=1)
    outcome = simulation.run(poisson(lambda _: 4.0, 4.0, 2000.0, lambda _: 1.0, 1), 2000.0)
    first = next(at for at, present, _ in outcome.pods if present > 2)
    joined = next(at for at, _, ready in outcome.pods if ready > 2)
    assert 100.0 <= joined - first < 115.0 + 1e-6
    assert outcome.pod_hours > 2 * 2000 / 3600


def test_who_is_still_there_when_the_time_to_drain_is_over_is_cut_off() -> None:
    kind = PodKind((1.0,), queue=50, drain_s=30.0)
    quiet = scaler(least=1, down=(0.0, 1, 1.0), target=100.0)
    simulation = Simulation(kind, 2, quiet, seed=0)
    outcome = simulation.run(iter([(1.0, 500.0), (1.1, 500.0), (1.2, 500.0), (1.3, 500.0)]), 600.0)
    assert outcome.arrived == 4
    assert outcome.cut > 0
    assert outcome.cut + len(outcome.answers) <= 4
    assert outcome.pod_hours < 2 * 600 / 3600


# --- what is read, and what is written ------------------------------------------------


def test_the_policy_is_the_deployed_one() -> None:
    shipped, settings = replicas.deployed()
    text = (replicas.DEPLOY / "kubernetes" / "hpa.yaml").read_text("utf-8")
    assert f"minReplicas: {shipped.least}" in text
    assert f"maxReplicas: {shipped.most}" in text
    assert f'averageValue: "{shipped.target:g}"' in text
    assert shipped.up[2] == shipped.down[2] == 120
    assert int(settings["WHYREC_SERVE_CONCURRENCY"]) >= 1
    assert replicas.label_of(shipped) == f"in flight of {shipped.target:g}"
    assert replicas.label_of(shipped) in replicas.policies(shipped)


def test_work_comes_from_the_load_benchmark_where_it_was_run(tmp_path: Path) -> None:
    first = {"stages": {"warm request": {"min": 6.0, "seconds": 7.0, "max": 9.0}}}
    (tmp_path / "first_run.json").write_text(json.dumps(first))
    work = replicas.measured_work(4, tmp_path)
    assert (work.source, work.speed) == ("first_run.json", (1.0,) * 4)
    assert work.mean == pytest.approx(7.25)
    assert np.mean([work.sample(Random(seed)) for seed in range(4000)]) == pytest.approx(7.25, rel=0.02)
    levels = [
        {"reasons": True, "callers": 1, "per_s": 0.2, "seconds": [5.0, 4.0, 6.0]},
        {"reasons": True, "callers": 2, "per_s": 0.3, "seconds": [7.0]},
        {"reasons": True, "callers": 4, "per_s": 0.4, "seconds": [9.0]},
        {"reasons": False, "callers": 1, "per_s": 9.0, "seconds": [0.1, 0.1]},
    ]
    (tmp_path / "service_load.json").write_text(json.dumps({"levels": levels}))
    work = replicas.measured_work(4, tmp_path)
    assert (work.source, work.seconds, work.speed) == (
        "service_load.json",
        (4.0, 5.0, 6.0),
        (1.0, 1.5, 1.75, 2.0),
    )
    assert work.rate == pytest.approx(2 / 5)


def test_demand_rises_once_a_day_and_jumps() -> None:
    demand = replicas.Demand()
    assert demand.at(16 * 3600) == pytest.approx(demand.high)
    assert demand.at(4 * 3600) == pytest.approx(demand.low)
    assert demand.at(11 * 3600 + 1) - demand.at(11 * 3600 - 1) == pytest.approx(demand.jump, abs=0.01)
    assert demand.at(11 * 3600 + 601) < demand.at(11 * 3600 + 599)


def test_more_pods_wait_less_and_cost_more(tmp_path: Path) -> None:
    """One short day of everything, and the page and picture of it."""
    work = replicas.Work("first_run.json", (60.0, 70.0, 80.0), (1.0,) * 4)
    shipped, _ = replicas.deployed()
    kind = PodKind(work.speed, 32, 100.0, 30.0)
    demand = replicas.Demand()
    result = replicas.simulate(1, work, demand, kind, shipped)
    fixed = [result["policies"][f"fixed {n}"] for n in range(1, replicas.MOST_FIXED + 1)]
    hours = [one["pod_hours"]["value"] for one in fixed]
    assert hours == [pytest.approx(24 * n) for n in range(1, replicas.MOST_FIXED + 1)]
    shed = [one["shed"]["value"] for one in fixed]
    assert shed == sorted(shed, reverse=True)
    assert shed[0] > 0.3
    adaptive = result["policies"][replicas.label_of(shipped)]
    assert 24 * shipped.least < adaptive["pod_hours"]["value"] < 24 * shipped.most
    assert adaptive["shed"]["value"] < shed[1]
    assert result["courses"].keys() == {replicas.label_of(shipped), replicas.STEADY}
    whole = result | {
        "days": 1,
        "deployed": replicas.label_of(shipped),
        "demand": dataclasses.asdict(demand),
        "autoscaler": {"target": 4.0, "least": 2, "most": 8},
        "pod": dataclasses.asdict(kind) | {"places": 4},
        "environment": {"command": "c", "date": "d"},
        "work": {"source": work.source, "mean": work.mean, "rate": work.rate},
    }
    read = json.loads(json.dumps(whole))
    part = replicas.section(read)
    assert part.count("as deployed") == 1
    page = replicas.with_section("# Page\n\ntext\n", part)
    assert replicas.with_section(page, part) == page
    assert replicas.with_section(page, part.replace("Simulated", "Anew")).count(replicas.BEGIN) == 1
    replicas.draw(read, tmp_path / "one.svg")
    replicas.draw(read, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_page_says_what_the_file_says() -> None:
    result = json.loads((replicas.RESULTS / "replicas.json").read_text("utf-8"))
    assert replicas.section(result) in (replicas.DOCS / "service.md").read_text("utf-8")
    assert (replicas.DOCS / replicas.PICTURE).is_file()
