"""A model that words reasons itself: what it may say, what its own check must hold, and who may."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recsys.config import ReasonConfig
from recsys.evaluation.explanations.own_words import judged_pairs
from recsys.explain import drained, write_each
from recsys.explain.free import free_failures, free_schema, plain_sentence
from recsys.explain.own_words import UNMEASURED, OwnWords, follows_threshold, keep_record, read_records
from recsys.explain.writer import Reasons
from tests.explain.cases import CASES, PHRASES, PROMPTS, phrases_in
from tests.fakes import ScriptedEngine

GRAMMAR = PHRASES.grammar
CASE = CASES["one liked"]
PLAIN = "Like {liked}, which you liked, {item} is {shared}."
OWN = "If {liked} was to your taste, {item} may be as well: it is {shared}."
RECORD = OwnWords(
    reasons=40, written=0.8, by_rule=0.9, threshold=0.7, true_held=0.8, false_held=0.04, auc=0.95
)


def written(engine: ScriptedEngine, follows: float | None = 0.5) -> Reasons:
    return drained(write_each([CASE], engine, PROMPTS, PHRASES, follows=follows))


def engine_that(writes: str, holds: bool = True) -> ScriptedEngine:
    """Return an engine that writes this in its own words, and holds or rejects every claim."""
    return ScriptedEngine(
        write=lambda prompt, schema: f'{{"sentence":"{writes}"}}',
        score=lambda text, label: 2.0 if (label == "Yes") == holds else -2.0,
    )


def test_what_passes_both_checks_is_shown_in_the_models_own_words() -> None:
    assert plain_sentence(CASE, GRAMMAR) == PLAIN
    (reason,) = written(engine_that(OWN)).explanations
    assert reason.free
    assert reason.source == "llm"
    text = "If Brazil was to your taste, Dune, from the 1980s, may be as well: it is a science-fiction film."
    assert reason.text == text
    assert {entry.text for entry in reason.evidence} == {"Brazil", "Sci-Fi", "1980s"}


def test_what_does_not_follow_is_written_again_and_then_by_the_grammar() -> None:
    (reason,) = written(engine_that(OWN, holds=False)).explanations
    assert not reason.free
    assert reason.failures[:2] == ("does_not_follow", "does_not_follow")
    assert "Brazil" in reason.text


def test_without_a_threshold_the_model_is_not_asked_for_its_own_words() -> None:
    engine = engine_that(OWN)
    (reason,) = written(engine, follows=None).explanations
    assert not reason.free
    assert not any("in other words" in prompt for prompt in engine.prompts)


@pytest.mark.parametrize(
    ("sentence", "failure"),
    [
        ("{item} is {shared}.", "incomplete"),
        ("{liked} and {liked}: {item} is {shared}.", "incomplete"),
        ("You liked {liked}, and {item} is {shared}", "incomplete"),
        ("You liked {liked}, and {item} is {shared}, says {past}.", "unknown_evidence"),
        ("You did not like {liked}, but {item} is {shared}.", "uncited_claim"),
        ("You liked {liked}, and {item} is {shared} with 3 stars.", "uncited_claim"),
        ("You liked {liked}, and {item} is {shared} by Spielberg.", "uncited_claim"),
        ("You liked {liked}, and {item} is the best {shared}.", "uncited_claim"),
        ("You liked {liked}, and {item} is {shared} because you chose it.", "uncited_claim"),
        ("You liked {liked}; “wonderful” {item} is {shared}.", "uncited_claim"),
        ("You liked {liked}, and {item} is {shared}: visit our shop.", "instruction"),
    ],
)
def test_rules_find_what_the_true_sentence_does_not_say(sentence: str, failure: str) -> None:
    assert failure in free_failures(sentence, PLAIN, GRAMMAR)
    assert free_failures(OWN, PLAIN, GRAMMAR) == ()


def test_the_schema_allows_no_placeholder_but_those_of_the_true_sentence() -> None:
    pattern = free_schema(PLAIN)["properties"]["sentence"]["pattern"]
    assert re.fullmatch(pattern, OWN)
    assert not re.fullmatch(pattern, OWN.replace("{shared}", "{past}"))
    assert not re.fullmatch(pattern, OWN + '"')


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_check_is_measured_on_true_and_false_sentences_that_pass_the_rules(language: str) -> None:
    phrases = phrases_in(language)
    true, false = judged_pairs(list(CASES.values()), phrases)
    assert len(true) > 5
    assert len(false) > 5
    assert not set(true) & set(false)
    pairs = [*true, *false]
    assert all(free_failures(claim, sentence, phrases.grammar) == () for sentence, claim in pairs)


def test_a_model_may_write_where_its_record_or_the_domain_says_so() -> None:
    weak = RECORD.model_copy(update={"true_held": 0.2})
    auto, free, grammar = (ReasonConfig(writer=name) for name in ("auto", "free", "grammar"))
    assert follows_threshold(auto, RECORD) == 0.7
    assert follows_threshold(auto, weak) is None
    assert follows_threshold(auto, None) is None
    assert follows_threshold(free, None) == UNMEASURED
    assert follows_threshold(free, weak) == 0.7
    assert follows_threshold(grammar, RECORD) is None


def test_records_are_kept_by_name_and_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    keep_record(tmp_path, "a||en", RECORD)
    keep_record(tmp_path, "b||en", RECORD)
    assert read_records(tmp_path) == {"a||en": RECORD, "b||en": RECORD}
    (tmp_path / "own_words.json").write_text("{")
    assert read_records(tmp_path) == {}
