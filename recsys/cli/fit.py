"""`recsys fit`: fit the retriever's channels and the weights of their fusion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, plain_table, print_json, print_notes, print_score

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
    score_minutes: Annotated[
        float,
        typer.Option(
            "--score-minutes",
            min=0,
            help="How long the model is asked about held-out events, to fit how much it counts; 0: not "
            "at all, the weights of domain.toml hold.",
        ),
    ] = 5,
    as_json: JsonOption = False,
) -> None:
    """Fit the retrieval channels on a domain's events, and all weights of a score."""
    from recsys.config import load_domain, load_settings
    from recsys.data.importers import ensure_imported
    from recsys.data.store import Store
    from recsys.evaluation.score_cases import fit_score
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
            fit_score=partial(
                fit_score, config, settings=settings, seconds=60 * score_minutes, progress=progress
            )
            if score_minutes
            else None,
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
    if (gain := fitted.returning_gain) is not None:
        what = "have weights of their own" if fitted.returning else "have no weights of their own"
        console.print(
            f"returning people {what}: NDCG@10 {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
            highlight=False,
        )
    if fitted.score is not None:
        print_score(fitted.score)
    print_notes(fitted.notes, ())
    console.print(
        f"validation: the last events of {fitted.users} users, which were not used for fitting", style="dim"
    )
