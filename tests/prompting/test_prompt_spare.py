"""Oldest entries are dropped to end the shared part near a cache block."""

from __future__ import annotations

import pytest

from recsys.engine.base import CACHE_BLOCK
from tests.fakes import FakeTokenizer
from tests.prompting.test_prompting import render_pointwise


@pytest.mark.parametrize("history", [0, 4, 5, 9, 10, 14, 15, 30])
@pytest.mark.parametrize("spare", [0, 1, 2, 9])
def test_the_fewest_entries_are_dropped_that_leave_the_least_beyond_a_block(
    tokenizer: FakeTokenizer, history: int, spare: int
) -> None:
    prompt = render_pointwise(tokenizer, history=history, spare=spare)
    beyond = [
        len(render_pointwise(tokenizer, history=kept).head_ids) % CACHE_BLOCK
        for kept in range(history, history - min(spare, history // 5) - 1, -1)
    ]
    assert len(prompt.head_ids) % CACHE_BLOCK == min(beyond)
    assert prompt.dropped == beyond.index(min(beyond))
    shown = [n for n in range(history) if f"Seen {n} " in prompt.head]
    assert shown == list(range(prompt.dropped, history))


def test_prompt_stays_within_its_budget(tokenizer: FakeTokenizer) -> None:
    whole = render_pointwise(tokenizer, history=15).tokens
    prompt = render_pointwise(tokenizer, history=15, spare=2, max_tokens=whole - 1)
    assert prompt.tokens < whole
    assert 1 <= prompt.dropped <= 3
