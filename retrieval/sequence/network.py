"""The GRU behind the next-item model: from a history to item logits.

Input and output embeddings differ (what an item leads to is not what leads to it) and start as the
factors of the transitions' pointwise mutual information.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys.config.retrieval import GruConfig
from recsys.data.dataset import EventLog, IntArray
from retrieval.arrays import DoubleArray, FloatArray
from retrieval.sampling import sample_users

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Network = Any
"""An `nn.ModuleDict`: torch cannot tell the types of its members."""

N_GAPS, N_RUNS = 24, 16
"""Sizes of two embeddings: of the time since the event before (in powers of two), and of an event's
position in its moment, the last for that position and later ones."""

NEAR = 10
"""Steps within which items count as transitions when embeddings are initialised."""

FACTOR_EVENTS = 500_000
"""Events that embeddings are initialised by; of a longer log, a sample of users."""

EXACT_FACTORS = 10_000
"""Items up to which embeddings are initialised by exact factors, which take minutes with more."""

EXTRA_RANK, POWER_PASSES = 16, 2
"""Of the approximate factors: columns beyond the rank, and passes that sharpen them."""


def build(config: GruConfig, n_items: int) -> Network:
    """Build the network with undefined values: call `initialise` or `load_state_dict`."""
    import torch
    from torch import nn

    d, h = config.dimension, config.hidden
    with torch.device("meta"):  # torch would draw from the random numbers of others
        network = nn.ModuleDict(
            {
                "inputs": nn.Embedding(n_items, d),
                "outputs": nn.Linear(d, n_items),
                "gaps": nn.Embedding(N_GAPS, d),
                "runs": nn.Embedding(N_RUNS, d),
                "gru": nn.GRU(d, h, config.layers, batch_first=True),
                "out": nn.Linear(h, d),
            }
        )
    return network.to_empty(device="cpu")


def initialise(network: Network, log: EventLog, generator: torch.Generator) -> None:
    """Set all values; the random ones come from `generator`."""
    import torch

    d = network["inputs"].embedding_dim
    with torch.no_grad():
        for values in network.parameters():
            if values.ndim == 1:
                values.zero_()
            else:
                values.uniform_(-1, 1, generator=generator).mul_(1 / math.sqrt(values.shape[-1]))
        network["gaps"].weight.mul_(0.1)  # items count most at first
        network["runs"].weight.mul_(0.1)
        for table, factors in zip((network["inputs"], network["outputs"]), _factors(log, d), strict=True):
            noise = torch.empty_like(table.weight).normal_(generator=generator)
            table.weight.copy_(torch.from_numpy(factors) + 0.01 * noise)
        share = np.maximum(log.counts, 0.5) / max(len(log), 1)
        network["outputs"].bias.copy_(torch.from_numpy(np.log(share)))


def states(
    network: Network,
    config: GruConfig,
    items: Tensor,
    times: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Compute the state after each item, from that item and those before it.

    Args:
        network: From `build`.
        config: Of the network.
        items: (b, l), rows of items, oldest first, -1 after the last.
        times: (b, l), seconds in double precision, NaN if unknown. The time of the next item is no input.
        generator: Draws the dropout of training; without one there is none.

    Returns:
        (b, l, d).
    """
    present = items >= 0
    embedded = network["inputs"](items.clamp(min=0)) * present[..., None]
    gaps, runs = _time_features(times)
    embedded = _dropout(embedded + network["gaps"](gaps) + network["runs"](runs), config.dropout, generator)
    hidden = _run_gru(network["gru"], embedded) if generator is None else network["gru"](embedded)[0]
    output: Tensor = network["out"](_dropout(hidden, config.dropout, generator))
    return output


def _run_gru(gru: nn.Module, embedded: Tensor) -> Tensor:
    """Run the GRU, (b, l, d); a beginning that all sequences share is run once."""
    import torch

    same = (embedded == embedded[:1]).all(dim=-1).all(dim=0)
    shared = int(same.long().cumprod(dim=0).sum())
    if len(embedded) == 1 or not 0 < shared < embedded.shape[1]:
        whole: Tensor = gru(embedded)[0]
        return whole
    before, state = gru(embedded[:1, :shared])
    after = gru(embedded[:, shared:], state.expand(-1, len(embedded), -1).contiguous())[0]
    return torch.cat([before.expand(len(embedded), -1, -1), after], dim=1)


