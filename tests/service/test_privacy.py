"""Masking of personal data in texts, prompts and logs."""

from __future__ import annotations

import re

import pytest

from recsys.config import Privacy, load_domain
from recsys.context.builder import build_context
from recsys.context.pii import mask, mask_json, mask_user, names_of
from recsys.data.batch import ImportReport
from recsys.data.importers.readers import data_file, read_table
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
    assert mask_json(value, Privacy()) == masked


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
