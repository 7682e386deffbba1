"""What a reason says: facts that exist, causes that were measured, neighbours that differ."""

from __future__ import annotations

from typing import Any

import pytest

from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts
from recsys.explain import RequestPart, template_reason
from recsys.explain.evidence import RETRIEVAL_DEPENDENT
from recsys.explain.item_parts import ItemPart
from recsys.explain.lead import lead_of
from recsys.types import Context, Item
from tests.explain.cases import (
    ALIEN,
    BIG,
    BRAZIL,
    CASES,
    COUNTS,
    DUNE,
    FRIDAY,
    OTHERS,
    PHRASES,
    SPACE,
    SPACE_SHARES,
    case_of,
    measured_of,
    phrases_in,
    planned,
    texts,
)
from tests.fakes import film


class TestCauses:
    def test_a_group_is_cited_with_the_effect_of_all_of_it(self) -> None:
        case = CASES["several liked"]
        assert case.section == "group"
        (group,) = [entry for entry in case.evidence if entry.kind == "group"]
        assert group.text == "six science-fiction films"
        assert group.contribution == pytest.approx(sum(SPACE_SHARES.values()))
        assert group.item_ids == tuple(SPACE_SHARES)
        assert case.parts["s1"] == {RequestPart("history", name) for name in SPACE_SHARES}
        assert case.texts["examples"] == "Space 0 and Space 1"

    def test_one_liked_item_is_cited_with_what_it_shares(self) -> None:
        case = CASES["one liked"]
        assert (case.section, case.texts["liked"]) == ("shared", "Brazil")
        assert case.texts["shared"] == "a science-fiction film"
        assert [entry.contribution for entry in case.evidence if entry.kind == "history"] == [0.4]

    def test_an_item_much_weaker_than_the_first_is_not_named_beside_it(self) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, shares={"h1": 1.0, "h2": 0.2})
        assert case.texts["liked"] == "Alien"

    def test_what_more_than_half_of_the_catalogue_has_is_no_cause(self) -> None:
        drama = film("x", "X", "Drama", year=2001)
        case = case_of(drama, *OTHERS[:9], shares={one.id: 0.1 for one in OTHERS[:9]})
        assert case.section == "history"

    def test_people_who_chose_both_are_told_where_little_else_is_shared(self) -> None:
        case = CASES["chosen by the same people"]
        assert case.section == "co_consumed"
        assert texts(case, "co_consumed") == ["Brazil", "Alien"]

    @pytest.mark.parametrize("rated", [True, False])
    def test_what_was_chosen_and_not_rated_counts_where_nothing_is_rated(self, rated: bool) -> None:
        case = case_of(DUNE, unrated=SPACE, shares=SPACE_SHARES, rated=rated)
        assert case.section == ("attribute" if rated else "group")
        assert case.did == ("" if rated else "chose")

    def test_a_disliked_item_speaks_for_nothing(self) -> None:
        case = case_of(DUNE, ALIEN, shares={"h1": 1.0}, disliked=["h1"])
        assert case.section == "attribute"

    def test_an_item_is_no_reason_for_itself(self) -> None:
        assert not texts(case_of(DUNE, DUNE, shares={"d": 1.0}), "history")

    def test_an_effect_within_the_noise_is_not_told(self) -> None:
        assert case_of(DUNE, BRAZIL, shares={"h2": 0.1}, noise=0.2).section == "attribute"

    def test_a_relation_is_told_beside_a_stronger_cause(self) -> None:
        said = {"h1": "is a sequel of Alien, which you liked"}
        shares = {**SPACE_SHARES, "h1": 0.3}
        case = case_of(film("x", "X", "Sci-Fi"), *SPACE, ALIEN, shares=shares, related=said, together=["s0"])
        assert case.also is None or case.also.section == "relation"
        alone = case_of(film("x", "X"), ALIEN, *SPACE, shares={"h1": 0.3, "s0": 1.0}, related=said)
        assert alone.section == "history"
        assert alone.also is not None
        assert alone.also.section == "relation"

    def test_an_item_that_the_wish_names_is_not_called_liked(self) -> None:
        case = CASES["wish like one"]
        assert case.also is not None
        assert case.also.did == "named"


