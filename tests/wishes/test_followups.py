"""Follow-ups change the query of a conversation, and keep the rest of it."""

from __future__ import annotations

import pytest

from recsys.errors import RequestError
from recsys.recommender.recommender import Recommender
from recsys.types import Conversation, Recommendations, WishCondition


def titles(answer: Recommendations) -> list[str]:
    return [line.item.title for line in answer]


def text(answer: Recommendations) -> str:
    assert answer.understood is not None
    return answer.understood.text


def asked(recommender: Recommender, *wishes: str, k: int = 3) -> list[Recommendations]:
    """The answers of one conversation."""
    answers: list[Recommendations] = []
    for wish in wishes:
        before = answers[-1].conversation if answers else None
        answers.append(recommender.recommend(wish=wish, conversation=before, k=k, reasons=False))
    return answers


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ("a crime film", "no comedies", "genre: Crime \xb7 not genre: Comedy"),
        ("a crime film", "from the nineties", "genre: Crime \xb7 year: 1990 to 1999"),
        (
            "crime from the nineties",
            "before 1995",
            "genre: Crime \xb7 year: from 1990 \xb7 year: before 1995",
        ),
        ("a crime film", "a comedy instead", "genre: Comedy"),
        ("a crime film", "also a comedy", "genre: Crime \xb7 genre: Comedy"),
        ("no crime", "crime", "genre: Crime"),
        ("a crime film", "start over, a comedy", "genre: Comedy"),
        ("a crime film", "surprise me", "genre: Crime"),
        ("a crime film", "", "genre: Crime"),
        ("犯罪 crime", "1996年以前", "genre: Crime \xb7 year: before 1996 \xb7 not known here: '犯罪'"),
    ],
)
def test_a_turn_changes_what_it_is_about(
    first: str, then: str, expected: str, recommender: Recommender
) -> None:
    *_, last = asked(recommender, first, then)
    assert text(last).partition(" \xb7 nothing fits")[0] == expected


def test_older_is_older_than_what_was_shown(recommender: Recommender) -> None:
    first, second = asked(recommender, "a crime film", "older")
    years = sorted(line.item.year or 0 for line in first)
    assert text(second).startswith(f"genre: Crime \xb7 year: before {years[1]}")


def test_an_item_of_the_list_is_turned_down_or_an_example(recommender: Recommender) -> None:
    first, second, third = asked(recommender, "a crime film", "not that one", "more like the second")
    assert titles(first)[0] not in titles(second)
    assert f"like: {second[1].item.name}" in text(third)
    assert {titles(first)[0], titles(second)[1]}.isdisjoint(titles(third))


def test_something_else_turns_down_the_whole_list(recommender: Recommender) -> None:
    first, second = asked(recommender, "a comedy", "something else", k=1)
    assert not set(titles(first)) & set(titles(second))
    assert text(second) == "genre: Comedy"


def test_a_conversation_may_be_edited(recommender: Recommender) -> None:
    (first,) = asked(recommender, "a crime film, no comedies")
    assert first.conversation is not None
    kept = [one for one in first.conversation.conditions if one.wanted]
    edited = first.conversation.model_copy(update={"conditions": tuple(kept)})
    answer = recommender.recommend(conversation=edited, k=3, reasons=False)
    assert text(answer) == "genre: Crime"


@pytest.mark.parametrize(
    ("attribute", "operator", "values"),
    [
        ("year", "<", ("soon",)),
        ("year", "<", ()),
        ("genre", "<", ("3",)),
        ("colour", "is", ("red",)),
        ("year", "is", ("x",)),
    ],
)
def test_a_condition_of_another_domain_is_refused(
    attribute: str, operator: str, values: tuple[str, ...], recommender: Recommender
) -> None:
    condition = WishCondition.model_validate({"attribute": attribute, "operator": operator, "values": values})
    with pytest.raises(RequestError):
        recommender.recommend(conversation=Conversation(conditions=(condition,)), k=1, reasons=False)


def test_a_conversation_that_names_lost_items_goes_on(recommender: Recommender) -> None:
    state = Conversation(like=("gone",), rejected=("gone",), shown=("gone", "f1"))
    answer = recommender.recommend(wish="more like the first one", conversation=state, k=2, reasons=False)
    assert len(answer) == 2


def test_what_was_not_asked_for_is_explained_by_it(recommender: Recommender) -> None:
    (first,) = asked(recommender, "only crime films")
    why = recommender.explain(None, "Casablanca", conversation=first.conversation)
    assert (
        "Casablanca (1942) is not what was asked for (only genre: Crime): scored beside the candidates"
        in why.notes
    )
