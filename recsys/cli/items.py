"""`recsys items`: change the catalog while it is in use."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, print_json

if TYPE_CHECKING:
    from recsys.config import Domain
    from recsys.data.batch import ItemChange
    from recsys.data.store import Store

MAX_RELATED = 20  # lines of relations that are shown

app = typer.Typer(
    help="Add, show and remove single items. Running programs see the change at their next request.",
    no_args_is_help=True,
)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="JSONL file: id, title, year, attributes, description.")],
    domain: DomainOption = "movies",
    as_json: JsonOption = False,
) -> None:
    """Add items, or replace those with the same ids.

    If a line is wrong, nothing is added.
    """
    from recsys.data.importers.item_lines import read_item_lines
    from recsys.knowledge.typed_values import typed_items

    items = read_item_lines(file)
    with ProgressBars() as progress:
        config, store = _open(domain, progress)
        with store:
            _print_change(store.put_items(config.name, typed_items(items, config.attributes)), as_json)


@app.command("remove")
def remove(
    item_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of items.")],
    domain: DomainOption = "movies",
    as_json: JsonOption = False,
) -> None:
    """Delete items, all or none.

    Their events stay but are skipped. `recsys import` brings the items back.
    """
    with ProgressBars() as progress:
        config, store = _open(domain, progress)
        with store:
            _print_change(store.remove_items(config.name, item_ids), as_json)


@app.command("show")
def show(
    item_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an item.")],
    domain: DomainOption = "movies",
    as_json: JsonOption = False,
) -> None:
    """Print one item; with --json as a line that `recsys items add` reads."""
    with ProgressBars() as progress:
        config, store = _open(domain, progress)
        with store:
            item = store.item(config.name, item_id)
            related = [] if as_json else _related(config, store, item_id)
    if as_json:
        typer.echo(item.model_dump_json())
        return
    console.print(f"[bold]{escape(item.name)}[/]  id {escape(item.id)}")
    for name, values in item.attributes.items():
        console.print(f"  {escape(name)}: {escape(', '.join(values))}")
    if item.description:
        console.print(f"  {escape(item.description)}")
    for line in related[:MAX_RELATED]:
        console.print(f"  {escape(line)}", highlight=False)
    if len(related) > MAX_RELATED:
        console.print(f"  and {len(related) - MAX_RELATED:,} more relations", style="dim")


def _related(config: Domain, store: Store, item_id: str) -> list[str]:
    """Return a line for each way in which an item is related to another."""
    from recsys.knowledge.relations import RelationGraph

    items = {item.id: item for item in store.items(config.name)}
    graph = RelationGraph.of(config.relations, store.edges(config.name), tuple(items.values()))
    lines = []
    for link in graph.links(item_id):
        relation, name = link.relation, f"{items[link.item_id].name} (id {link.item_id})"
        inverse = config.relations[relation].inverse
        if link.value:
            lines.append(f"{relation} {link.value}, as {name}")
        elif link.forward or inverse:
            lines.append(f"{relation if link.forward else inverse} of {name}")
        else:
            lines.append(f"{name} is its {relation}")
    return lines


def _open(domain: str, progress: ProgressBars) -> tuple[Domain, Store]:
    """Load a domain and open the store, importing the domain if it holds nothing."""
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store

    config = load_domain(domain)
    store = Store(load_settings().database_url)
    ensure_imported(config, store, progress)
    return config, store


def _print_change(change: ItemChange, as_json: bool) -> None:
    counts = dataclasses.asdict(change.items) | {"removed": change.removed}
    if as_json:
        print_json(counts | {"data_hash": change.after})
        return
    changes = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    console.print(changes or "nothing to change", highlight=False)
