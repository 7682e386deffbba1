"""Splits of the events into a train part and held-out cases.

Events are ordered oldest first; those of equal or unknown time stay in order of arrival,
as `Store.interactions` and `in_time_order` return them. An event is identified by its
user, item and time. A target is always a user's first interaction with its item.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.errors import RequestError
from recsys.types import Interaction

Part = Literal["test", "validation"]
EventKey = tuple[str, str, float | None]

TIES = "Time order is (timestamp, order of arrival); events without a time come first."
TEMPORAL = "temporal"
NEW = "A target that its user met before gives no case."


@dataclass(frozen=True)
class Case:
    """One question to a system: the item that a user interacts with next."""

    user_id: str
    history: tuple[Interaction, ...]  # oldest first, all strictly before the target
    target: Interaction
    candidates: tuple[str, ...] | None = None  # the only items to rank; None: the full catalogue
    wish: str = ""  # what the user asks for in words
    repeats: bool = False  # without candidates: items of the history are ranked too


@dataclass(frozen=True)
class Split:
    """Events divided into a train part and held-out cases."""

    name: str
    rule: str  # how the events are divided, in words
    train: tuple[Interaction, ...]  # all that may be learned from, oldest first
    cases: tuple[Case, ...]
    withheld: frozenset[str] = frozenset()  # items without events in train, on purpose
    held_out: tuple[Interaction, ...] = ()  # every event that is not in train, oldest first
    part: Part = "test"
    new: frozenset[str] = frozenset()  # the withheld items that this part asks about


def event_key(event: Interaction) -> EventKey:
    """Return what identifies an event."""
    return (event.user_id, event.item_id, event.timestamp)


def in_time_order(events: Iterable[Interaction]) -> list[Interaction]:
    """Sort oldest first, ties in the given order; events without a time come first.

    Of duplicates the last one is kept.
    """
    distinct = {event_key(event): event for event in events}.values()
    return sorted(distinct, key=lambda event: -math.inf if event.timestamp is None else event.timestamp)


def leave_one_out(
    events: Iterable[Interaction], part: Part = "test", last: int = 1, reserved: int | None = None
) -> Split:
    """Hold out each user's last events, each a target after all earlier ones.

    A user's first event is never held out, so that users with few events stay in train; a
    user with a single event gives no case.

    Args:
        events: In any order.
        part: Validation removes the reserved events first, then does the same.
        last: Events to hold out per user.
        reserved: Last events per user that validation removes. Default: `last`, the
            targets of the test.
    """
    if last < 1:
        raise RequestError(f"the last {last} events cannot be held out", hint="hold out 1 or more")
    reserved = 0 if part == "test" else last if reserved is None else reserved
    train_keys: set[EventKey] = set()
    cases: list[Case] = []
    ordered = in_time_order(events)
    for user, user_events in sorted(_by_user(ordered).items()):
        known = user_events[: max(1, len(user_events) - reserved)]
        cut = max(1, len(known) - last)
        train_keys.update(map(event_key, user_events[:cut]))
        cases += _cases(user, known, range(cut, len(known)))
    what = "last event is" if last == 1 else f"last {last} events are"
    before = f" after the last {reserved} were removed" if reserved else ""
    rule = (
        f"Each user's {what} held out{before}, their first event never; the history is all of the user's own "
        f"events before the target. {TIES} {NEW} Events of other users in train may be later than a target."
    )
    return _split("leave-one-out", rule, ordered, cases, lambda event: event_key(event) in train_keys, part)


def temporal(
    events: Iterable[Interaction],
    *,
    share: float = 0.8,
    at: float | None = None,
    part: Part = "test",
    every: bool = False,
) -> Split:
    """Train on everything before a moment; each user's next event is a target.

    Args:
        events: In any order.
        share: The moment is that of the first event after this share of them.
        at: The moment in seconds since 1970, instead of `share`.
        part: Validation splits the train part of the test once more, at the same share.
        every: Make every later event a target.

    Raises:
        RequestError: No event has a time, or one side is empty.
    """
    ordered = in_time_order(events)
    moment = _moment(ordered, share) if at is None else at
    train = [event for event in ordered if event.timestamp is None or event.timestamp < moment]
    if part == "validation" and train:
        moment = _moment(train, len(train) / len(ordered))
        known = train
        train = [event for event in known if event.timestamp is None or event.timestamp < moment]
    else:
        known = ordered
    if not train or len(train) == len(known):
        raise RequestError("the moment of the split leaves one side empty", hint="choose another")
    cases: list[Case] = []
    n_train = {user: len(user_events) for user, user_events in _by_user(train).items()}
    for user, user_events in sorted(_by_user(known).items()):
        targets = range(max(1, n_train.get(user, 0)), len(user_events))
        later = list(_cases(user, user_events, targets))
        # Users without an event before the moment are new: `cold_users` asks about those.
        cases += (later if every else later[:1]) if user in n_train else []
    train_keys = set(map(event_key, train))
    what = "Every event" if every else "The first event"
    rule = (
        f"Train is everything before {moment:.0f} s since 1970, events at that very moment not among it. "
        f"{what} of each known user from then on is a target, and the history all of the user's own events "
        f"before it. A system is told when it is asked: the moment of the target. {TIES} {NEW}"
    )
    return _split(TEMPORAL, rule, ordered, cases, lambda event: event_key(event) in train_keys, part)


def cold_users(split: Split, n: int, *, seed: int = 0, share: float = 0.5) -> Split:
    """Make a share of the case users new: no events in train, `n` in the history.

    The seed alone chooses the users, whatever `n`: results for several `n` are about the
    same users and targets. Only new users give cases.
    """
    if n < 0:
        raise RequestError(f"a history cannot have {n} events", hint="keep 0 or more")
    users = sorted({case.user_id for case in split.cases})
    new = set(random.Random(f"{seed}/cold users").sample(users, math.ceil(share * len(users))))
    cases = [
        dataclasses.replace(case, history=case.history[:n]) for case in split.cases if case.user_id in new
    ]
    moved = [event for event in split.train if event.user_id in new]
    rule = (
        f"{split.rule} Of the users with a case {share:.0%} (seed {seed}) are new: train has no event of "
        f"theirs, and all that is known is the first {n} of their events. What else they met may be "
        "recommended, which counts as wrong."
    )
    return dataclasses.replace(
        split,
        name=f"cold-users-{n}",
        rule=rule,
        train=tuple(event for event in split.train if event.user_id not in new),
        cases=tuple(cases),
        held_out=tuple(in_time_order([*moved, *split.held_out])),
    )


def hash_fraction(item_id: str, seed: int = 0) -> float:
    """Hash an item to a number in [0, 1), whatever else is in the catalogue.

    The lowest share of the items is new to the test, the next share to the validation;
    fine-tuning holds out the items below `[finetune.examples] held_items`, of seed 0.
    """
    return _hashed(f"{seed}/cold items/{item_id}") / 2**48


def fold_of(user_id: str, folds: int) -> int:
    """Hash a user to a fold, 0 to `folds` - 1, whatever other users there are."""
    return _hashed(f"folds/{user_id}") % folds


def _hashed(name: str) -> int:
    """48 bits of the SHA-256 of a name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:6], "big")


