"""The clients that people have: OpenAI's in Python and JavaScript, LangChain's, curl, and a fetch by hand."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server import flows
from tests.server.conftest import Running, ServeWith, until

SHORT: Any = [{"role": "user", "content": "short"}]
TEXT = "one\u2028two"


def test_openai_async(playing: Running) -> None:
    from openai import AsyncOpenAI

    async def run() -> tuple[Any, str, Any]:
        async with AsyncOpenAI(base_url=f"{playing.url}/v1", api_key="none", max_retries=0) as client:
            whole = await client.chat.completions.create(model="ragapp", messages=SHORT)
            text, usage = "", None
            stream = await client.chat.completions.create(
                model="ragapp", messages=SHORT, stream=True, stream_options={"include_usage": True}
            )
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                usage = chunk.usage or usage
            return whole, text, usage

    whole, text, usage = asyncio.run(run())
    assert whole.choices[0].message.content == text == TEXT
    assert usage.total_tokens == whole.usage.total_tokens == 5


def test_openai_puts_a_stream_together(playing: Running) -> None:
    """It checks every frame and puts them together again."""
    flows.RELEASE.set()
    messages: Any = [{"role": "user", "content": "held"}]
    with playing.openai.chat.completions.stream(model="ragapp", messages=messages) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == ("free", "stop")


def test_openai_names_a_collection_in_the_extra_body(playing: Running) -> None:
    import openai

    name = playing.http.get("/v1/collections").json()["data"][0]["name"]
    got = playing.openai.chat.completions.create(model="ragapp", messages=SHORT, extra_body={"collection": name})
    assert got.choices[0].message.content == TEXT
    with pytest.raises(openai.NotFoundError) as caught:
        playing.openai.chat.completions.create(model="ragapp", messages=SHORT, extra_body={"collection": "nowhere"})
    assert caught.value.code == "not_found"


def test_langchain(playing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model: Any = ChatOpenAI(base_url=f"{playing.url}/v1", api_key="none", model="ragapp", max_retries=0)
    whole = model.invoke("short")
    assert whole.content == TEXT
    assert whole.usage_metadata["total_tokens"] == 5
    assert whole.response_metadata["finish_reason"] == "length"

    pieces = list(model.stream("short"))
    assert "".join(str(piece.content) for piece in pieces) == TEXT
    assert len([piece for piece in pieces if piece.content]) == 2
    assert pieces[0].__class__.__name__ == "AIMessageChunk"

    said = [SystemMessage("be brief"), HumanMessage("first"), AIMessage("second"), HumanMessage("third")]
    told = json.loads(str(model.invoke(said).content))
    assert told["text"] == "third"
    assert [turn["role"] for turn in told["history"]] == ["system", "user", "assistant"]

    async def streamed() -> str:
        return "".join([str(piece.content) async for piece in model.astream("short")])

    assert asyncio.run(streamed()) == TEXT
    # It may call tools, and so does not.
    bound = model.bind_tools([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
    answer = bound.invoke("short")
    assert (answer.content, answer.tool_calls) == (TEXT, [])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_sees_tokens_as_they_come(playing: Running) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "held"}], "stream": True})
    url = f"{playing.url}/v1/chat/completions"
    arguments = ["curl", "-sN", url, "-H", "Content-Type: application/json", "-d", body]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        # The first frame is there although the answer is not: nothing is held back.
        assert b'"role":"assistant"' in curl.stdout.readline()
        flows.RELEASE.set()
        rest = curl.stdout.read()
    assert b'"content":"free"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")


NODE = shutil.which("node")


def _has_client() -> bool:
    return (
        NODE is not None
        and subprocess.run([NODE, "-e", "require('openai')"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_javascript(playing: Running) -> None:
    """OpenAI's own package, where NODE_PATH leads to it (npm install openai)."""
    if not _has_client():
        pytest.skip("npm's package openai is not installed where NODE_PATH leads")
    script = Path(__file__).with_name("client.cjs")
    done = subprocess.run([str(NODE), str(script), f"{playing.url}/v1"], check=False, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    got = json.loads(done.stdout)
    assert got == {
        "whole": ["chat.completion", TEXT, "length", 5],
        "pieces": ["one\u2028", "two"],
        "reason": "length",
        "usage": 5,
        "put_together": TEXT,
        "models": playing_models(playing),
        "embeddings": [256, 256],
        "missing": [404, "model_not_found", "model"],
        "refused": [400, "n"],
        "failed": "Too long.",
    }
    until(lambda: not playing.gate.taken, 1)


def playing_models(server: Running) -> list[str]:
    return [model["id"] for model in server.http.get("/v1/models").json()["data"]]


FETCH = """
const answer = await fetch(process.argv[1] + '/chat/completions', {method: 'POST', body: JSON.stringify(
    {model: 'ragapp', messages: [{role: 'user', content: 'short'}], stream: true}),
    headers: {'Content-Type': 'application/json'}});
let held = '', text = '';
const decoder = new TextDecoder();
for await (const bytes of answer.body) {
    held += decoder.decode(bytes, {stream: true});
    for (let end; (end = held.indexOf('\\n\\n')) >= 0; held = held.slice(end + 2)) {
        const data = held.slice(6, end);
        if (data !== '[DONE]') text += JSON.parse(data).choices[0]?.delta?.content ?? '';
        else console.log(JSON.stringify([answer.status, text]));
    }
}
"""


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_javascript_by_hand(playing: Running) -> None:
    arguments = [str(NODE), "--input-type=module", "-e", FETCH, f"{playing.url}/v1"]
    done = subprocess.run(arguments, check=False, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == [200, TEXT]


def test_a_client_of_the_real_flow(serve_with: ServeWith) -> None:
    """The whole way, by a client that knows nothing of ragapp."""
    server = serve_with(chat__model="tests.server.flows:scripted")
    question: Any = [{"role": "user", "content": "How long does the warranty of the pump last?"}]
    answer = server.openai.chat.completions.create(model="ragapp", messages=question, temperature=0, max_tokens=50)
    assert answer.choices[0].message.content == "The warranty lasts 24 months [1]. It is long."
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9
