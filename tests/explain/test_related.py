"""Reasons that cite how an item is related to what the person liked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest

from recsys.config import ReasonConfig
from recsys.config.relations import Relation
from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts
from recsys.explain import claim_failures, template_reason
from recsys.explain.phrases import Phrases
from recsys.explain.relations import RelationPhrases
from recsys.explain.writer import phrases_of
from recsys.knowledge.relations import Edge, RelationGraph
from recsys.types import Context, Evidence, HistoryEntry, Item, Relatedness
from tests.evaluation.world import domain
from tests.explain.cases import PHRASES, PROMPTS, measured_of, planned, write
from tests.fakes import ScriptedEngine, candidate, seen

SEQUEL = Relation.model_validate(
    {
        "edges": {"file": "sequels.csv", "head": "film", "tail": "of"},
        "inverse": "prequel",
        "say": {"en": "is a sequel of {title}", "zh": "是{title}的续集"},
        "inverse_say": {"en": "is continued by {title}"},
    }
)
DIRECTOR = Relation(
    attributes=("director",),
    say={"en": "is also directed by {value}, like {title}", "zh": "与{title}一样由{value}执导"},
)
RELATIONS = {"sequel": SEQUEL, "director": DIRECTOR}


def film(item_id: str, title: str, *directors: str) -> Item:
    return Item(id=item_id, title=title, attributes={"genre": ("Sci-Fi",), "director": directors})


FILMS = {"relations": RELATIONS, "noun": "film", "plural": "films"}
ALIEN = film("h1", "Alien", "Ridley Scott")
RUNNER = film("h2", "Blade Runner", "Ridley Scott")
ALIENS = film("d", "Aliens", "James Cameron")
LEGEND = film("e", "Legend", "Ridley Scott")
OTHER = film("o", "Big", "Penny Marshall")
TRUTH = GroundTruth(
    [ALIEN, RUNNER, ALIENS, LEGEND, OTHER],
    (),
    relations=RelationGraph.of(
        RELATIONS, [Edge("sequel", "d", "h1")], [ALIEN, RUNNER, ALIENS, LEGEND, OTHER]
    ),
)


def said(
    item: Item,
    *related: Relatedness,
    history: Sequence[HistoryEntry] | None = None,
    language: str = "en",
    now: dt.datetime | None = None,
) -> dict[str, str]:
    found = RelationPhrases(words(language), now)
    entries = seen(ALIEN, RUNNER) if history is None else history
    return found.of(candidate(item, related=related), entries)


def words(language: str = "en") -> Phrases:
    reasons = ReasonConfig(language=language, verb={"en": "read"})
    return phrases_of(domain().model_copy(update={**FILMS, "reasons": reasons}), PROMPTS)


def judged(text: str, about: Item, language: str = "en") -> list[tuple[str, bool]]:
    facts = ReasonFacts(about, {"h1": True, "h2": True, "o": False}, Context())
    return [(one.kind, one.true) for one in Judge(TRUTH, words(language)).statements(text, facts)]


class TestPhrases:
    def test_they_name_the_liked_item_and_what_is_shared(self) -> None:
        sequel = Relatedness(item_id="h1", relation="sequel")
        director = Relatedness(item_id="h1", relation="director", value="Ridley Scott")
        assert said(ALIENS, sequel) == {"h1": "is a sequel of Alien, which you liked"}
        assert said(ALIENS, director, sequel) == said(ALIENS, sequel)
        assert said(LEGEND, director) == {
            "h1": "is also directed by Ridley Scott, like Alien, which you liked"
        }
        assert said(LEGEND, director, language="zh") == {"h1": "与您喜欢的「Alien」一样由Ridley Scott执导"}

    def test_the_other_end_has_words_of_its_own_and_none_where_the_language_lacks_them(self) -> None:
        prequel = Relatedness(item_id="h1", relation="sequel", forward=False)
        assert said(ALIENS, prequel) == {"h1": "is continued by Alien, which you liked"}
        assert said(ALIENS, prequel, language="zh") == {}

    def test_what_was_not_liked_and_relations_that_are_gone_are_not_named(self) -> None:
        disliked = seen(ALIEN, RUNNER, liked=False)
        assert said(ALIENS, Relatedness(item_id="h1", relation="sequel"), history=disliked) == {}
        assert said(ALIENS, Relatedness(item_id="h1", relation="remake")) == {}

    def test_braces_in_a_value_are_no_slot(self) -> None:
        odd = Relatedness(item_id="h2", relation="director", value="{title}")
        assert said(LEGEND, odd)["h2"] == "is also directed by (title), like Blade Runner, which you liked"

    @pytest.mark.parametrize(("days", "when"), [(2, " on Saturday"), (9, "")])
    def test_what_was_chosen_and_not_rated_is_told_with_its_verb_and_day(
        self, days: float, when: str
    ) -> None:
        entry = HistoryEntry(item=ALIEN, timestamp=MONDAY.timestamp() - days * 86_400)
        sequel = Relatedness(item_id="h1", relation="sequel")
        assert said(ALIENS, sequel, history=[entry], now=MONDAY) == {
            "h1": f"is a sequel of Alien, which you read{when}"
        }


MONDAY = dt.datetime(1987, 4, 13, 18, tzinfo=dt.UTC)
BOTH = "you read two films of the genre Sci-Fi, Alien and Blade Runner among them."


class TestChosenAndNotRated:
    @pytest.mark.parametrize(
        ("text", "true"),
        [
            ("Aliens is a sequel of Alien, which you read on Saturday.", True),
            ("Aliens is a sequel of Alien, which you read on Friday.", False),
            ("Aliens is a sequel of Blade Runner, which you read.", False),
            ("Like Alien, which you read, Aliens is a film of the genre Sci-Fi.", True),
            ("Like Alien, which you read, Aliens is a film of the director Ridley Scott.", False),
            ("Like Big, which you read, Aliens is a film of the genre Sci-Fi.", False),
            ("You read two films of the genre Sci-Fi, among them Alien; Aliens is another.", True),
            ("You read three films of the genre Sci-Fi, among them Alien; Aliens is another.", False),
            ("You read two films of the genre Sci-Fi, among them Big; Aliens is another.", False),
            (f"Aliens, of the director James Cameron, is another: {BOTH}", True),
            (f"Aliens, of the director Ridley Scott, is another: {BOTH}", False),
        ],
    )
    def test_what_is_said_is_checked_against_the_store(self, text: str, true: bool) -> None:
        times = {"h1": [MONDAY.timestamp() - 2 * 86_400], "h2": [MONDAY.timestamp() - 9 * 86_400]}
        facts = ReasonFacts(ALIENS, {"h1": None, "h2": None}, Context(time=MONDAY), times=times)
        statements = Judge(TRUTH, words()).statements(text, facts)
        assert all(statement.true for statement in statements) is true, statements

    def test_cited_evidence_is_valid_where_it_was_read_and_is_related(self) -> None:
        facts = ReasonFacts(ALIENS, {"h1": None, "o": False}, Context())
        valid = {
            item_id: Judge(TRUTH, words()).is_valid(
                Evidence(id="g1", kind="relation", text="", item_id=item_id), facts
            )
            for item_id in ("h1", "h2", "o")
        }
        assert valid == {"h1": True, "h2": False, "o": False}


class TestSentences:
    @pytest.mark.parametrize("style", ["short", "detailed", "comparative"])
    @pytest.mark.parametrize("listed", [True, False])
    def test_model_and_grammar_say_it_and_the_checks_agree(self, style: Any, listed: bool) -> None:
        said = {"h1": "is a sequel of Alien, which you liked"}
        (case,) = planned(measured_of(ALIENS, ALIEN, related=said, listed=listed), style=style)
        (written,) = write([case], ScriptedEngine()).explanations
        for reason in (written, template_reason(case, PHRASES)):
            assert "is a sequel of Alien, which you liked" in reason.text
            assert "relation" in {evidence.kind for evidence in reason.evidence}
            assert claim_failures(reason.text, case, PHRASES) == ()
        assert written.source == "llm"


class TestJudge:
    @pytest.mark.parametrize(
        ("text", "about", "language"),
        [
            ("Aliens is a sequel of Alien, which you liked.", ALIENS, "en"),
            ("Aliens is here because it is a sequel of Alien, which you liked.", ALIENS, "en"),
            ("Legend is also directed by Ridley Scott, like Alien, which you liked.", LEGEND, "en"),
            ("「Aliens」是您喜欢的「Alien」的续集。", ALIENS, "zh"),
            ("推荐「Legend」，因为它与您喜欢的「Alien」一样由Ridley Scott执导。", LEGEND, "zh"),
        ],
    )
    def test_true_relations_are_true(self, text: str, about: Item, language: str) -> None:
        statements = judged(text, about, language)
        assert ("relation", True) in statements
        assert ("liked", True) in statements
        assert all(true for _, true in statements), statements

    @pytest.mark.parametrize(
        ("text", "about", "language"),
        [
            ("Legend is a sequel of Alien, which you liked.", LEGEND, "en"),
            ("Alien is a sequel of Aliens.", ALIEN, "en"),
            ("Aliens is also directed by Ridley Scott, like Alien, which you liked.", ALIENS, "en"),
            ("Legend is also directed by James Cameron, like Alien, which you liked.", LEGEND, "en"),
            ("「Legend」是您喜欢的「Alien」的续集。", LEGEND, "zh"),
        ],
    )
    def test_false_relations_are_false(self, text: str, about: Item, language: str) -> None:
        assert ("relation", False) in judged(text, about, language)

    def test_a_disliked_item_is_not_liked_for_being_related(self) -> None:
        assert ("liked", False) in judged("Aliens is a sequel of Big, which you liked.", ALIENS)
