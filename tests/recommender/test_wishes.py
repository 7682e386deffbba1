"""A wish that is read: musts filter, preferences order, and what cannot be met is relaxed and said."""

from __future__ import annotations

import pytest

from recsys.recommender.recommender import Recommender
from recsys.recommender.wishes import relax
from recsys.types import Recommendations, WishCondition
from recsys.wishes.query import TypedQuery
from tests.fakes import ScriptedEngine


def titles(answer: Recommendations) -> set[str]:
    return {line.item.title for line in answer}


def must(attribute: str, value: str, operator: str = "is", wanted: bool = True) -> WishCondition:
    return WishCondition.model_validate(
        {"attribute": attribute, "operator": operator, "values": (value,), "wanted": wanted, "hard": True}
    )


def test_a_must_leaves_out_all_that_do_not_fit(recommender: Recommender) -> None:
    answer = recommender.recommend(wish="only crime films", k=5, reasons=False)
    assert titles(answer) == {"Heat", "Cape Fear", "Fargo"}
    assert answer.understood is not None
    assert answer.understood.text == "only genre: Crime"
    assert answer.to_json()["understood"]["conditions"][0]["values"] == ["Crime"]


def test_what_is_named_comes_first_and_leaves_nothing_out(recommender: Recommender) -> None:
    answer = recommender.recommend(wish="a crime film, preferably from before 1992", k=5, reasons=False)
    assert answer[0].item.title == "Cape Fear"
    assert {line.item.title for line in answer.recommendations[:3]} == {"Heat", "Cape Fear", "Fargo"}
    assert len(answer) == 5
    assert answer.understood is not None
    assert answer.understood.text == "genre: Crime \xb7 rather year: before 1992"


def test_what_is_not_wanted_never_comes(recommender: Recommender) -> None:
    answer = recommender.recommend(wish="only a comedy, but no crime", k=5, reasons=False)
    assert titles(answer) == {"Toy Story", "Airplane!"}
    assert "only 2 films are left to recommend" in answer.notes


def test_a_preference_comes_first_whatever_the_model_says(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    answer = recommender.recommend(wish="preferably before 1950", k=5, reasons=False)
    assert [line.item.year or 2000 for line in answer][:3] == sorted(
        [1927, 1942, 1949], key=[line.item.year for line in answer].index
    )
    assert len(answer) == 5
    assert answer.understood is not None
    assert answer.understood.text == "rather year: before 1950"


def test_where_nothing_fits_one_condition_is_relaxed_and_named(recommender: Recommender) -> None:
    answer = recommender.recommend(wish="a noir comedy from before 1930", k=3, reasons=False)
    assert answer.understood is not None
    assert answer.understood.relaxed == ("genre: Comedy", "genre: Noir")
    assert "nothing fits all of it" in answer.understood.text
    assert answer[0].item.title == "Metropolis"


def test_musts_that_hold_for_nothing_together_are_relaxed_too(recommender: Recommender) -> None:
    answer = recommender.recommend(wish="only noir comedies from before 1930", k=3, reasons=False)
    assert answer.understood is not None
    assert answer.understood.relaxed
    assert titles(answer) == {"Blade Runner", "The Third Man"}


def test_an_example_is_not_recommended_itself(recommender: Recommender) -> None:
    answer = recommender.recommend(wish="like Blade Runner but older", k=3, reasons=False)
    assert "Blade Runner" not in titles(answer)
    assert all((line.item.year or 0) < 1982 for line in answer)
    assert answer[0].item.title in {"Alien", "Metropolis", "The Third Man"}


@pytest.mark.parametrize("wish", ["surprise me", "Anything good", "随便"])
def test_a_wish_for_nothing_in_particular_changes_nothing(wish: str, recommender: Recommender) -> None:
    plain = recommender.recommend("ann", k=3, reasons=False)
    asked = recommender.recommend("ann", wish=wish, k=3, reasons=False)
    assert [line.item.id for line in asked] == [line.item.id for line in plain]
    assert [line.score for line in asked] == [line.score for line in plain]
    assert asked.understood is not None
    assert asked.understood.text == "any film"


def test_a_wish_and_a_filter_hold_together(recommender: Recommender) -> None:
    from recsys.types import Filter

    answer = recommender.recommend(wish="crime", rule=Filter(year_from=1996), k=3, reasons=False)
    assert titles(answer) == {"Fargo"}


def test_without_a_reader_a_wish_is_only_compared(recommender: Recommender) -> None:
    answer = recommender.with_state(reader="none").recommend(wish="a crime film", k=5, reasons=False)
    assert len(answer) == 5
    assert answer.understood is None


def test_bounds_are_relaxed_before_values_and_what_is_not_wanted_last() -> None:
    query = TypedQuery(
        (must("genre", "War", wanted=False), must("genre", "Comedy"), must("year", "1950", "<"))
    )
    typed, relaxed = relax(query, lambda conditions: not conditions)
    assert [(one.attribute, one.wanted) for one in relaxed] == [
        ("year", True),
        ("genre", True),
        ("genre", False),
    ]
    assert not typed.hard


def test_what_is_plainly_named_is_relaxed_before_musts() -> None:
    plain = must("genre", "Comedy").model_copy(update={"hard": False})
    query = TypedQuery((must("year", "1950", "<"), plain))
    typed, relaxed = relax(query, lambda conditions: len(conditions) < 2)
    assert relaxed == (plain,)
    assert [one.attribute for one in typed.preferences] == ["genre"]


def test_the_one_condition_that_stands_in_the_way_is_relaxed() -> None:
    query = TypedQuery((must("genre", "Comedy"), must("year", "1950", "<")))
    typed, relaxed = relax(query, lambda conditions: all(one.attribute == "year" for one in conditions))
    assert [one.attribute for one in relaxed] == ["genre"]
    assert [one.attribute for one in typed.hard] == ["year"]


@pytest.mark.parametrize(
    "wish", ["a crime film, preferably before 1992", "like Alien, a drama", "maybe noir"]
)
def test_scores_fall_in_the_order_of_a_wish(wish: str, recommender: Recommender) -> None:
    for answer in (
        recommender.recommend(wish=wish, k=8, reasons=False),
        recommender.retrieve(wish=wish, k=8),
    ):
        scores = [line.score for line in answer]
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) <= 1 + 1e-9
