"""Nothing that is asked about may be known beforehand: checks that stop an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from recsys.data.splits import Case, EventKey, Split, event_key, hash_fraction, in_time_order
from recsys.errors import RecsysError
from recsys.prompting.wishes import says
from recsys.types import Context, HistoryEntry, Interaction, Item

HINT = "figures from this split would be too good: mend the split, never the check"


class LeakError(RecsysError):
    """What is asked about could be known beforehand."""


class Request(Protocol):
    """What a system hands to a retriever or a model: a `Query`, a `RankRequest`."""

    @property
    def history(self) -> Sequence[HistoryEntry]: ...

    @property
    def context(self) -> Context: ...


def check(split: Split) -> None:
    """Raise LeakError naming the first event that stands where it must not.

    Order within a user is that of train, then that of the events held out.
    """
    train = set(map(event_key, split.train))
    withheld = split.withheld
    for event in split.train:
        if event.item_id in withheld:
            raise LeakError(f"train has an event on a withheld item: {_shown(event)}", hint=HINT)
    for event in split.held_out:
        if event_key(event) in train:
            raise LeakError(f"a held-out event is in train: {_shown(event)}", hint=HINT)
    place = _places(split)
    for case in split.cases:
        target = event_key(case.target)
        if target in train:
            raise LeakError(
                f"the target of user '{case.user_id}' is in train: {_shown(case.target)}", hint=HINT
            )
        if target not in place:
            raise LeakError(
                f"the target of user '{case.user_id}' is not among the events held out: {_shown(case.target)}",
                hint=HINT,
            )
        _check_history(case, place, withheld)


def check_wishes(split: Split, items: Mapping[str, Item]) -> None:
    """Raise LeakError naming the first case whose wish says the title of its target."""
    for case in split.cases:
        if case.wish and says(case.wish, items[case.target.item_id].title):
            raise LeakError(
                f"the wish of user '{case.user_id}' says the title of its target: {_shown(case.target)}",
                hint=HINT,
            )


def check_requests(
    system: str, case: Case, requests: Iterable[Request], context: Context | None = None
) -> None:
    """Raise LeakError if a system tells anybody more than the case's history and its `context`."""
    known = {event.item_id for event in case.history}
    for request in requests:
        if request.context not in (Context(), context):
            raise LeakError(
                f"system '{system}' told of a situation of user '{case.user_id}' that the case does not have",
                hint="take it from data.context_of(case), or tell none",
            )
        if (wish := getattr(request, "wish", "")) not in ("", case.wish):
            raise LeakError(
                f"system '{system}' made up a wish of user '{case.user_id}': {wish[:80]!r}",
                hint="take case.wish",
            )
        for entry in request.history:
            if entry.item.id not in known:
                raise LeakError(
                    f"system '{system}' put item '{entry.item.id}' into the history of user '{case.user_id}', "
                    "which the case does not have",
                    hint="build requests from case.history alone",
                )


def check_fitted(system: str, fitted_on: str | None, train: str) -> None:
    """Raise LeakError if a system was fitted on other events than `train`, the hash of the split's."""
    if fitted_on is not None and fitted_on != train:
        raise LeakError(
            f"system '{system}' was fitted on events {fitted_on[:12]}, but the train part of the split is {train[:12]}",
            hint="fit it on the events of this split: data.log",
        )


def check_adapter(system: str, adapter: str, examples: Mapping[str, Any], split: Split) -> tuple[str, ...]:
    """What an adapter read that comes near to what is asked; LeakError if it may have read what is asked.

    `examples` are the `[finetune.examples]` it was tuned with. Tuning never reads the last
    `reserved` events of a user, nor any event on the share `held_items` of the items: every
    target must be one of these, and one on an item that the split withholds one of the latter.
    """
    reserved, held_items = int(examples["reserved"]), float(examples.get("held_items", 0.0))
    own: dict[str, list[EventKey]] = {}
    for event in in_time_order((*split.train, *split.held_out)):
        own.setdefault(event.user_id, []).append(event_key(event))
    unread = {key for keys in own.values() for key in keys[max(1, len(keys) - reserved) :]}
    for case in split.cases:
        held = hash_fraction(case.target.item_id) < held_items
        if case.target.item_id in split.withheld and not held:
            raise LeakError(
                f"system '{system}': {adapter} was tuned on events of other people on item "
                f"'{case.target.item_id}', which is to be new",
                hint="set WHYREC_ADAPTER=none, or tune with finetune.examples.held_items and ask with --seed 0",
            )
        if event_key(case.target) not in unread and not held:
            raise LeakError(
                f"system '{system}': {adapter} was tuned on events up to the last {reserved} of each user, "
                f"and {_shown(case.target)} is none of these",
                hint="set WHYREC_ADAPTER=none, or tune with more finetune.examples.reserved",
            )
    return tuple(_read_by(adapter, reserved, held_items, split))


def _read_by(adapter: str, reserved: int, held_items: float, split: Split) -> Iterable[str]:
    """Why an adapter that passed the check may be asked, where that is not plain."""
    learned = {event.user_id for event in split.train}
    if any(case.user_id not in learned for case in split.cases):
        yield (
            f"{adapter} read earlier events of the new users, without their ids and never the last {reserved}: "
            "they are new to the retriever, their targets to both"
        )
    if split.withheld:
        yield (
            f"{adapter} was tuned with {held_items:.0%} of the items held out, the new ones among them; it read "
            "events of the same people on other items, some later than the target"
        )
    if any(case.wish for case in split.cases):
        yield f"{adapter} may have been tuned on wishes of the same form, for other events than the targets"


def _check_history(case: Case, place: dict[EventKey, int], withheld: frozenset[str]) -> None:
    whose, target = f"the history of user '{case.user_id}'", place[event_key(case.target)]
    previous = -1
    for event in case.history:
        here = place.get(event_key(event))
        if event.user_id != case.user_id:
            raise LeakError(f"{whose} has an event of somebody else: {_shown(event)}", hint=HINT)
        if event.item_id in withheld:
            raise LeakError(f"{whose} has a withheld item: {_shown(event)}", hint=HINT)
        if event.item_id == case.target.item_id:
            raise LeakError(f"{whose} has the item of the target: {_shown(event)}", hint=HINT)
        if here is None:
            raise LeakError(f"{whose} has an event that the split does not know: {_shown(event)}", hint=HINT)
        if here >= target or _later(event, case.target):
            raise LeakError(f"{whose} has an event that is not before the target: {_shown(event)}", hint=HINT)
        if here <= previous:
            raise LeakError(f"{whose} is not in time order at {_shown(event)}", hint=HINT)
        previous = here


def _places(split: Split) -> dict[EventKey, int]:
    """The place of every event; only those of one user are compared.

    A split holds out the end of what a user did, or all of it; where it withholds items,
    no history has an event that was held out.
    """
    return {event_key(event): place for place, event in enumerate((*split.train, *split.held_out))}


def _later(event: Interaction, target: Interaction) -> bool:
    if event.timestamp is None or target.timestamp is None:
        return False
    return event.timestamp > target.timestamp


def _shown(event: Interaction) -> str:
    when = "at an unknown time" if event.timestamp is None else f"at {event.timestamp:.0f}"
    return f"user '{event.user_id}', item '{event.item_id}', {when}"
