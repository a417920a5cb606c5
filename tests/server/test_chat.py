"""OpenAI's client, unchanged, and the frames themselves."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.server.schemas import ChatRequest
from tests.server import flows
from tests.server.conftest import PLAY, Running, ServeWith

USER = [{"role": "user", "content": "short"}]


def frames(text: str) -> list[Any]:
    """The data of a stream, byte for byte as the standard wants it."""
    assert text.endswith("\n\n")
    parts = text[:-2].split("\n\n")
    assert all(part.startswith("data: ") and "\n" not in part for part in parts)
    assert parts[-1] == "data: [DONE]"
    return [json.loads(part[6:]) for part in parts[:-1]]


def test_the_client_reads_a_whole_answer(real: Running) -> None:
    question: Any = [{"role": "user", "content": "How long does the warranty of the pump last?"}]
    answer = real.openai.chat.completions.create(model="linear", messages=question)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("chat.completion", "linear", "stop")
    assert "lasts 24 months" in (answer.choices[0].message.content or "")
    ours: Any = answer.model_extra and answer.model_extra["ragapp"]
    assert ours["finish_reason"] == "stop"
    assert ours["timings"]["total"] > 0
    assert {"document", "document_id", "page", "start", "end", "label", "score", "text", "found_by"} == set(
        ours["passages"][0]
    )
    cited = ours["citations"][0]
    assert (cited["marker"], cited["document"], cited["page"], cited["state"]) == (1, "pump.pdf", 2, "verified")
    assert cited["boxes"][0]["page"] == 2


def test_the_client_reads_a_stream(serve_with: ServeWith) -> None:
    server = serve_with(chat__model="tests.server.flows:scripted")
    question: Any = [{"role": "user", "content": "How long does the warranty of the pump last?"}]
    text, reasons = "", []
    for chunk in server.openai.chat.completions.create(model="ragapp", messages=question, stream=True):
        text += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
        assert "usage" not in chunk.model_fields_set
    assert text == "The warranty lasts 24 months [1]. It is long."
    assert set(reasons[:-1]) == {None}
    assert reasons[-1] == "stop"


def test_usage_comes_last_when_it_is_asked_for(playing: Running) -> None:
    messages: Any = USER
    chunks = list(
        playing.openai.chat.completions.create(
            model="ragapp", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.total_tokens) == (3, 5)
    assert chunks[-2].choices[0].finish_reason == "length"


def test_the_frames_to_the_letter(playing: Running) -> None:
    with playing.streamed("short") as response:
        raw = response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers
    assert raw.isascii()
    got = frames(raw.decode())
    heads = {(f["id"], f["object"], f["created"], f["model"]) for f in got}
    assert len(heads) == 1
    assert next(iter(heads))[1] == "chat.completion.chunk"
    choices = [f["choices"][0] for f in got]
    assert all(set(c) == {"index", "delta", "logprobs", "finish_reason"} and c["index"] == 0 for c in choices)
    assert [c["delta"] for c in choices] == [
        {"role": "assistant", "content": ""}, {}, {"content": "one\u2028"}, {"content": "two"}, {},
    ]  # fmt: skip
    assert [c["finish_reason"] for c in choices] == [None] * 4 + ["length"]
    passage = {
        "document": "a b.pdf", "document_id": "d", "page": 2, "start": 0, "end": 3, "label": "", "score": 0.5,
        "text": "a\u2028b", "found_by": {"dense": {"rank": 1, "score": 0.25}},
    }  # fmt: skip
    assert [f.get("ragapp") for f in got[:4]] == [None, {"passages": [passage]}, None, None]
    assert got[4]["ragapp"]["finish_reason"] == "length"
    assert set(got[4]["ragapp"]) == {
        "finish_reason",
        "citations",
        "timings",
        "unread",
        "confidence",
        "figures",
        "warnings",
    }


def test_tokens_come_one_after_another(playing: Running) -> None:
    messages: Any = [{"role": "user", "content": "slow"}]
    came = []
    for chunk in playing.openai.chat.completions.create(model="ragapp", messages=messages, stream=True):
        if chunk.choices[0].delta.content:
            came.append(time.monotonic())
        if len(came) == 8:
            break
    gaps = [later - earlier for earlier, later in pairwise(came)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(flows.GAP_S, rel=0.5)


def test_what_was_said_and_wished_reaches_the_flow(playing: Running) -> None:
    messages: Any = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second", "refusal": None},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "last \ud83d"}, {"type": "text", "text": " one"}]},
    ]
    wishes = {"temperature": 0, "top_p": 0.5, "max_completion_tokens": 7, "stop": "END", "seed": 5, "n": 1, "user": "x"}
    raw = json.dumps({"model": "ragapp", "messages": messages, **wishes})
    answer = playing.http.post("/v1/chat/completions", content=raw, headers={"Content-Type": "application/json"}).json()
    got = json.loads(answer["choices"][0]["message"]["content"])
    assert got["text"] == "last ? one"
    assert [(turn["role"], turn["text"]) for turn in got["history"]] == [
        ("system", "be brief"), ("user", "first"), ("assistant", "second"),
    ]  # fmt: skip
    assert got["options"] == {"temperature": 0, "top_p": 0.5, "max_tokens": 7, "stop": ["END"]}
    assert got["seed"] == 5
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["ragapp"]["finish_reason"] == "no_evidence"


def test_nothing_is_wished_for_that_was_not_given(playing: Running) -> None:
    answer = playing.ask("plain", temperature=None, stop=None).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["options"] == {}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [*USER, {"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"seed": 1 << 64}, "seed"),
        ({"max_tokens": 1 << 40}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_p": 0}, "top_p"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(playing: Running, change: dict[str, Any], param: str | None) -> None:
    body = {"model": "ragapp", "messages": USER, **change}
    with pytest.raises(openai.BadRequestError) as caught:
        playing.openai.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    assert caught.value.code == "invalid_value"


def test_what_others_understand_is_read_over(playing: Running) -> None:
    """A client need not know what is behind the address; what no answer could keep is refused, see above."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    more = {
        "user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "frequency_penalty": 0.5,
        "presence_penalty": -1, "logit_bias": {"5": 1}, "parallel_tool_calls": True, "reasoning_effort": "low",
        "tools": [tool], "tool_choice": "auto", "functions": [{"name": "f"}], "function_call": "none",
        "response_format": {"type": "text"}, "modalities": ["text"], "logprobs": False, "top_logprobs": 0,
        "prediction": None, "safety_identifier": "x", "verbosity": "low", "nobody_knows": {"this": []},
    }  # fmt: skip
    answer = playing.ask("short", **more)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"] == {
        "role": "assistant", "content": "one\u2028two", "refusal": None,
    }  # fmt: skip


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = [*ChatRequest.model_fields, "tools", "user", "anything"]


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(MEMBERS), ANY_JSON, max_size=5))
def test_no_request_breaks_the_door(playing: Running, body: dict[str, Any]) -> None:
    """Whatever is sent: an answer of OpenAI's shape, or an error of OpenAI's shape."""
    body.setdefault("messages", USER)
    answer = playing.http.post("/v1/chat/completions", json=body)
    assert answer.status_code in (200, 400, 404)
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code", "hint"}
    elif body.get("stream"):
        assert answer.text.endswith("data: [DONE]\n\n")
    else:
        assert answer.json()["object"] == "chat.completion"


