"""From items and events to a retriever: load what is saved, fit the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from recsys.config import retrieval as options
from recsys.config.retrieval import WEIGHTS_FILE, FittedWeights, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.errors import ConfigError, IndexDamaged, RecsysError, RequestError
from recsys.knowledge.relations import RelationGraph
from recsys.types import Context, Interaction, Item
from recsys.utils.files import write_text
from recsys.utils.locks import exclusive_lock
from recsys.utils.system import available_memory
from retrieval import artefacts
from retrieval.base import Channel
from retrieval.channels.age import AgeChannel
from retrieval.channels.audience import fit_audience
from retrieval.channels.fields import FieldsChannel
from retrieval.channels.item_item import ItemItemChannel, item_item_facts
from retrieval.channels.item_item_fitting import fit_item_item
from retrieval.channels.nearby import fit_nearby
from retrieval.channels.popularity import (
    PopularityChannel,
    SegmentPopularityChannel,
    fit_popularity,
    fit_recent_popularity,
    fit_segment_popularity,
)
from retrieval.channels.profile import Profiles, fit_profile
from retrieval.channels.related import RelatedChannel
from retrieval.channels.repeat import RepeatChannel
from retrieval.channels.text import TextChannel, shown_items
from retrieval.channels.trend import fit_trend
from retrieval.channels.user_knn import fit_user_knn
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.embedding import Embedder
from retrieval.fusion import FALLBACK
from retrieval.hybrid import HybridRetriever, ReturningWeights
from retrieval.needs import GIB, MENTIONED_GIB, Need, need_of
from retrieval.table import ItemRows
from retrieval.text_index.index import open_or_build

if TYPE_CHECKING:
    from retrieval.sequence.model import SequenceModel

Progress = Callable[[str, int, int], None]
EventContexts = Callable[[], Iterable[tuple[Interaction, Context]]]
"""Gives events with the context each happened in."""

ALWAYS = ("related",)
"""Channels that are there without weight, too: reasons ask them."""

COUNTED: Mapping[str, Callable[[EventLog, RetrieverConfig], Channel | None]] = {
    "fields": lambda _, config: FieldsChannel(config.fields),
    "repeat": lambda _, config: RepeatChannel(config.repeat),
    "age": lambda _, config: AgeChannel(config.age) if config.age.attribute else None,
    "recent": lambda log, config: fit_recent_popularity(log, config.popularity),
    "trend": lambda log, config: fit_trend(log, config.trend),
    "user_knn": lambda log, config: fit_user_knn(log, config.user_knn),
}
"""Channels that are made anew at each start, in seconds at most."""


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
        ConfigError: No channel has weight, or there is no memory to fit one that has.
    """
    builder = RetrieverBuilder(
        items, log, embedder, config, folder, event_contexts, complete=True, progress=progress
    )
    return builder.build(weights), tuple(builder.notes)


