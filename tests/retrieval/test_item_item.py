from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.retrieval import (
    CooccurrenceConfig,
    EaseConfig,
    HistoryDecay,
    LinearConfig,
    TransitionConfig,
)
from recsys.data.dataset import EventLog
from recsys.errors import IndexDamaged
from recsys.types import HistoryEntry, Interaction, Item
from retrieval import ItemRows, Query, neighbours
from retrieval.channels import item_item_fitting
from retrieval.channels.item_item import (
    ItemItemChannel,
    ItemItemConfig,
    decay,
    history_weights,
)
from retrieval.channels.item_item_fitting import fit_item_item
from retrieval.fusion_weights import example_of, fit_weights
from retrieval.pool import Pool
from tests.retrieval.contract import make_items

CONFIGS: Mapping[str, ItemItemConfig] = {
    "transitions": TransitionConfig(window=2, backward=0),
    "cooccurrence": CooccurrenceConfig(),
    "ease": EaseConfig(l2=1.0),
    "linear": LinearConfig(l2=1.0, window=1),
}
ITEMS = make_items(12)


def log_of(*sequences: str, items: Sequence[Item] = ITEMS) -> EventLog:
    """Each sequence is one user's items, "0 1 2"; a second passes between them."""
    events = [
        Interaction(user_id=f"u{user}", item_id=f"i{name}", timestamp=float(second))
        for user, sequence in enumerate(sequences)
        for second, name in enumerate(sequence.split())
    ]
    return EventLog.of(events, [item.id for item in items])


def past(*numbers: int, times: Sequence[float | None] | None = None) -> tuple[HistoryEntry, ...]:
    return tuple(
        HistoryEntry(item=ITEMS[number], timestamp=times[position] if times else float(position))
        for position, number in enumerate(numbers)
    )


CLUSTERS = log_of(*["0 1 2 3"] * 5, *["4 5 6 7"] * 5)


