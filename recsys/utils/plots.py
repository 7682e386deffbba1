"""Plots of a result as SVG that stands inside a page: no host is asked, and it follows light and dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that become CSS: matplotlib knows no `currentColor`.
_INK, _LINE, _GREY = "#010203", "#010205", "#010207"
_CSS = {_INK: "currentColor", _LINE: "var(--line)", _GREY: "var(--grey)"}
# Legible on white and on black; markers differ too, for those who see no colours.
_COLOURS = ("#0a84c6", "#e07b00", "#159a6c", "#cc4a80", "#8d6bd8", "#a58f00", "#d4523f", "#5d8296")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_WIDTH = 5.2  # inches: letters stay legible where a phone shows the page
FEW = 20  # users in a segment, below which it is greyed
SHOWN = 4  # systems in a plot of segments


def forest(result: Mapping[str, Any]) -> str:
    """The primary metric of every system with its interval, best on top."""
    metric = result["primary"]
    names = _by_primary(result)
    with _figure(0.8 + 0.3 * len(names)) as figure:
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            found = result["systems"][name]["metrics"][metric]
            colour = _style(result, name)[0]
            axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=2.5)
            axes.plot(found["value"], place, "o", color=colour, markersize=6)
        axes.set_yticks(range(len(names)), labels=names)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(f"{metric}, 95 % interval")
        return _svg(figure, "forest", f"{metric} of every system with its interval")


def recall_curves(result: Mapping[str, Any]) -> str:
    """Recall@k over k, logarithmic; "" if nothing was ranked."""
    curves = {
        name: result["systems"][name]["recall_curve"]
        for name in _by_primary(result)
        if result["systems"][name]["recall_curve"]
    }
    if not curves:
        return ""
    with _figure(3.6) as figure:
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
        _legend(figure, axes)
        return _svg(figure, "recall", "recall at k of every system")


def segments(result: Mapping[str, Any]) -> dict[str, str]:
    """A plot per breakdown: requested systems and the best others; segments of few users are grey."""
    systems = result["systems"]
    metric = result["primary"]
    requested = [name for name in result["run"]["requested"] if name in systems]
    names = list(dict.fromkeys([*requested, *_by_primary(result)]))[
        : max(SHOWN, min(len(requested), len(_COLOURS)))
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
    with _figure(1.1 + len(labels) * max(0.3, 0.13 * len(names))) as figure:
        axes = figure.add_subplot()
        n: dict[str, int] = {}
        for number, name in enumerate(names):
            colour, marker = _style(result, name)
            axes.plot([], [], color=colour, marker=marker, markersize=5, linewidth=1.5, label=name)
            for place, label in enumerate(labels):
                found = result["systems"][name]["segments"][breakdown][label][metric]
                n[label] = found["n"]
                shade = _GREY if found["n"] < FEW else colour
                height = place + (number - (len(names) - 1) / 2) * step
                axes.plot([found["low"], found["high"]], [height, height], color=shade, linewidth=1.5)
                axes.plot(found["value"], height, marker, color=shade, markersize=5)
        axes.set_yticks(range(len(labels)), labels=[f"{_short(label)}\nn = {n[label]}" for label in labels])
        for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
            tick.set_color(_GREY if n[label] < FEW else _INK)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(metric)
        _legend(figure, axes)
        return _svg(figure, breakdown, f"{metric} by {breakdown}")


def reliability(result: Mapping[str, Any]) -> str:
    """What was predicted against what happened; "" if no system gives probabilities."""
    curves = {
        name: found["calibration"]["curve"]
        for name, found in result["systems"].items()
        if found["calibration"]
    }
    if not curves:
        return ""
    highest = max(max(point["predicted"], point["observed"]) for curve in curves.values() for point in curve)
    with _figure(3.8) as figure:
        axes = figure.add_subplot()
        axes.plot([0, highest], [0, highest], color=_GREY, linestyle="--", linewidth=1)
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
        _legend(figure, axes)
        return _svg(figure, "reliability", "predicted probability against observed share")


def catalogue(result: Mapping[str, Any]) -> str:
    """Coverage against novelty; "" where they were not measured."""
    points = {
        name: (found["beyond"]["coverage@10"], found["beyond"]["novelty@10"])
        for name in _by_primary(result)
        if (found := result["systems"][name])["beyond"].get("novelty@10") is not None
    }
    if not points:
        return ""
    with _figure(3.8) as figure:
        axes = figure.add_subplot()
        for name, (coverage, novelty) in points.items():
            colour, marker = _style(result, name)
            axes.plot(coverage, novelty, marker, color=colour, markersize=8, label=name, linestyle="none")
        axes.set_xlabel("coverage@10, share of the catalogue")
        axes.set_ylabel("novelty@10, bits")
        axes.grid()
        _legend(figure, axes)
        return _svg(figure, "catalogue", "coverage against novelty of every system")


def lines(name: str, curves: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """Curves of points (x, y) over common axes."""
    with _figure(2.8) as figure:
        axes = figure.add_subplot()
        for number, (label, points) in enumerate(curves.items()):
            colour = _COLOURS[number % len(_COLOURS)]
            marker = _MARKERS[number % len(_MARKERS)] if len(points) < 30 else ""
            axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y")
        _legend(figure, axes)
        return _svg(figure, name, f"{y} by {x}")


def _by_primary(result: Mapping[str, Any]) -> list[str]:
    metric, systems = result["primary"], result["systems"]
    return sorted(systems, key=lambda name: -systems[name]["metrics"][metric]["value"])


def _style(result: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Colour and marker, the same in every plot."""
    place = list(result["systems"]).index(name)
    # Past the colours, another marker goes with each.
    return _COLOURS[place % len(_COLOURS)], _MARKERS[(place + place // len(_COLOURS)) % len(_MARKERS)]


def _short(label: str, length: int = 34) -> str:
    return label if len(label) <= length else f"{label[: length - 1]}…"


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=_INK, fontsize=9
    )


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",  # text stays text
        "text.parse_math": False,  # "$" is a sign like any other
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": _LINE,
        "ytick.color": _LINE,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "grid.color": _LINE,
        "grid.linewidth": 0.6,
        "font.size": 10,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        # Labels may hold letters that the font used for measuring lacks; the reader's has them.
        warnings.filterwarnings("ignore", message="Glyph")
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


def _svg(figure: Figure, name: str, label: str) -> str:
    """The drawing for a page: without prolog, addresses and sizes of its own."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # ids differ between plots and not between runs
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("xlink:href", "href")
    head, rest = drawing.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    for colour, css in _CSS.items():
        rest = rest.replace(colour, css)
    return f'<svg {box.group()} role="img" aria-label="{_attribute(label)}">{rest}'


def _attribute(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))
