"""`recsys fit`: fit the retriever's channels and tune their weights."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys.cli.output import ProgressBars, console, print_json
from recsys.cli.recommend import DomainOption, JsonOption


def fit(
    domain: DomainOption = "movies",
    channels: Annotated[
        str,
        typer.Option(
            "--channels", help="Comma-separated; those that help get weight. Default: all but the slowest."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Fit every retrieval channel on the domain's events and tune how they are joined."""
    from rich.table import Table

    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from retrieval import SentenceEmbedder
    from retrieval.fit import fit_domain

    found, settings = load_domain(domain), load_settings()
    wanted = tuple(filter(None, (name.strip() for name in channels.split(","))))
    with ProgressBars() as progress, Store(settings.database_url) as store:
        ensure_imported(found, store, progress)
        fitted = fit_domain(
            found,
            store,
            settings,
            SentenceEmbedder(settings.embedder),
            channels=wanted,
            progress=progress,  # type: ignore[arg-type]  # names are checked there
        )
    if as_json:
        print_json(fitted.model_dump(mode="json"))
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("channel", "weight", "ndcg@10", "recall@20", "recall@100"):
        table.add_column(name, justify="left" if name == "channel" else "right")
    for name, figures in fitted.metrics.items():
        weight = fitted.weights.get(name)
        shown = "" if weight is None else f"{weight:.2f}"
        table.add_row(name, shown, *(f"{value:.3f}" for value in figures.values()))
    console.print(table)
    console.print(
        f"validation: the last events of {fitted.users} users, which nothing was fitted on", style="dim"
    )
