"""How fresh short lists are, how like the past, and how like other people's.

Calibration and fragmentation follow Vrijenhoek et al.: RADio, RecSys 2022: divergences of distributions
in which an item counts by the discount of its rank.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from recsys.config import Domain
from recsys.data.splits import Case
from recsys.knowledge.typed_values import read_value
from recsys.types import Item

K = 5
SMOOTHING = 1e-3  # share of the other distribution that is mixed into one, so that no share is 0
DAY_H = 24.0
EPOCH = 719_163  # the day of 1 January 1970, as dates count days

Related = Callable[[str, str], bool]


def radio(
    rankings: Sequence[Sequence[str]],
    cases: Sequence[Case],
    items: Mapping[str, Item],
    domain: Domain,
    same: Related | None = None,
) -> dict[str, float | None]:
    """Compute the measures of the first five; None where that is impossible.

    - age_h@5: mean hours between publication and request, of items with a date or time;
    - calibration@5: mean divergence of the list's attribute values from those of the history (0 alike,
      1 nothing in common), over the attributes that are a category or a list;
    - fragmentation@5: mean divergence of the lists of two users that asked one after the other;
    - repeated@5: share of items that are the `same` as one above them in the list.

    Args:
        rankings: Item ids of each case, best first.
        cases: The cases.
        items: The catalogue by id.
        domain: The types of attributes.
        same: Whether two items tell the same.
    """
    tops = [tuple(ranking[:K]) for ranking in rankings]
    names = [name for name, kind in domain.attributes.items() if kind.type in ("category", "list")]
    return {
        f"age_h@{K}": _mean(_ages(tops, cases, items, domain)),
        f"calibration@{K}": _mean(
            divergence(_values(top, name, items), _values(past, name, items, discounted=False))
            for top, case in zip(tops, cases, strict=True)
            if (past := [event.item_id for event in case.history])
            for name in names
        ),
        f"fragmentation@{K}": _mean(_fragments(tops, cases)),
        f"repeated@{K}": _mean(
            any(same(item, above) for above in top[:rank]) for top in tops for rank, item in enumerate(top)
        )
        if same
        else None,
    }


def divergence(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """Return the Jensen-Shannon divergence in bits; None if one side is empty."""
    if not a or not b:
        return None
    keys = sorted({*a, *b})
    p, q = (np.array([of.get(key, 0.0) for key in keys]) / sum(of.values()) for of in (a, b))
    p, q = (1 - SMOOTHING) * p + SMOOTHING * q, (1 - SMOOTHING) * q + SMOOTHING * p
    mean = (p + q) / 2
    return float((p @ np.log2(p / mean) + q @ np.log2(q / mean)) / 2)


def _values(
    ids: Sequence[str], name: str, items: Mapping[str, Item], *, discounted: bool = True
) -> dict[str, float]:
    """Return value -> weight; an item's values share its own."""
    weights: dict[str, float] = defaultdict(float)
    for rank, item in enumerate(ids, start=1):
        values = items[item].attributes.get(name, ())
        for value in values:
            weights[value] += (1 / np.log2(rank + 1) if discounted else 1.0) / len(values)
    return weights


def _ages(
    tops: Sequence[Sequence[str]], cases: Sequence[Case], items: Mapping[str, Item], domain: Domain
) -> Iterable[float]:
    dated = [name for name, kind in domain.attributes.items() if kind.type in ("date", "time")]
    for top, case in zip(tops, cases, strict=True):
        for item in top if dated and case.target.timestamp is not None else ():
            if shown := items[item].attributes.get(dated[0]):
                day = read_value(shown[0], dated[0], domain.attributes[dated[0]]).first or 0.0
                yield (case.target.timestamp or 0.0) / 3600 - (day - EPOCH) * DAY_H


def _fragments(tops: Sequence[Sequence[str]], cases: Sequence[Case]) -> Iterable[float | None]:
    """Yield the divergence of each two lists that follow each other in time."""
    order = sorted(range(len(tops)), key=lambda row: (cases[row].target.timestamp or 0.0, row))
    for one, other in itertools.pairwise(order):
        if cases[one].user_id != cases[other].user_id:
            first, second = (
                {item: 1 / np.log2(rank + 1) for rank, item in enumerate(tops[row], start=1)}
                for row in (one, other)
            )
            yield divergence(first, second)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
