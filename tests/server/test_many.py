"""Several libraries behind one door, keys that cover one of them, and a house with one seat."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ragapp.rag import Rag
from ragapp.server.app import create_app
from tests.server import flows
from tests.server.conftest import PLAY, ServeWith, until
from tests.server.events import events, named

QUESTION = "How long does the warranty last?"
MCP = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Two libraries, "pumps" and "fans", of whom each knows only its own; the second has a flow of its own."""
    where = tmp_path_factory.mktemp("two")
    rags = []
    for name, months, flow in (("pumps", 24, "linear"), ("fans", 12, PLAY)):
        docs = where / "docs" / name
        docs.mkdir(parents=True)
        (docs / f"{name}.txt").write_text(f"The warranty of all {name} lasts {months} months and no day longer.")
        rag = Rag.open(where / name, embedder__name="hashing", reranker__name="keep", answer__flow=flow)
        rag.add([docs])
        rags.append(rag)
    app = create_app(*rags)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client
    for rag in rags:
        rag.close()


@pytest.fixture(scope="module")
def keyed(two: TestClient) -> dict[str, dict[str, str]]:
    """Headers with a key for everything, and with one for the fans only."""
    keyring = two.app.state.house.keyring  # type: ignore[attr-defined]
    made = {"all": keyring.add("all", "write"), "fans": keyring.add("fans", "read", ["fans"])}
    return {name: {"Authorization": f"Bearer {secret}"} for name, (_, secret) in made.items()}


def ask(client: TestClient, headers: dict[str, str], **more: Any) -> Any:
    return client.post("/v1/ask", json={"question": QUESTION, "flow": "linear", **more}, headers=headers)


def chat(client: TestClient, headers: dict[str, str], **more: Any) -> Any:
    messages = [{"role": "user", "content": QUESTION}]
    return client.post("/v1/chat/completions", json={"model": "linear", "messages": messages, **more}, headers=headers)


