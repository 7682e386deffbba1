"""The training loop learns, can be stopped anywhere, and never keeps NaN."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import checkpoint, trainer
from finetune.losses import example_loss
from finetune.model import load_base, make_trainable
from finetune.packing import PackedPrompt, pack
from finetune.ranked_lists import ndcg
from finetune.trainer import PackedExample, TrainingOutcome, learning_rate, train
from recsys.config.finetuning import FinetuneConfig
from recsys.errors import ModelError, RequestError
from tests.finetune.world import prompt_of_tokens

LABELS = (5, 9)
MARK = 77  # whose text has this token is right
SHORT = FinetuneConfig(rank=4, alpha=8, learning_rate=0.01, batch=2, steps=6, evaluate_every=2, dropout=0.2)


def toy(number: int, n: int = 4) -> PackedExample:
    """Make a head and `n` tails of random tokens; one tail has the mark."""
    draw = random.Random(f"toy {number}")
    tails = [[draw.randrange(100, 250) for _ in range(5)] for _ in range(n)]
    right = draw.randrange(n)
    tails[right][draw.randrange(4)] = MARK
    head = [draw.randrange(100, 250) for _ in range(6)]
    return PackedExample(pack(prompt_of_tokens(head, tails), LABELS), right)


HELD_OUT = [toy(-number) for number in range(1, 13)]


def evaluate(odds: Callable[[PackedPrompt], list[float]]) -> dict[str, float]:
    return {
        "score": round(
            math.fsum(ndcg(odds(packed), right) for packed, right, _ in HELD_OUT) / len(HELD_OUT), 6
        )
    }


def scripted(*scores: float) -> Callable[[Any], dict[str, float]]:
    """Make an evaluation that returns these scores in turn, then the last one always."""
    left = list(scores)
    return lambda _odds: {"score": left.pop(0) if len(left) > 1 else left[0]}


def trainable(model: Any) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def same(weights: dict[str, Any], other: dict[str, Any]) -> bool:
    return weights.keys() == other.keys() and all(weights[name].equal(other[name]) for name in weights)


class Run:
    """A fresh model on the toy task, trained in a folder."""

    def __init__(self, tiny: Path, folder: Path, config: FinetuneConfig = SHORT) -> None:
        self.tiny, self.folder, self.config = tiny, folder, config

    def __call__(
        self,
        *,
        packed_example: Callable[[int], PackedExample] = toy,
        judge: Any = evaluate,
        identity: str = "toy",
        on_step: Any = None,
    ) -> TrainingOutcome:
        self.model = make_trainable(load_base(self.tiny, self.config), self.config)
        self.outcome = train(
            self.model, self.config, packed_example, judge, self.folder, identity=identity, on_step=on_step
        )
        return self.outcome

    @property
    def curve(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.folder / "curve.jsonl").read_text().splitlines()]

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in self.curve if "loss" in line]

    @property
    def weights(self) -> dict[str, Any]:
        return trainable(self.model)


class Stopped(Exception):
    """As if the process had been killed."""


def stopping_at(number: int) -> Callable[[int], PackedExample]:
    def packed_example(index: int) -> PackedExample:
        if index == number:
            raise Stopped
        return toy(index)

    return packed_example


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Finish a run without stopping it."""
    run = Run(tiny, tmp_path_factory.mktemp("whole"))
    run()
    return run


# --- stopped, and continued ---------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3, 4, 7, 11])
def test_a_run_killed_in_the_middle_ends_as_if_it_had_not_been(
    number: int, whole: Run, tiny: Path, tmp_path: Path
) -> None:
    run = Run(tiny, tmp_path / "run")
    with pytest.raises(Stopped):
        run(packed_example=stopping_at(number))
    assert len(run.curve) == 1 + number // 2
    outcome = run()
    assert run.curve == whole.curve
    assert len(run.losses) == SHORT.steps
    assert same(run.weights, whole.weights)
    expected = whole.outcome
    assert (outcome.best_step, outcome.best, outcome.first, outcome.tokens) == (
        expected.best_step,
        expected.best,
        expected.first,
        expected.tokens,
    )


def test_a_run_killed_twice_and_while_it_saves_ends_the_same(
    whole: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tiny, tmp_path / "run")
    with pytest.raises(Stopped):
        run(packed_example=stopping_at(5))
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if Path(target).name == "last":  # the old one is moved away by then
            raise Stopped
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(Stopped):
            run()
    assert not (tmp_path / "run" / "last").exists()
    run()
    assert run.curve == whole.curve
    assert same(run.weights, whole.weights)


