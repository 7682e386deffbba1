"""From items and events to a retriever: what is saved is opened, what is missing or stale is fitted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from recsys.config.retrieval import FittedWeights, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.errors import IndexDamaged, RequestError
from recsys.types import Context, Interaction, Item
from recsys.utils.files import write_text
from recsys.utils.locks import only_one
from retrieval import artefacts
from retrieval.base import Channel
from retrieval.channels import popularity
from retrieval.channels.attributes import AttributeChannel
from retrieval.channels.item_item import ItemItem, fit
from retrieval.channels.nearby import nearby
from retrieval.channels.text import TextChannel
from retrieval.cooccurrence import CooccurrenceCounts
from retrieval.embedding import Embedder
from retrieval.hybrid import FALLBACK, HybridRetriever
from retrieval.table import ItemRows
from retrieval.text_index.index import open_or_build

if TYPE_CHECKING:
    from retrieval.sequence.model import SequenceModel

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
    event_contexts: Callable[[], Situations] | None = None,
    weights: Mapping[str, float] | None = None,
    retrain: bool = False,
    progress: Progress | None = None,
) -> tuple[HybridRetriever, tuple[str, ...]]:
    """The channels that have weight, over `items`, joined as `config` and `recsys fit` say.

    Fitted channels and the text index are kept in `folder`. `event_contexts` gives events
    with their context, for popularity by segment
    and what is nearby. `weights` win over those saved and
    configured. Sequence models take a minute or more, so one that was trained on older
    events is opened as it is, with a note, unless `retrain` is set. The second
    value says what was rebuilt, and why, apart from what was never there.

    Raises RequestError for an empty catalogue, ConfigError if no channel has weight.
    """
    if not items:
        raise RequestError("empty catalogue", hint="import at least one item")
    if weights is None:
        weights = saved_weights(folder) or config.by_name
    build = _Build(items, log, embedder, config, folder, event_contexts, retrain, progress)
    wanted = [*(name for name, weight in weights.items() if weight > 0), FALLBACK, "attributes"]
    found = {name: build.channel(name) for name in dict.fromkeys(wanted)}
    channels = {name: channel for name, channel in found.items() if channel is not None}
    counts = dict(zip(log.items, log.counts.astype(float).tolist(), strict=True))
    retriever = HybridRetriever(ItemRows(items), channels, counts, config, weights, CooccurrenceCounts(log))
    return retriever, tuple(build.notes)


def saved_weights(folder: Path) -> dict[str, float] | None:
    """The channel weights that `recsys fit` found; None if it did not run, or its file is damaged."""
    try:
        return FittedWeights.model_validate_json((folder / WEIGHTS).read_bytes()).weights
    except (OSError, ValidationError):
        return None


def save_weights(folder: Path, fitted: FittedWeights) -> None:
    """Write the channel weights in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / WEIGHTS, json.dumps(fitted.model_dump(mode="json"), indent=2) + "\n")


@dataclass
class _Build:
    """What channels are made from, and the notes of what had to be made anew."""

    items: Sequence[Item]
    log: EventLog
    embedder: Embedder
    config: RetrieverConfig
    folder: Path
    event_contexts: Callable[[], Situations] | None
    retrain: bool
    progress: Progress | None
    notes: list[str] = field(default_factory=list)

    def channel(self, name: str) -> Channel | None:
        """The channel of that name; None if the events have nothing for it."""
        match name:
            case "text":
                return self._text()
            case "popularity":
                return self._popularity
            case "attributes":  # costs nothing until somebody asks for something
                return AttributeChannel(self._popularity)
            case "recent":
                return popularity.recent(self.log, self.config.popularity)
            case "segment":
                if self.event_contexts is None:
                    return None
                config = self.config.popularity
                kinds = {
                    item.id: value[0] for item in self.items if (value := item.attributes.get(config.alike))
                }
                return popularity.by_segment(self.event_contexts(), self.log.items, config, kinds)
            case "nearby":
                return nearby(
                    self.items, self.event_contexts() if self.event_contexts else (), self.config.nearby
                )
            case "gru" | "attention" | "lru":
                return self._sequence(name)
            case _:
                return self._item_item(name)

    @cached_property
    def _popularity(self) -> popularity.Popularity:
        return popularity.overall(self.log)

    def _text(self) -> TextChannel:
        folder, progress = self.folder / "text", self.progress
        first_time = not folder.exists()
        told = (lambda done, total: progress("embedding items", done, total)) if progress else None
        index, reason = open_or_build(folder, self.items, self.embedder, told)
        if reason and not first_time:
            self.notes.append(f"text index: {reason}")
        return TextChannel(index, self.embedder, self.config.text)

    def _item_item(self, name: str) -> ItemItem:
        folder, options = self.folder / name, getattr(self.config, name)
        quiet = not folder.exists()
        try:
            return ItemItem.load(folder, options, self.log)
        except artefacts.Differs as error:
            reason, quiet = error.message, error.fact == "fitted_on"  # new events are no news
        except IndexDamaged as error:
            reason = error.message
        if self.progress:
            self.progress(f"fitting {name}", 0, 0)
        channel = fit(self.log, options)
        try:
            channel.save(folder, options)
        except OSError as error:
            reason, quiet = f"{reason}; the new one could not be saved: {error}", False
        if not quiet:
            self.notes.append(f"fitted anew: {reason}")
        return channel

    def _sequence(self, name: str) -> Channel:
        from retrieval.channels.sequence import SequenceChannel

        found, _ = self._trained(name)
        if found is not None:
            return SequenceChannel(found)

        def waiting() -> None:
            if self.progress:
                self.progress(f"waiting for another process that trains {name}", 0, 0)

        with only_one(self.folder / f".{name}.lock", waiting):
            found, reason = self._trained(name)  # another process may have just trained it
            return SequenceChannel(self._train(name, reason) if found is None else found)

    def _trained(self, name: str) -> tuple[SequenceModel | None, str]:
        """The model that is there and may be used; why none, if there is a damaged one."""
        from retrieval.sequence.model import SequenceModel

        folder = self.folder / name / "model"
        try:
            model = SequenceModel.load(folder)
        except IndexDamaged as error:
            return None, error.message if folder.exists() else ""
        stale = model.fitted_on != self.log.hash or model.config != getattr(self.config, name)
        if stale and self.retrain:
            return None, ""
        if stale:
            self.notes.append(
                f"the {name} model was trained on older events or settings: 'recsys fit' renews it"
            )
        return model, ""

    def _train(self, name: str, reason: str) -> SequenceModel:
        from retrieval.sequence.training import train

        folder, options, progress = self.folder / name, getattr(self.config, name), self.progress
        told = (lambda _, done, total: progress(f"training {name}", done, total)) if progress else None
        try:
            model = train(self.log, options, folder / "training", told)
            model.save(folder / "model")
        except OSError as error:
            reason = f"{name} cannot be saved: {error}"
            model = train(self.log, options, None, told)
        if reason:
            self.notes.append(f"fitted anew: {reason}")
        return model
