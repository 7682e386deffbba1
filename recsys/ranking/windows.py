"""How a list that is too long for one prompt is asked about in windows, and joined again."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from recsys.ranking.base import Ranking, RankRequest, summed

_FLOOR = -100.0  # log p of a label that cannot come


def anchored(n: int, size: int, at_once: int, orders: int = 1) -> list[list[int]]:
    """Windows over the positions 0..n-1 that can all be asked about at the same time.

    A list of at most `at_once` is one window. In a longer one every window of at most `size`
    holds the same few anchors, spread over the list, by which `joined` tells what the windows
    have in common; the others are dealt out in turn, so that all windows are about equally
    good. With several `orders` the same again, every second time backwards, every other
    time shuffled anew, always alike.
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
        anchors = {(2 * place + 1) * n // (2 * shared) for place in range(shared)}
        others = [position for position in order if position not in anchors]
        parts = -(-len(others) // (size - len(anchors)))
        for part in range(parts):
            held = anchors.union(others[part::parts])
            windows.append([position for position in order if position in held])
    return windows


def joined(n: int, windows: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> list[float]:
    """One score (nats) for each of n positions, from log p of each within its windows.

    By Luce's choice axiom log p(i | window) is a score of i less a constant of the window.
    Both are fitted by least squares; a window alone keeps its own log p, and several orders
    of one list give the mean of theirs. Windows must be connected by shared positions.
    """
    held, found = np.zeros((len(windows), n)), np.zeros((len(windows), n))
    for row, (window, scores) in enumerate(zip(windows, logprobs, strict=True)):
        held[row, list(window)] = 1
        found[row, list(window)] = np.maximum(scores, _FLOOR)
    times = held.sum(axis=0)
    # The scores that fit best given the constants are means; what is left is linear in the constants.
    matrix = np.diag(held.sum(axis=1)) - (held / times) @ held.T
    target = (held * (found.sum(axis=0) / times) - found).sum(axis=1)
    constants = np.linalg.lstsq(matrix, target, rcond=None)[0]
    scores = (found + held * constants[:, None]).sum(axis=0) / times
    return [float(score) for score in scores]


def slide(
    requests: Sequence[RankRequest],
    size: int,
    at_once: int,
    rank: Callable[[list[RankRequest]], list[Ranking]],
) -> list[Ranking]:
    """Rank lists of any length by `rank`, which takes several of at most `at_once` candidates.

    A longer list goes through windows of `size` from its end to its front, each half over the
    next, and every window is ordered in turn, so that the best are carried to the front: the
    first half window of the result is right if every window is (RankGPT: Sun et al., EMNLP
    2023). All requests take their steps together. Only an order comes of it: scores as in
    `by_rank`, no log-odds; prompt and baseline are those of the first step.
    """
    orders = [list(range(len(request.candidates))) for request in requests]
    plans = [_steps(len(order), size if len(order) > at_once else at_once) for order in orders]
    found: list[list[Ranking]] = [[] for _ in requests]
    for step in range(max(map(len, plans), default=0)):
        there = [number for number, plan in enumerate(plans) if step < len(plan)]
        windows = [orders[number][plans[number][step]] for number in there]
        asked = [
            dataclasses.replace(
                requests[number], candidates=tuple(requests[number].candidates[p] for p in window)
            )
            for number, window in zip(there, windows, strict=True)
        ]
        for number, window, ranking in zip(there, windows, rank(asked), strict=True):
            orders[number][plans[number][step]] = [window[place] for place in ranking.order()]
            found[number].append(ranking)
    return [
        steps[0] if len(steps) == 1 else _whole(order, steps)
        for order, steps in zip(orders, found, strict=True)
    ]


def by_rank(order: Sequence[int]) -> tuple[float, ...]:
    """Scores in proportion to 1 / rank, for an order that carries no probabilities."""
    total = math.fsum(1 / rank for rank in range(1, len(order) + 1))
    scores = [0.0] * len(order)
    for rank, position in enumerate(order, start=1):
        scores[position] = 1 / rank / total
    return tuple(scores)


def _steps(n: int, size: int) -> list[slice]:
    ends = range(n, min(n, size) - 1, -max(1, size // 2)) if n > size else [n]
    steps = [slice(max(0, end - size), end) for end in ends]
    return steps if steps[-1].start == 0 else [*steps, slice(0, size)]


def _whole(order: Sequence[int], steps: Sequence[Ranking]) -> Ranking:
    masses = [step.usage.label_mass for step in steps if step.usage.label_mass is not None]
    return dataclasses.replace(
        steps[0],
        scores=by_rank(order),
        log_odds=(None,) * len(order),
        report=next((step.report for step in steps if step.report.category != "ok"), steps[0].report),
        usage=summed(step.usage for step in steps).model_copy(
            update={"label_mass": math.fsum(masses) / len(masses) if masses else None}
        ),
        raw=tuple(text for step in steps for text in step.raw),
    )
