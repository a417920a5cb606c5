"""/mcp by the protocol's own client, over loopback."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client

from tests.server import flows
from tests.server.conftest import Running, ServeWith, served, until
from tests.server.slow import TORN

WARRANTY = "How long does the warranty of the pump last?"


def with_client(server: Running, do: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    async def run() -> Any:
        async with Client(f"{server.url}/mcp", mode=mode) as client:
            return await do(client)

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_client_sees_both_tools(real: Running, mode: str) -> None:
    listed = with_client(real, lambda client: client.list_tools(), mode)
    assert [tool.name for tool in listed.tools] == ["search", "ask"]
    for tool in listed.tools:
        assert tool.description
        assert tool.annotations.read_only_hint is True
        assert {"question", "collection"} <= tool.input_schema["properties"].keys()
        assert tool.input_schema["required"] == ["question"]
        assert tool.output_schema["type"] == "object"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_search_gives_text_and_structure(real: Running, mode: str) -> None:
    result = with_client(real, lambda client: client.call_tool("search", {"question": WARRANTY, "k": 1}), mode)
    assert not result.is_error
    (passage,) = result.structured_content["passages"]
    assert (passage["document"], passage["page"]) == ("pump.pdf", 2)
    assert "24 months" in passage["text"]
    assert result.content[0].text.startswith("pump.pdf, page 2")
    assert passage["text"] in result.content[0].text


def test_search_says_what_went_less_well(serve_with: ServeWith, real: Running) -> None:
    torn = serve_with(reranker__name=TORN)
    for server, warnings in ((torn, 1), (real, 0)):
        result = with_client(server, lambda client: client.call_tool("search", {"question": WARRANTY}))
        assert len(result.structured_content["warnings"]) == warnings
        assert result.content[0].text.count("\nNote: ") == warnings


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_ask_gives_the_answer_with_its_citations(real: Running, mode: str) -> None:
    result = with_client(real, lambda client: client.call_tool("ask", {"question": WARRANTY, "flow": "linear"}), mode)
    assert not result.is_error
    told = result.structured_content
    assert "24 months" in told["answer"]
    assert told["finish_reason"] == "stop"
    assert (told["citations"][0]["document"], told["citations"][0]["page"]) == ("pump.pdf", 2)
    assert told["citations"][0]["state"] == "verified"
    assert "24 months" in told["citations"][0]["quote"]
    assert "[1] pump.pdf, page 2 (verified)" in result.content[0].text


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("search", {}, "question"),
        ("search", {"question": WARRANTY, "k": 0}, "k"),
        ("search", {"question": WARRANTY, "folder": "/"}, "folder"),
        ("search", {"question": "?!"}, "empty"),
        ("ask", {"question": WARRANTY, "flow": "tests.server.flows:play"}, "no model"),
        ("ask", {"question": WARRANTY, "collection": "nowhere"}, "no collection"),
        ("drop", {"question": WARRANTY}, "no tool"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(real: Running, name: str, arguments: dict[str, Any], said: str) -> None:
    result = with_client(real, lambda client: client.call_tool(name, arguments), "legacy")
    assert result.is_error
    assert said in result.content[0].text


def test_bugs_and_paths_are_not_told(playing: Running) -> None:
    for question in ("breaks_at_once", "fails_at_once", "chatty"):
        result = with_client(playing, lambda client, q=question: client.call_tool("ask", {"question": q}), "legacy")
        assert "secret" not in str(result)


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


ACCEPT = {"Accept": "application/json, text/event-stream"}


def test_a_client_who_leaves_frees_the_seat(playing: Running) -> None:
    import httpx

    with httpx.Client(base_url=playing.url) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/mcp", json=call("ask", {"question": "slow"}), headers=ACCEPT, timeout=0.5)
    left = time.monotonic()
    until(lambda: flows.CLOSED)
    assert flows.CLOSED[0][0] - left < 0.2
    until(lambda: not playing.gate.taken, 0.2)


def test_only_who_may_ask_is_let_in(folder: Any) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with served(folder, server__api_key="secret") as server:
        assert server.http.post("/mcp", json=body, headers=ACCEPT).status_code == 401
        allowed = server.http.post("/mcp", json=body, headers={**ACCEPT, "Authorization": "Bearer secret"})
        assert allowed.status_code == 200
    with served(folder) as server:
        for header, value in (("Host", "evil.example"), ("Origin", "http://evil.example")):
            assert server.http.post("/mcp", json=body, headers={**ACCEPT, header: value}).status_code == 403


def test_there_is_nothing_to_open_or_to_end(real: Running) -> None:
    for method in ("GET", "DELETE", "PUT"):
        assert real.http.request(method, "/mcp", headers=ACCEPT).status_code == 405


def test_nonsense_is_refused(real: Running) -> None:
    for content in (b"", b"{", b"[]", b'{"jsonrpc": "2.0"}', json.dumps(call("ask", {}) | {"method": 3}).encode()):
        answer = real.http.post("/mcp", content=content, headers={**ACCEPT, "Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, content


def test_a_body_that_is_too_large_is_refused(real: Running) -> None:
    body = json.dumps(call("ask", {"question": "x" * 2_000_000})).encode()
    for content in (body, iter([body[:9], body[9:]])):  # with its length told, and without
        answer = real.http.post("/mcp", content=content, headers={**ACCEPT, "Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"


def test_a_server_starts_without_the_library() -> None:
    """It takes half a second to import, which nobody should wait for who never uses it."""
    script = "import sys, ragapp.server; sys.exit(any(name in sys.modules for name in ('mcp', 'mcp_types')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
