from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recsys.data.dataset import EventLog
from recsys.errors import IndexDamaged, ModelError, RequestError
from recsys.types import Interaction
from retrieval import artefacts
from retrieval.sequence.model import KIND, SequenceConfig, SequenceModel
from retrieval.sequence.training import train

ARCHITECTURES = ("lru", "gru", "attention")
RING = tuple(f"r{n}" for n in range(8))


def small(architecture: str = "lru", **changes: Any) -> SequenceConfig:
    fields = {
        "architecture": architecture,
        "dimension": 16,
        "hidden": 16,
        "length": 12,
        "epochs": 8,
        "batch": 8,
        "learning_rate": 0.01,
        "patience": 8,
    }
    return SequenceConfig.model_validate(fields | changes)


def log_of(
    histories: Sequence[Sequence[str]], items: Sequence[str] = (), step: float | None = 60.0
) -> EventLog:
    """One user per history, an event every `step` seconds, at no known time if that is None."""
    events = [
        Interaction(user_id=f"u{user}", item_id=item, timestamp=None if step is None else 1e9 + step * n)
        for user, history in enumerate(histories)
        for n, item in enumerate(history)
    ]
    return EventLog.of(events, [*items, *(event.item_id for event in events)])


def ring(users: int = 40, length: int = 14) -> EventLog:
    """Everybody goes around the ring, each from another start."""
    return log_of([[RING[(user + n) % len(RING)] for n in range(length)] for user in range(users)])


def same(one: SequenceModel, other: SequenceModel) -> bool:
    return (
        one.items == other.items
        and one.weights.keys() == other.weights.keys()
        and all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)
    )


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    return train(ring(), small())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_which_item_comes_next(architecture: str) -> None:
    model = train(ring(), small(architecture))
    for start, _ in enumerate(RING):
        history = [RING[(start + n) % len(RING)] for n in range(5)]
        scores = model.score(history, [60.0 * n for n in range(5)])
        assert scores is not None
        assert model.items[int(scores.argmax())] == RING[(start + 5) % len(RING)]


def test_what_comes_next_can_depend_on_what_came_before_the_last_item() -> None:
    paths = (["a", "x", "m", "p"], ["b", "x", "m", "q"])
    model = train(log_of(paths * 40), small("gru", epochs=20, batch=1, dropout=0.0))
    for path in paths:
        scores = model.score(path[:3], [0.0, 60.0, 120.0])
        assert scores is not None
        assert model.items[int(scores.argmax())] == path[3]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_log_probabilities_and_an_inner_product_but_for_a_constant(architecture: str) -> None:
    model = train(ring(), small(architecture, epochs=2))
    scores, vector = model.score(RING[:4]), model.user_vector(RING[:4])
    assert scores is not None
    assert vector is not None
    assert scores.dtype == vector.dtype == model.item_vectors.dtype == np.float32
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)
    difference = scores - model.item_vectors @ vector
    assert difference == pytest.approx(np.full(len(RING), difference[0]), abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_many_histories_at_once_score_as_each_alone(architecture: str) -> None:
    model = train(ring(), small(architecture, epochs=2))
    histories = [["r1"], ["r2", "nobody", "r5"], [], ["nobody"], [RING[n % 8] for n in range(40)]]
    times = [[60.0 * n for n in range(len(history))] for history in histories]
    together = model.score_batch(histories, times)
    assert together.shape == (5, len(RING))
    for history, seconds, row in zip(histories, times, together, strict=True):
        alone = model.score(history, seconds)
        if alone is None:
            assert np.isnan(row).all()
        else:
            assert row == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_histories_begin_with_is_read_once(architecture: str) -> None:
    model = train(ring(), small(architecture, epochs=2, length=100))
    whole = [RING[(n * n) % 8] for n in range(90)]
    seconds = [60.0 * n for n in range(90)]
    gone: list[set[int]] = [set(), {89}, {80}, {70, 85}, {3}, set(range(60, 90)), set(range(2, 90))]
    kept = [[n for n in range(90) if n not in one] for one in gone]
    histories, times = [[whole[n] for n in one] for one in kept], [[seconds[n] for n in one] for one in kept]
    read: list[int] = []
    if architecture == "gru":
        model._network["gru"].register_forward_pre_hook(
            lambda _, given: read.append(given[0].shape[0] * given[0].shape[1])
        )
    together = model.score_batch(histories, times)
    if architecture == "gru":  # two that differ early are read apart from the five that do not
        assert sum(read) < 90 + 5 * 32 + 2 * 90
    for history, at, row in zip(histories, times, together, strict=True):
        assert row == pytest.approx(model.score(history, at), abs=1e-5)


def test_only_the_last_items_are_read(model: SequenceModel) -> None:
    long = [RING[n % 8] for n in range(40)]
    assert np.array_equal(model.score(long), model.score(long[-12:]))  # type: ignore[arg-type]


def test_nothing_is_said_after_nothing_known(model: SequenceModel) -> None:
    for history in ([], ["nobody"], ["nobody", "knows"]):
        assert model.score(history) is None
        assert model.user_vector(history) is None


def test_unknown_items_are_as_if_not_there(model: SequenceModel) -> None:
    with_unknown = model.score(["r1", "nobody", "r2"], [0.0, 1.0, 60.0])
    assert np.array_equal(with_unknown, model.score(["r1", "r2"], [0.0, 60.0]))  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unknown_times_are_no_obstacle(architecture: str) -> None:
    model = train(log_of([RING] * 10, step=None), small(architecture, epochs=1))
    without, nan = model.score(RING[:3]), model.score(RING[:3], [np.nan, np.nan, np.nan])
    partly = model.score(RING[:3], [0.0, np.nan, 60.0])
    assert without is not None
    assert partly is not None
    assert np.array_equal(without, nan)  # type: ignore[arg-type]
    assert np.isfinite(without).all()
    assert np.isfinite(partly).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_times_matter(architecture: str) -> None:
    model = train(ring(), small(architecture, epochs=2))
    quick, slow = model.score(["r1", "r5"], [0.0, 0.0]), model.score(["r1", "r5"], [0.0, 1e6])
    assert not np.allclose(quick, slow)  # type: ignore[arg-type]


def test_times_that_do_not_fit_the_history_are_refused(model: SequenceModel) -> None:
    with pytest.raises(RequestError, match="differ in number"):
        model.score(["r1", "r2"], [0.0])


def test_items_that_nobody_met_are_not_known() -> None:
    model = train(log_of([RING] * 5, items=["never"]), small(epochs=1))
    assert model.items == RING


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("history", [[], ["only"], ["only", "only", "only"]])
def test_a_catalogue_of_no_item_or_one_can_be_learned(
    architecture: str, history: list[str], tmp_path: Path
) -> None:
    model = train(log_of([history], items=["other"]), small(architecture, epochs=2))
    model.save(tmp_path / "model")
    opened = SequenceModel.load(tmp_path / "model")
    assert opened.items == tuple(dict.fromkeys(history))
    assert opened.score(["nobody"]) is None
    assert opened.score_batch([[], ["nobody"]]).shape == (2, len(opened.items))
    if history:
        assert opened.score(["only"]) == pytest.approx([0.0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_says_the_same(architecture: str, tmp_path: Path) -> None:
    log = ring()
    model = train(log, small(architecture, epochs=2))
    model.save(tmp_path / "deep" / "model")
    opened = SequenceModel.load(tmp_path / "deep" / "model")
    assert same(opened, model)
    assert opened.training == model.training
    assert opened.fitted_on == log.hash
    assert set(opened.training.validation) == {"nll", "hit@10"}
    assert np.array_equal(opened.score(RING[:3]), model.score(RING[:3]))  # type: ignore[arg-type]


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / artefacts.TENSORS).read_bytes())
    content[len(content) // 2] ^= 0x01
    (folder / artefacts.TENSORS).write_bytes(content)


def other_kind(folder: Path) -> None:
    path = folder / artefacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "sequence model 0"}))


