"""The `recsys` command: parse options, call the library, print."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

import recsys
from recsys.cli import (
    adapters,
    chat,
    data,
    doctor,
    domains,
    evaluate,
    explain,
    finetune,
    fit,
    items,
    keys,
    prompt,
    recommend,
    rules,
    serve,
    users,
)
from recsys.errors import RecsysError

app = typer.Typer(
    help="Explained recommendations from an LLM: retrieve, rank by probability, give true reasons.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="markdown",
)
app.command("recommend")(recommend.recommend)
app.command("chat")(chat.chat)
app.command("explain")(explain.explain)
app.command("fit")(fit.fit)
app.command("finetune")(finetune.finetune)
app.command("score")(recommend.score)
app.command("import")(data.import_data)
app.command("serve")(serve.serve)
app.command("mcp")(serve.mcp)
app.command("audit")(keys.audit_command)
app.command("doctor")(doctor.doctor)
app.add_typer(domains.app, name="domains")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(adapters.app, name="adapters")
app.add_typer(items.app, name="items")
app.add_typer(prompt.app, name="prompt")
app.add_typer(rules.app, name="rules")
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"whyrec {recsys.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _replace_unencodable() -> None:
    """Replace characters that the terminal's encoding lacks by question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _with_home(argument: str) -> str:
    """Expand `~/` at the start of a value; no shell does in `--out=~/runs`."""
    return re.sub(r"^(--[a-z-]+=|)~(?=/|$)", lambda match: match[1] + str(Path.home()), argument)


def main() -> None:
    """Run the command; an error that a user can cause prints two lines, no traceback."""
    _replace_unencodable()
    try:
        app([_with_home(argument) for argument in sys.argv[1:]])
    except RecsysError as error:
        from rich.markup import escape

        from recsys.cli.output import error_console

        error_console.print(f"[bold red]error:[/] {escape(error.message)}")
        if error.hint:
            error_console.print(f"  [cyan]->[/] {escape(error.hint)}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
