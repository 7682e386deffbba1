"""What was read of a wish stands on the page as chips, which ask again without it or otherwise."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions

ASKED = {"whole": "1", "wish": "a crime film, preferably before 1992", "k": "4"}


@pytest.fixture
def client(recommender: Recommender, runs: Path) -> TestClient:
    app = create_app({"films": recommender}, ServiceOptions(warm=False, runs=runs))
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1234))


def links(page: str, word: str) -> list[str]:
    """Addresses of the links of chips that begin with a word."""
    found = re.findall(r'<a href="(/\?[^"]*)"[^>]*>(\w+)<span class="unseen">', page)
    return [html.unescape(address) for address, text in found if text == word]


def titles(page: str) -> list[str]:
    return re.findall(r"<h3>([^<]*?) <span", page)


def test_a_chip_asks_again_without_its_condition(client: TestClient) -> None:
    page = client.get("/", params=ASKED).text
    assert '<span class="text">genre: Crime</span>' in page
    assert titles(page)[0] == "Cape Fear"
    (without_crime, without_year) = links(page, "remove")
    other = client.get(without_year + "&whole=1").text
    assert "year: before 1992" not in other.partition("<ol")[0].partition('id="answer"')[2]
    assert "genre: Crime" in other
    assert "genre: Crime" not in client.get(without_crime + "&whole=1").text.partition('id="answer"')[2]


def test_a_must_becomes_a_preference_and_back(client: TestClient) -> None:
    page = client.get("/", params=ASKED).text
    (crime, year) = links(page, "may")
    other = client.get(year + "&whole=1").text
    assert titles(other)[0] == "Cape Fear"
    assert "Heat" not in titles(other)  # of 1995
    assert "<strong>Understood</strong> genre: Crime · year: before 1992" in other
    only_crime = titles(client.get(crime + "&whole=1").text)
    assert {"Heat", "Cape Fear"} <= set(only_crime)
    assert "Alien" not in only_crime


def test_a_wish_that_names_nothing_has_no_chips(client: TestClient) -> None:
    page = client.get("/", params=ASKED | {"wish": "surprise me"}).text
    assert 'aria-label="What was asked"' not in page
    assert "any film" in page


@pytest.mark.parametrize("text", ["{", "[]", '{"conditions": 3}', '{"colour": "red"}'])
def test_a_conversation_that_is_none_is_said_on_the_page(text: str, client: TestClient) -> None:
    answer = client.get("/", params={"whole": "1", "conversation": text})
    assert answer.status_code == 200
    assert "conversation is not what a chip of an answer leads to" in answer.text
