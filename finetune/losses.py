"""What a model is taught by one request: which of the candidates was met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from finetune.packing import Packed


def loss_of(
    log_p: torch.Tensor, packed: Packed, target: int, calibration: float, prior: Sequence[float] = ()
) -> torch.Tensor:
    """The loss of one example, given log p of its labels; nats (of a title or reason: per token)."""
    if packed.objective in ("title", "reason"):
        return -log_p.mean()
    if packed.objective == "letters":
        return letters_loss(log_p[0], target, calibration)
    return listwise_loss(log_p, target, calibration, prior)


def letters_loss(log_p: torch.Tensor, target: int, calibration: float) -> torch.Tensor:
    """-log p(target's letter) among the letters, plus how unlikely it is among all tokens.

    `log_p` (candidates,) holds log p of each candidate's letter (LlamaRec, arXiv 2311.02089).
    """
    loss: torch.Tensor = -log_p.log_softmax(dim=0)[target] - calibration * log_p[target]
    return loss


def listwise_loss(
    log_p: torch.Tensor, target: int, calibration: float, prior: Sequence[float] = ()
) -> torch.Tensor:
    """-log p(target) under softmax over the candidates' log-odds, plus how unlikely the right labels are.

    `log_p` (candidates, 2) holds log p(Yes) and log p(No). The first term orders the
    candidates (Cao et al.: Learning to rank, ICML 2007); the second, times `calibration`,
    keeps the level of the log-odds meaningful and the mass on the two labels. Nats. A `prior`,
    log p of each candidate but for a constant, is added to the log-odds of the first term:
    then the model learns what the prior does not know.
    """

    log_odds = log_p[:, 0] - log_p[:, 1]
    logits = log_odds + log_odds.new_tensor(prior) if prior else log_odds
    ranking = -logits.log_softmax(dim=0)[target]
    right = log_p[:, 1].clone()
    right[target] = log_p[target, 0]
    loss: torch.Tensor = ranking - calibration * right.mean()
    return loss
