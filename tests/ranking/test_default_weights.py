"""The retriever leads until something was shown on the domain itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import Arm, Domain, Settings, load_domain
from recsys.config.ranking import Estimate, FittedScore, KindFit, RankerConfig, RequestKind, Weights
from recsys.engine.adapters import describe_score
from recsys.recommender.experiments import variant
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, write_films

UNWEIGHTED = DOMAIN.replace("model_weight = 1.0\nretriever_weight = 0.0\n", "")
ADAPTED = UNWEIGHTED + "weights_need_adapter = true\n"


def weights(config: RankerConfig, kind: RequestKind = "plain", *, adapted: bool = False) -> Weights:
    by_kind = config.weights("scripted", None, adapted=adapted)
    return by_kind.get(kind, by_kind["plain"])


def fitted(**kinds: Weights) -> FittedScore:
    nothing = Estimate(value=0, low=0, high=0)
    return FittedScore.model_validate(
        {
            "model": "scripted",
            "adapter": None,
            "kinds": {
                kind.replace("_", "-"): KindFit(
                    weights=of_kind, model_weight=nothing, gain=nothing, ndcg=nothing, cases=50, asked=90
                )
                for kind, of_kind in kinds.items()
            },
        }
    )


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
    assert weights(config, adapted=adapted) == Weights(model=model, retriever=retriever)


def test_weights_of_a_wish_that_were_fitted_with_an_adapter_are_not_used_without() -> None:
    config = RankerConfig(
        model_weight=1, weights_need_adapter=True, wish_weights=Weights(model=5, retriever=1)
    )
    assert weights(config, "wish", adapted=True).model == 5
    assert weights(config, "wish", adapted=False).model == 0


def test_fitted_weights_go_before_those_of_the_file_kind_by_kind() -> None:
    score = fitted(plain=Weights(model=0, retriever=2), new_user=Weights(model=3, retriever=1))
    config = RankerConfig(model_weight=1, wish_weights=Weights(model=5, retriever=1), fitted=score)
    assert weights(config) == Weights(model=0, retriever=2)
    assert weights(config, "new-user").model == 3
    assert weights(config, "context") == Weights(model=0, retriever=2), "as plain requests"
    assert weights(config, "wish").model == 5, "as the file says: it was not fitted"
    assert config.weights("another", None, adapted=False)["plain"].model == 1, "fitted with another model"
    assert config.weights("scripted", "films@1", adapted=True)["plain"].model == 1


def test_what_an_arm_of_an_experiment_sets_goes_before_what_was_fitted(tmp_path: Path) -> None:
    domain = plain_shop(tmp_path)
    score = fitted(plain=Weights(model=0, retriever=2))
    domain = domain.model_copy(update={"ranker": domain.ranker.model_copy(update={"fitted": score})})
    arm = Arm(name="model", share=1, ranker=RankerConfig(model_weight=3))
    assert variant(domain, [arm]).weights("scripted", None)["plain"] == Weights(model=3, retriever=1)
    other = Arm(name="other", share=1, ranker=RankerConfig(diversity=0.5))
    assert variant(domain, [other]).weights("scripted", None)["plain"] == Weights(model=0, retriever=2)


def plain_shop(tmp_path: Path, toml: str = UNWEIGHTED) -> Domain:
    return load_domain(write_films(tmp_path / "films", toml=toml))


@pytest.mark.parametrize("adapter", [None, "other@0123", "films", "filmsy@0123"])
def test_a_new_domain_is_ordered_by_its_retriever_and_the_answer_says_so(
    tmp_path: Path, settings: Settings, adapter: str | None
) -> None:
    """The untuned model ordered alone: a third of the retriever's quality was lost."""
    engine = ScriptedEngine(adapter=adapter)
    with build_recommender(plain_shop(tmp_path), settings, engine) as recommender:
        answer = recommender.recommend("ann", k=3)
        retrieved = recommender.retrieve("ann", k=3)
    assert [line.item.id for line in answer] == [line.item.id for line in retrieved]
    assert any("the retriever's order leads" in note and "`recsys fit`" in note for note in answer.notes)
    assert not answer.degraded


