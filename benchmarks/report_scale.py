"""Sections of docs/results.md about import and fitting at size, and their curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables import environment_line

CURVES = Path(__file__).resolve().parent.parent / "docs" / "fit_at_size.svg"
PARTS_APART = ("shape", "latency", "recsys fit")  # what a size has beside its channels


def import_speed(heading: str, result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/import_speed.py`."""
    reference, own = result["reference"], result["import"]
    rows = [
        f"| {name} | {figures['wall_s']:.2f} | {figures['cpu_s']:.2f} | {peak} |"
        for name, figures, peak in (
            ("`recsys import`, start of Python and checks included", own, f"{own['peak_mib']:,}"),
            ("polars reads the files", reference["polars_reads"], "-"),
            ("SQLite inserts, in the order of the file", reference["sqlite_inserts_in_file_order"], "-"),
            ("SQLite inserts, in the order of keys", reference["sqlite_inserts_in_key_order"], "-"),
        )
    ]
    in_file, in_keys = (result[f"times_reference_in_{order}_order"] for order in ("file", "key"))
    return "\n".join(
        [
            f"## {heading}\n",
            f"{result['data'].capitalize()}. The reference is polars and SQLite alone, in the same run.\n",
            "| | seconds | CPU seconds | peak memory, MiB |\n|---|---|---|---|",
            *rows,
            (
                f"\nAn import takes {in_file['wall_s']:.2f} times the reference that inserts in the order of "
                f"the file, and {in_keys['wall_s']:.2f} times the one that sorts by key first.\n"
            ),
            environment_line(result["environment"]),
        ]
    )


def fit_at_size(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/fit_at_size.py`, and draw them."""
    sizes = sorted(result["data"].values(), key=lambda size: int(size["shape"]["events"]))
    channels = dict.fromkeys(name for size in sizes for name in size if name not in PARTS_APART)
    rows = [f"| {name} | {' | '.join(_fit_cell(size.get(name)) for size in sizes)} |" for name in channels]
    latency = [_latency_cell(size.get("latency")) for size in sizes]
    heads = [", ".join(f"{number:,} {what}" for what, number in size["shape"].items()) for size in sizes]
    _draw_fits(sizes, list(channels), CURVES)
    return "\n".join(
        [
            "## Fitting at size\n",
            (
                "CPU seconds of fitting a channel, and the peak of its process in MiB, with the log that it "
                "reads; each in a process of its own, with one thread, on cores shared with other work. "
                "A dash: not measured.\n"
            ),
            f"| channel | {' | '.join(heads)} |",
            f"|{'---|' * (1 + len(sizes))}",
            *rows,
            f"| a query of all that were fitted, CPU ms, median and p99 | {' | '.join(latency)} |",
            "\n![CPU seconds and peak memory by events](fit_at_size.svg)\n",
            environment_line(result["environment"]),
        ]
    )


def retrieval_latency(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/retrieval_latency.py`."""
    rows = {
        "all channels": result["all_channels_cpu_ms"],
        "those with fitted weight": result["fitted_cpu_ms"],
    }
    rows |= {f"`{name}` alone": taken for name, taken in result["channel_cpu_ms"].items()}
    return "\n".join(
        [
            "## A warm retrieval\n",
            (
                f"{result['domain']}: {result['items']:,} items, {result['queries']:,} histories of users, "
                f"{result['candidates']} candidates.\n"
            ),
            "| | p50, CPU ms | p90 | p99 |\n|---|---|---|---|",
            *(
                f"| {name} | {of['p50']:.1f} | {of['p90']:.1f} | {of['p99']:.1f} |"
                for name, of in rows.items()
            ),
            "",
            environment_line(result["environment"]),
        ]
    )


def _fit_cell(measured: Mapping[str, Any] | None) -> str:
    return "-" if measured is None else f"{measured['cpu_seconds']:,.1f} s, {measured['peak_mib']:,} MiB"


def _latency_cell(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "-"
    channels = len(measured["channels"])
    return f"{measured['p50_cpu_ms']:.0f}, {measured['p99_cpu_ms']:.0f} ({channels} channels)"


def _draw_fits(sizes: list[dict[str, Any]], channels: list[str], path: Path) -> None:
    """Draw CPU seconds and peak memory by the number of events."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "whyrec"  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for axes, key, label in zip(
        panels, ("cpu_seconds", "peak_mib"), ("CPU seconds", "peak, MiB"), strict=True
    ):
        for name in channels:
            points = [(size["shape"]["events"], max(0.1, size[name][key])) for size in sizes if name in size]
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel="events", ylabel=label)
        axes.grid(alpha=0.3)
    panels[1].legend(fontsize=7, frameon=False, ncols=2)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