class TestWish:
    def test_what_was_asked_for_comes_first(self) -> None:
        case = CASES["wish that names"]
        assert case.section == "wish"
        assert case.texts["asked"] == "a science-fiction film from the 1980s"
        assert set(case.slots["asked"].cites) == {"w1", "a1", "a2"}

    @pytest.mark.parametrize(
        ("channels", "section"), [({"text": 5}, "wish_close"), ({"text": 6}, "attribute")]
    )
    def test_a_wish_that_names_nothing_is_told_where_the_text_is_close(
        self, channels: dict[str, int], section: str
    ) -> None:
        assert case_of(channels=channels, context=Context(wish="dark")).section == section

    def test_an_item_that_only_the_wish_retrieves_says_so(self) -> None:
        case = case_of(context=Context(wish="x"), asked=["Sci-Fi"], wish=-1.0, retrieval_dependent=True)
        (entry,) = [entry for entry in case.evidence if entry.kind == "wish"]
        assert (entry.contribution, entry.measure) == (None, RETRIEVAL_DEPENDENT)

    def test_a_wish_that_speaks_against_the_item_is_not_told_as_a_cause(self) -> None:
        assert case_of(context=Context(wish="x"), asked=["Sci-Fi"], wish=-1.0).section == "attribute"


class TestMoment:
    @pytest.mark.parametrize(("effect", "told"), [(None, False), (-1.0, False), (0.01, False), (0.5, True)])
    def test_it_is_told_only_where_it_matters_beside_the_cause(
        self, effect: float | None, told: bool
    ) -> None:
        case = case_of(DUNE, BRAZIL, effect=effect)
        assert ("now" in case.slots) == told

    def test_what_is_unknown_is_not_told(self) -> None:
        assert "now" not in case_of(DUNE, ALIEN, context=Context(), effect=2.0).slots


class TestPopularity:
    @pytest.mark.parametrize(("popularity", "told"), [(0.99, True), (0.9, True), (0.89, False)])
    def test_only_the_most_popular_are_called_so(self, popularity: float, told: bool) -> None:
        assert (case_of(popularity=popularity).section == "popularity") == told

    def test_an_outsider_of_a_long_history_is_called_one(self) -> None:
        assert CASES["outsider"].section == "outsider"

    def test_it_is_not_told_for_a_wish(self) -> None:
        assert (
            case_of(popularity=1.0, context=Context(wish="dark"), channels={"text": 9}).section == "attribute"
        )


class TestAside:
    def test_it_tells_what_the_cause_does_not(self) -> None:
        ridley = DUNE.model_copy(update={"attributes": {**DUNE.attributes, "director": ("David Lynch",)}})
        case = case_of(ridley, BRAZIL)
        assert case.texts["shared"] == "a science-fiction film"
        assert case.texts["aside"] == ", directed by David Lynch,"

    def test_of_many_values_only_what_the_person_met_is_told(self) -> None:
        cast = tuple(f"Actor {n}" for n in range(9))
        item = film("x", "X", "War").model_copy(update={"attributes": {"genre": ("War",), "cast": cast}})
        seen = film("y", "Y").model_copy(update={"attributes": {"cast": ("Actor 7",)}})
        assert "Actor" not in case_of(item, BRAZIL).texts["aside"]
        assert "Actor 7" in case_of(item, seen, shares={"y": 0.0}).texts["what"]

    def test_what_nearly_all_have_is_not_said_to_be_in_common_with_a_disliked_item(self) -> None:
        drama, disliked = film("x", "X", "Drama", "War", year=2001), OTHERS[0]
        case = case_of(drama, BRAZIL, disliked, shares={"h2": 0.1, disliked.id: -0.5}, disliked=[disliked.id])
        assert "common" not in case.slots

    def test_what_the_person_dislikes_is_not_praised(self) -> None:
        horrors = [film(f"d{n}", f"Horror {n}", "Horror") for n in range(3)]
        item = film("x", "X", "Horror", "Sci-Fi")
        case = case_of(item, *horrors, shares={}, disliked=[one.id for one in horrors])
        assert "horror" not in case.texts["what"]

    def test_invisible_values_are_not_told(self) -> None:
        assert case_of(film("x", "X", "\u200b", "\u202e")).section == "nothing"


