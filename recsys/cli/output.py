"""What people see: tables, bars and progress. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from recsys.types import Context, Recommendation, Recommendations

console = Console()
errors = Console(stderr=True)
_BAR = 12


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def with_interval(found: Mapping[str, float] | None, sign: str = "", between: str = "\n") -> str:
    """A figure and its interval for a cell of a table, "" for none; `sign` goes before what is above 0."""
    from recsys.evaluation.results.report import figure

    if not found:
        return ""
    above = sign if found["value"] > 0 else ""
    return (
        f"{above}{figure(found['value'])}{between}[dim]{figure(found['low'])} to {figure(found['high'])}[/]"
    )


class ProgressBars:
    """A bar per stage on stderr, shown only where a person looks; gone when done."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, visible=False)
            self._tasks[what] = self._progress.add_task(what, total=total or None)
            if not errors.is_terminal:
                errors.print(f"{what} ...", style="dim", highlight=False)
        self._progress.update(self._tasks[what], completed=done, total=total or None)

    def describe(self, what: str, text: str) -> None:
        """Show `text` beside the bar of a stage that has begun."""
        self._progress.update(self._tasks[what], description=text)

    def note(self, text: str) -> None:
        """A line that stays, above the bars."""
        self._progress.console.print(text, style="dim", highlight=False)

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def show(result: Recommendations, title: str) -> None:
    """The answer as a table: score bar, item, reason."""
    table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
    table.add_column("", justify="right", style="bold")
    table.add_column("score", no_wrap=True)
    table.add_column(title, ratio=2, overflow="fold")
    table.add_column("why", ratio=3, overflow="fold")  # a language without spaces is one long word
    best = max((line.score for line in result), default=1.0) or 1.0
    for line in result:
        table.add_row(str(line.rank), _bar(line.score, best), _item(line), _reason(line))
    parts: list[Any] = [table] if len(result) else [Text("nothing to recommend")]
    parts.append(Text(_footer(result), style="dim"))
    console.print(
        Panel(Group(*parts), title=escape(_heading(result)), title_align="left", border_style="blue")
    )
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for problem in result.degraded:
        console.print(f"[red]degraded:[/] {escape(problem)}")


def _bar(score: float, best: float) -> Text:
    filled = round(_BAR * score / best)
    return Text.assemble(("█" * filled, "green"), ("░" * (_BAR - filled), "dim"), f" {score:.3f}")


def _item(line: Recommendation) -> Text:
    values = ", ".join(value for values in line.item.attributes.values() for value in values)
    return Text.assemble((line.item.name[:120], "bold"), ("\n" + values[:120] if values else "", "dim"))


def _reason(line: Recommendation) -> Text:
    if line.explanation is None:
        return Text("")
    mark = " [template]" if line.explanation.source == "template" else ""
    return Text.assemble(line.explanation.text, (mark, "yellow"))


def _heading(result: Recommendations) -> str:
    who = f"user {result.user}" if result.user else "you"
    facts = event_context(result.context)
    return f" {result.domain} for {who}{': ' + facts if facts else ''} "


def event_context(context: Context) -> str:
    """ "Friday 21:00, late evening, autumn, Minneapolis, Minnesota" """
    facts = context.facts
    when = " ".join(filter(None, (facts.pop("weekday", None), facts.pop("time", None))))
    wish = f'"{context.wish}"' if context.wish else ""
    return ", ".join(filter(None, (when, *facts.values(), wish)))


def _footer(result: Recommendations) -> str:
    took = " + ".join(
        f"{stage} {seconds:.2f} s" for stage, seconds in result.timings.items() if stage != "total"
    )
    model = f"{result.model.model} on {result.model.engine}" if result.model else "no model"
    adapter = f" + {result.model.adapter}" if result.model and result.model.adapter else ""
    prompt = (
        f", prompt {result.prompt.name} v{result.prompt.version} ({result.prompt.hash})"
        if result.prompt
        else ""
    )
    cached = f"{result.usage.cached_tokens} of {result.usage.prompt_tokens} prompt tokens cached"
    return f"\n{model}{adapter}, {result.strategy}{prompt}\n{took}; {cached}"
