"""`recsys explain`: why this, why not that, and what would change it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from recsys.cli.output import ProgressBars, console, event_context, print_json
from recsys.cli.recommend import (
    AtOption,
    CandidatesOption,
    DislikedOption,
    DomainOption,
    FactOption,
    JsonOption,
    LanguageOption,
    LikedOption,
    PlaceOption,
    StyleOption,
    UserOption,
    WishOption,
    facts,
)
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.types import Effect, Recommendation, Why

_BAR = 10  # signs on either side of zero
_SHOWN = 12  # effects
_PICTURES = (".png", ".svg", ".pdf")


def explain(
    item: Annotated[str, typer.Option("--item", "-i", help="Title or id to explain.")],
    instead_of: Annotated[
        str | None, typer.Option("--instead-of", help="Title or id of another item: why not that?")
    ] = None,
    domain: DomainOption = "movies",
    user: UserOption = None,
    liked: LikedOption = None,
    disliked: DislikedOption = None,
    at: AtOption = None,
    place: PlaceOption = None,
    wish: WishOption = "",
    fact: FactOption = None,
    n_candidates: CandidatesOption = None,
    lang: LanguageOption = None,
    style: StyleOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the bars: a .png, .svg or .pdf file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what moved an item up and down for somebody, and what would change its rank."""
    from recsys.recommender.recommender import Recommender

    if picture is not None and (picture.suffix.lower() not in _PICTURES or not picture.parent.is_dir()):
        raise RequestError(
            f"cannot draw into {picture}", hint=f"name a {', '.join(_PICTURES)} file in a folder that exists"
        )
    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        why = recommender.explain(
            user,
            item,
            instead_of=instead_of,
            liked=liked or (),
            disliked=disliked or (),
            at=at,
            place=place,
            wish=wish,
            extra=facts(fact),
            n_candidates=n_candidates,
            language=lang,
            style=style,
        )
    if picture is not None:
        draw(why, picture)
    if as_json:
        print_json(why.to_json())
    else:
        show_why(why)


def show_why(why: Why) -> None:
    """The reason, then a bar for everything that moved the item, and what each means for its rank."""
    who = f"user {why.user}" if why.user else "you"
    told = event_context(why.context)
    title = f" {why.item.item.name[:80]} for {who}{': ' + told if told else ''} "
    parts: list[Text | Table] = [_reason(why.item, why.candidates)]
    if why.other:
        parts.append(_reason(why.other, why.candidates))
    parts.append(_table(why) if why.effects else Text("\nnothing that was left out moved it measurably"))
    shares = why.item.explanation.influences if why.item.explanation else ()
    if shares:
        parts.append(Text("\nWhat counted: " + "; ".join(f"{one.share:.0%} {one.text}" for one in shares)))
    console.print(Panel(Group(*parts), title=escape(title), title_align="left", border_style="blue"))
    for note in why.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for problem in why.degraded:
        console.print(f"[red]degraded:[/] {escape(problem)}")


def _reason(line: Recommendation, n: int) -> Text:
    text = Text.assemble((f"{line.rank} of {n}  ", "bold"), (line.item.name[:120], "bold"))
    if line.explanation is not None:
        mark = " [template]" if line.explanation.source == "template" else ""
        text.append("\n" + line.explanation.text).append(mark, "yellow")
    return text


def _table(why: Why) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("what", overflow="fold")
    table.add_column("against | for", no_wrap=True)
    if why.other:
        table.add_column(f"for {why.other.item.name[:40]}", no_wrap=True)
    table.add_column("without it")
    longest = max(max(abs(one.contribution), abs(one.other or 0.0)) for one in why.effects)
    for one in why.effects[:_SHOWN]:
        bars = [_bar(one.contribution, longest)] + ([_bar(one.other or 0.0, longest)] if why.other else [])
        table.add_row(Text(label(one)[:60]), *bars, Text(_rank_without(one, why.item.rank)))
    return table


def label(effect: Effect) -> str:
    """An effect as a line of the table: what it is, then its text."""
    kinds = {"history": "chosen before: ", "wish": "wish: ", "context": "now: "}
    return kinds.get(effect.kind, "") + effect.text


def _rank_without(effect: Effect, rank: int) -> str:
    there = effect.rank_without
    return f"stays {rank}" if there == rank else f"would be {there} instead of {rank}"


def _bar(value: float, longest: float) -> Text:
    signs = round(_BAR * abs(value) / longest) if longest else 0
    left, right = (signs, 0) if value < 0 else (0, signs)
    return Text.assemble(
        " " * (_BAR - left),
        ("█" * left, "red"),
        ("|", "dim"),
        ("█" * right, "green"),
        " " * (_BAR - right),
        f" {value:+.2f}",
    )


def draw(why: Why, file: Path) -> None:
    """The same bars as a picture. Raises RequestError where the file cannot be written."""
    from matplotlib.figure import Figure

    effects = why.effects[:_SHOWN]
    figure = Figure(figsize=(7.0, 1.4 + 0.35 * len(effects)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.4 if why.other else 0.8
    series = [(why.item, [one.contribution for one in effects])]
    if why.other:
        series.append((why.other, [one.other or 0.0 for one in effects]))
    for number, (line, values) in enumerate(series):
        places = [place + number * height for place in range(len(values))]
        axes.barh(places, values, height, label=_plain(f"{line.rank}. {line.item.name[:50]}"))
    middles = [place + (height / 2 if why.other else 0.0) for place in range(len(effects))]
    axes.set_yticks(middles, labels=[_plain(label(one)[:50]) for one in effects])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("against | for (nats)")
    axes.margins(y=0.01)
    figure.legend(loc="outside upper right")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a sign the font lacks is drawn as a box
            figure.savefig(file)
    except OSError as error:
        raise RequestError(f"cannot write {file}: {error.strerror}", hint="name another file") from error


def _plain(text: str) -> str:
    """Matplotlib reads what stands between dollars as a formula."""
    return text.replace("$", r"\$")
