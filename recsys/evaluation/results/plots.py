"""Plots of an evaluation result as SVG inside the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.utils.plots import COLOURS, GREY, INK, MARKERS, add_legend, new_figure, to_svg

FEW_USERS = 20  # a segment with fewer users is grey
SHOWN_SYSTEMS = 4  # in a plot of segments, at least


def forest(result: Mapping[str, Any]) -> str:
    """Plot the primary metric of every system with its interval, best on top."""
    metric = result["primary"]
    names = _by_primary(result)
    with new_figure(0.8 + 0.3 * len(names)) as figure:
        axes = figure.add_subplot()
        for row, name in enumerate(names):
            interval = result["systems"][name]["metrics"][metric]
            colour = _style(result, name)[0]
            axes.plot([interval["low"], interval["high"]], [row, row], color=colour, linewidth=2.5)
            axes.plot(interval["value"], row, "o", color=colour, markersize=6)
        axes.set_yticks(range(len(names)), labels=names)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(f"{metric}, 95 % interval")
        return to_svg(figure, "forest", f"{metric} of every system with its interval")


def recall_curves(result: Mapping[str, Any]) -> str:
    """Plot recall@k over k, logarithmic; "" if nothing was ranked."""
    curves = {
        name: result["systems"][name]["recall_curve"]
        for name in _by_primary(result)
        if result["systems"][name]["recall_curve"]
    }
    if not curves:
        return ""
    with new_figure(3.6) as figure:
        axes = figure.add_subplot()
        for name, curve in curves.items():
            colour, marker = _style(result, name)
            axes.plot(*zip(*curve, strict=True), color=colour, marker=marker, markersize=4, label=name)
        axes.set_xscale("log")
        ticks = [
            k for k in (1, 2, 5, 10, 20, 50, 100, 1000) if k <= max(curve[-1][0] for curve in curves.values())
        ]
        axes.set_xticks(ticks, labels=map(str, ticks))
        axes.minorticks_off()
        axes.set_xlabel("k")
        axes.set_ylabel("recall@k")
        axes.set_ylim(bottom=0)
        axes.grid()
        add_legend(figure, axes)
        return to_svg(figure, "recall", "recall at k of every system")


def segments(result: Mapping[str, Any]) -> dict[str, str]:
    """Plot the requested and the best other systems per breakdown; few users are grey."""
    systems = result["systems"]
    metric = result["primary"]
    requested = [name for name in result["run"]["requested"] if name in systems]
    names = list(dict.fromkeys([*requested, *_by_primary(result)]))[
        : max(SHOWN_SYSTEMS, min(len(requested), len(COLOURS)))
    ]
    breakdowns = {
        breakdown: parts for name in names for breakdown, parts in systems[name]["segments"].items()
    }
    return {
        breakdown: _segment_plot(result, breakdown, list(parts), names, metric)
        for breakdown, parts in breakdowns.items()
        if parts
    }


def _segment_plot(
    result: Mapping[str, Any], breakdown: str, labels: Sequence[str], names: Sequence[str], metric: str
) -> str:
    step = 0.8 / max(1, len(names))
    with new_figure(1.1 + len(labels) * max(0.3, 0.13 * len(names))) as figure:
        axes = figure.add_subplot()
        n: dict[str, int] = {}
        for index, name in enumerate(names):
            colour, marker = _style(result, name)
            axes.plot([], [], color=colour, marker=marker, markersize=5, linewidth=1.5, label=name)
            for row, label in enumerate(labels):
                interval = result["systems"][name]["segments"][breakdown][label][metric]
                n[label] = interval["n"]
                shade = GREY if interval["n"] < FEW_USERS else colour
                height = row + (index - (len(names) - 1) / 2) * step
                axes.plot([interval["low"], interval["high"]], [height, height], color=shade, linewidth=1.5)
                axes.plot(interval["value"], height, marker, color=shade, markersize=5)
        axes.set_yticks(range(len(labels)), labels=[f"{_short(label)}\nn = {n[label]}" for label in labels])
        for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
            tick.set_color(GREY if n[label] < FEW_USERS else INK)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(metric)
        add_legend(figure, axes)
        return to_svg(figure, breakdown, f"{metric} by {breakdown}")


def reliability(result: Mapping[str, Any]) -> str:
    """Plot observed against predicted probability; "" without probabilities."""
    curves = {
        name: system["calibration"]["curve"]
        for name, system in result["systems"].items()
        if system["calibration"]
    }
    if not curves:
        return ""
    highest = max(max(point["predicted"], point["observed"]) for curve in curves.values() for point in curve)
    with new_figure(3.8) as figure:
        axes = figure.add_subplot()
        axes.plot([0, highest], [0, highest], color=GREY, linestyle="--", linewidth=1)
        for name, curve in curves.items():
            colour, marker = _style(result, name)
            axes.plot(
                [point["predicted"] for point in curve],
                [point["observed"] for point in curve],
                color=colour,
                marker=marker,
                markersize=5,
                label=name,
            )
        axes.set_xlabel("predicted probability, mean of bin")
        axes.set_ylabel("observed share")
        axes.grid()
        add_legend(figure, axes)
        return to_svg(figure, "reliability", "predicted probability against observed share")


def catalogue(result: Mapping[str, Any]) -> str:
    """Plot coverage against novelty; "" where they were not measured."""
    points = {
        name: (beyond["coverage@10"], beyond["novelty@10"])
        for name in _by_primary(result)
        if (beyond := result["systems"][name]["beyond"]).get("novelty@10") is not None
    }
    if not points:
        return ""
    with new_figure(3.8) as figure:
        axes = figure.add_subplot()
        for name, (coverage, novelty) in points.items():
            colour, marker = _style(result, name)
            axes.plot(coverage, novelty, marker, color=colour, markersize=8, label=name, linestyle="none")
        axes.set_xlabel("coverage@10, share of the catalogue")
        axes.set_ylabel("novelty@10, bits")
        axes.grid()
        add_legend(figure, axes)
        return to_svg(figure, "catalogue", "coverage against novelty of every system")


def _by_primary(result: Mapping[str, Any]) -> list[str]:
    metric, systems = result["primary"], result["systems"]
    return sorted(systems, key=lambda name: -systems[name]["metrics"][metric]["value"])


def _style(result: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Colour and marker of a system, the same in every plot."""
    index = list(result["systems"]).index(name)
    # Beyond the number of colours, each colour comes with another marker.
    return COLOURS[index % len(COLOURS)], MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def _short(label: str, length: int = 34) -> str:
    return label if len(label) <= length else f"{label[: length - 1]}…"
