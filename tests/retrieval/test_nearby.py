from __future__ import annotations

import numpy as np
import pytest

from recsys.config import Locality, load_domain
from recsys.config.retrieval import NearbyConfig
from recsys.context.builder import build_context
from recsys.types import Context, Interaction, Item, Site
from retrieval import ChannelRetriever, ItemRows, Query
from retrieval.channels.nearby import NearbyChannel, fit_nearby

TOWN = Locality(name="T", timezone="UTC", radius_km=50, areas={"here": (50.0, 10.0), "there": (50.0, 10.1)})
DOMAIN = load_domain("places").model_copy(update={"locality": TOWN})


def make_item(name: str, east: float | None, hours: str = "") -> Item:
    site = None if east is None else Site(latitude=50.0, longitude=10 + east, hours=hours)
    return Item(id=name, title=name, site=site)


ITEMS = [
    make_item("far", 0.1, "24/7"),
    make_item("near", 0.0, "Mo-Fr 08:00-18:00"),
    make_item("middle", 0.05),
    make_item("nowhere", None),
]


def event_context(at: str | None = None, place: str | None = None) -> Context:
    return build_context(at=at, place=place, domain=DOMAIN)


def order(channel: NearbyChannel, context: Context, table: ItemRows | None = None) -> list[str]:
    retriever = ChannelRetriever("nearby", channel, table or ItemRows(ITEMS))
    return [candidate.item.id for candidate in retriever.retrieve(Query(context=context), 10)]


def configured(per_km: float = 1.0, closed: float = 9.0) -> NearbyChannel:
    channel = fit_nearby(ITEMS, (), NearbyConfig(per_km=per_km, closed=closed))
    assert channel is not None
    return channel


def test_nearest_first_and_what_is_closed_last() -> None:
    channel = configured(closed=20)
    assert order(channel, event_context("2025-07-04T09:00", "here")) == ["near", "middle", "far", "nowhere"]
    assert order(channel, event_context("2025-07-04T20:00", "here")) == ["middle", "far", "nowhere", "near"]
    assert order(channel, event_context("2025-07-04T09:00", "there")) == ["far", "middle", "near", "nowhere"]


def test_place_or_time_alone_is_scored_and_neither_is_not() -> None:
    channel = configured()
    assert order(channel, event_context(place="there"))[0] == "far"
    assert order(channel, event_context("2025-07-04T20:00"))[-1] == "near"
    assert order(channel, event_context("2025-07-04")) == []
    assert order(channel, Context()) == []


def test_score_falls_with_every_kilometre_and_once_for_a_closed_door() -> None:
    answer = configured(per_km=2.0, closed=5.0).score(
        Query(context=event_context("2025-07-05T09:00", "here")), ItemRows(ITEMS)
    )
    assert answer is not None
    far, middle, near, nowhere = answer.values
    assert near == pytest.approx(-5.0)
    assert far == pytest.approx(2 * middle, rel=1e-3)
    assert middle == pytest.approx(-2 * 3.574, rel=1e-2)
    assert nowhere == far


def test_items_without_sites_have_no_such_channel() -> None:
    assert fit_nearby([make_item("a", None)], (), NearbyConfig()) is None


def test_new_items_have_a_distance_and_deleted_ones_are_dropped() -> None:
    fresh = make_item("fresh", 0.001, "24/7")
    channel = configured().updated([fresh], {"far"})
    table = ItemRows(ITEMS).with_changes([fresh], removed={"far"})
    assert order(channel, event_context("2025-07-04T20:00", "here"), table)[0] == "fresh"
    assert set(channel.sites) == {"near", "middle", "nowhere", "fresh"}


def test_the_fit_finds_what_distance_and_closed_doors_cost() -> None:
    """Events are sampled with 0.9 per km, never at a closed door."""
    rng = np.random.default_rng(3)
    items = [
        make_item(f"p{n:02}", float(east), "Mo-Su 08:00-18:00" if n % 2 else "24/7")
        for n, east in enumerate(rng.uniform(-0.1, 0.1, 40))
    ]
    quality = rng.normal(0, 1, 40)
    events = []
    for number in range(1500):
        place, hour = ("here", "there")[number % 2], 6 + number % 16
        context = event_context(f"2025-07-04T{hour:02}:00", place)
        answer = NearbyChannel({item.id: item.site for item in items}, 0.9, 50.0).score(
            Query(context=context), ItemRows(items)
        )
        assert answer is not None
        row = int(np.argmax(answer.values + quality + rng.gumbel(size=40)))
        events.append((Interaction(user_id="u", item_id=items[row].id), context))
    channel = fit_nearby(items, events, NearbyConfig())
    assert channel is not None
    assert channel.per_km == pytest.approx(0.9, abs=0.15)
    assert channel.closed > 3
    fixed = fit_nearby(items, events, NearbyConfig(per_km=0.1))
    assert fixed is not None
    assert fixed.per_km == 0.1
    assert fixed.closed > 2


def test_events_without_place_and_time_fit_no_cost() -> None:
    channel = fit_nearby(ITEMS, [(Interaction(user_id="u", item_id="far"), Context())], NearbyConfig())
    assert channel is not None
    assert (channel.per_km, channel.closed) == (0, 0)
