"""Plots as SVG inside a page, which follow its light and dark colours."""

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

# Placeholders that become CSS: matplotlib does not know `currentColor`.
INK, LINE, GREY = "#010203", "#010205", "#010207"
_CSS = {INK: "currentColor", LINE: "var(--line)", GREY: "var(--grey)"}
# Legible on white and on black; markers differ too, for readers who cannot tell the colours apart.
COLOURS = ("#0a84c6", "#e07b00", "#159a6c", "#cc4a80", "#8d6bd8", "#a58f00", "#d4523f", "#5d8296")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_WIDTH = 5.2  # inches: text stays legible where a phone shows the page


def lines(name: str, curves: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """Plot named curves of points (x, y) over common axes."""
    with new_figure(2.8) as figure:
        axes = figure.add_subplot()
        for number, (label, points) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            marker = MARKERS[number % len(MARKERS)] if len(points) < 30 else ""
            axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y")
        add_legend(figure, axes)
        return to_svg(figure, name, f"{y} by {x}")


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend below the plot."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=9
    )


@contextmanager
def new_figure(height: float) -> Iterator[Figure]:
    """Open an empty figure in the style of all plots, `height` inches high."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",  # text stays text
        "text.parse_math": False,  # "$" is an ordinary character
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "font.size": 10,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        # The font used for measuring may lack glyphs that the reader's font has.
        warnings.filterwarnings("ignore", message="Glyph")
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


def to_svg(figure: Figure, name: str, label: str) -> str:
    """Render a figure for a page: no prolog, external addresses or fixed size."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # ids differ between plots and not between runs
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    for colour, css in _CSS.items():
        rest = rest.replace(colour, css)
    return f'<svg {box.group()} role="img" aria-label="{_attribute(label)}">{rest}'


def _attribute(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))
