"""The loss of one request, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from finetune.losses import example_loss, listwise_loss
from finetune.packing import PackedPrompt, pack
from recsys.config.finetuning import Objective, ObjectiveConfig
from tests.finetune.world import prompt_of_tokens


def log_p(rows: Sequence[tuple[float, float]]) -> Any:
    import torch

    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


ROWS = [(-1.0, -0.5), (-0.2, -2.0), (-3.0, -0.1)]


@pytest.mark.parametrize("calibration", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("target", [0, 1, 2])
def test_loss_is_what_it_is_by_hand(target: int, calibration: float) -> None:
    odds = [yes - no for yes, no in ROWS]
    ranking = math.log(math.fsum(map(math.exp, odds))) - odds[target]
    right = [yes if index == target else no for index, (yes, no) in enumerate(ROWS)]
    expected = ranking - calibration * math.fsum(right) / 3
    assert listwise_loss(log_p(ROWS), target, calibration).item() == pytest.approx(expected)


def gradient(rows: Sequence[tuple[float, float]], target: int, calibration: float) -> Any:
    values = log_p(rows)
    loss: Any = listwise_loss(values, target, calibration)
    loss.backward()
    return values.grad


def test_a_choice_of_one_or_one_long_made_teaches_no_order() -> None:
    assert gradient([(-1.0, -2.0)], 0, 0.0).abs().max() == 0
    assert gradient([(0.0, -40.0), (-40.0, 0.0), (-30.0, -0.1)], 0, 0.0).abs().max() < 1e-9
    assert gradient(ROWS, 2, 0.0).abs().max() > 0.5


def test_order_is_taught_by_differences_alone_and_the_level_by_calibration() -> None:
    raised = [(yes + 7, no) for yes, no in ROWS]
    plain = listwise_loss(log_p(ROWS), 1, 0.0).item()
    assert listwise_loss(log_p(raised), 1, 0.0).item() == pytest.approx(plain)
    assert gradient(ROWS, 1, 0.0).sum(dim=0).abs().max() < 1e-12
    taught = gradient(ROWS, 1, 0.3) - gradient(ROWS, 1, 0.0)
    assert taught.flatten().tolist() == pytest.approx([0, -0.1, -0.1, 0, 0, -0.1])


def test_a_prior_is_what_need_not_be_learnt() -> None:
    """A prior that knows the answer leaves no gradient; a constant changes nothing."""
    values = log_p(ROWS).requires_grad_()
    sure = [0.0, 50.0, *([0.0] * (len(ROWS) - 2))]
    loss: Any = listwise_loss(values, 1, 0.0, sure)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert values.grad is not None
    assert values.grad.abs().max().item() < 1e-6
    plain = listwise_loss(log_p(ROWS), 1, 0.0).item()
    assert listwise_loss(log_p(ROWS), 1, 0.0, [7.0] * len(ROWS)).item() == pytest.approx(plain)


def asking(objective: Objective) -> PackedPrompt:
    return pack(prompt_of_tokens([1, 2], [[3]]), (5, 9), objective)


def test_each_objective_has_its_own_loss() -> None:
    import torch

    letters = torch.tensor([[-1.0, -3.0, -2.0]])
    odds = torch.tensor([-1.0, -3.0, -2.0]).softmax(0)
    assert example_loss(letters, asking("letters"), 2, 0.0).item() == pytest.approx(-math.log(float(odds[2])))
    assert example_loss(letters, asking("letters"), 2, 0.5).item() == pytest.approx(
        -math.log(float(odds[2])) + 1.0
    )
    words = torch.tensor([[-1.0], [-4.0]])
    assert example_loss(words, asking("title"), 0, 0.05).item() == pytest.approx(2.5)
    assert example_loss(words, asking("reason"), 0, 0.05).item() == pytest.approx(2.5)
    pointwise = example_loss(log_p(ROWS), asking("pointwise"), 1, 0.05, [1.0] * len(ROWS))
    assert pointwise.item() == pytest.approx(listwise_loss(log_p(ROWS), 1, 0.05).item())


def test_shares_of_the_objectives_are_those_asked_for() -> None:
    shares = ObjectiveConfig(pointwise=3, title=1).shares
    assert shares == {"pointwise": 0.75, "letters": 0.0, "title": 0.25, "reason": 0.0, "read": 0.0}
    with pytest.raises(ValidationError, match="above 0"):
        ObjectiveConfig(pointwise=0)
