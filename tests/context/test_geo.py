from __future__ import annotations

import numpy as np
import pytest

from recsys.config import Locality, load_domain
from recsys.context.builder import build_context
from recsys.context.gazetteer import find_place
from recsys.context.geo import DAY, WEEK, distance_km, hours_of, parse_hours
from recsys.errors import ContextError
from recsys.ranking.facts import candidate_facts
from recsys.types import Context, Item, Site
from tests.fakes import candidate

TOWN = Locality(
    name="Fernmere",
    timezone="America/Chicago",
    areas={"Old Quay": (44.98, -93.26), "Lakeside": (44.96, -93.31)},
)
DOMAIN = load_domain("places").model_copy(update={"locality": TOWN})


def at(day: int, hour: int, minute: int = 0) -> int:
    return day * DAY + hour * 60 + minute


@pytest.mark.parametrize(
    ("text", "open_at", "closed_at"),
    [
        ("Mo-Fr 08:00-18:00", [at(0, 8), at(4, 17, 59)], [at(0, 7, 59), at(0, 18), at(5, 12)]),
        ("Fr,Sa 22:00-04:00", [at(4, 23), at(5, 3, 59), at(6, 3)], [at(4, 3), at(6, 4), at(6, 23)]),
        ("Su 22:00-04:00", [at(6, 23), at(0, 3)], [at(0, 4), at(6, 3)]),
        ("We-Su 12:00-14:30,18:00-22:30", [at(2, 12), at(6, 22)], [at(2, 15), at(1, 12)]),
        ("Mo 10:00-12:00; Tu 14:00-15:00", [at(0, 11), at(1, 14)], [at(1, 11)]),
        ("Sa-Mo 09:00-10:00", [at(5, 9), at(6, 9), at(0, 9)], [at(1, 9)]),
        ("09:00-10:00", [at(3, 9)], [at(3, 10)]),
        ("24/7", [0, WEEK - 1], []),
        ("Mo-Su 00:00-24:00", [0, WEEK - 1], []),
    ],
)
def test_hours_say_when_it_is_open(text: str, open_at: list[int], closed_at: list[int]) -> None:
    hours = parse_hours(text)
    assert all(hours.open_at(minute) for minute in open_at)
    assert not any(hours.open_at(minute) for minute in closed_at)


@pytest.mark.parametrize(
    "text", ["", "always", "Mo-Fr", "Xx 08:00-09:00", "Mo 8-9", "Mo 25:00-26:00", "Mo 08:61-09:00", "{{ x }}"]
)
def test_hours_that_cannot_be_read_are_refused_and_never_guessed(text: str) -> None:
    with pytest.raises(ValueError, match=r"rule|hours|days|time"):
        parse_hours(text)
    assert hours_of(Site(hours=text)) is None


def test_distance_is_that_on_the_sphere() -> None:
    assert float(distance_km(0, 0, 0, 180)) == pytest.approx(20015, rel=1e-3)
    assert float(distance_km(44.97, -93.27, 44.97, -93.27)) == 0
    far = distance_km(52.52, 13.405, np.array([48.8566, np.nan]), np.array([2.3522, 0.0]))
    assert far[0] == pytest.approx(878, abs=3)
    assert np.isnan(far[1])


def test_a_part_of_town_is_known_by_name_and_by_coordinates() -> None:
    for text in ("Old Quay", " old  quay ", "Old Quay, Fernmere", "44.981, -93.261"):
        place = find_place(text, TOWN)
        assert (place.name, place.timezone) == ("Old Quay, Fernmere", "America/Chicago")
    assert find_place("44.981, -93.261", TOWN).latitude == 44.981
    assert find_place("55405", TOWN).city == "Minneapolis"
    assert find_place("10.5, 10.5", TOWN).city is None
    with pytest.raises(ContextError, match="not known") as caught:
        find_place("Nowhere", TOWN)
    assert "Old Quay, Lakeside" in caught.value.hint
    with pytest.raises(ContextError, match="between"):
        find_place("404.98, -93.26", TOWN)


def facts(site: Site | None, context: Context) -> dict[str, str]:
    item = Item(id="p", title="Cafe", site=site)
    return candidate_facts([candidate(item)], (), ("distance", "open"), context)[0]


def test_a_candidate_is_told_how_far_it_is_and_whether_it_is_open() -> None:
    site = Site(latitude=44.98, longitude=-93.26, hours="Mo-Fr 08:00-18:00")

    def facts_at(when: str, place: str = "Lakeside") -> dict[str, str]:
        return facts(site, build_context(at=when, place=place, domain=DOMAIN))

    assert facts_at("2025-07-04T09:00") == {"distance": "4.5 km", "open": "now"}
    assert facts_at("2025-07-04T06:00", "Old Quay") == {"distance": "0.0 km", "open": "at 08:00"}
    assert facts_at("2025-07-04T19:00")["open"] == "not today"
    assert facts_at("2025-07-05T09:00")["open"] == "not today"
    assert facts_at("2025-07-04") == {"distance": "4.5 km"}
    assert facts_at("2025-07-04T09:00", "New York, New York")["distance"].replace(",", "").startswith("16")


def test_what_is_not_known_is_not_told() -> None:
    known = build_context(at="2025-07-04T09:00", place="Old Quay", domain=DOMAIN)
    assert facts(None, known) == {}
    assert facts(Site(), known) == {}
    assert facts(Site(hours="whenever"), known) == {}
    assert facts(Site(latitude=44.9, longitude=-93.2, hours="24/7"), Context()) == {}
    assert facts(Site(hours="24/7"), known) == {"open": "now"}
