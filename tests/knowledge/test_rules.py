"""A domain's rules apply to every answer, whatever ranked it, and are named in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Domain, Rule, Scenario, Settings, list_domains, load_domain
from recsys.errors import ConfigError, EngineDead, RequestError
from recsys.knowledge.examples import check_examples
from recsys.knowledge.rules import RuleBook
from recsys.recommender.experiments import Scenarios
from recsys.recommender.recommender import Recommender
from recsys.types import Filter, Recommendations
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, reconfigure, write_films

RULES = """
[[rules]]
name = "no comedies"
do = "forbid"
when = '"Comedy" in item.genre'
missing = "allow"
[[rules]]
name = "our own"
do = "pin"
when = 'item.id == "f11"'
"""


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def recommender_with_rules(
    tmp_path: Path, settings: Settings, scripted: ScriptedEngine
) -> Iterator[Recommender]:
    domain = load_domain(write_films(tmp_path / "ruled", toml=DOMAIN + RULES))
    with build_recommender(domain, settings, scripted) as recommender:
        yield recommender


def check(recommender: Recommender) -> None:
    answer = recommender.recommend("ann", k=8, n_candidates=8)
    assert answer[0].item.id == "f11"
    assert [line.rules for line in answer] == [("our own",)] + [()] * (len(answer) - 1)
    assert not [line.item.id for line in answer if "Comedy" in line.item.attributes.get("genre", ())]
    assert [line.rank for line in answer] == list(range(1, len(answer) + 1))


def test_rules_apply_to_the_models_ranking(recommender_with_rules: Recommender) -> None:
    check(recommender_with_rules)


def test_rules_apply_without_the_engine(
    recommender_with_rules: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.fail_in["labels"] = EngineDead("gone")
    check(recommender_with_rules)


def test_explanation_names_the_rule_that_leaves_an_item_out(recommender_with_rules: Recommender) -> None:
    why = recommender_with_rules.explain("ann", "f1")
    (left_out,) = why.left_out
    assert left_out.text == "left out: rule no comedies (item.genre = Animation, Comedy)"
    assert why.item.rank == why.candidates


def forbidding(*texts: str, **options: Any) -> tuple[Rule, ...]:
    """Rules r0, r1 ... that let through what they cannot decide."""
    common = {"do": "forbid", "missing": "allow"} | options
    return tuple(
        Rule.model_validate({"name": f"r{number}", "when": text} | common)
        for number, text in enumerate(texts)
    )


def answer(recommender: Recommender, *rules: Rule, user: str = "dan", **options: Any) -> Recommendations:
    reconfigure(recommender, rules=rules)
    return recommender.recommend(user, k=9, n_candidates=9, reasons=False, **options)


def ids(found: Recommendations) -> set[str]:
    return {line.item.id for line in found}


def test_a_rule_on_trial_is_counted_and_one_that_has_ended_does_nothing(recommender: Recommender) -> None:
    (trial,) = forbidding('item.title == "Heat"', trial=True)
    (ended,) = forbidding('item.title == "Fargo"', until=dt.date(2020, 1, 1))
    found = answer(recommender, trial, ended.model_copy(update={"name": "ended"}))
    assert {"f2", "f7"} <= ids(found)
    (action,) = found.rules
    assert (action.rule, action.trial, action.items) == ("r0", True, 1)
    assert action.text == "r0 would have left 1 out, and is on trial"


def test_a_missing_value_is_decided_by_the_rule(recommender: Recommender) -> None:
    assert "f9" in ids(answer(recommender, *forbidding("item.year < 1900")))  # of no year
    assert "f9" not in ids(answer(recommender, *forbidding("item.year < 1900", missing="forbid")))


def test_what_is_left_out_makes_room_for_what_is_allowed(recommender: Recommender) -> None:
    reconfigure(recommender, rules=forbidding("item.year >= 1960"))
    found = recommender.recommend("ann", k=3, n_candidates=3, reasons=False)
    assert ids(found) == {"f8", "f9", "f11"} or ids(found) <= {"f8", "f9", "f11", "f12"}
    assert len(found) == 3


def test_rules_read_the_person_the_moment_and_the_history(recommender: Recommender) -> None:
    unseen = ids(answer(recommender, user="bob"))
    assert not ids(answer(recommender, *forbidding('user.age == "53"'), user="bob"))
    assert ids(answer(recommender, *forbidding('user.age == "24"'), user="bob")) == unseen
    evening = forbidding("context.hour >= 20 && item.year == 1995")
    assert ids(answer(recommender, *evening, user="new", at="2026-03-06 21:00")).isdisjoint({"f1", "f2"})
    assert {"f1", "f2"} <= ids(answer(recommender, *evening, user="new", at="2026-03-06 12:00"))
    assert {"f1", "f2"} <= ids(answer(recommender, *evening, user="new"))
    assert not ids(answer(recommender, *forbidding('"f7" in history'), user="bob"))


def test_pairs_are_kept_apart_and_the_list_is_filled(recommender: Recommender) -> None:
    reconfigure(recommender, rules=forbidding('"Crime" in item.genre && "Crime" in other.genre'))
    found = recommender.recommend("new", k=5, n_candidates=5, reasons=False)
    assert len(found) == 5
    assert len(ids(found) & {"f2", "f6", "f7"}) <= 1
    crime = Filter(where={"genre": ("Crime",)})
    found = recommender.recommend("new", k=3, n_candidates=3, reasons=False, rule=crime)
    assert [(action.rule, action.items) for action in found.rules] == [("r0", 2)]
    assert len(found) == 1


def test_explanation_says_why_an_item_that_was_no_candidate_is_not_there(recommender: Recommender) -> None:
    reconfigure(recommender, rules=forbidding('item.times_chosen > 0 && user.age == "24"'))
    why = recommender.explain("ann", "Heat", instead_of="Toy Story", n_candidates=2)
    (left_out,) = why.left_out
    assert left_out.item == "f2"
    assert left_out.text == "left out: rule r0 (item.times_chosen = 1, user.age = 24)"
    assert "Heat (1995) is left out by the rule 'r0': scored beside the candidates" in why.notes


def test_an_arm_of_an_experiment_has_rules_of_its_own(recommender: Recommender) -> None:
    rules = forbidding('item.title == "Heat"')
    arms = [{"name": "as-is", "share": 1}, {"name": "no-heat", "share": 1, "rules": rules}]
    reconfigure(recommender, scenarios={"heat": Scenario.model_validate({"arms": arms})})
    scenarios = Scenarios(recommender)
    lists: dict[str, list[set[str]]] = {"as-is": [], "no-heat": []}
    for user in (f"u{number}" for number in range(20)):
        found = scenarios.serving(user).recommend(None, k=9, n_candidates=9, reasons=False)
        lists[found.arms["heat"]].append(ids(found))
    assert all("f2" in found for found in lists["as-is"])
    assert not any("f2" in found for found in lists["no-heat"])
    assert all(lists.values())


def test_a_wrong_rule_is_an_error_with_its_place_in_the_file(tmp_path: Path) -> None:
    folder = write_films(tmp_path / "wrong", toml=DOMAIN + RULES.replace("item.id ==", "item.idd =="))
    line = (folder / "domain.toml").read_text(encoding="utf-8").split("item.idd")[0].count("\n") + 1
    with pytest.raises(ConfigError) as caught:
        RuleBook(load_domain(folder))
    place = f"{folder / 'domain.toml'}, line {line}, column 9: rule 'our own': there is no 'item.idd'"
    assert caught.value.message == place
    assert "item.id" in caught.value.hint


@pytest.mark.parametrize("text", ["item.yaer < 2", "other.year < 2", "item.year < 2 &&", "x" * 3000])
def test_a_wrong_filter_is_an_error_of_the_request(recommender: Recommender, text: str) -> None:
    with pytest.raises(RequestError):
        recommender.recommend("ann", rule=Filter(expressions=(text,)))


def test_examples_are_asked_in_both_orders_and_may_be_wrong(films: Domain) -> None:
    item, other = {"year": 1990, "genre": ["War"]}, {"year": 1950}
    examples = {"forbids": [{"item": other, "other": item}], "allows": [{"item": item, "other": item}]}
    (rule,) = forbidding("item.year < other.year", **examples)
    right = check_examples(RuleBook(films.model_copy(update={"rules": (rule,)})))
    assert [example.right for example in right] == [True, True]
    (rule,) = forbidding("item.year < 1960", allows=[{"item": other}], forbids=[{"item": {"title": "X"}}])
    wrong = check_examples(RuleBook(films.model_copy(update={"rules": (rule,)})))
    assert [(example.right, example.holds) for example in wrong] == [(False, True), (False, None)]


@pytest.mark.parametrize("name", list_domains())
def test_rules_of_the_shipped_domains_hold_their_examples(name: str) -> None:
    assert [example for example in check_examples(RuleBook(load_domain(name))) if not example.right] == []
