from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.data.dataset import EventLog
from retrieval.sampling import sample_users
from retrieval.sequence.model import SequenceModel
from retrieval.sequence.network import _randomised_svd
from retrieval.sequence.training import train
from tests.retrieval.test_sequence_model import RING, log_of, ring, same, scored, small


class Killed(BaseException):
    pass


def killed_after(epochs: int, log: EventLog, folder: Path) -> None:
    def progress(_what: str, done: int, _total: int) -> None:
        if done == epochs:
            raise Killed

    with pytest.raises(Killed):
        train(log, small(), folder, progress)


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    config = small(epochs=2)
    model = train(ring(), config)
    assert same(model, train(ring(), config))
    assert not same(model, train(ring(), config.model_copy(update={"seed": 1})))


def test_other_users_of_random_numbers_change_nothing() -> None:
    import torch

    def progress(*_: object) -> None:
        torch.rand(3)
        np.random.random()

    torch.manual_seed(5)
    assert same(train(ring(), small(epochs=2)), train(ring(), small(epochs=2), progress=progress))


def test_threads_are_the_configs_own_and_given_back() -> None:
    """The same weights on any machine, however many cores it has."""
    import torch

    before, seen = torch.get_num_threads(), []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            seen.append(train(ring(), small(epochs=2)))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
    assert same(*seen)


def test_a_training_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    log = ring()
    killed_after(3, log, tmp_path)
    calls: list[int] = []
    resumed = train(log, small(), tmp_path, lambda _what, done, _total: calls.append(done))
    assert calls[0] == 3
    whole = train(log, small())
    assert same(resumed, whole)
    assert resumed.training.validation == whole.training.validation


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    log, calls = ring(), []
    first = train(log, small(epochs=2), tmp_path)
    again = train(log, small(epochs=2), tmp_path, lambda _what, done, _total: calls.append(done))
    assert calls == [2]
    assert same(first, again)


def test_a_checkpoint_of_other_events_or_settings_is_not_used(tmp_path: Path) -> None:
    killed_after(3, ring(), tmp_path)
    other = ring(users=30)
    assert same(train(other, small(), tmp_path), train(other, small()))
    killed_after(3, ring(), tmp_path)
    assert same(train(ring(), small(seed=7), tmp_path), train(ring(), small(seed=7)))


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    killed_after(3, ring(), tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 0x10
    file.write_bytes(content)
    assert same(train(ring(), small(), tmp_path), train(ring(), small()))


def test_progress_goes_from_nothing_to_all() -> None:
    calls: list[tuple[str, int, int]] = []
    train(ring(), small(epochs=3), progress=lambda *call: calls.append(call))
    assert calls == [("training", done, 3) for done in (0, 1, 2, 3)]


def test_training_stops_when_what_was_held_out_becomes_less_likely() -> None:
    rng = np.random.default_rng(0)
    noise = log_of([[f"i{n}" for n in rng.integers(0, 30, 6)] for _ in range(30)])
    model = train(noise, small(epochs=60, patience=2, learning_rate=0.05, dropout=0.0, validation_users=1.0))
    assert model.training.epochs < 58
    unstopped = train(
        noise, small(epochs=60, patience=60, learning_rate=0.05, dropout=0.0, validation_users=0.0)
    )
    assert unstopped.training.epochs == 60
    assert unstopped.training.validation == {}


def test_the_last_event_of_a_held_out_user_is_not_learned() -> None:
    log = log_of([["a", "b", "c", "secret"], *[["a", "b", "c"]] * 9])
    with_secret = train(log, small(epochs=1, validation_users=0.0))
    without = train(log, small(epochs=1, validation_users=1.0))
    assert "secret" in with_secret.items
    assert "secret" not in without.items


def test_events_of_one_moment_are_read_in_every_order() -> None:
    """Always stored as r0 r1 r2 at one time: r0 may follow r1 as well as r2."""
    at_once = log_of([["r0", "r1", "r2"]] * 40, step=0.0)
    in_order = log_of([["r0", "r1", "r2"]] * 40, step=60.0)
    config = small(epochs=40, validation_users=0.0)
    log_p = {}
    for name, log in (("at once", at_once), ("in order", in_order)):
        model = train(log, config)
        log_p[name] = float(scored(model, ["r1"])[model.items.index("r0")])
    assert log_p["at once"] > log_p["in order"] + 1


def test_a_model_trained_in_pieces_knows_what_crosses_their_borders() -> None:
    model = train(ring(users=20, length=60), small(length=5))
    scores = scored(model, [RING[n % 8] for n in range(20)])
    assert model.items[int(scores.argmax())] == RING[20 % 8]


def test_the_model_folder_may_be_the_one_that_held_the_checkpoint(tmp_path: Path) -> None:
    model = train(ring(), small(epochs=1), tmp_path / "sequence")
    model.save(tmp_path / "sequence")
    assert same(SequenceModel.load(tmp_path / "sequence"), model)
    assert not (tmp_path / "sequence" / "checkpoint").exists()


def test_many_items_are_learned_from_a_sample_of_them() -> None:
    """Above `full_softmax_items` the loss compares the target with sampled items only."""
    options = {"full_softmax_items": 0, "negatives": 6}
    before, after = (train(ring(), small(epochs=n).model_copy(update=options)) for n in (0, 6))
    assert after.training.validation["nll"] < before.training.validation["nll"] - 0.3
    scores = scored(after, RING[:5])
    assert after.items[int(np.argmax(scores))] == RING[5]
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-4)


def test_approximate_factors_give_back_a_matrix_of_low_rank() -> None:
    chance = np.random.default_rng(3)
    matrix = chance.normal(size=(90, 4)) @ chance.normal(size=(4, 90))
    u, strength, v = _randomised_svd(sp.csr_matrix(matrix), 6)
    assert np.allclose((u * strength) @ v, matrix, atol=1e-6)


def test_an_epoch_of_a_long_log_is_a_sample_of_its_users() -> None:
    log = ring()
    sample = sample_users(log, len(log) // 2, seed=1)
    assert 0 < len(sample) <= len(log) // 2
    assert sample.items == log.items
    for row, user in enumerate(sample.users):
        whole = log.users.index(user)
        expected = log.item[log.start[whole] : log.start[whole + 1]]
        assert sample.item[sample.start[row] : sample.start[row + 1]].tolist() == expected.tolist()
    assert sample_users(log, len(log)) is log
