"""`recsys fit` asks the model about held-out events, as requests are served."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from recsys.config import Domain, Settings, load_domain
from recsys.config.retrieval import FittedWeights
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.engine.adapters import describe_score
from recsys.errors import EngineError
from recsys.evaluation import score_cases
from recsys.evaluation.score_cases import fit_score
from recsys.recommender.recommender import Recommender
from recsys.types import Place
from retrieval.fit import fit_domain
from tests.fakes import ScriptedEngine, write_films
from tests.retrieval.contract import HashEmbedder

TOML = """
name = "films"
noun = "film"
plural = "films"
[items]
file = "items.csv"
id = "id"
title = "title"
year = "year"
description = "plot"
[items.attributes]
genre = { column = "genres", separator = "|" }
[users]
file = "users.csv"
id = "id"
[interactions]
file = "events.csv"
user = "user"
item = "item"
timestamp = "time"
[ranker]
n_candidates = 6
[retriever.weights]
popularity = 1.0
text = 0.1
"""
GENRES = ("Comedy", "Drama", "Crime", "Horror")


@pytest.fixture
def films(tmp_path: Path) -> Domain:
    """Each person watches films of one genre, which a retriever of popularity does not see."""
    items = [(f"i{n}", f"Film {n}", "1990", GENRES[n % 4], "") for n in range(40)]
    draw, events, users = random.Random(0), [], []
    for user in range(80):
        users.append((f"u{user}", "30", ""))
        films = range(user % 4, 40, 4)
        own = sorted(films, key=lambda film: draw.random() ** (1 + film / 5), reverse=True)[:7]
        draw.shuffle(own)
        events += [(f"u{user}", f"i{item}", "5", str(10 * user + step)) for step, item in enumerate(own)]
    return load_domain(write_films(tmp_path / "films", items, users, events, TOML))


def taste(text: str, label: str) -> float:
    """A model that says Yes where most of the history is of the candidate's genre."""
    *history, candidate = re.findall("|".join(GENRES), text) or [""]
    likes = history.count(candidate) > len(history) / 2
    return 3.0 if (label == "Yes") == likes else -3.0


def fit(
    films: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: ScriptedEngine
) -> tuple[Settings, FittedWeights]:
    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", model="scripted")
    monkeypatch.setattr(score_cases, "open_engine", lambda *_, **__: engine)
    monkeypatch.setattr(score_cases, "MAX_CASES", 45)
    with Store(settings.database_url) as store:
        import_domain(films, store, resolve_place=lambda text: Place(city=text))
        fitted = fit_domain(
            films,
            store,
            settings,
            HashEmbedder(),
            channels=("popularity", "text"),
            fit_score=lambda retriever, requests: fit_score(films, retriever, requests, settings, seconds=60),
        )
    return settings, fitted


def test_a_model_that_reads_genres_gets_weight_where_it_helps(
    films: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, fitted = fit(films, tmp_path, monkeypatch, ScriptedEngine(score=taste))
    assert fitted.score is not None
    plain = fitted.score.kinds["plain"]
    assert plain.weights.model > 0
    assert plain.ndcg.low > 0
    assert {"plain", "new-items", "new-user"} <= set(fitted.score.kinds)
    assert FittedWeights.saved_in(settings.retriever_folder("films")) == fitted
    assert "x model" in describe_score(films, settings)
    monkeypatch.setattr("recsys.recommender.recommender.open_engine", lambda *_, **__: ScriptedEngine())
    monkeypatch.setattr("recsys.recommender.recommender.SentenceEmbedder", lambda *_: HashEmbedder())
    with Recommender.load(films.folder, settings=settings) as recommender:
        answer = recommender.recommend("u1", k=3, reasons=False)
    assert answer.strategy == "pointwise"


def test_a_model_that_answers_at_random_gets_none(
    films: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, fitted = fit(films, tmp_path, monkeypatch, ScriptedEngine())
    assert fitted.score is not None
    assert {fit.weights.model for fit in fitted.score.kinds.values()} == {0}
    assert "added nothing" in describe_score(films, settings)


def test_without_an_engine_the_channels_are_fitted_and_a_note_says_so(
    films: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> ScriptedEngine:
        raise EngineError("no vLLM here")

    settings = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    monkeypatch.setattr(score_cases, "open_engine", broken)
    score, why = fit_score(films, None, [], settings, seconds=1)  # type: ignore[arg-type]
    assert score is None
    assert why == "the score was not fitted: no vLLM here"
