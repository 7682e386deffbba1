"""Every sentence of the grammar is grounded, and no other passes."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.explain import grounding_failures
from recsys.explain.grammar import Grammar, sentence_pattern
from tests.explain.cases import (
    BRAZIL,
    CASES,
    DUNE,
    GRAMMAR_FILE,
    case_of,
    texts,
)


class TestGrammar:
    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.parametrize("attempt", [None, 0, 1, 2])
    def test_every_sentence_the_grammar_can_make_is_grounded(self, name: str, attempt: int | None) -> None:
        case = CASES[name]

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.from_regex(sentence_pattern(case, GRAMMAR_FILE, attempt), fullmatch=True))
        def check(sentence: str) -> None:
            sentence = sentence.rstrip("\n")  # `$` allows one
            assert grounding_failures(sentence, case, GRAMMAR_FILE) == ()
            text = Grammar.read(GRAMMAR_FILE).fill(sentence, case)
            assert not re.search(r"[{}]|\s\s|\s[.,]|\(\)|\|", text)
            assert text.endswith(".")
            assert text[0] == text[0].upper()

        check()

    def test_neighbouring_reasons_and_second_attempts_have_other_forms(self) -> None:
        patterns = {
            sentence_pattern(case_of(DUNE, BRAZIL, variant=variant), GRAMMAR_FILE, attempt)
            for variant, attempt in ((0, 0), (1, 0), (2, 0), (0, 1))
        }
        assert len(patterns) >= 3

    def test_context_is_named_exactly_where_it_has_an_effect(self) -> None:
        """The model once chose, and mostly left it out."""
        effective = case_of(DUNE, BRAZIL, effect=1.0)
        plain = "You liked {h1}, and {item} has {a1} too."
        assert not re.fullmatch(sentence_pattern(effective, GRAMMAR_FILE), plain)
        assert re.fullmatch(sentence_pattern(effective, GRAMMAR_FILE), f"{plain[:-1]}, and suits {{c2}}.")
        without_effect = case_of(DUNE, BRAZIL)
        assert re.fullmatch(sentence_pattern(without_effect, GRAMMAR_FILE), plain)
        assert not re.fullmatch(
            sentence_pattern(without_effect, GRAMMAR_FILE), f"{plain[:-1]}, and suits {{c1}}."
        )

    @pytest.mark.parametrize(
        ("sentence", "fits"),
        [
            ("You asked for {w1}, and {item} has {a1} and {a2}.", True),
            ("You asked for {w1}, and {item} has {a1}.", False),
            ("You asked for {w1}, and {item} has {a2} and {a1}.", False),
            ("You asked for {w1}, and {item} with its {a2} comes close.", False),
            ("You asked for {w1}, and {item} has {a1} like {h1}, which you liked.", True),
            ("You asked for {w1}, and {item} has {a2} like {h1}, which you liked.", False),
        ],
    )
    def test_wish_is_cited_with_what_it_names_and_more(self, sentence: str, fits: bool) -> None:
        """Every listed item may have what was wished for, which alone distinguishes none."""
        case = CASES["wish that names what was liked"]
        assert [one.text for one in case.by_kind("attribute")] == ["Sci-Fi", "Adventure"]
        assert bool(re.fullmatch(sentence_pattern(case, GRAMMAR_FILE), sentence)) == fits

    GOOD = "You liked {h1} and {h2}, and {item} has {a1} too."

    def test_sentence_that_the_faults_are_planted_in_is_sound(self) -> None:
        assert grounding_failures(self.GOOD, CASES["two liked, both share"], GRAMMAR_FILE) == ()

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
        assert failure in grounding_failures(sentence, case, GRAMMAR_FILE)
