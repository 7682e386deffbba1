"""The section of docs/results.md about wishes that people wrote."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval

COLUMNS = ("precision@5", "exact", "false_hard", "missed")
MODES = {"alone": "Alone", "with-history": "For people with a history"}


def wishes(result: dict[str, Any]) -> str:
    """Render what `recsys evaluate wishes` measured, with and without a reader, by domain."""
    parts = [
        "## Wishes that people wrote\n",
        (
            "Wishes written by hand before the words that read them, each with a rule of what fits "
            "(`benchmarks/wishes`); the words were chosen on the validation half, the test half "
            "was asked twice, see below. Precision at 5: of "
            "five items, what fits, missing ones count as wrong; *possible* is the most that the catalogue "
            "allows. *As meant*: all conditions are those that were meant, as preferences or not, and no "
            'others. *Not asked for*: a must (by "only", a negation or a bound) that is not meant. '
            "*Not read*: of the conditions that are meant. *Before*: the words of a wish are only compared "
            "with texts. No model ranks: the order is the retriever's. A second set for films was written "
            "after the reader, by somebody who knew docs/wishes.md and not its words; its single failures "
            "were not looked at.\n"
        ),
    ]
    for run in result["runs"]:
        parts += _domain(run)
    note = [f"{result['note']}\n"] if "note" in result else []
    return "\n".join([*parts, *note, environment_line(result["environment"])])


def _domain(run: dict[str, Any]) -> list[str]:
    facts, before = run["run"], run["before"]
    groups = run["wishes"]["alone"]
    second = ", a second set" if run.get("file", "").endswith("-second") else ""
    parts = [f"### {facts['title']}, {facts['part']}{second}, {groups['all']['n']} wishes\n"]
    for mode, title in MODES.items():
        parts += [
            f"{title}:\n",
            "| wishes | n | before | precision@5 | possible | as meant | not asked for | not read |",
            "|---|---|---|---|---|---|---|---|",
        ]
        parts += [_row(name, measures, before[mode][name]) for name, measures in run["wishes"][mode].items()]
        parts.append("")
    seconds = groups["all"]["seconds_p50"]
    parts.append(f"p50 of a whole answer without a model: {1000 * seconds:.0f} ms.\n")
    return parts


def _row(name: str, measures: dict[str, Any], before: dict[str, Any]) -> str:
    interval = with_interval if name == "all" or name.startswith("language:") else _value
    cells = [interval(measures[column]) if column in measures else "-" for column in COLUMNS]
    was = _value(before["precision@5"])
    return (
        f"| {name.removeprefix('language:')} | {measures['n']} | {was} | {cells[0]} | "
        f"{_value(measures['possible@5'])} | {' | '.join(cells[1:])} |"
    )


def _value(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f}"


def curve(result: dict[str, Any]) -> str:
    """Render what the model comes to as a reader, by the made-up wishes that it learned from."""
    parts = [
        "## The model as a reader of wishes\n",
        (
            "The validation half, alone, in the retriever's order. *dictionary*: words, values, the nearest "
            "in meaning; *both*: the model for what that leaves; *model*: the model alone. 0: untuned; else "
            "it was fine-tuned on so many made-up wishes of films.\n"
        ),
        (
            "| domain | reader | made-up wishes | precision@5 | as meant | not asked for | not read "
            "| p50 of reading |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in result["lines"]:
        measures = line["measures"]["all"]
        cells = [with_interval(measures[column]) if column in measures else "-" for column in COLUMNS]
        learned = "-" if line["reader"] == "dictionary" else f"{line['wishes']:,}"
        seconds = f"{1000 * line['read_p50_s']:.0f} ms"
        parts.append(f"| {line['domain']} | {line['reader']} | {learned} | {' | '.join(cells)} | {seconds} |")
    return "\n".join([*parts, "", environment_line(result["environment"])])
