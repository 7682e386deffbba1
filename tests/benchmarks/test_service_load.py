"""The load benchmark's own arithmetic: what is wrong, shed or lost is counted as that, and growth is seen."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

from benchmarks import load_checks, report, report_load, service_load
from benchmarks.environment import describe
from benchmarks.load_checks import KnownIds, Tally, slope
from benchmarks.recording import Recorder, read_calls, replay
from recsys.config import Domain, Settings, load_domain
from recsys.data.importers import read_domain
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.observability.logs import request_id
from recsys.service.options import ServiceOptions
from recsys.service.transport.problems import Overloaded, ServiceError, problem_of, response_of
from tests.fakes import ScriptedEngine, build_recommender, hashed_score, write_films

Change = Callable[[dict[str, Any]], None]
ASKED: dict[str, Any] = {"request_id": "r", "user": "ann", "k": 3, "reasons": False}


@dataclass(frozen=True)
class Real:
    """Real answers of the service over the films, without and with reasons, and what it kept of the first."""

    known: KnownIds
    domain: Domain
    plain: bytes
    reasoned: bytes
    kept: bytes

    def answer(self, reasons: bool = False) -> dict[str, Any]:
        results: dict[str, Any] = json.loads(self.reasoned if reasons else self.plain)
        return results


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    folder = tmp_path_factory.mktemp("load")
    domain = load_domain(write_films(folder / "films"))
    settings = Settings(cache_dir=folder / "cache", data_dir=folder / "data")
    asked = {"user": "ann", "k": 3}

    async def ask(client: httpx.AsyncClient) -> tuple[bytes, bytes, bytes]:
        plain, reasoned = [
            (await client.post("/v1/recommendations", json=asked | {"reasons": reasons})).content
            for reasons in (False, True)
        ]
        given = json.loads(plain)["recommendation_id"]
        return plain, reasoned, (await client.get(f"/v1/recommendations/{given}")).content

    with build_recommender(domain, settings, ScriptedEngine()) as recommender:
        return Real(
            KnownIds.of(domain, read_domain(domain)), domain, *asyncio.run(ask(client_of(recommender)))
        )


def client_of(recommender: Recommender, **options: Any) -> httpx.AsyncClient:
    app = create_app({"films": recommender}, ServiceOptions(**options))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def taken(response: httpx.Response | Exception, known: KnownIds, **asked: Any) -> Tally:
    tally = Tally()
    tally.take(response, 0.5, **(ASKED | {"known": known} | asked))
    return tally


def swap(answer: dict[str, Any]) -> None:
    lines = answer["recommendations"]
    lines[0]["score"], lines[1]["score"] = lines[1]["score"], lines[0]["score"]


def twice(answer: dict[str, Any]) -> None:
    answer["recommendations"][1]["item"] = answer["recommendations"][0]["item"]


def line(**changed: Any) -> Change:
    return lambda answer: answer["recommendations"][0].update(changed)


def item(**changed: Any) -> Change:
    return lambda answer: answer["recommendations"][0]["item"].update(changed)


WRONG: dict[str, Change] = {
    "another user": lambda answer: answer.update(user="bob"),
    "not as many as asked": lambda answer: answer["recommendations"].pop(),
    "ranks": line(rank=7),
    "order": swap,
    "an item twice": twice,
    "not in the catalogue": item(id="f99"),
    "in the history": item(id="f3"),
    "no answer": lambda answer: answer.pop("recommendations"),
}


def test_a_right_answer_is_counted_as_right(real: Real) -> None:
    answer = real.answer()
    assert answer["recommendations"][0]["score"] > answer["recommendations"][1]["score"]
    figures = taken(httpx.Response(200, json=answer), real.known).figures(2.0)
    assert (figures["sent"], figures["answered"], figures["wrong"], figures["lost"]) == (1, 1, 0, 0)
    assert figures["per_s"] == 0.5
    assert figures["tokens"]["prompt_tokens"] == answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("fault", WRONG)
def test_each_fault_is_seen_and_named(real: Real, fault: str) -> None:
    answer = real.answer()
    WRONG[fault](answer)
    tally = taken(httpx.Response(200, json=answer), real.known)
    assert tally.wrong_answers == 1
    assert fault in tally.wrong


def test_a_missing_reason_is_a_fault(real: Real) -> None:
    answer = real.answer(reasons=True)
    assert taken(httpx.Response(200, json=answer), real.known, reasons=True).wrong_answers == 0
    answer["recommendations"][2]["explanation"] = None
    assert taken(httpx.Response(200, json=answer), real.known, reasons=True).wrong == {"no reason": 1}


def test_reasons_that_nobody_asked_for_are_a_fault(real: Real) -> None:
    response = httpx.Response(200, content=real.reasoned)
    assert taken(response, real.known).wrong == {"a reason not asked for": 1}


def test_rules_may_show_items_in_another_order(real: Real) -> None:
    answer = real.answer()
    swap(answer)
    diverse = real.domain.model_copy(
        update={"ranker": real.domain.ranker.model_copy(update={"diversity": 0.3})}
    )
    relaxed = KnownIds.of(diverse, read_domain(real.domain))
    assert taken(httpx.Response(200, json=answer), real.known).wrong == {"order": 1}
    assert taken(httpx.Response(200, json=answer), relaxed).wrong == {}


def problem(error: ServiceError, headers: dict[str, str] | None = None) -> httpx.Response:
    sent = response_of(problem_of(error), headers)
    return httpx.Response(sent.status_code, content=bytes(sent.body), headers=dict(sent.headers))


def test_only_the_full_queue_is_shedding_and_all_else_is_lost(real: Real) -> None:
    tally = taken(problem(Overloaded()), real.known)
    assert (tally.shed, tally.without_retry_after, tally.lost.total()) == (1, 0, 0)
    bare = problem(Overloaded())
    del bare.headers["retry-after"]
    assert taken(bare, real.known).without_retry_after == 1
    lost: list[httpx.Response | Exception] = [
        problem(ServiceError(503, "the database is locked")),
        problem(ServiceError(500, "the service failed")),
        httpx.Response(503, text="<html>a proxy</html>"),
        httpx.ReadError("connection reset"),
        httpx.ReadTimeout("too long"),
    ]
    for outcome in lost:
        tally = taken(outcome, real.known)
        assert (tally.shed, tally.lost.total(), tally.wrong_answers, tally.seconds) == (0, 1, 0, [])


def test_an_answer_that_is_not_kept_as_it_was_given_is_lost(real: Real) -> None:
    answer = real.answer()
    given = answer["recommendation_id"]
    for response, lost in (
        (httpx.Response(200, content=real.kept), 0),
        (httpx.Response(404, json={}), 1),
        (httpx.Response(200, json={"answer": answer | {"user": "bob"}}), 1),
        (
            httpx.Response(200, json={"answer": answer | {"recommendations": answer["recommendations"][:1]}}),
            1,
        ),
    ):
        tally = taken(httpx.Response(200, json=answer), real.known)
        tally.kept(given, response)
        assert tally.lost.total() == lost


def test_the_same_answer_for_two_requests_is_wrong(real: Real) -> None:
    response, tally = httpx.Response(200, json=real.answer()), Tally()
    for number in range(2):
        tally.take(response, 0.5, **(ASKED | {"known": real.known, "request_id": str(number)}))
    assert tally.wrong == {"an id given twice": 1}


def test_percentiles_are_those_of_the_seconds() -> None:
    results = load_checks.latency([number / 100 for number in range(101)], 10.0)
    assert (results["p50_s"], results["p95_s"], results["p99_s"], results["per_s"]) == (0.5, 0.95, 0.99, 10.1)
    assert load_checks.latency([], 10.0) == {"per_s": 0.0, "seconds": []}


# --- memory ------------------------------------------------------------------------


def memory(growth: float, seed: int) -> tuple[list[float], list[float]]:
    """Ten minutes of samples every 2 s: filling caches, waves, noise, and `growth` MiB a minute."""
    chance = np.random.default_rng(seed)
    minutes = np.arange(0, 10, 1 / 30)
    waves = np.zeros(len(minutes))
    for place in range(1, len(minutes)):  # neighbours depend on each other
        waves[place] = 0.8 * waves[place - 1] + chance.normal(0, 2)
    filling = 200 * (1 - np.exp(-minutes / 0.4))
    return list(minutes), list(1000 + filling + growth * minutes + waves)


def test_growth_is_seen_and_its_interval_holds_the_truth() -> None:
    for growth in (0.0, 5.0):
        results = [slope(*memory(growth, seed)) for seed in range(40)]
        held = [one["low"] <= growth <= one["high"] for one in results if one]
        assert len(held) == 40
        assert sum(held) >= 34  # 95 %: 34 or more of 40 in all but 1 of 100 such tests
    assert all(one and one["low"] > 0 for one in results)


def test_too_few_samples_have_no_slope() -> None:
    assert slope([], []) is None
    assert slope([0, 0.5, 1.0], [1, 2, 3]) is None


# --- recording ---------------------------------------------------------------------


def test_what_was_recorded_is_asked_again_to_the_token(
    films: Domain, settings: Settings, tmp_path: Path
) -> None:
    first = ScriptedEngine()
    recorder = cast(ScriptedEngine, Recorder(first, tmp_path / "calls.jsonl"))
    given = {}
    with build_recommender(films, settings, recorder) as recommender:
        for user in ("ann", "bob"):
            token = request_id.set(f"of {user}")
            given[user] = recommender.recommend(user, k=2)
            request_id.reset(token)
    recorded = read_calls(tmp_path / "calls.jsonl")
    assert list(recorded) == ["of ann", "of bob"]
    again = ScriptedEngine(tokenizer=first.tokenizer)
    seconds, elapsed, tokens = replay(again, list(recorded.values()), 1)
    assert len(seconds) == 2
    assert elapsed >= max(seconds)
    assert again.calls == first.calls
    for name, total in tokens.items():
        assert total == sum(getattr(answer.usage, name) for answer in given.values())


# --- all together ------------------------------------------------------------------


def test_levels_shedding_and_soak_of_a_real_service(
    recommender: Recommender, films: Domain, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One place and no queue: callers beyond the first are told to come back, nothing is wrong or lost."""

    def slow(text: str, label: str) -> float:
        time.sleep(0.01)
        return hashed_score(text, label)

    scripted.score = slow
    monkeypatch.setenv("WHYREC_SERVE_CONCURRENCY", "1")
    monkeypatch.setenv("WHYREC_SERVE_QUEUE", "0")
    known = KnownIds.of(films, read_domain(films))
    options = service_load.LoadOptions(seconds=0.05, concurrency=(1,), soak=0.001, soak_callers=2, k=2)

    async def run() -> tuple[dict[str, Any], list[list[str]]]:
        async with client_of(recommender) as client:
            return await service_load.measure(client, os.getpid(), known, options)

    result, asked = asyncio.run(run())
    assert [(level["reasons"], level["callers"]) for level in result["levels"]] == [(True, 1), (False, 1)]
    for number, level in enumerate(result["levels"]):
        assert level["answered"] == level["sent"] == len(asked[number]) > 0
    assert result["shedding"]["callers"] == 1 + service_load.BEYOND
    assert result["shedding"]["shed"] > 0
    assert result["soak"]["samples"][0]["service_mib"] > 1
    runs = [*result["levels"], result["shedding"], *result["soak"]["runs"]]
    for one in runs:
        assert (one["wrong"], one["lost"], one["without_retry_after"], one["degraded"]) == (0, 0, 0, 0), one[
            "faults"
        ]
        assert one["sent"] == one["answered"] + one["shed"]

    described = {"title": "Films", "options": {"k": 2, "seconds": 0.05}, "environment": describe()}
    page = report._service_load(json.loads(json.dumps(result | described)))
    assert page.count("| yes | 1 |") == page.count("| no | 1 |") == 1
    assert "0 wrong, 0 lost" in page


def test_the_page_shows_what_went_wrong() -> None:
    level = {
        "reasons": True,
        "callers": 2,
        "answered": 9,
        "wrong": 1,
        "lost": 2,
        "degraded": 3,
        "per_s": 0.5,
        "p50_s": 1.0,
        "p95_s": 2.0,
        "p99_s": 3.0,
        "bare": {"p50_s": 0.8, "per_s": 1.0},
    }
    page = report_load.section({"title": "F", "options": {"k": 5, "seconds": 60}, "levels": [level]})
    assert "| yes | 2 | 9 | 1.00 | 2.00 | 3.00 | 0.500 | 0.80 | 1.000 | 50% |" in page
    assert "1 wrong, 2 lost, 3 degraded" in page
