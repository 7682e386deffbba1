"""From items and events to a retriever: load what is saved, fit the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from recsys.config import retrieval as options
from recsys.config.retrieval import FittedWeights, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.errors import IndexDamaged, RequestError
from recsys.types import Context, Interaction, Item
from recsys.utils.files import write_text
from recsys.utils.locks import exclusive_lock
from retrieval import artefacts
from retrieval.base import Channel
from retrieval.channels.attributes import AttributeChannel
from retrieval.channels.item_item import ItemItemChannel
from retrieval.channels.item_item_fitting import fit_item_item
from retrieval.channels.nearby import fit_nearby
from retrieval.channels.popularity import (
    PopularityChannel,
    SegmentPopularityChannel,
    fit_popularity,
    fit_recent_popularity,
    fit_segment_popularity,
)
from retrieval.channels.repeat import RepeatChannel
from retrieval.channels.text import TextChannel
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.embedding import Embedder
from retrieval.hybrid import FALLBACK, HybridRetriever
from retrieval.table import ItemRows
from retrieval.text_index.index import open_or_build

if TYPE_CHECKING:
    from retrieval.sequence.model import SequenceModel

Progress = Callable[[str, int, int], None]
EventContexts = Callable[[], Iterable[tuple[Interaction, Context]]]
"""Gives events with the context each happened in."""

WEIGHTS = "weights.json"


def build_retriever(
    items: Sequence[Item],
    log: EventLog,
    embedder: Embedder,
    config: RetrieverConfig,
    folder: Path,
    *,
    event_contexts: EventContexts | None = None,
    weights: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> tuple[HybridRetriever, tuple[str, ...]]:
    """Load or fit all channels with weight, and join them.

    Args:
        items: The catalogue.
        log: The events.
        embedder: For the text channel.
        config: Options of the channels and of their fusion.
        folder: Where fitted channels and the text index are kept.
        event_contexts: What the channels "segment" and "nearby" are fitted on.
        weights: Channel weights, in place of those saved in `folder` or configured.
        progress: Called with (step, done, total).

    Returns:
        The retriever, and notes of what was rebuilt, and why, if it was there before. A sequence
        model of older events is used as it is, with a note: training takes a minute or more.

    Raises:
        RequestError: The catalogue is empty.
        ConfigError: No channel has weight.
    """
    builder = RetrieverBuilder(items, log, embedder, config, folder, event_contexts, progress=progress)
    return builder.build(weights), tuple(builder.notes)


def saved_weights(folder: Path) -> dict[str, float] | None:
    """Read the channel weights that `recsys fit` saved; None if missing or damaged."""
    try:
        return FittedWeights.model_validate_json((folder / WEIGHTS).read_bytes()).weights
    except (OSError, ValidationError):
        return None


def save_weights(folder: Path, fitted: FittedWeights) -> None:
    """Write the channel weights in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / WEIGHTS, json.dumps(fitted.model_dump(mode="json"), indent=2) + "\n")


