"""Reasons with MovieLens data that cite a sequel and a director, and what the judge says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts
from recsys.explain.writer import phrases_of
from recsys.recommender.recommender import Recommender
from recsys.types import Context
from tests.fakes import ScriptedEngine

PHRASES = [
    ("Aliens", "Alien", "en", "is a sequel of Alien, which you liked"),
    ("Aliens", "Alien", "zh", "是您喜欢的「Alien」的续集"),
    ("Alien", "Aliens", "en", "is continued by Aliens, which you liked"),
    ("Return of the Jedi", "Star Wars", "en", "is a sequel of Star Wars, which you liked"),
    ("Blade Runner", "Alien", "en", "comes from Ridley Scott, the director of Alien, which you liked"),
    ("Blade Runner", "Alien", "zh", "与您喜欢的「Alien」一样由Ridley Scott执导"),
]


@pytest.fixture(scope="module")
def movies(movies_data: Path) -> Iterator[Recommender]:
    with Recommender.load("movies", data_dir=movies_data, engine=ScriptedEngine()) as movies:
        yield movies


@pytest.mark.parametrize(("item", "liked", "language", "phrase"), PHRASES)
def test_a_reason_names_the_relation_to_what_was_liked_and_is_true(
    movies: Recommender, item: str, liked: str, language: str, phrase: str
) -> None:
    reason = movies.explain(None, item, liked=[liked], language=language).item.explanation
    assert reason is not None
    assert phrase in reason.text
    (cited,) = [evidence for evidence in reason.evidence if evidence.kind == "relation"]
    assert cited.contribution is not None
    assert cited.contribution > 0
    about, past = movies.catalog.find(item), movies.catalog.find(liked)
    assert cited.item_id == past.id
    truth = GroundTruth(movies.catalog, (), relations=movies.retriever.state.relations)
    reasons = movies.domain.reasons.model_copy(update={"language": language})
    judge = Judge(truth, phrases_of(movies.domain.model_copy(update={"reasons": reasons}), movies.prompts))
    facts = ReasonFacts(about, {past.id: True}, Context())
    assert judge.is_valid(cited, facts)
    statements = judge.statements(reason.text, facts)
    assert ("relation", True) in [(statement.kind, statement.true) for statement in statements]
    assert all(statement.true for statement in statements), statements


def test_of_a_disliked_film_no_relation_is_cited(movies: Recommender) -> None:
    why = movies.explain(None, "Aliens", disliked=["Alien"], liked=["Fargo"])
    assert why.item.explanation is not None
    assert {evidence.kind for evidence in why.item.explanation.evidence}.isdisjoint({"relation"})
