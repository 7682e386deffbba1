"""`recsys explain`: why this item, why not another, and what would change it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from recsys.cli.options import (
    DomainOption,
    JsonOption,
    LanguageOption,
    RequestOptions,
    StyleOption,
    UserOption,
    takes_request,
)
from recsys.cli.output import (
    ProgressBars,
    format_title,
    print_json,
    print_notes,
    print_panel,
    reason_text,
)
from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.types import Effect, Recommendation, Why

_BAR_WIDTH = 10  # characters on either side of zero
_MAX_EFFECTS = 12
_PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
_KIND_PREFIXES = {
    "history": "chosen before: ",
    "group": "chosen before: ",
    "wish": "wish: ",
    "context": "context: ",
    "attribute": "its ",
    "passage": "its words: ",
}


@takes_request()
def explain(
    item: Annotated[str, typer.Option("--item", "-i", help="Title or id of the item to explain.")],
    instead_of: Annotated[
        str | None, typer.Option("--instead-of", help="Title or id of another item: why not that one?")
    ] = None,
    domain: DomainOption = "movies",
    user: UserOption = None,
    *,
    request: RequestOptions,
    lang: LanguageOption = None,
    style: StyleOption = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the effects into this .png, .svg or .pdf file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain why an item ranks where it does, and what would change its rank."""
    from recsys.recommender.recommender import Recommender

    if picture is not None and (
        picture.suffix.lower() not in _PICTURE_SUFFIXES or not picture.parent.is_dir()
    ):
        raise RequestError(
            f"cannot draw into {picture}",
            hint=f"name a {', '.join(_PICTURE_SUFFIXES)} file in a folder that exists",
        )
    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        why = recommender.explain(
            user,
            item,
            instead_of=instead_of,
            language=lang,
            style=style,
            **request,
        )
    if picture is not None:
        draw_effects(why, picture)
    if as_json:
        print_json(why.to_json())
    else:
        print_explanation(why)


def print_explanation(why: Why) -> None:
    """Print the reason, and a bar and a rank for each part of the request."""
    parts: list[Text | Table] = [_ranked_item(why.item, why.candidates)]
    if why.other:
        parts.append(_ranked_item(why.other, why.candidates))
    parts += [Text(f"{_name_of(why, left_out.item)}: {left_out.text}", "yellow") for left_out in why.left_out]
    parts.append(
        _effects_table(why) if why.effects else Text("\nno part of the request has a measurable effect")
    )
    influences = why.item.explanation.influences if why.item.explanation else ()
    if influences:
        shares = "; ".join(f"{influence.share:.0%} {influence.text}" for influence in influences)
        parts.append(Text(f"\nThe score depends on: {shares}"))
    print_panel(format_title(why.item.item.name[:80], why.user, why.context), *parts)
    print_notes(why.notes, why.degraded)


def _name_of(why: Why, item_id: str) -> str:
    lines = [line for line in (why.item, why.other) if line]
    return next(line.item.name[:80] for line in lines if line.item.id == item_id)


def _ranked_item(recommendation: Recommendation, n_candidates: int) -> Text:
    """Write rank, name and reason."""
    name = recommendation.item.name[:120]
    text = Text.assemble((f"{recommendation.rank} of {n_candidates}  ", "bold"), (name, "bold"))
    return text.append("\n").append(reason_text(recommendation)) if recommendation.explanation else text


def _effects_table(why: Why) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("part of the request", overflow="fold")
    table.add_column("against | for", no_wrap=True)
    if why.other:
        table.add_column(f"for {why.other.item.name[:40]}", no_wrap=True)
    table.add_column("rank without it")
    longest = max(max(abs(effect.contribution), abs(effect.other or 0.0)) for effect in why.effects)
    for effect in why.effects[:_MAX_EFFECTS]:
        bars = [_signed_bar(effect.contribution, longest)]
        if why.other:
            bars.append(_signed_bar(effect.other or 0.0, longest))
        table.add_row(Text(_label(effect)[:60]), *bars, Text(_rank_without(effect, why.item.rank)))
    return table


def _label(effect: Effect) -> str:
    return _KIND_PREFIXES.get(effect.kind, "") + effect.text


def _rank_without(effect: Effect, rank: int) -> str:
    return (
        f"stays {rank}"
        if effect.rank_without == rank
        else f"would be {effect.rank_without} instead of {rank}"
    )


def _signed_bar(value: float, longest: float) -> Text:
    """Draw a bar to the left or right of zero; `longest` fills one side."""
    length = round(_BAR_WIDTH * abs(value) / longest) if longest else 0
    left, right = (length, 0) if value < 0 else (0, length)
    return Text.assemble(
        " " * (_BAR_WIDTH - left),
        ("█" * left, "red"),
        ("|", "dim"),
        ("█" * right, "green"),
        " " * (_BAR_WIDTH - right),
        f" {value:+.2f}",
    )


def draw_effects(why: Why, file: Path) -> None:
    """Draw the effects as bars. Raises RequestError if the file cannot be written."""
    from matplotlib.figure import Figure

    effects = why.effects[:_MAX_EFFECTS]
    figure = Figure(figsize=(7.0, 1.4 + 0.35 * len(effects)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.4 if why.other else 0.8
    series = [(why.item, [effect.contribution for effect in effects])]
    if why.other:
        series.append((why.other, [effect.other or 0.0 for effect in effects]))
    for number, (recommendation, values) in enumerate(series):
        positions = [row + number * height for row in range(len(values))]
        name = f"{recommendation.rank}. {recommendation.item.name[:50]}"
        axes.barh(positions, values, height, label=_escape_formula(name))
    middles = [row + (height / 2 if why.other else 0.0) for row in range(len(effects))]
    axes.set_yticks(middles, labels=[_escape_formula(_label(effect)[:50]) for effect in effects])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("against | for (nats)")
    axes.margins(y=0.01)
    figure.legend(loc="outside upper right")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a character that the font lacks becomes a box
            figure.savefig(file)
    except OSError as error:
        raise RequestError(f"cannot write {file}: {error.strerror}", hint="name another file") from error


def _escape_formula(text: str) -> str:
    """Escape dollar signs, between which Matplotlib would read a formula."""
    return text.replace("$", r"\$")
