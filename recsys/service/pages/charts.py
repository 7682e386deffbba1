"""Curves as numbers that an SVG in a template is drawn from: no script, and no style of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 548, 24, 256
TICKS = 5
DOTTED = 30  # points, above which a line has none

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve in the coordinates of the drawing."""

    name: str
    number: int
    points: str
    dots: list[tuple[str, str]]
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over common axes. `diagonal` is where x equals y, if it is drawn."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    diagonal: tuple[float, float, float, float] | None = None
    box: str = f"0 0 {WIDTH} {HEIGHT}"
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    begin: float
    end: float
    step: float = field(default=1.0)

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float) -> _Scale:
        """Round ends that hold all values, and steps that a person would choose."""
        low, high = min(values), max(values)
        span = (high - low) or abs(high) or 1.0
        rough = span / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        return cls(math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, begin, end, step)

    def at(self, value: float) -> float:
        return self.begin + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.begin)

    def ticks(self) -> list[Tick]:
        count = round((self.high - self.low) / self.step)
        return [
            Tick(round(self.at(v), 1), f"{v:.6g}")
            for v in (self.low + n * self.step for n in range(count + 1))
        ]


def chart(
    curves: Mapping[str, Sequence[Point]], *, faint: Sequence[str] = (), diagonal: bool = False
) -> Chart | None:
    """Curves by name; None where there is no point. What is not finite is left out."""
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
    across, up = _Scale.over(xs, LEFT, RIGHT), _Scale.over(ys, BOTTOM, TOP)
    lines = [
        Line(
            name=name,
            number=number % 6,
            points=" ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in points),
            dots=[(f"{across.at(x):.1f}", f"{up.at(y):.1f}") for x, y in points]
            if len(points) <= DOTTED
            else [],
            faint=name in faint,
        )
        for number, (name, points) in enumerate(finite.items())
    ]
    corner = (across.at(across.low), up.at(across.low), across.at(across.high), up.at(across.high))
    return Chart(lines, across.ticks(), up.ticks(), corner if diagonal else None)


def smooth(points: Sequence[Point], window: int = 20) -> list[Point]:
    """The mean of the last `window` values at each point."""
    means = []
    for at, (x, _) in enumerate(points):
        recent = [y for _, y in points[max(0, at + 1 - window) : at + 1]]
        means.append((x, sum(recent) / len(recent)))
    return means
