"""Every score is a probability, and falls with the rank, with an engine and without."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.config import Settings, load_domain
from recsys.errors import EngineError
from recsys.types import Filter, Recommendation
from tests.fakes import ScriptedEngine, build_recommender, write_films

GENRES = ("Comedy", "Crime", "Sci-Fi", "Noir", "Weird")
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
catalogs = st.lists(
    st.tuples(names, st.lists(st.sampled_from(GENRES), max_size=3, unique=True)), min_size=2, max_size=15
)
events = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 14), st.integers(1, 5)), min_size=1, max_size=25
)
wishes = st.sampled_from(["", "a comedy", "no crime", "something strange", "1990s noir"])


def require_probabilities(answer: Iterable[Recommendation]) -> None:
    scores = [recommendation.score for recommendation in answer]
    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) <= 1 + 1e-9
    assert all(first >= second for first, second in itertools.pairwise(scores))


@pytest.mark.parametrize("works", [True, False])
@hypothesis_settings(
    max_examples=10, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(catalog=catalogs, rated=events, wish=wishes, filtered=st.booleans())
def test_scores_are_probabilities_that_fall_with_the_rank(
    works: bool,
    catalog: list[tuple[str, list[str]]],
    rated: list[tuple[str, int, int]],
    wish: str,
    filtered: bool,
) -> None:
    items = [
        (f"i{n}", title.strip() or "x", "1990", "|".join(genres), "")
        for n, (title, genres) in enumerate(catalog)
    ]
    genres = [genre for _, of in catalog for genre in of]
    rule = Filter(where={"genre": (genres[0],)}) if filtered and genres else Filter()
    interactions = {
        (user, f"i{item % len(items)}"): (user, f"i{item % len(items)}", str(rating), str(n))
        for n, (user, item, rating) in enumerate(rated)
    }
    users = [(user, "30", "") for user in "abc"]
    engine = ScriptedEngine(fail_in={} if works else {"labels": EngineError("no engine")})
    with TemporaryDirectory() as name:
        folder = Path(name)
        domain = load_domain(write_films(folder / "films", items, users, list(interactions.values())))
        options = Settings(cache_dir=folder / "cache", data_dir=folder / "data")
        with build_recommender(domain, options, engine) as recommender:
            for user in ("a", None):
                answer = recommender.recommend(
                    user, k=1, n_candidates=12, wish=wish, rule=rule, reasons=False
                )
                require_probabilities(answer)
                whole = recommender.recommend(
                    user, k=12, n_candidates=12, wish=wish, rule=rule, reasons=False
                )
                require_probabilities(whole)
                if len(whole.recommendations) > 1 and not works:
                    assert sum(line.score for line in whole.recommendations) == pytest.approx(1)
                similar = recommender.similar("i0", user, k=12, n_candidates=12, wish=wish, rule=rule)
                require_probabilities(similar)
                if similar:
                    assert sum(line.score for line in similar) == pytest.approx(1)
