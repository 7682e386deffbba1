"""The section of docs/results.md about what the model adds to the retriever."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval

WAYS = ("model alone", "before the fit", "after the fit")


def model_weight(result: dict[str, Any]) -> str:
    """Render a row per domain and kind of request."""
    rows, notes = [], []
    for name, domain in result["domains"].items():
        adapter = f" with {domain['adapter']}" if domain["adapter"] else ""
        kinds = domain["fitted"]["kinds"]
        for kind, row in domain["test"].items():
            weights = kinds[kind]["weights"] if kind in kinds else None
            fitted = f"{weights['model']:g} / {weights['retriever']:g}" if weights else "too few events"
            cells = [with_interval(row["minus"][way], "+") for way in WAYS]
            found = f"{row['found']:,} of {row['events']:,}"
            rows.append(
                f"| {name}{adapter} | {kind} | {found} | {row['retriever']['value']:.3f} | "
                f"{' | '.join(cells)} | {fitted} |"
            )
        seconds = domain["seconds"]
        notes.append(
            f"{name}: {domain['title']}; the model was asked for {seconds['fit']:,} s to fit and "
            f"{seconds['test']:,} s to test. {domain['rule']} {environment_line(domain['environment'])}"
        )
    return "\n".join(
        [
            "## What the model adds\n",
            (
                "NDCG@10 over the events asked: of the retriever, and minus it of the model alone, of what "
                "is served until `recsys fit`, and of what it fits (95 % intervals over users). An event "
                "whose item is not among the candidates counts 0 in all of them. Kinds of requests: "
                "docs/ranking.md.\n"
            ),
            (
                "| domain | requests | events found | retriever | model alone, minus it | before a fit, "
                "minus it | after it, minus it | weights of model / retriever |"
            ),
            f"|{'---|' * 8}",
            *rows,
            "",
            "\n\n".join(notes),
            "",
        ]
    )
