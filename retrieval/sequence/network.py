"""The networks behind next-item models: a history in, the odds of every item out.

"lru" is linear in the history: item embeddings summed up, decayed at several learned
rates (recurrences with real eigenvalues) and by time. It says what counts of transitions
say, through fewer numbers. "attention" adds to it what is not linear, "gru" does without.
Input and output embeddings differ (what an item leads to is not what leads to it) and
start as the factors of the transitions' pointwise mutual information.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys.config.retrieval import SequenceConfig
from recsys.data.dataset import EventLog, FloatArray, IntArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DECAYS = (0.3, 0.6, 0.75, 0.88, 0.95, 0.99)
"""Where the learned rates start: memories of about 1, 2, 4, 8, 20 and 100 items."""

Network = Any
"""An `nn.ModuleDict`: torch cannot tell the types of its members."""

SPANS = (0.1, 60.0, 3600.0, 86400.0)
"""Seconds by which means over the recent past decay: the same moment, minute, hour and day."""

N_GAPS, N_RUNS = 24, 16
"""Binary orders of magnitude of the time since the event before; places in a moment, that many and more."""

NEAR = 10
"""Steps within which items count as met together when embeddings are initialised."""


def build(config: SequenceConfig, n_items: int) -> Network:
    """The network, its values still undefined: call `initialise` or `load_state_dict`."""
    import torch
    from torch import nn

    d, h = config.dimension, config.hidden
    with torch.device("meta"):  # torch would fill in random numbers that others may count on
        network = nn.ModuleDict({"inputs": nn.Embedding(n_items, d), "outputs": nn.Linear(d, n_items)})
        if config.architecture == "gru":
            network["gaps"] = nn.Embedding(N_GAPS, d)
            network["runs"] = nn.Embedding(N_RUNS, d)
            network["gru"] = nn.GRU(d, h, config.layers, batch_first=True)
            network["out"] = nn.Linear(h, d)
        else:
            network["decays"] = nn.ParameterDict({"logit": nn.Parameter(torch.empty(len(DECAYS)))})
            network["mix"] = nn.Linear((len(DECAYS) + len(SPANS)) * d, d, bias=False)
        if config.architecture == "attention":
            network["blocks"] = nn.ModuleList(
                nn.ModuleDict(
                    {
                        "before": nn.LayerNorm(d),
                        "query_key_value": nn.Linear(d, 3 * d),
                        "after": nn.Linear(d, d),
                        "slopes": nn.ParameterDict({"log": nn.Parameter(torch.empty(config.heads))}),
                        "norm": nn.LayerNorm(d),
                        "widen": nn.Linear(d, h),
                        "narrow": nn.Linear(h, d),
                    }
                )
                for _ in range(config.layers)
            )
            network["out"] = nn.LayerNorm(d)
    return network.to_empty(device="cpu")


def initialise(network: Network, log: EventLog, generator: torch.Generator) -> None:
    """Fill in all values; every random one comes from `generator`."""
    import torch

    d = network["inputs"].embedding_dim
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith(("before.weight", "norm.weight")) or (name == "out.weight" and values.ndim == 1):
                values.fill_(1.0)
            elif values.ndim == 1:
                values.zero_()
            else:
                values.uniform_(-1, 1, generator=generator).mul_(1 / math.sqrt(values.shape[-1]))
        if "gru" in network:
            network["gaps"].weight.mul_(0.1)  # at first the items speak
            network["runs"].weight.mul_(0.1)
        else:
            n_sums = len(DECAYS) + len(SPANS)
            network["decays"]["logit"].copy_(torch.logit(torch.tensor(DECAYS)))
            network["mix"].weight.copy_(torch.eye(d).repeat(1, n_sums) / n_sums)
        for block in network["blocks"] if "blocks" in network else []:  # noqa: SIM401  # it has no get()
            heads = len(block["slopes"]["log"])
            block["slopes"]["log"].copy_(-math.log(2) * (1 + 1.5 * torch.arange(heads)))
        for table, factors in zip((network["inputs"], network["outputs"]), _factors(log, d), strict=True):
            noise = torch.empty_like(table.weight).normal_(generator=generator)
            table.weight.copy_(torch.from_numpy(factors) + 0.01 * noise)
        share = np.maximum(log.counts, 0.5) / max(len(log), 1)
        network["outputs"].bias.copy_(torch.from_numpy(np.log(share)))


def states(
    network: Network,
    config: SequenceConfig,
    items: Tensor,
    times: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What to say after each item, shape (b, l, d), from that item and those before it.

    `items` (b, l) are rows, oldest first, -1 after the last; `times` (b, l) seconds in
    double precision, NaN if unknown. The time of what comes next is no input.
    `generator` draws the dropout of training; without one there is none.
    """
    present = items >= 0
    embedded = network["inputs"](items.clamp(min=0)) * present[..., None]
    if config.architecture == "gru":
        gaps, runs = _gaps(times)
        embedded = _drop(embedded + network["gaps"](gaps) + network["runs"](runs), config.dropout, generator)
        state = _recur(network["gru"], embedded) if generator is None else network["gru"](embedded)[0]
        found: Tensor = network["out"](_drop(state, config.dropout, generator))
        return found
    embedded = _drop(embedded, config.dropout, generator)
    found = _linear_path(network, embedded, times)
    if config.architecture == "attention":
        state = embedded
        for block in network["blocks"]:
            state = _attend(block, config, state, generator)
        found = found + network["out"](state)
    return _drop(found, config.dropout, generator)


