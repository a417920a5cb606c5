"""Flows and a chat model for the tests, reached by their dotted paths. The question names the script that is played."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

from ragapp.chat import ScriptedChat
from ragapp.errors import ContextTooLong, ModelError
from ragapp.ports import Tools
from ragapp.types import Answer, Chunk, Done, Event, Found, Passage, Query, Rank, Step, Token, Usage

GAP_S = 0.05
RELEASE = threading.Event()
CLOSED: list[tuple[float, str]] = []  # when a script's `finally` ran, and in which thread

PASSAGE = Passage(Chunk(1, "d", "a\u2028b", 0, 3, 2), "a b.pdf", "A", 0.5, {"dense": Rank(1, 0.25)})


def play(tools: Tools, query: Query) -> Iterator[Event]:
    """The script that the question names."""
    return SCRIPTS.get(query.text, echo)(query)


def scripted() -> ScriptedChat:
    return ScriptedChat(replies=["The warranty lasts 24 months [1]. It is long."] * 20)


def paragraphs() -> ScriptedChat:
    said = "The warranty lasts **24 months** [1].\n\nIt is long, and it ends. Then all is over."
    return ScriptedChat(replies=[said] * 20)


def leisurely() -> ScriptedChat:
    return ScriptedChat(replies=["word " * 30 + "It ends."] * 20, delay_s=0.05)


def hostile() -> ScriptedChat:
    said = "A <script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) b [1].\n\nAnd more."
    return ScriptedChat(replies=[said] * 20)


def done(text: str, reason: str = "stop") -> Done:
    return Done(Answer(text, (), (PASSAGE,), reason, Usage(3, 2)))  # type: ignore[arg-type]


def slow(_: Query) -> Iterator[Event]:
    """Forty tokens, one after the other."""
    try:
        yield Step("search", 0.01)
        yield Found((PASSAGE,))
        for number in range(40):
            yield Token(f"{number} ")
            time.sleep(GAP_S)
        yield done("".join(f"{number} " for number in range(40)))
    finally:
        CLOSED.append((time.monotonic(), threading.current_thread().name))


def short(_: Query) -> Iterator[Event]:
    yield Step("search", 0.01)
    yield Found((PASSAGE,))
    yield Token("one\u2028")
    yield Token("")
    yield Token("two")
    yield done("one\u2028two", "length")


def held(_: Query) -> Iterator[Event]:
    """Goes on until RELEASE is set."""
    try:
        yield Step("search", 0.01)
        while not RELEASE.wait(0.02):
            yield Token("")
        yield Token("free")
        yield done("free")
    finally:
        CLOSED.append((time.monotonic(), threading.current_thread().name))


def fails_at_once(_: Query) -> Iterator[Event]:
    raise ModelError("The model /srv/secret/llama.bin and ./models/tiny cannot be read.", "Look at /srv/x.")
    yield


def fails_late(_: Query) -> Iterator[Event]:
    yield Step("search", 0.01)
    yield Token("a")
    raise ContextTooLong("Too long.", "Ask less.")


def breaks_at_once(_: Query) -> Iterator[Event]:
    raise OSError("/srv/secret")
    yield


def breaks_late(_: Query) -> Iterator[Event]:
    yield Token("a")
    raise TimeoutError("/srv/secret")


def endless(_: Query) -> Iterator[Event]:
    """Ends without an answer."""
    yield Token("a")


def chatty(_: Query) -> Iterator[Event]:
    """Says too much of itself."""
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    quoted = [{"role": "user", "content": "in /srv/secret/ stands " + "x" * 99_999}]
    yield Step("search", 0.01, {
        "warning": "It is in /srv/secret/llama.bin", "messages": quoted, "object": object(), "nan": float("nan"),
        "deep": deep, "many": ["y" * 999] * 9999, 7: {1, 2},
    })  # fmt: skip
    yield Token("a")
    answer = done("a").answer
    yield Done(replace(answer, warnings=("See /srv/secret/x.bin.",)))


def echo(query: Query) -> Iterator[Event]:
    """Says what it was asked."""
    text = json.dumps({**asdict(query), "options": dict(query.options)})
    yield Token(text)
    yield done(text, "no_evidence")


SCRIPTS: dict[str, Callable[[Query], Iterator[Event]]] = {
    script.__name__: script
    for script in (slow, short, held, fails_at_once, fails_late, breaks_at_once, breaks_late, endless, chatty)
}
