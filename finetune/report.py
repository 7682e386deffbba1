"""The report of a training run: a page with its curves, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.utils.plots import lines


def write_report(
    folder: Path, title: str, curve: Sequence[Mapping[str, float]], facts: Mapping[str, Any]
) -> None:
    """Write `report.html` and `training.json` into a folder.

    Args:
        folder: An existing folder.
        title: Of the page.
        curve: From `read_curve`.
        facts: Metrics and options of the run.

    Raises:
        OSError: A file cannot be written.
    """
    import jinja2

    losses = [(line["step"], line["loss"]) for line in curve if "loss" in line]
    metrics: dict[str, list[tuple[float, float]]] = {}
    for line in curve:
        for name, value in line.items():
            if name.startswith("ndcg"):
                metrics.setdefault(name, []).append((line["step"], value))
    drawings = [
        lines("loss", {"each step": losses, "mean of 20": _moving_mean(losses, 20)}, "step", "loss, nats"),
        lines("ndcg", metrics, "step", "NDCG@10, validation"),
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(title=title, drawings=drawings, facts=facts)
    (folder / "report.html").write_text(page, encoding="utf-8")
    text = json.dumps({"curve": list(curve), **facts}, indent=1)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")


def _moving_mean(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """Average each point's y with up to `width` - 1 points before it."""
    means = []
    for index, (step, _) in enumerate(points):
        window = [y for _, y in points[max(0, index - width + 1) : index + 1]]
        means.append((step, sum(window) / len(window)))
    return means
