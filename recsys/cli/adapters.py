"""`recsys adapters`: tuned adapters listed, compared, promoted, undone, carried elsewhere."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.output import console, print_json
from recsys.cli.recommend import DomainOption, JsonOption

if TYPE_CHECKING:
    from recsys.config import Settings
    from recsys.engine.adapters import Adapter

app = typer.Typer(help="List, compare, promote and share tuned adapters.", no_args_is_help=True)

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="movies@sha (4 digits or more), or movies for its default.")
]
OwnDomainOption = Annotated[
    str, typer.Option("--domain", "-d", help="Name or folder of the domain. Default: the one REF names.")
]


@app.command("list")
def list_command(
    domain: Annotated[str, typer.Option("--domain", "-d", help="Only this one's.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Every adapter with its figures, oldest first; * marks a domain's default."""
    from recsys.engine.adapters import scan

    settings, folder, name = _place(domain)
    adapters, problems = scan(settings, name, folder)
    defaults = _defaults(adapters, settings, folder)
    if as_json:
        print_json({"adapters": [_plain(adapter, defaults) for adapter in adapters], "unreadable": problems})
        return
    table = _table("", "adapter", "base", "prompt", "created", "validation", right=())
    table.columns[1].no_wrap = True  # to be copied as it is
    for adapter in adapters:
        manifest = adapter.published()
        table.add_row(
            "*" if adapter.ref in defaults else "",
            adapter.ref,
            manifest.base_model,
            manifest.template,
            manifest.created[:10],
            "  ".join(
                f"{metric} {figure['value']:.4f}"
                for metric, figure in manifest.metrics.items()
                if "value" in figure
            ),
        )
    console.print(table if adapters else "no adapters", highlight=False)
    for problem in problems:
        console.print(f"unreadable: {problem}", style="yellow", markup=False, highlight=False)


@app.command("show")
def show_command(ref: RefArgument, domain: OwnDomainOption = "", as_json: JsonOption = False) -> None:
    """What an adapter was made from and what was measured of it."""
    from recsys.engine.adapters import check_files, find_adapter

    settings, folder, _ = _place(domain)
    adapter = find_adapter(ref, settings, folder)
    check_files(adapter)
    manifest, defaults = adapter.published(), _defaults([adapter], settings, folder)
    if as_json:
        print_json(_plain(adapter, defaults))
        return
    console.rule(f"{adapter.ref}{' (default)' if adapter.ref in defaults else ''}")
    for name, value in manifest.model_dump(exclude={"metrics", "base_metrics", "paired", "files"}).items():
        console.print(f"  [bold]{name}[/] ", end="")
        console.print(str(value), markup=False, highlight=False, soft_wrap=True)
    table = _table("metric", "tuned", "base", "tuned - base")
    for metric in manifest.metrics:
        columns = (manifest.metrics, manifest.base_metrics, manifest.paired)
        table.add_row(metric, *(_figure(figures.get(metric)) for figures in columns))
    console.print(table)
    for file, record in manifest.files.items():
        console.print(f"  {record.size:>12,}  {file}", style="dim", markup=False, highlight=False)


@app.command("compare")
def compare_command(
    a: RefArgument, b: RefArgument, domain: OwnDomainOption = "", as_json: JsonOption = False
) -> None:
    """Two adapters' figures side by side, and where they were made differently."""
    from recsys.engine.adapters import find_adapter

    settings, folder, _ = _place(domain)
    adapters = [find_adapter(ref, settings, folder) for ref in (a, b)]
    one, other = (adapter.published() for adapter in adapters)
    metrics = list(dict.fromkeys([*one.metrics, *other.metrics]))
    fields = one.model_dump(
        mode="json", exclude={"metrics", "base_metrics", "paired", "files", "format", "sha"}
    )
    others = other.model_dump(mode="json")
    different = {name: [value, others[name]] for name, value in fields.items() if value != others[name]}
    if as_json:
        print_json(
            {
                "refs": [one.ref, other.ref],
                "metrics": {
                    metric: [one.metrics.get(metric), other.metrics.get(metric)] for metric in metrics
                },
                "different": different,
            }
        )
        return
    table = _table("metric", one.ref, other.ref)
    for metric in metrics:
        table.add_row(metric, _figure(one.metrics.get(metric)), _figure(other.metrics.get(metric)))
    console.print(table)
    table = _table("differs", one.ref, other.ref, right=())
    for name, values in different.items():
        table.add_row(name, *(_text(str(value)[:200]) for value in values))
    console.print(table)


