"""Ablation finds a planted cause with its sign, within the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from recsys.config.ranking import MODEL_ALONE, Weights
from recsys.explain.ablation import REFERENCE, AblationTable, Ablator
from recsys.explain.item_parts import ItemPart, item_parts
from recsys.explain.item_parts import without as without_part
from recsys.explain.request_parts import Parts, RequestPart, remove_parts, request_parts
from recsys.ranking.pointwise import PointwiseRanker
from recsys.recommender.recommender import Recommender
from recsys.types import Item
from retrieval import Query
from tests.fakes import ScriptedEngine, seen

AT = "2026-11-20T21:00"


def ablator_of(
    recommender: Recommender,
    user: str = "ann",
    wish: str = "",
    weights: Weights = MODEL_ALONE,
    wish_weights: Weights | None = None,
) -> Ablator:
    prepared = recommender.prepare(user, at=AT, wish=wish, n_candidates=8)
    request, query = prepared.request, prepared.query
    ranker = recommender.ranker("pointwise", recommender.engine())
    assert isinstance(ranker, PointwiseRanker)
    parts = dataclasses.replace(
        ranker.parts, weights=weights, kind_weights={"wish": wish_weights} if wish_weights else {}
    )
    ranker = dataclasses.replace(ranker, parts=parts)
    return Ablator.of(query, request, recommender.retriever, ranker.rank(request), ranker)


def without(ablator: Ablator, sets: Iterable[Parts], positions: Sequence[int]) -> AblationTable:
    return ablator.by_model(ablator.start(), dict.fromkeys(sets, positions))


def chosen_parts(ablator: Ablator, budget: int) -> list[RequestPart]:
    singles = [frozenset([part]) for part in request_parts(ablator.query, ablator.request)]
    return ablator.choose_parts(ablator.by_retriever(ablator.start(), singles), [0, 1], budget)


def causal_engine(sign: float, cause: str, title: str) -> ScriptedEngine:
    """Return an engine that prefers an item by `sign` where the prompt has the cause."""

    def score(text: str, label: str) -> float:
        shared, _, about = text.partition("Will this person")
        return sign if label == "Yes" and cause in shared and title in about else 0.0

    return ScriptedEngine(score=score)


def position(ablator: Ablator, title: str) -> int:
    return [item.title for item in ablator.request.items].index(title)


@pytest.mark.parametrize("sign", [2.0, -2.0])
def test_planted_history_item_is_the_strongest_and_its_sign_right(
    recommender: Recommender, scripted: ScriptedEngine, sign: float
) -> None:
    scripted.score = causal_engine(sign, "Alien", "Metropolis").score
    ablator = ablator_of(recommender)
    metropolis = position(ablator, "Metropolis")
    parts = request_parts(ablator.query, ablator.request)
    table = without(ablator, [frozenset([part]) for part in parts], [metropolis])
    effects = {part: float(table.effect(part)[metropolis]) for part in parts}
    assert max(effects, key=lambda part: abs(effects[part])) == RequestPart("history", "f3")
    assert np.sign(effects[RequestPart("history", "f3")]) == np.sign(sign)
    assert all(abs(value) < table.noise for part, value in effects.items() if part.name != "f3")


def test_rank_without_the_cause_is_lower(recommender: Recommender, scripted: ScriptedEngine) -> None:
    scripted.score = causal_engine(2.0, "Alien", "Metropolis").score
    ablator = ablator_of(recommender)
    metropolis, cause = position(ablator, "Metropolis"), RequestPart("history", "f3")
    table = without(ablator, [frozenset([cause])], [metropolis])
    assert table.rank(metropolis) == 1
    assert table.rank(metropolis, cause) == metropolis + 1  # all scores equal: the retriever's order
    assert table.probability()[metropolis] > table.probability(cause)[metropolis]


def test_a_part_that_lifts_all_items_alike_has_no_effect(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.score = lambda text, label: 3.0 if label == "Yes" and "Friday" in text else 0.0
    ablator = ablator_of(recommender)
    table = without(ablator, [frozenset([RequestPart("time")])], [0, 1])
    assert np.abs(table.effect(RequestPart("time"))).max() < 1e-9


def test_a_part_that_lifts_only_the_explained_items_has_an_effect(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    """Relative to each other they do not move: only reference items show it."""
    titles = ("Metropolis", "Fargo")
    scripted.score = lambda text, label: (
        2.0
        if label == "Yes"
        and "Friday" in text
        and any(t in text.partition("Will this person")[2] for t in titles)
        else 0.0
    )
    ablator = ablator_of(recommender)
    top = [position(ablator, title) for title in titles]
    table = without(ablator, [frozenset([RequestPart("time")])], top)
    assert (table.effect(RequestPart("time"))[top] > table.noise).all()


def test_without_its_wish_a_request_has_the_weights_of_one_without_a_wish(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    """The wish's effect on an item is the difference to the score without it."""
    ablator = ablator_of(
        recommender,
        wish="something old",
        weights=Weights(model=0.25, retriever=1),
        wish_weights=Weights(model=3, retriever=0.5),
    )
    assert ablator.start().noise == pytest.approx(0.3)
    wish, request = RequestPart("wish"), ablator.request
    table = without(ablator, [frozenset([wish])], range(len(request.candidates)))

    query, wishless = remove_parts(ablator.query, request, [wish])
    rescored = recommender.retriever.rescore(query, [item.id for item in request.items])
    wishless = dataclasses.replace(wishless, candidates=tuple(rescored))
    assert ablator.ranker is not None
    served, other = (np.log(ablator.ranker.rank(r).scores) for r in (request, wishless))
    assert np.abs(served - other).max() > 0.1
    assert table.effect(wish) == pytest.approx(served - other, abs=1e-5)