class TestItsOwnParts:
    GENRE = ItemPart(attribute="genre")

    def test_an_attribute_is_told_with_the_effect_of_leaving_it_out(self) -> None:
        case = CASES["lifted by what it is"]
        assert case.section == "own"
        assert [e.contribution for e in case.evidence if e.text == "Sci-Fi"] == [0.5]

    def test_it_is_not_the_main_cause_where_the_past_is_nearly_as_strong(self) -> None:
        past = case_of(DUNE, ALIEN, shares={"h1": 0.4}, own_effects={self.GENRE: 0.5})
        weak = case_of(DUNE, ALIEN, shares={"h1": 0.1}, own_effects={self.GENRE: 0.5})
        assert (past.section, weak.section) == ("shared", "own")

    def test_an_attribute_that_counts_against_the_item_does_not_describe_it(self) -> None:
        ridley = DUNE.model_copy(update={"attributes": {**DUNE.attributes, "director": ("David Lynch",)}})
        director = ItemPart(attribute="director")
        assert "Lynch" in case_of(ridley, BRAZIL).texts["aside"]
        assert "Lynch" not in case_of(ridley, BRAZIL, own_effects={director: -0.5}).texts["aside"]


class TestPassages:
    TEXT = "Sand covers a planet. Alien worms live below it. Visit https://x.example for Alien offers."
    DESERT = DUNE.model_copy(update={"description": TEXT})

    def quoted(self, *liked: Item, **options: Any) -> list[tuple[str, float | None]]:
        measured = measured_of(self.DESERT, *liked, **options)
        (case,) = planned(measured, phrases=phrases_in(quotes=True))
        return [(e.text, e.contribution) for e in case.evidence if e.kind == "passage"]

    def test_the_sentence_that_lifts_the_item_is_quoted_with_its_effect(self) -> None:
        worms = ItemPart(sentence="Alien worms live below it")
        sand = ItemPart(sentence="Sand covers a planet")
        assert self.quoted(BRAZIL, own_effects={sand: 0.1, worms: 0.3}) == [(worms.sentence, 0.3)]

    def test_without_one_what_has_words_of_the_past_is_quoted_as_description(self) -> None:
        assert self.quoted(ALIEN, shares={"h1": 1.0}) == [("Alien worms live below it", None)]
        assert self.quoted(BRAZIL, shares={"h2": 1.0}) == []

    def test_what_nothing_speaks_for_is_introduced_by_its_first_sentence(self) -> None:
        assert self.quoted() == [("Sand covers a planet", None)]

    def test_quotes_are_a_choice_of_the_domain(self) -> None:
        (case,) = planned(measured_of(self.DESERT, ALIEN, shares={"h1": 1.0}))
        assert not texts(case, "passage")

    def test_a_quotation_is_marked_and_read_word_for_word_by_the_judge(self) -> None:
        phrases = phrases_in(quotes=True)
        (case,) = planned(measured_of(self.DESERT, ALIEN, shares={"h1": 1.0}), phrases=phrases)
        reason = template_reason(case, phrases)
        assert reason.text.endswith(" It says: “Alien worms live below it”.")
        judge = Judge(GroundTruth([self.DESERT, ALIEN], []), phrases)
        facts = ReasonFacts(self.DESERT, {"h1": True}, Context())
        quoted = [one for one in judge.statements(reason.text, facts) if one.kind == "passage"]
        assert [one.true for one in quoted] == [True]
        false = judge.statements(reason.text.replace("worms", "birds"), facts)
        assert [one.true for one in false if one.kind == "passage"] == [False]


