"""The section of docs/results.md about baskets: repeats, new products, and the date."""

from __future__ import annotations

from typing import Any

from benchmarks.baskets import HYBRID, UNDATED
from benchmarks.tables import environment_line, with_interval

HEADINGS = {
    "next-basket": "Next basket: products bought before or not",
    "next-new": "Next new product: what the household never had",
}


def baskets(heading: str, result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/baskets.py`."""
    asked = f"{most} baskets a cut at most" if (most := result.get("baskets_a_cut")) else "all households"
    data, cuts, weights = result["data"], result["cuts"], result["weights"]
    first, last = min(cuts["test"]), max(cuts["test"])
    parts = [
        f"## {heading}\n",
        (
            f"{result['title']}: {data['events']:,} purchases of {data['items']:,} products by "
            f"{data['households']:,} households. The year is cut every four weeks; everything is fitted on "
            "what was bought before a cut and asked about a basket of each household in the four weeks after "
            "it, at its own moment, with the household's purchases up to then. Trend and season-popularity "
            "read what all households "
            "bought before the moment; nothing reads what came later. Cuts of the test: days "
            f"{first} to {last} of the year, {asked}; fusion weights are fitted on days "
            f"{min(cuts['validation'])} to {max(cuts['validation'])}. NDCG@10 of one product of the basket, "
            "averaged over its products, "
            "with 95 % intervals over households.\n"
        ),
    ]
    for task, figures in result["tasks"].items():
        parts += [
            f"### {HEADINGS[task]}\n",
            f"{figures['baskets']:,} baskets of {figures['households']:,} households.\n",
            "| system | NDCG@10 | hybrid minus it |\n|---|---|---|",
            *_rows(figures),
            "",
        ]
    parts += ["### What knowing the date adds\n", *_date(result), "", _weights(weights)]
    return "\n".join([*parts, environment_line(result["environment"])])


def _rows(figures: dict[str, Any]) -> list[str]:
    """Return a row per system, best first."""
    ordered = sorted(figures["systems"].items(), key=lambda pair: -pair[1]["value"])
    minus = figures[f"{HYBRID} minus"]
    return [
        f"| {name} | {with_interval(figure, digits=4)} "
        f"| {with_interval(minus[name], '+', 4) if name in minus else '-'} |"
        for name, figure in ordered
    ]


def _date(result: dict[str, Any]) -> list[str]:
    """Return the table of the hybrid with the date less the hybrid without."""
    tasks = result["tasks"]
    cuts = list(next(iter(tasks.values()))["gain of the date by cut"])
    rows = [
        f"| days {cut} to {int(cut) + 27} | "
        + " | ".join(with_interval(tasks[task]["gain of the date by cut"][cut], "+", 4) for task in tasks)
        + " |"
        for cut in cuts
    ]
    overall = [with_interval(tasks[task][f"{HYBRID} minus"][UNDATED], "+", 4) for task in tasks]
    return [
        (
            "Hybrid with the date minus hybrid without, on the same baskets. Without, the request has no "
            "time, the channel trend is not there, and the weights are fitted for that; what was bought most "
            "before the cut (recent, popularity) is known to both.\n"
        ),
        f"| | {' | '.join(tasks)} |\n|---|{'---|' * len(tasks)}",
        *rows,
        f"| all | {' | '.join(overall)} |",
    ]


def _weights(weights: dict[str, dict[str, float]]) -> str:
    lines = [
        f"{system}: " + ", ".join(f"{name} {weight:.2f}" for name, weight in fitted.items() if weight)
        for system, fitted in weights.items()
    ]
    return f"Weights: {'; '.join(lines)}.\n"
