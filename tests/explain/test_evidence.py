"""Evidence cites facts that exist and have a measured effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from recsys.explain import MeasuredCandidate, ReasonCase, RequestPart, collect_evidence
from recsys.types import Context
from tests.explain.cases import (
    ALIEN,
    BIG,
    BRAZIL,
    DUNE,
    FRIDAY,
    case_of,
    ids,
    texts,
)
from tests.fakes import candidate, film, seen


class TestEvidence:
    def test_liked_items_with_a_positive_share_are_cited_strongest_first(self) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, BIG)
        assert texts(case, "history") == ["Brazil", "Alien"]
        assert [entry.contribution for entry in case.by_kind("history")] == [0.4, 0.3]
        assert [entry.item_id for entry in case.by_kind("history")] == ["h2", "h1"]

    @pytest.mark.parametrize("liked", [False, None])
    def test_history_item_without_a_like_is_not_cited_as_liked(self, liked: bool | None) -> None:
        case = collect_evidence(
            MeasuredCandidate(
                candidate(DUNE),
                seen(ALIEN, liked=liked),
                Context(),
                {RequestPart("history", "h1"): 1.0},
                nouns=("film", "films"),
                history_shown=3,
                top_rank=5,
            )
        )
        assert not case.by_kind("history")

    def test_history_is_cited_up_to_the_configured_number(self) -> None:
        assert texts(case_of(DUNE, ALIEN, BRAZIL, shown=1), "history") == ["Brazil"]
        assert not case_of(DUNE, ALIEN, BRAZIL, shown=0).by_kind("history")

    def test_shared_attributes_are_those_both_have(self) -> None:
        case = case_of(film("x", "X", "Drama", "Horror", "Sci-Fi"), ALIEN, BRAZIL)
        names = {entry.id: entry.text for entry in case.evidence}
        shared = {names[h]: sorted(names[a] for a in held) for h, held in case.shared.items()}
        assert shared == {"Alien": ["Horror", "Sci-Fi"], "Brazil": ["Sci-Fi"]}

    def test_attributes_of_liked_items_come_first_and_three_at_most(self) -> None:
        case = case_of(film("x", "X", "A", "B", "C", "Sci-Fi"), ALIEN, BRAZIL)
        assert texts(case, "attribute") == ["Sci-Fi", "A", "B"]

    def test_of_an_item_that_fits_the_profile_only_what_fits_is_told(self) -> None:
        """A medication of six diseases was given with two that the patient does not have."""
        measured = MeasuredCandidate(
            candidate(film("x", "X", "Gout", "Rash", "Flu", "Sci-Fi")),
            seen(ALIEN),
            Context(),
            {RequestPart("history", "h1"): 1.0, RequestPart("profile"): 1.0},
            nouns=("film", "films"),
            history_shown=3,
            top_rank=5,
            profile=frozenset({"Flu", "nurse"}),
        )
        assert texts(collect_evidence(measured), "attribute") == ["Flu", "Sci-Fi"]
        others = dataclasses.replace(measured, profile=frozenset({"nurse"}))
        assert texts(collect_evidence(others), "attribute") == ["Sci-Fi", "Gout", "Rash"]

    def test_long_attribute_is_still_shared(self) -> None:
        genre = "very " * 20 + "long"
        case = case_of(film("x", "X", genre), film("h1", "Y", genre))
        assert case.shared == {"h1": ("a1",)}

    @pytest.mark.parametrize(
        ("effect", "cited"),
        [(None, False), (-1.0, False), (0.1, False), (0.11, True), (2.0, True)],
    )
    def test_context_is_cited_only_above_the_noise(self, effect: float | None, cited: bool) -> None:
        case = case_of(DUNE, ALIEN, effect=effect, noise=0.1)
        expected = ["a Friday evening", "being in Minneapolis", "weather rain"] if cited else []
        assert texts(case, "context") == expected
        assert all(entry.contribution == effect for entry in case.by_kind("context"))

    def test_unknown_context_is_not_cited(self) -> None:
        assert not case_of(DUNE, ALIEN, context=Context(), effect=2.0).by_kind("context")

    def test_unrated_item_is_cited_where_people_choose_both(self) -> None:
        def case(*co_consumed: str, liked: bool | None = None) -> ReasonCase:
            return collect_evidence(
                MeasuredCandidate(
                    candidate(DUNE, co_consumed=dict.fromkeys(co_consumed, 1.0)),
                    seen(ALIEN, liked=liked),
                    Context(),
                    {RequestPart("history", "h1"): 1.0},
                    nouns=("film", "films"),
                    history_shown=3,
                    top_rank=5,
                )
            )

        assert [(e.id, e.text, e.item_id) for e in case("h1").by_kind("co_consumed")] == [
            ("t1", "Alien", "h1")
        ]
        assert case("h1").parts == {"t1": RequestPart("history", "h1")}
        assert not case().by_kind("co_consumed")
        assert not case("h1", liked=False).by_kind("co_consumed")

    def test_an_item_is_no_reason_for_itself(self) -> None:
        assert not case_of(DUNE, DUNE, shares={"d": 1.0}).by_kind("history")

    def test_every_measured_id_has_its_part(self) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, effect=1.0)
        measured = [entry for entry in case.evidence if entry.contribution is not None]
        assert set(case.parts) == {entry.id for entry in measured}
        assert case.parts["h1"] == RequestPart("history", "h2")
        assert case.parts["c3"] == RequestPart("fact", "weather")

    @pytest.mark.parametrize(
        ("channels", "cited"), [({"text": 5}, True), ({"text": 6}, False), ({"popularity": 1}, False)]
    )
    def test_wish_that_names_nothing_is_cited_only_where_text_search_put_the_item_high(
        self, channels: Mapping[str, int], cited: bool
    ) -> None:
        case = case_of(channels=channels, context=Context(wish="dark"))
        assert bool(case.by_kind("wish")) == cited

    @pytest.mark.parametrize(
        ("wish", "named"),
        [
            ("something with sci-fi", ["Sci-Fi"]),
            ("Adventures, sci-fi please", ["Adventure", "Sci-Fi"]),
            ("an adventure but no sci-fi", ["Adventure"]),
            ("horror", []),
            ("dark", []),
        ],
    )
    def test_attributes_that_a_wish_names_come_first_whatever_the_text_rank(
        self, wish: str, named: list[str]
    ) -> None:
        item = film("x", "X", "Drama", "Comedy", "War", "Adventure", "Sci-Fi")
        case = case_of(item, BIG, shares={"h3": 1.0}, channels={"text": 99}, context=Context(wish=wish))
        assert bool(case.by_kind("wish")) == bool(named)
        assert [one.text for one in case.by_kind("attribute") if one.id in case.wish_attributes] == named
        assert texts(case, "attribute")[: len(named)] == named

    @pytest.mark.parametrize(
        ("wish", "effect", "measure"),
        [
            ("sci-fi", 0.3, "log p with and without; without it no candidate"),
            ("sci-fi", 0.1, "without it no candidate"),
            ("sci-fi", -0.3, "without it no candidate"),
            ("dark", 0.1, None),
        ],
    )
    def test_item_that_only_the_wish_retrieves_cites_the_wish(
        self, wish: str, effect: float, measure: str | None
    ) -> None:
        """A wish that retrieved all candidates has no effect among them."""

        def collected(retrieval_dependent: bool) -> ReasonCase:
            return collect_evidence(
                MeasuredCandidate(
                    candidate(DUNE),
                    (),
                    Context(wish=wish),
                    {RequestPart("wish"): effect},
                    nouns=("film", "films"),
                    history_shown=3,
                    top_rank=5,
                    noise=0.2,
                    retrieval_dependent=retrieval_dependent,
                )
            )

        assert bool(collected(retrieval_dependent=False).by_kind("wish")) == (effect > 0.2)
        assert bool(collected(retrieval_dependent=False).against) == (effect < -0.2)
        case = collected(retrieval_dependent=True)
        [*evidence] = case.by_kind("wish")
        assert [one.measure for one in evidence] == ([measure] if measure else [])
        if measure:
            assert evidence[0].contribution == (effect if effect > 0.2 else None)
            assert case.parts == {"w1": RequestPart("wish")}
            assert not case.against

    def test_a_wish_without_effect_changes_no_evidence(self) -> None:
        cases = [
            collect_evidence(
                MeasuredCandidate(
                    candidate(film("x", "X", "Drama", "Sci-Fi")),
                    seen(film("h9", "Y", "Drama"), liked=True),
                    Context(wish=wish),
                    {RequestPart("history", "h9"): 1.0, RequestPart("wish"): 0.1},
                    nouns=("film", "films"),
                    history_shown=3,
                    top_rank=5,
                    noise=0.2,
                )
            )
            for wish in ("sci-fi", "")
        ]
        assert cases[0].evidence == cases[1].evidence
        assert not cases[0].wish_attributes

    @pytest.mark.parametrize(("popularity", "cited"), [(0.99, True), (0.9, True), (0.89, False)])
    def test_popularity_is_cited_only_for_the_most_popular(self, popularity: float, cited: bool) -> None:
        assert bool(case_of(popularity=popularity).by_kind("popularity")) == cited

    def test_first_of_the_popularity_channel_is_not_popular_by_itself(self) -> None:
        case = case_of(
            channels={"popularity": 1}, popularity=0.7
        )  # the most popular films are in the history
        assert not case.by_kind("popularity")

    def test_popularity_is_not_cited_next_to_history_or_a_wish(self) -> None:
        assert not case_of(DUNE, ALIEN, popularity=1.0).by_kind("popularity")
        assert not case_of(popularity=1.0, context=Context(wish="dark")).by_kind("popularity")

    def test_invisible_attribute_is_not_cited(self) -> None:
        assert not case_of(film("x", "X", "\u200b", "\u202e")).evidence

    def test_ids_are_unique(self) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, context=FRIDAY.model_copy(update={"wish": "dark"}), effect=1.0)
        assert len(set(ids(case))) == len(ids(case)) == 8
