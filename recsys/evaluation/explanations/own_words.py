"""Whether a model may word reasons itself: what it writes, what its check holds.

The check is asked about sentences whose truth is known: other forms of the grammar for the same reason,
and the same forms made false in ways that pass the check by rule: titles exchanged, claims added.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from recsys.data.batch import Progress
from recsys.errors import RequestError
from recsys.explain import ReasonCase
from recsys.explain.free import (
    FOLLOWS_TEMPLATE,
    follow_probabilities,
    free_failures,
    plain_sentence,
)
from recsys.explain.grammar import Grammar
from recsys.explain.own_words import MOST_FAULTS, OwnWords, keep_record, record_key
from recsys.explain.phrases import Phrases
from recsys.explain.writer import example_sentences, in_language, phrases_of, write_freely
from recsys.recommender.recommender import K, Recommender

FAULTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def measure_own_words(recommender: Recommender, users: Sequence[str], progress: Progress) -> OwnWords:
    """Let the model word the reasons of some people, and keep what came of it.

    Raises:
        EngineError: The engine fails.
        PromptError: A template is wrong.
    """
    cases: list[ReasonCase] = []
    phrases = phrases_of(recommender.domain, recommender.prompts)
    for number, user in enumerate(users):
        progress("planning reasons", number, len(users))
        prepared = recommender.prepare(user)
        cases += [case for case in recommender.reason_cases(prepared, range(K)) if case.has_content]
    if not cases:
        raise RequestError("nobody has reasons to word", hint="import interactions first")
    engine, prompts = recommender.engine(), recommender.prompts
    progress("asking the model for its own words", 0, 0)
    template = in_language(FOLLOWS_TEMPLATE, phrases.language, prompts)
    true, false = judged_pairs(cases, phrases)
    of_true = follow_probabilities(true, engine, prompts, template)
    of_false = follow_probabilities(false, engine, prompts, template)
    threshold = float(np.nextafter(np.quantile(of_false, 1 - MOST_FAULTS, method="higher"), 1))
    outcomes = [
        wrong
        for _, _, (_, wrong) in write_freely(
            cases, engine, prompts, phrases=phrases, follows=threshold, seed=0
        )
    ]
    record = OwnWords(
        reasons=len(cases),
        written=_share(not wrong for wrong in outcomes),
        by_rule=_share(not wrong or wrong == ("does_not_follow",) for wrong in outcomes),
        threshold=threshold,
        true_held=_share(p >= threshold for p in of_true),
        false_held=_share(p >= threshold for p in of_false),
        auc=_auc(of_true, of_false),
    )
    key = record_key(engine.model, engine.adapter, phrases.language)
    keep_record(recommender.settings.data_dir, key, record)
    return record


def judged_pairs(
    cases: Sequence[ReasonCase], phrases: Phrases
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (sentence, claim) pairs: those whose claim follows, and the others.

    All pass the check by rule: the others are not asked about.
    """
    grammar, true, false = phrases.grammar, set[tuple[str, str]](), set[tuple[str, str]]()
    for case in cases:
        plain = plain_sentence(case, grammar)
        forms = [form.replace("{item}{aside}", "{item}") for form in example_sentences(case, grammar)]
        true |= {(plain, form) for form in forms if form != plain}
        false |= {(plain, fault) for form in forms for fault in _faults(form, phrases)}
    return _passing(true, grammar), _passing(false, grammar)


def _faults(sentence: str, phrases: Phrases) -> Iterable[str]:
    for one, other in FAULTS["exchanged"]:
        if one in sentence and other in sentence:
            yield sentence.replace(one, "\0").replace(other, one).replace("\0", other)
    stop: str = phrases.grammar.table["stop"]
    for claim in FAULTS["added"].get(phrases.language, ()):
        yield f"{sentence.removesuffix(stop)}{claim}{stop}"


def _passing(pairs: Iterable[tuple[str, str]], grammar: Grammar) -> list[tuple[str, str]]:
    return sorted(pair for pair in pairs if not free_failures(pair[1], pair[0], grammar))


def _share(values: Iterable[bool]) -> float:
    return float(np.mean([*map(float, values)] or [0.0]))


def _auc(true: Sequence[float], false: Sequence[float]) -> float:
    """Return the probability that a true sentence has a higher value than a false one."""
    above = np.subtract.outer(np.array(true), np.array(false))
    return float(np.mean((above > 0) + 0.5 * (above == 0)))
