"""The process: address, readiness, the way it ends, what it loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragapp.config import ServerTable
from ragapp.errors import ConfigError
from ragapp.rag import Rag
from ragapp.server import create_app, serve
from ragapp.server.app import listen, url_of
from tests.server.conftest import PLAY, Running, ServeWith, until

REPOSITORY = Path(__file__).parents[2]


def _rag(folder: Path, **settings: Any) -> Rag:
    return Rag.open(folder, embedder__name="hashing", **settings)


def test_an_open_address_without_a_key_is_refused_before_it_is_bound(folder: Path) -> None:
    with listen(ServerTable(port=0)) as taken:  # type: ignore[call-arg]
        # Were it bound, this port would be said to be in use.
        port = taken.getsockname()[1]
        with (
            _rag(folder, server__host="0.0.0.0", server__port=port) as rag,
            pytest.raises(ConfigError, match="no api"),
        ):
            serve(rag)


def test_a_port_in_use_is_said_to_be(folder: Path) -> None:
    with listen(ServerTable(port=0)) as taken:  # type: ignore[call-arg]
        port = taken.getsockname()[1]
        with _rag(folder, server__port=port) as rag, pytest.raises(ConfigError, match=f"Port {port} of 127") as caught:
            serve(rag)
    assert "--port" in caught.value.hint


def test_an_address_that_is_not_ours_is_said_not_to_be() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        listen(ServerTable(host="192.0.2.1", port=0))  # type: ignore[call-arg]


def test_the_address_is_one_to_reach_the_server_at() -> None:
    for host in ("localhost", "0.0.0.0"):
        with listen(ServerTable(host=host, port=0)) as listener:  # type: ignore[call-arg]
            assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_readyz_waits_for_the_models(folder: Path) -> None:
    class Slow(Rag):
        """Cannot be warmed at the first try."""

        go = threading.Event()

        def warm(self) -> None:
            self.go.wait(5)
            super().warm()

    with Slow.open(folder, embedder__name="hashing", server__port=0) as rag:
        running = Running(rag)
        try:
            waiting = running.http.get("/readyz")
            assert (waiting.status_code, waiting.json()["status"]) == (503, "warming")
            assert running.http.get("/healthz").json() == {"status": "ok"}
            rag.go.set()
            until(lambda: running.http.get("/readyz").status_code == 200)
        finally:
            rag.go.set()
            running.close()


def test_open_streams_do_not_hold_up_the_end(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__grace_seconds=0.5)
    with server.streamed("held") as response:
        body = response.iter_raw()
        next(body)
        started = time.monotonic()
        server.server.should_exit = True
        rest = b"".join(body)
        assert b'"code":"shutting_down"' in rest
        assert rest.endswith(b"data: [DONE]\n\n")
    server.close()
    assert time.monotonic() - started < 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process(folder: Path, number: signal.Signals) -> None:
    program = (
        "import sys\nfrom ragapp.rag import Rag\nfrom ragapp.server import serve\n"
        "with Rag.open(sys.argv[1], embedder__name='hashing', server__port=0) as rag:\n"
        "    serve(rag, lambda url: print(url, flush=True))\n"
        "print('closed')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout
        url = process.stdout.readline().decode().strip()
        assert httpx.get(f"{url}/healthz").status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert err == b""
    assert (out, process.returncode) == (b"closed\n", 0)


def test_the_description_names_every_route(real: Running) -> None:
    paths = real.http.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/healthz", "/metrics", "/readyz", "/v1/answerer", "/v1/answerer/download", "/v1/answerer/size", "/v1/ask",
        "/v1/chat/completions", "/v1/collections", "/v1/conversations", "/v1/conversations/{conversation}",
        "/v1/conversations/{conversation}/export", "/v1/conversations/{conversation}/messages/{message}",
        "/v1/conversations/{conversation}/messages/{message}/feedback", "/v1/documents", "/v1/documents/{id}",
        "/v1/documents/{id}/boxes", "/v1/documents/{id}/file", "/v1/documents/{id}/find", "/v1/documents/{id}/pages",
        "/v1/documents/{id}/pages/{n}.png", "/v1/documents/{id}/pages/{n}/text", "/v1/documents/{id}/pages/{n}/words",
        "/v1/embeddings", "/v1/events", "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs/{id}/retry",
        "/v1/models", "/v1/models/{name}", "/v1/search", "/v1/suggestions",
    }  # fmt: skip


def test_no_heavy_library_is_loaded() -> None:
    program = "import sys, ragapp.server; print(sorted({'torch', 'transformers', 'openvino'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_app_is_served_without_a_socket_too(folder: Path) -> None:
    """For those who put the app behind a server of their own."""
    import asyncio

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(rag))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.get("/v1/models")

    with _rag(folder) as rag:
        assert asyncio.run(ask()).status_code == 200


def test_an_unknown_name_is_said_to_be() -> None:
    with pytest.raises(ConfigError, match="no address"):
        listen(ServerTable(host="no such name", port=0))  # type: ignore[call-arg]