def cold_items(
    events: Iterable[Interaction], *, share: float = 0.1, seed: int = 0, part: Part = "test"
) -> Split:
    """Make a share of the items new: no event on them in train or in any history.

    The target is each user's last first interaction with a new item, the history what came
    before it; what came after it is held out too. Validation withholds as many of the other
    items and drops those of the test altogether.
    """
    ordered = in_time_order(events)
    fractions = {event.item_id: hash_fraction(event.item_id, seed) for event in ordered}
    low, high = (0.0, share) if part == "test" else (share, 2 * share)
    hidden = frozenset(item for item, fraction in fractions.items() if fraction < high)
    new = frozenset(item for item in hidden if fractions[item] >= low)
    train_keys: set[EventKey] = set()
    cases: list[Case] = []
    for user, user_events in sorted(_by_user(ordered).items()):
        targets = [
            position for position in _first_interactions(user_events) if user_events[position].item_id in new
        ]
        before = user_events[: targets[-1]] if targets else []
        history = [event for event in before if event.item_id not in hidden]
        if history:
            cases.append(Case(user, tuple(history), user_events[targets[-1]]))
        learned = history or [event for event in user_events if event.item_id not in hidden]
        train_keys.update(map(event_key, learned))
    rule = (
        f"{share:.0%} of the items (seed {seed}) are new: train and histories have no event on them. The "
        "target is each user's last first meeting with a new item, the history all events on other items "
        f"before it; what came after it is in no train. {TIES}"
    )
    split = _split("cold-items", rule, ordered, cases, lambda event: event_key(event) in train_keys, part)
    return dataclasses.replace(split, withheld=hidden, new=new)


def sample_users(split: Split, n: int, *, seed: int = 0) -> Split:
    """Keep the cases of `n` users sampled by the seed, or all if there are fewer.

    The train part stays as it is.
    """
    if n < 1:
        raise RequestError(f"{n} users cannot be evaluated", hint="ask for 1 or more")
    users = sorted({case.user_id for case in split.cases})
    sampled = set(random.Random(f"{seed}/users").sample(users, min(n, len(users))))
    return dataclasses.replace(split, cases=tuple(case for case in split.cases if case.user_id in sampled))


def _by_user(events: Sequence[Interaction]) -> dict[str, list[Interaction]]:
    by_user: dict[str, list[Interaction]] = {}
    for event in events:
        by_user.setdefault(event.user_id, []).append(event)
    return by_user


def _cases(user: str, events: Sequence[Interaction], targets: Iterable[int]) -> Iterator[Case]:
    """Return a case for each target that is a first interaction with its item."""
    first = set(_first_interactions(events))
    for position in targets:
        if position in first:
            yield Case(user, tuple(events[:position]), events[position])


def _first_interactions(events: Sequence[Interaction]) -> list[int]:
    """Return the positions of a user's first interaction with each item."""
    first: dict[str, int] = {}
    for position, event in enumerate(events):
        first.setdefault(event.item_id, position)
    return list(first.values())


def _moment(ordered: Sequence[Interaction], share: float) -> float:
    if not 0 < share < 1:
        raise RequestError(f"a share of {share} leaves one side empty", hint="choose between 0 and 1")
    moment = ordered[math.floor(share * len(ordered))].timestamp if ordered else None
    if moment is None:
        raise RequestError(
            "the events have no times to split at", hint="map a timestamp column in domain.toml"
        )
    return moment


def _split(
    name: str,
    rule: str,
    ordered: Sequence[Interaction],
    cases: Iterable[Case],
    learned: Callable[[Interaction], bool],
    part: Part,
) -> Split:
    return Split(
        name=name,
        rule=rule,
        train=tuple(event for event in ordered if learned(event)),
        cases=tuple(cases),
        held_out=tuple(event for event in ordered if not learned(event)),
        part=part,
    )
