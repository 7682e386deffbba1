"""`recsys fit`: fit the retriever's channels and the weights of their fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, plain_table, print_json, print_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.config.retrieval import Channel


def fit(
    domain: DomainOption = "movies",
    channels: Annotated[
        str,
        typer.Option(
            "--channels",
            help="Channels to fit, comma-separated; default: all but the slowest. One that does not help "
            "gets no weight.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Fit the retrieval channels on the domain's events, and their weights."""
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from retrieval import SentenceEmbedder
    from retrieval.fit import fit_domain

    config, settings = load_domain(domain), load_settings()
    names = tuple(filter(None, (name.strip() for name in channels.split(","))))
    with ProgressBars() as progress, Store(settings.database_url) as store:
        ensure_imported(config, store, progress)
        fitted = fit_domain(
            config,
            store,
            settings,
            SentenceEmbedder(settings.embedder),
            channels=cast("Sequence[Channel]", names),  # `fit_domain` refuses an unknown name
            progress=progress,
        )
    if as_json:
        print_json(fitted.model_dump(mode="json"))
        return
    table = plain_table("channel", "weight", "ndcg@10", "recall@20", "recall@100")
    for name, metrics in fitted.metrics.items():
        weight = fitted.weights.get(name)
        table.add_row(
            name, "" if weight is None else f"{weight:.2f}", *(f"{value:.3f}" for value in metrics.values())
        )
    console.print(table)
    print_notes(fitted.notes, ())
    console.print(
        f"validation: the last events of {fitted.users} users, which were not used for fitting", style="dim"
    )
