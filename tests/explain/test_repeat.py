"""A reason says how often and when the person chose the item before, where that speaks for it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

import pytest

from recsys.config import ReasonConfig
from recsys.explain.ablation import RequestPart
from recsys.explain.claims import claim_failures
from recsys.explain.evidence import MeasuredCandidate, collect_evidence
from recsys.explain.grammar import sentence_pattern
from recsys.explain.writer import template_reason
from recsys.prompting.library import PromptLibrary
from recsys.types import Candidate, Context, HistoryEntry, Item

DAY = 86_400
NOW = dt.datetime(2017, 11, 20, 17, tzinfo=dt.UTC)
MILK = Item(id="milk", title="Milk", attributes={"category": ("Dairy",)})
BREAD = Item(id="bread", title="White bread", attributes={"category": ("Bakery",)})
OWN = HistoryEntry(item=MILK, times=4, first=NOW.timestamp() - 27 * DAY, timestamp=NOW.timestamp() - 6 * DAY)
PROMPTS = PromptLibrary()


def measured(effect: float, chosen: HistoryEntry | None = OWN) -> MeasuredCandidate:
    return MeasuredCandidate(
        Candidate(item=MILK, score=1.0, source="repeat", co_consumed={"bread": 1.0}),
        (HistoryEntry(item=BREAD), OWN),
        Context(time=NOW),
        {RequestPart("history", "milk"): effect, RequestPart("history", "bread"): 0.2},
        ("product", "products"),
        history_shown=2,
        top_rank=10,
        noise=0.01,
        chosen=chosen,
    )


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "You have chosen Milk 4 times, about every 7 days, last 6 days ago."),
        ("zh", "您选择过「Milk」：4次，大约每7天，最近一次在6天前。"),
    ],
)
def test_a_repeat_is_cited_first_with_its_measured_effect(language: str, text: str) -> None:
    case = collect_evidence(measured(1.5))
    (entry,) = case.by_kind("repeat")
    assert (entry.id, entry.item_id, entry.contribution) == ("r1", "milk", 1.5)
    assert case.parts["r1"] == RequestPart("history", "milk")
    reason = template_reason(case, PROMPTS, config=ReasonConfig(language=language))
    assert reason.text == text
    grammar = PROMPTS.file("explain/grammar.toml" if language == "en" else "explain/zh/grammar.toml")
    assert claim_failures(reason.text, case, grammar) == ()


def test_a_written_sentence_must_cite_the_repeat() -> None:
    case = collect_evidence(measured(1.5))
    pattern = sentence_pattern(case, PROMPTS.file("explain/grammar.toml"))
    assert re.fullmatch(pattern, "You have chosen {item} {r1}.")
    assert re.fullmatch(pattern, "{item} is here because you chose it {r1}.")
    assert not re.fullmatch(pattern, "You have chosen {item} often.")


@pytest.mark.parametrize("effect", [0.005, -1.0])
def test_what_does_not_speak_for_the_item_is_not_cited(effect: float) -> None:
    case = collect_evidence(measured(effect))
    assert not case.by_kind("repeat")
    assert [entry.text for entry in case.by_kind("co_consumed")] == ["White bread"]


def test_where_nothing_repeats_the_item_itself_is_no_evidence() -> None:
    case = collect_evidence(dataclasses.replace(measured(1.5), chosen=None))
    assert not case.by_kind("repeat")
