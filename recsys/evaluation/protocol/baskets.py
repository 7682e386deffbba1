"""Next-basket tasks: what a user buys next, and what they buy for the first time.

Events of a user at one time are a basket.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal

from recsys.data.splits import Case, Part, Split, in_time_order
from recsys.errors import RequestError
from recsys.types import Interaction

Task = Literal["next-basket", "next-new"]

Basket = list[Interaction]


def next_basket(events: Iterable[Interaction], task: Task, part: Part = "test", *, seed: int = 0) -> Split:
    """Hold out each user's last basket, of which one item is the target.

    The target is drawn by the seed: for "next-basket" among all items, which the user may have had
    before; for "next-new" among those of the last basket that they had not, and a basket without one
    gives no case. The history is all baskets before it. Over many users, a metric of the drawn target
    is the mean over the items of a basket.

    Args:
        events: In any order; those without a time are left out.
        task: What is asked.
        part: Validation removes each user's last basket first, then does the same.
        seed: Of the draw.

    Raises:
        RequestError: No event has a time.
    """
    ordered = [event for event in in_time_order(events) if event.timestamp is not None]
    if not ordered:
        raise RequestError("baskets need times", hint="map a timestamp column in domain.toml")
    train: list[Interaction] = []
    held_out: list[Interaction] = []
    cases: list[Case] = []
    for user, baskets in sorted(_baskets(ordered).items()):
        known = baskets if part == "test" else baskets[: max(1, len(baskets) - 1)]
        cut = max(1, len(known) - 1)
        history = _joined(baskets[:cut])
        train += history
        held_out += _joined(baskets[cut:])
        had = {event.item_id for event in history}
        last = known[-1] if len(known) > cut else []
        targets = [event for event in last if task == "next-basket" or event.item_id not in had]
        if targets:
            target = random.Random(f"{seed}/{user}").choice(targets)
            cases.append(Case(user, tuple(history), target, repeats=task == "next-basket"))
    before = " after that was removed" if part == "validation" else ""
    drawn = "one of its items" if task == "next-basket" else "one of its items that the user had not had"
    rule = (
        f"Each user's last basket (events at one time) is held out{before}, their first never. The target is "
        f"{drawn}, drawn with seed {seed}; the history is all of the user's baskets before it. Events of "
        "other users in train may be later than a target."
    )
    return Split(task, rule, tuple(in_time_order(train)), tuple(cases), held_out=tuple(held_out), part=part)


def _baskets(ordered: Sequence[Interaction]) -> dict[str, list[Basket]]:
    by_user: dict[str, Basket] = {}
    for event in ordered:
        by_user.setdefault(event.user_id, []).append(event)
    return {
        user: [list(basket) for _, basket in groupby(of_user, key=lambda event: event.timestamp)]
        for user, of_user in by_user.items()
    }


def _joined(baskets: Sequence[Basket]) -> Basket:
    return [event for basket in baskets for event in basket]
