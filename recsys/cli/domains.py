"""`recsys domains`: what there is, and what is known of the items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from recsys.cli.options import JsonOption
from recsys.cli.output import ProgressBars, console, plain_table, print_json, print_score

if TYPE_CHECKING:
    from recsys.config import Domain, Settings
    from recsys.config.retrieval import FittedWeights
    from recsys.knowledge.sources import SourceReport

SHOWN = 20  # items of a list

app = typer.Typer()


@app.callback(invoke_without_command=True)
def domains(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the domains that come with whyrec, and what the store holds of each."""
    if context.invoked_subcommand is not None:
        return
    from recsys.config import list_domains, load_domain, load_settings
    from recsys.data.store import Store
    from recsys.engine.adapters import describe_score

    settings = load_settings()
    with Store(settings.database_url) as store:
        rows = [(load_domain(name), store.counts(name)) for name in list_domains()]
    scores = {domain.name: describe_score(domain, settings) for domain, _ in rows}
    if as_json:
        print_json(
            [
                {
                    "name": domain.name,
                    "title": domain.title,
                    "licence": domain.licence,
                    "counts": counts,
                    "score": scores[domain.name],
                }
                for domain, counts in rows
            ]
        )
        return
    for domain, counts in rows:
        stored = (
            ", ".join(f"{count:,} {table}" for table, count in counts.items())
            if counts["items"]
            else "not imported"
        )
        console.print(f"[bold]{domain.name}[/]  {domain.title}: {stored}")
        console.print(f"  score: {scores[domain.name]}", style="dim", highlight=False)
        if domain.licence:
            console.print(f"  {domain.licence}", style="dim")


@app.command("show")
def show(
    domain: Annotated[str, typer.Argument(metavar="NAME", help="Name or folder of the domain.")] = "movies",
    as_json: JsonOption = False,
) -> None:
    """Show what the sources of a domain know of its items, and what they disagree on.

    Coverage by attribute and source, conflicts, and the items that no row was joined to.
    """
    from recsys.config import load_domain, load_settings
    from recsys.config.retrieval import FittedWeights
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from recsys.engine.adapters import describe_score
    from recsys.knowledge.relations import RelationGraph

    config = load_domain(domain)
    settings = load_settings()
    with ProgressBars() as progress, Store(settings.database_url) as store:
        ensure_imported(config, store, progress)
        fitted = FittedWeights.saved_in(settings.retriever_folder(config.name))
        counts, report = store.counts(config.name), store.sources(config.name)
        relations = RelationGraph.of(
            config.relations, store.edges(config.name), store.items(config.name) if config.relations else ()
        ).sizes()
    if as_json:
        dump = report.model_dump(mode="json") if report else None
        facts = {
            "counts": counts,
            "sources": dump,
            "relations": relations,
            "score": describe_score(config, settings),
            "fitted": fitted.model_dump(mode="json") if fitted else None,
        }
        print_json({"name": config.name, "title": config.title} | facts)
        return
    counted = ", ".join(f"{count:,} {table}" for table, count in counts.items())
    console.print(f"[bold]{config.name}[/]  {escape(config.title)}: {counted}")
    if report is not None:
        _print_sources(report, config.plural)
    elif config.sources:
        console.print(f"imported before it had its sources: run recsys import --domain {domain}")
    else:
        console.print("no further sources: all that is known is of the item table")
    for name, size in relations.items():
        shared = f" by {size['entities']:,} shared values" if size["entities"] else ""
        text = f"{size['edges']:,} edges of {size['items']:,} {config.plural}{shared}"
        console.print(f"[bold]relation {name}[/]: {text}", highlight=False)
    _print_fit(config, settings, fitted)


def _print_fit(domain: Domain, settings: Settings, fitted: FittedWeights | None) -> None:
    """Print the weights of the channels and of the score, and where they come from."""
    from recsys.engine.adapters import describe_score

    retriever = domain.retriever
    weights = fitted.weights if fitted else retriever.by_name
    returning = fitted.returning if fitted else retriever.returning_by_name
    origin = f"fitted on {fitted.users:,} users" if fitted else "of domain.toml; `recsys fit` fits them"
    console.print(f"[bold]channels[/] ({origin}): {_listed(weights)}", highlight=False)
    if returning:
        away = f"newest event older than {retriever.returning_days:g} days"
        console.print(f"[bold]channels, returning people[/] ({away}): {_listed(returning)}", highlight=False)
    console.print(f"[bold]score[/]: {describe_score(domain, settings)}", highlight=False)
    if fitted and fitted.score:
        print_score(fitted.score)


def _listed(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight)


def _print_sources(report: SourceReport, plural: str) -> None:
    table = plain_table("attribute", "source", plural, "share", "agreed", "conflicts", left=("source",))
    for entry in report.attributes:
        figures = (f"{entry.items:,}", f"{entry.items / report.items:.1%}")
        table.add_row(
            escape(entry.attribute), entry.source, *figures, f"{entry.agreed:,}", f"{entry.conflicts:,}"
        )
    console.print(table)
    for entry in report.attributes:
        for conflict in entry.examples:
            kept, other = ", ".join(conflict.kept), ", ".join(conflict.other)
            text = f"{entry.attribute} of {conflict.name}: {kept} ({conflict.kept_from}), not {other}"
            console.print(f"  conflict: {escape(text)} ({entry.source})", highlight=False)
    for source in report.sources:
        console.print(f"[bold]{source.source}[/]: {source.summary}", highlight=False)
        for item in source.ambiguous[:SHOWN]:
            text = f"{item.name} (id {item.id}): {'; '.join(item.candidates)}"
            console.print(f"  ambiguous: {escape(text)}", highlight=False)
        if names := [f"{item.name} (id {item.id})" for item in source.unmatched[:SHOWN]]:
            more = source.n_unmatched - len(names)
            text = "; ".join(names) + (f"; and {more:,} more (--json lists them)" if more > 0 else "")
            console.print(f"  no row: {escape(text)}", style="dim", highlight=False)
