"""Reasons that cite how an item is related to what the person liked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from recsys.config import ReasonConfig
from recsys.config.reasons import ChosenWords
from recsys.config.relations import Relation
from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts
from recsys.explain import claim_failures, in_language, template_reason, write_reasons
from recsys.explain.evidence import RelationPhrase
from recsys.explain.grammar import Grammar
from recsys.explain.relations import RelationPhrases
from recsys.explain.writer import GRAMMAR
from recsys.knowledge.relations import Edge, RelationGraph
from recsys.types import Context, Evidence, HistoryEntry, Item, Relatedness
from tests.evaluation.world import domain
from tests.explain.cases import GRAMMAR_FILE, PROMPTS, case_of, ids, texts
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


ALIEN = film("h1", "Alien", "Ridley Scott")
RUNNER = film("h2", "Blade Runner", "Ridley Scott")
ALIENS = film("d", "Aliens", "James Cameron")
LEGEND = film("e", "Legend", "Ridley Scott")
OTHER = film("o", "Big", "Penny Marshall")
SAID = {"h1": RelationPhrase(0, "is a sequel of Alien, which you liked")}
TRUTH = GroundTruth(
    [ALIEN, RUNNER, ALIENS, LEGEND, OTHER],
    (),
    relations=RelationGraph.of(
        RELATIONS, [Edge("sequel", "d", "h1")], [ALIEN, RUNNER, ALIENS, LEGEND, OTHER]
    ),
)


def phrases(item: Item, *related: Relatedness, language: str = "en", liked: bool = True) -> dict[str, str]:
    path = PROMPTS.file(in_language(GRAMMAR, language, PROMPTS))
    history = seen(ALIEN, RUNNER, liked=liked)
    reasons = ReasonConfig(language=language)
    shop = domain().model_copy(update={"relations": RELATIONS, "reasons": reasons})
    found = RelationPhrases(shop, Grammar.read(path)).of(candidate(item, related=related), history)
    return {item_id: phrase.text for item_id, phrase in found.items()}


def judged(text: str, about: Item, language: str = "en") -> list[tuple[str, bool]]:
    grammar = Grammar.read(PROMPTS.file(in_language(GRAMMAR, language, PROMPTS)))
    judge = Judge(TRUTH, ("film", "films"), grammar, language)
    facts = ReasonFacts(about, {"h1": True, "h2": True, "o": False}, Context())
    return [(statement.kind, statement.true) for statement in judge.statements(text, facts)]


class TestPhrases:
    def test_they_name_the_liked_item_and_what_is_shared(self) -> None:
        sequel = Relatedness(item_id="h1", relation="sequel")
        director = Relatedness(item_id="h1", relation="director", value="Ridley Scott")
        assert phrases(ALIENS, sequel) == {"h1": "is a sequel of Alien, which you liked"}
        assert phrases(ALIENS, sequel, director) == phrases(ALIENS, sequel)
        assert phrases(LEGEND, director) == {
            "h1": "is also directed by Ridley Scott, like Alien, which you liked"
        }
        assert phrases(LEGEND, director, language="zh") == {"h1": "与您喜欢的「Alien」一样由Ridley Scott执导"}

    def test_the_other_end_has_words_of_its_own_and_none_where_the_language_lacks_them(self) -> None:
        prequel = Relatedness(item_id="h1", relation="sequel", forward=False)
        assert phrases(ALIENS, prequel) == {"h1": "is continued by Alien, which you liked"}
        assert phrases(ALIENS, prequel, language="zh") == {}

    def test_what_was_not_liked_and_relations_that_are_gone_are_not_named(self) -> None:
        assert phrases(ALIENS, Relatedness(item_id="h1", relation="sequel"), liked=False) == {}
        assert phrases(ALIENS, Relatedness(item_id="h1", relation="remake")) == {}

    def test_braces_in_a_value_are_no_slot(self) -> None:
        odd = Relatedness(item_id="h2", relation="director", value="{title}")
        assert phrases(LEGEND, odd)["h2"] == "is also directed by (title), like Blade Runner, which you liked"


MONDAY = dt.datetime(1987, 4, 13, 18, tzinfo=dt.UTC)
READ = ChosenWords(
    title="{title}, which you read",
    on="{title}, which you read on {weekday}",
    shares="shares {values} with {title}",
)


def read(*days_ago: float, liked: bool | None = None) -> list[HistoryEntry]:
    return [
        HistoryEntry(item=item, liked=liked, timestamp=MONDAY.timestamp() - days * 86_400)
        for item, days in zip((ALIEN, RUNNER), days_ago, strict=False)
    ]


def told(
    item: Item, history: Sequence[HistoryEntry], *related: Relatedness, words: ChosenWords | None = READ
) -> dict[str, str]:
    """Return the phrases of a domain that has, or lacks, words for what was chosen."""
    reasons = ReasonConfig(chosen={"en": words} if words else {})
    news = domain().model_copy(update={"relations": RELATIONS, "reasons": reasons})
    found = RelationPhrases(news, Grammar.read(GRAMMAR_FILE), MONDAY)
    phrases = found.of(candidate(item, related=related), history)
    return {item_id: phrase.text for item_id, phrase in phrases.items()}


class TestChosenAndNotRated:
    def test_a_relation_comes_before_what_is_shared_and_the_weekday_tells_the_day(self) -> None:
        sequel = Relatedness(item_id="h1", relation="sequel")
        assert told(ALIENS, read(2, 9), sequel) == {
            "h1": "is a sequel of Alien, which you read on Saturday",
            "h2": "shares Sci-Fi with Blade Runner, which you read",
        }

    def test_both_values_are_named(self) -> None:
        assert told(LEGEND, read(9))["h1"] == "shares Sci-Fi and Ridley Scott with Alien, which you read"

    @pytest.mark.parametrize(("history", "words"), [(read(2), None), (read(2, liked=False), READ)])
    def test_nothing_is_said_without_words_or_of_what_was_disliked(
        self, history: Sequence[HistoryEntry], words: ChosenWords | None
    ) -> None:
        assert told(ALIENS, history, Relatedness(item_id="h1", relation="sequel"), words=words) == {}

    def test_what_was_liked_is_said_to_be_liked(self) -> None:
        history = read(2, liked=True)
        sequel = Relatedness(item_id="h1", relation="sequel")
        assert told(ALIENS, history, sequel) == {"h1": "is a sequel of Alien, which you liked"}
        assert told(LEGEND, history) == {}

    def test_words_hold_their_slots(self) -> None:
        with pytest.raises(ValidationError, match=r"on must hold \{title\} and \{weekday\} once"):
            ChosenWords(title="{title}, which you read", on="{title} on {day}")
        with pytest.raises(ValidationError, match=r"title must hold \{title\} once"):
            ChosenWords(title="which you read")

    @pytest.mark.parametrize(
        ("text", "true"),
        [
            ("Aliens shares Sci-Fi with Alien, which you read on Saturday.", True),
            ("Aliens is a sequel of Alien, which you read on Saturday.", True),
            ("Aliens shares Sci-Fi with Alien, which you read on Friday.", False),
            ("Aliens shares Sci-Fi with Blade Runner, which you read on Saturday.", False),
            ("Aliens shares Ridley Scott with Alien, which you read.", False),
            ("Aliens is a sequel of Blade Runner, which you read.", False),
            ("Aliens shares Sci-Fi with Big, which you read.", False),
        ],
    )
    def test_what_is_said_is_checked_against_the_store(self, text: str, true: bool) -> None:
        judge = Judge(TRUTH, ("film", "films"), Grammar.read(GRAMMAR_FILE), "en")
        times = {"h1": [MONDAY.timestamp() - 2 * 86_400], "h2": [MONDAY.timestamp() - 9 * 86_400]}
        past = {"h1": None, "h2": None}
        facts = ReasonFacts(ALIENS, past, Context(time=MONDAY), times=times)
        assert all(statement.true for statement in judge.statements(text, facts)) is true

    def test_cited_evidence_is_valid_where_it_was_read_and_is_related_or_alike(self) -> None:
        judge = Judge(TRUTH, ("film", "films"), Grammar.read(GRAMMAR_FILE), "en")
        facts = ReasonFacts(ALIENS, {"h1": None, "o": False}, Context())
        valid = {
            item_id: judge.is_valid(Evidence(id="g1", kind="relation", text="", item_id=item_id), facts)
            for item_id in ("h1", "h2", "o")
        }
        assert valid == {"h1": True, "h2": False, "o": False}


class TestEvidence:
    def test_what_was_chosen_and_not_rated_is_cited_with_its_effect(self) -> None:
        case = case_of(ALIENS, shares={"h1": 0.3}, phrases=SAID, unrated=(ALIEN,))
        (evidence,) = case.by_kind("relation")
        assert (evidence.item_id, evidence.contribution) == ("h1", 0.3)

    def test_it_is_cited_with_the_effect_of_the_liked_item(self) -> None:
        case = case_of(ALIENS, ALIEN, RUNNER, shares={"h1": 0.3, "h2": 0.4}, phrases=SAID)
        (evidence,) = case.by_kind("relation")
        assert (evidence.id, evidence.item_id, evidence.contribution) == ("g1", "h1", 0.3)
        assert case.parts["g1"].name == "h1"
        assert ids(case, "history") == ["h1", "h2"]

    @pytest.mark.parametrize("share", [0.0, -0.2, 0.05])
    def test_it_is_not_cited_where_the_liked_item_does_not_support_the_item(self, share: float) -> None:
        case = case_of(ALIENS, ALIEN, shares={"h1": share}, phrases=SAID, noise=0.1)
        assert case.by_kind("relation") == []
        assert (
            case_of(ALIENS, ALIEN, shares={"h1": 0.3}, phrases=SAID, disliked=("h1",)).by_kind("relation")
            == []
        )

    def test_the_relation_that_the_domain_names_first_is_said_first(self) -> None:
        said = {"h2": RelationPhrase(1, "is like Blade Runner"), **SAID}
        case = case_of(ALIENS, ALIEN, RUNNER, shares={"h1": 0.3, "h2": 0.4}, phrases=said)
        assert texts(case, "relation") == [SAID["h1"].text, "is like Blade Runner"]


class TestSentences:
    @pytest.mark.parametrize("style", ["short", "detailed", "comparative"])
    @pytest.mark.parametrize("listed", [True, False])
    @pytest.mark.parametrize("variant", [0, 1])
    def test_model_and_template_say_it_and_the_checks_agree(
        self, style: str, listed: bool, variant: int
    ) -> None:
        config = ReasonConfig(style=style, retries=0)
        case = case_of(ALIENS, ALIEN, RUNNER, phrases=SAID, listed=listed, variant=variant)
        (written,) = write_reasons([case], ScriptedEngine(), PROMPTS, config).explanations
        template = template_reason(case, PROMPTS, config=config)
        for reason in (written, template):
            assert "is a sequel of Alien, which you liked" in reason.text
            assert "relation" in {evidence.kind for evidence in reason.evidence}
            assert claim_failures(reason.text, case, GRAMMAR_FILE) == ()
        assert written.source == "llm"

    def test_a_wish_comes_first(self) -> None:
        case = case_of(ALIENS, ALIEN, context=Context(wish="sci-fi"), phrases=SAID)
        assert "sequel" not in template_reason(case, PROMPTS).text


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
