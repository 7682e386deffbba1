"""`recsys items`: change a catalogue while it is in use."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.output import ProgressBars, console, print_json
from recsys.cli.recommend import DomainOption, JsonOption

if TYPE_CHECKING:
    from recsys.config import Domain
    from recsys.data.store import Store
from recsys.data.batch import ItemChange

app = typer.Typer(
    help="Add, show and remove single items. Programs that are running see it at their next request.",
    no_args_is_help=True,
)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="JSON lines: id, title, year, attributes, description.")],
    domain: DomainOption = "movies",
    as_json: JsonOption = False,
) -> None:
    """Add items, or replace those of the same ids: all of the file, or nothing if a line is wrong."""
    from recsys.data.importers.item_lines import read_item_lines

    items = read_item_lines(file)
    with ProgressBars() as progress:
        found, store = _open(domain, progress)
        with store:
            _report(store.put_items(found.name, items), as_json)


@app.command("remove")
def remove(
    item_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of items.")],
    domain: DomainOption = "movies",
    as_json: JsonOption = False,
) -> None:
    """Delete items, all or none. Events stay and are skipped; a later `recsys import` brings the items back."""
    with ProgressBars() as progress:
        found, store = _open(domain, progress)
        with store:
            _report(store.remove_items(found.name, item_ids), as_json)


@app.command("show")
def show(
    item_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an item.")],
    domain: DomainOption = "movies",
    as_json: JsonOption = False,
) -> None:
    """Print one item; with --json as a line that `recsys items add` reads."""
    with ProgressBars() as progress:
        found, store = _open(domain, progress)
        with store:
            item = store.item(found.name, item_id)
    if as_json:
        typer.echo(item.model_dump_json())
        return
    from rich.markup import escape

    console.print(f"[bold]{escape(item.name)}[/]  id {escape(item.id)}")
    for name, values in item.attributes.items():
        console.print(f"  {escape(name)}: {escape(', '.join(values))}")
    if item.description:
        console.print(f"  {escape(item.description)}")


def _open(domain: str, progress: ProgressBars) -> tuple[Domain, Store]:
    """The domain and the store, which has its data."""
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store

    found = load_domain(domain)
    store = Store(load_settings().database_url)
    ensure_imported(found, store, progress)
    return found, store


def _report(change: ItemChange, as_json: bool) -> None:
    counts = dataclasses.asdict(change.items) | {"removed": change.removed}
    if as_json:
        print_json(counts | {"data_hash": change.after})
        return
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    console.print(told or "nothing to change", highlight=False)
