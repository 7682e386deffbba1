"""Which events are learned from, and which are asked about.

Events come oldest first; those of the same moment, or of unknown time, stay in order
of arrival, as `Store.interactions` and `in_time_order` give them. An event is known by
its user, item and time. Everywhere a target is something new to its user: an event on
an item that the user met before gives no case.
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
NEW = "A target that its user met before gives no case."


@dataclass(frozen=True)
class Case:
    """One question to a system: what will this user meet next?

    `history` is oldest first, all of it strictly before `target` in the user's order.
    `candidates` are the only items to rank; None means the full catalogue. `wish` is what
    the user asks for in words, empty if nothing.
    """

    user_id: str
    history: tuple[Interaction, ...]
    target: Interaction
    candidates: tuple[str, ...] | None = None
    wish: str = ""


@dataclass(frozen=True)
class Split:
    """Events cut into those that may be learned from and those that are asked about.

    `rule` says in words how. `train` (oldest first) is all that anything may be learned
    from, `held_out` (oldest first) every other event: targets, events kept for another
    part, events of users or items that are to be new. `withheld` are ids of items of
    which train has no event on purpose, `new` those of them that this part asks about.
    `part` says which figures these are.
    """

    name: str
    rule: str
    train: tuple[Interaction, ...]
    cases: tuple[Case, ...]
    withheld: frozenset[str] = frozenset()
    held_out: tuple[Interaction, ...] = ()
    part: Part = "test"
    new: frozenset[str] = frozenset()


def event_key(event: Interaction) -> EventKey:
    """What an event is known by."""
    return (event.user_id, event.item_id, event.timestamp)


def in_time_order(events: Iterable[Interaction]) -> list[Interaction]:
    """Oldest first, ties in the order given; events without a time before all others.

    An event that is given twice counts once, as it was given last.
    """
    distinct = {event_key(event): event for event in events}.values()
    return sorted(distinct, key=lambda event: -math.inf if event.timestamp is None else event.timestamp)


def leave_one_out(
    events: Iterable[Interaction], part: Part = "test", last: int = 1, reserved: int | None = None
) -> Split:
    """Each user's last `last` events are targets, each with all the user's events before it.

    Validation does the same after each user's last `reserved` events (default: `last`, which
    are the targets of the test) are removed. A user's first event is never held out, so
    that users with few events stay in train; who has one event alone gives no case.
    """
    if last < 1:
        raise RequestError(f"the last {last} events cannot be held out", hint="hold out 1 or more")
    reserved = 0 if part == "test" else last if reserved is None else reserved
    train_keys: set[EventKey] = set()
    cases: list[Case] = []
    ordered = in_time_order(events)
    for user, own in sorted(_by_user(ordered).items()):
        known = own[: max(1, len(own) - reserved)]
        cut = max(1, len(known) - last)
        train_keys.update(map(event_key, own[:cut]))
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
    """Learned from: everything before a moment. Asked about: each user's first event from then on.

    The moment is `at` (seconds since 1970), or that of the first event after `share` of them.
    With `every`, every later event is a target. Validation splits the test's train once
    more, at the same share of it. Raises RequestError if no event has a time, or nothing
    lies on one side.
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
        raise RequestError("the moment of the split leaves nothing on one side", hint="choose another")
    cases: list[Case] = []
    learned = {user: len(own) for user, own in _by_user(train).items()}
    for user, own in sorted(_by_user(known).items()):
        after = list(_cases(user, own, range(max(1, learned.get(user, 0)), len(own))))
        # Who has no event before the moment is new to every system: `cold_users` asks about them.
        cases += (after if every else after[:1]) if user in learned else []
    train_keys = set(map(event_key, train))
    what = "Every event" if every else "The first event"
    rule = (
        f"Train is everything before {moment:.0f} s since 1970, events at that very moment not among it. {what} of "
        f"each known user from then on is a target, and the history all of the user's own events before it. "
        f"{TIES} {NEW}"
    )
    return _split("temporal", rule, ordered, cases, lambda event: event_key(event) in train_keys, part)


