"""Several candidates in one sequence, so that the shared history is computed once.

A packed sequence is the shared head, then each candidate's tail. A token attends to the head and
to its own tail, never to another tail, and the positions of every tail continue from the end of
the head: the model computes exactly what it would compute for each prompt alone.
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
class PackedPrompt:
    """Prompts with a common head as one sequence, and what is predicted in it.

    It predicts at n positions: the last of each tail (as many as `answers` says, or one) or, where there
    is no tail, the last n of the sequence. Pointwise: n candidates with 2 labels each. Letters: 1 position
    with a label for each candidate. Title, reason, read: the n tokens of the answers, each the only label of
    its position.
    """

    ids: tuple[int, ...]  # (L,) the head's tokens, then those of the tails
    tails: tuple[int, ...]  # length of each tail, in tokens
    labels: tuple[tuple[int, ...], ...]  # (n, k) tokens whose log-probabilities are computed
    objective: Objective = "pointwise"
    answers: tuple[int, ...] = ()  # tokens predicted at the end of each tail; () for one each

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PaddedBatch:
    """B packed sequences, the shorter ones padded at their ends to L tokens."""

    input_ids: torch.Tensor  # (B, L)
    position_ids: torch.Tensor  # (B, L)
    attention_mask: torch.Tensor  # (B, 1, L, L) True where a token attends to another
    predicting: torch.Tensor  # positions that predict, as indices into all B * L tokens


def pack(prompt: RenderedPrompt, labels: Sequence[int], objective: Objective = "pointwise") -> PackedPrompt:
    """Pack a rendered prompt; each tail predicts the same labels (token ids)."""
    ids = (*prompt.head_ids, *(token for tail in prompt.tail_ids for token in tail))
    tails = tuple(len(tail) for tail in prompt.tail_ids)
    return PackedPrompt(ids, tails, (tuple(labels),) * len(tails), objective)


def pack_answer(
    prompt: RenderedPrompt, answer: Sequence[int], objective: Objective = "title"
) -> PackedPrompt:
    """Pack a single prompt and its answer (token ids); all of the answer is predicted."""
    (prompt_ids,) = prompt.token_ids
    return PackedPrompt((*prompt_ids, *answer[:-1]), (), tuple((token,) for token in answer), objective)


def pack_answers(
    prompt: RenderedPrompt, answers: Sequence[Sequence[int]], objective: Objective = "read"
) -> PackedPrompt:
    """Pack prompts with a common head, each with its answer (token ids)."""
    tails = [(*tail, *answer[:-1]) for tail, answer in zip(prompt.tail_ids, answers, strict=True)]
    return PackedPrompt(
        (*prompt.head_ids, *(token for tail in tails for token in tail)),
        tuple(map(len, tails)),
        tuple((token,) for answer in answers for token in answer),
        objective,
        tuple(map(len, answers)),
    )


def collate(prompts: Sequence[PackedPrompt], device: torch.device) -> PaddedBatch:
    """Pad packed prompts to one batch on a device."""
    import torch

    longest = max(prompt.tokens for prompt in prompts)
    shape = (len(prompts), longest)
    input_ids = torch.zeros(shape, dtype=torch.long)
    position_ids = torch.zeros(shape, dtype=torch.long)
    segments = torch.full(shape, -1)  # 0: the head, 1 and up: the tails, -1: padding, which no token sees
    predicting: list[int] = []
    for row, prompt in enumerate(prompts):
        size, head = prompt.tokens, prompt.tokens - sum(prompt.tails)
        input_ids[row, :size] = torch.tensor(prompt.ids)
        position_ids[row, :size] = torch.cat(
            [torch.arange(head), *(torch.arange(head, head + n) for n in prompt.tails)]
        )
        lengths = torch.tensor([head, *prompt.tails])
        segments[row, :size] = torch.arange(len(lengths)).repeat_interleave(lengths)
        if prompt.tails:
            last = (lengths.cumsum(0)[1:] - 1).tolist()
            answers = prompt.answers or (1,) * len(last)
            ends = [at for end, n in zip(last, answers, strict=True) for at in range(end - n + 1, end + 1)]
        else:
            ends = list(range(size - len(prompt.labels), size))
        predicting.extend(row * longest + end for end in ends)
    segments = segments.to(device)
    is_visible = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    return PaddedBatch(
        input_ids.to(device),
        position_ids.to(device),
        (is_visible & causal)[:, None],
        torch.tensor(predicting, device=device),
    )
