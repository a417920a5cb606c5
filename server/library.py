"""The library: search, and what is in it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from ragapp.rag import Rag
from ragapp.server.schemas import DocumentList, DocumentOut, PassageWithBoxes, SearchRequest, SearchResponse
from ragapp.types import Query


def routes(rag: Rag) -> APIRouter:
    """``POST /v1/search`` and ``GET /v1/documents``. Neither takes a seat: no model writes."""
    router = APIRouter(prefix="/v1", tags=["library"])

    # Both read files, so they run in threads: in asyncio's, which stay, because a library opens its database once per
    # thread. The framework's threads, which run plain functions, come and go.
    @router.post("/search")
    async def search(body: SearchRequest) -> SearchResponse:
        """Find passages, best first, with the boxes of each on its pages."""
        return await asyncio.to_thread(_search, rag, body)

    @router.get("/documents")
    async def documents() -> DocumentList:
        """List the documents, by name."""
        entries = await asyncio.to_thread(rag.documents)
        return DocumentList(data=[DocumentOut.model_validate(entry) for entry in entries])

    return router


def _search(rag: Rag, asked: SearchRequest) -> SearchResponse:
    found = rag.search(Query(asked.question, where=tuple(asked.where)), asked.k)
    return SearchResponse(passages=[PassageWithBoxes.at(passage, rag.boxes_of(passage)) for passage in found])