def _time_features(times: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of the embeddings `gaps` and `runs`, both (b, l).

    A gap is 0 if the time since the event before is unknown, 1 at the same moment, else 2 + log2 of
    the seconds; a run counts the events of the moment before this one.
    """
    import torch

    seconds = torch.diff(times, prepend=torch.full_like(times[:, :1], torch.nan))
    orders = 2 + seconds.clamp(min=1).log2().floor().clamp(max=N_GAPS - 3)
    gaps = torch.where(seconds.isnan(), 0.0, torch.where(seconds <= 0, 1.0, orders)).long()
    position = torch.arange(times.shape[1]).expand(times.shape)
    moment_start = torch.where(gaps == 1, 0, position).cummax(dim=1).values
    return gaps, (position - moment_start).clamp(max=N_RUNS - 1)


def _dropout(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Apply dropout, drawn from its own generator: others' draws change nothing."""
    import torch

    if generator is None or not share:
        return values
    kept = torch.empty(values.shape, dtype=values.dtype).bernoulli_(1 - share, generator=generator)
    return values * kept / (1 - share)


def _factors(log: EventLog, dimension: int) -> tuple[FloatArray, FloatArray]:
    """Return embeddings (i, d), input and output: their products approximate PMI."""
    near = _transitions(sample_users(log, FACTOR_EVENTS).sequences(), len(log.items))
    rank = min(dimension, len(log.items))
    left = np.zeros((len(log.items), dimension))
    right = left.copy()
    if near.nnz:
        source = np.asarray(near.sum(axis=1)).ravel()
        target = np.asarray(near.sum(axis=0)).ravel() ** 0.75  # else rare items would dominate the ratio
        ratio = near.tocoo()
        ratio.data = np.log1p(ratio.data * target.sum() / (source[ratio.row] * target[ratio.col]))
        u, strength, v = _svd(ratio.tocsr(), rank)
        scale = np.sqrt(strength)
        left[:, :rank], right[:, :rank] = u * scale, v.T * scale
        unit = 1 / math.sqrt(dimension * np.mean(left[:, :rank] ** 2))
        left, right = left * unit, right * unit
    return left.astype(np.float32), right.astype(np.float32)


def _svd(matrix: sp.csr_matrix, rank: int) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the strongest singular triples: u (n, rank), s (rank,), v (rank, n)."""
    if matrix.shape[0] <= 4 * rank:
        u, strength, v = np.linalg.svd(matrix.toarray())
        return u[:, :rank], strength[:rank], v[:rank]
    if matrix.shape[0] > EXACT_FACTORS:
        return _randomised_svd(matrix, rank)
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    u, strength, v = sp.linalg.svds(matrix, k=rank, v0=start)
    return u, np.maximum(strength, 0.0), v


def _randomised_svd(matrix: sp.csr_matrix, rank: int) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Approximate the strongest singular triples in a fixed number of passes.

    Halko, Martinsson and Tropp: Finding structure with randomness, SIAM Review 2011, algorithm 4.4.
    """
    basis = matrix @ np.random.default_rng(0).standard_normal((matrix.shape[1], rank + EXTRA_RANK))
    for _ in range(POWER_PASSES):
        basis = np.linalg.qr(matrix.T @ np.linalg.qr(basis)[0])[0]
        basis = matrix @ basis
    basis = np.linalg.qr(basis)[0]
    small_u, strength, v = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return (basis @ small_u)[:, :rank], strength[:rank], v[:rank]


def _transitions(sequences: list[IntArray], n_items: int) -> sp.csr_matrix:
    """Count, as 1 / steps, how often an item follows another within NEAR, (i, i)."""
    counts = sp.csr_matrix((n_items, n_items), dtype=np.float64)
    for distance in range(1, NEAR + 1):
        pairs = [(s[:-distance], s[distance:]) for s in sequences if len(s) > distance]
        if pairs:
            before, after = (np.concatenate(side) for side in zip(*pairs, strict=True))
            step = sp.csr_matrix((np.full(len(before), 1 / distance), (before, after)), counts.shape)
            counts = counts + step
    return counts