class TestList:
    def test_the_same_group_is_told_again_in_short(self) -> None:
        items = [film(f"x{n}", f"X {n}", "Sci-Fi", year=1990 + n) for n in range(2)]
        first, second = planned(*(measured_of(one, *SPACE, shares=SPACE_SHARES) for one in items))
        assert (first.section, second.section) == ("group", "again")
        text = template_reason(second, PHRASES).text
        many = "the same six science-fiction films behind it"
        assert text == f"X 1, from the 1990s, has {many}, above all Space 0 and Space 1."
        judge = Judge(GroundTruth([*items, *SPACE], []), PHRASES)
        facts = ReasonFacts(items[1], {one.id: True for one in SPACE}, Context())
        assert all(one.true for one in judge.statements(text, facts))
        assert not all(one.true for one in judge.statements(text.replace("six", "seven"), facts))

    def test_what_of_the_moment_suits_all_is_said_once_above_them(self) -> None:
        listed = [measured_of(one, effect=1.0, profile=0.5) for one in SPACE[:3]]
        lead = lead_of(listed, PHRASES, COUNTS)
        assert lead == "Three science-fiction films, for a Friday evening, and all suit your profile"
        assert all("person" not in case.slots for case in planned(*listed))
        mixed = [*listed, measured_of(BIG, effect=1.0, profile=0.5)]
        assert lead_of(mixed, PHRASES, COUNTS) == "All of them suit a Friday evening and your profile"

    def test_neighbours_tell_another_cause_where_one_is_nearly_as_strong(self) -> None:
        items = [film(f"x{n}", f"X {n}", "Sci-Fi", "Horror") for n in range(2)]
        first, second = planned(
            *(measured_of(one, ALIEN, shares={"h1": 1}, together=["h1"]) for one in items)
        )
        assert {first.section, second.section} == {"co_consumed", "shared"}

    def test_what_all_share_is_said_once_above_them(self) -> None:
        listed = [measured_of(one, effect=1.0) for one in SPACE[:3]]
        assert lead_of(listed, PHRASES, COUNTS) == "Three science-fiction films, for a Friday evening"
        assert all("science" not in case.texts["what"] for case in planned(*listed))
        assert lead_of(listed[:2], PHRASES, COUNTS) == ""
        assert lead_of([*listed, measured_of(BIG)], PHRASES, COUNTS) == ""

    def test_it_says_that_it_was_asked_for(self) -> None:
        wished = Context(wish="sci-fi")
        listed = [measured_of(one, context=wished, asked=["Sci-Fi"]) for one in SPACE[:3]]
        assert lead_of(listed, PHRASES, COUNTS) == "Three science-fiction films, as you asked"


class TestAgainst:
    def test_the_strongest_evidence_against_an_unlisted_item_is_its_reason(self) -> None:
        case = CASES["more against it than for it"]
        assert (case.section, case.opposed) == ("against", "disliked_alike")
        assert [(entry.text, entry.contribution) for entry in case.against] == [
            ("Alien", -1.0),
            ("Big", -0.5),
        ]

    @pytest.mark.parametrize(("effect", "told"), [(-0.5, True), (-0.3, False), (0.0, False)])
    def test_beside_a_cause_it_is_told_if_it_is_stronger(self, effect: float, told: bool) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, shares={"h1": effect, "h2": 0.4}, disliked=["h1"])
        assert bool(case.opposed) == told


def test_ids_are_unique_and_every_measured_one_has_its_parts() -> None:
    wished = FRIDAY.model_copy(update={"wish": "sci-fi"})
    case = case_of(DUNE, ALIEN, BRAZIL, context=wished, effect=1.0, asked=["Sci-Fi"], profile=1.0)
    ids = [entry.id for entry in (*case.evidence, *case.against)]
    assert len(set(ids)) == len(ids) > 4
    measured = {entry.id for entry in case.evidence if entry.contribution is not None}
    assert measured <= case.parts.keys()
