"""The library: search."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ragapp.rag import Rag
from ragapp.server.house import House
from ragapp.server.schemas import PassageWithBoxes, SearchRequest, SearchResponse
from ragapp.types import Query


def routes(house: House) -> APIRouter:
    """``POST /v1/search``. It takes no seat: no model writes."""
    router = APIRouter(prefix="/v1", tags=["library"])

    # It reads files, so it runs in a thread: one of its own, so that it waits for no other work.
    @router.post("/search")
    async def search(body: SearchRequest, request: Request) -> SearchResponse:
        """Find passages, best first, with the boxes of each on its pages."""
        collection = house.at(body.collection)
        house.allow(request, collection.name)
        found = await house.gate.searches.run_for(request.receive, _search, collection.rag, body)
        return SearchResponse(passages=[]) if found is None else found  # nobody is left to read it

    return router


def _search(rag: Rag, asked: SearchRequest) -> SearchResponse:
    found = rag.search(Query(asked.question, where=tuple(asked.where)), asked.k)
    boxes = rag.boxes_of_each(found)
    return SearchResponse(passages=[PassageWithBoxes.at(*one) for one in zip(found, boxes, strict=True)])
