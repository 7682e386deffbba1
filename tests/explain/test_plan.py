"""What a reason says: facts that exist, causes that were measured, neighbours that differ."""

from __future__ import annotations

import pytest

from recsys.explain import RequestPart
from recsys.explain.evidence import RETRIEVAL_DEPENDENT
from recsys.explain.plan import lead_of
from recsys.types import Context
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

    def test_what_the_person_dislikes_is_not_praised(self) -> None:
        horrors = [film(f"d{n}", f"Horror {n}", "Horror") for n in range(3)]
        item = film("x", "X", "Horror", "Sci-Fi")
        case = case_of(item, *horrors, shares={}, disliked=[one.id for one in horrors])
        assert "horror" not in case.texts["what"]

    def test_invisible_values_are_not_told(self) -> None:
        assert case_of(film("x", "X", "\u200b", "\u202e")).section == "nothing"


class TestList:
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
