"""The OpenAPI document, tried with generated requests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
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

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def _lines(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    folder = tmp_path_factory.mktemp("service")
    settings_ = Settings(cache_dir=folder / "cache", data_dir=folder / "data")
    films = load_domain(write_films(folder / "films"))
    with build_recommender(films, settings_, ScriptedEngine()) as recommender:
        yield recommender


def test_no_request_breaks_the_service(world: Recommender) -> None:
    """With a key of all scopes: keys and bounds have their own tests."""
    secret, _ = KeyRing(world.store).create("tests", SCOPES, rate="100000/second")
    headers = {"Host": "localhost", "Authorization": f"Bearer {secret}"}
    app = create_app({"films": world}, ServiceOptions(warm=False))
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    tried: Counter[str] = Counter()
    faults: list[str] = []
    for result in document.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # the document is valid

        @given(case=operation.as_strategy())
        @settings(
            max_examples=8,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        def try_out(case: Any) -> None:
            answer = case.call(headers=headers, timeout=300)
            try:
                case.validate_response(answer, checks=CHECKS)
            except FailureGroup as failed:  # collected, so that all are reported
                faults.extend(
                    f"{case.operation.label}: {answer.status_code} {failure}" for failure in failed.exceptions
                )
            tried[case.operation.label] += answer.status_code < 400

        try_out()
    assert not faults, "\n\n".join(faults)
    assert len(tried) > 30
    assert sum(count > 0 for count in tried.values()) > 15, tried  # most were not refused
