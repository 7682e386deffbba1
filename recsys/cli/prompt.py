"""`recsys prompt`: what exactly the model is shown. It calls the code that ranking calls."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.cli.output import ProgressBars, console, print_json
from recsys.cli.recommend import (
    AtOption,
    CandidatesOption,
    DislikedOption,
    DomainOption,
    FactOption,
    JsonOption,
    LikedOption,
    PlaceOption,
    UserOption,
    WishOption,
    facts,
)

app = typer.Typer(help="List, read, render and compare prompt templates.", no_args_is_help=True)


@app.command("list")
def list_prompts(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """Every template with its task, version and hash."""
    library = _library(domain)
    rows = [library.get(name) for name in library.names()]
    if as_json:
        print_json(
            [
                {"name": t.name, "hash": t.hash, "path": str(t.path)} | t.meta.model_dump(mode="json")
                for t in rows
            ]
        )
        return
    for template in rows:
        console.print(f"[bold]{template.name}[/]  v{template.meta.version}  {template.hash}", highlight=False)
        console.print(f"  {template.meta.description}", style="dim", highlight=False)


@app.command("show")
def show_prompt(name: str, domain: DomainOption = "movies") -> None:
    """The source of one template."""
    typer.echo(_library(domain).get(name).source)


@app.command("render")
def render_prompt(
    name: Annotated[str, typer.Argument(help="Such as rank/pointwise.")] = "rank/pointwise",
    domain: DomainOption = "movies",
    user: UserOption = None,
    liked: LikedOption = None,
    disliked: DislikedOption = None,
    at: AtOption = None,
    place: PlaceOption = None,
    wish: WishOption = "",
    fact: FactOption = None,
    n_candidates: CandidatesOption = None,
    run: Annotated[bool, typer.Option("--run", help="Ask the model too: raw output and its parse.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The exact text and tokens that a request would send, and with --run what came back."""
    from recsys.engine.tokenizer_only import TokenizerEngine
    from recsys.recommender.inspection import rendered
    from recsys.recommender.recommender import Recommender

    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        engine = recommender.engine() if run else TokenizerEngine.of(recommender.settings)
        prepared = recommender.prepare(
            user,
            liked=liked or (),
            disliked=disliked or (),
            at=at,
            place=place,
            wish=wish,
            extra=facts(fact),
            k=1,
            n_candidates=n_candidates,
        )
        report = rendered(recommender, recommender.render(name, prepared, engine), prepared, run=run)
    if as_json:
        print_json(report)
    else:
        _print_render(report)


@app.command("diff")
def diff_prompts(
    a: Annotated[str, typer.Argument(help="Template name, or a .j2 file.")],
    b: Annotated[str, typer.Argument(help="Template name, or a .j2 file.")],
    domain: DomainOption = "movies",
) -> None:
    """What differs between two templates, line by line."""
    library = _library(domain)

    def source(name: str) -> list[str]:
        path = Path(name)
        text = (
            path.read_text(encoding="utf-8")
            if path.suffix == ".j2" and path.is_file()
            else library.get(name).source
        )
        return text.splitlines(keepends=True)

    lines = list(difflib.unified_diff(source(a), source(b), a, b))
    if not lines:
        console.print("no difference", style="dim")
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        console.print(line.rstrip("\n"), style=colours.get(line[:1], ""), markup=False, highlight=False)


def _library(domain: str) -> Any:
    from recsys.config import load_domain
    from recsys.prompting.library import PromptLibrary

    return PromptLibrary(load_domain(domain).prompt_folder)


def _print_render(report: dict[str, Any]) -> None:
    console.rule(f"{report['name']} v{report['version']} ({report['hash']})")
    console.print(report["text"][0], markup=False, highlight=False, soft_wrap=True)
    console.rule()
    tokens = report["tokens"]
    console.print(
        f"{report['prompts']} prompts of {min(tokens)} to {max(tokens)} tokens, {report['shared_tokens']} of them shared; "
        f"{report['dropped_history']} history entries dropped by the budget",
        highlight=False,
    )
    for name, value in report["variables"].items():
        text = json.dumps(value, ensure_ascii=False)
        console.print(f"  [bold]{name}[/] ", end="")
        console.print(
            text if len(text) < 160 else text[:157] + "...", markup=False, highlight=False, style="dim"
        )
    if report["answer"]:
        answer = report["answer"]
        console.rule("answer")
        for raw in answer["raw"]:
            console.print(raw, markup=False, highlight=False)
        if "parse" in answer:
            parse = answer["parse"]
            console.print(f"parse: {parse['category']} {parse['detail']}", highlight=False, markup=False)
        for reason in answer.get("explanations", []):
            failed = f" after {', '.join(reason['failures'])}" if reason["failures"] else ""
            console.print(f"  {reason['source']}{failed}: {reason['text']}", highlight=False, markup=False)
        for line in answer.get("scores", []):
            odds = f"{line['log_odds']:+.2f}" if line["log_odds"] is not None else ""
            console.print(f"  {line['score']:.3f} {odds:>6}  {line['item']}", markup=False, highlight=False)
    for note in report["notes"]:
        console.print(f"note: {note}", markup=False, style="yellow")