def test_a_curve_cut_off_within_a_line_does_not_stop_it(whole: Run, tiny: Path, tmp_path: Path) -> None:
    run = Run(tiny, tmp_path / "run")
    with pytest.raises(Stopped):
        run(packed_example=stopping_at(7))
    with (run.folder / "curve.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    run()
    assert run.curve == whole.curve


def test_a_finished_run_is_not_trained_again(whole: Run, tiny: Path) -> None:
    again = Run(tiny, whole.folder)
    outcome = again(packed_example=stopping_at(0), judge=scripted(-1))
    assert outcome == whole.outcome
    assert same(again.weights, whole.weights)


def test_same_seed_same_result_another_seed_another(whole: Run, tiny: Path, tmp_path: Path) -> None:
    again = Run(tiny, tmp_path / "again")
    again()
    assert again.curve == whole.curve
    assert same(again.weights, whole.weights)
    other = Run(tiny, tmp_path / "other", SHORT.model_copy(update={"seed": 1}))
    other()
    assert other.losses != whole.losses


def test_recomputed_activations_give_the_same_losses(tiny: Path, tmp_path: Path) -> None:
    still = SHORT.model_copy(update={"dropout": 0.0, "steps": 2})
    plain = Run(tiny, tmp_path / "plain", still)
    lean = Run(tiny, tmp_path / "lean", still.model_copy(update={"checkpointing": True}))
    plain()
    lean()
    assert lean.losses == pytest.approx(plain.losses, abs=1e-5)


def test_micro_batches_give_the_same_losses(tiny: Path, tmp_path: Path) -> None:
    config = SHORT.model_copy(update={"dropout": 0.0, "batch": 5, "steps": 3})
    single = Run(tiny, tmp_path / "single", config)
    batched = Run(tiny, tmp_path / "batched", config.model_copy(update={"micro_batch_size": 3}))
    single()
    batched()
    assert batched.losses == pytest.approx(single.losses, abs=1e-4)


# --- errors ---------------------------------------------------------------------------


def test_a_nan_loss_ends_the_run_and_keeps_the_checkpoint(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = Run(tiny, tmp_path / "run"), []

    def broken(*args: Any) -> Any:
        calls.append(1)
        loss = example_loss(*args)
        return loss * math.nan if len(calls) == 8 else loss

    monkeypatch.setattr(trainer, "example_loss", broken)
    with pytest.raises(ModelError, match="loss of step 4 is nan") as caught:
        run()
    assert "learning_rate" in caught.value.hint
    assert str(run.folder) in caught.value.hint
    assert json.loads((run.folder / "last" / checkpoint.STATE).read_text())["step"] == 2
    assert [line["step"] for line in run.curve] == [0, 1, 2, 3]


def test_a_nan_gradient_never_reaches_the_weights(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    run = Run(tiny, tmp_path / "run")

    def broken(log_p: torch.Tensor, *_rest: Any) -> torch.Tensor:
        return (log_p.sum() * 0).sqrt()  # 0, with a gradient of 0 times infinity

    monkeypatch.setattr(trainer, "example_loss", broken)
    with pytest.raises(ModelError, match="gradient of step 1 is nan"):
        run()
    assert all(torch.isfinite(value).all() for value in run.weights.values())


@pytest.mark.parametrize("options", [{}, {"rank": 8}], ids=str)
def test_a_folder_of_another_run_is_refused_and_stays(
    options: dict[str, Any], whole: Run, tiny: Path
) -> None:
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    other = Run(tiny, whole.folder, SHORT.model_copy(update=options))
    with pytest.raises(RequestError, match="other options or data") as caught:
        other(identity="another")
    assert "--out" in caught.value.hint
    assert str(whole.folder) in caught.value.message
    assert {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()} == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    "damage",
    [
        lambda last: cut(last / checkpoint.TENSORS),
        lambda last: (last / checkpoint.TENSORS).unlink(),
        lambda last: cut(last / checkpoint.STATE),
        lambda last: (last / checkpoint.STATE).write_text('{"identity": "toy"}'),
        lambda last: (last / checkpoint.STATE).write_text("[]"),
    ],
    ids=["cut-tensors", "no-tensors", "cut-state", "poor-state", "wrong-state"],
)
def test_a_damaged_checkpoint_is_an_error_with_a_hint(
    damage: Callable[[Path], object], tiny: Path, tmp_path: Path
) -> None:
    run = Run(tiny, tmp_path / "run")
    with pytest.raises(Stopped):
        run(packed_example=stopping_at(5))
    damage(run.folder / "last")
    with pytest.raises(ModelError, match="cannot be used") as caught:
        run()
    assert f"delete {run.folder}" in caught.value.hint


# --- when it stops, and what it leaves ----------------------------------------------


def test_it_stops_when_it_gets_no_better(tiny: Path, tmp_path: Path) -> None:
    patient = SHORT.model_copy(update={"steps": 40, "patience": 2})
    run = Run(tiny, tmp_path / "run", patient)
    outcome = run(judge=scripted(0.1, 0.3, 0.2, 0.3, 0.9))
    assert (outcome.steps, outcome.best_step, outcome.best["score"]) == (6, 2, 0.3)
    assert outcome.first["score"] == 0.1


def test_where_nothing_is_better_the_first_measured_step_is_kept_for_the_gate_to_judge(
    tiny: Path, tmp_path: Path
) -> None:
    outcome = Run(tiny, tmp_path / "run")(judge=scripted(0.5, 0.5, 0.5, 0.5))
    assert (outcome.best_step, outcome.first["score"], outcome.best["score"]) == (2, 0.5, 0.5)


def test_the_weights_of_the_best_step_are_what_is_left(tiny: Path, tmp_path: Path) -> None:
    run, seen = Run(tiny, tmp_path / "run"), list[dict[str, Any]]()
    scores = iter((0.1, 0.4, 0.8, 0.2))

    def judge(_odds: Any) -> dict[str, float]:
        seen.append(run.weights)
        return {"score": next(scores)}

    outcome = run(judge=judge)
    assert (outcome.best_step, outcome.steps) == (4, 6)
    assert same(run.weights, seen[2])
    assert not same(seen[3], seen[2])


def test_the_step_callback_gets_every_evaluation(tiny: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, dict[str, float]]] = []
    run = Run(tiny, tmp_path / "run", SHORT.model_copy(update={"steps": 3}))
    run(judge=scripted(0.1), on_step=lambda step, line: steps.append((step, dict(line))))
    assert [step for step, line in steps if "score" in line] == [2, 3]
    for _, line in steps:
        assert line["tokens/s"] > 0
        assert line["left"] >= 0
    assert steps[-1][1]["left"] == 0


def test_learning_rate_warms_up_and_then_falls() -> None:
    config = FinetuneConfig(steps=100, warmup=0.1, learning_rate=0.5)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * n for n in range(1, 11)])
    assert rates[10] == max(rates) == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[99] < 0.001
    assert learning_rate(0, FinetuneConfig(steps=1, learning_rate=0.5)) == 0.5
    assert learning_rate(0, FinetuneConfig(steps=9, warmup=0, learning_rate=0.5)) == 0.5


