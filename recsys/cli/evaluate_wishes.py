"""`recsys evaluate wishes`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.cli.evaluate_options import PartOption, command_line
from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, format_with_interval, plain_table, print_json
from recsys.config.wishes import ReaderName

PATIENCE_S = 15.0  # a retrieval channel that takes longer to fit is left out, and the result says so


def evaluate_wishes(
    domain: DomainOption = "movies",
    file: Annotated[
        Path | None, typer.Option("--file", help="JSON lines; by default benchmarks/wishes/DOMAIN.jsonl.")
    ] = None,
    part: PartOption = "validation",
    language: Annotated[str | None, typer.Option("--language", help="Only wishes in it: en or zh.")] = None,
    model: Annotated[
        bool, typer.Option("--model", help="Rank with the model; by default in the retriever's order.")
    ] = False,
    reader: Annotated[
        ReaderName | None,
        typer.Option("--reader", help="What reads the wishes, in place of what the domain says."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File that the result is written to.")
    ] = None,
    failures: Annotated[
        Path | None, typer.Option("--failures", help="File for the wishes that went wrong; validation only.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure whether wishes in people's own words are understood.

    Each wish is asked alone, and for a person with a history.
    """
    from recsys.errors import RequestError
    from recsys.evaluation.wishes import study
    from recsys.recommender.recommender import Recommender

    if failures is not None and part != "validation":
        raise RequestError("single wishes of the test are not shown", hint="use --part validation")
    path = file or Path("benchmarks/wishes") / f"{domain}.jsonl"
    cases = study.read_cases(path, part, language)
    with (
        ProgressBars() as progress,
        Recommender.load(domain, progress=progress, patience_s=PATIENCE_S) as loaded,
    ):
        recommender = loaded.with_state(reader=reader)

        def ask(user: str | None, **options: Any) -> Any:
            return recommender.recommend(user, reasons=False, **options)

        by_mode = {
            mode: study.study(recommender, cases, mode=mode, ask=ask if model else None, progress=progress)
            for mode in ("alone", "with-history")
        }
        name = recommender.wish_reader
        result = study.report(recommender, by_mode, command=command_line(), part=part, reader=name)
    if failures is not None:
        study.write_failures(by_mode["alone"], failures)
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(result)
        return
    for mode, groups in result["wishes"].items():
        _show(mode, groups)


def _show(mode: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    table = plain_table(
        "wishes", "n", "precision@5", "possible", "exact", "but hardness", "false hard", "missed"
    )
    table.title = mode
    for name, measures in groups.items():
        cells = [
            format_with_interval(measures.get(measure), separator=" ")
            for measure in (
                "precision@5",
                "possible@5",
                "exact",
                "exact_but_hardness",
                "false_hard",
                "missed",
            )
        ]
        table.add_row(name, str(measures["n"]), *cells)
    console.print(table)
