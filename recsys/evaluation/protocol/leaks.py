"""Checks that stop an evaluation in which a system could know a target beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from recsys.data.splits import Case, EventKey, Split, event_key, hash_fraction, in_time_order
from recsys.errors import RecsysError
from recsys.prompting.wishes import contains_title
from recsys.types import Context, HistoryEntry, Interaction, Item

HINT = "results on this split would be too good: fix the split, never the check"


class LeakError(RecsysError):
    """A system could know a target beforehand."""


class Request(Protocol):
    """What a system sends to a retriever or a model: a `Query`, a `RankRequest`."""

    @property
    def history(self) -> Sequence[HistoryEntry]:
        """What the retriever or model sees of the user's past."""
        ...

    @property
    def context(self) -> Context:
        """What it sees of the moment."""
        ...


def check(split: Split) -> None:
    """Raise LeakError naming the first event that is where it must not be.

    The order of a user's events is that of train, then that of the held-out events.
    """
    train = set(map(event_key, split.train))
    withheld = split.withheld
    for event in split.train:
        if event.item_id in withheld:
            raise LeakError(f"train has an event on a withheld item: {_describe(event)}", hint=HINT)
    for event in split.held_out:
        if event_key(event) in train:
            raise LeakError(f"a held-out event is in train: {_describe(event)}", hint=HINT)
    positions = _positions(split)
    for case in split.cases:
        target = event_key(case.target)
        if target in train:
            raise LeakError(
                f"the target of user '{case.user_id}' is in train: {_describe(case.target)}", hint=HINT
            )
        if target not in positions:
            raise LeakError(
                f"the target of user '{case.user_id}' is not among the events held out: "
                f"{_describe(case.target)}",
                hint=HINT,
            )
        _check_history(case, positions, withheld)


def check_wishes(split: Split, items: Mapping[str, Item]) -> None:
    """Raise LeakError naming the first case whose wish contains its target's title."""
    for case in split.cases:
        if case.wish and contains_title(case.wish, items[case.target.item_id].title):
            raise LeakError(
                f"the wish of user '{case.user_id}' contains the title of its target: "
                f"{_describe(case.target)}",
                hint=HINT,
            )


def check_requests(
    system: str, case: Case, requests: Iterable[Request], context: Context | None = None
) -> None:
    """Raise LeakError if a request knows more than the case's history and `context`."""
    known = {event.item_id for event in case.history}
    for request in requests:
        if request.context not in (Context(), context):
            raise LeakError(
                f"system '{system}' used a context of user '{case.user_id}' that the case does not have",
                hint="take it from data.context_of(case), or use none",
            )
        if (wish := getattr(request, "wish", "")) not in ("", case.wish):
            raise LeakError(
                f"system '{system}' made up a wish of user '{case.user_id}': {wish[:80]!r}",
                hint="take case.wish",
            )
        for entry in request.history:
            if entry.item.id not in known:
                raise LeakError(
                    f"system '{system}' put item '{entry.item.id}', which the case does not have, "
                    f"into the history of user '{case.user_id}'",
                    hint="build requests from case.history alone",
                )


def check_fitted(system: str, fitted_on: str | None, train: str) -> None:
    """Raise LeakError if a system was fitted on events of another hash than `train`."""
    if fitted_on is not None and fitted_on != train:
        raise LeakError(
            f"system '{system}' was fitted on events {fitted_on[:12]}, "
            f"but the train part of the split is {train[:12]}",
            hint="fit it on the events of this split: data.log",
        )


