"""The collections: the libraries that this server holds."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from ragapp.keyring import Key
from ragapp.server.house import Collection, House

EXAMPLE: dict[str, Any] = {
    "name": "manuals",
    "default": True,
    "documents": 26,
    "pages": 447,
    "chunks": 1941,
    "writable": True,
}


class CollectionOut(BaseModel):
    """``documents`` counts names, as ``/v1/documents`` lists them; ``writable`` is whether any can be added."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: str
    default: bool
    documents: int
    pages: int
    chunks: int
    writable: bool


class CollectionList(BaseModel):
    object: Literal["list"] = "list"
    data: list[CollectionOut]


def routes(house: House) -> APIRouter:
    """``GET /v1/collections``."""
    router = APIRouter(prefix="/v1", tags=["library"])

    @router.get("/collections")
    async def collections(request: Request) -> CollectionList:
        """List the collections that the key may ask, the default one first."""
        key: Key | None = getattr(request.state, "key", None)
        seen = [each for each in house.collections.values() if key is None or key.covers(each.name)]
        return CollectionList(data=await asyncio.to_thread(lambda: [_out(house, each, key) for each in seen]))

    return router


def _out(house: House, collection: Collection, key: Key | None) -> CollectionOut:
    entries = collection.rag.documents()
    documents = {entry.id: entry for entry in entries}.values()
    return CollectionOut(
        name=collection.name,
        default=collection is house.default,
        documents=len(entries),
        pages=sum(entry.pages for entry in documents),
        chunks=sum(entry.chunks for entry in documents),
        writable=collection.rag.catalog.writable and (key is None or key.may("write")),
    )
