"""The benchmark of baskets asks every system at a moment of which it knows only what came before."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import baskets, report_baskets
from benchmarks.baskets import CHANNELS, DAY, HYBRID, UNDATED, WEEKS_4, Block, Shop
from recsys.config import load_domain
from recsys.data.dataset import EventLog
from recsys.types import Interaction
from tests.fakes import film

N_ITEMS, N_USERS, DAYS = 30, 12, 120
CUT = 80


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Households that buy four of thirty products every fifth day."""
    rng = np.random.default_rng(0)
    events = []
    for user in range(N_USERS):
        liked = rng.permutation(N_ITEMS)[:12]
        for day in range(user % 5, DAYS, 5):
            events += [
                Interaction(user_id=f"u{user:02}", item_id=f"i{item:02}", timestamp=1.5e9 + day * DAY)
                for item in rng.choice(liked, 4, replace=False)
            ]
    items = [film(f"i{number:02}", f"Item {number}") for number in range(N_ITEMS)]
    log = EventLog.of(sorted(events, key=lambda event: event.timestamp or 0.0), [item.id for item in items])
    return Shop(load_domain("shop"), items, log)


@pytest.fixture(scope="module")
def block(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Block:
    return Block(shop, begins(shop) + CUT * DAY, tmp_path_factory.mktemp("fitted"))


WEIGHTS = {HYBRID: np.ones(len(CHANNELS)), UNDATED: np.ones(len(CHANNELS) - 1)}


def begins(shop: Shop) -> float:
    return float(shop.log.time.min())


def drawn(shop: Shop, per_user: int = 1) -> list[baskets.Basket]:
    cut = begins(shop) + CUT * DAY
    return baskets.draw_baskets(shop.log, cut, cut + WEEKS_4, per_user, seed=0)


@pytest.mark.parametrize("per_user", [1, 2])
def test_baskets_are_drawn_whole_in_their_period(shop: Shop, per_user: int) -> None:
    found = drawn(shop, per_user)
    assert np.bincount([basket.user for basket in found]).tolist() == [per_user] * N_USERS
    for basket in found:
        at = shop.log.time[basket.position]
        assert 0 <= at - begins(shop) - CUT * DAY < WEEKS_4
        own = (shop.log.user == basket.user) & (shop.log.time == at)
        assert basket.targets.tolist() == sorted(shop.log.item[own].tolist())
        past = (shop.log.user == basket.user) & (shop.log.time < at)
        assert np.flatnonzero(basket.seen).tolist() == sorted(set(shop.log.item[past].tolist()))
        assert not basket.seen[basket.wanted("next-new")].any()


def test_the_gain_is_that_of_an_item_drawn_from_the_basket() -> None:
    ranked = np.array([4, 7, 1])
    assert baskets.gain(ranked, np.array([7])) == pytest.approx(1 / math.log2(3))
    assert baskets.gain(ranked, np.array([7, 9])) == pytest.approx(0.5 / math.log2(3))
    assert baskets.gain(ranked, np.array([9])) == 0


def test_no_system_reads_what_comes_at_or_after_the_moment(shop: Shop, block: Block, tmp_path: Path) -> None:
    """Gains do not change where all others buy other things from the moment on."""
    basket = drawn(shop)[3]
    log, moment = shop.log, shop.log.time[basket.position]
    item = log.item.copy()
    later = (log.time >= moment) & (log.user != basket.user)
    item[later] = (item[later] + 7) % N_ITEMS
    changed = dataclasses.replace(shop, log=dataclasses.replace(log, item=item))
    other = Block(changed, block.cut, tmp_path)
    assert other.gains(basket, WEIGHTS) == block.gains(basket, WEIGHTS)


def test_every_system_answers_both_tasks_and_the_table_names_them(shop: Shop, block: Block) -> None:
    rows = [
        {"user": shop.log.users[basket.user], "cut": cut, "gains": gains}
        for cut in (80, 94)
        for basket in drawn(shop)
        for gains in [block.gains(basket, WEIGHTS)["next-basket"]]
    ]
    figures = baskets.summarise(rows)
    systems = {*CHANNELS, HYBRID, UNDATED, "own-frequency", "own-recency", "season-popularity", "tifu-knn"}
    assert set(figures["systems"]) == systems
    assert (figures["baskets"], figures["households"]) == (2 * N_USERS, N_USERS)
    text = report_baskets.baskets(
        "What is bought",
        {
            "title": "a shop",
            "data": {"events": 1, "items": 2, "households": 3},
            "cuts": {"validation": [1], "test": [80, 94]},
            "weights": {HYBRID: {"trend": 1.0, "ease": 0.0}, UNDATED: {"ease": 1.0}},
            "tasks": {"next-basket": figures, "next-new": figures},
            "environment": dict.fromkeys(("command", "date", "cores", "cpu", "memory_gib", "python"), "x")
            | {"versions": {}},
        },
    )
    assert all(f"| {name} |" in text for name in systems)
    assert "| days 80 to 107 |" in text
    assert "Weights: hybrid: trend 1.00; hybrid-no-date: ease 1.00." in text


def test_weights_are_fitted_for_the_channels_of_each_hybrid(shop: Shop, block: Block) -> None:
    examples = block.examples(drawn(shop)[0], seed=0)
    for system, example in examples.items():
        assert example is None or example.features.shape[1] == len(shop.columns(system))
    assert [name for name in shop.columns(HYBRID) if name not in shop.columns(UNDATED)] == ["trend"]


def test_few_baskets_are_spread_over_the_households(shop: Shop) -> None:
    found = drawn(shop)
    assert [basket.user for basket in baskets.some(found, 5)] == [0, 3, 6, 9]
    assert baskets.some(found, None) == found == baskets.some(found, 99)
