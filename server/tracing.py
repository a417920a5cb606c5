"""OpenTelemetry: a span for each request, with a child for each step of its flow. An extra, and off.

Spans are sent only where the settings ([server] otlp_endpoint) or $OTEL_EXPORTER_OTLP_ENDPOINT name a collector. They
have the method, the template of the path, the status, the request's id and the names and times of steps: no question,
no text, no name of a document, no key. A client that sends ``traceparent`` (W3C Trace Context) has them in its trace.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ragapp
from ragapp.config import ServerTable
from ragapp.errors import ConfigError
from ragapp.server.observing import Seen
from ragapp.types import Done, Event, Step, Token

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "/v1/traces"  # where a collector takes them, by OTLP's specification
NS = 1_000_000_000


def endpoint_of(settings: ServerTable, env: Mapping[str, str] | None = None) -> str:
    """The URL that traces go to; "" where nobody named one. Raises ConfigError for what is no URL."""
    named = settings.otlp_endpoint or (os.environ if env is None else env).get(VARIABLE, "")
    if not named:
        return ""
    parts = urlsplit(named)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{named!r} is no address that traces can be sent to.", "Like http://127.0.0.1:4318 in [server]."
        )
    return named if named.rstrip("/").endswith(TRACES) else named.rstrip("/") + TRACES


class Tracing:
    """Sends spans; see observing.Sink."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # Of its own, not OpenTelemetry's global one: an app that ragapp is a part of may have another.
        self._provider = TracerProvider(
            resource=Resource({"service.name": "ragapp", "service.version": ragapp.__version__}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ragapp")
        self._spans: dict[int, Any] = {}  # of the requests that are being answered, by the identity of their Seen

    @classmethod
    def to(cls, endpoint: str) -> Tracing:
        """Raises ConfigError when the extra is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise ConfigError(
                "Traces need OpenTelemetry, which is not installed.", "pip install 'ragapp[telemetry]'"
            ) from error
        return cls(OTLPSpanExporter(endpoint=endpoint))

    def begun(self, seen: Seen) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # A context of its own, so that nothing but the client's header makes it a part of another trace.
        around = TraceContextTextMapPropagator().extract(dict(seen.trace))
        attributes = {"http.request.method": seen.method, "ragapp.request_id": seen.id}
        self._spans[id(seen)] = self._tracer.start_span(
            seen.method, around, SpanKind.SERVER, attributes=attributes, start_time=time.time_ns()
        )

    def heard(self, seen: Seen, event: Event) -> None:
        span = self._spans.get(id(seen))
        if span is None:  # the client has left, and the flow ends by and by
            return
        match event:
            case Step(name, seconds):
                self._child(span, name, seconds)
            case Token(text) if text and seen.first_token is None:
                span.add_event("first token")
            case Done(answer):
                span.set_attribute("gen_ai.usage.input_tokens", answer.usage.prompt_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", answer.usage.completion_tokens)
                span.set_attribute("ragapp.finish_reason", answer.finish_reason)

    def ended(self, seen: Seen) -> None:
        from opentelemetry.trace import Status, StatusCode

        span = self._spans.pop(id(seen))
        span.update_name(f"{seen.method} {seen.route}")
        span.set_attribute("http.route", seen.route)
        span.set_attribute("http.response.status_code", seen.status)
        if seen.codes:
            span.set_attribute("error.type", seen.codes[-1])
        if seen.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what is left, and end its thread."""
        self._provider.shutdown()

    def _child(self, span: Any, name: str, seconds: float) -> None:
        from opentelemetry.trace import set_span_in_context

        now = time.time_ns()
        started = now - int(seconds * NS)
        # Without the present context: only the request's span is around a step.
        child = self._tracer.start_span(name, set_span_in_context(span, _nothing()), start_time=started)
        child.end(now)


def _nothing() -> Any:
    from opentelemetry.context import Context

    return Context()
