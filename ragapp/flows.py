"""Flows: whole ways from a question to an answer."""

from __future__ import annotations

from collections.abc import Iterator

from ragapp.ports import Tools
from ragapp.steps import rerank, search, write
from ragapp.types import Done, Event, Found, Query


def linear(tools: Tools, query: Query) -> Iterator[Event]:
    """Search, rerank, write."""
    passages = yield from search(tools, query)
    passages = yield from rerank(tools, query, passages)
    yield Found(tuple(passages))
    answer = yield from write(tools, query, passages)
    yield Done(answer)
