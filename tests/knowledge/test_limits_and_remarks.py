"""A limit bounds what list and history have of a value; a remark ends the reasons it is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Rule, load_domain
from recsys.errors import ConfigError, EngineDead
from recsys.knowledge.limits import Limit
from recsys.knowledge.rules import RuleBook
from recsys.recommender import response
from recsys.recommender.recommender import Recommender
from recsys.types import HistoryEntry, Item
from tests.fakes import DOMAIN, ScriptedEngine, film, reconfigure, write_films


def rule(**options: Any) -> Rule:
    return Rule.model_validate({"name": "r"} | options)


def limit(**options: Any) -> Rule:
    return rule(**{"do": "limit", "by": "genre", "when": "true", "share": 0.4, "first": 5} | options)


def broken(limited: Rule, held: str, listed: str, item: str) -> bool:
    """Ask about items of one genre each, by its first letter."""
    items = {
        name: [film(f"{name}{n}", name, letter) for n, letter in enumerate(letters)]
        for name, letters in {"held": held, "listed": listed, "item": item}.items()
    }
    chosen = {one.id: HistoryEntry(item=one) for one in items["held"]}
    return Limit(limited, chosen, lambda one: True).is_broken(items["item"][0], items["listed"])


@pytest.mark.parametrize(
    ("held", "listed", "item", "is_broken"),
    [
        ("", "", "a", False),
        ("", "a", "a", False),  # two of five
        ("", "aa", "a", True),
        ("", "aa", "b", False),
        ("aaaaa", "", "a", True),  # five of ten already
        ("aaaaa", "", "b", False),
        ("abcde", "aa", "a", False),  # four of ten
        ("abcde", "aaa", "a", True),
    ],
)
def test_no_value_gets_more_than_its_share_of_history_and_list(
    held: str, listed: str, item: str, is_broken: bool
) -> None:
    assert broken(limit(), held, listed, item) == is_broken


def test_a_share_that_is_reached_exactly_is_kept() -> None:
    """0.3 * 10 is 2.9999999999999996 in binary."""
    assert not broken(limit(share=0.3, first=10), "", "aa", "a")


def test_lists_keep_the_limit_and_are_filled_with_others(recommender: Recommender) -> None:
    """Dan chose a film of animation and comedy, and one of drama and romance: of seven two may be of each."""
    reconfigure(recommender, rules=(limit(share=0.3, first=5),))
    answer = recommender.recommend("dan", k=5, n_candidates=5, reasons=False)
    held = Counter({"Animation": 1, "Comedy": 1, "Drama": 1, "Romance": 1})
    listed = Counter(name for line in answer for name in line.item.attributes.get("genre", ()))
    assert len(answer) == 5
    assert max((held + listed).values()) == 2


def test_a_full_history_leaves_out_before_the_model_ranks(recommender: Recommender) -> None:
    reconfigure(recommender, rules=(limit(share=0.1, first=5),))  # of seven none
    answer = recommender.recommend("dan", k=9, n_candidates=9, reasons=False)
    assert [line.item.id for line in answer] == ["f9"]  # of no genre
    (action,) = answer.rules
    assert action.text == f"r left {action.items} out"
    why = recommender.explain("dan", "Heat")
    assert why.left_out[0].rule == "r"


def test_what_the_expression_does_not_hold_of_is_not_counted(recommender: Recommender) -> None:
    reconfigure(recommender, rules=(limit(share=0.1, first=5, when="item.year > 1990"),))
    answer = recommender.recommend("dan", k=9, n_candidates=9, reasons=False)
    assert {"f3", "f4", "f9"} <= {line.item.id for line in answer}
    assert not {"f2", "f6", "f7"} & {line.item.id for line in answer}


def test_a_limit_on_trial_leaves_nothing_out_and_is_counted(recommender: Recommender) -> None:
    reconfigure(recommender, rules=(limit(share=0.1, first=5, trial=True),))
    answer = recommender.recommend("dan", k=9, n_candidates=9, reasons=False)
    assert len(answer) == 9
    assert answer.rules[0].text.startswith("r would have left")


REMARK = {
    "do": "remark",
    "when": 'item.year < 1970 && user.age == "24"',
    "say": {"en": "Made in {item.year}, you are {user.age}"},
}


def test_a_reason_ends_with_the_remarks_about_its_item(recommender: Recommender) -> None:
    reconfigure(recommender, rules=(rule(**REMARK),))
    answer = recommender.recommend("ann", k=9, n_candidates=9)
    old = [line for line in answer if line.item.year and line.item.year < 1970]
    assert old
    for line in answer:
        said = (f"Made in {line.item.year}, you are 24.",) if line in old else ()
        assert line.remarks == said
        assert line.explanation is not None
        assert line.explanation.text.endswith("".join(said))
        assert line.written == line.explanation.text.removesuffix("".join(said)).rstrip()
    (action,) = answer.rules
    assert action.text == f"r remarked on {len(old)}"
    assert action.values == {"item.year": str(old[0].item.year)}, "nothing about the person"


def test_remarks_are_made_without_a_model_or_reasons_and_in_streams(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    reconfigure(recommender, rules=(rule(**REMARK),))
    events = list(recommender.stream("ann", k=9, n_candidates=9))
    streamed = {event.rank: event.explanation.text for event in events if event.explanation}
    assert events[-1].answer is not None
    for line in events[-1].answer:
        assert all(streamed[line.rank].endswith(remark) for remark in line.remarks)
    plain = recommender.recommend("ann", k=9, n_candidates=9, reasons=False)
    assert any(line.remarks for line in plain)
    scripted.fail_in["labels"] = EngineDead("gone")
    assert any(line.remarks for line in recommender.recommend("ann", k=9, n_candidates=9))


def test_a_remark_about_two_items_names_the_others(recommender: Recommender) -> None:
    pair = rule(do="remark", when="item.title == other.title", say={"en": "There is {other} too"})
    reconfigure(recommender, rules=(pair,))
    answer = recommender.recommend("bob", k=9, n_candidates=9, reasons=False)
    remarks = {line.item.id: line.remarks for line in answer if line.remarks}
    assert remarks == {
        "f5": ("There is Cape Fear (1991) too.",),
        "f6": ("There is Cape Fear (1962) too.",),
    }


def test_words_of_a_rule_say_why_something_is_left_out(recommender: Recommender) -> None:
    forbidden = rule(
        do="forbid", when="item.year < 1990", missing="allow", say={"en": "{item} is of {item.year}"}
    )
    reconfigure(recommender, rules=(forbidden,))
    assert recommender.explain("ann", "Fargo").left_out == ()
    (why,) = recommender.explain("bob", "Alien").left_out
    assert why.text == "left out: Alien (1979) is of 1979"


def test_values_are_never_read_as_a_template(recommender: Recommender) -> None:
    trap = Item(id="f12", title="{user.age} {item.__class__}", year=1900)
    reconfigure(recommender, rules=(rule(**REMARK | {"say": {"en": "About {item}"}}),))
    recommender.add_items([trap])
    (line,) = [line for line in recommender.recommend("ann", k=9, n_candidates=11) if line.item.id == "f12"]
    assert line.remarks == ("About {user.age} {item.__class__} (1900).",)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('do = "limit"\nwhen = "true"', "name the attribute"),
        ('do = "limit"\nby = "sector"\nwhen = "true"', "no 'sector'"),
        ('do = "limit"\nby = "genre"\nshare = 1.5\nwhen = "true"', "share"),
        ('do = "limit"\nby = "genre"\nmissing = "allow"\nwhen = "true"', "'limit' has no missing"),
        ('do = "limit"\nby = "genre"\nwhen = "item.year == other.year"', "about one item"),
        ('do = "remark"\nwhen = "true"', "write what it remarks"),
        (
            'do = "remark"\nwhen = "item.year < 1900"\nsay = { en = "{item.prise}" }',
            "say has no '{item.prise}'",
        ),
        ('do = "boost"\nby = "genre"\nwhen = "true"', "'boost' has no by"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(tmp_path: Path, toml: str, problem: str) -> None:
    text = DOMAIN + f'\n[[rules]]\nname = "r"\n{toml}\n'
    with pytest.raises(ConfigError, match=problem):
        RuleBook(load_domain(write_films(tmp_path, toml=text)))


def test_words_change_no_version() -> None:
    assert limit().version == limit(say={"en": "too many"}).version != limit(share=0.5).version


def test_the_remarks_of_a_streamed_answer_are_written_once(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list and the whole answer asked every rule again."""
    calls = list[str]()

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append(name)
            return function(*arguments)

        return call

    for name in ("remarks", "rule_actions"):
        monkeypatch.setattr(response, name, counted(name, getattr(response, name)))
    reconfigure(recommender, rules=(rule(**REMARK),))
    answer = recommender.recommend("ann", k=3)
    assert calls.count("remarks") == len(answer)
    assert calls.count("rule_actions") == 1
