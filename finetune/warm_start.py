"""Continuing from a published adapter (`finetune.start`), if it may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune.model import load_lora_weights
from recsys.engine.adapters import Adapter, check, find_adapter
from recsys.engine.checkpoints.lora import WEIGHTS
from recsys.errors import RequestError

if TYPE_CHECKING:
    from finetune.job import FinetuneJob


def starting_adapter(job: FinetuneJob) -> Adapter | None:
    """Find the adapter that the run continues from; None for the base model.

    Raises:
        ModelError: The adapter is of another base model.
        RequestError: There is no such adapter, or it learned from events that this run holds out.
    """
    wanted = job.domain.finetune.examples
    if not job.domain.finetune.start:
        return None
    adapter = find_adapter(job.domain.finetune.start, job.settings, job.domain.folder)
    check(adapter, job.base_model)
    examples = adapter.published().options["examples"]
    _check_moment(adapter.ref, examples.get("before"), job.before)
    reserved, held_items = examples["reserved"], examples.get("held_items", 0.0)
    if reserved < wanted.reserved:
        raise RequestError(
            f"{adapter.ref} learned from events that this run is validated on: it held out the last "
            f"{reserved} of each user, this run {wanted.reserved}",
            hint=f"set examples.reserved={reserved}, or start without finetune.start",
        )
    if held_items < wanted.held_items:
        raise RequestError(
            f"{adapter.ref} learned from items that this run holds out: it held out {held_items:.0%} of "
            f"them, this run {wanted.held_items:.0%}",
            hint=f"set examples.held_items={held_items}, or start without finetune.start",
        )
    return adapter


def _check_moment(adapter: str, learned_before: float | None, before: float | None) -> None:
    """Raise RequestError where an adapter may know what a run is validated on."""
    if learned_before is before is None or (
        learned_before is not None and before is not None and learned_before <= before
    ):
        return
    raise RequestError(
        f"{adapter} and this run divide the events differently: by time, or by the last ones of each user",
        hint="set examples.shown as the adapter had it, or start without finetune.start",
    )


def load_starting_weights(model: Any, job: FinetuneJob) -> None:
    """Load the starting adapter, if there is one, into the model's LoRA.

    Raises:
        ModelError: The adapter is of another base model, or of another shape.
        RequestError: As `starting_adapter`.
    """
    if (adapter := starting_adapter(job)) is not None:
        load_lora_weights(model, adapter.folder / WEIGHTS, adapter.ref)
