"""Packed candidates answer as each would alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.model import load_base, scorer
from finetune.packing import pack, pack_answer, side_by_side
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
from tests.finetune.world import prompt_of

LABELS = (5, 9)


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    return load_base(tiny, FinetuneConfig()).eval()


def tokens(draw: random.Random, n: int) -> list[int]:
    return [draw.randrange(3, 250) for _ in range(n)]


def drawn(seed: int, head: int, lengths: list[int]) -> RenderedPrompt:
    draw = random.Random(seed)
    return prompt_of(tokens(draw, head), [tokens(draw, n) for n in lengths])


def alone(model: Any, prompt: RenderedPrompt, labels: tuple[int, ...]) -> list[float]:
    """Log-odds of every prompt by a plain forward pass of its own."""
    import torch

    odds = []
    for ids in prompt.token_ids:
        with torch.no_grad():
            row = model(torch.tensor([ids])).logits[0, -1].float()
        odds.append(float(row[labels[0]] - row[labels[1]]))
    return odds


@pytest.mark.parametrize("lengths", [[7, 7, 7], [1, 12, 3, 8], [5], [1, 1]], ids=str)
def test_packed_scores_are_those_of_each_prompt_alone(lengths: list[int], model: Any) -> None:
    prompt = drawn(0, 20, lengths)
    together = log_odds(scorer(model), pack(prompt, LABELS))
    assert together == pytest.approx(alone(model, prompt, LABELS), abs=2e-5)
    assert len({round(odds, 3) for odds in together}) == len(lengths)


def test_label_probabilities_are_those_of_the_model(model: Any) -> None:
    import torch

    prompt = drawn(1, 9, [4, 6])
    with torch.no_grad():
        (found,) = scorer(model)([pack(prompt, LABELS)])
        rows = [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in prompt.token_ids]
    expected = torch.stack([row[list(LABELS)] for row in rows])
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_order_of_the_candidates_does_not_matter(model: Any) -> None:
    prompt = drawn(2, 15, [4, 9, 2, 6])
    order = [2, 0, 3, 1]
    turned = prompt_of(prompt.head_ids, [prompt.tail_ids[place] for place in order])
    odds = log_odds(scorer(model), pack(prompt, LABELS))
    assert log_odds(scorer(model), pack(turned, LABELS)) == pytest.approx(
        [odds[place] for place in order], abs=2e-5
    )


def test_a_changed_candidate_changes_no_other(model: Any) -> None:
    prompt = drawn(3, 15, [4, 9, 2])
    tails = list(prompt.tail_ids)
    tails[1] = tuple(tokens(random.Random(99), 30))
    before = log_odds(scorer(model), pack(prompt, LABELS))
    after = log_odds(scorer(model), pack(prompt_of(prompt.head_ids, tails), LABELS))
    assert (after[0], after[2]) == pytest.approx((before[0], before[2]), abs=2e-5)
    assert abs(after[1] - before[1]) > 1e-3


def test_an_answer_is_as_likely_as_its_tokens_one_after_the_other(model: Any) -> None:
    import torch

    prompt, answer = drawn(4, 12, [5]), tokens(random.Random(5), 6)
    packed = pack_answer(prompt, answer)
    assert packed.objective == "title"
    with torch.no_grad():
        found = scorer(model)([packed])[0][:, 0]
        ids = [*prompt.token_ids[0], *answer]
        rows = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    begin = len(prompt.token_ids[0])
    expected = torch.stack([rows[begin + place - 1, token] for place, token in enumerate(answer)])
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert len(found) == 6


def test_side_by_side_each_answers_as_by_itself(model: Any) -> None:
    import torch

    packs = [
        pack(drawn(6, 20, [7, 3, 9]), LABELS),
        pack(drawn(7, 4, [2]), LABELS),
        pack_answer(drawn(8, 11, [5]), tokens(random.Random(9), 6)),
        pack(drawn(10, 30, [9]), (11, 7, 30), "letters"),
    ]
    with torch.no_grad():
        together = scorer(model)(packs)
        for packed, found in zip(packs, together, strict=True):
            assert found.shape == (len(packed.labels), len(packed.labels[0]))
            torch.testing.assert_close(found, scorer(model)([packed])[0], atol=2e-5, rtol=0)


def test_letters_are_asked_for_where_the_prompt_ends(model: Any) -> None:
    import torch

    prompt, letters = drawn(5, 12, [9]), (11, 7, 30)
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

    prompt = drawn(seed, head, lengths)
    packed = pack(prompt, LABELS)
    batch = side_by_side([packed], torch.device("cpu"))
    owner = [0] * head + [number for number, n in enumerate(lengths, start=1) for _ in range(n)]
    assert packed.tokens == len(owner) == batch.visible.shape[-1] == batch.visible.shape[-2]
    expected = [
        [other <= place and owner[other] in (0, owner[place]) for other in range(len(owner))]
        for place in range(len(owner))
    ]
    assert batch.visible[0, 0].tolist() == expected
    begins = {tail: owner.index(tail) for tail in range(1, len(lengths) + 1)}
    assert batch.positions[0].tolist() == [
        place if owner[place] == 0 else head + place - begins[owner[place]] for place in range(len(owner))
    ]
    for number, (place, ids) in enumerate(zip(batch.last.tolist(), prompt.token_ids, strict=True), start=1):
        assert owner[place] == number
        assert batch.positions[0, place] == len(ids) - 1
        own = [packed.ids[other] for other in range(len(owner)) if owner[other] in (0, number)]
        assert own == ids


def test_the_packaged_model_answers_packed_as_alone() -> None:
    folder = prepare_model(load_settings(model=PACKAGED_MODEL))
    tokenizer = load_tokenizer(str(folder))
    titles = ("Heat", "Alien", "Fargo", "Casablanca", "Big")
    candidates = tuple(
        candidate(film(title, title, "Crime", year=1990 + place), score=-place, popularity=place / 5)
        for place, title in enumerate(titles)
    )
    history = seen(*(film(f"h{n}", f"Seen {n}", "Drama") for n in range(6)))
    request = RankRequest(candidates, history, Context(weekday="Friday"), {"age": "24"})
    prompt = render_pointwise(
        PromptLibrary(), tokenizer, request, "film", "films", ("match", "popularity"), 1536
    )
    labels = label_ids(tokenizer, ("Yes", "No"))
    model = load_base(folder, FinetuneConfig()).eval()
    together = log_odds(scorer(model), pack(prompt, labels))
    assert together == pytest.approx(alone(model, prompt, labels), abs=1e-3)
    assert len({round(odds, 2) for odds in together}) > 1