def no_training(folder: Path) -> None:
    path = folder / artefacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training": {"epochs": "some"}}))


def other_items(folder: Path) -> None:
    path = folder / artefacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"items_sha256": "0"}))


def rewrite(folder: Path, **changes: Any) -> None:
    """Other tensors, with a manifest that vouches for them."""
    tensors, facts = artefacts.load(folder, KIND, {})
    kept = {name: facts[name] for name in ("training", "items_sha256")}
    artefacts.save(folder, KIND, {k: v for k, v in (tensors | changes).items() if v is not None}, kept)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_byte, "altered"),
        (other_kind, "kind"),
        (no_training, "no sequence model"),
        (other_items, "items"),
        (lambda folder: (folder / artefacts.TENSORS).unlink(), "missing"),
        (lambda folder: (folder / artefacts.MANIFEST).write_text("{"), "JSON"),
        (lambda folder: rewrite(folder, ids=None), "no sequence model"),
        (lambda folder: rewrite(folder, **{"outputs.bias": np.full(8, np.nan, np.float32)}), "not finite"),
        (
            lambda folder: rewrite(folder, **{"outputs.bias": np.zeros(7, np.float32)}),
            r"'outputs.bias'.*shape",
        ),
        (lambda folder: rewrite(folder, **{"mix.weight": None}), r"'mix.weight'.*None"),
        (lambda folder: rewrite(folder, more=np.zeros(2, np.float32)), "'more'"),
        (lambda folder: rewrite(folder, **{"outputs.bias": np.zeros(8, np.float64)}), "32 bits"),
    ],
)
def test_a_damaged_model_is_refused_with_the_reason(
    model: SequenceModel, damage: Any, reason: str, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(IndexDamaged, match=reason):
        SequenceModel.load(tmp_path / "model")


def test_where_there_is_no_model_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="there is none"):
        SequenceModel.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "wrong",
    [{"architecture": "rnn"}, {"dropout": 1.0}, {"size": 3}, {"architecture": "attention", "heads": 3}],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        small(**wrong)


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(ModelError, match="diverged"):
        train(ring(), small(learning_rate=1e30))
