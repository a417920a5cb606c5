"""Questions to begin with. Those that the library's own judge would refuse are left out as soon as that is known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from ragapp.catalog import Generation
from ragapp.errors import RagappError
from ragapp.rag import Rag
from ragapp.server.house import Collection, House
from ragapp.suggestions import suggest
from ragapp.types import Query as Question

CANDIDATES = 16  # questions that are made
MOST = 8  # questions that are given at the most: the judge may refuse half
PATIENCE_S = 0.5  # for the judge, before what it has not seen is given


class Suggestions(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"questions": ["What does “Pump 300” say about warranty claims?"]}]}
    )

    questions: list[str]


class Suggester:
    """The questions of one collection, made anew when its library has changed. For the event loop only."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._of: Generation | None = None
        self._questions: Sequence[str] = ()
        self._checking: asyncio.Task[None] | None = None

    async def questions(self, n: int) -> list[str]:
        rag = self._collection.rag
        generation = await asyncio.to_thread(rag.catalog.generation)
        if generation != self._of:
            made = await asyncio.to_thread(suggest, rag.catalog, CANDIDATES)
            self._stop()
            self._of, self._questions = generation, made
            self._checking = asyncio.create_task(self._check(rag, made))
            # Only whoever asks first waits a little; afterwards what is known is given at once.
            await asyncio.wait({self._checking}, timeout=PATIENCE_S)
        return list(self._questions[:n])

    def _stop(self) -> None:
        if self._checking and not self._checking.done():
            self._checking.cancel()

    async def _check(self, rag: Rag, made: Sequence[str]) -> None:
        """Keep the questions that can be answered. One at a time, so that others get their turn in between."""
        good: list[str] = []
        for question in made:
            if len(good) < MOST and await asyncio.to_thread(_is_answered, rag, question):
                good.append(question)
        self._questions = good


def _is_answered(rag: Rag, question: str) -> bool:
    """Whether an answer would be given; a judge that cannot be asked refuses nothing."""
    try:
        tools = rag.tools
        found = rag.search(question, tools.depth)
        return tools.judge.confidence(Question(question), found) >= tools.judge.threshold
    except RagappError:
        return True


def routes(house: House) -> APIRouter:
    """``GET /v1/suggestions``."""
    router = APIRouter(prefix="/v1", tags=["ask"])
    suggesters = {name: Suggester(collection) for name, collection in house.collections.items()}

    @router.get("/suggestions")
    async def suggestions(
        request: Request,
        collection: Annotated[str | None, Query(description="name of a collection")] = None,
        n: Annotated[int, Query(ge=1, le=MOST)] = 4,
    ) -> Suggestions:
        """Questions to begin with, made from the documents themselves and in their language."""
        return Suggestions(questions=await suggesters[house.of(request).name].questions(n))

    return router
