"""Channels that score an item that nobody has chosen: by its date, and by whom its text is for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from recsys.config.retrieval import AgeConfig, AudienceConfig, TextConfig
from recsys.data.dataset import EventLog
from recsys.types import Context, Interaction, Item
from retrieval import ChannelRetriever, ItemRows, Query
from retrieval.channels.age import AgeChannel
from retrieval.channels.audience import AudienceChannel, fit_audience
from retrieval.channels.profile import Profiles
from retrieval.channels.text import TextChannel
from retrieval.text_index.index import TextIndex
from tests.retrieval.test_text_retriever import AxisEmbedder

NOW = Context(time=dt.datetime(1987, 4, 10, 18, tzinfo=dt.UTC))
PROFILES = {f"u{n}": {"trade": "grain" if n % 2 else "gold"} for n in range(10)} | {"alone": {"trade": "tin"}}


def dated(**published: str) -> list[Item]:
    return [
        Item(id=name, title=name, attributes={"published": (text,)} if text else {})
        for name, text in published.items()
    ]


def by_age(items: Sequence[Item], context: Context = NOW) -> dict[str, float]:
    channel = AgeChannel(AgeConfig(attribute="published"))
    retriever = ChannelRetriever("age", channel, ItemRows(items))
    return {c.item.id: c.score for c in retriever.retrieve(Query(context=context), 10)}


def test_the_newest_comes_first_and_what_has_no_date_is_not_found() -> None:
    items = dated(old="1987-04-08 10:00", new="1987-04-10 09:00", none="", wrong="soon")
    assert list(by_age(items)) == ["new", "old"]


def test_what_is_dated_later_than_the_request_is_as_new_as_can_be() -> None:
    scores = by_age(dated(now="1987-04-10 18:00", later="1987-04-12 18:00"))
    assert scores["now"] == pytest.approx(scores["later"], abs=0.01)


def test_without_the_time_of_the_request_nothing_is_new() -> None:
    assert not by_age(dated(new="1987-04-10 09:00"), Context())


def audience(profiles: Mapping[str, Mapping[str, str]] = PROFILES) -> AudienceChannel | None:
    """Fit on people in grain who choose what begins with a, and people in gold who choose b."""
    items = [Item(id=name, title=name) for name in ("a1", "b1", "c1")]
    events = [Interaction(user_id=f"u{n}", item_id="a1" if n % 2 else "b1") for n in range(10)]
    events.append(Interaction(user_id="alone", item_id="c1"))
    embedder = AxisEmbedder()
    text = TextChannel(TextIndex.build(items, embedder), embedder, TextConfig())
    return fit_audience(
        EventLog.of(events, [item.id for item in items]), text, Profiles(profiles, {}), AudienceConfig()
    )


def scores(channel: AudienceChannel | None, items: Sequence[Item] = (), **profile: str) -> dict[str, float]:
    assert channel is not None
    channel = channel.updated(items, ())
    known = [Item(id=name, title=name) for name in ("a1", "b1", "c1")]
    retriever = ChannelRetriever("audience", channel, ItemRows([*known, *items]))
    return {c.item.id: c.score for c in retriever.retrieve(Query(profile=profile), 10)}


def test_an_item_that_nobody_chose_is_for_those_who_choose_its_like() -> None:
    fresh = [Item(id="a2", title="a2"), Item(id="b2", title="b2")]
    found = scores(audience(), fresh, trade="grain")
    assert found["a2"] == found["a1"] > 0 > found["b2"] == found["b1"]
    assert next(iter(scores(audience(), fresh, trade="Gold"))).startswith("b")


def test_a_value_of_few_people_and_an_unknown_profile_say_nothing() -> None:
    assert not scores(audience(), trade="tin")
    assert not scores(audience(), hobby="grain")
    assert not scores(audience())
    assert audience({}) is None


def test_a_value_of_few_events_leads_less_far() -> None:
    channel = audience()
    assert channel is not None
    length = np.linalg.norm(channel.directions[channel.facts["trade", "grain"]])
    assert 0 < length < 0.3  # one unit less the mean is longer than .7: five events are shrunk to a fifth
