"""Figures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys.data.dataset import EventLog
from recsys.evaluation.metrics.beyond_accuracy import beyond_accuracy, gini
from recsys.evaluation.metrics.calibration import calibration, list_calibration
from recsys.evaluation.metrics.comparison import RankingResults, RatedPairResults
from recsys.evaluation.metrics.ranking import auc, cutoffs_for, ranking_metrics
from recsys.evaluation.metrics.segments import popularity_segments
from recsys.types import Item
from recsys.utils.intervals import Resamples, bootstrap, bounds, holm, mean_of
from tests.evaluation.world import data_of, event


def test_ranking_metrics_are_those_worked_out_by_hand() -> None:
    rankings = [["a", "b", "c"], ["b", "c", "a"], ["x", "y"], [], [f"{n:03}" for n in range(100)]]
    results = ranking_metrics(rankings, ["a", "a", "a", "a", "010"], cutoffs=(1, 2, 10, 20))
    assert results["recall@1"].tolist() == [1, 0, 0, 0, 0]
    assert results["recall@2"].tolist() == [1, 0, 0, 0, 0]
    assert results["recall@10"].tolist() == [1, 1, 0, 0, 0]
    assert results["recall@20"].tolist() == [1, 1, 0, 0, 1]
    assert results["ndcg@10"] == pytest.approx([1, 1 / math.log2(4), 0, 0, 0])
    assert results["ndcg@20"][4] == pytest.approx(1 / math.log2(12))
    assert results["mrr@2"].tolist() == [1, 0, 0, 0, 0]
    assert results["mrr@10"] == pytest.approx([1, 1 / 3, 0, 0, 0])
    assert results["mrr@20"][4] == pytest.approx(1 / 11)


def test_the_place_counts_and_not_the_name_of_an_item() -> None:
    """trec_eval orders ties by document id, which must never decide."""
    ids = [f"{number}" for number in range(150)]
    for ranking in (ids, ids[::-1]):
        results = ranking_metrics([ranking] * 3, [ranking[0], ranking[9], ranking[10]])
        assert results["recall@10"].tolist() == [1, 1, 0]


def test_cutoffs_that_say_nothing_are_left_out() -> None:
    assert cutoffs_for(100, []) == (5, 10, 20, 100)
    assert cutoffs_for(50, []) == (5, 10, 20)
    assert cutoffs_for(100, [20, 20]) == (5, 10)
    assert cutoffs_for(100, [100, 30]) == (5, 10, 20)


def test_auc_is_the_share_of_pairs_in_order_and_ties_count_half() -> None:
    scores, liked = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    # (.4 > .1) + (.4 = .4) / 2 + (.8 > .1) + (.8 > .4), of 4
    assert auc(scores, liked)[0] == pytest.approx(3.5 / 4)
    assert np.isnan(auc(scores, np.ones(4, dtype=bool))[0])


def test_weighted_auc_is_that_of_the_pairs_repeated() -> None:
    random = np.random.default_rng(0)
    scores, liked = random.integers(0, 5, 40) / 5, random.random(40) < 0.4
    weights = random.integers(0, 4, (6, 40)).astype(float)
    repeated = [
        auc(np.repeat(scores, times.astype(int)), np.repeat(liked, times.astype(int)))[0] for times in weights
    ]
    assert auc(scores, liked, weights) == pytest.approx(repeated)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        results = bootstrap((random.random(60) < 0.3).astype(np.float64), seed=seed)
        held += results.low <= 0.3 <= results.high
    assert 178 <= held <= 200  # 190 expected


def test_several_cases_of_a_user_are_drawn_together() -> None:
    """Ten copies of each case say nothing new: the interval stays as wide."""
    values = np.random.default_rng(2).random(30)
    alone = bootstrap(values)
    users = [str(user) for user in range(30) for _ in range(10)]
    copied = bootstrap(np.repeat(values, 10), users)
    assert copied.n == 30
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)
    taken_as_many = bootstrap(np.repeat(values, 10))
    assert taken_as_many.high - taken_as_many.low < 0.5 * (alone.high - alone.low)


def test_resamples_are_the_same_whatever_is_computed_from_them() -> None:
    samples = Resamples(["a", "b", "b", "c"], seed=4, resamples=500)
    values = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 5.0], [0.5, 0.0]])
    both = samples.draws(mean_of(values))
    assert both.shape == (500, 2)
    assert np.array_equal(both[:, :1], samples.draws(mean_of(values[:, :1])))
    assert bounds(both).shape == (2, 2)


def test_paired_figures_see_a_small_difference_that_single_intervals_hide() -> None:
    random = np.random.default_rng(3)
    base = random.random(100)
    better = base + random.normal(0.02, 0.02, 100)
    users = [str(number) for number in range(100)]
    figures = RankingResults(
        {"new": {"ndcg@10": better}, "old": {"ndcg@10": base}}, users, seed=0
    ).estimates()
    assert figures is not None
    new, old = figures.interval("new", "ndcg@10"), figures.interval("old", "ndcg@10")
    assert new.low < old.high  # they overlap
    (difference,) = figures.differences([("new", "old")], "ndcg@10")
    assert difference.value == pytest.approx(new.value - old.value)
    assert 0 < difference.low < difference.value < difference.high
    assert difference.p < 0.001
    assert figures.best("ndcg@10") == ("new", "old", True)


def test_equal_systems_have_no_difference_and_no_best() -> None:
    same = np.random.default_rng(5).random(50)
    figures = RankingResults(
        {"a": {"mrr@5": same}, "b": {"mrr@5": same.copy()}}, [str(n) for n in range(50)], seed=0
    ).estimates()
    assert figures is not None
    (difference,) = figures.differences([("a", "b")], "mrr@5")
    assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
    assert figures.best("mrr@5") == ("a", "b", False)


def test_sign_flips_give_the_exact_p_of_few_users() -> None:
    """Five users, all better: of 32 signs two are as extreme."""
    p = Resamples(list("abcde"), resamples=20_000).sign_flips(np.array([[1.0], [2.0], [3.0], [1.5], [0.5]]))
    assert p[0] == pytest.approx(2 / 32, abs=0.01)


def test_pairs_are_compared_by_auc_and_by_brier_where_there_are_probabilities() -> None:
    random = np.random.default_rng(6)
    liked = random.random(80) < 0.6
    scores = {"good": np.where(liked, 0.8, 0.3), "bad": random.random(80)}
    users = [str(number) for number in range(80)]
    figures = RatedPairResults(scores, liked, frozenset({"good"}), users, seed=0).estimates()
    assert figures is not None
    assert figures.interval("good", "auc").value == 1
    assert figures.metrics("bad") == ["auc"]
    assert figures.interval("good", "brier").value == pytest.approx(np.where(liked, 0.2**2, 0.3**2).mean())
    (difference,) = figures.differences([("good", "bad")], "auc")
    assert difference.low > 0.3
    assert difference.p < 0.001


def test_holm_corrects_step_by_step_and_never_reorders() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_one_temperature_mends_probabilities_that_are_too_sure() -> None:
    random = np.random.default_rng(0)
    truth = random.dirichlet(np.ones(8), 2000)
    boastful = truth**2 / (truth**2).sum(axis=1, keepdims=True)  # sharper than the truth: temperature 2
    targets: list[int | None] = [int(random.choice(8, p=chances)) for chances in truth]
    results = list_calibration(boastful.tolist(), targets, [f"u{n}" for n in range(2000)])
    assert results["temperature"] == pytest.approx(2, rel=0.1)
    assert results["ece_tempered"] < results["ece"] / 3
    assert results["pairs"] == 16_000
    assert results["ece_low"] < results["ece"] < results["ece_high"]
    mended = results["after"]["temperature"]
    assert mended["ece"] == results["ece_tempered"]
    assert mended["ece_high"] < results["ece_low"]
    assert results["ece_isotonic"] < results["ece"] / 3
    assert sum(point["n"] for point in results["after"]["isotonic"]["curve"]) == 16_000


def test_isotonic_line_mends_what_no_temperature_can() -> None:
    """The target is listed in every third list only, so that every probability is three times too high."""
    random = np.random.default_rng(0)
    lists = random.dirichlet(np.ones(8), 3000)
    targets = [int(random.choice(8, p=chances)) if n % 3 == 0 else None for n, chances in enumerate(lists)]
    results = list_calibration(lists.tolist(), targets, [f"u{n % 500}" for n in range(3000)])
    assert results["temperature"] == pytest.approx(1, rel=0.2)
    assert results["ece_isotonic"] < results["ece"] / 3
    assert results["ece_tempered"] > results["ece"] / 2
    for message, means in results["isotonic"][3:]:
        assert means == pytest.approx(message / 3, abs=0.05)


def test_lists_without_their_target_fit_no_temperature() -> None:
    results = list_calibration([[0.5, 0.5], [1.0, 0.0]], [None, 1], ["a", "b"])
    assert results["temperature"] == 1.0


def test_calibration_of_perfect_and_of_boastful_probabilities() -> None:
    happened = np.array([True, False] * 100)
    assert calibration(np.full(200, 0.5), happened)["ece"] == pytest.approx(0)
    boastful = calibration(np.full(200, 0.9), happened)
    assert boastful["ece"] == pytest.approx(0.4)
    assert boastful["ece_low"] < 0.4 < boastful["ece_high"]
    assert boastful["brier"] == pytest.approx((0.9**2 + 0.1**2) / 2)
    assert len(boastful["curve"]) == 1  # equal probabilities stay in one bin
    spread = calibration(np.linspace(0, 1, 200), happened)
    assert [point["n"] for point in spread["curve"]] == [20] * 10


LOG = EventLog.of([event("u", "a"), event("v", "a"), event("v", "b"), event("w", "a")], "abcd")


def test_beyond_accuracy_is_that_worked_out_by_hand() -> None:
    genres = {"a": ("x",), "b": ("x", "y"), "c": (), "d": ("z",)}
    items = {
        one: Item(id=one, title=one, attributes={"genre": values} if values else {})
        for one, values in genres.items()
    }
    cases = data_of().split.cases[:2]
    history = (event("u", "a"),)
    asked = [type(cases[0])("u", history, event("u", "d")), type(cases[0])("w", (), event("w", "d"))]
    results = beyond_accuracy([("a", "b"), ("b", "c")], asked, items, LOG)
    assert results["coverage@10"] == 3 / 4
    information = [-math.log2(share / 8) for share in (4, 2, 2, 1)]
    assert results["novelty@10"] == pytest.approx(sum(information) / 4)
    assert results["popularity_lift@10"] == pytest.approx(
        ((3 + 1) / 2) / 3
    )  # who has no history does not count
    assert results["diversity@10"] == pytest.approx(1 - 1 / 2)  # of c nothing is known
    assert results["gini@10"] == pytest.approx(gini(np.array([0, 1, 1, 2])))


def test_nothing_recommended_has_no_figures() -> None:
    assert set(beyond_accuracy([()], [data_of().split.cases[0]], {}, LOG).values()) == {None}


def test_gini_is_zero_for_equal_counts_and_near_one_for_one_item() -> None:
    assert gini(np.full(10, 3)) == pytest.approx(0)
    assert gini(np.array([0] * 99 + [7])) == pytest.approx(0.99)


def test_head_torso_and_tail_are_cut_at_half_and_nine_tenths_of_the_events() -> None:
    counts = {"a": 50, "b": 30, "c": 10, "d": 6, "e": 4}
    events = [event(str(n), item) for item, count in counts.items() for n in range(count)]
    results = popularity_segments(EventLog.of(events, "abcdef"))
    assert results == {"a": "head", "b": "torso", "c": "torso", "d": "tail", "e": "tail", "f": "new"}
