"""What commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
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
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from recsys.config.ranking import FittedScore
from recsys.types import Context, Recommendation, Recommendations, RuleAction

console = Console()
error_console = Console(stderr=True)
_BAR_WIDTH = 12  # characters


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """Write a value as JSON, with escapes if standard output cannot show its signs."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if _can_show(text) else json.dumps(value, indent=indent)


def _can_show(text: str) -> bool:
    """Whether the encoding of standard output has all signs of a text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain_table(*headings: str, left: Sequence[str] = ()) -> Table:
    """Make a table without lines; the first column and those in `left` align left."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in headings:
        is_left = heading == headings[0] or heading in left
        table.add_column(Text(heading), justify="left" if is_left else "right", overflow="fold")
    return table


def format_with_interval(metric: Mapping[str, float] | None, sign: str = "", separator: str = "\n") -> str:
    """Write a metric with its interval for a cell of a table; "" for None.

    Args:
        metric: value, low and high.
        sign: written before a value above 0.
        separator: between value and interval.
    """
    from recsys.evaluation.results.report import figure

    if not metric:
        return ""
    prefix = sign if metric["value"] > 0 else ""
    interval = f"[dim]{figure(metric['low'])} to {figure(metric['high'])}[/]"
    return f"{prefix}{figure(metric['value'])}{separator}{interval}"


SILENCE_S = 15.0  # without a terminal a line comes at least so often


def progress_line(stage: str, done: int, total: int, seconds: float) -> str:
    """Describe progress: "fitting ease: 30 of 120, 15 a minute, about 6 min left"."""
    if not total or not done:
        return f"{stage}: {seconds:.0f} s so far"
    left = seconds * (total - done) / done
    remaining = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    rate = done / max(seconds, 1e-3)
    speed = f"{rate:,.0f} a second" if rate >= 2 else f"{60 * rate:.0f} a minute"
    return f"{stage}: {done:,} of {total:,}, {speed}, about {remaining} left"


