"""A streamed answer: the list at once, each reason as it is done, and at the end what `recommend` gives."""

from __future__ import annotations

import json

import pytest

from recsys.errors import EngineDead, RequestError
from recsys.recommender.recommender import Recommender
from recsys.types import Recommendations, StreamEvent
from tests.fakes import ScriptedEngine

AT = "2026-11-20T21:00"  # a Friday


def ids(answer: Recommendations) -> list[str]:
    return [line.item.id for line in answer]


def test_list_comes_first_then_each_reason_then_the_whole(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    events = recommender.stream("ann", at=AT, k=3)
    first = next(events)
    assert first.kind == "ranked"
    assert first.answer is not None
    assert [line.explanation for line in first.answer] == [None] * 3
    assert not scripted.of_kind("generate")
    *told, last = events
    assert [(event.kind, event.rank) for event in told] == [("reason", 1), ("reason", 2), ("reason", 3)]
    assert last.kind == "done"
    assert last.answer is not None
    assert ids(last.answer) == ids(first.answer)
    texts = [line.explanation.text for line in last.answer if line.explanation]
    assert [event.explanation.text for event in told if event.explanation] == texts


def test_last_event_is_what_recommend_gives(recommender: Recommender) -> None:
    (*_, last), whole = recommender.stream("ann", at=AT, k=3), recommender.recommend("ann", at=AT, k=3)
    varying = {"timings", "usage", "usage_by_stage"}
    assert last.answer is not None
    assert last.answer.model_dump(exclude=varying) == whole.model_dump(exclude=varying)


def test_reason_that_is_done_first_comes_first(
    recommender: Recommender, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = scripted.stream
    monkeypatch.setattr(scripted, "stream", lambda prompts, **o: reversed(list(stream(prompts, **o))))
    *told, last = recommender.stream("ann", k=6)
    written = [
        event.rank or 0 for event in told[1:] if event.explanation and event.explanation.source == "llm"
    ]
    assert len(written) >= 2
    assert written == sorted(written, reverse=True)
    assert last.answer is not None
    for event in told[1:]:
        line = last.answer[(event.rank or 0) - 1].explanation
        assert event.explanation is not None
        assert line is not None
        assert event.explanation.text == line.text


def test_bad_request_is_refused_before_the_first_event(recommender: Recommender) -> None:
    with pytest.raises(RequestError, match="k is 0"):
        recommender.stream("ann", k=0)


def test_engine_that_dies_between_ranking_and_reasons_leaves_template_reasons(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.fail_in["generate"] = EngineDead("it is gone")
    first, *told, last = recommender.stream("cat", k=3)
    assert first.answer is not None
    assert first.answer.degraded == ()
    assert {event.explanation.source for event in told if event.explanation} == {"template"}
    assert last.answer is not None
    assert len(last.answer.degraded) == 1
    assert ids(last.answer) == ids(first.answer)


def test_reasons_can_be_left_out(recommender: Recommender, scripted: ScriptedEngine) -> None:
    answer = recommender.recommend("ann", k=2, reasons=False)
    assert [line.explanation for line in answer] == [None, None]
    assert scripted.of_kind("generate") == []


def test_without_reasons_there_is_the_list_alone(recommender: Recommender) -> None:
    assert [event.kind for event in recommender.stream("ann", k=2, reasons=False)] == ["ranked", "done"]


def test_events_are_plain_json(recommender: Recommender) -> None:
    for event in recommender.stream("ann", k=2):
        assert StreamEvent.model_validate_json(json.dumps(event.to_json())) == event


def test_stream_that_is_left_keeps_nobody_out(recommender: Recommender) -> None:
    events = recommender.stream("ann", k=2)
    next(events)
    del events
    assert len(recommender.recommend("bob", k=2)) == 2
