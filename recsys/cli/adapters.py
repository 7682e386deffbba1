"""`recsys adapters`: list, compare, promote and share fine-tuned adapters."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import console, plain_table, print_json

if TYPE_CHECKING:
    from recsys.config import Settings
    from recsys.engine.adapters import Adapter

app = typer.Typer(help="List, compare, promote and share fine-tuned adapters.", no_args_is_help=True)

RefArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF", help="movies@sha (4 digits or more), or movies for the domain's default adapter."
    ),
]
RefDomainOption = Annotated[
    str, typer.Option("--domain", "-d", help="Name or folder of the domain. Default: the one that REF names.")
]


@app.command("list")
def list_command(
    domain: Annotated[str, typer.Option("--domain", "-d", help="Only adapters of this domain.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List adapters with their metrics, oldest first; * marks a domain's default."""
    from recsys.engine.adapters import scan

    settings, folder, name = _settings_and_domain(domain)
    adapters, problems = scan(settings, name, folder)
    defaults = _default_refs(adapters, settings, folder)
    if as_json:
        print_json(
            {"adapters": [_to_json(adapter, defaults) for adapter in adapters], "unreadable": problems}
        )
        return
    headings = ("", "adapter", "base", "prompt", "created", "validation")
    table = plain_table(*headings, left=headings)
    table.columns[1].no_wrap = True  # a reference is copied as it is
    for adapter in adapters:
        manifest = adapter.published()
        metrics = [
            f"{name} {metric['value']:.4f}" for name, metric in manifest.metrics.items() if "value" in metric
        ]
        table.add_row(
            "*" if adapter.ref in defaults else "",
            adapter.ref,
            manifest.base_model,
            manifest.template,
            manifest.created[:10],
            "  ".join(metrics),
        )
    console.print(table if adapters else "no adapters", highlight=False)
    for problem in problems:
        console.print(f"unreadable: {problem}", style="yellow", markup=False, highlight=False)


@app.command("show")
def show_command(ref: RefArgument, domain: RefDomainOption = "", as_json: JsonOption = False) -> None:
    """Show what an adapter was trained on, and its metrics."""
    from recsys.engine.adapters import check_files, find_adapter

    settings, folder, _ = _settings_and_domain(domain)
    adapter = find_adapter(ref, settings, folder)
    check_files(adapter)
    manifest, defaults = adapter.published(), _default_refs([adapter], settings, folder)
    if as_json:
        print_json(_to_json(adapter, defaults))
        return
    console.rule(f"{adapter.ref}{' (default)' if adapter.ref in defaults else ''}")
    for name, value in manifest.model_dump(exclude={"metrics", "base_metrics", "paired", "files"}).items():
        console.print(f"  [bold]{name}[/] ", end="")
        console.print(str(value), markup=False, highlight=False, soft_wrap=True)
    table = plain_table("metric", "fine-tuned", "base", "difference")
    for name in manifest.metrics:
        columns = (manifest.metrics, manifest.base_metrics, manifest.paired)
        table.add_row(name, *(_format_metric(metrics.get(name)) for metrics in columns))
    console.print(table)
    for file, record in manifest.files.items():
        console.print(f"  {record.size:>12,}  {file}", style="dim", markup=False, highlight=False)


@app.command("compare")
def compare_command(
    a: RefArgument, b: RefArgument, domain: RefDomainOption = "", as_json: JsonOption = False
) -> None:
    """Compare the metrics of two adapters, and how they were trained."""
    from recsys.engine.adapters import find_adapter

    settings, folder, _ = _settings_and_domain(domain)
    first, second = (find_adapter(ref, settings, folder).published() for ref in (a, b))
    names = list(dict.fromkeys([*first.metrics, *second.metrics]))
    first_fields = first.model_dump(
        mode="json", exclude={"metrics", "base_metrics", "paired", "files", "format", "sha"}
    )
    second_fields = second.model_dump(mode="json")
    different = {
        name: [value, second_fields[name]]
        for name, value in first_fields.items()
        if value != second_fields[name]
    }
    if as_json:
        print_json(
            {
                "refs": [first.ref, second.ref],
                "metrics": {name: [first.metrics.get(name), second.metrics.get(name)] for name in names},
                "different": different,
            }
        )
        return
    table = plain_table("metric", first.ref, second.ref)
    for name in names:
        table.add_row(name, _format_metric(first.metrics.get(name)), _format_metric(second.metrics.get(name)))
    console.print(table)
    table = plain_table("different", first.ref, second.ref, left=(first.ref, second.ref))
    for name, values in different.items():
        table.add_row(name, *(Text(str(value)[:200]) for value in values))
    console.print(table)


