"""Windows over lists that are too long for one prompt, and joining their scores."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from recsys.ranking.base import Ranking, RankRequest, summed

_FLOOR = -100.0  # stands for log p of an impossible label


def anchored_windows(n: int, size: int, at_once: int, orders: int = 1) -> list[list[int]]:
    """Split positions 0..n-1 into windows that can all be scored at the same time.

    A list of at most `at_once` is one window. Of a longer list, every window of at most `size` holds
    the same few anchors, spread over the list, which `join_windows` needs; the other positions are
    dealt out in turn, so that all windows are about equally good. Each further one of `orders` is the
    previous one reversed, or a new shuffle, with fixed seeds.
    """
    windows: list[list[int]] = []
    order = list(range(n))
    for number in range(orders):
        if number % 2:
            order = order[::-1]
        elif number:
            order = random.Random(number).sample(range(n), n)
        if n <= at_once:
            windows.append(order)
            continue
        shared = max(1, size // 5)
        anchors = {(2 * anchor + 1) * n // (2 * shared) for anchor in range(shared)}
        others = [position for position in order if position not in anchors]
        parts = -(-len(others) // (size - len(anchors)))
        for part in range(parts):
            held = anchors.union(others[part::parts])
            windows.append([position for position in order if position in held])
    return windows


def join_windows(
    n: int, windows: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]
) -> list[float]:
    """Fit one score (nats) for each of n positions to log p within the windows.

    By Luce's choice axiom log p(i | window) is a score of i minus a constant of the window. Both are
    fitted by least squares. A single window keeps its log p; several orders of one list give their
    mean. Windows must be connected by shared positions.

    Args:
        n: Number of positions.
        windows: Positions in each window.
        logprobs: log p of each position in each window, nats.
    """
    held, observed = np.zeros((len(windows), n)), np.zeros((len(windows), n))
    for row, (window, scores) in enumerate(zip(windows, logprobs, strict=True)):
        held[row, list(window)] = 1
        observed[row, list(window)] = np.maximum(scores, _FLOOR)
    times = held.sum(axis=0)
    # Given the constants, the best scores are means; what remains is linear in the constants.
    matrix = np.diag(held.sum(axis=1)) - (held / times) @ held.T
    target = (held * (observed.sum(axis=0) / times) - observed).sum(axis=1)
    constants = np.linalg.lstsq(matrix, target, rcond=None)[0]
    scores = (observed + held * constants[:, None]).sum(axis=0) / times
    return [float(score) for score in scores]


def rank_by_sliding_windows(
    requests: Sequence[RankRequest],
    size: int,
    at_once: int,
    rank: Callable[[list[RankRequest]], list[Ranking]],
) -> list[Ranking]:
    """Rank lists of any length with sliding windows (RankGPT: Sun et al., EMNLP 2023).

    A list longer than `at_once` is ordered in windows from its end to its front. Neighbouring windows
    overlap by half, so that the best candidates move to the front: the first half window of the result
    is right if every window is. All requests take their steps together. The result is an order: scores
    as in `reciprocal_rank_scores`, no log-odds; prompt and baseline are those of the first step.

    Args:
        requests: What is ranked.
        size: Candidates in a window.
        at_once: Most candidates that are ranked without windows.
        rank: Ranks several requests of at most `at_once` candidates.
    """
    orders = [list(range(len(request.candidates))) for request in requests]
    plans = [_steps(len(order), size if len(order) > at_once else at_once) for order in orders]
    rankings: list[list[Ranking]] = [[] for _ in requests]
    for step in range(max(map(len, plans), default=0)):
        active = [number for number, plan in enumerate(plans) if step < len(plan)]
        windows = [orders[number][plans[number][step]] for number in active]
        windowed = [
            dataclasses.replace(
                requests[number], candidates=tuple(requests[number].candidates[p] for p in window)
            )
            for number, window in zip(active, windows, strict=True)
        ]
        for number, window, ranking in zip(active, windows, rank(windowed), strict=True):
            orders[number][plans[number][step]] = [window[position] for position in ranking.order()]
            rankings[number].append(ranking)
    return [
        steps[0] if len(steps) == 1 else _combine(order, steps)
        for order, steps in zip(orders, rankings, strict=True)
    ]


def reciprocal_rank_scores(order: Sequence[int]) -> tuple[float, ...]:
    """Return scores proportional to 1 / rank, for an order without probabilities."""
    total = math.fsum(1 / rank for rank in range(1, len(order) + 1))
    scores = [0.0] * len(order)
    for rank, position in enumerate(order, start=1):
        scores[position] = 1 / rank / total
    return tuple(scores)


def _steps(n: int, size: int) -> list[slice]:
    """Return the windows of a list from its end to its front."""
    ends = range(n, min(n, size) - 1, -max(1, size // 2)) if n > size else [n]
    steps = [slice(max(0, end - size), end) for end in ends]
    return steps if steps[-1].start == 0 else [*steps, slice(0, size)]


def _combine(order: Sequence[int], steps: Sequence[Ranking]) -> Ranking:
    """Return the ranking of a list that took several steps."""
    masses = [step.usage.label_mass for step in steps if step.usage.label_mass is not None]
    return dataclasses.replace(
        steps[0],
        scores=reciprocal_rank_scores(order),
        log_odds=(None,) * len(order),
        report=next((step.report for step in steps if step.report.category != "ok"), steps[0].report),
        usage=summed(step.usage for step in steps).model_copy(
            update={"label_mass": math.fsum(masses) / len(masses) if masses else None}
        ),
        raw=tuple(text for step in steps for text in step.raw),
    )
