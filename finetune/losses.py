"""Training losses of one request: which of its candidates is the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from finetune.packing import PackedPrompt


def example_loss(
    log_p: torch.Tensor, packed: PackedPrompt, target: int, calibration: float, prior: Sequence[float] = ()
) -> torch.Tensor:
    """Compute the loss of one example by its objective.

    Args:
        log_p: Log-probabilities of the example's labels, (n, k) as `packed.labels`, nats.
        packed: The example's prompt.
        target: Index of the right candidate.
        calibration: Weight of the right labels' own likelihood.
        prior: Added to the candidates' log-odds, see `listwise_loss`.

    Returns:
        A scalar in nats; of a title, reason or reading the mean over its tokens.
    """
    if packed.objective in ("title", "reason", "read"):
        return -log_p.mean()
    if packed.objective == "letters":
        return letters_loss(log_p[0], target, calibration)
    return listwise_loss(log_p, target, calibration, prior)


def letters_loss(log_p: torch.Tensor, target: int, calibration: float) -> torch.Tensor:
    """Compute -log p(target's letter) among the letters, plus a calibration term.

    The term is `calibration` times -log p of the letter among all tokens (LlamaRec, arXiv 2311.02089).

    Args:
        log_p: (candidates,) log p of each candidate's letter.
        target: Index of the right candidate.
        calibration: Weight of the calibration term.
    """
    loss: torch.Tensor = -log_p.log_softmax(dim=0)[target] - calibration * log_p[target]
    return loss


def listwise_loss(
    log_p: torch.Tensor, target: int, calibration: float, prior: Sequence[float] = ()
) -> torch.Tensor:
    """Compute the listwise softmax loss over log-odds, plus a calibration term.

    The first term, -log p(target) under softmax over the candidates' log-odds, orders the candidates
    (ListNet: Cao et al., Learning to rank, ICML 2007). The second, `calibration` times -log p of the right
    labels, keeps the level of the log-odds meaningful and the probability mass on the two labels.

    Args:
        log_p: (candidates, 2) log p(Yes) and log p(No), nats.
        target: Index of the right candidate.
        calibration: Weight of the calibration term.
        prior: (candidates,) log p of each candidate up to a constant, added to the log-odds of the
            first term: the model then learns what the prior does not know. () for none.
    """
    log_odds = log_p[:, 0] - log_p[:, 1]
    logits = log_odds + log_odds.new_tensor(prior) if prior else log_odds
    ranking = -logits.log_softmax(dim=0)[target]
    right = log_p[:, 1].clone()
    right[target] = log_p[target, 0]
    loss: torch.Tensor = ranking - calibration * right.mean()
    return loss
