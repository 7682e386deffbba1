"""A domain's rules act on what is answered, by whatever it was ranked, and are named there."""

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
do = "hide"
where = { genre = ["Comedy"] }
[[rules]]
name = "our own"
do = "pin"
items = ["f11"]
"""


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def ruled(tmp_path: Path, settings: Settings, scripted: ScriptedEngine) -> Iterator[Recommender]:
    domain = load_domain(write_films(tmp_path / "ruled", toml=DOMAIN + RULES))
    with build_recommender(domain, settings, scripted) as recommender:
        yield recommender


def check(recommender: Recommender) -> None:
    answer = recommender.recommend("ann", k=8, n_candidates=8)
    assert answer[0].item.id == "f11"
    assert [line.rules for line in answer] == [("our own",)] + [()] * (len(answer) - 1)
    assert not [line.item.id for line in answer if "Comedy" in line.item.attributes.get("genre", ())]
    assert [line.rank for line in answer] == list(range(1, len(answer) + 1))


def test_rules_hold_for_what_the_model_ranked(ruled: Recommender) -> None:
    check(ruled)


def test_rules_hold_when_the_engine_is_gone(ruled: Recommender, scripted: ScriptedEngine) -> None:
    scripted.fail_in["labels"] = EngineDead("gone")
    check(ruled)


def test_why_names_the_rule_that_hides_an_item(ruled: Recommender) -> None:
    why = ruled.explain("ann", "f1")
    assert why.item.rules == ("no comedies",)
    assert why.item.rank == why.candidates
