"""`find_place`: places as people write them, and domains with a locality."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import Settings, load_domain
from recsys.context.gazetteer import find_place
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.event_contexts import event_contexts
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.errors import ConfigError, ContextError
from recsys.recommender.recommender import Recommender
from recsys.types import Place
from retrieval import build_retriever
from tests.fakes import DOMAIN, write_films
from tests.retrieval.contract import HashEmbedder

MINNEAPOLIS = Place(
    city="Minneapolis",
    state="Minnesota",
    country="United States",
    postal_code="55405",
    latitude=44.9702,
    longitude=-93.3047,
    timezone="America/Chicago",
)


@pytest.mark.parametrize("text", ["55405", " 55405 ", "55405-1234", "554051234"])
def test_a_zip_code_gives_city_state_centre_and_zone(text: str) -> None:
    assert find_place(text) == MINNEAPOLIS


@pytest.mark.parametrize(
    "text",
    [
        "minneapolis, minnesota",
        "Minneapolis, MN",
        "MINNEAPOLIS,mn",
        "Minneapolis MN",
        "Minneapolis, Minnesota, USA",
    ],
)
def test_a_city_with_its_state_is_found_in_any_spelling(text: str) -> None:
    place = find_place(text)
    assert place.name == "Minneapolis, Minnesota"
    assert (place.country, place.timezone, place.postal_code) == ("United States", "America/Chicago", None)


def test_a_city_lies_at_the_mean_of_its_zip_codes() -> None:
    place = find_place("Minneapolis, MN")
    assert place.latitude == pytest.approx(44.98, abs=0.05)
    assert place.longitude == pytest.approx(-93.28, abs=0.05)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("St. Paul, MN", "Saint Paul, Minnesota"),
        ("coeur d'alene, idaho", "Coeur D Alene, Idaho"),
        ("winston-salem, nc", "Winston Salem, North Carolina"),
        ("Washington, D.C.", "Washington, District of Columbia"),
        ("albany new york", "Albany, New York"),
        ("Hollywood, CA", "Hollywood, California"),
    ],
)
def test_punctuation_abbreviations_and_accepted_names_do_not_matter(text: str, name: str) -> None:
    assert find_place(text).name == name


@pytest.mark.parametrize("text", ["San Francisco", "chicago", "New York"])
def test_a_city_of_one_state_needs_no_state(text: str) -> None:
    assert find_place(text).city == text.title()


def test_a_city_of_three_states_is_an_error_that_names_them() -> None:
    with pytest.raises(ContextError) as caught:
        find_place("Minneapolis")
    assert "3 states" in caught.value.message
    assert all(state in caught.value.hint for state in ("Minnesota", "Kansas", "North Carolina"))


def test_a_city_of_many_states_is_an_error_that_names_five() -> None:
    with pytest.raises(ContextError) as caught:
        find_place("springfield")
    listed = caught.value.hint.partition(": ")[2]
    assert len(listed.split(", ")) == 5
    assert listed.endswith("...")


def test_the_zone_of_a_city_is_the_one_most_of_its_zip_codes_have() -> None:
    assert find_place("Phoenix, AZ").timezone == "America/Phoenix"
    assert find_place("Louisville, Kentucky").timezone == "America/Kentucky/Louisville"


@pytest.mark.parametrize("text", ["44.97,-93.30", "44.97, -93.30", "+44.97 , -93.3"])
def test_coordinates_take_city_and_zone_of_the_nearest_zip_code(text: str) -> None:
    place = find_place(text)
    assert (place.name, place.timezone) == ("Minneapolis, Minnesota", "America/Chicago")
    assert (place.latitude, place.longitude) == (44.97, -93.3)
    assert place.postal_code is None


@pytest.mark.parametrize("text", ["-33.87, 151.21", "0,0", "90,180", "-90,-180"])
def test_coordinates_far_from_any_zip_code_say_no_more_than_themselves(text: str) -> None:
    place = find_place(text)
    assert place == Place(latitude=place.latitude, longitude=place.longitude)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("90.1, 0", "latitude"),
        ("-91,0", "latitude"),
        ("0, 180.5", "longitude"),
        ("1" * 90 + ",0", "latitude"),
    ],
)
def test_coordinates_off_the_globe_are_an_error(text: str, problem: str) -> None:
    with pytest.raises(ContextError, match=problem):
        find_place(text)


@pytest.mark.parametrize(
    ("text", "code", "province", "zone"),
    [
        ("V3N4P", "V3N 4P", "British Columbia", None),
        ("v3n 4p1", "V3N 4P1", "British Columbia", None),
        ("V3N-4P1", "V3N 4P1", "British Columbia", None),
        ("T8H1N", "T8H 1N", "Alberta", "America/Edmonton"),
        ("R3T", "R3T", "Manitoba", "America/Winnipeg"),
        ("Y1A6B", "Y1A 6B", "Yukon", "America/Whitehorse"),
        ("M7A1A", "M7A 1A", "Ontario", None),
        ("X1A6B", "X1A 6B", None, None),
    ],
)
def test_a_canadian_code_gives_province_and_only_a_certain_zone(
    text: str, code: str, province: str | None, zone: str | None
) -> None:
    assert find_place(text) == Place(state=province, country="Canada", postal_code=code, timezone=zone)


@pytest.mark.parametrize("text", ["D1A 1A1", "W1A 1A1", "Z9Z"])
def test_a_first_letter_that_canada_does_not_use_is_unknown(text: str) -> None:
    with pytest.raises(ContextError, match="not known"):
        find_place(text)


def test_forces_mail_does_not_say_where_on_the_map_it_goes() -> None:
    """The table has "Fpo" as the city and 0, 0 as the centre of these."""
    assert find_place("09645") == Place(state="Armed Forces Europe", postal_code="09645")


def test_a_zip_code_without_a_known_centre_has_no_coordinates() -> None:
    place = find_place("90085")
    assert place.name == "Los Angeles, California"
    assert (place.latitude, place.longitude) == (None, None)


def test_a_broken_zone_in_the_table_is_no_zone() -> None:
    """Zip code 99634 has the village's name in the time zone column."""
    place = find_place("99634")
    assert (place.name, place.timezone) == ("Napakiak, Alaska", None)


