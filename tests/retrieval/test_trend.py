"""What is chosen more lately than before comes first, as of the moment of the request."""

from __future__ import annotations

import datetime as dt
import math

import pytest

from recsys.config.retrieval import TrendConfig
from recsys.data.dataset import EventLog
from recsys.types import Context, Interaction
from retrieval import ChannelRetriever, ItemRows, Query
from retrieval.channels.trend import TrendChannel, fit_trend
from tests.fakes import film

DAY = 86_400.0
BEGINS = dt.datetime(2017, 9, 1, tzinfo=dt.UTC)
NAMES = ("bread", "ice", "never", "stuffing")


def event(name: str, day: float, user: str = "u") -> Interaction:
    return Interaction(user_id=user, item_id=name, timestamp=BEGINS.timestamp() + day * DAY)


# Bread every day twice, ice in the first month, stuffing in the last ten days: ends after 90 days.
EVENTS = (
    [event("bread", day, user) for day in range(90) for user in "uv"]
    + [event("ice", day) for day in range(30)]
    + [event("stuffing", day) for day in range(80, 90)]
)


def fitted(events: list[Interaction], **options: float) -> TrendChannel:
    ordered = sorted(events, key=lambda event: event.timestamp or 0.0)
    channel = fit_trend(EventLog.of(ordered, NAMES), TrendConfig.model_validate(options))
    assert channel is not None
    return channel


def scores(channel: TrendChannel, day: float | None) -> dict[str, float]:
    time = None if day is None else BEGINS + dt.timedelta(days=day)
    retriever = ChannelRetriever("trend", channel, ItemRows([film(name, name) for name in NAMES]))
    ranked = retriever.retrieve(Query(context=Context(time=time)), 10)
    return {candidate.item.id: candidate.score for candidate in ranked}


def test_each_moment_has_its_own_order() -> None:
    channel = fitted(EVENTS)
    assert next(iter(scores(channel, 90))) == "stuffing"
    assert next(iter(scores(channel, 45))) != "stuffing"
    assert scores(channel, 20)["ice"] > scores(channel, 40)["ice"] > scores(channel, 60)["ice"]
    at_end = scores(channel, 90)
    assert at_end["stuffing"] > 0 > at_end["bread"] > at_end["ice"]
    assert at_end["never"] == 0


def test_nothing_at_or_after_the_moment_is_read() -> None:
    """Scores at a moment are those of a log that ends there; the day of the moment is not over."""
    everything, moment = fitted(EVENTS), 85.4
    before = fitted([one for one in EVENTS if (one.timestamp or 0) < BEGINS.timestamp() + 85 * DAY])
    assert scores(everything, moment) == scores(before, moment)
    assert scores(everything, moment) == scores(everything, 85)  # midnight: only the day is known


def test_the_score_is_the_logarithm_of_recent_events_to_expected_ones() -> None:
    """Two days, half-life one day: ice has 1 of 2 recent events, and 1 of 4 of all."""
    events = [event("bread", 0, "u"), event("bread", 0, "v"), event("bread", 1, "u"), event("ice", 1, "u")]
    ranked = scores(fitted(events, half_life_days=1, smoothing=1), 2)
    recent, expected = 1.0, 3 * 1 / 4  # 2 events of yesterday and 2 of the day before, at half
    assert ranked["ice"] == pytest.approx(math.log((recent + 1) / (expected + 1)))


@pytest.mark.parametrize("day", [None, -5, 0.5, 125])
def test_a_moment_of_which_nothing_is_known_has_no_scores(day: float | None) -> None:
    """None, before the events, on the first day, and five half-lives after the last."""
    assert scores(fitted(EVENTS), day) == {}


def test_without_times_there_is_no_trend() -> None:
    log = EventLog.of([Interaction(user_id="u", item_id="ice")], NAMES)
    assert fit_trend(log, TrendConfig()) is None


def test_many_days_are_asked_for_in_bounded_memory() -> None:
    channel = fitted(EVENTS)
    for day in range(1, 91):
        scores(channel, day)
    assert len(channel.days._kept) <= 32
