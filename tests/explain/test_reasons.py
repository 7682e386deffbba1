"""Evidence first, then words: what may be cited, what may be said, and who said it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.config import ReasonConfig
from recsys.errors import EngineDead, EngineError
from recsys.explain import ReasonCase, collect_evidence, template_reason, ungrounded, write_reasons
from recsys.explain.evidence import CONTEXT_EFFECT
from recsys.explain.grammar import sentence_pattern
from recsys.explain.grounding import false_links, fill
from recsys.explain.verbalise import FALLBACK, GRAMMAR
from recsys.prompting import PromptLibrary
from recsys.types import Context, Item, Place
from tests.fakes import ScriptedEngine, candidate, film, instance_of, seen

PROMPTS = PromptLibrary()
GRAMMAR_FILE = PROMPTS.file(GRAMMAR)
ALIEN = film("h1", "Alien", "Horror", "Sci-Fi")
BRAZIL = film("h2", "Brazil", "Sci-Fi")
BIG = film("h3", "Big", "Comedy")
DUNE = film("d", "Dune", "Adventure", "Sci-Fi", year=1984)
SHARES = {"h1": 0.3, "h2": 0.4, "h3": -0.1}
FRIDAY = Context(
    weekday="Friday", part_of_day="evening", place=Place(city="Minneapolis"), extra={"weather": "rain"}
)


def case_of(
    item: Item = DUNE,
    *liked: Item,
    shares: Mapping[str, float] = SHARES,
    channels: Mapping[str, int] | None = None,
    context: Context = FRIDAY,
    effect: float | None = None,
    variant: int = 0,
    shown: int = 3,
) -> ReasonCase:
    return collect_evidence(
        candidate(item, because=shares, channels=channels or {"text": 1}),
        seen(*liked),
        context,
        nouns=("film", "films"),
        history_shown=shown,
        top_rank=5,
        context_effect=effect,
        variant=variant,
    )


def ids(case: ReasonCase, kind: str = "") -> list[str]:
    return [entry.id for entry in case.evidence if not kind or entry.kind == kind]


def texts(case: ReasonCase, kind: str) -> list[str]:
    return [entry.text for entry in case.by_kind(kind)]


class TestEvidence:
    def test_liked_items_with_a_positive_share_are_cited_strongest_first(self) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, BIG)
        assert texts(case, "history") == ["Brazil", "Alien"]
        assert [entry.contribution for entry in case.by_kind("history")] == [0.4, 0.3]
        assert [entry.item_id for entry in case.by_kind("history")] == ["h2", "h1"]

    @pytest.mark.parametrize("liked", [False, None])
    def test_item_that_nobody_said_they_liked_is_no_reason(self, liked: bool | None) -> None:
        case = collect_evidence(
            candidate(DUNE, because=SHARES),
            seen(ALIEN, liked=liked),
            Context(),
            nouns=("film", "films"),
            history_shown=3,
            top_rank=5,
        )
        assert not case.by_kind("history")

    def test_no_more_history_than_asked_for(self) -> None:
        assert texts(case_of(DUNE, ALIEN, BRAZIL, shown=1), "history") == ["Brazil"]
        assert not case_of(DUNE, ALIEN, BRAZIL, shown=0).by_kind("history")

    def test_shared_attributes_are_those_both_have(self) -> None:
        case = case_of(film("x", "X", "Drama", "Horror", "Sci-Fi"), ALIEN, BRAZIL)
        names = {entry.id: entry.text for entry in case.evidence}
        shared = {names[h]: sorted(names[a] for a in held) for h, held in case.shared.items()}
        assert shared == {"Alien": ["Horror", "Sci-Fi"], "Brazil": ["Sci-Fi"]}

    def test_attributes_of_liked_items_come_first_and_three_at_most(self) -> None:
        case = case_of(film("x", "X", "A", "B", "C", "Sci-Fi"), ALIEN, BRAZIL)
        assert texts(case, "attribute") == ["Sci-Fi", "A", "B"]

    def test_long_attribute_is_still_shared(self) -> None:
        genre = "very " * 20 + "long"
        case = case_of(film("x", "X", genre), film("h1", "Y", genre))
        assert case.shared == {"h1": ("a1",)}

    @pytest.mark.parametrize(
        ("effect", "cited"),
        [(None, False), (-1.0, False), (CONTEXT_EFFECT, False), (0.11, True), (2.0, True)],
    )
    def test_context_is_cited_only_where_it_measurably_mattered(
        self, effect: float | None, cited: bool
    ) -> None:
        case = case_of(DUNE, ALIEN, effect=effect)
        expected = ["a Friday evening", "being in Minneapolis", "weather rain"] if cited else []
        assert texts(case, "context") == expected
        assert all(entry.contribution == effect for entry in case.by_kind("context"))

    def test_nothing_is_said_of_a_context_that_is_not_known(self) -> None:
        assert not case_of(DUNE, ALIEN, context=Context(), effect=2.0).by_kind("context")

    @pytest.mark.parametrize(
        ("channels", "cited"), [({"text": 5}, True), ({"text": 6}, False), ({"popularity": 1}, False)]
    )
    def test_wish_is_cited_only_where_text_search_put_the_item_high(
        self, channels: Mapping[str, int], cited: bool
    ) -> None:
        case = case_of(channels=channels, context=Context(wish="dark"))
        assert bool(case.by_kind("wish")) == cited

    @pytest.mark.parametrize(("rank", "cited"), [(1, True), (5, True), (6, False)])
    def test_popular_is_said_only_of_the_most_popular(self, rank: int, cited: bool) -> None:
        assert bool(case_of(channels={"popularity": rank}).by_kind("popularity")) == cited

    def test_popular_is_not_said_where_history_or_a_wish_speak(self) -> None:
        channels = {"popularity": 1}
        assert not case_of(DUNE, ALIEN, channels=channels).by_kind("popularity")
        assert not case_of(channels=channels, context=Context(wish="dark")).by_kind("popularity")

    def test_attribute_of_nothing_but_invisible_signs_is_none(self) -> None:
        assert not case_of(film("x", "X", "\u200b", "\u202e")).evidence

    def test_ids_are_unique(self) -> None:
        case = case_of(DUNE, ALIEN, BRAZIL, context=FRIDAY.model_copy(update={"wish": "dark"}), effect=1.0)
        assert len(set(ids(case))) == len(ids(case)) == 8


CASES: dict[str, ReasonCase] = {
    "two liked, both share": case_of(DUNE, ALIEN, BRAZIL),
    "two liked, one shares": case_of(DUNE, ALIEN, film("h2", "Big", "Comedy")),
    "two liked, none shares": case_of(DUNE, film("h1", "Alice"), film("h2", "Big", "Comedy")),
    "three liked": case_of(DUNE, ALIEN, BRAZIL, BIG, shares={"h1": 1, "h2": 1, "h3": 1}),
    "one liked": case_of(DUNE, BRAZIL),
    "one liked, no attributes": case_of(film("x", "Untold"), BRAZIL),
    "liked in context": case_of(DUNE, ALIEN, BRAZIL, effect=1.0),
    "wish": case_of(context=Context(wish="dark")),
    "wish and liked": case_of(DUNE, ALIEN, context=Context(wish="dark")),
    "wish, no attributes": case_of(film("x", "Untold"), context=Context(wish="dark")),
    "wish in context": case_of(context=FRIDAY.model_copy(update={"wish": "dark"}), effect=1.0),
    "popular": case_of(channels={"popularity": 1}),
    "popular, no attributes": case_of(film("x", "Untold"), channels={"popularity": 1}),
    "attributes alone": case_of(channels={"popularity": 99}),
    "attributes in context": case_of(channels={"popularity": 99}, effect=1.0),
}


class TestGrammar:
    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.parametrize("attempt", [None, 0, 1, 2])
    def test_every_sentence_the_grammar_can_make_is_grounded(self, name: str, attempt: int | None) -> None:
        case = CASES[name]

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.from_regex(sentence_pattern(case, GRAMMAR_FILE, attempt), fullmatch=True))
        def check(sentence: str) -> None:
            sentence = sentence.rstrip("\n")  # `$` allows one
            assert ungrounded(sentence, case, GRAMMAR_FILE) == ()
            told = fill(sentence, case)
            assert not re.search(r"[{}]|\s\s|\s[.,]|\(\)|\|", told)
            assert told.endswith(".")
            assert told[0] == told[0].upper()

        check()

    def test_neighbouring_reasons_and_second_attempts_have_other_forms(self) -> None:
        patterns = {
            sentence_pattern(case_of(DUNE, BRAZIL, variant=variant), GRAMMAR_FILE, attempt)
            for variant, attempt in ((0, 0), (1, 0), (2, 0), (0, 1))
        }
        assert len(patterns) >= 3

    GOOD = "You liked {h1} and {h2}, and {item} has {a1} too."

    def test_sentence_that_the_faults_are_planted_in_is_sound(self) -> None:
        assert ungrounded(self.GOOD, CASES["two liked, both share"], GRAMMAR_FILE) == ()

    @pytest.mark.parametrize(
        ("sentence", "failure"),
        [
            ("You liked {h1} and {h7}, and {item} has {a1} too.", "unknown_evidence"),
            ("You liked {h1}, and {item} has {q1} too.", "unknown_evidence"),
            ("You liked {h1} and {h2}, and {item} has {a2} too.", "false_link"),
            ("You liked {h1} and {h1}, and {item} has {a1} too.", "repeated"),
            ("You liked {h1} and {h2}, and it has {a1} too.", "not_about_item"),
            ("{item}: you liked {h1}, and {item} has {a1} too.", "not_about_item"),
            ("You liked {h1} and {h2}, and {item} has great {a1} too.", "uncited_claim"),
            ("You liked {h1} and {h2}, and {item} has {a1} too. It won an Oscar.", "uncited_claim"),
            ("You liked {h1} and {h2} (1979), and {item} has {a1} too.", "uncited_claim"),
            ("You liked {h1} and {h2}, and {item} has {a1} too, and suits a Friday.", "uncited_claim"),
            ("You liked Star Wars and {h2}, and {item} has {a1} too.", "uncited_claim"),
            ("You liked {h1} and {h2}, and {item} has {a1} too, and suits {c1}.", "unknown_evidence"),
            (GOOD + "\n", "uncited_claim"),
            ("", "not_about_item"),
        ],
    )
    def test_planted_fault_is_caught(self, sentence: str, failure: str) -> None:
        case = CASES["two liked, both share"]
        assert texts(case, "attribute")[0] == "Sci-Fi"
        assert failure in ungrounded(sentence, case, GRAMMAR_FILE)


def grid() -> list[ReasonCase]:
    """Every combination of item, history, wish, popularity and context, in each variant."""
    items = (
        film("x", "Untold"),
        film("y", "Solaris", "Sci-Fi"),
        film("z", "Them", "Horror", "Sci-Fi", "War"),
    )
    histories = ((), (BIG,), (BRAZIL,), (BRAZIL, BIG), (BIG, BRAZIL), (ALIEN, BRAZIL), (BIG, film("h4", "M")))
    found = itertools.product(items, histories, ("", "dark"), (1, 99), (None, 1.0), range(6))
    return [
        case_of(
            item,
            *liked,
            shares={entry.id: 1 - 0.1 * n for n, entry in enumerate(liked)},
            channels={"text": 1, "popularity": popular},
            context=FRIDAY.model_copy(update={"wish": wish}),
            effect=effect,
            variant=variant,
        )
        for item, liked, wish, popular, effect, variant in found
    ]


class TestFallback:
    def test_every_template_sentence_is_true_and_reads_as_one_sentence(self) -> None:
        faults = []
        for case in grid():
            told = template_reason(case, PROMPTS)
            assert told.source == "template"
            name = case.item.title
            odd = re.search(r"[{}\n]|\s\s|\s[.,;]|,,|\.\.|\band (,|\.|and)|\[\]", told.text)
            if odd or not told.text.endswith(".") or told.text.count(name) != 1 or told.text.count(".") != 1:
                faults.append(told.text)
            cited = {entry.id for entry in told.evidence}
            assert cited <= set(ids(case))
            if case.claims:
                assert cited, told.text
        assert faults == []

    def test_no_template_sentence_links_what_does_not_belong_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sentences: list[str] = []
        rendered = PROMPTS.render_block

        def remember(name: str, block: str, variables: Mapping[str, Any]) -> str:
            assert name == FALLBACK
            sentences.append(rendered(name, block, variables))
            return sentences[-1]

        monkeypatch.setattr(PROMPTS, "render_block", remember)
        for case in grid():
            template_reason(case, PROMPTS)
            assert false_links(sentences[-1], case) == (), sentences[-1]

    def test_item_of_which_nothing_is_known_is_called_that(self) -> None:
        case = case_of(film("x", "Untold"), channels={"popularity": 99})
        assert not case.evidence
        (told,) = write_reasons([case], ScriptedEngine(), PROMPTS, ReasonConfig()).explanations
        assert told.text == "Untold is in the catalogue, and nothing more is known of it."
        assert told.source == "template"
        assert told.evidence == ()


class TestWriting:
    def test_sentence_that_holds_is_kept_with_what_it_cites(self) -> None:
        engine = ScriptedEngine()
        case = CASES["liked in context"]
        result = write_reasons([case], engine, PROMPTS, ReasonConfig())
        (told,) = result.explanations
        assert told.source == "llm"
        assert told.failures == ()
        assert result.degraded == ()
        assert {entry.id for entry in told.evidence} <= set(ids(case))
        assert "Dune" in told.text
        assert len(engine.calls) == 1

    def test_all_cases_travel_in_one_call_and_come_back_in_order(self) -> None:
        engine = ScriptedEngine()
        cases = [case_of(film(str(n), f"Title {n}", "Sci-Fi"), ALIEN) for n in range(4)]
        result = write_reasons(cases, engine, PROMPTS, ReasonConfig())
        assert len(engine.calls) == 1
        assert [f"Title {n}" in told.text for n, told in enumerate(result.explanations)] == [True] * 4

    def test_model_never_sees_a_title(self) -> None:
        engine = ScriptedEngine()
        write_reasons([CASES["wish and liked"]], engine, PROMPTS, ReasonConfig())
        assert engine.prompts
        assert not re.search("Dune|Alien|Sci-Fi|dark", engine.prompts[0])

    def test_bad_sentence_is_asked_for_again_and_the_failure_kept(self) -> None:
        answers = iter(['{"evidence": ["h1"], "sentence": "{item} won an Oscar."}'])
        engine = ScriptedEngine(write=lambda _, schema: next(answers, "") or obey(schema))
        result = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=1))
        (told,) = result.explanations
        assert told.source == "llm"
        assert told.failures == ("uncited_claim",)
        assert [call.seed for call in engine.calls] == [0, 1]
        assert len(result.generations) == 2

    def test_only_the_bad_sentence_is_asked_for_again(self) -> None:
        good, bad = CASES["wish"], CASES["one liked"]
        engine = ScriptedEngine(write=lambda text, schema: obey(schema) if text.endswith(WISH_END) else "no")
        result = write_reasons([good, bad], engine, PROMPTS, ReasonConfig(retries=2))
        assert [len(call.texts) for call in engine.calls] == [2, 1, 1]
        assert [told.source for told in result.explanations] == ["llm", "template"]

    @pytest.mark.parametrize(
        ("answer", "failure"),
        [
            ("", "empty"),
            ("I'm sorry, no.", "refusal"),
            ("blah", "wrong_format"),
            ('{"evidence": ["h1"]}', "missing"),
            (
                '{"evidence": ["h1"], "sentence": "{item} is here because you liked {h9}."}',
                "unknown_evidence",
            ),
        ],
    )
    def test_sentence_that_stays_bad_gives_way_to_a_template_that_lists_why(
        self, answer: str, failure: str
    ) -> None:
        engine = ScriptedEngine(write=lambda *_: answer)
        (told,) = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=1)).explanations
        assert told.source == "template"
        assert told.failures.count(failure) == 2
        assert "Brazil" in told.text

    def test_sentence_that_was_cut_off_is_not_used(self) -> None:
        engine = ScriptedEngine(truncates=True)
        (told,) = write_reasons([CASES["one liked"]], engine, PROMPTS, ReasonConfig(retries=0)).explanations
        assert (told.source, told.failures) == ("template", ("truncated",))

    @pytest.mark.parametrize("error", [EngineError("busy"), EngineDead("gone")], ids=["fails", "dies"])
    def test_failing_engine_gives_template_sentences_and_says_so(self, error: EngineError) -> None:
        engine = ScriptedEngine(fail_in={"generate": error})
        result = write_reasons([CASES["one liked"], CASES["wish"]], engine, PROMPTS, ReasonConfig())
        assert [told.source for told in result.explanations] == ["template", "template"]
        assert len(result.degraded) == 1
        assert error.message in result.degraded[0]

    def test_what_was_written_before_the_engine_died_is_kept(self) -> None:
        engine = ScriptedEngine(
            write=lambda text, schema: obey(schema) if text.endswith(WISH_END) else "no",
            fail_at={1: EngineDead("gone")},
        )
        result = write_reasons([CASES["wish"], CASES["one liked"]], engine, PROMPTS, ReasonConfig())
        assert [told.source for told in result.explanations] == ["llm", "template"]
        assert result.explanations[1].failures == ("wrong_format",)
        assert result.degraded

    def test_without_an_engine_all_are_template_sentences(self) -> None:
        result = write_reasons([CASES["popular"]], None, PROMPTS, ReasonConfig())
        assert result.explanations[0].source == "template"
        assert result.generations == []

    def test_situation_alone_is_not_asked_of_the_model(self) -> None:
        """The grammar has no sentence of a situation alone: what it gave was a full stop."""
        engine = ScriptedEngine()
        case = case_of(film("x", "Untold"), channels={"popularity": 99}, effect=1.0)
        (told,) = write_reasons([case], engine, PROMPTS, ReasonConfig()).explanations
        assert not engine.calls
        assert told.source == "template"
        assert told.failures == ()

    @pytest.mark.parametrize(
        "hostile", ["{h1} {item}", "<|im_end|>", "a\nb", "{{ 7*7 }}", r"\1 \g<0>", "\u202ex"]
    )
    @pytest.mark.parametrize("with_engine", [True, False])
    def test_hostile_text_is_filled_in_as_data(self, hostile: str, with_engine: bool) -> None:
        context = Context(weekday="Friday", wish=hostile, place=Place(city=hostile), extra={"x": hostile})
        item = film("x", f"T {hostile}", hostile)
        cases = [
            case_of(item, film("h1", hostile, hostile), context=Context()),
            case_of(item, context=context, effect=1.0),
        ]
        engine = ScriptedEngine() if with_engine else None
        for told in write_reasons(cases, engine, PROMPTS, ReasonConfig()).explanations:
            assert not re.search(r"[{}\n\u202e]|<\|", told.text)
            assert told.source == ("llm" if with_engine else "template")

    def test_title_of_nothing_but_invisible_signs_is_shown_by_its_id(self) -> None:
        (told,) = write_reasons(
            [case_of(film("77", "\u200b"), film("h1", "\u200b"))], None, PROMPTS, ReasonConfig()
        ).explanations
        assert "film 77" in told.text
        assert "film h1" in told.text


WISH_END = "Wish: {w1}<|im_end|>\n<|im_start|>assistant\n"


def obey(schema: Mapping[str, Any] | None) -> str:
    import json

    assert schema is not None
    return json.dumps(instance_of(schema))
