"""What a prompt tells of an item: the chosen attributes, and how often the person chose it before."""

from __future__ import annotations

import datetime as dt

import pytest

from recsys.config import Feedback, load_domain
from recsys.data.catalog import Catalog
from recsys.ranking.base import RankRequest, rank_variables
from recsys.ranking.facts import candidate_facts, repeat_text
from recsys.types import Candidate, Context, HistoryEntry, Interaction, Item

DAY = 86_400.0
NOW = dt.datetime(2017, 11, 20, 17, tzinfo=dt.UTC)
MILK = Item(
    id="milk", title="Milk", attributes={"category": ("Milk",), "price": ("$2.49",), "size": ("1 gal",)}
)
ICE = Item(id="ice", title="Ice", attributes={"category": ("Frozen ice",), "price": ("$1.99",)})


def bought(item: Item, *days_ago: float) -> tuple[HistoryEntry, ...]:
    """The history of somebody who bought an item so many days ago."""
    events = [
        Interaction(user_id="900", item_id=item.id, timestamp=NOW.timestamp() - days * DAY)
        for days in days_ago
    ]
    return Catalog([MILK, ICE]).entries(events, Feedback())


def request(history: tuple[HistoryEntry, ...], domain: str = "shop") -> RankRequest:
    candidates = [Candidate(item=item, score=0.0, source="popularity") for item in (MILK, ICE)]
    return RankRequest.of(load_domain(domain), candidates, history, Context(time=NOW), {})


def test_the_prompt_shows_only_the_attributes_that_the_domain_names() -> None:
    asked = request(bought(MILK, 3))
    assert [set(item.attributes) for item in asked.shown_items] == [{"category", "price"}] * 2
    (entry,) = rank_variables(asked, "product", "products")["history"]
    assert set(entry.item.attributes) == {"category", "price"}
    assert "size" in asked.items[0].attributes  # what is answered keeps all


def test_without_a_choice_the_prompt_shows_all_attributes() -> None:
    asked = request(bought(MILK, 3), "places")
    assert asked.shown_items == asked.items


@pytest.mark.parametrize(
    ("days_ago", "text"),
    [
        ((27, 20, 13, 6), "4 times, about every 7 days, last 6 days ago"),
        ((3.2, 2.1, 1.1), "3 times, about every day, last a day ago"),
        ((9, 0.5), "2 times, last within a day"),
        ((40,), "once, 40 days ago"),
        ((20, -5), "2 times"),  # a request about an earlier time
    ],
)
def test_repeats_are_told_in_words(days_ago: tuple[float, ...], text: str) -> None:
    (entry,) = bought(MILK, *days_ago)
    assert repeat_text(entry, Context(time=NOW)) == text


def test_without_a_time_only_the_count_is_told() -> None:
    (entry,) = bought(MILK, 27, 20, 13)
    assert repeat_text(entry, Context()) == "3 times, about every 7 days"


def test_a_candidate_is_told_from_the_whole_history() -> None:
    """Only the newest 15 entries are in the prompt: what was bought before them is a fact all the same."""
    others = [Item(id=str(number), title=f"Item {number}") for number in range(30)]
    later = tuple(HistoryEntry(item=item, timestamp=NOW.timestamp()) for item in others)
    asked = request((*bought(MILK, 20, 13, 6), *later))
    assert len(asked.history) == 15
    facts = candidate_facts(asked.candidates, asked.history, ("repeat",), asked.context, asked.chosen)
    assert facts == [{"repeat": "3 times, about every 7 days, last 6 days ago"}, {}]


def test_a_domain_without_repeats_tells_none() -> None:
    assert request(bought(MILK, 3), "places").chosen == {}
