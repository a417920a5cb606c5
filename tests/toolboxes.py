"""Tools for flows, put together by hand from small parts, for tests that look at the whole way."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragapp.budget import Budget
from ragapp.ports import Retriever
from ragapp.rerankers import KeepOrder
from ragapp.testing import CountedWords
from ragapp.types import Answer, Event, Expansion, Passage, Query, Rank, Step, Token


class Listed:
    """A ranker that knows its ranking by heart: chunk ids with their scores, the best first."""

    def __init__(self, *scores: tuple[int, float]) -> None:
        self.scores = scores

    def rank(self, query: Any, k: int) -> list[tuple[int, float]]:
        return list(self.scores[:k])


@dataclass(frozen=True)
class Sure:
    """A judge that always says the same."""

    sure: float = 1.0
    threshold: float = 0.5

    def confidence(self, query: Query, passages: Sequence[Passage]) -> float:
        return self.sure


class AsFound:
    """Gathers nothing: passages stay as they are."""

    def gather(self, query: Query, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)


class Says:
    """An answerer with a prompt that has room for ``room`` passages, or for those of some numbers."""

    def __init__(self, room: int = 99, numbers: Sequence[int] | None = None) -> None:
        self.room = room
        self.numbers = numbers
        self.is_asked = False

    def answer(self, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
        shown = "\n".join(f"<passage {n}: x.pdf, page 1>\nwords\n</passage>" for n in self.numbers or ())
        count = min(self.room, len(passages)) if self.numbers is None else len(self.numbers)
        messages = [{"role": "user", "content": f"Passages:\n{shown}\nSee <passage 99: of mine."}]
        yield Step("prompt", 0.0, {"tokens": 9, "passages": count, "messages": messages})
        self.is_asked = True
        yield Token("It says so.")
        return Answer("It says so.", (), tuple(passages), "stop")


@dataclass(frozen=True)
class Box:
    """ports.Tools."""

    retriever: Retriever
    answerer: Any = field(default_factory=Says)
    reranker: Any = field(default_factory=KeepOrder)
    judge: Any = field(default_factory=Sure)
    gatherer: Any = field(default_factory=AsFound)
    k: int = 8
    depth: int = 40
    writer: Any = None
    words: Any = field(default_factory=CountedWords)
    expansion: Expansion = field(default_factory=Expansion)
    budget: Budget = field(default_factory=Budget)


def ranks(**places: tuple[int, float] | None) -> dict[str, Rank | None]:
    return {name: None if found is None else Rank(*found) for name, found in places.items()}