def cold_users(split: Split, n: int, *, seed: int = 0, share: float = 0.5) -> Split:
    """A share of the case users made new: no event of theirs in train, their first `n` in the history.

    Which users is chosen by the seed alone, whatever `n`: figures for several `n` are of
    the same people and the same targets. Only new users give cases.
    """
    if n < 0:
        raise RequestError(f"a history of {n} events cannot be", hint="keep 0 or more")
    people = sorted({case.user_id for case in split.cases})
    new = set(random.Random(f"{seed}/cold users").sample(people, math.ceil(share * len(people))))
    cases = [
        dataclasses.replace(case, history=case.history[:n]) for case in split.cases if case.user_id in new
    ]
    moved = [event for event in split.train if event.user_id in new]
    rule = (
        f"{split.rule} Of the users with a case {share:.0%} (seed {seed}) are new: train has no event of theirs, and "
        f"all that is known is the first {n} of their events. What else they met may be recommended, which counts as wrong."
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
    """A number in [0, 1) that belongs to an item, whatever else is in the catalogue.

    A share of the items is new to a test, and as large a share after it to the validation;
    tuning holds out the items below `[finetune.examples] held_items`, of seed 0.
    """
    return _hashed(f"{seed}/cold items/{item_id}") / 2**48


def fold_of(user_id: str, folds: int) -> int:
    """Which of so many folds a user is in, whoever else there is: 0, 1, ... `folds` - 1."""
    return _hashed(f"folds/{user_id}") % folds


def _hashed(name: str) -> int:
    """A number of 48 bits that belongs to a name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:6], "big")


def cold_items(
    events: Iterable[Interaction], *, share: float = 0.1, seed: int = 0, part: Part = "test"
) -> Split:
    """A share of the items made new: no event on them in train or in any history.

    The target is the last such item that each user met for the first time; the history is
    what the user met before it. What users with a case did after their target is held out too. Validation
    withholds as many of the other items, with those of the test gone altogether.
    """
    ordered = in_time_order(events)
    fractions = {event.item_id: hash_fraction(event.item_id, seed) for event in ordered}
    low, high = (0.0, share) if part == "test" else (share, 2 * share)
    hidden = frozenset(item for item, fraction in fractions.items() if fraction < high)
    new = frozenset(item for item in hidden if fractions[item] >= low)
    train_keys: set[EventKey] = set()
    cases: list[Case] = []
    for user, own in sorted(_by_user(ordered).items()):
        met_new = [position for position in _first_meetings(own) if own[position].item_id in new]
        known = [event for event in own[: met_new[-1]] if event.item_id not in hidden] if met_new else []
        if known:
            cases.append(Case(user, tuple(known), own[met_new[-1]]))
        learned = known or [event for event in own if event.item_id not in hidden]
        train_keys.update(map(event_key, learned))
    rule = (
        f"{share:.0%} of the items (seed {seed}) are new: train and histories have no event on them. The target is each "
        f"user's last first meeting with a new item, the history all events on other items before it; what came after it is in "
        f"no train. {TIES}"
    )
    split = _split("cold-items", rule, ordered, cases, lambda event: event_key(event) in train_keys, part)
    return dataclasses.replace(split, withheld=hidden, new=new)


def of_users(split: Split, n: int, *, seed: int = 0) -> Split:
    """The cases of `n` users drawn by the seed; train stays whole. All of them if there are fewer."""
    if n < 1:
        raise RequestError(f"{n} users cannot be evaluated", hint="ask for 1 or more")
    people = sorted({case.user_id for case in split.cases})
    sampled = set(random.Random(f"{seed}/users").sample(people, min(n, len(people))))
    return dataclasses.replace(split, cases=tuple(case for case in split.cases if case.user_id in sampled))


def _by_user(events: Sequence[Interaction]) -> dict[str, list[Interaction]]:
    own: dict[str, list[Interaction]] = {}
    for event in events:
        own.setdefault(event.user_id, []).append(event)
    return own


def _cases(user: str, own: Sequence[Interaction], targets: Iterable[int]) -> Iterator[Case]:
    """A case for each target position whose item the user meets for the first time."""
    new = set(_first_meetings(own))
    for position in targets:
        if position in new:
            yield Case(user, tuple(own[:position]), own[position])


def _first_meetings(own: Sequence[Interaction]) -> list[int]:
    """The positions at which a user meets an item for the first time."""
    first: dict[str, int] = {}
    for position, event in enumerate(own):
        first.setdefault(event.item_id, position)
    return list(first.values())


def _moment(ordered: Sequence[Interaction], share: float) -> float:
    if not 0 < share < 1:
        raise RequestError(f"a share of {share} leaves nothing on one side", hint="choose between 0 and 1")
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
