"""The section of docs/results.md about lists that people were shown."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval

FIGURES = ("ndcg@5", "ndcg@10", "mrr@10", "auc")
BEYOND = ("age_h@5", "calibration@5", "fragmentation@5", "repeated@5")


def shown_lists(heading: str, result: dict[str, Any]) -> str:
    """Render an evaluation of impressions, with what RADio measures."""
    compared = result["compared"]
    models = f"The model: {', '.join(names)}. " if (names := result.get("models")) else ""
    rows = []
    for name, system in result["systems"].items():
        metrics, beyond = system["metrics"], system["beyond"]
        cells = [f"{metrics[figure]['value']:.3f}" for figure in FIGURES]
        cells[1] = with_interval(metrics["ndcg@10"])
        paired = result["paired"].get(f"{compared}-{name}", {}).get("ndcg@10")
        cells.append(with_interval(paired, "+") if paired else "-")
        cells += [_plain(beyond.get(figure), 1 if figure == "age_h@5" else 3) for figure in BEYOND]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(
        [
            f"## {heading}\n",
            (
                f"{result['title']}, {result['part']}, {result['users']} users drawn by seed "
                f"{result['seed']}, {result['cases']:,} lists. {models}"
                f"{result['protocol_text']} {result['rule']}\n"
            ),
            (
                "Of the first five: mean age in hours, divergence of their categories and places from those "
                "of the history (calibration: 0 alike), of the lists of two people (fragmentation), and the "
                "share that tells what one above tells.\n"
            ),
            (
                f"| system | NDCG@5 | NDCG@10 (95 % interval) | MRR@10 | AUC | {compared} minus it, NDCG@10 "
                "| age, h | calibration | fragmentation | repeated |"
            ),
            f"|{'---|' * 10}",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def _plain(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
