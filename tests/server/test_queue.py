"""The queue before the seats: order, places told, who leaves, time limits, the estimate of when to come back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import Overloaded, RagappError
from ragapp.server import gate as gates
from ragapp.server.errors import Refusal
from ragapp.server.gate import Gate, Seat
from ragapp.server.sse import ClientGone, Relay
from ragapp.types import Answer, Done, Event, Token
from tests.server import flows
from tests.server.conftest import PLAY, Running, ServeWith, until
from tests.server.events import following

END = Done(Answer("", (), (), "stop"))


def _nobody(_: RagappError) -> None:
    return


@given(st.integers(1, 3), st.integers(0, 4), st.lists(st.integers(-1, 9), max_size=60))
def test_the_queue_is_fair_and_bounded(seats: int, queue: int, doings: list[int]) -> None:
    """-1 comes, n gives the n-th place back that is held; a list is what the gate should be."""
    gate, held, seated = Gate(seats, queue), list[Seat](), list[Seat]()
    for doing in doings:
        if doing < 0:
            if len(held) < seats + queue:
                held.append(gate.take(_nobody, seated.append))
            else:
                with pytest.raises(Overloaded):
                    gate.take(_nobody, seated.append)
        elif doing < len(held):
            held.pop(doing).free()
        # Whoever came first sits; the others have places without gaps.
        assert [seat.position for seat in held] == [0] * min(seats, len(held)) + list(range(1, len(held) - seats + 1))
        assert gate.taken == min(seats, len(held))
        assert gate.waiting == max(0, len(held) - seats)
        assert len(seated) == len(set(map(id, seated)))
        assert all(seat in seated for seat in held if not seat.position)


def test_a_seat_is_not_given_back_by_who_only_leaves_the_queue() -> None:
    gate = Gate(1, 1)
    sitting, waiting = gate.take(_nobody, lambda _: None), gate.take(_nobody, lambda _: None)
    sitting.withdraw()
    assert (gate.taken, gate.waiting) == (1, 1)
    waiting.withdraw()
    assert (gate.taken, gate.waiting) == (1, 0)


def test_when_to_come_back_is_what_answers_have_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(gates.time, "monotonic", lambda: now[0])
    gate = Gate(2)
    first, second = gate.take(_nobody), gate.take(_nobody)
    now[0] += 9
    assert gate.retry_after() == 5  # none has ended: half of what the oldest has taken, rounded up
    now[0] += 51
    first.free()
    second.free()
    assert gate.retry_after() == 30
    gate.take(_nobody)
    gate.take(_nobody)
    with pytest.raises(Overloaded) as caught:
        gate.take(_nobody)
    assert caught.value.retry_after == 30


def test_who_waits_is_sent_away_and_who_sits_may_stay_when_the_house_shuts() -> None:
    gate, told = Gate(1, 2), list[tuple[str, int]]()
    gate.take(lambda error: told.append(("sitting", error.status)), lambda _: None)
    gate.take(lambda error: told.append(("waiting", error.status)), lambda _: None)
    gate.shut()
    assert told == [("waiting", 503)]
    with pytest.raises(Refusal, match="shutting down"):
        gate.take(_nobody)
    gate.close()
    assert told == [("waiting", 503), ("sitting", 503)]


class Held:
    """A flow that ends when it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self) -> Iterator[Event]:
        self.begun.set()
        while not self.go.wait(0.01):
            yield Token("")
        yield END


async def _all(relay: Relay[Event]) -> None:
    while await relay.read() is not None:
        pass


def test_waiting_costs_no_thread_and_the_turn_comes_in_order() -> None:
    async def run() -> None:
        gate, scripts = Gate(1, 9), [Held() for _ in range(6)]
        relays = [Relay(script, gate) for script in scripts]
        await asyncio.to_thread(scripts[0].begun.wait, 2)
        assert sum(thread.name == "ragapp-answer" for thread in threading.enumerate()) - before == 1
        assert [relay.position for relay in relays] == [0, 1, 2, 3, 4, 5]
        for number, relay in enumerate(relays):
            assert not any(script.begun.is_set() for script in scripts[number + 1 :])
            scripts[number].go.set()
            await _all(relay)
            if number < 5:
                assert await asyncio.to_thread(scripts[number + 1].begun.wait, 2)
        gate.close()

    before = sum(thread.name == "ragapp-answer" for thread in threading.enumerate())
    asyncio.run(run())


