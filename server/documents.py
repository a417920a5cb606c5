"""Documents at the door: listed, uploaded, deleted, and their original files."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as Part
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse

from ragapp.catalog import Entry, FileRow
from ragapp.erasure import Receipt
from ragapp.errors import LibraryLocked, NotFound
from ragapp.ingest.scan import path_of
from ragapp.rag import Rag
from ragapp.server.house import Collection, House
from ragapp.server.job_shapes import EXAMPLE_JOB, JobAnswer
from ragapp.server.schemas import ErrorResponse
from ragapp.server.uploads import receive

In = Annotated[str | None, Query(description="name of a collection; the default one where it is left out")]
Key = Annotated[str, Part(alias="id", description="id or name of a document", examples=["manuals/pump.pdf"])]

LOCKED_S = 5.0  # how long a deletion waits for somebody who writes
GONE = 499  # what nginx writes for a client that has left; nobody reads it
PDF = "application/pdf"
SHOWN = frozenset({PDF, "text/plain", "image/png", "image/jpeg", "image/gif", "image/webp"})  # in the browser itself
# No script of a document may run as ours. A browser's viewer of PDFs does not start in a sandbox, and needs none.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; object-src 'self'; frame-ancestors 'self'"
)
SANDBOX = f"{POLICY}; sandbox"
_RANGE = re.compile(r"^bytes=(\d+-\d*|-\d+)(\s*,\s*(\d+-\d*|-\d+))*$")

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
                        "password": {"type": "string", "description": "of encrypted PDFs among the files"},
                    },
                },
                "encoding": {"file": {"contentType": "application/octet-stream"}},
            }
        },
    }
}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The part that was asked for"},
    304: {"description": "The file that the client has is the same"},
    416: {"description": "There is no such part"},
}


class DocumentEntry(BaseModel):
    """A document under one of its names. ``added`` is when it was ingested.

    ``pages_without_text`` is how many pages hold no letter or digit, ``pages_unread`` the numbers of those that hold
    something which could not be read. ``files`` are all names of the document; ``original``: its file is still there
    and unchanged.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "document": "manuals/pump.pdf",
                    "id": "9f86d081884c7d65",
                    "title": "Pump 300",
                    "pages": 48,
                    "chunks": 131,
                    "bytes": 1204112,
                    "pages_without_text": 1,
                    "added": "2026-01-31T12:00:00Z",
                    "pages_unread": [17],
                    "media_type": PDF,
                    "files": ["manuals/pump.pdf"],
                    "original": True,
                }
            ]
        }
    )

    document: str
    id: str
    title: str
    pages: int
    chunks: int
    bytes: int
    pages_without_text: int
    added: str
    pages_unread: list[int]
    media_type: str
    files: list[str]
    original: bool


class DocumentEntries(BaseModel):
    object: Literal["list"] = "list"
    data: list[DocumentEntry]


class Deleted(BaseModel):
    """``document`` is what was asked for; ``erased`` the receipt: what went, and how many traces of it are left."""

    document: str
    erased: dict[str, Any]


def routes(house: House) -> APIRouter:
    """``/v1/documents…``, but for pages. To be included after the rooms whose paths begin alike: names have slashes."""
    router = APIRouter(prefix="/v1", tags=["documents"])

    @router.get("/documents")
    async def documents(collection: In = None) -> DocumentEntries:
        """List the documents, by name."""
        return DocumentEntries(data=await asyncio.to_thread(listed, house.at(collection).rag))

    @router.post(
        "/documents",
        status_code=202,
        response_model=JobAnswer,
        openapi_extra=UPLOAD,
        responses={
            202: {"content": {"application/json": {"example": {"job": {**EXAMPLE_JOB, "state": "queued"}}}}},
            **{status: {"model": ErrorResponse, "description": why} for status, why in REFUSED.items()},
        },
    )
    async def upload(request: Request, collection: In = None) -> Response:
        """Add documents. The answer comes when their bytes are safe; the job tells what becomes of them."""
        where = house.at(collection)
        try:
            job = await receive(request, where.jobs, house.settings)
        except ClientDisconnect:
            return Response(status_code=GONE)
        query = "" if where is house.default else f"?collection={quote(where.name, safe='')}"
        shown = where.jobs.shown(job, house.table.without_paths)
        return JSONResponse({"job": shown}, 202, {"Location": f"/v1/jobs/{job.id}{query}"})

    @router.get("/documents/{id:path}/file", response_class=Response, responses=FILE)
    async def original(key: Key, request: Request, collection: In = None) -> Response:
        """The original file, as long as it is there and unchanged."""
        row, media_type = await asyncio.to_thread(_original, house.at(collection).rag, key)
        return _file(request, row, media_type)

    @router.get("/documents/{id:path}")
    async def document(key: Key, collection: In = None) -> DocumentEntry:
        """Show one document."""
        return await asyncio.to_thread(lambda: _one(listed(house.at(collection).rag), key))

    @router.delete("/documents/{id:path}", responses={409: {"model": ErrorResponse}})
    async def delete(key: Key, collection: In = None) -> Deleted:
        """Forget a document, by its name or, under all its names, by its id, with the file that was uploaded."""
        where = house.at(collection)
        return await where.jobs.lane.run(_delete, where, key)

    return router


