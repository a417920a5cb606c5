"""Uploads: a multipart body written to disk while it comes, never held whole, and looked at before it is accepted.

The framework's own form parser spools into the system's folder for temporary files, which may be in memory or on a
small disk; ours writes where the files belong, so that accepting one is no copy.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import IO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from ragapp.config import ServerTable
from ragapp.errors import RagappError, ReadError
from ragapp.ingest.kinds import readable_name
from ragapp.jobbook import Job, JobFile
from ragapp.server.errors import Refusal
from ragapp.server.inbox import Box
from ragapp.server.jobs import Jobs
from ragapp.server.lanes import Lane
from ragapp.server.names import clean_name

WRITE_BYTES = 1 << 20  # gathered before they are written: every write is a visit to another thread
PATIENCE_S = 60.0  # without a byte, after which a client is gone
PASSWORD_BYTES = 1024
TWICE = "Name every file once."
# A client that is refused while it still sends would see a broken connection instead of the reason.
DRAIN_BYTES, DRAIN_S = 64 << 20, 5.0


async def receive(request: Request, jobs: Jobs, settings: ServerTable) -> Job:
    """Store the files of a request in the inbox, look at them, and make a job of them.

    Nothing is left of a request that is refused. Raises Refusal for sizes, names and kinds that are not
    taken, LibraryLocked, Overloaded, and ClientDisconnect.
    """
    body = _Body(request, settings.max_upload_bytes)
    try:
        boundary = _boundary(request)
        body.check_declared()
        job_id = secrets.token_hex(8)
        with jobs.inbox.receiving(job_id, body.declared) as box:
            await jobs.lane.run(jobs.prepare)
            parts = _Parts(box.folder, settings.max_upload_files)
            try:
                await _fill(parts, boundary, body, jobs.lane)
            finally:
                parts.close()
            password = parts.password.decode("utf-8", "replace")
            accepting = asyncio.create_task(jobs.lane.run(_accepted, jobs, job_id, box, parts.files, password))
            try:
                return await asyncio.shield(accepting)
            finally:
                # Also where the server ends just now: the bytes stay if there is a job for them, and only then.
                await asyncio.wait({accepting})
    except RagappError:
        await body.drain()
        raise


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        why = "The request is not multipart/form-data."
        raise Refusal(415, "invalid_content_type", why, "Send each file as a part `file`.")
    return options[b"boundary"]


class _Body:
    """The body of a request, counted while it comes."""

    def __init__(self, request: Request, limit: int) -> None:
        declared = request.headers.get("content-length", "")
        self.declared = int(declared) if declared.isdigit() else 0
        self._limit = limit
        self._seen = 0
        self._stream = request.stream()
        self._ended = False

    def check_declared(self) -> None:
        if self.declared > self._limit:
            raise self._too_large()

    async def blocks(self) -> AsyncIterator[bytes]:
        """The bytes in blocks of about WRITE_BYTES."""
        block = bytearray()
        while (piece := await self._next()) is not None:
            self._seen += len(piece)
            if self._seen > self._limit:
                raise self._too_large()
            block += piece
            if len(block) >= WRITE_BYTES:
                yield bytes(block)
                block.clear()
        if block:
            yield bytes(block)

    async def drain(self) -> None:
        """Take some more of what the client still sends, and forget it."""
        end, left = monotonic() + DRAIN_S, DRAIN_BYTES
        try:
            while left > 0 and monotonic() < end and (piece := await self._next(DRAIN_S)) is not None:
                left -= len(piece)
        except (ClientDisconnect, RagappError):
            return

    async def _next(self, patience: float = PATIENCE_S) -> bytes | None:
        if self._ended:
            return None
        try:
            async with asyncio.timeout(patience):
                return await anext(self._stream)
        except StopAsyncIteration:
            self._ended = True
            return None
        except TimeoutError:
            self._ended = True
            raise Refusal(408, "upload_stalled", "The upload has stopped coming.", "Send it again.") from None

    def _too_large(self) -> Refusal:
        return Refusal(
            413,
            "upload_too_large",
            f"The upload is larger than the {self._limit:,} bytes that are taken at once.",
            "Send the files one by one, or raise [server] max_upload_bytes.",
        )


async def _fill(parts: _Parts, boundary: bytes, body: _Body, lane: Lane) -> None:
    callbacks = {
        "on_part_begin": parts.begin,
        "on_header_field": parts.header_name,
        "on_header_value": parts.header_value,
        "on_header_end": parts.header_end,
        "on_headers_finished": parts.headers_end,
        "on_part_data": parts.data,
        "on_part_end": parts.end,
        "on_end": parts.finish,
    }
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        async for block in body.blocks():
            await lane.run(parser.write, block)
    except FormParserError as error:
        raise Refusal(400, "invalid_multipart", f"The request's body is not multipart/form-data: {error}.") from error
    if not parts.is_complete:
        raise Refusal(400, "invalid_multipart", "The request's body ends before its last part does.", "Send it again.")
    if not parts.files:
        raise Refusal(400, "no_file", "There is no file in the request.", "Send each as a part `file`.", param="file")


@dataclass
class _Parts:
    """The parts of a body as the parser finds them: files go to disk, the password is remembered, the rest is not."""

    folder: Path
    most: int
    files: list[JobFile] = field(default_factory=list)
    password: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _disposition: bytes = b""
    _file: IO[bytes] | None = None
    _is_password: bool = False
    _names: set[str] = field(default_factory=set)

    def begin(self) -> None:
        self._disposition, self._is_password = b"", False

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        name.clear()
        value.clear()

    def headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        field_name, filename = options.get(b"name"), options.get(b"filename")
        self._is_password = field_name == b"password" and filename is None
        if field_name == b"file" and filename:  # a form's empty field has an empty name
            self._open(_text(filename))
        elif field_name == b"file" and filename is None:
            raise Refusal(400, "invalid_name", "A part `file` has no filename.", "Name every file.", param="file")

    def _open(self, filename: str) -> None:
        # Forms write a quotation mark so, and nothing else.
        name = clean_name(filename.replace("%22", '"'))
        if len(self.files) >= self.most:
            raise Refusal(
                413,
                "too_many_files",
                f"There are more than {self.most:,} files in the request.",
                "Send them in several requests.",
            )
        if name in self._names:
            raise Refusal(400, "invalid_name", f"The name {name!r} is there twice.", TWICE, param="file")
        self._names.add(name)
        self._file = (self.folder / str(len(self.files))).open("xb")
        self.files.append(JobFile(name, 0))

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._is_password:
            self.password += data[start:end]
            if len(self.password) > PASSWORD_BYTES:
                raise Refusal(400, "invalid_value", "The password is too long.", param="password")

    def end(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self.files[-1] = replace(self.files[-1], bytes=self._file.tell())
        self.close()

    def finish(self) -> None:
        self.is_complete = True

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _text(name: bytes) -> str:
    """A name in UTF-8, as every program sends it today; one in Latin-1, as old ones do, is read as that."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _accepted(jobs: Jobs, job_id: str, box: Box, files: list[JobFile], password: str) -> Job:
    """First the bytes are safe, then the job is, and only then does the client hear of it."""
    found = _looked_at(box.folder, files)
    jobs.inbox.seal(box.folder)
    job = jobs.submit(job_id, found, password)
    box.is_kept = True
    return job


def _looked_at(folder: Path, files: list[JobFile]) -> tuple[JobFile, ...]:
    """The files with names that fit what they are. Those that cannot be read have failed, and their bytes are gone.

    Raises Refusal (415) when that is so of all of them.
    """
    found: list[JobFile] = []
    for place, file in enumerate(files):
        taken = {other.name for other in found if other.state == "queued"}
        found.append(_checked(folder / str(place), file, taken))
    bad = [file for file in found if file.state == "failed"]
    if len(bad) == len(found):
        more = f" None of the {len(bad)} files can be read." if len(bad) > 1 else ""
        raise Refusal(415, "unreadable_file", bad[0].error + more, bad[0].hint, param="file")
    return tuple(found)


def _checked(path: Path, file: JobFile, taken: Collection[str]) -> JobFile:
    try:
        name = readable_name(path, file.name)
        if name in taken:  # it got the ending that another one has
            raise ReadError(f"The name {name!r} is there twice.", TWICE)
    except ReadError as error:
        path.unlink()
        return replace(file, state="failed", error=error.message, hint=error.hint)
    return replace(file, name=name)
