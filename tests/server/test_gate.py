"""Seats: a full house, clients that leave, large bodies."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import httpx
import openai
import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from ragapp.errors import Overloaded, RagappError
from ragapp.server.errors import Refusal
from ragapp.server.gate import BodyLimit, Gate
from tests.server import flows
from tests.server.conftest import PLAY, Running, ServeWith, until

MESSAGES: Any = [{"role": "user", "content": "held"}]


def test_a_seat_is_free_after_it_was_given_back_once() -> None:
    gate = Gate(1)
    seat = gate.take(lambda _: None)
    with pytest.raises(Overloaded):
        gate.take(lambda _: None)
    seat.free()
    seat.free()
    assert gate.taken == 0
    gate.take(lambda _: None)
    assert gate.taken == 1


def test_a_closed_house_asks_everybody_to_leave() -> None:
    gate, told = Gate(2), list[RagappError]()
    seat = gate.take(told.append)
    gate.close()
    assert [error.status for error in told] == [503]
    with pytest.raises(Refusal, match="shutting down"):
        gate.take(told.append)
    assert not gate.wait_empty(0.01)
    seat.free()
    assert gate.wait_empty(0.01)


def test_a_full_house_answers_429_at_once(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__seats=2, server__queue=0)
    with server.streamed("held") as first, server.streamed("held") as second:
        assert (first.status_code, second.status_code, server.gate.taken) == (200, 200, 2)
        started = time.monotonic()
        for stream in (True, False):
            refused = server.ask("short", stream=stream)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert time.monotonic() - started < 0.5
        with pytest.raises(openai.RateLimitError):
            server.openai.chat.completions.create(model="ragapp", messages=MESSAGES)
        assert server.http.post("/v1/search", json={"question": "warranty"}).status_code == 200
        flows.RELEASE.set()
        assert first.read().endswith(b"data: [DONE]\n\n")
        assert server.ask("short").status_code == 200
    until(lambda: server.gate.taken == 0)


def test_the_seat_is_free_when_done_was_read(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__seats=1)
    for _ in range(30):
        assert server.ask("short", stream=True).status_code == 200
        assert server.ask("short").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", ["slow", "held"])
def test_a_client_that_hangs_up_frees_its_seat(playing: Running, script: str, stream: bool) -> None:
    host, port = playing.url.removeprefix("http://").split(":")
    body = f'{{"messages":[{{"role":"user","content":"{script}"}}],"stream":{str(stream).lower()}}}'
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        until(lambda: playing.gate.taken == 1)
        if stream:
            client.recv(100)
        time.sleep(0.1)
        assert not flows.CLOSED
        left = time.monotonic()
    until(lambda: playing.gate.taken == 0, 0.5)
    assert [thread for _, thread in flows.CLOSED] == ["ragapp-answer"]
    assert flows.CLOSED[0][0] - left < 0.5


def test_a_client_that_stops_reading_early_frees_its_seat(playing: Running) -> None:
    messages: Any = [{"role": "user", "content": "slow"}]
    with playing.openai.chat.completions.create(model="ragapp", messages=messages, stream=True) as stream:
        next(iter(stream))
    left = time.monotonic()
    until(lambda: playing.gate.taken == 0, 0.5)
    assert flows.CLOSED[0][0] - left < 0.5


def test_many_clients_that_hang_up_leave_nothing_behind(playing: Running) -> None:
    def hang_up() -> None:
        with (
            httpx.Client(base_url=playing.url) as http,
            http.stream("POST", "/v1/chat/completions", json={"messages": MESSAGES, "stream": True}) as response,
        ):
            next(response.iter_raw(), None)

    clients = [threading.Thread(target=hang_up) for _ in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(5)
    until(lambda: playing.gate.taken == 0)


def test_threads_stay_for_the_next_answer_and_end_with_the_house() -> None:
    gate, ran = Gate(2), list[int]()
    before = _workers()

    def answer() -> None:
        seat, finished = gate.take(lambda _: None), threading.Event()

        def job() -> None:
            ran.append(threading.get_ident())
            seat.free()
            finished.set()

        seat.run(job)
        assert finished.wait(1)

    for _ in range(10):
        answer()
    assert len(set(ran)) == 1
    assert len(_workers() - before) == 1
    gate.close()
    gate.close()
    until(lambda: not _workers() - before)


def _workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "ragapp-answer"}


def test_a_large_body_is_refused_by_its_length(serve_with: ServeWith) -> None:
    server = serve_with(server__max_body_bytes=1000)
    refused = server.ask("x" * 5_000_000)
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "request_too_large"


def test_a_large_body_without_a_length_is_refused_before_it_is_read_whole() -> None:
    pieces, sent = 0, list[Message]()

    async def reader(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async def receive() -> Message:
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b" " * 100, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(HTTPException) as caught:
        asyncio.run(BodyLimit(reader, 1000)({"type": "http", "headers": []}, receive, send))
    assert caught.value.status_code == 413
    assert pieces == 11


def test_a_large_body_in_pieces_is_answered(serve_with: ServeWith) -> None:
    server = serve_with(server__max_body_bytes=1000)
    pieces = (b" " * 100 for _ in range(100))
    refused = server.http.post("/v1/search", content=pieces, headers={"Content-Type": "application/json"})
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "request_too_large"