class ProgressBars:
    """Progress bars on stderr, one per stage; without a terminal, occasional lines.

    The bars are removed at the end.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=error_console,
            transient=True,
            disable=not error_console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._current = ""
        self._printed = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Update the bar of a stage; a total of 0 means that it is not known."""
        if self._begins(stage, done):
            for task in self._tasks.values():
                self._progress.update(task, visible=False)
            self._tasks[stage] = self._progress.add_task(stage, total=total or None)
            self._begun[stage] = self._printed = time.monotonic()
            if not error_console.is_terminal:
                error_console.print(f"{stage} ...", style="dim", highlight=False)
        self._current, self._done[stage] = stage, done
        self._progress.update(self._tasks[stage], completed=done, total=total or None)
        if not error_console.is_terminal and time.monotonic() - self._printed >= SILENCE_S:
            self._printed = time.monotonic()
            line = progress_line(stage, done, total, self._printed - self._begun[stage])
            error_console.print(line, style="dim", highlight=False)

    def _begins(self, stage: str, done: int) -> bool:
        """Tell whether a stage begins, for the first time or once more."""
        if stage not in self._tasks:
            return True
        return done < self._done[stage] or (done == 0 and stage != self._current)

    def describe(self, stage: str, text: str) -> None:
        """Change the text beside the bar of a stage that has begun."""
        self._progress.update(self._tasks[stage], description=text)

    def note(self, text: str) -> None:
        """Print a line above the bars that stays."""
        self._progress.console.print(text, style="dim", highlight=False)

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def print_recommendations(answer: Recommendations, noun: str) -> None:
    """Print a table of score, item (headed by the domain's noun) and reason."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("", justify="right", style="bold")
    table.add_column("score", no_wrap=True)
    table.add_column(noun, ratio=2, overflow="fold")
    table.add_column("why", ratio=3, overflow="fold")  # in Chinese a sentence is one long word
    best = max((recommendation.score for recommendation in answer), default=1.0) or 1.0
    for recommendation in answer:
        bar = _score_bar(recommendation.score, best)
        table.add_row(str(recommendation.rank), bar, _item(recommendation), reason_text(recommendation))
    body = table if len(answer) else Text("nothing to recommend")
    title = format_title(answer.domain, answer.user, answer.context)
    lead = [Text(answer.lead, style="bold")] if answer.lead else []
    print_panel(title, *lead, body, Text(_provenance(answer), style="dim"))
    if answer.understood:
        console.print(f"[green]understood:[/] {escape(answer.understood.text)}", highlight=False)
    print_rules(answer.rules)
    print_notes(answer.notes, answer.degraded)


def print_panel(title: str, *parts: RenderableType) -> None:
    """Print parts in a frame."""
    console.print(Panel(Group(*parts), title=escape(title), title_align="left", border_style="blue"))


def print_rules(actions: Sequence[RuleAction]) -> None:
    """Print what each rule did."""
    for action in actions:
        console.print(f"[cyan]rule:[/] {escape(action.text)}", highlight=False)


def print_score(score: FittedScore) -> None:
    """Print what `recsys fit` found about the weights of model and retriever."""
    table = plain_table("requests", "model", "retriever", "its fitted weight", "served - retriever", "events")
    for kind, fit in score.kinds.items():
        estimates = (f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for e in (fit.model_weight, fit.ndcg))
        weights = (f"{fit.weights.model:g}", f"{fit.weights.retriever:g}")
        table.add_row(kind, *weights, *estimates, f"{fit.cases:,} of {fit.asked:,}")
    console.print(table)
    used_with = score.model + (f" + {score.adapter}" if score.adapter else "")
    console.print(
        f"score: of NDCG@10, cross-fitted, with 95 % intervals; used with {used_with}",
        style="dim",
        highlight=False,
    )


def print_notes(notes: Sequence[str], degraded: Sequence[str]) -> None:
    """Print what was assumed, and what failed and was replaced by something simpler."""
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for problem in degraded:
        console.print(f"[red]degraded:[/] {escape(problem)}")


def reason_text(recommendation: Recommendation) -> Text:
    """Return the reason, marked if a template wrote it; without one the remarks."""
    if recommendation.explanation is None:
        return Text(" ".join(recommendation.remarks))
    mark = " [template]" if recommendation.explanation.source == "template" else ""
    return Text.assemble(recommendation.explanation.text, (mark, "yellow"))


def format_title(subject: str, user: str | None, context: Context) -> str:
    """Write " movies for user 196: Friday 21:00, late evening "."""
    facts = format_context(context)
    return f" {subject} for {f'user {user}' if user else 'you'}{': ' + facts if facts else ''} "


def format_context(context: Context) -> str:
    """Write "Friday 21:00, late evening, autumn, Minneapolis, Minnesota"."""
    facts = context.facts
    time = " ".join(filter(None, (facts.pop("weekday", None), facts.pop("time", None))))
    wish = f'"{context.wish}"' if context.wish else ""
    return ", ".join(filter(None, (time, *facts.values(), wish)))


def _score_bar(score: float, best: float) -> Text:
    filled = round(_BAR_WIDTH * score / best)
    full, empty = "█░" if _can_show("█░") else "#."
    return Text.assemble((full * filled, "green"), (empty * (_BAR_WIDTH - filled), "dim"), f" {score:.3f}")


def _item(recommendation: Recommendation) -> Text:
    item = recommendation.item
    further = item.sources or {}  # facts of further sources are many: `recsys items show` prints them
    own = (values for name, values in item.attributes.items() if name not in further)
    attributes = ", ".join(value for values in own for value in values)
    return Text.assemble((item.name[:120], "bold"), ("\n" + attributes[:120] if attributes else "", "dim"))


def _provenance(answer: Recommendations) -> str:
    """Name the model and prompt, and where the time went."""
    timings = " + ".join(
        f"{stage} {seconds:.2f} s" for stage, seconds in answer.timings.items() if stage != "total"
    )
    model = f"{answer.model.model} on {answer.model.engine}" if answer.model else "no model"
    adapter = f" + {answer.model.adapter}" if answer.model and answer.model.adapter else ""
    prompt = (
        f", prompt {answer.prompt.name} v{answer.prompt.version} ({answer.prompt.hash})"
        if answer.prompt
        else ""
    )
    cached = f"{answer.usage.cached_tokens} of {answer.usage.prompt_tokens} prompt tokens cached"
    return f"\n{model}{adapter}, {answer.strategy}{prompt}\n{timings}; {cached}"
