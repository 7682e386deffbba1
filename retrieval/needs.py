"""What fitting a channel will need: memory and time, estimated from its data.

The factors were measured on two cores (`benchmarks/fit_at_size.py`); they are for choosing and for
telling people, so a factor of two either way does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.config.retrieval import GruConfig, RetrieverConfig
from recsys.data.dataset import EventLog
from retrieval.channels.item_item_fitting import BLOCK_EXAMPLES, BLOCK_PAIRS, MOST_EVENTS, MOST_OF_A_USER
from retrieval.neighbours import neighbours_for
from retrieval.sequence.training import BLOCK_SCORES

GIB = 2**30
MENTIONED_S, MENTIONED_GIB = 10.0, 1.0
"""From how much on a step says what it will need."""

_BYTES_A_PAIR = 40  # while a block of pairs is made a matrix
_BYTES_A_CELL = 48  # of the square of the items in a closed form
_TEXTS_A_SECOND = 120
_DIMENSION = 384


@dataclass(frozen=True)
class Need:
    """Memory and time of fitting one channel."""

    bytes: float = 0.0  # beside what the process holds already
    seconds: float = 0.0

    def __str__(self) -> str:
        minutes = self.seconds / 60
        duration = f"{minutes:.0f} min" if minutes >= 2 else f"{self.seconds:.0f} s"
        return f"about {self.bytes / GIB:.1f} GiB and {duration}"

    @property
    def is_mentioned(self) -> bool:
        """Whether somebody who waits wants to know."""
        return self.seconds >= MENTIONED_S or self.bytes >= MENTIONED_GIB * GIB


def need_of(name: str, log: EventLog, config: RetrieverConfig, n_texts: int) -> Need:
    """Estimate what fitting the channel `name` on a log and so many item texts needs."""
    n_items = len(log.items)
    match name:
        case "text":
            return Need(3 * 4 * _DIMENSION * n_texts, n_texts / _TEXTS_A_SECOND)
        case "transitions":
            return _counting(2 * config.transitions.window * len(log), n_items, 3e6)
        case "cooccurrence":
            length = np.minimum(np.diff(log.start), MOST_OF_A_USER).astype(np.float64)
            return _counting(float(length @ length) / 4, n_items, 1.2e7)  # repeats count once
        case "ease":
            return _closed_form(log, config.ease.max_items)
        case "linear":
            pairs = min(len(log), MOST_EVENTS) * config.linear.length * config.linear.length
            form = _closed_form(log, config.linear.max_items)
            entries = min(2 * len(log), BLOCK_EXAMPLES) * config.linear.length
            return Need(form.bytes + entries * _BYTES_A_PAIR, form.seconds + pairs / 4e7)
        case "gru":
            return _sequence_model(log, config.gru)
        case "segment" | "nearby":
            return Need(2_000.0 * n_items, len(log) / 10_000)
        case _:
            return Need()


def _counting(pairs: float, n_items: int, pairs_a_second: float) -> Need:
    kept = min(pairs, float(n_items) * neighbours_for(n_items))
    return Need(min(pairs, BLOCK_PAIRS) * _BYTES_A_PAIR + 3 * 8 * kept, pairs / pairs_a_second)


def _closed_form(log: EventLog, max_items: int) -> Need:
    n = float(min(int((log.counts > 0).sum()), max_items))
    return Need(n * n * _BYTES_A_CELL, n**3 / 6e9)


def _sequence_model(log: EventLog, config: GruConfig) -> Need:
    n_items, events = len(log.items), min(len(log), config.epoch_events)
    scored = n_items if n_items <= config.full_softmax_items else config.negatives
    step = config.batch * config.length
    parameters = 2.0 * n_items * config.dimension
    memory = 4 * (8 * parameters + 5 * BLOCK_SCORES + 4 * step * scored)
    seconds_a_step = 0.05 + 6.0 * step * scored * config.dimension / 2e10 + parameters / 1e8
    return Need(memory, config.epochs * (events / step + 1) * seconds_a_step)