@app.command("promote")
def promote_command(
    ref: RefArgument,
    domain: OwnDomainOption = "",
    force: Annotated[bool, typer.Option("--force", help="Even if it was not shown to be better.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an adapter its domain's default, if it is better than the present one on validation."""
    from recsys.engine.adapters import promote
    from recsys.service.security.audit import record_command

    settings, folder, _ = _place(domain)
    made = promote(ref, settings, folder, force=force)
    record_command("adapters.promote", made.ref, replaced=made.replaced, forced=made.forced)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    console.print(f"{made.ref} is the default now, it replaced {made.replaced}", highlight=False)
    for objection in made.objections:
        console.print(f"forced although {objection}", style="yellow", markup=False, highlight=False)


@app.command("rollback")
def rollback_command(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """Undo the last promotion of a domain."""
    from recsys.config import load_domain, load_settings
    from recsys.engine.adapters import BASE, rollback
    from recsys.service.security.audit import record_command

    found = load_domain(domain)
    adapter = rollback(found.name, load_settings(), found.folder)
    ref = adapter.ref if adapter else BASE
    record_command("adapters.rollback", f"{found.name}:{ref}")
    if as_json:
        print_json({"domain": found.name, "default": ref})
        return
    console.print(
        f"{found.name} uses {'the base model alone' if ref == BASE else ref} again", highlight=False
    )


@app.command("remove")
def remove_command(ref: RefArgument, domain: OwnDomainOption = "", as_json: JsonOption = False) -> None:
    """Delete an adapter that is not a default."""
    from recsys.engine.adapters import remove
    from recsys.service.security.audit import record_command

    settings, folder, _ = _place(domain)
    gone = remove(ref, settings, folder)
    record_command("adapters.remove", gone.ref)
    _done("removed", gone, as_json)


@app.command("export")
def export_command(
    ref: RefArgument,
    out: Annotated[Path, typer.Argument(help="A new file (.tar, .tar.gz) or else a new folder.")],
    domain: OwnDomainOption = "",
    as_json: JsonOption = False,
) -> None:
    """Copy an adapter into one file or folder, for another machine."""
    from recsys.engine.adapters import export

    settings, folder, _ = _place(domain)
    written = export(ref, out, settings, folder)
    if as_json:
        print_json({"written": str(written)})
        return
    console.print(f"wrote {written}", markup=False, highlight=False)


@app.command("import")
def import_command(
    path: Annotated[Path, typer.Argument(help="A file or folder that `export` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Take over an exported adapter; every file is checked first."""
    from recsys.config import load_settings
    from recsys.engine.adapters import import_adapter

    _done("imported", import_adapter(path, load_settings()), as_json)


def _place(domain: str) -> tuple[Settings, Path | None, str | None]:
    """Settings, and folder and name of the domain where one was given."""
    from recsys.config import load_domain, load_settings

    found = load_domain(domain) if domain else None
    return load_settings(), found.folder if found else None, found.name if found else None


def _defaults(adapters: list[Adapter], settings: Settings, folder: Path | None) -> set[str]:
    """Refs of those that are their domain's default."""
    from recsys.engine.adapters import default_adapter
    from recsys.errors import ModelError

    refs = set()
    for domain in {adapter.published().domain for adapter in adapters}:
        with contextlib.suppress(ModelError):  # a default that is gone must not hide the others
            default = default_adapter(domain, settings, folder)
            refs |= {default.ref} if default else set()
    return refs


def _plain(adapter: Adapter, defaults: set[str]) -> dict[str, Any]:
    fields = adapter.published().model_dump(mode="json")
    return {"ref": adapter.ref, "default": adapter.ref in defaults, "folder": str(adapter.folder)} | fields


def _done(what: str, adapter: Adapter, as_json: bool) -> None:
    if as_json:
        print_json({what: adapter.ref})
        return
    console.print(f"{what} {adapter.ref}", highlight=False)


def _figure(figure: dict[str, float] | None) -> str:
    """ "0.2810 [0.2701, 0.2919]", and "" where nothing was measured."""
    if not figure or "value" not in figure:
        return ""
    shown = f"{figure['value']:.4f}"
    return shown + (
        f" [{figure['low']:.4f}, {figure['high']:.4f}]" if {"low", "high"} <= figure.keys() else ""
    )


def _table(*headings: str, right: tuple[str, ...] | None = None) -> Any:
    """A table as the other commands print them; all but the first column to the right by default."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in headings:
        aligned = heading != headings[0] if right is None else heading in right
        table.add_column(_text(heading), justify="right" if aligned else "left", overflow="fold")
    return table


def _text(text: str) -> Any:
    from rich.text import Text

    return Text(text)
