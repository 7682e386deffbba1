"""Nothing that a rule forbids is in an answer of any surface, and what is allowed is found.

`python -m benchmarks.rule_violations` asks the same of many more cases.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.knowledge.rules import RuleBook
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from tests.fakes import ScriptedEngine
from tests.knowledge.random_rules import KINDS, SURFACES, Served, World, recommender_of, violations

QUICK = [name for name in SURFACES if name not in ("page", "command")]


@pytest.fixture(scope="module", params=["with an engine", "without"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    world = World(random.Random(request.param))
    engine = ScriptedEngine() if request.param == "with an engine" else None
    recommender = recommender_of(world, tmp_path_factory.mktemp("world"), engine)
    app = create_app({"random": recommender}, ServiceOptions())
    with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
        yield Served(world, recommender, client)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False), surface=st.sampled_from(QUICK))
def test_no_answer_breaks_a_rule_or_lacks_what_is_allowed(
    served: Served, rng: random.Random, surface: str
) -> None:
    served.world.rng = rng
    case = served.world.case()
    assert violations(case, served.answer(surface, case), surface) == []


@pytest.mark.parametrize("surface", ["page", "command"])
def test_nor_does_an_answer_of_the_slower_surfaces(served: Served, surface: str) -> None:
    served.world.rng = random.Random(surface)
    for _ in range(6):
        case = served.world.case()
        while surface == "page" and case.company:  # the form has no field for further facts
            case = served.world.case()
        assert violations(case, served.answer(surface, case), surface) == []


def test_second_opinion_tells_a_list_without_rules_apart(served: Served) -> None:
    """The check can fail: a list that ignores the rules is found out."""
    served.world.rng = random.Random(0)
    cases = [served.world.case() for _ in range(40)]
    ignoring = [list(case.items[: case.k]) for case in cases]
    wrong = [case for case, items in zip(cases, ignoring, strict=True) if violations(case, items)]
    ruled = [case for case in cases if any(not case.allowed(item) for item in case.items)]
    assert len(wrong) > len(ruled) / 2 > 5


def test_rules_of_the_random_worlds_are_of_every_kind(served: Served) -> None:
    rules = [rule for _ in range(200) for rule in RuleBook(served.world.case().domain).rules]
    assert {rule.rule.do for rule in rules} == set(KINDS)
    assert {rule.of_pairs for rule in rules} == {rule.fixed for rule in rules} == {True, False}
