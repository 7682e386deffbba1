"""OpenTelemetry traces: a span for each request, and below it one for each stage.

OTEL_EXPORTER_OTLP_ENDPOINT turns them on, and the standard's other variables apply; otherwise nothing is
loaded. All attributes of spans are set here: no text of people, no ids of people or items, no addresses or
queries of requests. Names: https://opentelemetry.io/docs/specs/semconv/http/http-spans/, those of this
service begin with `whyrec.`
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import recsys
from recsys.errors import ConfigError, MissingDependency
from recsys.service.options import PROBES
from recsys.types import Recommendations, Why
from recsys.utils import tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
FLUSH_S = 3.0  # to send the last spans
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def create_provider() -> TracerProvider | None:
    """Return a provider that exports spans, None unless the environment asks for it.

    Raises:
        ConfigError: The protocol is not supported.
        MissingDependency: The exporter is not installed.
    """
    env = os.environ
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp" or not any(map(env.get, ENDPOINTS)):
        return None
    protocol = next(filter(None, map(env.get, PROTOCOLS)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ConfigError(
            f"spans are sent by http/protobuf, not by {protocol}",
            hint=f"unset {PROTOCOLS[1]}, and let {ENDPOINTS[1]} name the collector's HTTP port, mostly 4318",
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependency(f"traces need '{error.name}'", hint="pip install 'whyrec[serve]'") from error
    resource = Resource({"service.name": "whyrec", "service.version": recsys.__version__})
    provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def shut_down(provider: TracerProvider) -> None:
    """Send the remaining spans; do not wait long for a collector that does not answer."""
    with anyio.move_on_after(FLUSH_S):
        await to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def record_answer(answer: Recommendations | Why) -> None:
    """Add an answer to the span of this request, if there is one."""
    if isinstance(spans := tracing.observer.get(), _Spans):
        spans.add(answer)


class TracingMiddleware:
    """Records a span for each request.

    A `traceparent` header makes it part of the caller's trace.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        self._app = app
        self._tracer = provider.get_tracer("whyrec", recsys.__version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        spans = _Spans(self._tracer, scope)
        token = tracing.observer.set(spans)

        async def send_and_note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                spans.status = message["status"]
            await send(message)

        failed: BaseException | None = None
        try:
            await self._app(scope, receive, send_and_note_status)
        except BaseException as error:
            failed = error
            raise
        finally:
            tracing.observer.reset(token)
            spans.end(scope, failed)


class _Spans:
    """The span of a request. Called with a stage, it adds a span below."""

    def __init__(self, tracer: Tracer, scope: Scope) -> None:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, set_span_in_context

        self._tracer = tracer
        self._method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        self._span = tracer.start_span(
            self._method,
            extract(Headers(scope=scope)),
            SpanKind.SERVER,
            {"http.request.method": self._method},
        )
        self._context = set_span_in_context(self._span)
        self._attributes: dict[str, Any] = {}
        self._sums = {"answers": 0, "items": 0, "prompt_tokens": 0, "cached_tokens": 0, "generated_tokens": 0}
        self._degraded: set[str] = set()
        self.status = 0

    def __call__(self, stage: tracing.Stage) -> None:
        attributes = {"whyrec.writes": stage.writes} if stage.name == "store" else {}
        span = self._tracer.start_span(
            stage.name, self._context, attributes=attributes, start_time=stage.start_ns
        )
        if stage.error:
            _fail(span, stage.error)
        span.end(stage.end_ns)

    def add(self, answer: Recommendations | Why) -> None:
        """Count an answer; a request may have several."""
        self._attributes |= {"whyrec.domain": answer.domain, "whyrec.strategy": answer.strategy}
        if answer.model:
            self._attributes |= {
                "whyrec.model": answer.model.model,
                "whyrec.adapter": answer.model.adapter or "none",
            }
        counts = {
            "answers": 1,
            "items": len(answer.recommendations) if isinstance(answer, Recommendations) else 1,
        }
        counts |= answer.usage.model_dump(include=self._sums.keys() - counts.keys())
        self._sums = {name: value + counts[name] for name, value in self._sums.items()}
        self._degraded |= {note.partition(":")[0].strip()[:40] for note in answer.degraded}

    def end(self, scope: Scope, failed: BaseException | None) -> None:
        """Set the attributes and end the span."""
        route = getattr(scope.get("route"), "path", "")  # the template, without ids
        if route:
            self._span.update_name(f"{self._method} {route}")
            self._attributes["http.route"] = route
        if self.status:
            self._attributes["http.response.status_code"] = self.status
        if self._sums["answers"]:
            self._attributes |= {f"whyrec.{name}": value for name, value in self._sums.items()}
            self._attributes["whyrec.degraded"] = sorted(self._degraded)
        self._attributes["whyrec.request_id"] = scope.get("state", {}).get("request_id", "")
        self._span.set_attributes(self._attributes)
        if failed or self.status >= 500:
            _fail(self._span, failed, str(self.status))
        self._span.end()


def _fail(span: Span, error: BaseException | None, status: str = "") -> None:
    """Mark a span as failed, without the message: it may quote what a person wrote."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", type(error).__name__ if error else status)
    span.set_status(StatusCode.ERROR)
