"""The loss of the next item: over all items, or a sample of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys.config.retrieval import GruConfig
from recsys.data.dataset import EventLog

if TYPE_CHECKING:
    from torch import Tensor, nn

SMOOTHING = 0.75
"""Power of the popularity by which items are sampled."""


class NextItemLoss:
    """Cross-entropy of the next item.

    With more than `config.full_softmax_items` items, each step compares the targets with items
    sampled by popularity and corrects the logits by how likely each is sampled, so that the network
    still learns log-probabilities.
    Jean et al.: On using very large target vocabulary for neural machine translation, ACL 2015.

    Args:
        learned: The events that are learned from.
        config: Above how many items to sample, and how many.
        rng: Draws the samples.
    """

    def __init__(self, learned: EventLog, config: GruConfig, rng: np.random.Generator) -> None:
        self._rng = rng
        self._negatives = config.negatives if len(learned.items) > config.full_softmax_items else 0
        share = np.maximum(learned.counts, 0.5) ** SMOOTHING
        self._cumulative = np.cumsum(share / share.sum())
        self._log_share = np.log(share / share.sum()).astype(np.float32)

    def __call__(self, outputs: nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of states (p, d) and the rows of the next items (p,)."""
        import torch
        from torch.nn import functional

        if not self._negatives:
            return functional.cross_entropy(outputs(states), targets)
        drawn = np.searchsorted(self._cumulative, self._rng.random(self._negatives))
        sampled = torch.from_numpy(np.minimum(drawn, len(self._cumulative) - 1))
        log_share = torch.from_numpy(self._log_share)
        weight, bias = outputs.weight, outputs.bias - log_share
        of_target = (states * weight[targets]).sum(dim=1) + bias[targets]
        others = states @ weight[sampled].T + bias[sampled]
        others = others.masked_fill(targets[:, None] == sampled, -torch.inf)
        logits = torch.cat([of_target[:, None], others], dim=1)
        return functional.cross_entropy(logits, torch.zeros_like(targets))
