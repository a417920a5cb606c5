"""OpenTelemetry: what is sent, where to, and that nothing is without a word of the user's."""

from __future__ import annotations

import builtins
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragapp.config import ServerTable
from ragapp.errors import ConfigError
from ragapp.rag import Rag
from ragapp.server import create_app
from ragapp.server.tracing import VARIABLE, Tracing, endpoint_of
from tests.server.conftest import PLAY, ServeWith

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


class Collector:
    """Takes what is sent."""

    def __init__(self) -> None:
        got = self.got = list[tuple[str, bytes]]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever).start()

    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(_unpacked(data)) for _, data in self.got]
        return [s for r in requests for of in r.resource_spans for scope in of.scope_spans for s in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _unpacked(data: bytes) -> bytes:
    import gzip

    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_a_request_is_a_span_and_its_steps_are_children(serve_with: ServeWith, collector: Collector) -> None:
    server = serve_with(answer__flow=PLAY, server__otlp_endpoint=collector.url)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    server.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "short"}]},
        headers={"traceparent": f"00-{trace}-{parent}-01", "X-Request-Id": "me"},
    )
    server.http.get("/v1/documents/zirconium.pdf/pages")
    server.close()
    assert {path for path, _ in collector.got} == {"/v1/traces"}
    spans = {span.name: span for span in collector.spans()}
    request = spans["POST /v1/chat/completions"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (trace, parent)
    told = {a.key: a.value.string_value or a.value.int_value for a in request.attributes}
    assert told["http.response.status_code"] == 200
    assert told["ragapp.request_id"] == "me"
    assert told["gen_ai.usage.output_tokens"] == 2
    assert [event.name for event in request.events] == ["first token"]
    step = spans["search"]
    assert step.parent_span_id == request.span_id
    assert step.end_time_unix_nano - step.start_time_unix_nano == pytest.approx(10_000_000, abs=1000)
    assert spans["GET /v1/documents/{id:path}/pages"].trace_id != request.trace_id
    sent = b"".join(_unpacked(data) for _, data in collector.got)
    for secret in (b"zirconium", b"one\xe2\x80\xa8", b"a b.pdf"):
        assert secret not in sent


def test_the_end_does_not_wait_for_a_collector_that_is_not_there(serve_with: ServeWith) -> None:
    server = serve_with(server__otlp_endpoint="http://127.0.0.1:9")
    assert server.http.get("/healthz").status_code == 200
    server.close()  # within ten seconds, or this fails


@pytest.mark.parametrize(
    ("setting", "variable", "endpoint"),
    [
        ("", "", ""),
        ("http://a:4318", "", "http://a:4318/v1/traces"),
        ("http://a:4318/", "http://b", "http://a:4318/v1/traces"),
        ("", "https://b/x", "https://b/x/v1/traces"),
        ("http://a/v1/traces", "", "http://a/v1/traces"),
    ],
)
def test_where_traces_go(setting: str, variable: str, endpoint: str) -> None:
    settings = ServerTable(otlp_endpoint=setting)  # type: ignore[call-arg]
    assert endpoint_of(settings, {VARIABLE: variable} if variable else {}) == endpoint


@pytest.mark.parametrize("wrong", ["localhost:4318", "file:///x", "http://"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="no address"):
        endpoint_of(ServerTable(otlp_endpoint=wrong), {})  # type: ignore[call-arg]


def test_without_the_extra_the_line_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as caught:
        Tracing.to("http://127.0.0.1:4318/v1/traces")
    assert "ragapp[telemetry]" in caught.value.hint


def test_nothing_of_it_is_there_unless_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    with Rag.open(folder, embedder__name="hashing") as rag:
        create_app(rag).state.house.close()
    assert not any(name.startswith("opentelemetry.exporter") for name in sys.modules)
