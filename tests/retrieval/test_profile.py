"""People who share a value of the profile lend their choices; several values share out their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from recsys.config.attributes import AttributeType
from recsys.config.retrieval import ProfileConfig
from recsys.data.dataset import EventLog
from recsys.types import HistoryEntry, Interaction, Item
from retrieval import ChannelRetriever, ItemRows, Query
from retrieval.channels.profile import ProfileChannel, Profiles, fit_profile

NAMES = ("aspirin", "cream", "drops", "never", "statin", "syrup")
ITEMS = {name: Item(id=name, title=name, attributes={}) for name in NAMES}
TYPES = {"ill": AttributeType(type="list"), "age": AttributeType(type="number")}
TREATS = {"gout": "aspirin", "rash": "cream", "glaucoma": "drops", "heart": "statin"}


def log_of(chosen: Mapping[str, Sequence[str]]) -> EventLog:
    events = [Interaction(user_id=user, item_id=item) for user, items in chosen.items() for item in items]
    return EventLog.of(events, NAMES)


def fitted(
    profiles: Mapping[str, Mapping[str, str]],
    chosen: Mapping[str, Sequence[str]],
    items: Mapping[str, Item] = ITEMS,
    **options: float,
) -> ProfileChannel | None:
    config = ProfileConfig.model_validate({"least_users": 2} | options)
    return fit_profile(log_of(chosen), list(items.values()), Profiles(profiles, TYPES), config)


def scores(channel: ProfileChannel | None, *history: str, **profile: str) -> dict[str, float]:
    assert channel is not None
    retriever = ChannelRetriever("profile", channel, ItemRows(ITEMS.values()))
    query = Query(tuple(HistoryEntry(item=ITEMS[name]) for name in history), profile=profile)
    return {candidate.item.id: candidate.score for candidate in retriever.retrieve(query, 10)}


def patients() -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Every two of four diseases, ten times; each is treated with its own medication."""
    pairs = [(one, other) for one in TREATS for other in TREATS if one < other]
    profiles, chosen = {}, {}
    for number in range(60):
        one, other = pairs[number % len(pairs)]
        profiles[f"p{number}"] = {"ill": f"{one}, {other}", "age": str(20 + number)}
        chosen[f"p{number}"] = [TREATS[one], TREATS[other]]
    return profiles, chosen


@pytest.mark.parametrize("ill", TREATS)
def test_an_event_belongs_to_the_value_that_makes_it_likeliest(ill: str) -> None:
    """Counts alone would give each medication of another disease a third."""
    ranked = scores(fitted(*patients()), ill=ill)
    first, second, *_ = ranked
    assert first == TREATS[ill]
    assert ranked[first] - ranked[second] > np.log(10)


def test_values_of_one_field_are_alternatives() -> None:
    ranked = scores(fitted(*patients()), ill="gout; rash")
    assert set(list(ranked)[:2]) == {"aspirin", "cream"}
    assert ranked["aspirin"] == pytest.approx(ranked["cream"], abs=0.1)


def test_what_the_history_was_chosen_for_is_settled() -> None:
    settled = fitted(*patients(), explained=1.0)
    ranked = scores(settled, "aspirin", ill="gout, rash")
    assert ranked["cream"] - ranked["aspirin"] > 1
    assert scores(settled, "aspirin", ill="gout") == scores(settled, ill="gout")  # nothing else is left
    plain = scores(fitted(*patients()), "aspirin", ill="gout, rash")
    assert plain["cream"] == pytest.approx(plain["aspirin"], abs=0.1)


def test_a_field_that_tells_nothing_changes_nothing() -> None:
    """Ages are dealt out evenly: their shares are shrunk until they no longer add noise."""
    channel = fitted(*patients())
    with_age, without = scores(channel, ill="gout", age="33"), scores(channel, ill="gout")
    assert with_age == pytest.approx(without, abs=0.01)


def test_a_number_is_read_by_its_quantile() -> None:
    profiles = {f"p{n}": {"age": f"{n} years"} for n in range(40)}
    chosen = {f"p{n}": ["syrup"] if n < 20 else ["statin"] for n in range(40)}
    channel = fitted(profiles, chosen)
    assert next(iter(scores(channel, age="7"))) == "syrup"
    assert next(iter(scores(channel, age="39.5"))) == "statin"
    assert next(iter(scores(channel, age="200"))) == "statin"


def test_what_has_the_value_as_an_attribute_is_known_without_events() -> None:
    """A new medication for a known disease, if that is how the others are chosen."""
    named = {disease: ITEMS[name] for disease, name in TREATS.items()} | {"gout ": ITEMS["never"]}
    items = dict(ITEMS) | {
        item.id: item.model_copy(update={"attributes": {"treats": (disease.strip().upper(),)}})
        for disease, item in named.items()
    }
    ranked = scores(fitted(*patients(), items=items), ill="gout")
    assert ranked["never"] > ranked["syrup"] + 0.5
    assert scores(fitted(*patients()), ill="gout")["never"] == pytest.approx(
        scores(fitted(*patients()), ill="gout")["syrup"]
    )


def test_a_value_of_few_users_is_not_kept() -> None:
    """What one person chose must not answer for whoever shares nothing else with them."""
    profiles = {"p1": {"ill": "gout"}, "p2": {"ill": "rash"}, "p3": {"ill": "rash"}}
    channel = fitted(profiles, {"p1": ["aspirin"], "p2": ["cream"], "p3": ["cream"]})
    assert channel is not None
    assert list(channel.facts) == [("ill", "rash")]


@pytest.mark.parametrize("profile", [{}, {"ill": "unknown"}, {"age": "old"}, {"ill": " ; "}])
def test_a_profile_that_says_nothing_known_has_no_scores(profile: dict[str, str]) -> None:
    channel = fitted(*patients())
    assert channel is not None
    assert channel.score(Query(profile=profile), ItemRows(ITEMS.values())) is None


def test_without_profiles_or_events_there_is_no_channel() -> None:
    profiles, chosen = patients()
    assert fitted({}, chosen) is None
    assert fitted(profiles, {}) is None


def test_shares_are_probabilities() -> None:
    channel = fitted(*patients())
    assert channel is not None
    assert np.allclose(channel.given.sum(axis=1), 1)
    assert (channel.given > 0).all()
