"""`recsys recommend` and `recsys score`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import (
    AtLeastOption,
    DomainOption,
    JsonOption,
    LanguageOption,
    RequestOptions,
    StrategyOption,
    StyleOption,
    UserOption,
    WhereOption,
    WithoutOption,
    YearsOption,
    check_strategy,
    parse_filter,
    takes_request,
)
from recsys.cli.output import ProgressBars, error_console, json_text, print_json, print_recommendations
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.recommender.recommender import Recommender

PATIENCE_S = 15.0  # a retrieval channel that takes longer to fit is fitted after the answer


@takes_request()
def recommend(
    domain: DomainOption = "movies",
    user: UserOption = None,
    *,
    request: RequestOptions,
    where: WhereOption = None,
    without: WithoutOption = None,
    at_least: AtLeastOption = None,
    years: YearsOption = "",
    k: Annotated[int, typer.Option("-k", help="Number of recommendations.")] = 5,
    strategy: StrategyOption = None,
    no_reasons: Annotated[bool, typer.Option("--no-reasons", help="Only rank, which is faster.")] = False,
    lang: LanguageOption = None,
    style: StyleOption = None,
    as_json: JsonOption = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Print JSON lines as they are ready: the list, each reason, the whole answer."
        ),
    ] = False,
) -> None:
    """Recommend items to a user, or to anybody described by likes or a wish."""
    from recsys.recommender.recommender import Recommender
    from recsys.recommender.response import last_answer

    check_strategy(strategy)
    asked: RequestOptions = {**request, "rule": parse_filter(where, without, at_least, years)}
    with ExitStack() as stack:
        with ProgressBars() as progress:
            recommender = stack.enter_context(
                Recommender.load(domain, progress=progress, patience_s=PATIENCE_S)
            )
            events = recommender.stream(
                user,
                k=k,
                strategy=strategy,
                reasons=not no_reasons,
                language=lang,
                style=style,
                **asked,
            )
            if stream:
                for event in events:
                    _write_line(event.to_json())
            else:
                answer = last_answer(events)
        if as_json and not stream:
            print_json(answer.to_json())
        elif not stream:
            print_recommendations(answer, recommender.domain.noun)
        _fit_missing(recommender)


def _fit_missing(recommender: Recommender) -> None:
    """Fit the channels that the answer was found without, for the next one."""
    missing = recommender.retriever.state.missing
    if not missing or recommender.joiner is None:
        return
    sys.stdout.flush()
    error_console.print(
        f"fitting for the next answers: {', '.join(missing)}; Ctrl-C stops it, and the next command goes on",
        style="dim",
        highlight=False,
    )
    recommender.engines.close()  # its memory and cores
    with ProgressBars() as progress, suppress(KeyboardInterrupt):
        recommender.joiner.finish(progress)


def score(
    domain: DomainOption = "movies",
    strategy: StrategyOption = None,
    source: Annotated[Path | None, typer.Argument(help="JSONL file; standard input by default.")] = None,
) -> None:
    """Score your own candidates: one JSON object per line in, one per line out.

    {"history": ["Fargo", {"title": "Heat", "liked": false}], "wish": "...",
    "candidates": ["Alien", {"title": "New"}]}
    A line that fails has an "error"; the command ends with 2 if all fail.
    """
    from recsys.recommender.recommender import Recommender
    from recsys.recommender.scoring import score_line

    check_strategy(strategy)
    if source is not None and not source.is_file():
        raise RequestError(f"no file {source}", hint="give a JSONL file, or pipe lines in")
    done = failed = 0
    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        for number, line in enumerate(_lines(source), start=1):
            if not line.strip("\ufeff \t\r\n"):
                continue
            answer = score_line(recommender, line, strategy)
            _write_line({"line": number} | answer)
            done, failed = done + 1, failed + ("error" in answer)
            progress("scoring lines", number, 0)
    if failed:
        error_console.print(f"{failed:,} of {done:,} lines failed: see their 'error'")
    if failed and failed == done:
        raise typer.Exit(2)


def _lines(source: Path | None) -> Iterator[str]:
    """Yield the lines of standard input or of a file, decoded by byte order mark."""
    from recsys.data.importers.readers import encoding_of

    if source is None:
        yield from sys.stdin
        return
    with source.open("rb") as file:
        encoding = encoding_of(file.read(4))
    with source.open(encoding=encoding, errors="replace") as file:
        yield from file


def _write_line(value: dict[str, Any]) -> None:
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()
