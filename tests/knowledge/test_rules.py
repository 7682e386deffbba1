"""A domain's rules apply to every answer, whatever ranked it, and are named in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.config import Settings, load_domain
from recsys.errors import EngineDead
from recsys.recommender.recommender import Recommender
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, write_films

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
