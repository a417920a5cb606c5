"""Chat models behind servers: what is asked, what is streamed, and what is said when a server does not do its part."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from ragapp import wire
from ragapp.chunks import estimated_tokens
from ragapp.errors import ConfigError, ContextTooLong, ModelError
from ragapp.providers import PROVIDERS, ProviderChat
from ragapp.remote import Address, RemoteChat
from tests import misbehaving as bad

ASK: list[BaseMessage] = [SystemMessage("Answer."), HumanMessage("现金流量 2018? 🎉")]


@pytest.fixture
def server() -> Iterator[bad.BadServer]:
    with bad.running() as server:
        yield server


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_BACKOFF_S", 0.02)


def remote(server: bad.BadServer, **settings: Any) -> RemoteChat:
    settings.setdefault("timeout", 5)
    return RemoteChat(url=server.url, **settings)


def texts(chunks: list[AIMessageChunk]) -> str:
    return "".join(str(chunk.text) for chunk in chunks)


def failure(chat: RemoteChat, **wishes: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        chat.invoke(ASK, **wishes)
    return caught.value


# -- frames ----------------------------------------------------------------------------------------------------------

STREAM = (
    '\ufeffdata: {"a": "现🎉"}\r\n\r\n: ping\n\ndata:one\r\ndata: two\r\n\r\n'
    "data:3\rdata: 4\r\revent: x\ndata\n\nid: 7\n\ndata: last"
).encode()


def fed(pieces: list[bytes]) -> list[str]:
    frames = wire.Frames()
    return [*(data for piece in pieces for data in frames.feed(piece)), *frames.end()]


@given(st.lists(st.integers(0, len(STREAM))))
def test_frames_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(places)]
    assert fed(pieces) == ['{"a": "现🎉"}', "one\ntwo", "3\n4", "", "last"]


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.sampled_from(["\r", "\n", "\r\n"]),
)
def test_frames_give_back_what_was_framed(datas: list[str], end: str) -> None:
    stream = "".join(f"data: {data}{end}{end}" for data in datas).encode()
    assert fed([stream]) == datas


def test_a_line_that_never_ends_is_refused() -> None:
    frames = wire.Frames(longest=100)
    assert [list(frames.feed(b"x" * 10)) for _ in range(10)] == [[]] * 10
    with pytest.raises(wire.WireError, match="a line of more than 100 bytes"):
        list(frames.feed(b"x"))
    with pytest.raises(wire.WireError, match="more than 100 bytes"):
        list(wire.Frames(longest=100).feed(b"data: 1234567890\n" * 20))


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base", "model"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1", ""),
        ("http://localhost:11434/", "http://localhost:11434/v1", ""),
        ("HTTP://h:1/v1/", "http://h:1/v1", ""),
        ("http://h:1/v1/chat/completions", "http://h:1/v1", ""),
        ("https://h/api/v1#org/model:7b", "https://h/api/v1", "org/model:7b"),
        ("http://[::1]:8080#a%20b", "http://[::1]:8080/v1", "a b"),
    ],
)
def test_addresses(url: str, base: str, model: str) -> None:
    assert Address.of(url) == Address(base, model)


@pytest.mark.parametrize("url", ["http://", "http://h:x", "ftp://h", "http://h/v1?key=1", "localhost:80", ""])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address"):
        RemoteChat(url=url).check()


# -- a server that does its part -------------------------------------------------------------------------------------


def test_an_answer_comes_with_all_that_was_asked_for(server: bad.BadServer) -> None:
    server.scripts = [bad.good("The ", "", "现🎉", " end")]
    chat = remote(server, temperature=0.3, top_p=0.9)
    chunks = list(chat.stream(ASK, stop=["1", "2", "3", "4", "5"], seed=7, max_tokens=40))
    assert texts(chunks) == "The 现🎉 end"
    last = chunks[-1]
    assert last.usage_metadata == {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    about = last.response_metadata
    assert (about["finish_reason"], about["model_name"]) == ("stop", "tiny")
    assert about["tokens_per_second"] > 0
    assert about["first_token_seconds"] >= 0
    assert "usage_estimated" not in about
    assert server.asked == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "现金流量 2018? 🎉"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.3,
            "top_p": 0.9,
            "max_tokens": 40,
            "seed": 7,
            "stop": ["1", "2", "3", "4"],
        }
    ]


def test_the_model_is_the_one_that_was_named(server: bad.BadServer) -> None:
    server.gets["/v1/models"] = {"data": [{"id": "first"}, {"id": "second"}]}
    for chat, name in (
        (RemoteChat(url=f"{server.url}#second"), "second"),
        (RemoteChat(url=server.url, model="third"), "third"),
        (RemoteChat(url=server.url), "first"),
    ):
        chat.invoke(ASK)
        assert server.asked[-1]["model"] == name
    RemoteChat(url=f"{server.url}#second").warm()
    with pytest.raises(ModelError, match="has no model 'third'") as caught:
        RemoteChat(url=server.url, model="third").warm()
    assert "first, second" in caught.value.hint


def test_a_server_without_a_list_of_models_works_when_one_is_named(server: bad.BadServer) -> None:
    server.gets.clear()
    assert RemoteChat(url=f"{server.url}#tiny").invoke(ASK).content == "hello"
    assert "no OpenAI server" in failure(remote(server)).message


def test_an_answer_to_stop_at_nothing_is_not_asked_for(server: bad.BadServer) -> None:
    assert remote(server).invoke(ASK, stop=[""]).content == "hello"
    assert "stop" not in server.asked[-1]


@pytest.mark.parametrize(
    ("entry", "props", "window"),
    [
        ({"owned_by": "vllm", "max_model_len": 9000}, None, 9000),
        ({"context_length": 7000}, None, 7000),
        ({"owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}, {"default_generation_settings": {"n_ctx": 64}}, 64),
        ({"owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}, None, 4096),
        ({"max_model_len": "many"}, None, 4096),
    ],
)  # fmt: skip
def test_the_window_is_what_the_server_says(
    server: bad.BadServer, entry: dict[str, Any], props: dict[str, Any] | None, window: int
) -> None:
    server.gets["/v1/models"] = {"data": [{"id": "tiny", **entry}]}
    if props:
        server.gets["/props"] = props
    chat = remote(server)
    assert chat.window() == chat.window() == window
    assert [path for _, path, _, _ in server.seen].count("/v1/models") == 1
    assert remote(server, context_tokens=77).window() == 77


def test_tokens_are_counted_by_the_server_where_it_can(server: bad.BadServer) -> None:
    server.gets["/v1/models"] = {"data": [{"id": "tiny", "owned_by": "vllm"}]}
    server.posts["/tokenize"] = lambda body: {"count": 100 + len(body["messages"])}
    chat = remote(server)
    assert [chat.count_tokens(ASK), chat.count_tokens(ASK)] == [102, 102]
    assert sum(path == "/tokenize" for _, path, _, _ in server.seen) == 1
    server.gets["/v1/models"] = {"data": [{"id": "tiny", "owned_by": "llamacpp"}]}
    server.posts["/apply-template"] = lambda body: {"prompt": "|".join(m["content"] for m in body["messages"])}
    server.posts["/tokenize"] = lambda body: {"tokens": body["content"].split("|")}
    assert remote(server).count_tokens(ASK) == 2
    server.posts["/tokenize"] = lambda _: {"nothing": "of use"}
    assert remote(server).count_tokens(ASK) == estimated_tokens(ASK)


def test_counting_asks_nobody_else() -> None:
    chat = RemoteChat(url="http://127.0.0.1:9")
    assert chat.get_num_tokens("Cash 2018") == len(chat.get_token_ids("Cash 2018")) == 5


@given(st.text(st.sampled_from("abc XYZ 0123456789 .,;:\n 现金流量 é🎉")))
def test_the_estimate_is_not_below_a_vocabulary_of_single_digits_and_characters(text: str) -> None:
    signs = sum(1 for c in text if not c.isspace() and not c.isascii()) + sum(c.isdigit() for c in text)
    assert estimated_tokens([HumanMessage(text)]) >= signs + 8


def test_a_prompt_that_is_too_long_is_not_sent(server: bad.BadServer) -> None:
    chat = remote(server, context_tokens=estimated_tokens(ASK))
    with pytest.raises(ContextTooLong, match=r"about (\d+) tokens, and the window of tiny is \1"):
        chat.invoke(ASK)
    assert server.asked == []
    remote(server, context_tokens=estimated_tokens(ASK) + 3).invoke(ASK)
    assert server.asked[0]["max_tokens"] == 3


def test_stop_strings_hold_even_where_the_server_does_not_care(server: bad.BadServer) -> None:
    server.scripts = [bad.good("one tw", "o END", " three", usage=False)]
    chunks = list(remote(server).stream(ASK, stop=["EN", "never"]))
    assert texts(chunks) == "one two "
    assert chunks[-1].response_metadata["finish_reason"] == "stop"
    assert chunks[-1].response_metadata["usage_estimated"] is True
    held = list(remote(server).stream(ASK, stop=["three!"]))
    assert texts(held) == "one two END three"


def test_usage_that_a_server_leaves_out_is_estimated_and_marked(server: bad.BadServer) -> None:
    server.scripts = [bad.good("one two", usage=False)]
    answer, asked = remote(server).invoke(ASK), estimated_tokens(ASK)
    assert answer.usage_metadata == {"input_tokens": asked, "output_tokens": 2, "total_tokens": asked + 2}
    assert answer.response_metadata["usage_estimated"] is True


@pytest.mark.parametrize("usage", ["none", [1], {"prompt_tokens": "x", "completion_tokens": None}])
def test_usage_that_is_none(server: bad.BadServer, usage: Any) -> None:
    server.scripts = [bad.raw(bad.chunk("two words", "stop") + f"data: {json.dumps({'usage': usage})}\n\n")]
    *_, last = remote(server).stream(ASK)
    assert last.usage_metadata is not None
    assert last.usage_metadata["input_tokens"] == estimated_tokens(ASK)


def test_the_first_token_is_one_with_text(server: bad.BadServer) -> None:
    server.scripts = [bad.raw(bad.chunk(""), bad.chunk("late", "stop"), pause=0.3)]
    *_, last = remote(server).stream(ASK)
    assert last.response_metadata["first_token_seconds"] >= 0.3


def test_an_answer_that_was_cut_says_so(server: bad.BadServer) -> None:
    server.scripts = [bad.raw(bad.chunk("one"), bad.chunk(reason="length"), bad.DONE)]
    assert remote(server).invoke(ASK).response_metadata["finish_reason"] == "length"


def test_a_server_that_does_not_stream_is_understood(server: bad.BadServer) -> None:
    whole = {"object": "chat.completion", "choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 4, "completion_tokens": 3}}  # fmt: skip
    server.scripts = [bad.raw(json.dumps(whole), kind="application/json")]
    answer = remote(server).invoke(ASK)
    assert answer.content == "all at once"
    assert answer.usage_metadata == {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}


def test_what_a_model_thinks_aloud_is_no_answer(server: bad.BadServer) -> None:
    thought = 'data: {"choices": [{"delta": {"reasoning_content": "hm", "content": null}}]}\n\n'
    server.scripts = [bad.raw(thought, bad.chunk("yes"), bad.chunk(reason="stop"), bad.DONE)]
    assert remote(server).invoke(ASK).content == "yes"


def test_a_server_that_never_closes_after_the_last_word_is_left(
    server: bad.BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragapp.remote._AFTER_END_S", 0.1)
    server.scripts = [bad.silent(20, bad.chunk("yes"), bad.chunk(reason="stop"))]
    started = time.monotonic()
    assert remote(server, timeout=30).invoke(ASK).content == "yes"
    assert time.monotonic() - started < 3
    assert server.hung_up.wait(3)


# -- keys ------------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_shown(server: bad.BadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(server).invoke(ASK)
    assert all("Authorization" not in headers for _, _, headers, _ in server.seen)
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    remote(server).invoke(ASK)
    assert server.seen[-1][2]["Authorization"] == "Bearer from-env"
    server.scripts = [bad.status(401, '{"error": {"message": "bad key sk-secret."}}')]
    chat = remote(server, api_key="sk-secret")
    error = failure(chat)
    assert server.seen[-1][2]["Authorization"] == "Bearer sk-secret"
    assert error.message == f"The server at {server.url}/v1 refuses the key: bad key …."
    assert "api_key" in error.hint
    assert "sk-secret" not in f"{chat!r} {chat} {error.hint}"


def test_a_key_of_the_environment_does_not_go_in_the_clear_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    assert "Authorization" not in RemoteChat(url="http://192.168.1.5:8000")._headers()
    assert "Authorization" in RemoteChat(url="https://example.org/v1")._headers()
    assert "Authorization" in RemoteChat(url="http://192.168.1.5:8000", api_key="set")._headers()


@pytest.mark.parametrize("key", ["sk-se\ncret", "sk-sécret", "sk\x00secret"])
def test_a_key_that_no_header_can_carry_is_not_shown_either(server: bad.BadServer, key: str) -> None:
    with pytest.raises(ConfigError, match="key holds characters") as caught:
        remote(server, api_key=key).invoke(ASK)
    assert "sk" not in caught.value.message.replace("ask", "") + caught.value.hint
    remote(server, api_key="sk-secret \n").invoke(ASK)
    assert server.seen[-1][2]["Authorization"] == "Bearer sk-secret"


def test_proxies_are_not_asked_for_this_machine(server: bad.BadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert remote(server).invoke(ASK).content == "hello"


def test_passwords_in_addresses_are_not_shown() -> None:
    error = failure(RemoteChat(url="http://me:hush@127.0.0.1:9", retries=0))
    assert "hush" not in error.message + error.hint
    assert "cannot be reached" in error.message
    with pytest.raises(ConfigError) as caught:
        Address.of("ftp://me:hu@sh@h")
    assert caught.value.message == "'ftp://h' is not the address of a server."


# -- further tries ---------------------------------------------------------------------------------------------------


def test_a_busy_server_is_asked_again(server: bad.BadServer, quick: None) -> None:
    server.scripts = [bad.status(429, Retry_After="0.05"), bad.status(503, "loading"), bad.good("at last")]
    assert remote(server).invoke(ASK).content == "at last"
    assert len(server.asked) == 3


def test_tries_are_counted(server: bad.BadServer, quick: None) -> None:
    server.scripts = [bad.status(429, '{"error": "slow down"}', Retry_After="0")]
    error = failure(remote(server, retries=1))
    assert (len(server.asked), "too busy: slow down" in error.message) == (2, True)
    server.scripts = [bad.status(500, "<html>boom</html>", "text/html")]
    error = failure(remote(server, retries=0))
    assert len(server.asked) == 3
    assert error.message.endswith("failed, 500.")


def test_retry_after_is_kept_when_it_can_be_and_told_when_not(server: bad.BadServer) -> None:
    server.scripts = [bad.status(429, Retry_After="0.7"), bad.good("later")]
    started = time.monotonic()
    assert remote(server).invoke(ASK).content == "later"
    assert time.monotonic() - started >= 0.7
    server.scripts = [bad.status(429, Retry_After="60")]
    assert "in 60 seconds" in failure(remote(server)).hint
    assert len(server.asked) == 3


def test_a_server_that_hangs_up_before_it_answers_is_asked_again(server: bad.BadServer, quick: None) -> None:
    server.scripts = [lambda handler: handler.connection.close(), bad.good("again")]
    assert remote(server).invoke(ASK).content == "again"


@pytest.mark.parametrize("head", [{}, {"Content_Length": "9999"}])
def test_nothing_is_tried_again_once_it_has_begun(server: bad.BadServer, quick: None, head: dict[str, str]) -> None:
    server.scripts = [bad.status(200, bad.chunk("half an ans"), "text/event-stream", **head), bad.good("whole")]
    got = []
    with pytest.raises(ModelError, match="hung up in the middle of an answer"):
        got.extend(str(chunk.text) for chunk in remote(server).stream(ASK))
    assert "".join(got) == "half an ans"
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["stream_options", "max_tokens"])
def test_a_refused_parameter_is_done_without_and_remembered(server: bad.BadServer, name: str) -> None:
    server.scripts = [
        bad.status(400, json.dumps({"error": {"message": f"Unsupported parameter: '{name}'"}})),
        bad.good("ok"),
    ]
    chat = remote(server)
    assert [chat.invoke(ASK).content, chat.invoke(ASK).content] == ["ok", "ok"]
    first, *later = server.asked
    assert name in first
    assert len(later) == 2
    assert all(name not in body for body in later)
    assert all(body.get("max_completion_tokens", body.get("max_tokens")) == 512 for body in server.asked)


def test_what_was_said_is_not_said_again_for_a_refused_parameter(server: bad.BadServer) -> None:
    refusal = {"status": 400, "error": {"message": "max_tokens: too many"}}
    server.scripts = [bad.raw(bad.chunk("half an ans") + f"data: {json.dumps(refusal)}\n\n"), bad.good("whole")]
    got = []
    with pytest.raises(ModelError, match="refuses the request, 400: max_tokens"):
        got.extend(str(chunk.text) for chunk in remote(server).stream(ASK))
    assert "".join(got) == "half an ans"


# -- what is said when it goes wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        (bad.status(403), "refuses the key", "api_key"),
        (bad.status(404, '{"error": "model tiny not found"}'), "no model 'tiny': model tiny not found", "#name"),
        (bad.status(404, "<html>"), "no OpenAI server", "/v1"),
        (bad.status(301, Location="http://127.0.0.1:9/x"), "it points to http://127.0.0.1:9/x", "/v1"),
        (bad.status(422, '{"detail": "no such thing"}'), "refuses the request, 422: no such thing", ""),
        (bad.status(200, "<html>hello</html>", "text/html"), "OpenAI's protocol: content of the type", "/v1"),
        (bad.raw("data: not json\n\n"), "does not speak", "/v1"),
        (bad.raw("data: [1, 2]\n\n"), "does not speak", "/v1"),
        (bad.raw('data: {"choices": 5}\n\n'), "does not speak", "/v1"),
        (bad.raw(b"\xff\xfe\x00garbage" * 50), "does not speak", "/v1"),
        (bad.raw(""), "does not speak OpenAI's protocol: an empty answer", "/v1"),
        (bad.raw('data: {"error": {"message": "out of\\u0007 memory"}}\n\n'), "failed, 500: out of memory", "log"),
        (bad.raw('data: {"error": "no", "status": 5000}\n\n'), "failed, 5000", "log"),
        (bad.raw("data: " + "x" * 17_000_000), "a line of more than", "/v1"),
    ],
)  # fmt: skip
def test_what_is_said(server: bad.BadServer, script: bad.Script, message: str, hint: str) -> None:
    server.scripts = [script]
    error = failure(remote(server, retries=0))
    assert message in error.message
    assert hint in error.hint
    assert len(server.asked) == 1


def test_a_list_of_models_that_has_moved() -> None:
    with bad.running() as server:
        server.gets["/v1/models"] = bad.status(308, Location="http://127.0.0.1:9/v2")
        assert "it points to http://127.0.0.1:9/v2" in failure(remote(server)).message


@pytest.mark.parametrize(
    "said", ["This model's maximum context length is 4096 tokens", "exceeds the available context size"]
)
def test_a_server_that_finds_the_prompt_too_long(server: bad.BadServer, said: str) -> None:
    server.scripts = [bad.status(400, json.dumps({"error": {"message": said}}))]
    assert isinstance(failure(remote(server)), ContextTooLong)


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    chat = RemoteChat(url=url, retries=0)
    chat.check()  # a server may come and go: a library opens without it
    for act in (chat.warm, chat.window, lambda: chat.invoke(ASK)):
        with pytest.raises(ModelError, match="cannot be reached"):
            act()


def test_a_list_of_models_that_is_none(server: bad.BadServer) -> None:
    for answer in ({"data": 5}, [1], {"data": []}, bad.raw("<html>", kind="text/html")):
        server.gets["/v1/models"] = answer
        with pytest.raises(ModelError):
            remote(server).warm()


def test_silence_has_an_end(server: bad.BadServer) -> None:
    server.scripts = [bad.silent(20)]
    started = time.monotonic()
    error = failure(remote(server, timeout=0.4))
    assert "silent for 0.4 seconds" in error.message
    assert time.monotonic() - started < 4
    assert len(server.asked) == 1


def test_messages_that_no_server_takes(server: bad.BadServer) -> None:
    with pytest.raises(ModelError, match="no messages of type tool"):
        remote(server).invoke([HumanMessage("a"), AIMessage("b"), ToolMessage("c", tool_call_id="1")])
    with pytest.raises(ConfigError):
        remote(server).invoke(ASK, beams=4)


# -- waiting and leaving ---------------------------------------------------------------------------------------------


BEFORE: set[threading.Thread] = set()  # a server of another test keeps its workers


@pytest.fixture(autouse=True)
def _those_of_other_tests() -> Iterator[None]:
    BEFORE.update(threading.enumerate())
    yield
    BEFORE.clear()


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ragapp-") and thread not in BEFORE]


@pytest.mark.parametrize("head", [False, True])
def test_whoever_waits_may_leave_and_the_connection_is_closed(server: bad.BadServer, head: bool) -> None:
    server.scripts = [bad.silent(20, head=head)]
    stream = remote(server, timeout=30).stream(ASK)
    assert [next(iter(stream)).text, next(iter(stream)).text] == ["", ""]
    assert not server.hung_up.is_set()
    started = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert server.hung_up.wait(1)
    assert time.monotonic() - started < 1
    assert not workers()


def test_leaving_in_the_middle_of_an_answer(server: bad.BadServer) -> None:
    server.scripts = [bad.silent(20, bad.chunk("one "))]
    stream = remote(server, timeout=30).stream(ASK)
    assert next(iter(stream)).text == "one "
    stream.close()  # type: ignore[attr-defined]
    assert server.hung_up.wait(1)
    assert not workers()


def test_leaving_between_two_tries(server: bad.BadServer) -> None:
    server.scripts = [bad.status(429, Retry_After="20"), bad.good("never")]
    stream = remote(server, timeout=30).stream(ASK)
    assert next(iter(stream)).text == ""
    stream.close()  # type: ignore[attr-defined]
    assert not workers()
    assert len(server.asked) == 1


def test_requests_from_many_threads(server: bad.BadServer) -> None:
    chat, got = remote(server), []
    threads = [threading.Thread(target=lambda: got.append(chat.invoke(ASK).content)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == ["hello"] * 6


# -- our own server --------------------------------------------------------------------------------------------------


def test_against_our_own_server(tmp_path: Path) -> None:
    from ragapp.rag import Rag
    from tests import pdfs
    from tests.server.conftest import Running

    pdfs.write(tmp_path / "docs" / "pump.pdf", ["The warranty of the pump lasts 24 months."])
    with Rag.open(tmp_path / "library", embedder__name="hashing", server__port=0, server__api_key="key") as rag:
        rag.add([tmp_path / "docs"])
        running = Running(rag)
        try:
            chat = RemoteChat(url=running.url, api_key="key")
            chat.warm()
            answer = chat.invoke([HumanMessage("How long does the warranty of the pump last?")])
            assert "24 months" in str(answer.content)
            assert answer.response_metadata["finish_reason"] == "stop"
            with pytest.raises(ModelError, match="refuses the key"):
                RemoteChat(url=running.url, api_key="wrong").warm()
            with pytest.raises(ModelError, match="no model 'nobody'"):
                RemoteChat(url=f"{running.url}/v1#nobody", api_key="key").invoke([HumanMessage("How long?")])
        finally:
            running.close()


# -- providers -------------------------------------------------------------------------------------------------------

PACKAGE = """
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
import os, time
MADE, ASKED = [], []
class ChatOpenAI(BaseChatModel):
    model: str
    seed: int | None = None
    def __init__(self, **how):
        MADE.append({**how, "gateway": os.environ.get("LANGSMITH_GATEWAY")})
        if how.get("api_key") == "bad":
            raise ValueError("the key bad is wrong")
        super().__init__(model=how["model"], seed=how.get("seed"))
    @property
    def _llm_type(self): return "fake"
    def _generate(self, *a, **k): raise AssertionError("it streams")
    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        ASKED.append((messages, stop, kwargs))
        def piece(text, **more): return ChatGenerationChunk(message=AIMessageChunk(content=text, **more))
        yield piece("one ", usage_metadata={"input_tokens": 9, "output_tokens": 0, "total_tokens": 9})
        if self.model == "slow": time.sleep(0.8)
        if self.model == "broken": raise RuntimeError("the wire fell down; key secret")
        yield piece([{"type": "text", "text": "two"}])
        yield piece("", response_metadata={"finish_reason": "length"},
                    usage_metadata={"input_tokens": 0, "output_tokens": 4, "total_tokens": 4})
    def get_token_ids(self, text): raise AssertionError("nobody counts with it")