def test_warnings_hold_no_paths(playing: Running) -> None:
    assert playing.ask("chatty").json()["ragapp"]["warnings"] == ["See x.bin.", "It is in llama.bin"]
    with playing.streamed("chatty") as response:
        assert "secret" not in response.read().decode()


@pytest.mark.parametrize("question", ["", "  ", "?!"])
def test_an_empty_question_is_refused(playing: Running, question: str) -> None:
    refused = playing.ask(question)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "invalid_question"


FLOWS = ("linear", "conditional", "branching", "looping")


def test_models(playing: Running, real: Running) -> None:
    assert [model.id for model in playing.openai.models.list()] == ["ragapp", PLAY, *FLOWS]
    listed = real.openai.models.list().data
    assert [(model.id, model.object, model.owned_by) for model in listed] == [
        (name, "model", "ragapp") for name in ("ragapp", *FLOWS)
    ]  # fmt: skip
    assert real.openai.models.retrieve("linear").id == "linear"
    with pytest.raises(openai.NotFoundError):
        real.openai.models.retrieve("gpt-4o")


@pytest.mark.parametrize("model", ["gpt-4o", PLAY, "os:system", "tests.server.flows:nothing", "\ud800"])
def test_only_listed_models_are_resolved(real: Running, model: str) -> None:
    """A dotted path must not import what a client names, not even one that could be imported."""
    refused = real.http.post("/v1/chat/completions", content=json.dumps({"model": model, "messages": USER}).encode(),
                             headers={"Content-Type": "application/json"})  # fmt: skip
    assert refused.status_code == 404
    error = refused.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("model_not_found", "invalid_request_error", "model")


