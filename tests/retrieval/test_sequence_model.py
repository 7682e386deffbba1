from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recsys.config.retrieval import GruConfig
from recsys.data.dataset import EventLog
from recsys.errors import IndexDamaged, ModelError, RequestError
from recsys.types import Interaction
from retrieval import artefacts
from retrieval.arrays import FloatArray
from retrieval.sequence.model import KIND, SequenceModel
from retrieval.sequence.training import train

RING = tuple(f"r{n}" for n in range(8))


def small(**changes: Any) -> GruConfig:
    fields = {
        "dimension": 16,
        "hidden": 16,
        "length": 12,
        "epochs": 8,
        "batch": 8,
        "learning_rate": 0.01,
        "patience": 8,
    }
    return GruConfig.model_validate(fields | changes)


def log_of(
    histories: Sequence[Sequence[str]], items: Sequence[str] = (), step: float | None = 60.0
) -> EventLog:
    """One user per history, an event every `step` seconds; None: unknown times."""
    events = [
        Interaction(user_id=f"u{user}", item_id=item, timestamp=None if step is None else 1e9 + step * n)
        for user, history in enumerate(histories)
        for n, item in enumerate(history)
    ]
    return EventLog.of(events, [*items, *(event.item_id for event in events)])


def ring(users: int = 40, length: int = 14) -> EventLog:
    """Everybody goes around the ring, each from another start."""
    return log_of([[RING[(user + n) % len(RING)] for n in range(length)] for user in range(users)])


def same(first: SequenceModel, second: SequenceModel) -> bool:
    return (
        first.items == second.items
        and first.weights.keys() == second.weights.keys()
        and all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)
    )


def scored(model: SequenceModel, history: Sequence[str], times: Sequence[float] | None = None) -> FloatArray:
    """Log-probabilities after a history with known items."""
    scores = model.score(history, times)
    assert scores is not None
    return scores


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    return train(ring(), small())


def test_it_learns_which_item_comes_next(model: SequenceModel) -> None:
    for start, _ in enumerate(RING):
        history = [RING[(start + n) % len(RING)] for n in range(5)]
        scores = scored(model, history, [60.0 * n for n in range(5)])
        assert model.items[int(scores.argmax())] == RING[(start + 5) % len(RING)]


def test_what_comes_next_can_depend_on_what_came_before_the_last_item() -> None:
    paths = (["a", "x", "m", "p"], ["b", "x", "m", "q"])
    model = train(log_of(paths * 40), small(epochs=20, batch=1, dropout=0.0))
    for path in paths:
        scores = scored(model, path[:3], [0.0, 60.0, 120.0])
        assert model.items[int(scores.argmax())] == path[3]


def test_scores_are_log_probabilities_and_an_inner_product_up_to_a_constant(model: SequenceModel) -> None:
    scores, vector = scored(model, RING[:4]), model.user_vector(RING[:4])
    assert vector is not None
    assert scores.dtype == vector.dtype == model.item_vectors.dtype == np.float32
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)
    difference = scores - model.item_vectors @ vector
    assert difference == pytest.approx(np.full(len(RING), difference[0]), abs=1e-5)


def test_many_histories_at_once_score_as_each_alone(model: SequenceModel) -> None:
    histories = [["r1"], ["r2", "nobody", "r5"], [], ["nobody"], [RING[n % 8] for n in range(40)]]
    times = [[60.0 * n for n in range(len(history))] for history in histories]
    batch = model.score_batch(histories, times)
    assert batch.shape == (5, len(RING))
    for history, seconds, row in zip(histories, times, batch, strict=True):
        alone = model.score(history, seconds)
        if alone is None:
            assert np.isnan(row).all()
        else:
            assert row == pytest.approx(alone, abs=1e-5)