def test_channel_scores_do_not_hold_the_rows_of_their_history() -> None:
    """Evidence holds scores per ablation: with rows it grew by 150 MiB a thread."""
    items = make_items(600)
    everything = " ".join(map(str, range(600)))
    channel = fit_item_item(log_of(*[everything] * 3, items=items), EaseConfig(l2=1.0))
    query = Query(tuple(HistoryEntry(item=item, timestamp=0.0) for item in items[:500]))
    table = ItemRows(items)
    assert channel.score(query, table) is not None
    tracemalloc.start()
    try:
        scores = [channel.score(query, table) for _ in range(10)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(scores) == 10
    assert held / 10 < 0.1 * 500 * 600 * 4  # bytes; the rows alone are of 8 bytes an entry


@pytest.mark.parametrize("name", CONFIGS)
class TestEveryConfig:
    def scores(self, name: str, query: Query) -> dict[str, float]:
        table = ItemRows(ITEMS)
        answer = fit_item_item(CLUSTERS, CONFIGS[name]).score(query, table)
        assert answer is not None
        return {item.id: float(score) for item, score in zip(table.items, answer.values, strict=True)}

    def test_items_of_the_same_users_are_found(self, name: str) -> None:
        scores = self.scores(name, Query(past(0, 1)))
        assert scores["i2"] > max(scores[f"i{other}"] for other in (4, 5, 6, 7))

    def test_items_without_interactions_have_no_score(self, name: str) -> None:
        scores = self.scores(name, Query(past(0)))
        assert [item_id for item_id, score in scores.items() if np.isnan(score)] == ["i10", "i11", "i8", "i9"]

    def test_unknown_history_has_no_scores(self, name: str) -> None:
        channel = fit_item_item(CLUSTERS, CONFIGS[name])
        assert channel.score(Query(), ItemRows(ITEMS)) is None
        assert channel.score(Query(past(9)), ItemRows(ITEMS)) is None

    def test_shares_of_the_history_add_up_to_the_score(self, name: str) -> None:
        table = ItemRows(ITEMS)
        answer = fit_item_item(CLUSTERS, CONFIGS[name]).score(Query(past(0, 1, 4)), table)
        assert answer is not None
        rows = answer.top(5, np.ones(len(table), dtype=bool))
        for shares, score in zip(answer.contributions(rows), answer.at(rows), strict=True):
            assert set(shares) == {"i0", "i1", "i4"}
            assert sum(shares.values()) == pytest.approx(score, abs=1e-5)

    def test_saved_and_loaded_it_is_the_same(self, name: str, tmp_path: Path) -> None:
        channel, config = fit_item_item(CLUSTERS, CONFIGS[name]), CONFIGS[name]
        channel.save(tmp_path / name, config)
        again = ItemItemChannel.load(tmp_path / name, config, CLUSTERS)
        assert (again.strength != channel.strength).nnz == 0
        assert again.memory == channel.memory

    def test_other_events_and_damage_are_refused(self, name: str, tmp_path: Path) -> None:
        config = CONFIGS[name]
        fit_item_item(CLUSTERS, config).save(tmp_path / name, config)
        with pytest.raises(IndexDamaged, match="fitted_on"):
            ItemItemChannel.load(tmp_path / name, config, log_of("0 1"))
        manifest = tmp_path / name / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 0'))
        with pytest.raises(IndexDamaged, match="format"):
            ItemItemChannel.load(tmp_path / name, config, CLUSTERS)

    @pytest.mark.parametrize("sequences", [(), ("0",), ("0", "0 0")])
    def test_hardly_any_events_are_no_error(self, name: str, sequences: tuple[str, ...]) -> None:
        channel = fit_item_item(log_of(*sequences), CONFIGS[name])
        answer = channel.score(Query(past(0)), ItemRows(ITEMS))
        assert (answer is None) == (not sequences)


def test_transitions_look_forward_only_if_told_so() -> None:
    log = log_of("0 1 2", items=ITEMS[:3])
    forward = fit_item_item(log, TransitionConfig(window=2, backward=0, row_power=0, popularity_power=0))
    assert forward.strength.toarray().tolist() == [[0, 1, 0.5], [0, 0, 1], [0, 0, 0]]
    both = fit_item_item(log, TransitionConfig(window=2, backward=1, row_power=0, popularity_power=0))
    assert both.strength.toarray().tolist() == [[0, 1, 0.5], [1, 0, 1], [0.5, 1, 0]]


def test_events_of_one_second_are_one_moment() -> None:
    memory = HistoryDecay(item_decay=1.0, moment_decay=0.5)
    assert decay(np.array([1.0, 2.0, 2.0, 3.0]), memory).tolist() == [0.25, 0.5, 0.5, 1.0]
    assert decay(np.array([np.nan, np.nan, 3.0]), memory).tolist() == [0.25, 0.5, 1.0]


def test_memory_ends_and_a_dislike_weighs_what_it_should() -> None:
    memory = HistoryDecay(item_decay=0.5, moment_decay=1.0, length=2, disliked=0.5)
    entries = (*past(0, 1), HistoryEntry(item=ITEMS[2], liked=False))
    assert history_weights(entries, memory).tolist() == [0, 0.5, 0.5]


def test_weights_find_the_channel_that_knows_and_never_turn_negative() -> None:
    chance = np.random.default_rng(0)
    examples = []
    for _ in range(200):
        features = chance.normal(size=(30, 3)).astype(np.float32)
        target = int(np.argmax(2 * features[:, 0] - features[:, 2] + chance.gumbel(size=30)))
        pool = Pool(np.arange(30), features, np.zeros((30, 3), dtype=np.int64))
        examples.append(example_of(pool, ["a", "b", "c"], ["a", "b", "c"], target))
    weights = fit_weights([example for example in examples if example is not None])
    assert weights[0] > 1
    assert weights[1] < 0.3
    assert weights[2] == 0


def test_target_that_no_channel_brought_is_no_example() -> None:
    pool = Pool(np.array([1, 4]), np.zeros((2, 1), dtype=np.float32), np.zeros((2, 1), dtype=np.int64))
    assert example_of(pool, ["a"], ["a"], 3) is None
    assert example_of(pool, ["a"], ["a"], 5) is None


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_made_block_by_block_are_those_of_all_items_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs of a shop's 68,000 products needed more than 16 GiB."""
    log = log_of("0 1 2 3 2 4", "3 1 5 0", "6 7 8 9 6 10", "2 6 1 11", "4 4 5")
    whole = fit_item_item(log, CONFIGS[name]).strength.toarray()
    monkeypatch.setattr(item_item_fitting, "BLOCK_PAIRS", 1)
    monkeypatch.setattr(item_item_fitting, "BLOCK_EXAMPLES", 1)
    monkeypatch.setattr(item_item_fitting, "BLOCK_ROWS", 5)
    steps = list[tuple[int, int]]()
    pieces = fit_item_item(log, CONFIGS[name], lambda done, total: steps.append((done, total)))
    assert np.allclose(pieces.strength.toarray(), whole, atol=1e-6)
    assert len(steps) > 1
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_strongest_neighbours_are_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of("0 1 2 3 2 4", "3 1 5 0", "6 7 8 9 6 10", "2 6 1 11", "4 4 5")
    whole = fit_item_item(log, CONFIGS[name]).strength.toarray()
    monkeypatch.setattr(neighbours, "STRENGTHS", 0)
    monkeypatch.setattr(neighbours, "LEAST_NEIGHBOURS", 2)
    cut = fit_item_item(log, CONFIGS[name]).strength.toarray()
    assert (np.count_nonzero(cut, axis=1) == np.minimum(2, np.count_nonzero(whole, axis=1))).all()
    kept = np.sort(np.abs(cut), axis=1)[:, -2:]
    assert np.allclose(kept, np.sort(np.abs(whole), axis=1)[:, -2:], atol=1e-6)
