"""The retriever leads until something was shown on the domain itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import Settings, load_domain
from recsys.config.ranking import RankerConfig, Weights
from recsys.engine.adapters import describe_score
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, write_films

UNWEIGHTED = DOMAIN.replace("model_weight = 1.0\nretriever_weight = 0.0\n", "")


@pytest.mark.parametrize(
    ("options", "adapted", "model", "retriever"),
    [
        ({}, False, 0, 1),
        ({}, True, 0.25, 1),
        ({"model_weight": 0.5}, False, 0.5, 1),
        ({"model_weight": 1, "retriever_weight": 0}, False, 1, 0),
        ({"model_weight": 2, "retriever_weight": 3, "weights_need_adapter": True}, True, 2, 3),
        ({"model_weight": 2, "retriever_weight": 3, "weights_need_adapter": True}, False, 0, 1),
        ({"temperature": 2}, True, 0.125, 0.5),
    ],
)
def test_weights_that_nothing_has_fitted_are_the_retrievers(
    options: dict[str, float], adapted: bool, model: float, retriever: float
) -> None:
    config = RankerConfig.model_validate(options)
    assert config.weights(adapted=adapted) == Weights(model=model, retriever=retriever)


def test_weights_of_a_wish_that_were_fitted_with_an_adapter_are_not_used_without() -> None:
    config = RankerConfig(
        model_weight=1,
        weights_need_adapter=True,
        wish_weights=Weights(model=5, retriever=1),
    )
    assert config.weights(wish=True, adapted=True).model == 5
    assert config.weights(wish=True, adapted=False).model == 0


@pytest.mark.parametrize("adapter", [None, "other@0123", "films", "filmsy@0123"])
def test_a_new_domain_is_ordered_by_its_retriever_and_the_answer_says_so(
    tmp_path: Path, settings: Settings, adapter: str | None
) -> None:
    """The untuned model ordered alone: a third of the retriever's quality was lost."""
    domain = load_domain(write_films(tmp_path / "films", toml=UNWEIGHTED))
    with build_recommender(domain, settings, ScriptedEngine(adapter=adapter)) as recommender:
        answer = recommender.recommend("ann", k=5)
    scores = [line.retriever_score or 0.0 for line in answer.recommendations]
    assert scores == sorted(scores, reverse=True)
    assert any("the retriever's order leads" in note for note in answer.notes)


def test_with_an_adapter_of_the_domain_the_model_counts(tmp_path: Path, settings: Settings) -> None:
    domain = load_domain(write_films(tmp_path / "films", toml=UNWEIGHTED))
    with build_recommender(domain, settings, ScriptedEngine(adapter="films@0123abcd")) as recommender:
        answer = recommender.recommend("ann", k=5)
    assert not any("leads" in note for note in answer.notes)


@pytest.mark.parametrize(
    ("name", "adapter", "parts"),
    [
        ("movies", "", "1 x retriever + 0.25 x model"),
        ("movies", "none", "1 x retriever + 0 x model; no adapter of the domain is in use"),
        ("places", "", "1 x retriever + 0 x model; no adapter of the domain is in use"),
    ],
)
def test_domains_and_doctor_tell_the_parts_of_a_score(
    settings: Settings, name: str, adapter: str, parts: str
) -> None:
    assert describe_score(load_domain(name), settings.model_copy(update={"adapter": adapter})) == parts
