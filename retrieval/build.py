"""From items and events to a retriever: what is saved is opened, what is missing or stale is fitted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from recsys.errors import IndexDamaged, RequestError
from recsys.retriever_config import FittedWeights, RetrieverConfig, SequenceConfig
from recsys.types import Context, Interaction, Item
from retrieval import item_item, popularity
from retrieval.base import Channel
from retrieval.embedding import Embedder
from retrieval.events import EventLog
from retrieval.fusion import FALLBACK, HybridRetriever
from retrieval.index import open_or_build
from retrieval.table import ItemTable
from retrieval.text import TextChannel

Progress = Callable[[str, int, int], None]
Situations = Iterable[tuple[Interaction, Context]]

WEIGHTS = "weights.json"


def build_retriever(
    items: Sequence[Item],
    log: EventLog,
    embedder: Embedder,
    config: RetrieverConfig,
    folder: Path,
    *,
    situations: Callable[[], Situations] | None = None,
    weights: Mapping[str, float] | None = None,
    retrain: bool = False,
    progress: Progress | None = None,
) -> tuple[HybridRetriever, tuple[str, ...]]:
    """The channels that have weight, over `items`, joined as `config` and `recsys fit` say.

    Fitted channels and the text index are kept in `folder`. `situations` gives events
    with their context, for popularity by segment. `weights` win over those saved and
    configured. Sequence models take a minute or more, so one that was trained on older
    events is opened as it is, with a note, unless `retrain` is set. The second
    value says what was rebuilt, and why, apart from what was never there.

    Raises RequestError for an empty catalogue, ConfigError if no channel has weight.
    """
    if not items:
        raise RequestError("empty catalogue", hint="import at least one item")
    if weights is None:
        weights = saved_weights(folder) or config.by_name
    notes: list[str] = []
    channels: dict[str, Channel] = {}
    for name in dict.fromkeys([*(name for name, weight in weights.items() if weight > 0), FALLBACK]):
        if name == "text":
            channel: Channel | None = _text(items, embedder, config, folder, progress, notes)
        else:
            channel = _fitted(name, log, config, folder, situations, retrain, progress, notes)
        if channel is not None:
            channels[name] = channel
    counts = dict(zip(log.items, log.counts.astype(float).tolist(), strict=True))
    return HybridRetriever(ItemTable(items), channels, counts, config, weights), tuple(notes)


def saved_weights(folder: Path) -> dict[str, float] | None:
    """The channel weights that `recsys fit` found; None if it did not run, or its file is damaged."""
    try:
        return FittedWeights.model_validate_json((folder / WEIGHTS).read_bytes()).weights
    except (OSError, ValidationError):
        return None


def save_weights(folder: Path, fitted: FittedWeights) -> None:
    """Write atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".{WEIGHTS}.new"
    staging.write_text(json.dumps(fitted.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    os.replace(staging, folder / WEIGHTS)


def _text(
    items: Sequence[Item],
    embedder: Embedder,
    config: RetrieverConfig,
    folder: Path,
    progress: Progress | None,
    notes: list[str],
) -> TextChannel:
    first_time = not (folder / "text").exists()
    told = (lambda done, total: progress("embedding items", done, total)) if progress else None
    index, reason = open_or_build(folder / "text", items, embedder, told)
    if reason and not first_time:
        notes.append(f"text index: {reason}")
    return TextChannel(index, embedder, config.text)


def _fitted(
    name: str,
    log: EventLog,
    config: RetrieverConfig,
    folder: Path,
    situations: Callable[[], Situations] | None,
    retrain: bool,
    progress: Progress | None,
    notes: list[str],
) -> Channel | None:
    match name:
        case "popularity":
            return popularity.overall(log)
        case "recent":
            return popularity.recent(log, config.popularity)
        case "segment":
            return popularity.by_segment(situations(), log.items, config.popularity) if situations else None
        case "gru" | "attention" | "lru":
            return _sequence(name, log, config, folder / name, retrain, progress, notes)
        case _:
            return _item_item(name, log, config, folder / name, progress, notes)


def _item_item(
    name: str,
    log: EventLog,
    config: RetrieverConfig,
    folder: Path,
    progress: Progress | None,
    notes: list[str],
) -> Channel:
    options: Mapping[str, item_item.AnyItemItemConfig] = {
        "transitions": config.transitions,
        "cooccurrence": config.cooccurrence,
        "ease": config.ease,
        "linear": config.linear,
    }
    first_time = not folder.exists()
    try:
        return item_item.ItemItem.load(folder, options[name], log)
    except IndexDamaged as error:
        reason = error.message
    if progress:
        progress(f"fitting {name}", 0, 0)
    channel = item_item.fit(log, options[name])
    try:
        channel.save(folder, options[name])
    except OSError as error:
        reason += f"; the new one could not be saved: {error}"
        first_time = False
    if not first_time and "fitted_on" not in reason:
        notes.append(f"fitted anew: {reason}")
    return channel


def _sequence(
    name: str,
    log: EventLog,
    config: RetrieverConfig,
    folder: Path,
    retrain: bool,
    progress: Progress | None,
    notes: list[str],
) -> Channel:
    from retrieval.sequence import SequenceModel
    from retrieval.sequence_channel import SequenceChannel

    options: SequenceConfig = getattr(config, name)
    reason = ""
    try:
        model = SequenceModel.load(folder / "model")
        if model.fitted_on == log.hash and model.config == options:
            return SequenceChannel(model)
        if not retrain:
            notes.append(f"the {name} model was trained on older events or settings: 'recsys fit' renews it")
            return SequenceChannel(model)
    except IndexDamaged as error:
        reason = error.message if (folder / "model").exists() else ""
    from retrieval.sequence_training import train

    told = (lambda _, done, total: progress(f"training {name}", done, total)) if progress else None
    try:
        model = train(log, options, folder / "training", told)
        model.save(folder / "model")
    except OSError as error:
        reason = f"{name} cannot be saved: {error}"
        model = train(log, options, None, told)
    if reason:
        notes.append(f"fitted anew: {reason}")
    return SequenceChannel(model)
