"""Odd lists and odd texts through every way to rank: nothing is lost, nothing fails, nothing gives orders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest

from recsys.evaluation.robustness.attack_corpus import corpus
from recsys.prompting.library import PromptLibrary
from recsys.ranking import STRATEGIES, Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.types import Context, HistoryEntry, Item
from tests.fakes import ScriptedEngine, candidate, film, seen

EMOJI = ("🎬", "🍿🍿🍿", "👩‍👩‍👧", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "🎬🎬", "🫠")
SCRIPTS = (
    "天空の城ラピュタ",
    "기생충",
    "Левиафан",
    "Ταξίδι",
    "الرسالة",
    "זוהי סדום",
    "लगान",
    "สุริโยไท",
    "Nguyễn",
    "Зеркaло 天 Heat",
)
BLANK = ("", " ", "\u200b\u200d\ufeff", "\u3164", "\n\n", "\x00", "\U000e0041")


def request(
    titles: Sequence[str], scores: Sequence[float] | None = None, history: Sequence[HistoryEntry] = ()
) -> RankRequest:
    scores = scores or [1.0 - number / 2000 for number in range(len(titles))]
    items = [Item(id=f"c{number}", title=title) for number, title in enumerate(titles)]
    candidates = tuple(candidate(item, score) for item, score in zip(items, scores, strict=True))
    past = tuple(history or seen(film("1", "Fargo"), film("2", "Alien")))
    return RankRequest(candidates, past, Context(), {"occupation": "baker"})


def ranker(strategy: str, engine: ScriptedEngine | None = None) -> Ranker:
    parts = RankerParts(
        engine or ScriptedEngine(max_model_len=40_000), PromptLibrary(), "film", "films", 20_000
    )
    return make_ranker(strategy, parts)


def whole(ranking: Ranking, n: int) -> bool:
    """Every candidate has a place and a share."""
    return (
        sorted(ranking.order()) == list(range(n))
        and math.isclose(math.fsum(ranking.scores), 1, abs_tol=1e-9)
        and all(math.isfinite(score) and score >= 0 for score in ranking.scores)
    )


every = pytest.mark.parametrize("strategy", list(STRATEGIES))


@every
@pytest.mark.parametrize("n", [1, 2, 19, 20, 21, 26, 27, 53, 100])
def test_lists_of_any_length_are_ranked_to_the_last(strategy: str, n: int) -> None:
    asked = request([f"Film {number}" for number in range(n)])
    assert whole(ranker(strategy).rank(asked), n)
    assert ranker(strategy).rank(asked).scores == ranker(strategy).rank(asked).scores


@every
def test_a_thousand_candidates_are_ranked(strategy: str) -> None:
    asked = request([f"Film {number}" for number in range(1000)])
    assert whole(ranker(strategy).rank(asked), 1000)


@every
@pytest.mark.parametrize("titles", [EMOJI, SCRIPTS, BLANK], ids=["emoji", "scripts", "blank"])
def test_titles_of_no_latin_letter_are_ranked(strategy: str, titles: tuple[str, ...]) -> None:
    engine = ScriptedEngine(max_model_len=40_000)
    assert whole(ranker(strategy, engine).rank(request(titles)), len(titles))
    if titles is SCRIPTS:
        for title in SCRIPTS:
            assert any(title in text for text in engine.prompts)


@every
@pytest.mark.parametrize("n", [2, 30])
def test_identical_texts_lose_nobody(strategy: str, n: int) -> None:
    assert whole(ranker(strategy).rank(request(["Heat"] * n)), n)


def test_pointwise_ties_keep_the_retrievers_order() -> None:
    ranking = ranker("pointwise").rank(request(["Heat"] * 30, scores=[1.0] * 30))
    assert len(set(ranking.scores)) == 1
    assert ranking.order() == list(range(30))


@every
@pytest.mark.parametrize("number", range(3, len(corpus()), 11))
def test_an_attack_anywhere_is_ranked_and_says_nothing_to_the_model(strategy: str, number: int) -> None:
    """As many lines and as many chat tokens as with a plain text at the same place."""
    text = corpus()[number].text
    engine, plain = ScriptedEngine(max_model_len=40_000), ScriptedEngine(max_model_len=40_000)
    for told, said in ((engine, text), (plain, "plain")):
        item = Item(id="a", title=said, description=said, attributes={"genre": (said,)})
        asked = request(["Heat", "Fargo"], history=(*seen(item), *seen(item, liked=False)))
        asked = dataclasses.replace(
            asked,
            candidates=(candidate(item, 2.0), *asked.candidates),
            profile={"occupation": said, "about": said},
            context=Context(wish="x" + said, extra={"weather": said}),
        )
        assert whole(ranker(strategy, told).rank(asked), 3)
    for text_sent, plain_sent in zip(engine.prompts, plain.prompts, strict=True):
        tokenizer = engine.tokenizer
        assert tokenizer.specials(tokenizer.encode(text_sent)) == tokenizer.specials(
            tokenizer.encode(plain_sent)
        )
        assert text_sent.count("\n") == plain_sent.count("\n")
        assert "{" not in text_sent