def test_who_leaves_the_queue_frees_the_place_at_once_and_is_never_answered() -> None:
    async def run() -> None:
        gate, first, second, third = Gate(1, 2), Held(), Held(), Held()
        sitting, leaving, staying = Relay(first, gate), Relay(second, gate), Relay(third, gate)
        leaving.stop(ClientGone("gone"))
        assert gate.waiting == 1
        assert await staying.read(1) == []  # it has moved up
        assert staying.position == 1
        with pytest.raises(ClientGone):
            await leaving.read()
        first.go.set()
        assert await asyncio.to_thread(third.begun.wait, 2)
        assert not second.begun.is_set()
        third.go.set()
        sitting.stop(ClientGone("gone"))
        assert await asyncio.to_thread(gate.wait_empty, 2)
        gate.close()

    asyncio.run(run())


@pytest.mark.parametrize("limit", ["wait_seconds", "answer_seconds"])
def test_nobody_waits_or_sits_for_ever(limit: str) -> None:
    async def run() -> None:
        gate, flow = Gate(1, 1, **{limit: 0.1}), Held()
        sitting = Relay(flow, gate)
        waiting = Relay(flow, gate)
        late = sitting if limit == "answer_seconds" else waiting
        started = time.monotonic()
        with pytest.raises(RagappError) as caught:
            await _all(late)
        assert 0.08 < time.monotonic() - started < 1
        assert caught.value.status == (504 if late is sitting else 429)
        flow.go.set()
        sitting.stop(ClientGone("gone"))
        waiting.stop(ClientGone("gone"))
        assert await asyncio.to_thread(gate.wait_empty, 2)
        gate.close()

    asyncio.run(run())


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(serve_with: ServeWith) -> Running:
    """One seat, and two places in the queue."""
    return serve_with(answer__flow=PLAY, server__seats=1, server__queue=2)


def test_the_place_is_told_until_the_turn_comes(narrow: Running) -> None:
    with (
        narrow.streamed("held") as first,
        narrow.http.stream("POST", "/v1/ask", json={"question": "short"}) as second,
        narrow.streamed("short") as third,
    ):
        told, chunks = following(second), third.iter_text()
        assert next(told)[1:] == ("waiting", {"position": 1})
        opening = next(chunks)
        assert opening.index('"role":"assistant"') < opening.index('"ragapp":{"waiting":2}')
        assert (narrow.gate.taken, narrow.gate.waiting) == (1, 2)
        refused = narrow.ask("short")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        flows.RELEASE.set()
        names = [event.name for event in told]
        assert names[:2] == ["waiting", "start"]
        assert names[-1] == "done"
        rest = "".join(chunks)
        assert "one" in rest
        assert rest.endswith("data: [DONE]\n\n")
        first.read()
    until(lambda: not narrow.gate.taken)


def test_an_answer_in_one_piece_waits_too(narrow: Running) -> None:
    got = list[httpx.Response]()
    with narrow.streamed("held"):
        asking = threading.Thread(target=lambda: got.append(narrow.ask("short")))
        asking.start()
        until(lambda: narrow.gate.waiting == 1)
        flows.RELEASE.set()
        asking.join(5)
    assert [answer.status_code for answer in got] == [200]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_while_it_waits_frees_its_place(narrow: Running, stream: bool) -> None:
    body: Any = {"messages": [{"role": "user", "content": "short"}], "stream": stream}
    with narrow.streamed("held"):
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.Client(base_url=narrow.url) as http,
            http.stream("POST", "/v1/chat/completions", json=body, timeout=0.3) as response,
        ):
            response.read()
        left = time.monotonic()
        until(lambda: narrow.gate.waiting == 0)
        assert time.monotonic() - left < 0.2
        assert narrow.gate.taken == 1
        flows.RELEASE.set()


def test_an_error_after_the_wait_is_an_event(narrow: Running) -> None:
    with (
        narrow.streamed("held"),
        narrow.http.stream("POST", "/v1/ask", json={"question": "fails_at_once"}) as response,
    ):
        told = following(response)
        next(told)
        flows.RELEASE.set()
        last = list(told)[-1]
    assert last.name == "error"
    assert last.data["error"]["code"] == "model_error"


def test_a_wait_that_was_too_long_is_told(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__seats=1, server__wait_seconds=0.2)
    with server.streamed("held"):
        assert server.ask("short").status_code == 429
        flows.RELEASE.set()


def test_an_answer_that_takes_too_long_is_ended(serve_with: ServeWith) -> None:
    server = serve_with(answer__flow=PLAY, server__answer_seconds=0.2)
    answer = server.ask("held")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "answer_timeout")
    until(lambda: not server.gate.taken, 0.5)
