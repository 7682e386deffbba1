"""Several candidates in one sequence: the history is computed once, whatever follows it.

A packed sequence is the shared head, then each candidate's tail. A token sees the head
and its own tail, never another tail, and the positions of every tail go on where the head
ends: what the model computes is what it would compute for each prompt alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.prompting import RenderedPrompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Packed:
    """One prompt of n candidates as one sequence of L tokens.

    `ids` and `positions` (1, L); `visible` (1, 1, L, L) tells what each token attends to;
    `last` (n,) is where each candidate's label is predicted.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    last: torch.Tensor

    @property
    def tokens(self) -> int:
        return self.ids.shape[1]


def pack(prompt: RenderedPrompt) -> Packed:
    """The packed form of a rendered prompt."""
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
    return Packed(ids[None], positions[None], (same & causal)[None, None], last)


def moved(packed: Packed, device: torch.device) -> Packed:
    """The same on another device."""
    return Packed(
        packed.ids.to(device), packed.positions.to(device), packed.visible.to(device), packed.last.to(device)
    )
