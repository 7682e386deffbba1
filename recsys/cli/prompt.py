"""`recsys prompt`: the exact text that the model is given."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import (
    DomainOption,
    JsonOption,
    RequestOptions,
    UserOption,
    takes_request,
)
from recsys.cli.output import ProgressBars, console, print_json

if TYPE_CHECKING:
    from recsys.prompting.library import PromptLibrary

app = typer.Typer(help="List, read, render and compare prompt templates.", no_args_is_help=True)

TemplateArgument = Annotated[str, typer.Argument(help="Template name, or a .j2 file.")]

_DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_MAX_VALUE = 160  # characters of a variable's value that are printed


@app.command("list")
def list_prompts(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """List the templates with task, version and hash."""
    library = _library(domain)
    templates = [library.get(name) for name in library.names()]
    if as_json:
        print_json(
            [
                {"name": t.name, "hash": t.hash, "path": str(t.path)} | t.meta.model_dump(mode="json")
                for t in templates
            ]
        )
        return
    for template in templates:
        console.print(f"[bold]{template.name}[/]  v{template.meta.version}  {template.hash}", highlight=False)
        console.print(f"  {template.meta.description}", style="dim", highlight=False)


@app.command("show")
def show_prompt(
    name: Annotated[str, typer.Argument(help="Template name.")], domain: DomainOption = "movies"
) -> None:
    """Print the source of a template."""
    typer.echo(_library(domain).get(name).source)


@app.command("render")
@takes_request()
def render_prompt(
    name: Annotated[str, typer.Argument(help="Template name.")] = "rank/pointwise",
    domain: DomainOption = "movies",
    user: UserOption = None,
    *,
    request: RequestOptions,
    run: Annotated[
        bool, typer.Option("--run", help="Also ask the model: its raw output, and how it was parsed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the prompt that a request sends, and with --run what the model answers."""
    from recsys.engine.tokenizer_only import TokenizerEngine
    from recsys.recommender.inspection import rendered
    from recsys.recommender.recommender import Recommender

    with ProgressBars() as progress, Recommender.load(domain, progress=progress) as recommender:
        engine = recommender.engine() if run else TokenizerEngine.of(recommender.settings)
        prepared = recommender.prepare(user, k=1, **request)
        report = rendered(recommender, recommender.render(name, prepared, engine), prepared, run=run)
    if as_json:
        print_json(report)
    else:
        _print_report(report)


@app.command("diff")
def diff_prompts(a: TemplateArgument, b: TemplateArgument, domain: DomainOption = "movies") -> None:
    """Print the lines in which two templates differ."""
    library = _library(domain)
    lines = list(difflib.unified_diff(_source_lines(library, a), _source_lines(library, b), a, b))
    if not lines:
        console.print("no difference", style="dim")
    for line in lines:
        console.print(line.rstrip("\n"), style=_DIFF_COLOURS.get(line[:1], ""), markup=False, highlight=False)


def _library(domain: str) -> PromptLibrary:
    from recsys.config import load_domain
    from recsys.prompting.library import PromptLibrary

    return PromptLibrary(load_domain(domain).prompt_folder)


def _source_lines(library: PromptLibrary, name: str) -> list[str]:
    path = Path(name)
    is_file = path.suffix == ".j2" and path.is_file()
    text = path.read_text(encoding="utf-8") if is_file else library.get(name).source
    return text.splitlines(keepends=True)


def _print_report(report: dict[str, Any]) -> None:
    console.rule(f"{report['name']} v{report['version']} ({report['hash']})")
    console.print(report["text"][0], markup=False, highlight=False, soft_wrap=True)
    console.rule()
    tokens = report["tokens"]
    console.print(
        f"{report['prompts']} prompts of {min(tokens)} to {max(tokens)} tokens; "
        f"the first {report['shared_tokens']} are the same in all; "
        f"{report['dropped_history']} history entries dropped to fit",
        highlight=False,
    )
    for name, value in report["variables"].items():
        text = json.dumps(value, ensure_ascii=False)
        console.print(f"  [bold]{name}[/] ", end="")
        shortened = text if len(text) < _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."
        console.print(shortened, markup=False, highlight=False, style="dim")
    if report["answer"]:
        _print_answer(report["answer"])
    for note in report["notes"]:
        console.print(f"note: {note}", markup=False, style="yellow")


def _print_answer(answer: dict[str, Any]) -> None:
    """Print what the model wrote, and the reasons or scores that came of it."""
    console.rule("answer")
    for raw in answer["raw"]:
        console.print(raw, markup=False, highlight=False)
    if "parse" in answer:
        parse = answer["parse"]
        console.print(f"parse: {parse['category']} {parse['detail']}", highlight=False, markup=False)
    for reason in answer.get("explanations", []):
        failed = f" after failed checks ({', '.join(reason['failures'])})" if reason["failures"] else ""
        console.print(f"  {reason['source']}{failed}: {reason['text']}", highlight=False, markup=False)
    for line in answer.get("scores", []):
        log_odds = f"{line['log_odds']:+.2f}" if line["log_odds"] is not None else ""
        console.print(f"  {line['score']:.3f} {log_odds:>6}  {line['item']}", markup=False, highlight=False)
