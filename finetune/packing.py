"""Several candidates in one sequence: the history is computed once, whatever follows it.

A packed sequence is the shared head, then each candidate's tail. A token sees the head
and its own tail, never another tail, and the positions of every tail go on where the head
ends: what the model computes is what it would compute for each prompt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.prompting import RenderedPrompt
from recsys.tuning_config import Objective

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Packed:
    """Prompts with a common head as one sequence of L tokens, and what is asked of it.

    `ids` and `positions` (1, L); `visible` (1, 1, L, L) tells what each token attends to.
    At the n places `last` (n,) the model predicts; asked for are the log-probabilities of
    the tokens `labels` (n, k). Pointwise: n candidates, 2 labels. Letters: 1 place, a
    label for each candidate. Title, reason: n tokens of the answer, each the one label of its place.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    last: torch.Tensor
    labels: torch.Tensor
    objective: Objective = "pointwise"

    @property
    def tokens(self) -> int:
        return self.ids.shape[1]


def pack(prompt: RenderedPrompt, labels: Sequence[int], objective: Objective = "pointwise") -> Packed:
    """The packed form of a rendered prompt, each tail asked for the same labels (token ids)."""
    import torch

    head = len(prompt.head_ids)
    lengths = [len(tail) for tail in prompt.tail_ids]
    ids = torch.tensor([*prompt.head_ids, *(token for tail in prompt.tail_ids for token in tail)])
    positions = torch.cat([torch.arange(head), *(torch.arange(head, head + n) for n in lengths)])
    segment = torch.cat(
        [torch.zeros(head, dtype=torch.long)]
        + [torch.full((n,), number, dtype=torch.long) for number, n in enumerate(lengths, start=1)]
    )
    same = (segment[:, None] == segment[None, :]) | (segment[None, :] == 0)
    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    last = head + torch.tensor(lengths).cumsum(0) - 1
    asked = torch.tensor(labels).expand(len(lengths), -1)
    return Packed(ids[None], positions[None], (same & causal)[None, None], last, asked, objective)


def pack_answer(prompt: RenderedPrompt, answer: Sequence[int], objective: Objective = "title") -> Packed:
    """The only prompt there is, followed by an answer (token ids) whose every token is asked for."""
    import torch

    (before,) = prompt.token_ids
    ids = torch.tensor([*before, *answer[:-1]])
    positions = torch.arange(len(ids))
    causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    last = positions[len(before) - 1 :]
    return Packed(
        ids[None], positions[None], causal[None, None], last, torch.tensor(answer)[:, None], objective
    )


def moved(packed: Packed, device: torch.device) -> Packed:
    """The same on another device."""
    return Packed(
        packed.ids.to(device), packed.positions.to(device), packed.visible.to(device), packed.last.to(device),
        packed.labels.to(device), packed.objective,
    )  # fmt: skip
