"""The pages of documents: as pictures, as words with their places, as text, and what is found in them.

Whatever takes long has threads of its own, so that searches and answers never wait for a page; drawing itself is done
by other processes (``ingest/drawing.py``). A page that nobody waits for any more is not drawn.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response

from ragapp.errors import Overloaded
from ragapp.server.errors import Refusal
from ragapp.server.house import House
from ragapp.server.lanes import Lane
from ragapp.server.pages_shapes import BoxList, MatchList, PageList, PageTextOut, WordList
from ragapp.server.schemas import BoxOut
from ragapp.shapes import box_dict
from ragapp.viewer import PICTURES, Viewer

CACHE_BYTES = 64 << 20
LOOKERS = 2
WAITING = 200  # requests of a kind that wait; more are told to come back
LONGEST_SPAN = 200_000  # characters whose boxes may be asked for at once
DAY_S = 86_400
GONE = 499  # what nginx writes for a client that has left; nobody reads it

_T = TypeVar("_T")

Document = Annotated[str, Path(alias="id", description="id or name of a document", examples=["manuals/pump.pdf"])]
Number = Annotated[int, Path(alias="n", description="page, counted from 1", examples=[1])]
Collection = Annotated[str | None, Query(description="name of a collection; the default one where none is named")]
Width = Annotated[int, Query(ge=50, le=4000, description="pixels; fewer where the page would have too many")]
Offset = Annotated[int, Query(ge=0, le=2**53, description="in the document's text, by code points")]
Limit = Annotated[int, Query(ge=1, le=1000, description="matches at the most")]
Words = Annotated[str, Query(min_length=1, max_length=500, description="words to find")]

PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "The picture that the client has is the same"},
}


class Pictures:
    """The pictures that were drawn last, up to ``limit`` bytes of them. Safe to share between threads."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._held: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._turn = threading.Lock()

    def get(self, document_id: str, page: int, width: int) -> bytes | None:
        key = (document_id, page, width)
        with self._turn:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, document_id: str, page: int, width: int, picture: bytes) -> None:
        with self._turn:
            key = (document_id, page, width)
            self._bytes += len(picture) - len(self._held.pop(key, b""))
            self._held[key] = picture
            while self._bytes > self._limit:
                _, oldest = self._held.popitem(last=False)
                self._bytes -= len(oldest)


class Studio:
    """Where pages are drawn, a few at once, and the others wait in the order in which they came."""

    def __init__(self) -> None:
        self._pictures = Pictures()
        self._seats = asyncio.Semaphore(PICTURES)
        self._lane = Lane("picture", PICTURES, 0)
        self._waiting = 0

    async def picture(self, request: Request, viewer: Viewer, key: tuple[str, int, int]) -> bytes | None:
        """The picture of a page; None when the client has left before it was its turn. Raises NotFound, and Overloaded
        where too many wait."""
        held = self._pictures.get(*key)
        if held is not None:
            return held
        if self._waiting >= WAITING:
            raise Overloaded(f"{self._waiting} requests wait for a picture already.", "Try again in a moment.")
        self._waiting += 1
        leaving = asyncio.create_task(_left(request))
        try:
            async with self._seats:
                # It had to wait, and whoever asked may be at another page by now.
                return None if leaving.done() else await self._drawn(viewer, key)
        finally:
            self._waiting -= 1
            leaving.cancel()

    async def _drawn(self, viewer: Viewer, key: tuple[str, int, int]) -> bytes:
        held = self._pictures.get(*key)  # somebody else may have waited for the same one
        if held is None:
            held = await self._lane.run(viewer.picture, *key)
            self._pictures.put(*key, held)
        return held


def routes(house: House) -> APIRouter:
    """``/v1/documents/{id}/pages…``, ``/boxes`` and ``/find``; a name may hold slashes, as %2F or as they are."""
    router = APIRouter(prefix="/v1/documents/{id:path}", tags=["pages"])
    studio = Studio()
    lookers = Lane("look", LOOKERS, WAITING)

    async def looked(name: str | None, document: str, look: Callable[[Viewer, str], _T]) -> _T:
        """What is seen in a document, in a thread."""
        return await lookers.run(_look, house.at(name).rag.viewer, document, look)

    @router.get("/pages")
    async def pages(document: Document, collection: Collection = None) -> PageList:
        """List the pages of a document."""
        return await looked(collection, document, lambda viewer, key: PageList.of(viewer.pages(key)))

    @router.get("/pages/{n:int}.png", response_class=Response, responses=PNG)
    async def picture(
        document: Document, number: Number, request: Request, width: Width = 800, collection: Collection = None
    ) -> Response:
        """A page of a PDF as PNG. Other documents, and those whose file is gone, changed or encrypted, have none."""
        viewer = house.at(collection).rag.viewer

        def checked(_: Viewer, key: str) -> str:
            viewer.check_picture(key, number)
            return key

        key = await looked(collection, document, checked)
        headers = _headers(key, number, width, by_id=key == document)
        if _has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        drawn = await studio.picture(request, viewer, (key, number, width))
        if drawn is None:
            return Response(status_code=GONE)
        return Response(drawn, media_type="image/png", headers=headers)

    @router.get("/pages/{n:int}/words")
    async def words(document: Document, number: Number, collection: Collection = None) -> WordList:
        """The words of a page with their places on its picture and in the text."""
        return await looked(collection, document, lambda viewer, key: WordList.of(viewer.words(key, number)))

    @router.get("/pages/{n:int}/text")
    async def text(document: Document, number: Number, collection: Collection = None) -> PageTextOut:
        """The text of a page, with the headings on it."""
        return await looked(collection, document, lambda viewer, key: PageTextOut.of(viewer.text(key, number)))

    @router.get("/boxes")
    async def boxes(document: Document, start: Offset, end: Offset, collection: Collection = None) -> BoxList:
        """The rectangles of a span of the document's text on its pages."""
        if not 0 <= end - start <= LONGEST_SPAN:
            raise Refusal(
                400,
                "invalid_value",
                f"A span of {end - start:,} characters has no boxes.",
                f"end is not before start, and at most {LONGEST_SPAN:,} characters behind it.",
                param="end",
            )
        found = await looked(collection, document, lambda viewer, key: viewer.boxes(key, start, end))
        return BoxList(boxes=[BoxOut(**box_dict(box)) for box in found])

    @router.get("/find")
    async def find(
        document: Document,
        q: Words,
        limit: Limit = 50,
        boxes: Annotated[bool, Query(description="whether each match comes with its boxes")] = True,
        collection: Collection = None,
    ) -> MatchList:
        """Find words in a document, whatever their case, width, white space and hyphens at line ends."""
        return await looked(
            collection, document, lambda viewer, key: MatchList.of(viewer.find(key, q, limit, boxes=boxes))
        )

    return router


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _look(viewer: Viewer, document: str, look: Callable[[Viewer, str], _T]) -> _T:
    return look(viewer, viewer.document_id(document))


def _headers(document_id: str, page: int, width: int, *, by_id: bool) -> dict[str, str]:
    """What the client may do with a picture. An id is that of the bytes; under a name there may be others tomorrow."""
    return {
        "ETag": f'"{document_id[:32]}-{page}-{width}"',
        "Cache-Control": f"private, max-age={DAY_S}, immutable" if by_id else "private, no-cache",
    }


def _has(request: Request, tag: str) -> bool:
    """Whether the client has the picture with this tag (RFC 9110, If-None-Match)."""
    given = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return tag in given or "*" in given
