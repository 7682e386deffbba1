"""One item at a time: what the served systems say of being liked, without a model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Privacy
from recsys.config.retrieval import RetrieverConfig
from recsys.data.splits import Split, leave_one_out
from recsys.evaluation.protocol import tasks
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.runner import RunOptions, evaluate
from recsys.evaluation.systems import recommenders
from recsys.types import Candidate, User
from retrieval import HybridRetriever, Query, build_retriever
from tests.evaluation.world import data_of, domain, world
from tests.fakes import ScriptedEngine
from tests.retrieval.contract import HashEmbedder

WHOLE = leave_one_out(world(), last=2)
RATED = tasks.rated(WHOLE, domain().feedback)[0]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScriptedEngine:
    """A scripted engine, and channels fitted with made-up vectors, where systems ask for theirs."""

    def fit_on_train(data: EvaluationData, names: tuple[str, ...] | None) -> HybridRetriever:
        weights = None if names is None else dict.fromkeys(names, 1.0)
        config = RetrieverConfig()
        return build_retriever(
            data.items, data.log, HashEmbedder(), config, tmp_path / "fitted", weights=weights
        )[0]

    engine = ScriptedEngine(score=lambda text, label: 1.5 if label == "Yes" else 0.0)
    monkeypatch.setattr(recommenders, "fit_on_train", fit_on_train)
    monkeypatch.setattr(recommenders, "open_engine", lambda settings, **options: engine)
    return engine


def data_with(split: Split, **ranker: Any) -> EvaluationData:
    """Data whose domain has these ranker settings."""
    data = data_of(split)
    changed = data.domain.model_copy(update={"ranker": data.domain.ranker.model_copy(update=ranker)})
    return dataclasses.replace(data, domain=changed)


def test_the_model_is_shown_of_a_person_what_it_is_when_served(engine: ScriptedEngine) -> None:
    """Profiles and facts used to be shown as they are stored, masked only when served."""
    data = data_of(WHOLE)
    case = WHOLE.cases[0]
    facts = {"with": "Zoe and Kim, mail kim@example.com"}
    case = dataclasses.replace(case, target=case.target.model_copy(update={"context": facts}))
    told = {"name": "Zoe Quist", "about": "call Zoe at zoe@example.com", "age": "24"}
    data = dataclasses.replace(
        data,
        domain=data.domain.model_copy(update={"privacy": Privacy(names=("Kim",))}),
        users={case.user_id: User(id=case.user_id, profile=told)},
        has_event_contexts=True,
    )
    request = recommenders.llm(data).request(case, [Candidate(item=data.items[0], score=1.0, source="text")])
    assert request.profile == {"about": "call [name] at [mail]", "age": "24"}
    assert request.context.extra == {"with": "[name] and [name], mail [mail]"}


def scores(system: Any, data: EvaluationData) -> list[float]:
    return [system.rank(case, 10).scores[0] for case in data.split.cases]


def test_the_model_says_how_likely_the_one_item_is_liked(engine: ScriptedEngine) -> None:
    data = data_of(RATED)
    system = recommenders.llm(data)
    assert system.probabilities
    assert scores(system, data) == pytest.approx([1 / (1 + math.exp(-1.5))] * len(RATED.cases))


def test_a_list_of_one_that_the_retriever_chose_keeps_its_share_of_the_list(engine: ScriptedEngine) -> None:
    assert recommenders.llm(data_with(WHOLE, n_candidates=1)).rank(WHOLE.cases[0], 10).scores[:2] == (
        1.0,
        0.0,
    )


@pytest.mark.parametrize("strategy", ["listwise", "generated"])
def test_a_strategy_that_compares_items_claims_no_probability_of_one(
    engine: ScriptedEngine, strategy: str
) -> None:
    assert not recommenders.llm(data_with(RATED, strategy=strategy)).probabilities


def test_the_fused_score_of_one_item_is_its_score_among_all(engine: ScriptedEngine) -> None:
    data = data_of(RATED)
    system = recommenders.hybrid(data)
    assert not system.probabilities
    results = scores(system, data)
    assert len(set(results)) > len(results) // 2
    for case, score in zip(RATED.cases, results, strict=True):
        entries = data.catalog.entries(case.history, data.domain.feedback)
        query = Query(entries, exclude=frozenset(entry.item.id for entry in entries))
        among_all = system.retriever.retrieve(query, len(data.items))
        assert score == next(one.score for one in among_all if one.item.id == case.target.item_id)


def test_of_lists_the_fused_scores_stay_probabilities(engine: ScriptedEngine) -> None:
    split = tasks.sampled(WHOLE, [item.id for item in data_of().items], 9)[0]
    system = recommenders.hybrid(data_of(split))
    assert system.probabilities
    assert math.fsum(system.rank(split.cases[0], 10).scores) == pytest.approx(1)


def test_rated_pairs_judge_the_model_by_brier_and_the_retriever_by_order(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    result = evaluate(
        data_of(RATED),
        ["llm", "hybrid", "linear"],
        tmp_path / "out",
        RunOptions(tasks.RATED, baselines=False),
    )
    assert result["failed"] == {}
    results = {name: set(system["metrics"]) for name, system in result["systems"].items()}
    assert results == {"llm": {"auc", "brier"}, "hybrid": {"auc"}, "linear": {"auc"}}
    assert result["systems"]["hybrid"]["calibration"] is None