def save_weights(folder: Path, fitted: FittedWeights) -> None:
    """Write the channel weights in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / WEIGHTS_FILE, json.dumps(fitted.model_dump(mode="json"), indent=2) + "\n")


@dataclass
class RetrieverBuilder:
    """Builds a retriever; the arguments of `build_retriever` describe the fields."""

    items: Sequence[Item]
    log: EventLog
    embedder: Embedder
    config: RetrieverConfig
    folder: Path
    event_contexts: EventContexts | None = None
    relations: RelationGraph | None = None  # what the items are to each other
    profiles: Callable[[], Profiles] | None = None  # reads those of all users
    retrain: bool = False  # train a sequence model again if it is of older events
    complete: bool = False  # raise where a channel does not fit the memory
    text_folder: Path | None = None  # of the text index, which no event changes; by default in `folder`
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)  # what was rebuilt or left out, and why

    def build(
        self,
        weights: Mapping[str, float] | None = None,
        returning: Mapping[str, float] | None = None,
        *,
        at_most_s: float = math.inf,
    ) -> HybridRetriever:
        """Build the retriever, as `build_retriever` does.

        Args:
            weights: As there.
            returning: Those for returning people; read beside `weights` only.
            at_most_s: A channel that is estimated to take longer is left `missing`: see `join_missing`.
        """
        if not self.items:
            raise RequestError("empty catalogue", hint="import at least one item")
        if weights is None:
            weights, returning = self._weights()
        weighted = [*weights.items(), *(returning or {}).items()]
        names = [*(name for name, weight in weighted if weight > 0), FALLBACK, *ALWAYS]
        names = [name for name in dict.fromkeys(names) if self._fits_memory(name)]
        later = [name for name in names if self._estimate(name).seconds > at_most_s]
        built = {name: self._channel(name) for name in names if name not in later}
        channels = {name: channel for name, channel in built.items() if channel is not None}
        counts = dict(zip(self.log.items, self.log.counts.astype(float).tolist(), strict=True))
        return HybridRetriever(
            ItemRows(self.items),
            channels,
            counts,
            self.config,
            weights,
            CooccurrenceCounts(self.log),
            dict.fromkeys(later, "is not fitted yet and joins when it is"),
            ReturningWeights(returning, self._last_event) if returning else None,
        )

    @property
    def _last_event(self) -> float | None:
        known = self.log.time[~np.isnan(self.log.time)]
        return float(known.max()) if len(known) else None

    def join_missing(self, retriever: HybridRetriever) -> None:
        """Fit the channels that a retriever of this builder misses, the fastest first.

        One that cannot be fitted stays missing, with the reason.
        """
        for name in sorted(retriever.state.missing, key=lambda name: self._estimate(name).seconds):
            try:
                retriever.join(name, self._channel(name), self.items)
            except (RecsysError, OSError, MemoryError) as error:
                retriever.stays_missing(name, f"could not be fitted: {error or type(error).__name__}")

    def _fits_memory(self, name: str) -> bool:
        """Tell whether a channel can be fitted in the memory there is; note if not."""
        need, free = self._estimate(name), available_memory()
        if need.bytes <= free or need.bytes < MENTIONED_GIB * GIB:
            return True
        what = f"fitting it needs {need}, and {free / GIB:.1f} GiB are available"
        if self.complete:
            raise ConfigError(
                f"no memory for the retrieval channel '{name}': {what}",
                hint="free some, or give it no weight in [retriever.weights]",
            )
        self.notes.append(f"the retrieval channel '{name}' is left out: {what}")
        return False

    def _estimate(self, name: str) -> Need:
        """Return what the channel needs; nothing if it is saved."""
        return Need() if self._is_saved(name) else need_of(name, self.log, self.config, len(self.items))

    def _is_saved(self, name: str) -> bool:
        """Tell whether there is a channel on disk that looks usable, without reading it."""
        match name:
            case "text":
                return self._text_folder.exists()
            case "gru":
                return not self.retrain and (self.folder / name / "model").exists()
            case "transitions" | "cooccurrence" | "ease" | "linear":
                config = getattr(self.config, name)
                return artefacts.is_of(self.folder / name, item_item_facts(config, self.log))
            case _:
                return False

    def _weights(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the saved or configured weights, and those for returning people."""
        fitted = FittedWeights.saved_in(self.folder)
        names = {*fitted.weights, *fitted.returning} if fitted else set()
        if unknown := sorted(names - set(get_args(options.Channel))):
            self.notes.append(
                f"the fitted weights name '{unknown[0]}', which is no channel: 'recsys fit' renews them, "
                "the configured ones hold until then"
            )
            fitted = None
        if fitted:
            return fitted.weights, fitted.returning
        return self.config.by_name, self.config.returning_by_name

    def _channel(self, name: str) -> Channel | None:
        """Build the channel of that name; None if the events have nothing for it."""
        match name:
            case "text":
                return self._text
            case "popularity":
                return self._popularity
            case "related":  # nothing is fitted
                graph = self.relations
                return RelatedChannel(graph, self.config.related) if graph and graph.edges else None
            case _ if name in COUNTED:
                return COUNTED[name](self.log, self.config)
            case "segment" | "nearby" | "profile" | "audience":
                return self._of_people(name)
            case "gru":
                return self._gru()
            case _:
                return self._item_item(name)

    @cached_property
    def _popularity(self) -> PopularityChannel:
        return fit_popularity(self.log)

    def _of_people(self, name: str) -> Channel | None:
        """Fit a channel on what is known of people and moments, beside their events."""
        if name == "segment":
            return self._segment()
        if name == "nearby":
            events = self.event_contexts() if self.event_contexts else ()
            return fit_nearby(self.items, events, self.config.nearby)
        if self.profiles is None:
            return None
        if name == "audience":
            return fit_audience(self.log, self._text, self.profiles(), self.config.audience)
        return fit_profile(self.log, self.items, self.profiles(), self.config.profile)

    def _segment(self) -> SegmentPopularityChannel | None:
        if self.event_contexts is None:
            return None
        config = self.config.popularity
        kinds = {item.id: value[0] for item in self.items if (value := item.attributes.get(config.alike))}
        return fit_segment_popularity(self.event_contexts(), self.log.items, config, kinds)

    @property
    def _text_folder(self) -> Path:
        return self.text_folder or self.folder / "text"

    @cached_property
    def _text(self) -> TextChannel:
        folder = self._text_folder
        first_time = not folder.exists()
        index, reason = open_or_build(
            folder, shown_items(self.items, self.config.text), self.embedder, self._step("embedding items")
        )
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
        channel = fit_item_item(self.log, config, self._step(self._described("fitting", name)))
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

        folder, step = self.folder / "gru", self._step(self._described("training", "gru"))
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

    def _described(self, verb: str, name: str) -> str:
        """Return the name of a step; where it takes long, with what it needs."""
        need = self._estimate(name)
        return f"{verb} {name} ({need})" if need.is_mentioned else f"{verb} {name}"

    def _step(self, name: str) -> Callable[[int, int], None] | None:
        """Return the progress of one named step."""
        progress = self.progress
        return (lambda done, total: progress(name, done, total)) if progress else None