def test_the_configured_flow_may_be_a_dotted_path(playing: Running) -> None:
    messages: Any = USER
    answer = playing.openai.chat.completions.create(model=PLAY, messages=messages)
    assert answer.choices[0].message.content == "one\u2028two"


@pytest.mark.parametrize(("stream", "status"), [(True, 502), (False, 502)])
def test_an_error_before_the_first_event_has_a_status(playing: Running, stream: bool, status: int) -> None:
    refused = playing.ask("fails_at_once", stream=stream)
    assert refused.status_code == status
    error = refused.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "hint"}
    assert error["code"] == "model_error"
    assert "/" not in error["message"] + error["hint"]
    assert "cannot be read" in error["message"]


def test_an_error_after_the_first_event_is_a_frame(playing: Running) -> None:
    with playing.streamed("fails_late") as response:
        got = frames(response.read().decode())
    assert response.status_code == 200
    assert got[1]["choices"][0]["delta"] == {"content": "a"}
    assert got[-1]["error"] == {
        "message": "Too long.", "type": "invalid_request_error", "param": None,
        "code": "context_length_exceeded", "hint": "Ask less.",
    }  # fmt: skip
    assert playing.ask("fails_late").status_code == 400  # not streaming, there is always a status


def test_the_client_raises_an_error_frame(playing: Running) -> None:
    messages: Any = [{"role": "user", "content": "fails_late"}]
    with pytest.raises(openai.APIError, match="Too long"):
        list(playing.openai.chat.completions.create(model="ragapp", messages=messages, stream=True))


@pytest.mark.parametrize("stream", [True, False])
def test_a_bug_is_logged_and_not_shown(playing: Running, stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):  # on one connection, which must outlive it
        broken = playing.ask("breaks_at_once", stream=stream)
        assert broken.status_code == 500
        assert broken.json()["error"]["message"] == "Internal error."
        assert "secret" not in broken.text
    assert caplog.text.count("OSError: /srv/secret") == 3


def test_a_bug_in_a_stream_is_not_shown_but_logged(playing: Running, caplog: pytest.LogCaptureFixture) -> None:
    with playing.streamed("breaks_late") as response:
        text = response.read().decode()
    assert frames(text)[-1]["error"]["code"] == "internal_error"
    assert "secret" not in text
    assert "TimeoutError: /srv/secret" in caplog.text


def test_a_flow_without_an_answer_is_an_error(playing: Running) -> None:
    assert playing.ask("endless").status_code == 500
    with playing.streamed("endless") as response:
        assert "without an answer" in frames(response.read().decode())[-1]["error"]["message"]