def _recur(gru: nn.Module, embedded: Tensor) -> Tensor:
    """What the GRU says after each input, shape (b, l, d); it reads only once what all begin with."""
    import torch

    same = (embedded == embedded[:1]).all(dim=-1).all(dim=0)
    shared = int(same.long().cumprod(dim=0).sum())
    if len(embedded) == 1 or not 0 < shared < embedded.shape[1]:
        whole: Tensor = gru(embedded)[0]
        return whole
    before, state = gru(embedded[:1, :shared])
    after = gru(embedded[:, shared:], state.expand(-1, len(embedded), -1).contiguous())[0]
    return torch.cat([before.expand(len(embedded), -1, -1), after], dim=1)


def _gaps(times: Tensor) -> tuple[Tensor, Tensor]:
    """How long ago the event before was, 0 if unknown, 1 if at the same moment, else 2 + log2 of the
    seconds; and how many events of its moment came before. Both (b, l)."""
    import torch

    seconds = torch.diff(times, prepend=torch.full_like(times[:, :1], torch.nan))
    orders = 2 + seconds.clamp(min=1).log2().floor().clamp(max=N_GAPS - 3)
    gaps = torch.where(seconds.isnan(), 0.0, torch.where(seconds <= 0, 1.0, orders)).long()
    place = torch.arange(times.shape[1]).expand(times.shape)
    begun = torch.where(gaps == 1, 0, place).cummax(dim=1).values
    return gaps, (place - begun).clamp(max=N_RUNS - 1)


def _linear_path(network: Network, embedded: Tensor, times: Tensor) -> Tensor:
    """Sums that decay by the number of items since, means that decay by time, and a matrix to join them."""
    import torch

    age = _ages(embedded.shape[1])
    past = (age >= 0).float()
    rate = torch.sigmoid(network["decays"]["logit"])[:, None, None]
    by_items = rate ** age.clamp(min=0) * past * (1 - rate)
    sums = torch.einsum("rij,bjd->bird", by_items, embedded)
    seconds = (times[:, :, None] - times[:, None, :]).float().clamp(min=0)
    seconds = torch.where(age == 0, 0.0, seconds.nan_to_num(nan=torch.inf))  # unknown: a moment of its own
    by_time = torch.exp(-seconds[:, None] / torch.tensor(SPANS)[:, None, None]) * past
    means = torch.einsum("brij,bjd->bird", by_time / by_time.sum(dim=-1, keepdim=True), embedded)
    return network["mix"](torch.cat([sums, means], dim=2).flatten(2))  # type: ignore[no-any-return]


