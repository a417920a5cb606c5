"""The verbs a flow is made of. Each yields events while it works and returns its result."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from ragapp.ports import Tools
from ragapp.types import Answer, Event, Passage, Query, Step


def search(tools: Tools, query: Query, k: int | None = None) -> Generator[Event, None, list[Passage]]:
    """Find passages: as many as the tools say, or ``k``."""
    started = time.perf_counter()
    passages = tools.retriever.retrieve(query, k or tools.k)
    yield Step("search", time.perf_counter() - started, {"passages": len(passages)})
    return passages


def rerank(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, list[Passage]]:
    """Look at passages more closely."""
    started = time.perf_counter()
    ordered = tools.reranker.rerank(query.text, passages)
    yield Step("rerank", time.perf_counter() - started, {"passages": len(ordered)})
    return ordered


def write(tools: Tools, query: Query, passages: Sequence[Passage]) -> Generator[Event, None, Answer]:
    """Write the answer, token by token."""
    started = time.perf_counter()
    answer = yield from tools.answerer.answer(query, passages)
    yield Step("write", time.perf_counter() - started, {"citations": len(answer.citations)})
    return answer
