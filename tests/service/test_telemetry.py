"""Spans of requests: structure, attributes, and what they must not contain."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from recsys.errors import ConfigError, EngineError
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.observability import telemetry
from recsys.service.options import ServiceOptions
from recsys.utils import tracing
from tests.fakes import ScriptedEngine
from tests.service.api_calls import Serve, recommend, send

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class TracedClient:
    """A client of a service whose spans are collected."""

    def __init__(self, recommender: Recommender, **options: Any) -> None:
        self.kept = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        app = create_app({"films": recommender}, ServiceOptions(**options))
        self.client = TestClient(
            telemetry.TracingMiddleware(app, provider),
            "http://localhost",
            raise_server_exceptions=False,
            client=("127.0.0.1", 5000),
        )

    def spans(self) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Return the span of the request since the last call, and its children by time."""
        found = self.kept.get_finished_spans()
        self.kept.clear()
        (top,) = (span for span in found if span.kind is SpanKind.SERVER)
        below = [span for span in found if span is not top]
        assert all(
            span.parent and top.context and span.parent.span_id == top.context.span_id for span in below
        )
        return top, sorted(below, key=lambda span: span.start_time or 0)


@pytest.fixture
def watched(recommender: Recommender) -> Iterator[TracedClient]:
    found = TracedClient(recommender)
    with found.client:
        yield found


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_and_each_of_its_stages_is_a_span(watched: TracedClient) -> None:
    answer = recommend(watched.client, user="ann", k=2)
    top, below = watched.spans()
    assert top.name == "POST /v1/recommendations"
    assert attributes_of(top) == {
        "http.request.method": "POST",
        "http.route": "/v1/recommendations",
        "http.response.status_code": 200,
        "whyrec.request_id": attributes_of(top)["whyrec.request_id"],
        "whyrec.domain": "films",
        "whyrec.strategy": "pointwise",
        "whyrec.model": "scripted",
        "whyrec.adapter": "none",
        "whyrec.answers": 1,
        "whyrec.items": 2,
        "whyrec.degraded": (),
        **{
            f"whyrec.{name}": answer["usage"][name]
            for name in ("prompt_tokens", "cached_tokens", "generated_tokens")
        },
    }
    assert [span.name for span in below if span.name != "store"] == [
        "queue",
        "context",
        "retrieve",
        "engine start",
        "rank",
        "evidence",
        "reasons",
    ]
    writes = [attributes_of(span)["whyrec.writes"] for span in below if span.name == "store"]
    assert writes[-1]  # stores the trace
    assert False in writes
    for span in below:
        assert (top.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (top.end_time or 0)
        assert span.status.status_code is StatusCode.UNSET


def test_stages_last_no_longer_than_the_answer_says(watched: TracedClient) -> None:
    timings = recommend(watched.client, user="ann", k=2)["timings"]
    _, below = watched.spans()
    recorded = [span for span in below if span.name in timings]
    assert len(recorded) == 6
    for span in recorded:
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        assert 0 < seconds <= timings[span.name] + 1e-4


def test_a_stream_has_the_same_spans(watched: TracedClient) -> None:
    recommend(watched.client, user="ann", k=2)
    _, whole = watched.spans()
    sent = {"user": "ann", "k": 2}
    assert watched.client.post("/v1/recommendations", json=sent, headers={"Accept": "text/event-stream"}).text
    top, streamed = watched.spans()
    assert [span.name for span in streamed] == [span.name for span in whole]
    assert attributes_of(top)["whyrec.items"] == 2


def test_the_callers_trace_goes_on(watched: TracedClient) -> None:
    recommend(watched.client, {"traceparent": f"00-{TRACE}-{PARENT}-01"}, user="ann", k=1)
    top, below = watched.spans()
    assert {f"{span.context.trace_id:032x}" for span in [top, *below] if span.context} == {TRACE}
    assert top.parent
    assert f"{top.parent.span_id:016x}" == PARENT
    recommend(watched.client, {"traceparent": "rubbish"}, user="ann", k=1)
    assert watched.spans()[0].parent is None


def test_a_trace_that_the_caller_does_not_record_is_not_recorded_here(watched: TracedClient) -> None:
    recommend(watched.client, {"traceparent": f"00-{TRACE}-{PARENT}-00"}, user="ann", k=1)
    assert watched.kept.get_finished_spans() == ()


def test_spans_hold_the_request_id_and_nothing_of_people_or_items(watched: TracedClient) -> None:
    """No titles, ids, wishes, queries, host names, keys or error messages."""
    client = watched.client
    headers = {"X-Request-Id": "r-1", "User-Agent": "agent-of-ann", "Authorization": "Bearer secret-key"}
    asked = {"user": "ann", "wish": "xylophone", "liked": ["Fargo"], "extra": {"mood": "gloomy"}}
    assert client.post(
        "/v1/recommendations?domain=films", json=asked, headers={"X-Request-Id": "r-1"}
    ).is_success
    assert attributes_of(watched.spans()[0])["whyrec.request_id"] == "r-1"
    answers = [
        client.post("/v1/recommendations", json=asked, headers=headers),
        client.post("/v1/explanations", json={"user": "ann", "item": "Fargo"}),
        client.post("/v1/explanations", json={"user": "ann", "item": "xylophone"}),
        client.get("/v1/users/ann"),
        client.get("/v1/interactions", params={"user_id": "ann"}),
        client.get("/v1/users/xylophone"),
        client.get("/v1/xylophone"),
        client.put("/v1/users/zoe", json={"id": "zoe", "profile": {"age": "gloomy"}}),
        client.request("XYLOPHONE", "/v1/users/ann"),
        send(client, {"user_id": "ann", "item_id": "f7", "event": "liked"}),
    ]
    assert {answer.status_code for answer in answers} >= {200, 201, 404}
    recorded = " ".join(span.to_json() for span in watched.kept.get_finished_spans())
    assert "/v1/users/{user_id:path}" in recorded
    for word in ("ann", "zoe", "xylophone", "fargo", "gloomy", "secret", "agent", "127.0.0.1", "item_id"):
        assert word not in recorded.lower(), word
    for answer in answers[:2]:
        for line in answer.json().get("recommendations", ()):
            assert line["item"]["title"] not in recorded


def test_an_engine_that_fails_degrades_the_answer_and_the_span_says_so(
    recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.fail_in["labels"] = EngineError("the prompt was 'xylophone'")
    watched = TracedClient(recommender)
    with watched.client as client:
        recommend(client, user="ann", k=2)
    top, _ = watched.spans()
    assert "ranking" in attributes_of(top)["whyrec.degraded"]
    assert top.status.status_code is StatusCode.UNSET


def test_what_fails_is_marked_by_its_kind(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = TracedClient(recommender)

    def broken(*_: object) -> None:
        raise OSError("no such file: /home/ann")

    monkeypatch.setattr(recommender.retriever, "retrieve_gated", broken)
    with watched.client as client:
        assert client.post("/v1/recommendations", json={"user": "ann"}).status_code == 500
    top, below = watched.spans()
    assert top.status.status_code is StatusCode.ERROR
    assert attributes_of(top)["http.response.status_code"] == 500
    (retrieve,) = (span for span in below if span.name == "retrieve")
    assert attributes_of(retrieve)["error.type"] == "OSError"
    assert retrieve.status.status_code is StatusCode.ERROR
    assert not retrieve.events  # an event would contain the message
    assert "/home/ann" not in top.to_json() + retrieve.to_json()


def test_one_request_for_many_users_is_one_span_that_counts_them(watched: TracedClient) -> None:
    watched.client.post(
        "/v1/recommendations", json={"users": ["ann", "bob", "cat"], "k": 2, "reasons": False}
    )
    top, below = watched.spans()
    assert attributes_of(top)["whyrec.answers"] == 3
    assert attributes_of(top)["whyrec.items"] == 6
    assert [span.name for span in below].count("rank") == 3


def test_probes_have_no_span_and_no_observer_stays(watched: TracedClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert watched.client.get(path).status_code == 200
    assert watched.kept.get_finished_spans() == ()
    assert tracing.observer.get() is None


# --- what the environment asks for ------------------------------------------------


def test_unless_asked_nothing_is_loaded() -> None:
    code = """
import os, sys
from recsys.service import app
from recsys.service.observability import telemetry
endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
for asked in ({}, endpoint | {"OTEL_SDK_DISABLED": "true"}, endpoint | {"OTEL_TRACES_EXPORTER": "none"}):
    os.environ.update(asked)
    assert telemetry.create_provider() is None, asked
    for name in asked:
        del os.environ[name]
print([name for name in sys.modules if name.startswith("opentelemetry.sdk") or ".otlp" in name])
"""
    own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_another_protocol_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(telemetry.ENDPOINTS[1], "http://127.0.0.1:4317")
    monkeypatch.setenv(telemetry.PROTOCOLS[1], "grpc")
    with pytest.raises(ConfigError) as caught:
        telemetry.create_provider()
    assert "4318" in caught.value.hint


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """Yield the address of an OTLP receiver, and the (path, message) it receives."""
    received: list[tuple[str, ExportTraceServiceRequest]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_has_all_spans_when_the_service_has_ended(
    collector: tuple[str, list[tuple[str, ExportTraceServiceRequest]]],
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    client = serve()
    recommend(client, {"traceparent": f"00-{TRACE}-{PARENT}-01"}, user="ann", k=1)
    client.__exit__(None, None, None)
    assert {path for path, _ in received} == {"/v1/traces"}
    resources = [resource for _, message in received for resource in message.resource_spans]
    named = {one.key: one.value.string_value for one in resources[0].resource.attributes}
    assert named["service.name"] == "whyrec"
    assert named["deployment.environment.name"] == "test"
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    (top,) = (span for span in spans if span.parent_span_id.hex() == PARENT)
    assert {span.parent_span_id for span in spans if span is not top} == {top.span_id}
    assert {"POST /v1/recommendations", "queue", "retrieve", "rank", "evidence", "reasons", "store"} <= {
        span.name for span in spans
    }


def test_a_collector_that_is_away_holds_nobody_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    client = serve()
    assert recommend(client, user="ann", k=1)["recommendations"]
    client.__exit__(None, None, None)
