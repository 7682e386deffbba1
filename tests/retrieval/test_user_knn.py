"""People with the most similar past lend their choices, as shares of what each chose most."""

from __future__ import annotations

import pytest

from recsys.config.retrieval import UserKnnConfig
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, Interaction
from retrieval import ChannelRetriever, ItemRows, Query
from retrieval.channels.user_knn import UserKnnChannel, fit_user_knn
from tests.fakes import film

DAY = 86_400.0
NAMES = ("bread", "ice", "milk", "never", "tea")
ITEMS = {name: film(name, name) for name in NAMES}


def log_of(**baskets: str) -> EventLog:
    """Each user's items, a space between days."""
    events = [
        Interaction(user_id=user, item_id=item, timestamp=day * DAY)
        for user, items in baskets.items()
        for day, item in enumerate(items.split())
    ]
    return EventLog.of(sorted(events, key=lambda event: event.timestamp or 0.0), NAMES)


LOG = log_of(a="milk milk milk milk bread", b="milk milk bread", c="tea tea ice", d="tea ice")


def fitted(log: EventLog = LOG, neighbours: int = 2) -> UserKnnChannel:
    channel = fit_user_knn(log, UserKnnConfig(neighbours=neighbours))
    assert channel is not None
    return channel


def query(**times: int) -> Query:
    return Query(tuple(HistoryEntry(item=ITEMS[name], times=n) for name, n in times.items()))


def scores(channel: UserKnnChannel, asked: Query) -> dict[str, float]:
    retriever = ChannelRetriever("user_knn", channel, ItemRows(ITEMS.values()))
    return {candidate.item.id: candidate.score for candidate in retriever.retrieve(asked, 10)}


def test_the_nearest_users_choose() -> None:
    assert list(scores(fitted(), query(milk=5)))[:2] == ["milk", "bread"]
    assert list(scores(fitted(), query(ice=1)))[:2] == ["tea", "ice"]


def test_a_score_is_the_mean_share_of_the_most_chosen_item() -> None:
    ranked = scores(fitted(), query(milk=5))
    assert ranked["milk"] == pytest.approx(1)
    assert ranked["bread"] == pytest.approx((1 / 4 + 1 / 2) / 2, rel=0.02)  # four days decay a little
    assert ranked["tea"] == ranked["never"] == 0


def test_how_often_something_was_chosen_in_all_makes_nobody_nearer() -> None:
    assert scores(fitted(), query(milk=2, bread=1)) == scores(fitted(), query(milk=200, bread=100))


def test_a_history_of_unknown_items_and_a_log_without_events_have_no_scores() -> None:
    stranger = Query((HistoryEntry(item=film("x", "x")),))
    assert fitted().score(stranger, ItemRows(ITEMS.values())) is None
    assert fit_user_knn(EventLog.of([], NAMES), UserKnnConfig()) is None


def test_events_without_times_count_in_full() -> None:
    events = [Interaction(user_id="a", item_id=name) for name in ("milk", "milk", "bread")]
    ranked = scores(fitted(EventLog.of(events, NAMES)), query(milk=1))
    assert ranked == pytest.approx({"milk": 1.0, "bread": 0.5, "ice": 0.0, "never": 0.0, "tea": 0.0})
