"""The same metrics for segments of the cases: which users a system serves well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.data.dataset import EventLog
from recsys.data.splits import Case
from recsys.evaluation.metrics.comparison import CaseResults
from recsys.evaluation.protocol.base import EvaluationData
from recsys.types import Item, User

Rows = npt.NDArray[np.int64]
Breakdowns = dict[str, dict[str, Rows]]
"""Breakdown -> segment -> indices of its cases."""

HEAD, TORSO = 0.5, 0.9  # of all train events, most popular items first
MOST_VALUES = 10  # segments of one attribute or profile field
FEW_VALUES = 30  # a profile field with more of them is no grouping
RESAMPLES = 2_000


def segment_metrics(
    results: CaseResults, data: EvaluationData, systems: Sequence[str], metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Compute system -> breakdown -> segment -> metric -> value, low, high, n."""
    metrics_of: dict[str, dict[str, dict[str, dict[str, Any]]]] = {system: {} for system in systems}
    for breakdown, parts in breakdowns(data).items():
        for label, rows in parts.items():
            estimates = results.estimates(rows, resamples=RESAMPLES)
            if estimates is None:
                continue
            for system in systems:
                metrics_of[system].setdefault(breakdown, {})[label] = {
                    metric: vars(estimates.interval(system, metric)) for metric in metrics
                }
    return metrics_of


def breakdowns(data: EvaluationData) -> Breakdowns:
    """Divide the cases by history length, popularity, attributes and profile.

    Breakdowns with a single segment are left out.
    """
    cases = data.split.cases
    by_name = {
        "history length": _history_lengths(cases),
        "target popularity": _popularity(cases, data.log),
        **_attributes(cases, data.by_id),
        **_profiles(cases, data.users),
    }
    return {breakdown: parts for breakdown, parts in by_name.items() if len(parts) > 1}


def popularity_segments(log: EventLog) -> dict[str, str]:
    """Map item ids to head, torso, tail or new.

    The head is the fewest most popular items that together have half of all events; head
    and torso have 90 %; new items have no event.
    """
    order = np.lexsort((np.arange(len(log.items)), -log.counts))
    # Events on more popular items: where an item's events begin decides its segment.
    before = np.cumsum(log.counts[order]) - log.counts[order]
    total = max(1, int(log.counts.sum()))
    names = {}
    for row, events in zip(order, before, strict=True):
        part = events / total
        name = "head" if part < HEAD else "torso" if part < TORSO else "tail"
        names[log.items[row]] = name if log.counts[row] else "new"
    return names


def _history_lengths(cases: Sequence[Case]) -> dict[str, Rows]:
    """Terciles, labelled by the lengths in them."""
    lengths = np.array([len(case.history) for case in cases])
    limits = np.quantile(lengths, [1 / 3, 2 / 3], method="inverted_cdf")
    third = np.searchsorted(limits, lengths, side="left")
    parts = {}
    for number in range(3):
        rows = np.flatnonzero(third == number)
        if len(rows):
            low, high = lengths[rows].min(), lengths[rows].max()
            parts[f"{low} to {high} events" if low < high else f"{low} events"] = rows
    return parts


def _popularity(cases: Sequence[Case], log: EventLog) -> dict[str, Rows]:
    segment = popularity_segments(log)
    of_cases = np.array([segment[case.target.item_id] for case in cases], dtype=object)
    labels = {
        "head": f"head (first {HEAD:.0%} of events)",
        "torso": f"torso (to {TORSO:.0%})",
        "tail": "tail",
        "new": "new (no event in train)",
    }
    return {label: rows for name, label in labels.items() if len(rows := np.flatnonzero(of_cases == name))}


def _attributes(cases: Sequence[Case], items: Mapping[str, Item]) -> Breakdowns:
    """Return the most frequent values of each attribute of the targets."""
    values: dict[str, dict[str, list[int]]] = {}
    for number, case in enumerate(cases):
        for name, own_values in items[case.target.item_id].attributes.items():
            for value in dict.fromkeys(own_values):
                values.setdefault(name, {}).setdefault(value, []).append(number)
    return {f"target: {name}": _most_frequent(rows) for name, rows in values.items()}


def _profiles(cases: Sequence[Case], users: Mapping[str, User]) -> Breakdowns:
    values: dict[str, dict[str, list[int]]] = {}
    for number, case in enumerate(cases):
        user = users.get(case.user_id)
        for name, value in user.profile.items() if user else ():
            values.setdefault(name, {}).setdefault(value, []).append(number)
    return {f"user: {name}": _most_frequent(rows) for name, rows in values.items() if len(rows) <= FEW_VALUES}


def _most_frequent(rows: Mapping[str, list[int]]) -> dict[str, Rows]:
    frequent = Counter({value: len(indices) for value, indices in rows.items()}).most_common(MOST_VALUES)
    return {value: np.array(rows[value]) for value, _ in frequent}