"""


@pytest.fixture
def openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for langchain-openai, since providers are elsewhere."""
    from langchain.chat_models import base

    (tmp_path / "langchain_openai.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "langchain_openai", raising=False)
    base._get_chat_model_creator.cache_clear()
    import langchain_openai

    yield langchain_openai
    sys.modules.pop("langchain_openai", None)
    base._get_chat_model_creator.cache_clear()


def test_a_provider_answers_as_a_model_of_ours(openai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_GATEWAY", "true")
    chat = ProviderChat(model="openai:gpt", api_key="secret", timeout=7, retries=1, max_new_tokens=50)
    chat.check()
    chunks = list(chat.stream(ASK, stop=["never"], seed=3))
    assert texts(chunks) == "one two"
    assert chunks[-1].usage_metadata == {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    assert chunks[-1].response_metadata["finish_reason"] == "length"
    made = openai.MADE[-1]
    wanted = {"model": "gpt", "api_key": "secret", "timeout": 7, "max_retries": 1, "max_tokens": 50, "temperature": 0}
    assert made == {**wanted, "seed": 3, "gateway": "false"}
    assert openai.ASKED[0][1] == ["never"]
    count = len(openai.MADE)
    list(chat.stream(ASK, seed=3))
    assert len(openai.MADE) == count
    assert texts(list(chat.stream(ASK, stop=["tw"], max_tokens=5))) == "one "
    assert openai.MADE[-1]["max_tokens"] == 5
    assert chat.count_tokens(ASK) == estimated_tokens(ASK)


def test_a_provider_that_fails_or_waits(openai: Any) -> None:
    with pytest.raises(ModelError, match="openai:broken failed: RuntimeError: the wire fell down; key …") as caught:
        ProviderChat(model="openai:broken", api_key="secret").invoke(ASK)
    assert "api_key" in caught.value.hint
    with pytest.raises(ModelError, match=r"failed: ValueError: the key … is wrong"):
        ProviderChat(model="openai:gpt", api_key="bad").warm()
    assert [c.text for c in ProviderChat(model="openai:slow").stream(ASK)][:2] == ["one ", ""]
    with pytest.raises(ContextTooLong):
        ProviderChat(model="openai:gpt", context_tokens=10).invoke(ASK)


def test_a_provider_without_its_package() -> None:
    with pytest.raises(ModelError, match="needs the package langchain-mistralai") as caught:
        ProviderChat(model="mistralai:small").check()
    assert caught.value.hint == "pip install langchain-mistralai"
    with pytest.raises(ConfigError, match="names no model of a provider"):
        ProviderChat(model="openai:").check()


def test_langchain_knows_the_providers() -> None:
    from langchain.chat_models import base

    known = {name: module.partition(".")[0] for name, (module, _, _) in base._BUILTIN_PROVIDERS.items()}
    assert {name: known.get(name) for name in PROVIDERS} == dict(PROVIDERS)