def test_the_rates_of_a_run_are_those_of_the_schedule(whole: Run) -> None:
    rates = [line["lr"] for line in whole.curve if "lr" in line]
    assert rates == [learning_rate(step, SHORT) for step in range(SHORT.steps)]


def short_toy(number: int) -> PackedExample:
    """Make a shorter one; the mark is among the first two tokens of the right tail."""
    draw = random.Random(f"toy {number}")
    tails = [[draw.randrange(100, 250) for _ in range(2)] + [60] for _ in range(4)]
    right = draw.randrange(4)
    tails[right][draw.randrange(2)] = MARK
    return PackedExample(
        pack(prompt_of_tokens([draw.randrange(100, 250) for _ in range(3)], tails), LABELS), right
    )


@pytest.mark.parametrize(
    ("method", "rate", "learnt", "left"), [("lora", 0.003, 0.7, 0.9), ("full", 0.002, 0.95, 0.4)]
)
def test_a_rule_that_can_be_learnt_is_learnt(
    method: Any, rate: float, learnt: float, left: float, tiny: Path, tmp_path: Path
) -> None:
    """LoRA learns less than all weights: a random model gives it little to build on."""
    config = FinetuneConfig(
        method=method, rank=8, alpha=16, learning_rate=rate, batch=8, steps=30, evaluate_every=15
    )
    unseen = [short_toy(-number) for number in range(1, 13)]

    def judge(odds: Callable[[PackedPrompt], list[float]]) -> dict[str, float]:
        return {"score": math.fsum(ndcg(odds(packed), right) for packed, right, _ in unseen) / len(unseen)}

    run = Run(tiny, tmp_path / "run", config)
    outcome = run(packed_example=short_toy, judge=judge)
    assert outcome.first["score"] < 0.67  # in any order: .64
    assert outcome.best["score"] > learnt
    assert sum(run.losses[-3:]) < left * sum(run.losses[:3])