def test_countries_that_the_us_mail_serves_stay_countries() -> None:
    assert find_place("Koror, Palau").country == "Palau"
    assert find_place("96941").country == "Micronesia"


@pytest.mark.parametrize(
    "text", ["00000", "99999-0000", "Xyzzyville", "Paris, Atlantis", "?", ",", ", MN", "USA"]
)
def test_an_unknown_place_is_an_error_with_a_next_step(text: str) -> None:
    with pytest.raises(ContextError) as caught:
        find_place(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "   ", "x" * 101])
def test_an_empty_or_endless_place_is_an_error(text: str) -> None:
    with pytest.raises(ContextError, match="accepted"):
        find_place(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("Mineapolis, MN", "Minneapolis"), ("Minetonka", "Minnetonka"), ("Duluth, Minesota", "Minnesota")],
)
def test_a_typo_is_answered_with_close_matches(text: str, meant: str) -> None:
    with pytest.raises(ContextError) as caught:
        find_place(text)
    assert f"did you mean {meant}" in caught.value.hint


def test_a_city_in_the_wrong_state_is_told_the_right_one() -> None:
    with pytest.raises(ContextError) as caught:
        find_place("Chicago, MN")
    assert "Illinois" in caught.value.hint


def test_nearly_all_movielens_zip_codes_are_found() -> None:
    """908 of the 943 users of MovieLens-100K; the codes with letters are Canadian."""
    dataset = importlib.metadata.distribution("recbole").locate_file(
        "recbole/dataset_example/ml-100k/ml-100k.user"
    )
    with open(str(dataset), encoding="utf-8") as lines:
        codes = [line.rstrip("\n").split("\t")[-1] for line in lines][1:]
    places: list[Place] = []
    unknown: list[str] = []
    for code in codes:
        try:
            places.append(find_place(code))
        except ContextError:
            unknown.append(code)
    assert len(codes) == 943
    assert sum(place.country != "Canada" for place in places) >= 900
    assert sum(place.country == "Canada" for place in places) == sum(
        bool(re.search("[A-Z]", code)) for code in codes
    )
    assert all(code.isdigit() for code in unknown)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=120),
        st.text(alphabet="0123456789-., ABCxyz", max_size=20),
        st.tuples(st.floats(), st.floats()).map(lambda pair: f"{pair[0]}, {pair[1]}"),
        st.tuples(st.text(max_size=20), st.sampled_from(["MN", "ohio", "X"])).map(", ".join),
    )
)
def test_any_text_is_a_place_or_a_context_error(text: str) -> None:
    try:
        assert isinstance(find_place(text), Place)
    except ContextError as error:
        assert error.hint


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    """The generated town, retrieved by its own channels, without a model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHYREC_DATA_DIR", str(tmp_path_factory.mktemp("town")))
        domain, town_settings = load_domain("places"), Settings()
        store = Store(town_settings.database_url)
        import_domain(domain, store)
        items = store.items(domain.name)
        retriever, _ = build_retriever(
            items,
            EventLog.of(store.interactions(domain.name), [item.id for item in items], domain.feedback),
            HashEmbedder(),
            domain.retriever,
            town_settings.retriever_folder(domain.name),
            event_contexts=lambda: event_contexts(store, domain),
        )
        with Recommender(domain, town_settings, store, Catalog(items), retriever) as recommender:
            yield recommender


def test_the_same_person_at_another_hour_or_place_gets_another_list(town: Recommender) -> None:
    user = town.store.interactions("places")[0].user_id

    def top(at: str, place: str, weather: str = "sun") -> list[str]:
        request = town.prepare(user, at=at, place=place, extra={"weather": weather}, k=10).request
        return [item.id for item in request.items[:10]]

    morning = top("2025-07-04T08:00", "Old Quay")
    assert morning == top("2025-07-04T08:00", "Old Quay")
    assert len(set(morning) & set(top("2025-07-04T21:00", "Old Quay"))) <= 7
    assert len(set(morning) & set(top("2025-07-04T08:00", "Lakeside"))) <= 7


TOWN = {"name": "T", "timezone": "UTC", "areas": {"Quay": [50.0, 10.0]}}


@pytest.mark.parametrize(
    ("section", "table", "problem"),
    [
        ("locality", TOWN | {"timezone": "Mars/Olympus"}, "'Mars/Olympus' is not a time zone"),
        ("locality", TOWN | {"timezone": "../etc"}, "not a time zone"),
        ("locality", TOWN | {"areas": {}}, "locality.areas"),
        ("locality", TOWN | {"areas": {"Quay": [50.0]}}, "locality.areas.Quay"),
        ("locality", TOWN | {"radius_km": 0}, "locality.radius_km"),
        ("locality", TOWN | {"radius": 5}, "locality.radius"),
        ("source", {"generator": "village"}, "source.generator"),
        ("source", {"generator": "town", "path": "files"}, "leave out package and path"),
        ("source", {"generator": "town", "package": "recbole"}, "leave out package and path"),
        ("source", {"folder": "x"}, "source.folder"),
    ],
)
def test_wrong_town_or_source_is_a_configuration_error_that_names_it(
    tmp_path: Path, section: str, table: Mapping[str, Any], problem: str
) -> None:
    lines = [f"[{section}]"]
    for key, value in table.items():
        value_text = json.dumps(value)
        if isinstance(value, dict):
            value_text = "{" + ", ".join(f"{name} = {json.dumps(at)}" for name, at in value.items()) + "}"
        lines.append(f"{key} = {value_text}")
    folder = write_films(tmp_path / "wrong", toml=DOMAIN + "\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as caught:
        load_domain(folder)
    assert problem in caught.value.message
    assert str(folder) in caught.value.message
    assert caught.value.hint
