"""A tuning run as a page: what was learned when, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.utils.plots import lines


def write_report(
    folder: Path, title: str, curve: Sequence[Mapping[str, float]], facts: Mapping[str, Any]
) -> None:
    """`report.html` and `training.json` in `folder`. Raises OSError."""
    import jinja2

    losses = [(line["step"], line["loss"]) for line in curve if "loss" in line]
    metrics: dict[str, list[tuple[float, float]]] = {}
    for line in curve:
        for name, value in line.items():
            if name.startswith("ndcg"):
                metrics.setdefault(name, []).append((line["step"], value))
    drawings = [
        lines("loss", {"each step": losses, "mean of 20": _smooth(losses, 20)}, "step", "loss, nats"),
        lines("ndcg", metrics, "step", "NDCG@10, validation"),
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(title=title, drawings=drawings, facts=facts)
    (folder / "report.html").write_text(page, encoding="utf-8")
    text = json.dumps({"curve": list(curve), **facts}, indent=1)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")


def _smooth(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """Means of the last `width` points."""
    return [
        (
            step,
            sum(value for _, value in points[max(0, place - width + 1) : place + 1]) / min(width, place + 1),
        )
        for place, (step, _) in enumerate(points)
    ]