@app.command("promote")
def promote_command(
    ref: RefArgument,
    domain: RefDomainOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if it was not shown to be better.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an adapter its domain's default, if it is better on validation."""
    from recsys.data.audit import record_command
    from recsys.engine.adapters import promote

    settings, folder, _ = _settings_and_domain(domain)
    promotion = promote(ref, settings, folder, force=force)
    record_command("adapters.promote", promotion.ref, replaced=promotion.replaced, forced=promotion.forced)
    if as_json:
        print_json(promotion.model_dump(mode="json"))
        return
    console.print(f"{promotion.ref} is now the default; it replaced {promotion.replaced}", highlight=False)
    for objection in promotion.objections:
        console.print(f"forced although {objection}", style="yellow", markup=False, highlight=False)


@app.command("rollback")
def rollback_command(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """Undo the last promotion of a domain."""
    from recsys.config import load_domain, load_settings
    from recsys.data.audit import record_command
    from recsys.engine.adapters import BASE, rollback

    config = load_domain(domain)
    adapter = rollback(config.name, load_settings(), config.folder)
    ref = adapter.ref if adapter else BASE
    record_command("adapters.rollback", f"{config.name}:{ref}")
    if as_json:
        print_json({"domain": config.name, "default": ref})
        return
    default = "the base model without an adapter" if ref == BASE else ref
    console.print(f"{config.name} uses {default} again", highlight=False)


@app.command("remove")
def remove_command(ref: RefArgument, domain: RefDomainOption = "", as_json: JsonOption = False) -> None:
    """Delete an adapter that is not a default."""
    from recsys.data.audit import record_command
    from recsys.engine.adapters import remove

    settings, folder, _ = _settings_and_domain(domain)
    removed = remove(ref, settings, folder)
    record_command("adapters.remove", removed.ref)
    _print_done("removed", removed, as_json)


@app.command("export")
def export_command(
    ref: RefArgument,
    out: Annotated[Path, typer.Argument(help="New file (.tar or .tar.gz) or new folder.")],
    domain: RefDomainOption = "",
    as_json: JsonOption = False,
) -> None:
    """Copy an adapter into one file or folder, to import it on another machine."""
    from recsys.engine.adapters import export

    settings, folder, _ = _settings_and_domain(domain)
    written = export(ref, out, settings, folder)
    if as_json:
        print_json({"written": str(written)})
        return
    console.print(f"wrote {written}", markup=False, highlight=False)


@app.command("import")
def import_command(
    path: Annotated[Path, typer.Argument(help="File or folder that `export` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Import an exported adapter, after checking every file."""
    from recsys.config import load_settings
    from recsys.engine.adapters import import_adapter

    _print_done("imported", import_adapter(path, load_settings()), as_json)


def _settings_and_domain(domain: str) -> tuple[Settings, Path | None, str | None]:
    """Load the settings, and folder and name of the domain if one is given."""
    from recsys.config import load_domain, load_settings

    config = load_domain(domain) if domain else None
    return load_settings(), config.folder if config else None, config.name if config else None


def _default_refs(adapters: list[Adapter], settings: Settings, folder: Path | None) -> set[str]:
    from recsys.engine.adapters import default_adapter
    from recsys.errors import ModelError

    refs = set()
    for domain in {adapter.published().domain for adapter in adapters}:
        with contextlib.suppress(ModelError):  # the other adapters are listed though a default is missing
            default = default_adapter(domain, settings, folder)
            refs |= {default.ref} if default else set()
    return refs


def _to_json(adapter: Adapter, defaults: set[str]) -> dict[str, Any]:
    fields = adapter.published().model_dump(mode="json")
    return {"ref": adapter.ref, "default": adapter.ref in defaults, "folder": str(adapter.folder)} | fields


def _print_done(action: str, adapter: Adapter, as_json: bool) -> None:
    if as_json:
        print_json({action: adapter.ref})
        return
    console.print(f"{action} {adapter.ref}", highlight=False)


def _format_metric(metric: dict[str, float] | None) -> Text:
    """Write "0.2810 [0.2701, 0.2919]", and "" for a metric that was not measured."""
    if not metric or "value" not in metric:
        return Text("")
    has_interval = {"low", "high"} <= metric.keys()
    interval = f" [{metric['low']:.4f}, {metric['high']:.4f}]" if has_interval else ""
    return Text(f"{metric['value']:.4f}{interval}")