def _attend(
    block: Network, config: SequenceConfig, state: Tensor, generator: torch.Generator | None
) -> Tensor:
    """A pre-norm transformer block whose heads look back with a learned linear bias instead of positions."""
    import torch
    from torch.nn import functional

    b, length, d = state.shape
    parts = block["query_key_value"](block["before"](state)).view(b, length, 3, config.heads, -1)
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    age = _ages(length)
    bias = torch.where(age >= 0, -torch.exp(block["slopes"]["log"])[:, None, None] * age, -torch.inf)
    attention = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(d // config.heads) + bias, dim=-1)
    read = _drop(attention, config.dropout, generator) @ value
    state = state + _drop(block["after"](read.transpose(1, 2).flatten(2)), config.dropout, generator)
    inner = _drop(functional.gelu(block["widen"](block["norm"](state))), config.dropout, generator)
    return state + _drop(block["narrow"](inner), config.dropout, generator)


def _ages(length: int) -> Tensor:
    """How many items before position i position j is, shape (length, length); negative: after it."""
    import torch

    place = torch.arange(length, dtype=torch.float32)
    return place[:, None] - place[None, :]


def _drop(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Dropout from a generator of its own: other users of torch in the process change nothing."""
    import torch

    if generator is None or not share:
        return values
    kept = torch.empty(values.shape, dtype=values.dtype).bernoulli_(1 - share, generator=generator)
    return values * kept / (1 - share)


def _factors(log: EventLog, dimension: int) -> tuple[FloatArray, FloatArray]:
    """Input and output embeddings (i, d) whose products are close to the transitions' log(1 + PMI ratio)."""
    near = _transitions(log.sequences(), len(log.items))
    rank = min(dimension, len(log.items))
    left = np.zeros((len(log.items), dimension))
    right = left.copy()
    if near.nnz:
        source = np.asarray(near.sum(axis=1)).ravel()
        target = np.asarray(near.sum(axis=0)).ravel() ** 0.75  # rare items would have all the ratio
        ratio = near.tocoo()
        ratio.data = np.log1p(ratio.data * target.sum() / (source[ratio.row] * target[ratio.col]))
        u, strength, v = _svd(ratio.tocsr(), rank)
        scale = np.sqrt(strength)
        left[:, :rank], right[:, :rank] = u * scale, v.T * scale
        unit = 1 / math.sqrt(dimension * np.mean(left[:, :rank] ** 2))
        left, right = left * unit, right * unit
    return left.astype(np.float32), right.astype(np.float32)


def _svd(
    matrix: sp.csr_matrix, rank: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The `rank` strongest singular triples: u (n, rank), s (rank,), v (rank, n)."""
    if matrix.shape[0] <= 4 * rank:
        u, strength, v = np.linalg.svd(matrix.toarray())
        return u[:, :rank], strength[:rank], v[:rank]
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    u, strength, v = sp.linalg.svds(matrix, k=rank, v0=start)
    return u, np.maximum(strength, 0.0), v


def _transitions(sequences: list[IntArray], n_items: int) -> sp.csr_matrix:
    """How often one item came within NEAR steps of another, each time 1 / steps; shape (i, i)."""
    counts = sp.csr_matrix((n_items, n_items), dtype=np.float64)
    for distance in range(1, NEAR + 1):
        pairs = [(s[:-distance], s[distance:]) for s in sequences if len(s) > distance]
        if pairs:
            before, after = (np.concatenate(side) for side in zip(*pairs, strict=True))
            step = sp.csr_matrix((np.full(len(before), 1 / distance), (before, after)), counts.shape)
            counts = counts + step
    return counts