def test_a_model_without_weight_is_not_asked_to_rank_and_writes_the_reasons(
    tmp_path: Path, settings: Settings
) -> None:
    engine = ScriptedEngine()
    with build_recommender(plain_shop(tmp_path), settings, engine) as recommender:
        answer = recommender.recommend("ann", k=3)
    assert not engine.of_kind("labels"), "neither the ranking nor the evidence needs it"
    assert engine.of_kind("generate")
    assert (answer.strategy, answer.prompt) == ("retriever", None)
    assert answer.model is not None
    assert any(line.explanation and line.explanation.source == "llm" for line in answer)


def test_a_list_without_reasons_starts_no_engine_where_the_model_has_no_weight(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> ScriptedEngine:
        raise AssertionError("an engine was started")

    monkeypatch.setattr("recsys.recommender.recommender.open_engine", refused)
    with build_recommender(plain_shop(tmp_path), settings, None) as recommender:
        answer = recommender.recommend("ann", k=3, reasons=False)
    assert len(answer) == 3
    assert answer.model is None


def test_what_the_retriever_cannot_tell_apart_is_ordered_by_the_model(
    tmp_path: Path, settings: Settings
) -> None:
    """Of a shop that opens today nothing is known but words."""
    toml = UNWEIGHTED + "[retriever.weights]\npopularity = 1.0\n"
    folder = write_films(tmp_path / "films", toml=toml, events=[])

    def score(text: str, label: str) -> float:
        return float(label == "Yes" and "Alien" in text.rsplit("film", 1)[-1])

    with build_recommender(load_domain(folder), settings, ScriptedEngine(score=score)) as recommender:
        answer = recommender.recommend(liked=["Heat"], k=3, reasons=False)
        unasked = recommender.retrieve(liked=["Heat"], k=3)
    assert unasked[0].item.title != "Alien"
    assert answer[0].item.title == "Alien"
    assert any("the model breaks ties" in note for note in answer.notes)


def test_what_was_fitted_decides_whether_the_model_is_asked(tmp_path: Path, settings: Settings) -> None:
    domain = plain_shop(tmp_path)
    score = fitted(plain=Weights(model=0, retriever=1), wish=Weights(model=1, retriever=0))
    domain = domain.model_copy(update={"ranker": domain.ranker.model_copy(update={"fitted": score})})
    with build_recommender(domain, settings, ScriptedEngine()) as recommender:
        plain = recommender.recommend("ann", k=3, reasons=False)
        wish = recommender.recommend("ann", wish="something slow", k=3, reasons=False)
    assert (plain.strategy, wish.strategy) == ("retriever", "pointwise")
    assert any("added nothing" in note for note in plain.notes)
    assert not any("leads" in note for note in wish.notes)


def test_with_an_adapter_of_the_domain_the_model_counts(tmp_path: Path, settings: Settings) -> None:
    engine = ScriptedEngine(adapter="films@0123abcd")
    with build_recommender(plain_shop(tmp_path), settings, engine) as recommender:
        answer = recommender.recommend("ann", k=5)
    assert answer.strategy == "pointwise"
    assert not any("leads" in note for note in answer.notes)


def test_an_engine_that_fails_leaves_the_list_and_templates(tmp_path: Path, settings: Settings) -> None:
    broken = settings.model_copy(update={"engine": "http://127.0.0.1:9"})
    with build_recommender(plain_shop(tmp_path), broken, None) as recommender:
        answer = recommender.recommend("ann", k=2)
    assert len(answer) == 2
    assert answer.degraded


@pytest.mark.parametrize(
    ("name", "adapter", "parts"),
    [
        ("movies", "", "1 x retriever + 0.25 x model"),
        ("movies", "none", "no adapter fine-tuned on 'movies' is in use"),
        ("places", "", "no adapter fine-tuned on 'places' is in use"),
        ("shop", "", "nothing has shown yet that the model ranks 'shop' better"),
    ],
)
def test_domains_and_doctor_tell_the_parts_of_a_score(
    settings: Settings, name: str, adapter: str, parts: str
) -> None:
    assert parts in describe_score(load_domain(name), settings.model_copy(update={"adapter": adapter}))
