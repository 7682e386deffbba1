"""The OpenAPI document, tried with generated requests."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recsys.config import Settings, load_domain
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.security.keys import SCOPES, KeyRing
from tests.fakes import ScriptedEngine, build_recommender, write_films

OPEN = {"GET /healthz", "GET /readyz", "GET /version"}
READ = {
    *("POST /v1/recommendations", "GET /v1/recommendations/{recommendation_id}"),
    *("POST /v1/explanations", "POST /v1/similar"),
    *("GET /v1/users", "GET /v1/users/{user_id}", "GET /v1/items", "GET /v1/items/{item_id}"),
    *("POST /v1/sessions", "GET /v1/sessions/{session_id}"),
    *("POST /v1/sessions/{session_id}", "DELETE /v1/sessions/{session_id}"),
    *("GET /v1/prompts", "GET /v1/prompts/diff", "GET /v1/prompts/{name}"),
    *("POST /v1/prompts/render", "POST /v1/prompts/run"),
    *("GET /v1/interactions", "GET /v1/adapters", "GET /v1/domains", "GET /metrics"),
}
WRITE = {
    *("PUT /v1/users/{user_id}", "POST /v1/items", "PUT /v1/items/{item_id}", "DELETE /v1/items/{item_id}"),
    *("POST /v1/interactions", "POST /v1/import"),
}
ADMIN = {
    *("GET /v1/recommendations", "DELETE /v1/users/{user_id}"),
    *("POST /v1/adapters/load", "POST /v1/adapters/promote", "POST /v1/adapters/rollback"),
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def _lines(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Recommender]:
    settings_ = Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")
    films = load_domain(write_films(tmp_path / "films"))
    with build_recommender(films, settings_, ScriptedEngine()) as recommender:
        yield recommender


@dataclass
class Tried:
    """What came of the generated requests, by operation."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)

    def answered(self) -> set[str]:
        """Return the operations that did anything for anybody."""
        return {label for label, counts in self.statuses.items() if any(status < 400 for status in counts)}


def try_out(world: Recommender, key: str | None, modes: Sequence[GenerationMode], n_examples: int) -> Tried:
    """Send generated requests to every operation."""
    headers = {"Host": "localhost"} | ({"Authorization": f"Bearer {key}"} if key else {})
    app = create_app({"films": world}, ServiceOptions(warm=False))
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    tried = Tried()
    for mode, result in itertools.product(modes, document.get_all_operations()):
        operation: Any = result.ok()  # the document is valid

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=n_examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        def send(case: Any) -> None:
            answer = case.call(headers=headers, timeout=300)
            try:
                case.validate_response(answer, checks=CHECKS)
            except FailureGroup as failed:  # collected, so that all are reported
                tried.faults.extend(
                    f"{case.operation.label}: {answer.status_code} {failure}" for failure in failed.exceptions
                )
            tried.statuses[case.operation.label][answer.status_code] += 1

        with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parameters
            send()
    return tried


def test_no_request_breaks_the_service(world: Recommender) -> None:
    """With a key of all scopes: keys and bounds have their own tests."""
    key, _ = KeyRing(world.store).create("tests", SCOPES, rate="100000/second")
    tried = try_out(world, key, [GenerationMode.POSITIVE], 8)
    assert not tried.faults, "\n\n".join(tried.faults)
    assert set(tried.statuses) == OPEN | READ | WRITE | ADMIN, "the lists above are complete"
    assert len(tried.answered()) > 15, tried  # most were not refused


def test_no_request_against_the_document_breaks_the_service(world: Recommender) -> None:
    key, _ = KeyRing(world.store).create("tests", SCOPES, rate="100000/second")
    tried = try_out(world, key, [GenerationMode.NEGATIVE], 4)
    assert not tried.faults, "\n\n".join(tried.faults)


def test_a_key_gets_no_answer_beyond_its_scopes(world: Recommender) -> None:
    key, _ = KeyRing(world.store).create("tests", ["read"], rate="100000/second")
    tried = try_out(world, key, list(GenerationMode), 2)
    assert not tried.faults, "\n\n".join(tried.faults)
    assert tried.answered() <= OPEN | READ
    assert all(tried.statuses[label][403] for label in WRITE | ADMIN), tried
    assert len(tried.answered()) > 12, tried


def test_without_a_key_nothing_is_answered_once_there_are_keys(world: Recommender) -> None:
    KeyRing(world.store).create("tests", ["read"])
    tried = try_out(world, None, [GenerationMode.POSITIVE], 1)
    assert not tried.faults, "\n\n".join(tried.faults)
    assert tried.answered() == OPEN
    assert all(tried.statuses[label][401] for label in READ | WRITE | ADMIN), tried
