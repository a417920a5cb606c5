"""Chat models side by side: built once, a few at a time, none let go while it writes."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.errors import ModelError, Overloaded
from ragapp.voices import Loan, Voice, Voices


class Chat:
    """Stands for a loaded model."""

    def __init__(self, name: str) -> None:
        self.name = name


class Factory:
    """Builds voices, and remembers which, and who of them is still there."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.alive: weakref.WeakSet[Chat] = weakref.WeakSet()
        self.most_alive: int | None = None

    def __call__(self, model: str) -> Voice:
        if self.most_alive is not None and len(self.alive) >= self.most_alive:
            raise ModelError(f"{model} needs more memory than is free.")
        self.made.append(model)
        chat = Chat(model)
        self.alive.add(chat)
        part = cast("Any", object())
        return Voice(chat, part, part, None)

    def names(self) -> set[str]:
        gc.collect()
        return {chat.name for chat in self.alive}


def test_a_voice_is_built_once() -> None:
    factory = Factory()
    voices = Voices(factory)
    first, second = voices.lend("a"), voices.lend("a")
    assert first.voice is second.voice
    assert factory.made == ["a"]
    assert voices.chat_of("a") is first.voice.chat
    assert voices.chat_of("b") is None


def test_the_least_recently_asked_is_let_go() -> None:
    factory = Factory()
    voices = Voices(factory, most=2)
    for model in ("a", "b", "a", "c"):
        voices.lend(model).close()
    assert factory.made == ["a", "b", "c"]
    assert factory.names() == {"a", "c"}


def test_one_that_writes_is_never_let_go() -> None:
    factory = Factory()
    voices = Voices(factory, most=2)
    writing = voices.lend("a")
    voices.lend("b").close()
    voices.lend("c").close()
    assert factory.names() == {"a", "c"}
    other = voices.lend("c")
    with pytest.raises(Overloaded) as caught:
        voices.lend("d")
    assert caught.value.retry_after > 0
    assert voices.lend("a").voice is writing.voice, "those that are there can still be asked"
    other.close()
    assert voices.lend("d").voice.chat.name == "d"


def test_a_loan_that_nobody_holds_is_over() -> None:
    factory = Factory()
    voices = Voices(factory, most=1)
    voices.lend("a")  # whoever asked never began to read
    gc.collect()
    voices.lend("b").close()
    assert factory.names() == {"b"}


def test_idle_ones_make_room_in_memory_before_it_is_called_too_small() -> None:
    factory = Factory()
    factory.most_alive = 1
    voices = Voices(factory, most=5)
    voices.lend("a").close()
    writing = voices.lend("b")
    assert factory.names() == {"b"}
    with pytest.raises(ModelError, match="memory"):
        voices.lend("c")
    assert factory.names() == {"b"}
    writing.close()


def test_what_is_dropped_is_built_anew_and_ends_its_answers() -> None:
    factory = Factory()
    voices = Voices(factory)
    writing = voices.lend("a")
    voices.drop("a")
    voices.drop("a")
    assert voices.chat_of("a") is None
    assert writing.voice.chat.name == "a"
    voices.lend("a").close()
    assert factory.made == ["a", "a"]


def test_many_threads_build_a_voice_once() -> None:
    factory = Factory()
    voices = Voices(factory)
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        voices.lend("a").close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert factory.made == ["a"]


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["ask", "end", "leave", "drop"])), max_size=40),
)
def test_never_more_than_a_few_and_never_one_less_that_writes(most: int, story: list[tuple[str, str]]) -> None:
    factory = Factory()
    voices = Voices(factory, most)
    loans: dict[str, list[Loan]] = {}
    dropped = False
    for model, what in story:
        writing = {name for name, each in loans.items() if any(not loan.is_over for loan in each)}
        if what == "ask":
            try:
                loan = voices.lend(model)
            except Overloaded:
                assert len(writing - {model}) >= most
                continue
            assert loan.voice.chat.name == model
            loans.setdefault(model, []).append(loan)
            del loan  # or it would be held here
        elif what == "drop":
            voices.drop(model)
            dropped = True
        else:
            ended = loans.pop(model, [])
            while ended:
                if what == "end":
                    ended[-1].close()
                ended.pop()
        held = [name for name in "abcde" if voices.chat_of(name) is not None]
        assert len(held) <= most
        if not dropped:
            assert {name for name, each in loans.items() if any(not loan.is_over for loan in each)} <= set(held)
