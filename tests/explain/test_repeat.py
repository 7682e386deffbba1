"""A reason says how often and when the person chose the item before, where that speaks for it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

import pytest

from recsys.config import load_domain
from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts
from recsys.explain import MeasuredCandidate, RequestPart, claim_failures, template_reason
from recsys.explain.grammar import sentence_pattern
from recsys.explain.relations import RelationPhrases
from recsys.explain.writer import phrases_of
from recsys.knowledge.relations import RelationGraph
from recsys.prompting.library import PromptLibrary
from recsys.types import Context, HistoryEntry, Item, Relatedness
from tests.explain.cases import PHRASES, measured_of, phrases_in, planned
from tests.fakes import candidate

DAY = 86_400
NOW = dt.datetime(2017, 11, 20, 17, tzinfo=dt.UTC)
MILK = Item(id="milk", title="Milk", attributes={"kind": ("Dairy",)})
BREAD = Item(id="bread", title="White bread", attributes={"category": ("Bakery",)})
OWN = HistoryEntry(item=MILK, times=4, first=NOW.timestamp() - 27 * DAY, timestamp=NOW.timestamp() - 6 * DAY)


def measured(effect: float) -> MeasuredCandidate:
    one = measured_of(
        MILK,
        unrated=[BREAD],
        shares={"milk": effect, "bread": 0.2},
        together=["bread"],
        context=Context(time=NOW),
        noise=0.01,
        rated=False,
    )
    return dataclasses.replace(one, chosen=OWN)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "en",
            "You chose Milk, a film of the kind Dairy, 4 times, about every 7 days, last 6 days ago.",
        ),
        ("zh", "您4次，大约每7天，最近一次在6天前选择过「Milk」（kind为Dairy的影片）。"),
    ],
)
def test_a_repeat_is_cited_with_its_measured_effect(language: str, text: str) -> None:
    phrases = phrases_in(language)
    case = dataclasses.replace(planned(measured(1.5), phrases=phrases)[0], also=None)
    (entry,) = [entry for entry in case.evidence if entry.kind == "repeat"]
    assert (entry.id, entry.item_id, entry.contribution) == ("r1", "milk", 1.5)
    assert case.parts["r1"] == {RequestPart("history", "milk")}
    reason = template_reason(case, phrases)
    assert reason.text == text
    assert claim_failures(reason.text, case, phrases) == ()


def test_a_written_sentence_must_cite_the_repeat() -> None:
    case = dataclasses.replace(planned(measured(1.5))[0], also=None)
    pattern = sentence_pattern(case, PHRASES.grammar)
    assert re.fullmatch(pattern, "You chose {item}{aside} {repeat}.")
    assert re.fullmatch(pattern, "{item}{aside} is here because you chose it {repeat}.")
    assert not re.fullmatch(pattern, "You chose {item}{aside} often.")


@pytest.mark.parametrize("effect", [0.005, -1.0])
def test_what_does_not_speak_for_the_item_is_not_cited(effect: float) -> None:
    (case,) = planned(measured(effect))
    assert case.section == "co_consumed"
    assert case.texts["liked"] == "White bread"


def test_where_nothing_repeats_the_item_itself_is_no_evidence() -> None:
    (case,) = planned(dataclasses.replace(measured(1.5), chosen=None))
    assert case.section == "co_consumed"


def test_an_item_is_due_again_only_after_the_time_between_two() -> None:
    due, early = planned(measured(1.5))[0], OWN.model_copy(update={"timestamp": NOW.timestamp() - DAY})
    soon = planned(dataclasses.replace(measured(1.5), chosen=early))[0]
    assert (due.section, soon.section) == ("due", "repeat")
    again = "{item}, which you chose {repeat}, may be due again."
    assert re.fullmatch(sentence_pattern(dataclasses.replace(due, also=None), PHRASES.grammar), again)
    assert not re.fullmatch(sentence_pattern(dataclasses.replace(soon, also=None), PHRASES.grammar), again)


def test_a_kind_that_the_title_says_is_not_said_again() -> None:
    milk = MILK.model_copy(update={"attributes": {"kind": ("Milk",)}})
    (case,) = planned(measured_of(milk, BREAD, shares={"bread": 0.2}))
    assert "Milk" not in case.texts["aside"]


@pytest.mark.parametrize("name", ["shop", "shop-products"])
@pytest.mark.parametrize(
    ("language", "phrase"),
    [
        ("en", "is found under Dairy, like Whole milk, which you bought"),
        ("zh", "与您买过的「Whole milk」同属Dairy"),
    ],
)
def test_the_shops_say_what_products_have_in_common(name: str, language: str, phrase: str) -> None:
    domain = load_domain(name)
    reasons = domain.reasons.model_copy(update={"language": language})
    phrases = phrases_of(domain.model_copy(update={"reasons": reasons}), PromptLibrary())
    bought = HistoryEntry(item=Item(id="w", title="Whole milk"))
    related = Relatedness(item_id="w", relation="is_a", value="Dairy", forward=True)
    milk = MILK.model_copy(update={"attributes": {"category": ("Dairy",)}})
    one = candidate(milk).model_copy(update={"related": (related,)})
    assert RelationPhrases(phrases).of(one, [bought]) == {"w": phrase}

    whole = bought.item.model_copy(update={"attributes": {"category": ("Dairy",)}})
    graph = RelationGraph.of(domain.relations, [], [milk, whole])
    judge = Judge(GroundTruth([milk, whole], [], relations=graph), phrases)
    text = f"{judge.title(milk)}{' ' if language == 'en' else ''}{phrase}{phrases.grammar.table['stop']}"
    read = judge.statements(text, ReasonFacts(milk, {"w": None}, Context()))
    assert ("relation", True) in [(statement.kind, statement.true) for statement in read]
    assert all(statement.true for statement in read), read
