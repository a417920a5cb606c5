"""The library: search."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ragapp.rag import Rag
from ragapp.server.errors import ErrorTable
from ragapp.server.house import House
from ragapp.server.schemas import PassageWithBoxes, SearchRequest, SearchResponse
from ragapp.types import Event, Passage, Query, Step


def routes(house: House) -> APIRouter:
    """``POST /v1/search``. It takes no seat: no model writes."""
    router = APIRouter(prefix="/v1", tags=["library"])

    # It reads files, so it runs in a thread: one of its own, so that it waits for no other work.
    @router.post("/search")
    async def search(body: SearchRequest, request: Request) -> SearchResponse:
        """Find passages, best first, with the boxes of each on its pages."""
        collection = house.at(body.collection)
        house.allow(request, collection.name)
        found = await house.gate.searches.run_for(request.receive, _search, collection.rag, body, house.table)
        return SearchResponse(passages=[], warnings=[]) if found is None else found  # nobody is left to read it

    return router


def noted_search(rag: Rag, query: Query, k: int | None, table: ErrorTable) -> tuple[list[Passage], list[str]]:
    """The passages, and what went less well than it should: a reranker that gave up, for one. Raises as the search."""
    warnings: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Step) and (warning := event.detail.get("warning")):
            warnings.append(table.without_paths(str(warning)))

    return rag.search(query, k, told=hear), list(dict.fromkeys(warnings))


def _search(rag: Rag, asked: SearchRequest, table: ErrorTable) -> SearchResponse:
    found, warnings = noted_search(rag, Query(asked.question, where=tuple(asked.where)), asked.k, table)
    boxes = rag.boxes_of_each(found)
    passages = [PassageWithBoxes.at(*one) for one in zip(found, boxes, strict=True)]
    return SearchResponse(passages=passages, warnings=warnings)
