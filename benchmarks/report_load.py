"""The sections of docs/results.md on the service under load and under attack."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval

MARKS = ("p50_s", "p95_s", "p99_s")


def section(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/service_load.py`."""
    options, levels = result["options"], result["levels"]
    runs = [*levels, *([result["shedding"]] if "shedding" in result else [])]
    counts = {name: sum(run[name] for run in runs) for name in ("answered", "wrong", "lost", "degraded")}
    model = f", {result['model']}" if "model" in result else ""
    return "\n".join(
        [
            "## The service under load\n",
            (
                f"{result['title']}{model}. `recsys serve` on loopback; every caller asks for one list of "
                f"{options['k']} at a time, for {options['seconds']:g} s a level, each time for another "
                "user, on the same cores. Engine alone: the calls that the service made to its engine for "
                "the same requests, made again by as many callers in a process without the service.\n"
            ),
            (
                "| reasons | callers | answers | p50, s | p95, s | p99, s | answers a second "
                "| engine alone: p50, s | a second | the service gives |"
            ),
            f"|{'---|' * 10}",
            *map(_row, levels),
            (
                f"\n{counts['answered']} answers checked (user, number, order, duplicates, catalogue, "
                f"history, reasons, and the copy kept for feedback): {counts['wrong']} wrong, "
                f"{counts['lost']} lost, {counts['degraded']} degraded.\n"
            ),
            *([_shed(result["shedding"])] if "shedding" in result else []),
            *([soak(result["soak"])] if "soak" in result else []),
        ]
    )


def soak(result: dict[str, Any]) -> str:
    """Render what minutes of load do to memory."""
    samples = result["samples"]
    thirds = [samples[round(part * (len(samples) - 1) / 3)] for part in range(4)]
    parts = []
    for name, slope in result["slope_mib_per_minute"].items():
        grows = f"{with_interval(slope, '+', 2)} MiB a minute" if slope else "too short for a slope"
        held = ", ".join(f"{sample[name]:,.0f}" for sample in thirds)
        parts.append(f"the {name.removesuffix('_mib')} {held} MiB at the start and after each third, {grows}")
    counts = {name: sum(run[name] for run in result["runs"]) for name in ("answered", "wrong", "lost")}
    apart = f" Run apart: `{result['environment']['command']}`." if "environment" in result else ""
    return (
        f"{result['minutes']:g} minutes with {result['callers']} callers, half of them for reasons: "
        f"{'; '.join(parts)}. {counts['answered']} answers, {counts['wrong']} wrong, "
        f"{counts['lost']} lost.{apart}\n"
    )


def held(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/slow_bodies.py`."""
    options, counts = result["options"], result["connections"]
    rows = []
    for kind, ratio in result["p99_ratio"].items():
        runs = [result[part]["latency_ms"][kind] for part in ("before", "beside", "after")]
        times = " | ".join(f"{run['p50']:.1f} | {run['p99']:.1f}" for run in runs)
        rows.append(f"| {kind} | {sum(run['n'] for run in runs)} | {times} | {ratio:.2f} |")
    refused = ", ".join(
        f"{counts[status]:,} with {status}" for status in sorted(counts) if status.isdecimal()
    )
    loads = ", ".join(f"{result[part]['load_average']:.1f}" for part in ("before", "beside", "after"))
    failed = sum(result[part]["failed"] for part in ("before", "beside", "after"))
    return "\n".join(
        [
            "## Slow and withheld requests without a key\n",
            (
                f"{options['connections']:,} connections without a key for {options['seconds']:g} s "
                f"({', '.join(result['kinds'])}), and a client with a key, 15 times a second. What the "
                f"service closed was opened again: {counts['opened']:,} connections, {refused}, "
                "the rest closed without an answer. Latency of the client with a key, ms:\n"
            ),
            "| asked for | n | alone: p50 | p99 | beside: p50 | p99 | alone again: p50 | p99 | p99 ratio |",
            f"|{'---|' * 9}",
            *rows,
            (
                f"\n{failed} of its requests failed. The ratio is to the mean of both p99 alone. Memory of "
                f"the service: {result['mib_before']:,.0f} MiB before, at most "
                f"{result['beside']['peak_mib']:,.0f} beside, {result['mib_after']:,.0f} after. Load average "
                f"of the machine, other work on it included: {loads}.\n"
            ),
            environment_line(result["environment"]),
        ]
    )


def _row(level: dict[str, Any]) -> str:
    bare = level.get("bare", {})
    alone = f"{bare['p50_s']:.2f} | {bare['per_s']:.3f}" if "p50_s" in bare else "- | -"
    share = f"{level['per_s'] / bare['per_s']:.0%}" if bare.get("per_s") else "-"
    times = " | ".join(f"{level[mark]:.2f}" if mark in level else "-" for mark in MARKS)
    return (
        f"| {'yes' if level['reasons'] else 'no'} | {level['callers']} | {level['answered']} | {times} "
        f"| {level['per_s']:.3f} | {alone} | {share} |"
    )


def _shed(result: dict[str, Any]) -> str:
    return (
        f"Beyond the queue ({result['callers']} callers without reasons, {result['places']} places, "
        f"{result['queue']} may wait): {result['answered']} answered, {result['shed']} told to come back "
        f"with 503, of these {result['without_retry_after']} without Retry-After; {result['wrong']} wrong, "
        f"{result['lost']} lost; {result['per_s']:.3f} answers a second.\n"
    )
