"""Packed candidates score as each would alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.model import load_base, scorer
from finetune.packing import collate, pack, pack_answer, pack_answers
from finetune.trainer import log_odds
from recsys.config import PACKAGED_MODEL, load_settings
from recsys.config.finetuning import FinetuneConfig
from recsys.engine import load_tokenizer
from recsys.engine.checkpoints.weights import prepare_model
from recsys.engine.labels import label_ids
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.ranking import RankRequest
from recsys.ranking.pointwise import render_pointwise
from recsys.types import Context
from tests.fakes import candidate, film, seen
from tests.finetune.world import prompt_of_tokens

LABELS = (5, 9)


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    return load_base(tiny, FinetuneConfig()).eval()


def tokens(draw: random.Random, n: int) -> list[int]:
    return [draw.randrange(3, 250) for _ in range(n)]


def random_prompt(seed: int, head: int, lengths: list[int]) -> RenderedPrompt:
    draw = random.Random(seed)
    return prompt_of_tokens(tokens(draw, head), [tokens(draw, n) for n in lengths])


def alone(model: Any, prompt: RenderedPrompt, labels: tuple[int, ...]) -> list[float]:
    """Compute the log-odds of every prompt by a plain forward pass."""
    import torch

    odds = []
    for ids in prompt.token_ids:
        with torch.no_grad():
            row = model(torch.tensor([ids])).logits[0, -1].float()
        odds.append(float(row[labels[0]] - row[labels[1]]))
    return odds


@pytest.mark.parametrize("lengths", [[7, 7, 7], [1, 12, 3, 8], [5], [1, 1]], ids=str)
def test_packed_scores_are_those_of_each_prompt_alone(lengths: list[int], model: Any) -> None:
    prompt = random_prompt(0, 20, lengths)
    packed = log_odds(scorer(model), pack(prompt, LABELS))
    assert packed == pytest.approx(alone(model, prompt, LABELS), abs=2e-5)
    assert len({round(odds, 3) for odds in packed}) == len(lengths)


def test_label_probabilities_are_those_of_the_model(model: Any) -> None:
    import torch

    prompt = random_prompt(1, 9, [4, 6])
    with torch.no_grad():
        (log_p,) = scorer(model)([pack(prompt, LABELS)])
        rows = [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in prompt.token_ids]
    expected = torch.stack([row[list(LABELS)] for row in rows])
    torch.testing.assert_close(log_p, expected, atol=2e-5, rtol=0)


def test_order_of_the_candidates_does_not_matter(model: Any) -> None:
    prompt = random_prompt(2, 15, [4, 9, 2, 6])
    order = [2, 0, 3, 1]
    turned = prompt_of_tokens(prompt.head_ids, [prompt.tail_ids[position] for position in order])
    odds = log_odds(scorer(model), pack(prompt, LABELS))
    assert log_odds(scorer(model), pack(turned, LABELS)) == pytest.approx(
        [odds[position] for position in order], abs=2e-5
    )


def test_a_changed_candidate_changes_no_other(model: Any) -> None:
    prompt = random_prompt(3, 15, [4, 9, 2])
    tails = list(prompt.tail_ids)
    tails[1] = tuple(tokens(random.Random(99), 30))
    before = log_odds(scorer(model), pack(prompt, LABELS))
    after = log_odds(scorer(model), pack(prompt_of_tokens(prompt.head_ids, tails), LABELS))
    assert (after[0], after[2]) == pytest.approx((before[0], before[2]), abs=2e-5)
    assert abs(after[1] - before[1]) > 1e-3


def test_an_answer_is_as_likely_as_its_tokens_one_after_the_other(model: Any) -> None:
    import torch

    prompt, answer = random_prompt(4, 12, [5]), tokens(random.Random(5), 6)
    packed = pack_answer(prompt, answer)
    assert packed.objective == "title"
    with torch.no_grad():
        log_p = scorer(model)([packed])[0][:, 0]
        ids = [*prompt.token_ids[0], *answer]
        rows = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    begin = len(prompt.token_ids[0])
    expected = torch.stack([rows[begin + position - 1, token] for position, token in enumerate(answer)])
    torch.testing.assert_close(log_p, expected, atol=2e-5, rtol=0)
    assert len(log_p) == 6


def test_a_padded_batch_scores_as_each_prompt_alone(model: Any) -> None:
    import torch

    packs = [
        pack(random_prompt(6, 20, [7, 3, 9]), LABELS),
        pack(random_prompt(7, 4, [2]), LABELS),
        pack_answer(random_prompt(8, 11, [5]), tokens(random.Random(9), 6)),
        pack(random_prompt(10, 30, [9]), (11, 7, 30), "letters"),
    ]
    with torch.no_grad():
        log_ps = scorer(model)(packs)
        for packed, log_p in zip(packs, log_ps, strict=True):
            assert log_p.shape == (len(packed.labels), len(packed.labels[0]))
            torch.testing.assert_close(log_p, scorer(model)([packed])[0], atol=2e-5, rtol=0)


def test_letters_are_asked_for_where_the_prompt_ends(model: Any) -> None:
    import torch

    prompt, letters = random_prompt(5, 12, [9]), (11, 7, 30)
    odds = log_odds(scorer(model), pack(prompt, letters, "letters"))
    with torch.no_grad():
        row = model(torch.tensor(prompt.token_ids)).logits[0, -1].log_softmax(-1)
    assert odds == pytest.approx([float(row[letter]) for letter in letters], abs=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    head=st.integers(1, 25),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_a_token_sees_the_head_and_its_own_tail_up_to_itself(
    head: int, lengths: list[int], seed: int
) -> None:
    import torch

    prompt = random_prompt(seed, head, lengths)
    packed = pack(prompt, LABELS)
    batch = collate([packed], torch.device("cpu"))
    owner = [0] * head + [number for number, n in enumerate(lengths, start=1) for _ in range(n)]
    assert packed.tokens == len(owner) == batch.attention_mask.shape[-1] == batch.attention_mask.shape[-2]
    expected = [
        [other <= position and owner[other] in (0, owner[position]) for other in range(len(owner))]
        for position in range(len(owner))
    ]
    assert batch.attention_mask[0, 0].tolist() == expected
    begins = {tail: owner.index(tail) for tail in range(1, len(lengths) + 1)}
    assert batch.position_ids[0].tolist() == [
        position if owner[position] == 0 else head + position - begins[owner[position]]
        for position in range(len(owner))
    ]
    for number, (position, ids) in enumerate(
        zip(batch.predicting.tolist(), prompt.token_ids, strict=True), start=1
    ):
        assert owner[position] == number
        assert batch.position_ids[0, position] == len(ids) - 1
        visible = [packed.ids[other] for other in range(len(owner)) if owner[other] in (0, number)]
        assert visible == ids


def test_the_packaged_model_scores_packed_as_alone() -> None:
    folder = prepare_model(load_settings(model=PACKAGED_MODEL))
    tokenizer = load_tokenizer(str(folder))
    titles = ("Heat", "Alien", "Fargo", "Casablanca", "Big")
    candidates = tuple(
        candidate(film(title, title, "Crime", year=1990 + position), score=-position, popularity=position / 5)
        for position, title in enumerate(titles)
    )
    history = seen(*(film(f"h{n}", f"Seen {n}", "Drama") for n in range(6)))
    request = RankRequest(candidates, history, Context(weekday="Friday"), {"age": "24"})
    prompt = render_pointwise(
        PromptLibrary(), tokenizer, request, "film", "films", ("match", "popularity"), 1536
    )
    labels = label_ids(tokenizer, ("Yes", "No"))
    model = load_base(folder, FinetuneConfig()).eval()
    packed = log_odds(scorer(model), pack(prompt, labels))
    assert packed == pytest.approx(alone(model, prompt, labels), abs=1e-3)
    assert len({round(odds, 2) for odds in packed}) > 1


def test_answers_behind_one_head_score_as_each_alone(model: Any) -> None:
    import torch

    prompt, draw = random_prompt(3, 20, [4, 6, 2]), random.Random(4)
    answers = [tokens(draw, n) for n in (3, 1, 5)]
    with torch.no_grad():
        (together,) = scorer(model)([pack_answers(prompt, answers)])
        alone_each = [
            scorer(model)([pack_answer(prompt_of_tokens(list(prompt.head_ids), [list(tail)]), answer)])[0]
            for tail, answer in zip(prompt.tail_ids, answers, strict=True)
        ]
    assert together[:, 0].tolist() == pytest.approx(torch.cat(alone_each)[:, 0].tolist(), abs=1e-4)
