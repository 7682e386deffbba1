"""Line charts as coordinates, from which a template draws an SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 300  # of the drawing
LEFT, RIGHT, TOP, BOTTOM = 52, 548, 24, 256  # of the area inside the axes
N_TICKS = 5
N_COLOURS = 6  # classes l0 to l5 of the style sheet
MAX_DOTS = 30  # a line of more points has no dots
SMOOTHING_WINDOW = 20

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve in the coordinates of the drawing."""

    name: str
    colour: int
    points: str  # as the SVG attribute `points` holds them
    dots: list[tuple[str, str]]
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over common axes."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    diagonal: tuple[float, float, float, float] | None = None  # x1, y1, x2, y2 of the line where x equals y
    box: str = f"0 0 {WIDTH} {HEIGHT}"
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM


@dataclass(frozen=True)
class _Axis:
    """A linear scale from values to coordinates."""

    low: float
    high: float
    start: float  # coordinate of `low`
    end: float  # coordinate of `high`
    step: float  # between two ticks

    @classmethod
    def spanning(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        """Choose round limits that hold all values, and a round step."""
        low, high = min(values), max(values)
        span = (high - low) or abs(high) or 1.0
        rough = span / N_TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        return cls(math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, start, end, step)

    def project(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[Tick]:
        count = round((self.high - self.low) / self.step)
        values = [self.low + n * self.step for n in range(count + 1)]
        return [Tick(round(self.project(value), 1), f"{value:.6g}") for value in values]


def line_chart(
    curves: Mapping[str, Sequence[Point]], *, faint: Sequence[str] = (), diagonal: bool = False
) -> Chart | None:
    """Lay out curves as a chart.

    Args:
        curves: points (x, y) by the name of the curve; points that are not finite are left out.
        faint: names of curves that are drawn in the background.
        diagonal: whether to draw the line where x equals y.

    Returns:
        The chart, or None if no point is left.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in curves.items()
    }
    finite = {name: points for name, points in finite.items() if points}
    if not finite:
        return None
    xs = [x for points in finite.values() for x, _ in points]
    ys = [y for points in finite.values() for _, y in points]
    if diagonal:
        xs = ys = [0.0, *xs, *ys]
    x_axis, y_axis = _Axis.spanning(xs, LEFT, RIGHT), _Axis.spanning(ys, BOTTOM, TOP)
    lines = []
    for number, (name, points) in enumerate(finite.items()):
        dots = [(f"{x_axis.project(x):.1f}", f"{y_axis.project(y):.1f}") for x, y in points]
        lines.append(
            Line(
                name=name,
                colour=number % N_COLOURS,
                points=" ".join(f"{x},{y}" for x, y in dots),
                dots=dots if len(dots) <= MAX_DOTS else [],
                faint=name in faint,
            )
        )
    ends = [(x_axis.project(value), y_axis.project(value)) for value in (x_axis.low, x_axis.high)]
    return Chart(lines, x_axis.ticks(), y_axis.ticks(), (*ends[0], *ends[1]) if diagonal else None)


def moving_average(points: Sequence[Point], window: int = SMOOTHING_WINDOW) -> list[Point]:
    """Average each value with those before it, over at most `window` points."""
    means = []
    for index, (x, _) in enumerate(points):
        recent = [y for _, y in points[max(0, index + 1 - window) : index + 1]]
        means.append((x, sum(recent) / len(recent)))
    return means
