"""Framing and the bridge."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from ragapp.errors import ModelError, Overloaded, RagappError
from ragapp.server.chat import Chunks, Head
from ragapp.server.errors import ErrorTable
from ragapp.server.gate import Gate
from ragapp.server.sse import AHEAD, ClientGone, EventStream, Relay, frame
from ragapp.types import Answer, Event, Step, Token
from ragapp.types import Done as DoneEvent

END = DoneEvent(Answer("", (), (), "stop"))
AWKWARD = st.text(st.sampled_from('a\n\r\u2028\u2029\x85\x0b\x0c\x1c\x00: 😀\ud800"\\'))


@given(st.lists(st.text() | AWKWARD, max_size=5))
def test_any_text_survives(texts: list[str]) -> None:
    raw = b"".join(frame({"text": text}) for text in texts)
    # str.splitlines cuts at more characters than the standard does, as careless clients do.
    lines = raw.decode("latin-1").splitlines()
    assert [json.loads(line.removeprefix("data: "))["text"] for line in lines[::2]] == texts
    assert not any(lines[1::2])


@given(st.text() | AWKWARD)
def test_any_token_survives(text: str) -> None:
    raw = Chunks(Head("m"), False).frames(Token(text)).decode()
    got = json.loads(raw.removeprefix("data: "))["choices"][0]["delta"]["content"] if raw else ""
    assert got == text


class Flow:
    """Yields its events, counts them, and knows when and where it was closed."""

    def __init__(self, *events: Event, gap: float = 0.0, error: Exception | None = None) -> None:
        self.events, self.gap, self.error = events, gap, error
        self.yielded = 0
        self.closed = threading.Event()
        self.thread = ""

    def __call__(self) -> Iterator[Event]:
        try:
            for event in self.events:
                time.sleep(self.gap)
                self.yielded += 1
                yield event
            if self.error:
                raise self.error
        finally:
            self.thread = threading.current_thread().name
            self.closed.set()


async def _all(relay: Relay) -> list[Event]:
    events: list[Event] = []
    while (batch := await relay.read()) is not None:
        events += batch
    return events


def test_all_events_come_in_order() -> None:
    flow, gate = Flow(*(Token(str(n)) for n in range(3 * AHEAD)), END), Gate(1)

    async def run() -> list[Event]:
        return await _all(Relay(flow, gate))

    assert asyncio.run(run()) == list(flow.events)
    assert gate.taken == 0


def test_a_flow_runs_no_further_ahead_than_its_reader_allows() -> None:
    flow, gate = Flow(*[Token("x")] * (3 * AHEAD), END), Gate(1)

    async def run() -> None:
        relay = Relay(flow, gate)
        await asyncio.sleep(0.1)
        assert AHEAD <= flow.yielded <= AHEAD + 1
        relay.stop(ClientGone("gone"))
        with pytest.raises(ClientGone):
            await relay.read()
        assert await asyncio.to_thread(flow.closed.wait, 1)

    asyncio.run(run())
    assert gate.taken == 0


def test_a_flow_is_closed_by_its_own_thread_and_keeps_its_seat_until_then() -> None:
    flow, gate = Flow(Token("a"), Token("b"), END, gap=0.15), Gate(1)

    async def run() -> None:
        relay = Relay(flow, gate)
        await asyncio.sleep(0.05)  # it is executing: closing it from here would raise ValueError
        relay.stop(ClientGone("gone"))
        with pytest.raises(ClientGone):
            await relay.read()
        assert gate.taken == 1
        with pytest.raises(Overloaded):
            Relay(flow, gate)
        assert await asyncio.to_thread(flow.closed.wait, 1)

    asyncio.run(run())
    assert (flow.yielded, flow.thread) == (1, "ragapp-answer")


def test_an_error_comes_after_the_last_event() -> None:
    flow, gate = Flow(Token("a"), error=ModelError("broken")), Gate(1)

    async def run() -> None:
        relay = Relay(flow, gate)
        await asyncio.to_thread(flow.closed.wait, 1)
        await asyncio.sleep(0.02)
        assert await relay.read() == [Token("a")]
        for _ in range(2):
            with pytest.raises(ModelError):
                await relay.read()

    asyncio.run(run())
    assert gate.taken == 0


def test_a_flow_that_exits_ends_alone() -> None:
    def leave() -> Iterator[Event]:
        yield Token("a")
        raise SystemExit

    async def run() -> None:
        gate = Gate(1)
        for _ in range(2):
            with pytest.raises(RagappError, match="without an answer"):
                await _all(Relay(leave, gate))

    asyncio.run(run())


def test_an_iterator_that_cannot_be_closed_will_do() -> None:
    async def run() -> list[Event]:
        return await _all(Relay(lambda: iter([Token("a"), END]), Gate(1)))

    assert asyncio.run(run()) == [Token("a"), END]


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_waiting_client_hears_a_heartbeat() -> None:
    flow, sent = Flow(Step("search", 0.0), Token("late"), END, gap=0.12), list[bytes]()

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    stream = EventStream(flow, Gate(1), Chunks(Head("m"), False), ErrorTable(), beat=0.05)
    asyncio.run(stream({"type": "http"}, _never, send))
    pings = [place for place, data in enumerate(sent) if data == b": ping\n\n"]
    assert len(pings) >= 2
    assert b'"role":"assistant"' in sent[1]
    assert sent[-1] == b"data: [DONE]\n\n"
    # The pause between frames is a comment of its own, never inside a frame.
    assert all(data.endswith(b"\n\n") for data in sent[1:])


def test_a_cancelled_request_closes_the_flow() -> None:
    flow, gate = Flow(*[Token("x")] * 100, END, gap=0.02), Gate(1)

    async def send(_: Message) -> None:
        return

    async def run() -> None:
        stream = EventStream(flow, gate, Chunks(Head("m"), False), ErrorTable())
        task = asyncio.create_task(stream({"type": "http"}, _never, send))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(flow.closed.wait, 0.2)

    asyncio.run(run())
    assert gate.taken == 0


def test_a_client_that_does_not_read_loses_its_seat() -> None:
    """The server's own send raises when a connection breaks while it waits for room."""
    flow, gate = Flow(*[Token("x")] * 100, END, gap=0.01), Gate(1)

    async def send(message: Message) -> None:
        if b"x" in message.get("body", b""):
            raise TimeoutError

    asyncio.run(EventStream(flow, gate, Chunks(Head("x"), False), ErrorTable())({"type": "http"}, _never, send))
    assert flow.closed.wait(0.2)