def tool(client: TestClient, headers: dict[str, str], name: str, **more: Any) -> Any:
    params = {"name": name, "arguments": {"question": QUESTION, **more}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return client.post("/mcp", json=body, headers={**MCP, **headers}).json()["result"]


def test_each_question_goes_to_its_library(two: TestClient, keyed: dict[str, dict[str, str]]) -> None:
    everything = keyed["all"]
    for collection, months in (("pumps", "24"), ("fans", "12"), (None, "24")):
        told = named(events(ask(two, everything, collection=collection).text), "done")[0]["answer"]
        assert f"{months} months" in told["answer"]
        answered = chat(two, everything, collection=collection).json()
        assert f"{months} months" in answered["choices"][0]["message"]["content"]
        found = tool(two, everything, "search", collection=collection)
        assert f"{months} months" in found["content"][0]["text"]
        asked = tool(two, everything, "ask", collection=collection, flow="linear")
        assert f"{months} months" in asked["structuredContent"]["answer"]


def test_a_key_opens_only_its_library(two: TestClient, keyed: dict[str, dict[str, str]]) -> None:
    fans = keyed["fans"]
    assert ask(two, fans, collection="fans").status_code == 200
    assert chat(two, fans, collection="fans").status_code == 200
    assert not tool(two, fans, "search", collection="fans").get("isError")
    for collection in ("pumps", None):  # None is the default one, which is the pumps
        assert ask(two, fans, collection=collection).status_code == 403
        assert chat(two, fans, collection=collection).status_code == 403
        for name in ("search", "ask"):
            refused = tool(two, fans, name, collection=collection)
            assert refused["isError"]
            assert "24 months" not in str(refused)


def test_the_usual_flow_is_that_of_the_library(two: TestClient, keyed: dict[str, dict[str, str]]) -> None:
    messages = [{"role": "user", "content": "short"}]
    body = {"model": "ragapp", "messages": messages, "collection": "fans"}
    answered = two.post("/v1/chat/completions", json=body, headers=keyed["all"]).json()
    assert answered["choices"][0]["message"]["content"] == "one\u2028two"
    # What one library may run by its settings is not thereby open to questions to another.
    assert chat(two, keyed["all"], collection="pumps", model=PLAY).status_code == 404


def test_the_answerer_of_one_library_is_its_own(two: TestClient, keyed: dict[str, dict[str, str]]) -> None:
    def of(collection: str) -> Any:
        return two.get("/v1/answerer", params={"collection": collection}, headers=keyed["all"]).json()

    assert (of("pumps")["flow"], of("fans")["flow"]) == ("linear", PLAY)
    until(lambda: of("fans")["ready"])  # whoever looks at a library is about to ask it
    assert two.get("/v1/answerer", params={"collection": "pumps"}, headers=keyed["fans"]).status_code == 403
    refused = two.post("/v1/answerer", params={"collection": "fans"}, json={"model": ""}, headers=keyed["fans"])
    assert refused.status_code == 403  # a key that only reads
    assert two.get("/v1/answerer", params={"collection": "x"}, headers=keyed["all"]).status_code == 404


def test_nobody_asks_without_a_key(two: TestClient, keyed: dict[str, dict[str, str]]) -> None:
    assert ask(two, {}, collection="fans").status_code == 401
    assert two.post("/mcp", json={}, headers=MCP).status_code == 401
    assert two.post("/v1/embeddings", json={"input": "x"}).status_code == 401
    assert two.post("/v1/embeddings", json={"input": "x"}, headers=keyed["fans"]).status_code == 200


# -- a full house ------------------------------------------------------------------------------------------------------


def test_who_waits_is_told_the_place_and_then_answered(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__seats=1, server__queue=1)
    sitting = threading.Thread(target=lambda: server.ask("held"))
    sitting.start()
    until(lambda: server.gate.taken)
    got: list[Any] = []
    waiting = threading.Thread(
        target=lambda: got.extend(events(server.http.post("/v1/ask", json={"question": "short"}).text))
    )
    waiting.start()
    until(lambda: server.gate.waiting)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    body |= {"params": {"name": "ask", "arguments": {"question": "short"}}}
    refused = server.http.post("/mcp", json=body, headers=MCP).json()["result"]
    assert refused["isError"]  # neither a seat nor a place to wait
    assert server.http.post("/v1/ask", json={"question": "short"}).status_code == 429
    flows.RELEASE.set()
    sitting.join(5)
    waiting.join(5)
    assert [event.number for event in got] == list(range(1, len(got) + 1))
    assert (got[0].name, got[0].data) == ("waiting", {"position": 1})
    names = [event.name for event in got]
    assert names.index("start") > 0
    assert names[-1] == "done"
    until(lambda: not server.gate.taken)


def test_who_leaves_while_waiting_is_forgotten(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__seats=1)
    talks = server.server.config.app.state.house.default.talks  # type: ignore[union-attr]
    talk = talks.create(owner="").id
    sitting = threading.Thread(target=lambda: server.ask("held"))
    sitting.start()
    until(lambda: server.gate.taken)
    body = {"question": "short", "conversation": talk}
    with server.http.stream("POST", "/v1/ask", json=body) as response:
        assert "waiting" in next(response.iter_text())
    until(lambda: not server.gate.waiting, 0.5)
    flows.RELEASE.set()
    sitting.join(5)
    until(lambda: not server.gate.taken)
    assert talks.messages(talk, owner="") == []


def test_no_library_is_needed_to_describe_them(tmp_path: Path) -> None:
    """An empty library is a library: every room opens over it."""
    with (
        Rag.open(tmp_path / "empty", embedder__name="hashing") as rag,
        TestClient(create_app(rag), base_url="http://127.0.0.1") as client,
    ):
        assert client.get("/openapi.json").status_code == 200
        told = events(client.post("/v1/ask", json={"question": QUESTION}).text)
        assert named(told, "done")[0]["answer"]["finish_reason"] == "no_evidence"
        assert tool(client, {}, "search")["structuredContent"] == {"passages": [], "warnings": []}
