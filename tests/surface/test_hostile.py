"""Every ranking strategy handles any number of items, odd texts and injections."""

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


def is_complete(ranking: Ranking, n: int) -> bool:
    """Return whether all n candidates are ranked, with scores that sum to 1."""
    return (
        sorted(ranking.order()) == list(range(n))
        and math.isclose(math.fsum(ranking.scores), 1, abs_tol=1e-9)
        and all(math.isfinite(score) and score >= 0 for score in ranking.scores)
    )


every_strategy = pytest.mark.parametrize("strategy", list(STRATEGIES))


@every_strategy
@pytest.mark.parametrize("n", [1, 2, 19, 20, 21, 26, 27, 53, 100])
def test_lists_of_any_length_are_ranked_completely(strategy: str, n: int) -> None:
    ranked = request([f"Film {number}" for number in range(n)])
    assert is_complete(ranker(strategy).rank(ranked), n)
    assert ranker(strategy).rank(ranked).scores == ranker(strategy).rank(ranked).scores


@every_strategy
def test_a_thousand_candidates_are_ranked(strategy: str) -> None:
    ranked = request([f"Film {number}" for number in range(1000)])
    assert is_complete(ranker(strategy).rank(ranked), 1000)


@every_strategy
@pytest.mark.parametrize("titles", [EMOJI, SCRIPTS, BLANK], ids=["emoji", "scripts", "blank"])
def test_titles_without_latin_letters_are_ranked(strategy: str, titles: tuple[str, ...]) -> None:
    engine = ScriptedEngine(max_model_len=40_000)
    assert is_complete(ranker(strategy, engine).rank(request(titles)), len(titles))
    if titles is SCRIPTS:
        for title in SCRIPTS:
            assert any(title in text for text in engine.prompts)


@every_strategy
@pytest.mark.parametrize("n", [2, 30])
def test_identical_titles_are_all_ranked(strategy: str, n: int) -> None:
    assert is_complete(ranker(strategy).rank(request(["Heat"] * n)), n)


def test_pointwise_ties_keep_the_retrievers_order() -> None:
    ranking = ranker("pointwise").rank(request(["Heat"] * 30, scores=[1.0] * 30))
    assert len(set(ranking.scores)) == 1
    assert ranking.order() == list(range(30))


@every_strategy
@pytest.mark.parametrize("number", range(3, len(corpus()), 11))
def test_an_attack_anywhere_changes_neither_lines_nor_chat_tokens(strategy: str, number: int) -> None:
    """The prompt has as many lines and chat tokens as with an ordinary text."""
    text = corpus()[number].text
    engine, plain = ScriptedEngine(max_model_len=40_000), ScriptedEngine(max_model_len=40_000)
    for scripted, content in ((engine, text), (plain, "plain")):
        item = Item(id="a", title=content, description=content, attributes={"genre": (content,)})
        ordinary = request(["Heat", "Fargo"], history=(*seen(item), *seen(item, liked=False)))
        attacked = dataclasses.replace(
            ordinary,
            candidates=(candidate(item, 2.0), *ordinary.candidates),
            profile={"occupation": content, "about": content},
            context=Context(wish="x" + content, extra={"weather": content}),
        )
        assert is_complete(ranker(strategy, scripted).rank(attacked), 3)
    for attacked_prompt, plain_prompt in zip(engine.prompts, plain.prompts, strict=True):
        tokenizer = engine.tokenizer
        assert tokenizer.specials(tokenizer.encode(attacked_prompt)) == tokenizer.specials(
            tokenizer.encode(plain_prompt)
        )
        assert attacked_prompt.count("\n") == plain_prompt.count("\n")
        assert "{" not in attacked_prompt