REFUSED = {
    408: "The upload has stopped coming",
    409: "Another server takes the uploads of this library",
    415: "No file of a kind that can be read",
    507: "The disk is full",
}


def listed(rag: Rag) -> list[DocumentEntry]:
    """Every document under each of its names."""
    with rag.catalog.snapshot():
        entries, rows = rag.documents(), {row.name: row for row in rag.catalog.files().values()}
        kinds = rag.catalog.media_types()
    names: dict[str, list[str]] = {}
    for entry in entries:
        names.setdefault(entry.id, []).append(entry.document)
    return [_entry(entry, rows[entry.document], kinds[entry.id], names[entry.id]) for entry in entries]


def _entry(entry: Entry, row: FileRow, media_type: str, names: list[str]) -> DocumentEntry:
    return DocumentEntry(
        document=entry.document,
        id=entry.id,
        title=entry.title,
        pages=entry.pages,
        chunks=entry.chunks,
        bytes=entry.bytes,
        pages_without_text=entry.pages_without_text,
        added=entry.added,
        pages_unread=list(entry.pages_unread),
        media_type=media_type,
        files=names,
        original=_is_there(row),
    )


def _is_there(row: FileRow) -> bool:
    """Whether a file is there and what it was when it was read."""
    try:
        stat = os.stat(path_of(row.uri))
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (row.bytes, row.mtime_ns)


def _one(entries: Sequence[DocumentEntry], key: str) -> DocumentEntry:
    found = [entry for entry in entries if entry.document == key] or [entry for entry in entries if entry.id == key]
    if not found:
        raise NotFound(f"There is no document {key!r} in the library.", "The list of documents shows what is there.")
    return found[0]


def _original(rag: Rag, key: str) -> tuple[FileRow, str]:
    """A file that is there for a document, the one that was named before others. Raises NotFound."""
    entry = _one(listed(rag), key)
    rows = sorted(rag.catalog.files_of(entry.id), key=lambda row: row.name != key)
    for row in rows:
        if _is_there(row):
            return row, entry.media_type
    raise NotFound(
        f"The original file of {entry.document!r} is gone, or was changed since it was read.", "Upload it again."
    )


def _file(request: Request, row: FileRow, media_type: str) -> Response:
    etag = f'"{row.document_id}"'
    headers = {
        "ETag": etag,
        "Last-Modified": formatdate(row.mtime_ns / 1e9, usegmt=True),
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": POLICY if media_type == PDF else SANDBOX,
        "Content-Disposition": disposition(row.name, shown=media_type in SHOWN),
    }
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if asked is not None and not _RANGE.match(asked.strip()):
        # Such a header is to be passed over (RFC 9110, 14.2); the framework would answer 400.
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    return FileResponse(path_of(row.uri), headers=headers, media_type=media_type)


def disposition(name: str, *, shown: bool) -> str:
    """A Content-Disposition header (RFC 6266): in ASCII for old programs, in UTF-8 for the others."""
    last = Path(name).name
    plain = re.sub(r"[^A-Za-z0-9._() -]", "_", last)
    exact = quote(last.encode("utf-8", "replace"), safe="")
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{exact}"


def _delete(where: Collection, key: str) -> Deleted:
    entries = where.rag.documents()
    named = [entry.document for entry in entries if entry.document == key]
    names = named or [entry.document for entry in entries if entry.id == key]
    receipt = _removed(where, key)
    where.jobs.forget(names)
    return Deleted(document=key, erased=receipt.as_dict())


def _removed(where: Collection, key: str) -> Receipt:
    """Forget a document. What writes only for a moment (the search caches after a job) is waited for."""
    end = time.monotonic() + LOCKED_S
    while True:
        try:
            receipt = where.rag.remove(key)
            where.adder.rest()  # it may still hold what is forgotten
            return receipt
        except LibraryLocked as error:
            busy = any(job.state == "running" for job in where.jobs.all())
            if busy or time.monotonic() >= end:
                raise LibraryLocked(
                    "Something is being written to the library just now.",
                    "Try again when the job has ended, or cancel it.",
                ) from error
        time.sleep(0.05)
