"""Every form of the grammar states what is true, to a judge that does not know the grammar."""

from __future__ import annotations

import random

import pytest

from recsys.config import Style
from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts
from recsys.explain import MeasuredCandidate
from recsys.explain.grammar import form_patterns, sample_sentence
from recsys.explain.phrases import Phrases
from recsys.types import Interaction
from tests.explain.cases import MEASURED, OTHERS, phrases_in, planned
from tests.fakes import film

FOLLOWING = MEASURED["two liked, none shares"]
ELSEWHERE = film("e", "Elsewhere", "Western")
RELATED = "a sequel of one liked"  # its words come from a graph of relations


def judge_of(one: MeasuredCandidate, phrases: Phrases) -> Judge:
    """Return the judge of a store where five people chose all these items, and five others none."""
    items = [one.item, FOLLOWING.item, *(entry.item for entry in one.past.entries)]
    events = [Interaction(user_id=f"u{n}", item_id=item.id) for n in range(5) for item in items]
    events += [Interaction(user_id=f"v{n}", item_id=ELSEWHERE.id) for n in range(5)]
    return Judge(GroundTruth([*items, ELSEWHERE, *OTHERS], events), phrases)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("style", ["short", "comparative", "detailed"])
@pytest.mark.parametrize("name", [name for name in MEASURED if name != RELATED])
def test_every_form_is_true(name: str, style: Style, language: str) -> None:
    one, phrases, draw = MEASURED[name], phrases_in(language), random.Random(name)
    (case, *_) = planned(one, FOLLOWING, style=style, phrases=phrases)
    past = {entry.item.id: entry.liked for entry in one.past.entries}
    facts = ReasonFacts(one.item, past, one.context, FOLLOWING.item, {"age": "24"})
    judge = judge_of(one, phrases)
    for pattern in form_patterns(case, phrases.grammar):
        for _ in range(4):
            text = phrases.grammar.fill(sample_sentence(pattern, draw.choice), case.texts)
            assert [one for one in judge.statements(text, facts) if not one.true] == [], text
