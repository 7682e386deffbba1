"""Masking of personal data in texts, prompts and logs."""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from recsys.config import Privacy, load_domain
from recsys.context.builder import build_context
from recsys.context.pii import mask, mask_json, mask_user, names_of
from recsys.data.batch import ImportReport
from recsys.data.importers.files import data_file
from recsys.data.importers.readers import read_table
from recsys.data.importers.validate import columns_of, read_items
from recsys.recommender.recommender import Recommender
from recsys.types import User
from tests.fakes import ScriptedEngine
from tests.service.privacy_corpus import NAMES, NEGATIVES, POSITIVES

EVERYTHING = Privacy(mask=("name", "mail", "phone", "card", "iban", "ip"))
MARKED = re.compile(r"\{(name|mail|phone|card|iban|ip):(.*?)\}")


def test_the_corpus_is_large_enough_and_has_every_kind() -> None:
    kinds = [kind for line in POSITIVES for kind, _ in MARKED.findall(line)]
    assert len(POSITIVES) >= 100
    assert len(NEGATIVES) >= 100
    assert len(set(POSITIVES)) == len(POSITIVES)
    assert len(set(NEGATIVES)) == len(NEGATIVES)
    assert min(kinds.count(kind) for kind in EVERYTHING.mask) >= 8


@pytest.mark.parametrize("line", POSITIVES)
def test_what_tells_who_somebody_is_is_masked_and_nothing_around_it(line: str) -> None:
    assert mask(MARKED.sub(r"\2", line), EVERYTHING, NAMES) == MARKED.sub(r"[\1]", line)


@pytest.mark.parametrize("line", NEGATIVES)
def test_titles_years_numbers_and_ids_stay(line: str) -> None:
    assert mask(line, EVERYTHING, NAMES) == line


@pytest.mark.parametrize("line", [*POSITIVES, *NEGATIVES])
def test_masking_twice_is_masking_once(line: str) -> None:
    once = mask(MARKED.sub(r"\2", line), EVERYTHING, NAMES)
    assert mask(once, EVERYTHING, NAMES) == once


def test_by_default_addresses_of_machines_stay_and_the_rest_goes() -> None:
    text = "Ann, ann@example.com, +1 212 736 5000, 4111 1111 1111 1111, DE89370400440532013000, 8.8.8.8"
    assert mask(text, Privacy(), ["Ann"]) == "[name], [mail], [phone], [card], [iban], 8.8.8.8"


@pytest.mark.parametrize(
    "occupation", ["technician", "other", "writer", "none", "administrator", "healthcare"]
)
@pytest.mark.parametrize("age", ["7", "24", "73"])
def test_profiles_like_those_of_movielens_are_told_as_they_are(age: str, occupation: str) -> None:
    """Results from before profiles were masked stay valid."""
    user = User(id="1", profile={"age": age, "occupation": occupation})
    assert mask_user(user, load_domain("movies").privacy) == user


def test_a_domain_chooses_what_is_masked() -> None:
    text = "Ann, ann@example.com, +1 212 736 5000"
    assert mask(text, Privacy(mask=("mail",)), ["Ann"]) == "Ann, [mail], +1 212 736 5000"
    assert mask(text, Privacy(mask=())) == text
    assert mask("Bob and Ann", Privacy(names=("Bob",))) == "[name] and Ann"


def test_numbers_without_their_country_are_known_in_the_domains_regions_alone() -> None:
    assert mask("ring 01 42 68 53 00", Privacy()) == "ring 01 42 68 53 00"
    assert mask("ring 01 42 68 53 00", Privacy(regions=("FR",))) == "ring [phone]"
    assert mask("ring 212-736-5000", Privacy(regions=())) == "ring 212-736-5000"
    assert mask("ring +1 212-736-5000", Privacy(regions=())) == "ring [phone]"


def test_a_profile_loses_its_names_and_what_else_tells_who_it_is() -> None:
    user = User(id="7", profile={"name": "Ann Lee", "age": "24", "about": "Lee, a@b.example, likes Se7en"})
    assert mask_user(user, Privacy()).profile == {"age": "24", "about": "[name], [mail], likes Se7en"}
    assert names_of(user, Privacy()) == ("Ann Lee", "Ann", "Lee")
    assert mask_user(user, Privacy(mask=())) == user


def test_an_ordinary_profile_stays_as_it_is() -> None:
    user = User(id="196", profile={"age": "49", "occupation": "writer"})
    assert mask_user(user, Privacy()) == user


def test_texts_inside_json_are_masked_and_its_shape_stays() -> None:
    value = {
        "wish": "tell a@b.example",
        "liked": ["Se7en", 1984, None],
        "deep": {"x": [True, "+12127365000"]},
    }
    masked = {"wish": "tell [mail]", "liked": ["Se7en", 1984, None], "deep": {"x": [True, "[phone]"]}}
    assert mask_json(value, partial(mask, privacy=Privacy())) == masked


@pytest.mark.parametrize(
    "text", ["a" * 20_000, "1 " * 10_000, "a." * 10_000 + "@", "::" * 10_000, "DE12" + "A1-" * 9_000]
)
def test_long_hostile_text_is_read_through(text: str) -> None:
    assert mask(text, EVERYTHING, NAMES) == text


