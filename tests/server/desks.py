"""Servers over libraries of the test's own, files to upload, and jobs followed to their end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from ragapp.errors import LibraryLocked
from ragapp.rag import Rag
from tests import pdfs
from tests.server.conftest import Running

FINAL = ("done", "failed", "cancelled")


@contextmanager
def library(folder: Path, *, aside: bool = False, **flags: Any) -> Iterator[Running]:
    """A server over a library that is made when there is none; with ``aside`` another process reads documents."""
    with Rag.open(folder, **{"embedder__name": "hashing", "server__port": 0, "ingest__workers": 1, **flags}) as rag:
        running = Running(rag, aside=aside)
        try:
            yield running
        finally:
            running.close()


def pdf(subject: str, pages: int = 1, password: str | None = None) -> bytes:
    """A PDF with sentences of its own on each page."""
    return pdfs.pdf([pdfs.prose(f"{subject} {page}") for page in range(pages)], password=password)


def post(server: Running, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    return server.http.post("/v1/documents", files=[("file", file) for file in files], data=fields)


def upload(server: Running, *files: tuple[str, bytes], **fields: str) -> str:
    """The id of the job that takes in these files."""
    answer = post(server, *files, **fields)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job"]["id"]
    return job_id


def job_of(server: Running, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.http.get(f"/v1/jobs/{job_id}").json()
    return found


def finished(server: Running, job_id: str, seconds: float = 20.0) -> dict[str, Any]:
    """The job when it is over."""
    end = time.monotonic() + seconds
    while (job := job_of(server, job_id))["state"] not in FINAL:
        assert time.monotonic() < end, job
        time.sleep(0.02)
    return job


def ingested(server: Running, *files: tuple[str, bytes], **fields: str) -> dict[str, Any]:
    return finished(server, upload(server, *files, **fields))


def names(server: Running) -> list[str]:
    return [entry["document"] for entry in server.http.get("/v1/documents").json()["data"]]


@contextmanager
def written_by_another(folder: Path, embedder: str = "hashing") -> Iterator[None]:
    """As if another process were writing to the library. After a job the server itself may write for a moment."""
    end = time.monotonic() + 10
    with Rag.open(folder, embedder__name=embedder) as other, ExitStack() as stack:
        while True:
            try:
                stack.enter_context(other.catalog.writing())
                break
            except LibraryLocked:
                assert time.monotonic() < end
                time.sleep(0.02)
        yield


class Events:
    """The events of a stream, read one after another."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, int, Any]:
        """Kind, number (0 without one) and data of the next event, comments passed over; StopIteration at the end."""
        kind, number, data = "", 0, ""
        for line in self._lines:
            if not line and data:
                return kind, number, json.loads(data)
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                number = int(value)
            elif name == "data":
                data = value
        raise StopIteration

    def all(self) -> list[tuple[str, int, Any]]:
        """Those up to the end of the stream."""
        found = []
        try:
            while True:
                found.append(self.next())
        except StopIteration:
            return found


@contextmanager
def listening(server: Running, path: str, heard: int | None = None) -> Iterator[Events]:
    headers = {} if heard is None else {"Last-Event-ID": str(heard)}
    with server.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield Events(response)
