"""Several candidates in one sequence: the history is computed once, whatever follows it.

A packed sequence is the shared head, then each candidate's tail. A token sees the head
and its own tail, never another tail, and the positions of every tail go on where the head
ends: what the model computes is what it would compute for each prompt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.config.finetuning import Objective
from recsys.prompting.library import RenderedPrompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Packed:
    """Prompts with a common head as one sequence of L tokens, and what is asked of it.

    `ids` (L,) are the head's, then those of the tails, whose lengths are `tails`. At n places
    the model predicts: at the last token of each tail or, where there is none, at the last n
    of the sequence. Asked for are the log-probabilities of the tokens `labels` (n, k).
    Pointwise: n candidates, 2 labels. Letters: 1 place, a label for each candidate. Title,
    reason: n tokens of the answer, each the one label of its place.
    """

    ids: tuple[int, ...]
    tails: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]
    objective: Objective = "pointwise"

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenBatch:
    """B packed sequences side by side, the shorter filled up to L at their ends.

    `ids` and `positions` (B, L); `visible` (B, 1, L, L) tells what each token attends to.
    `last` are the places that are asked about, of all sequences together as one of B times L.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    last: torch.Tensor


def pack(prompt: RenderedPrompt, labels: Sequence[int], objective: Objective = "pointwise") -> Packed:
    """The packed form of a rendered prompt, each tail asked for the same labels (token ids)."""
    ids = (*prompt.head_ids, *(token for tail in prompt.tail_ids for token in tail))
    tails = tuple(len(tail) for tail in prompt.tail_ids)
    return Packed(ids, tails, (tuple(labels),) * len(tails), objective)


def pack_answer(prompt: RenderedPrompt, answer: Sequence[int], objective: Objective = "title") -> Packed:
    """The only prompt there is, followed by an answer (token ids) whose every token is asked for."""
    (before,) = prompt.token_ids
    return Packed((*before, *answer[:-1]), (), tuple((token,) for token in answer), objective)


def side_by_side(packs: Sequence[Packed], device: torch.device) -> TokenBatch:
    """What a model computes of several packed sequences at once, on its device."""
    import torch

    longest = max(packed.tokens for packed in packs)
    shape = (len(packs), longest)
    ids = torch.zeros(shape, dtype=torch.long)
    positions = torch.zeros(shape, dtype=torch.long)
    segments = torch.full(shape, -1)  # of the filling: no token before it looks that far
    last: list[int] = []
    for row, packed in enumerate(packs):
        size, head = packed.tokens, packed.tokens - sum(packed.tails)
        ids[row, :size] = torch.tensor(packed.ids)
        positions[row, :size] = torch.cat(
            [torch.arange(head), *(torch.arange(head, head + n) for n in packed.tails)]
        )
        lengths = torch.tensor([head, *packed.tails])
        segments[row, :size] = torch.arange(len(lengths)).repeat_interleave(lengths)
        if packed.tails:
            ends = (lengths.cumsum(0)[1:] - 1).tolist()
        else:
            ends = list(range(size - len(packed.labels), size))
        last.extend(row * longest + end for end in ends)
    segments = segments.to(device)
    same = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    visible = (same & causal)[:, None]
    return TokenBatch(ids.to(device), positions.to(device), visible, torch.tensor(last, device=device))