@dataclass
class RetrieverBuilder:
    """Builds a retriever; the arguments of `build_retriever` describe the fields."""

    items: Sequence[Item]
    log: EventLog
    embedder: Embedder
    config: RetrieverConfig
    folder: Path
    event_contexts: EventContexts | None = None
    retrain: bool = False  # train a sequence model again if it is of older events
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)  # what was rebuilt, and why

    def build(self, weights: Mapping[str, float] | None = None) -> HybridRetriever:
        """Build the retriever, as `build_retriever` does."""
        if not self.items:
            raise RequestError("empty catalogue", hint="import at least one item")
        if weights is None:
            weights = self._weights()
        names = [*(name for name, weight in weights.items() if weight > 0), FALLBACK, "attributes"]
        built = {name: self._channel(name) for name in dict.fromkeys(names)}
        channels = {name: channel for name, channel in built.items() if channel is not None}
        counts = dict(zip(self.log.items, self.log.counts.astype(float).tolist(), strict=True))
        cooccurrence = CooccurrenceCounts(self.log)
        return HybridRetriever(ItemRows(self.items), channels, counts, self.config, weights, cooccurrence)

    def _weights(self) -> Mapping[str, float]:
        saved = saved_weights(self.folder)
        if unknown := sorted(set(saved or ()) - set(get_args(options.Channel))):
            self.notes.append(
                f"the fitted weights name '{unknown[0]}', which is no channel: 'recsys fit' renews them, "
                "the configured ones hold until then"
            )
            saved = None
        return saved or self.config.by_name

    def _channel(self, name: str) -> Channel | None:
        """Build the channel of that name; None if the events have nothing for it."""
        match name:
            case "text":
                return self._text()
            case "popularity":
                return self._popularity
            case "attributes":  # costs nothing until a wish names something
                return AttributeChannel(self._popularity)
            case "repeat":  # nothing is fitted
                return RepeatChannel(self.config.repeat)
            case "recent":
                return fit_recent_popularity(self.log, self.config.popularity)
            case "segment":
                return self._segment()
            case "nearby":
                events = self.event_contexts() if self.event_contexts else ()
                return fit_nearby(self.items, events, self.config.nearby)
            case "gru":
                return self._gru()
            case _:
                return self._item_item(name)

    @cached_property
    def _popularity(self) -> PopularityChannel:
        return fit_popularity(self.log)

    def _segment(self) -> SegmentPopularityChannel | None:
        if self.event_contexts is None:
            return None
        config = self.config.popularity
        kinds = {item.id: value[0] for item in self.items if (value := item.attributes.get(config.alike))}
        return fit_segment_popularity(self.event_contexts(), self.log.items, config, kinds)

    def _text(self) -> TextChannel:
        folder = self.folder / "text"
        first_time = not folder.exists()
        index, reason = open_or_build(folder, self.items, self.embedder, self._step("embedding items"))
        if reason and not first_time:
            self.notes.append(f"text index: {reason}")
        return TextChannel(index, self.embedder, self.config.text)

    def _item_item(self, name: str) -> ItemItemChannel:
        folder, config = self.folder / name, getattr(self.config, name)
        quiet = not folder.exists()
        try:
            return ItemItemChannel.load(folder, config, self.log)
        except artefacts.ArtefactMismatch as error:
            reason, quiet = error.message, error.fact == "fitted_on"  # new events need no note
        except IndexDamaged as error:
            reason = error.message
        if self.progress:
            self.progress(f"fitting {name}", 0, 0)
        channel = fit_item_item(self.log, config)
        try:
            channel.save(folder, config)
        except OSError as error:
            reason, quiet = f"{reason}; the new one could not be saved: {error}", False
        if not quiet:
            self.notes.append(f"fitted anew: {reason}")
        return channel

    def _gru(self) -> Channel:
        from retrieval.channels.sequence import SequenceChannel

        model, _ = self._saved_gru()
        if model is not None:
            return SequenceChannel(model)

        def waiting() -> None:
            if self.progress:
                self.progress("waiting for another process that trains gru", 0, 0)

        with exclusive_lock(self.folder / ".gru.lock", waiting):
            model, reason = self._saved_gru()  # another process may have just trained it
            return SequenceChannel(self._train_gru(reason) if model is None else model)

    def _saved_gru(self) -> tuple[SequenceModel | None, str]:
        """Load the model, if there is a usable one; else say why one that is there is not."""
        from retrieval.sequence.model import SequenceModel

        folder = self.folder / "gru" / "model"
        try:
            model = SequenceModel.load(folder)
        except IndexDamaged as error:
            return None, error.message if folder.exists() else ""
        stale = model.fitted_on != self.log.hash or model.config != self.config.gru
        if stale and self.retrain:
            return None, ""
        if stale:
            self.notes.append("the gru model was trained on older events or settings: 'recsys fit' renews it")
        return model, ""

    def _train_gru(self, reason: str) -> SequenceModel:
        from retrieval.sequence.training import train

        folder, step = self.folder / "gru", self._step("training gru")
        progress = (lambda _, done, total: step(done, total)) if step else None
        try:
            model = train(self.log, self.config.gru, folder / "training", progress)
            model.save(folder / "model")
        except OSError as error:
            reason = f"gru cannot be saved: {error}"
            model = train(self.log, self.config.gru, None, progress)
        if reason:
            self.notes.append(f"fitted anew: {reason}")
        return model

    def _step(self, name: str) -> Callable[[int, int], None] | None:
        """Return the progress of one named step."""
        progress = self.progress
        return (lambda done, total: progress(name, done, total)) if progress else None