def test_no_title_of_the_shipped_films_changes() -> None:
    domain = load_domain("movies")
    table = read_table(data_file(domain, domain.items.file), domain.items.format, columns_of(domain.items))
    titles = [item.name for item in read_items(table, domain.items, ImportReport())]
    assert len(titles) > 1600
    assert [title for title in titles if mask(title, EVERYTHING) != title] == []


def test_wish_and_facts_are_masked_where_a_request_enters() -> None:
    context = build_context(
        wish="mail me at a@b.example, I am Ann", extra={"who": "Ann, +1 212 736 5000"}, names=["Ann"]
    )
    assert context.wish == "mail me at [mail], I am [name]"
    assert context.extra == {"who": "[name], [phone]"}
    unmasked = load_domain("movies").model_copy(update={"privacy": Privacy(mask=())})
    assert build_context(wish="a@b.example", domain=unmasked).wish == "a@b.example"
    ordinary = build_context(wish="something like Se7en (1995)", extra={"weather": "rain"})
    assert (ordinary.wish, ordinary.extra) == ("something like Se7en (1995)", {"weather": "rain"})


def test_no_prompt_holds_what_was_masked(recommender: Recommender, scripted: ScriptedEngine) -> None:
    answer = recommender.recommend(
        liked=["Heat"],
        wish="a film for ann@example.com, 4111 1111 1111 1111",
        extra={"phone": "+1 212 736 5000"},
    )
    assert answer.context.wish == "a film for [mail], [card]"
    assert scripted.prompts
    text = "\n".join([*scripted.prompts, answer.model_dump_json()])
    assert not re.search(r"ann@|4111|736 5000", text)
    assert "[mail]" in text


NUMBER = "6125550143"
SEPARATORS = ["", " ", "-", ".", "/", "_", "|", "\u00a0", "\u2009", "\u2013", "\u00b7", " - "]
UNSEEN = ["", "", "\u200b", "\u2060", "\u00ad", "\u200e", "\u0336"]


@st.composite
def disguised_numbers(draw: st.DrawFn) -> str:
    separator, zero = (
        draw(st.sampled_from(SEPARATORS)),
        draw(st.sampled_from([0x30, 0xFF10, 0x0660, 0x1D7CE])),
    )
    groups = separator.join((NUMBER[:3], NUMBER[3:6], NUMBER[6:]))
    typed = (chr(zero + int(char)) if char.isdecimal() else char for char in groups)
    return "".join(char + draw(st.sampled_from(UNSEEN)) for char in typed)


def digits_of(text: str) -> str:
    """Return the digits of any script in a text, with a dot for each letter."""
    values = (unicodedata.digit(char, None) if not char.isalpha() else "." for char in text)
    return "".join(str(value) for value in values if value is not None)


@given(disguised_numbers())
@limits(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_file_and_no_answer_holds_a_number_that_was_typed(
    client: TestClient, scripted: ScriptedEngine, tmp_path: Path, log_file: Path, number: str
) -> None:
    """Titles, times, places and wishes with odd spaces were stored as typed."""
    good = {
        "wish": f"a film for {number}",
        "extra": {"note": number},
        "place": {"city": f"Rome {number}", "country": number},
        "rule": {"never": [number]},
        "liked": ["Heat"],
    }
    answers = [client.post("/v1/recommendations", json=good | {"reasons": False, "k": 1})]
    assert answers[0].status_code == 200, answers[0].text
    for wrong in (
        {"at": number},
        {"place": number},
        {"liked": [number]},
        {"country": number, "place": "Rome"},
    ):
        answers.append(client.post("/v1/recommendations", json=wrong))
        assert 400 <= answers[-1].status_code < 500
    seen = [answer.text for answer in answers] + list(scripted.prompts)
    seen += [path.read_text("utf-8", errors="ignore") for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in seen if NUMBER in digits_of(text)] == []
    scripted.calls.clear()


def test_a_trace_holds_the_texts_that_the_prompt_held(client: TestClient, scripted: ScriptedEngine) -> None:
    client.put("/v1/users/joe", json={"id": "joe", "profile": {"name": "Joe Heat"}})
    body = {
        "user": "joe",
        "liked": ["HEAT \u2836"],
        "wish": "for\u200b J\u200boe,\u00a0see example",
        "reasons": False,
    }
    given_id = client.post("/v1/recommendations", json=body).json()["recommendation_id"]
    request = client.get(f"/v1/recommendations/{given_id}").json()["request"]
    assert request["wish"] == "for [name], see example"
    assert request["liked"] == ["f2"], "the item, without what was typed around its title"
    assert all("for [name], see example" in prompt for prompt in scripted.prompts)


@pytest.mark.parametrize("door", ["/v1/explanations", "/v1/similar", "/v1/sessions"])
def test_no_message_quotes_personal_data(client: TestClient, door: str) -> None:
    body = {"liked": ["call 612 555 0143"]} if door == "/v1/sessions" else {"item": "call 612 555 0143"}
    answer = client.post(door, json=body)
    assert answer.status_code == 404
    assert "[phone]" in answer.text
    assert "0143" not in answer.text
