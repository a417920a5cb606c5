"""Reading typed server-sent events, byte for byte as the standard wants them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

from tests.server.conftest import Running


class Event(NamedTuple):
    number: int
    name: str
    data: Any


def events(text: str) -> list[Event]:
    """All events of a stream that is over."""
    assert text.endswith("\n\n")
    return [_event(block) for block in text[:-2].split("\n\n") if not block.startswith(": ")]


def _event(block: str) -> Event:
    number, name, data = block.split("\n")
    assert number.startswith("id: ")
    assert name.startswith("event: ")
    assert data.startswith("data: ")
    return Event(int(number[4:]), name[7:], json.loads(data[6:]))


def following(response: httpx.Response) -> Iterator[Event]:
    """The events as they come."""
    held = ""
    for piece in response.iter_text():
        held += piece
        while "\n\n" in held:
            block, _, held = held.partition("\n\n")
            if not block.startswith(": "):
                yield _event(block)


def asked(server: Running, question: str, **more: Any) -> list[Event]:
    """A question, and everything that was told of its answer."""
    response = server.http.post("/v1/ask", json={"question": question, **more})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    got = events(response.text)
    assert [event.number for event in got] == list(range(1, len(got) + 1))
    return got


def named(got: list[Event], name: str) -> list[Any]:
    return [event.data for event in got if event.name == name]