def check_adapter(system: str, adapter: str, examples: Mapping[str, Any], split: Split) -> tuple[str, ...]:
    """Check that an adapter was not fine-tuned on a target.

    Fine-tuning reads no event from the moment `before` on; where that is not set, never the last
    `reserved` events of a user, nor any event on the share `held_items` of the items. Every target must
    be one of these; a target on a withheld item must be on one of the latter.

    Args:
        system: Its name.
        adapter: The reference of its adapter.
        examples: The `[finetune.examples]` of the adapter.
        split: The targets.

    Returns:
        Notes on what the adapter read that is close to the targets.

    Raises:
        LeakError: The adapter may have read a target.
    """
    if (before := examples.get("before")) is not None:
        _check_later(system, adapter, before, split)
        return ()
    reserved, held_items = int(examples["reserved"]), float(examples.get("held_items", 0.0))
    by_user: dict[str, list[EventKey]] = {}
    for event in in_time_order((*split.train, *split.held_out)):
        by_user.setdefault(event.user_id, []).append(event_key(event))
    unread = {key for keys in by_user.values() for key in keys[max(1, len(keys) - reserved) :]}
    for case in split.cases:
        held = hash_fraction(case.target.item_id) < held_items
        if case.target.item_id in split.withheld and not held:
            raise LeakError(
                f"system '{system}': {adapter} was fine-tuned on events of other people on item "
                f"'{case.target.item_id}', which is to be new",
                hint="set WHYREC_ADAPTER=none, "
                "or fine-tune with finetune.examples.held_items and evaluate with --seed 0",
            )
        if event_key(case.target) not in unread and not held:
            raise LeakError(
                f"system '{system}': {adapter} was fine-tuned on events up to the last {reserved} "
                f"of each user, and {_describe(case.target)} is none of these",
                hint="set WHYREC_ADAPTER=none, or fine-tune with more finetune.examples.reserved",
            )
    return tuple(_read_by(adapter, reserved, held_items, split))


def _check_later(system: str, adapter: str, before: float, split: Split) -> None:
    """Raise LeakError if a target comes before the moment an adapter read up to."""
    for case in split.cases:
        if case.target.timestamp is None or case.target.timestamp < before:
            raise LeakError(
                f"system '{system}': {adapter} was fine-tuned on what came before {before:.0f} s since 1970, "
                f"and {_describe(case.target)} may be one of these",
                hint="set WHYREC_ADAPTER=none, or evaluate with --split impressions",
            )


def _read_by(adapter: str, reserved: int, held_items: float, split: Split) -> Iterable[str]:
    """Why an adapter that passed the check may be used, where that is not obvious."""
    learned = {event.user_id for event in split.train}
    if any(case.user_id not in learned for case in split.cases):
        yield (
            f"{adapter} read earlier events of the new users, without their ids "
            f"and never the last {reserved}: they are new to the retriever, their targets to both"
        )
    if split.withheld:
        yield (
            f"{adapter} was tuned with {held_items:.0%} of the items held out, "
            "the new ones among them; it read events of the same people on other items, "
            "some later than the target"
        )
    if any(case.wish for case in split.cases):
        yield f"{adapter} may have been tuned on wishes of the same form, for other events than the targets"


def _check_history(case: Case, positions: dict[EventKey, int], withheld: frozenset[str]) -> None:
    whose, target = f"the history of user '{case.user_id}'", positions[event_key(case.target)]
    previous = -1
    for event in case.history:
        position = positions.get(event_key(event))
        if event.user_id != case.user_id:
            raise LeakError(f"{whose} has an event of another user: {_describe(event)}", hint=HINT)
        if event.item_id in withheld:
            raise LeakError(f"{whose} has a withheld item: {_describe(event)}", hint=HINT)
        if event.item_id == case.target.item_id and not case.repeats:
            raise LeakError(f"{whose} has the item of the target: {_describe(event)}", hint=HINT)
        if position is None:
            raise LeakError(
                f"{whose} has an event that the split does not have: {_describe(event)}", hint=HINT
            )
        if position >= target or _later(event, case.target):
            raise LeakError(
                f"{whose} has an event that is not before the target: {_describe(event)}", hint=HINT
            )
        if position <= previous:
            raise LeakError(f"{whose} is not in time order at {_describe(event)}", hint=HINT)
        previous = position


def _positions(split: Split) -> dict[EventKey, int]:
    """Return the position of every event; only those of one user are compared.

    A split holds out the end of a user's events, or all of them; where it withholds items,
    no history has a held-out event.
    """
    return {event_key(event): position for position, event in enumerate((*split.train, *split.held_out))}


def _later(event: Interaction, target: Interaction) -> bool:
    if event.timestamp is None or target.timestamp is None:
        return False
    return event.timestamp > target.timestamp


def _describe(event: Interaction) -> str:
    when = "at an unknown time" if event.timestamp is None else f"at {event.timestamp:.0f}"
    return f"user '{event.user_id}', item '{event.item_id}', {when}"
