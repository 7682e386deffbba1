"""Cities, countries and postal codes outside the United States."""

from __future__ import annotations

import pytest

from recsys.context.gazetteer import find_place
from recsys.context.world import countries_with, find_city, find_country, from_postal_code, require_country
from recsys.errors import ContextError


@pytest.mark.parametrize(
    ("text", "city", "country", "zone"),
    [
        ("Zürich", "Zürich", "Switzerland", "Europe/Zurich"),
        ("zurich", "Zürich", "Switzerland", "Europe/Zurich"),
        ("Munich", "Munich", "Germany", "Europe/Berlin"),
        ("München", "Munich", "Germany", "Europe/Berlin"),
        ("Bombay", "Mumbai", "India", "Asia/Kolkata"),
        ("東京", "Tokyo", "Japan", "Asia/Tokyo"),
        ("Paris", "Paris", "France", "Europe/Paris"),
        ("São Paulo", "São Paulo", "Brazil", "America/Sao_Paulo"),
        ("sao paulo", "São Paulo", "Brazil", "America/Sao_Paulo"),
        ("Kiev", "Kyiv", "Ukraine", "Europe/Kyiv"),
    ],
)
def test_a_city_is_found_by_any_of_its_names(text: str, city: str, country: str, zone: str) -> None:
    place = find_city(text)
    assert (place.city, place.country, place.timezone) == (city, country, zone)
    assert place.latitude is not None


@pytest.mark.parametrize("text", ["Birmingham", "Valencia", "Springfield", "Santiago", "San José"])
def test_a_name_of_several_cities_is_asked_back_with_the_choices(text: str) -> None:
    with pytest.raises(ContextError, match="is the name of") as caught:
        find_city(text)
    assert ";" in caught.value.message


def test_a_country_decides() -> None:
    assert find_city("Valencia", require_country("Spain")).timezone == "Europe/Madrid"
    assert find_city("Valencia", require_country("VE")).timezone == "America/Caracas"
    with pytest.raises(ContextError, match="no city 'Bombay' is known in France"):
        find_city("Bombay", require_country("FRA"))


@pytest.mark.parametrize("text", ["France", "FR", "fra", "françe"])
def test_a_country_is_found_by_name_and_code(text: str) -> None:
    country = find_country(text)
    assert country is not None
    assert country.code == "FR"


@pytest.mark.parametrize("text", ["", "Atlantis", "F", "franc"])
def test_what_is_no_country_is_none(text: str) -> None:
    assert find_country(text) is None


@pytest.mark.parametrize(
    ("code", "country", "zone"),
    [
        ("75001", "FR", "Europe/Paris"),
        ("10115", "DE", "Europe/Berlin"),
        ("28001", "ES", None),  # the Canary Islands have a clock of their own
        ("sw1a 1aa", "GB", "Europe/London"),
        ("8001", "CH", "Europe/Zurich"),
        ("100-0001", "JP", "Asia/Tokyo"),
    ],
)
def test_a_postal_code_gives_country_and_zone(code: str, country: str, zone: str | None) -> None:
    place = from_postal_code(code, require_country(country))
    assert (place.postal_code, place.timezone) == (code.upper(), zone)


def test_a_postal_code_of_another_format_is_an_error() -> None:
    with pytest.raises(ContextError, match="not a postal code of France"):
        from_postal_code("SW1A 1AA", require_country("FR"))
    assert {country.code for country in countries_with("75001")} >= {"FR", "DE", "ES", "US"}


@pytest.mark.parametrize(
    ("text", "country", "found"),
    [
        ("75001", "FR", "France"),
        ("10115", "DE", "Germany"),
        ("28001", "ES", "Spain"),
        ("75001, France", None, "France"),
        ("75001, France", "US", "France"),
        ("Zürich", "US", "Switzerland"),
        ("Zürich", None, "Switzerland"),
        ("Munich", None, "Germany"),
        ("Bombay", None, "India"),
        ("Lyon, FR", "US", "France"),
        ("Minneapolis, MN", None, "United States"),
        ("Minneapolis, MN", "FR", "United States"),
        ("55405", "US", "United States"),
        ("SW1A 1AA", "GB", "United Kingdom"),
    ],
)
def test_a_place_is_in_the_country_that_is_meant(text: str, country: str | None, found: str) -> None:
    """Postal codes and cities of other countries became American towns."""
    assert find_place(text, country=country).country == found


@pytest.mark.parametrize("code", ["75001", "10115", "28001", "00100", "11000"])
def test_a_postal_code_of_several_countries_is_asked_back(code: str) -> None:
    with pytest.raises(ContextError, match="may be a postal code of") as caught:
        find_place(code, country=None)
    assert "country" in caught.value.hint