def test_items_that_only_the_wish_retrieves_are_retrieval_dependent(recommender: Recommender) -> None:
    ablator = ablator_of(recommender, wish="something old")
    assert len(ablator.request.candidates) > 1
    assert (
        ablator.retrieval_dependent(RequestPart("wish")) == frozenset()
    )  # the small catalogue is retrieved whole

    single = dataclasses.replace(ablator.request, candidates=ablator.request.candidates[:1])
    query, _ = remove_parts(ablator.query, single, [RequestPart("wish")])
    [first] = recommender.retriever.retrieve(query, 1)
    for candidate in ablator.request.candidates:
        alone = dataclasses.replace(single, candidates=(candidate,))
        dependent = Ablator.of(ablator.query, alone, recommender.retriever).retrieval_dependent(
            RequestPart("wish")
        )
        assert dependent == (frozenset() if candidate.item.id == first.item.id else {0})


def test_same_request_gives_the_same_effects(recommender: Recommender) -> None:
    def effects() -> list[list[float]]:
        ablator = ablator_of(recommender, weights=Weights(model=1, retriever=1))
        chosen = chosen_parts(ablator, 5)
        table = without(ablator, [frozenset([part]) for part in chosen], [0, 1])
        return [table.effect(part).tolist() for part in chosen]

    assert effects() == effects()


@pytest.mark.parametrize("budget", [0, 1, 3, 6])
def test_budget_is_kept(recommender: Recommender, scripted: ScriptedEngine, budget: int) -> None:
    ablator = ablator_of(recommender)
    before = len(scripted.prompts)
    chosen = chosen_parts(ablator, budget)
    without(ablator, [frozenset([part]) for part in chosen], [0, 1])
    assert len(chosen) <= budget
    assert len(scripted.prompts) - before <= budget * (2 + REFERENCE)
    assert sum(part.kind == "history" for part in chosen) >= min(4, budget // 2)


def test_without_the_model_the_retriever_alone_is_measured(recommender: Recommender) -> None:
    whole = ablator_of(recommender)
    ablator = Ablator.of(whole.query, whole.request, recommender.retriever)
    everything = [part for part in request_parts(whole.query, whole.request) if part.kind == "history"]
    table = without(ablator, [frozenset(everything)], [0])
    assert np.abs(table.effect(*everything)).max() > table.noise
    assert table.usage.prompt_tokens == 0


def test_rescoring_the_same_query_gives_the_retrieved_scores(recommender: Recommender) -> None:
    ablator = ablator_of(recommender)
    served = [candidate.score for candidate in ablator.request.candidates]
    ids = [candidate.item.id for candidate in ablator.request.candidates]
    rescored = recommender.retriever.rescore(ablator.query, ids)
    assert [candidate.score for candidate in rescored] == pytest.approx(served, abs=1e-5)


def test_history_left_out_of_the_prompt_stays_out_of_every_ablation(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    """A trimmed oldest entry must not come back when another one is removed."""
    request = recommender.prepare("ann", at=AT, n_candidates=8).request
    oldest = recommender.catalog.by_id(request.candidates[-1].item.id)
    past = (*seen(oldest), *request.history, *request.history)
    request = dataclasses.replace(request, candidates=request.candidates[:-1], history=past)
    scripted.score = lambda text, label: 3.0 if label == "Yes" and oldest.title in text else 0.0
    ranker = recommender.ranker("pointwise", recommender.engine())
    assert isinstance(ranker, PointwiseRanker)
    ranking = ranker.rank(request)
    cut = dataclasses.replace(ranking, prompt=dataclasses.replace(ranking.prompt, dropped=1))
    query = Query(past, exclude=frozenset(entry.item.id for entry in past), context=request.context)
    ablator = Ablator.of(query, request, recommender.retriever, cut, ranker)
    del scripted.calls[:]
    without(ablator, [frozenset([part]) for part in request_parts(query, request)], [0])
    assert scripted.prompts
    assert not any(oldest.title in prompt for prompt in scripted.prompts)


def test_a_part_of_an_item_moves_that_item_alone(recommender: Recommender, scripted: ScriptedEngine) -> None:
    """The model likes what is told of Metropolis in brackets; without it the item falls."""
    scripted.score = lambda text, label: (
        2.0 if label == "Yes" and "Metropolis (1927) [" in text.partition("Will this person")[2] else 0.0
    )
    ablator = ablator_of(recommender)
    metropolis = position(ablator, "Metropolis")
    parts = item_parts(ablator.request.shown_items[metropolis])
    table = ablator.items_by_model(ablator.start(), {metropolis: parts})
    assert parts == [ItemPart(attribute="genre")]
    assert table.item_effects(metropolis)[parts[0]] > 1.0
    assert table.item_effects(0 if metropolis else 1) == {}


def test_sentences_of_a_description_are_left_out_one_by_one() -> None:
    text = "Prices rose 1.5 pct in the U.S. market. Traders were surprised.  Nobody knows why"
    story = Item(id="1", title="Prices", description=text)
    first, second = item_parts(story)
    assert first.sentence == "Prices rose 1.5 pct in the U.S. market"
    assert without_part(story, second).description == f"{first.sentence}. Nobody knows why"