def test_histories_with_a_common_beginning_score_as_each_alone() -> None:
    """A network that reads the beginning once must resume from its state."""
    model = train(ring(), small(epochs=2, length=100))
    history = [RING[(n * n) % 8] for n in range(90)]
    seconds = [60.0 * n for n in range(90)]
    left_out: list[set[int]] = [
        set(),
        {89},
        {80},
        {70, 85},
        {3},
        set(range(60, 90)),
        set(range(2, 90)),
    ]
    kept = [[n for n in range(90) if n not in positions] for positions in left_out]
    histories = [[history[n] for n in positions] for positions in kept]
    times = [[seconds[n] for n in positions] for positions in kept]
    for shorter, at, row in zip(histories, times, model.score_batch(histories, times), strict=True):
        assert row == pytest.approx(model.score(shorter, at), abs=1e-5)


def test_only_the_last_items_are_read(model: SequenceModel) -> None:
    long = [RING[n % 8] for n in range(40)]
    assert np.array_equal(scored(model, long), scored(model, long[-12:]))


def test_without_any_known_item_there_is_no_score(model: SequenceModel) -> None:
    for history in ([], ["nobody"], ["nobody", "knows"]):
        assert model.score(history) is None
        assert model.user_vector(history) is None


def test_unknown_items_are_ignored(model: SequenceModel) -> None:
    with_unknown = scored(model, ["r1", "nobody", "r2"], [0.0, 1.0, 60.0])
    assert np.array_equal(with_unknown, scored(model, ["r1", "r2"], [0.0, 60.0]))


def test_unknown_times_are_no_obstacle() -> None:
    model = train(log_of([RING] * 10, step=None), small(epochs=1))
    without, nan = scored(model, RING[:3]), scored(model, RING[:3], [np.nan, np.nan, np.nan])
    partly = scored(model, RING[:3], [0.0, np.nan, 60.0])
    assert np.array_equal(without, nan)
    assert np.isfinite(without).all()
    assert np.isfinite(partly).all()


def test_times_matter(model: SequenceModel) -> None:
    quick, slow = scored(model, ["r1", "r5"], [0.0, 0.0]), scored(model, ["r1", "r5"], [0.0, 1e6])
    assert not np.allclose(quick, slow)


def test_times_that_do_not_fit_the_history_are_refused(model: SequenceModel) -> None:
    with pytest.raises(RequestError, match="differ in number"):
        model.score(["r1", "r2"], [0.0])


def test_items_without_interactions_are_not_known() -> None:
    model = train(log_of([RING] * 5, items=["never"]), small(epochs=1))
    assert model.items == RING


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("history", [[], ["only"], ["only", "only", "only"]])
def test_a_catalogue_of_no_item_or_one_can_be_learned(history: list[str], tmp_path: Path) -> None:
    model = train(log_of([history], items=["other"]), small(epochs=2))
    model.save(tmp_path / "model")
    opened = SequenceModel.load(tmp_path / "model")
    assert opened.items == tuple(dict.fromkeys(history))
    assert opened.score(["nobody"]) is None
    assert opened.score_batch([[], ["nobody"]]).shape == (2, len(opened.items))
    if history:
        assert opened.score(["only"]) == pytest.approx([0.0])


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    log = ring()
    model = train(log, small(epochs=2))
    model.save(tmp_path / "deep" / "model")
    opened = SequenceModel.load(tmp_path / "deep" / "model")
    assert same(opened, model)
    assert opened.training == model.training
    assert opened.fitted_on == log.hash
    assert set(opened.training.validation) == {"nll", "hit@10"}
    assert np.array_equal(scored(opened, RING[:3]), scored(model, RING[:3]))


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
        (lambda folder: rewrite(folder, **{"out.weight": None}), r"'out.weight'.*None"),
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


def test_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="there is none"):
        SequenceModel.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "wrong",
    [{"architecture": "rnn"}, {"dropout": 1.0}, {"size": 3}, {"heads": 3}],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        small(**wrong)


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(ModelError, match="diverged"):
        train(ring(), small(learning_rate=1e30))
