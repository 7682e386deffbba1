"""Impressions: lists that users were shown, ranked again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from recsys.data.splits import Case, EventKey, Part, Split, event_key, temporal
from recsys.errors import RequestError
from recsys.types import Interaction

if TYPE_CHECKING:
    from recsys.config import Domain

IMPRESSIONS: Final = "impressions"
"""The name of the split."""

FITTED = 0.4
"""Share of the events to train a model on that its retriever is fitted on; the others are its targets."""

Shown = Mapping[EventKey, tuple[str, ...]]
"""Event -> ids of the items that it was chosen from."""


def read_impressions(domain: Domain, items: Iterable[str]) -> Shown:
    """Read the domain's table of impressions.

    Raises:
        RequestError: The domain has none.
        DataError: A row is wrong: its list lacks the choice, or names an unknown item.
    """
    from recsys.data.importers.files import data_file
    from recsys.data.importers.readers import read_table
    from recsys.data.importers.times import InvalidTime, time_reader
    from recsys.data.importers.validate import columns_of

    mapping = domain.impressions
    if mapping is None:
        raise RequestError(
            f"'{domain.name}' has no lists that users were shown", hint="map them in [impressions]"
        )
    table = read_table(data_file(domain, mapping.file), mapping.format, columns_of(mapping), mapping)
    users, chosen, moments = (
        table.texts(column.column) for column in (mapping.user, mapping.item, mapping.timestamp)
    )
    lists = table.lists(mapping.shown.column, mapping.shown.separator)
    read, known = time_reader(mapping.timestamp.unit), frozenset(items)
    shown: dict[EventKey, tuple[str, ...]] = {}
    for row, (user, item, moment, listed) in enumerate(zip(users, chosen, moments, lists, strict=True)):
        try:
            shown[user, item, read(moment)] = tuple(listed)
        except InvalidTime as error:
            raise table.error(row, mapping.timestamp.column, str(error)) from error
        if problem := _problem(item, listed, known):
            raise table.error(row, mapping.shown.column, problem)
    return shown


def _problem(item: str, listed: Sequence[str], known: frozenset[str]) -> str:
    """Return what is wrong with a list; "" if nothing."""
    if item not in listed:
        return f"the list lacks the item that was chosen, '{item[:60]}'"
    if unknown := next((one for one in listed if one not in known), None):
        return f"there is no item '{unknown[:60]}'"
    return "an item is listed twice" if len(set(listed)) < len(listed) else ""


def impressions(
    events: Iterable[Interaction], shown: Shown, part: Part = "test", share: float = 0.75
) -> Split:
    """Train on what came before a moment; ask about lists of items new then.

    A list with an item on which train has an event gives no case: counting knows nothing of the others.

    Args:
        events: In any order.
        shown: The list that each event was chosen from; other events give no case.
        part: Validation asks about the train part of the test, split at the same share.
        share: Of the events, in train.

    Raises:
        RequestError: As `temporal`, and where no list is left.
    """
    known = events if part == "test" else temporal(events, share=share).train
    split = temporal(known, share=share)
    seen = {event.item_id for event in split.train}
    own: dict[str, list[Interaction]] = {}
    for event in split.train:
        own.setdefault(event.user_id, []).append(event)
    cases = []
    for event in split.held_out:
        history = own.setdefault(event.user_id, [])
        candidates = shown.get(event_key(event), ())
        if history and candidates and seen.isdisjoint(candidates):
            cases.append(Case(event.user_id, tuple(history), event, tuple(sorted(candidates))))
        history.append(event)
    if not cases:
        raise RequestError("no list has only items that are new to train", hint="choose another --share")
    rule = (
        f"{split.rule} Only lists of items on which train has no event are asked about, each by itself; "
        "the history is all of the user's own events before."
    )
    return Split(IMPRESSIONS, rule, split.train, tuple(cases), held_out=split.held_out, part=part)


def impressions_to_train_on(events: Iterable[Interaction], shown: Shown) -> tuple[Split, Split]:
    """Return what to train and to validate a model on; `impressions` can test it.

    The cases to train on come before the validation part of `impressions` at its default share.

    Raises:
        RequestError: As `impressions`.
    """
    validation = impressions(events, shown, "validation")
    return impressions(validation.train, shown, share=FITTED), validation
