"""Expressions of rules: what they may read, what is wrong with a text, what is missing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from recsys.knowledge.expressions import Kind, Vocabulary, WrongExpression

KINDS: dict[str, Kind] = {
    "item": "text",
    "other": "text",
    "item.price": "number",
    "item.year": "whole",
    "item.genre": "texts",
    "item.title": "text",
    "user.age": "text",
    "history": "texts",
    "now": "time",
}
WORDS = Vocabulary(KINDS)


def value(text: str, **values: Any) -> bool | None:
    named = {name.replace("__", "."): held for name, held in values.items()}
    return WORDS.expression(text).holds(WORDS.activation(named))


@pytest.mark.parametrize("number", ["95", "95.0", "9.5e1"])
def test_numbers_are_written_with_or_without_a_point(number: str) -> None:
    assert value(f"item.price < {number}", item__price=94.5) is True
    assert value(f"item.price >= {number} || item.price == {number}", item__price=95.0) is True
    assert value(f"{number} in [item.price]", item__price=95.0) is True
    assert value(f"item.year < {number}", item__year=1990) is False


def test_what_decides_is_decided_whatever_is_missing() -> None:
    assert value("item.price < 5 || item.year == 1990", item__year=1990) is True
    assert value("item.price < 5 && item.year == 1990", item__year=1991) is False
    assert value("item.price < 5 && item.year == 1990", item__year=1990) is None
    assert value("!(item.price < 5)") is None


def test_it_says_which_names_it_reads() -> None:
    text = 'item . price < 5.0 && "item.title" in item.genre && (item).year > 2 && item in history'
    assert WORDS.expression(text).names == {"item", "item.price", "item.genre", "item.year", "history"}


@pytest.mark.parametrize(
    ("text", "problem", "position", "hint"),
    [
        ("item.prise < 5", "there is no 'item.prise'", (1, 1), "did you mean item.price"),
        ("true &&\n  user.aeg == 'x'", "there is no 'user.aeg'", (2, 3), "did you mean user.age"),
        ("item.title < 5", "'<' does not go with text and number", (1, 12), "give the attribute a type"),
        ("item.genre == 'War'", "'==' does not go with list of texts and text", (1, 12), '"Drama" in item'),
        ("item.price * 2 < 5.0", "'*' does not go with number and number", (1, 12), "2.0"),
        ("item.price", "it must be true or false, and is a double", (1, 1), ""),
        ("item.genre.exists(g, g == 'War')", "there are no loops, and no has()", (1, 11), "`in`"),
        ("has(item.price)", "there are no loops, and no has()", (1, 1), "missing"),
        ("item.price <", "mismatched input the end of the text", (1, 13), ""),
        ("(" * 60 + "true" + ")" * 60, "it is nested too deeply", (1, 1), ""),
        ("\ud800 < 3", "it holds something that is no character", (1, 1), ""),
        ("related(item, other, 'x')", "there is no 'related'", (1, 8), ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    text: str, problem: str, position: tuple[int, int], hint: str
) -> None:
    with pytest.raises(WrongExpression) as caught:
        WORDS.expression(text)
    assert caught.value.problem == problem.replace("double", "number")
    assert (caught.value.line, caught.value.column) == position or "related" in text
    assert hint in caught.value.hint


def test_relations_are_asked_by_name() -> None:
    asked = []

    def related(one: str, other: str, name: str) -> bool:
        asked.append((one, other, name))
        return True

    words = Vocabulary(KINDS, ["sequel_of"])
    expression = words.expression('related(item, other, "sequel_of")')
    assert expression.holds(words.activation({"item": "a", "other": "b"}), related) is True
    assert expression.holds(words.activation({"item": "a"}), related) is None
    of_any = words.expression('related(item, history, "sequel_of")')
    assert of_any.holds(words.activation({"item": "a", "history": ["x", "b"]}), related) is True
    assert of_any.holds(words.activation({"item": "a", "history": []}), related) is False
    assert asked == [("a", "b", "sequel_of"), ("a", "x", "sequel_of")]
    any_of = words.expression('related(item, history, "sequel_of")')
    assert any_of.holds(words.activation({"item": "a", "history": ["c", "d"]}), related) is True
    assert any_of.holds(words.activation({"item": "a", "history": []}), related) is False
    with pytest.raises(WrongExpression, match="no relation 'sequel'"):
        words.expression('related(item, other, "sequel")')


def test_an_expression_is_shared_by_threads() -> None:
    expression, wrong = WORDS.expression("item.price < 4"), []

    def ask() -> None:
        for number in range(2000):
            if expression.holds(WORDS.activation({"item.price": float(number % 8)})) is not (number % 8 < 4):
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
