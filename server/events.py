"""Jobs at the door: listed, cancelled, tried again, and followed as server-sent events."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ragapp.jobbook import Job
from ragapp.server.feeds import LOOK_S, FeedStream, Script
from ragapp.server.house import Collection, House
from ragapp.server.job_shapes import JobList, JobOut
from ragapp.server.schemas import ErrorResponse
from ragapp.server.sse import EVENT, frame

In = Annotated[str | None, Query(description="name of a collection; the default one where it is left out")]

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": dict(EVENT)}}, "description": "Server-sent events"},
}


class Retry(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "open sesame"}]})

    password: Annotated[str, Field(max_length=1000)] = ""


def routes(house: House) -> APIRouter:
    """``/v1/jobs…`` and ``/v1/events``."""
    router = APIRouter(prefix="/v1", tags=["jobs"])
    states = {name: LibraryState(collection) for name, collection in house.collections.items()}
    clean = house.table.without_paths

    def shown(collection: Collection, job: Job) -> JobOut:
        return JobOut.model_validate(collection.jobs.shown(job, clean))

    @router.get("/jobs")
    async def jobs(collection: In = None, active: bool = False) -> JobList:
        """List the jobs, newest first; with ``active`` only those that are not over."""
        where = house.at(collection)
        return JobList(data=[shown(where, job) for job in where.jobs.all() if not (active and job.is_final)])

    @router.get("/jobs/{id}")
    async def job(id: str, collection: In = None) -> JobOut:
        """Show one job."""
        where = house.at(collection)
        return shown(where, where.jobs.job(id))

    @router.delete("/jobs/{id}", status_code=202)
    async def cancel(id: str, collection: In = None) -> JobOut:
        """Cancel a job. What is in the library already stays; a job that is over stays as it is."""
        where = house.at(collection)
        return shown(where, await where.jobs.lane.run(where.jobs.cancel, id))

    @router.post("/jobs/{id}/retry", status_code=202, responses={409: {"model": ErrorResponse}})
    async def retry(id: str, body: Retry | None = None, collection: In = None) -> JobOut:
        """Try again what failed or was cancelled, with a password where one is needed."""
        where = house.at(collection)
        return shown(where, await where.jobs.lane.run(where.jobs.retry, id, body.password if body else ""))

    @router.get(
        "/jobs/{id}/events", response_class=Response, responses={**STREAM, 204: {"description": "All of it was told"}}
    )
    async def job_events(id: str, request: Request, collection: In = None) -> Response:
        """Follow one job to its end: an event ``job`` with the whole job whenever it has changed.

        With the header Last-Event-ID only what is newer is told; 204 says that there will be nothing more.
        """
        where, heard = house.at(collection), last_heard(request)
        followed = where.jobs.job(id)
        if followed.is_final and heard >= followed.number:
            return Response(status_code=204)
        script = _OneJob(where, id, heard, house)
        return FeedStream(where.jobs.feeds, Script(script.first, script.more))

    @router.get("/events", response_class=Response, responses=STREAM)
    async def events(request: Request, collection: In = None) -> Response:
        """Follow a collection: events ``job`` and ``library``, first of all its present state. It does not end."""
        where = house.at(collection)
        script = _Everything(where, states[where.name], last_heard(request), house)
        return FeedStream(where.jobs.feeds, Script(script.first, script.more))

    return router


def last_heard(request: Request) -> int:
    """The number of the last event that the client has had; 0 when it says none."""
    said = request.headers.get("last-event-id", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 19 else 0


class LibraryState:
    """What a collection holds, looked up when its generation has changed, whoever changed it, and asked for at most
    once a second, however many listen."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._lock = threading.Lock()
        self._looked = 0.0
        self._state: dict[str, int] = {}

    def now(self, *, fresh: bool = False) -> dict[str, int]:
        """``{"generation", "documents", "pages", "chunks"}``; documents are counted by name."""
        with self._lock:
            if fresh or time.monotonic() - self._looked >= LOOK_S * 0.9:
                rag = self._collection.rag
                generation = rag.catalog.generation().number
                if self._state.get("generation") != generation:
                    self._state = self._counted(generation)
                self._looked = time.monotonic()
            return self._state

    def _counted(self, generation: int) -> dict[str, int]:
        entries = self._collection.rag.documents()
        documents = {entry.id: entry for entry in entries}.values()
        return {
            "generation": generation,
            "documents": len(entries),
            "pages": sum(entry.pages for entry in documents),
            "chunks": sum(entry.chunks for entry in documents),
        }


class _Follower:
    """What is said of jobs: each time one has changed, and never the same twice."""

    def __init__(self, collection: Collection, heard: int, house: House) -> None:
        self._collection, self._heard = collection, heard
        self._clean = house.table.without_paths
        self._told: dict[str, int] = {}

    def _frame(self, job: Job) -> bytes:
        if self._told.get(job.id, self._heard) >= job.number:
            return b""
        self._told[job.id] = job.number
        return frame(self._collection.jobs.shown(job, self._clean), "job", job.number)


class _OneJob(_Follower):
    def __init__(self, collection: Collection, job_id: str, heard: int, house: House) -> None:
        super().__init__(collection, heard, house)
        self._id = job_id

    def first(self) -> tuple[bytes, bool]:
        job = self._collection.jobs.job(self._id)
        return self._frame(job), job.is_final

    def more(self, changed: Sequence[str]) -> tuple[bytes, bool]:
        return self.first() if self._id in changed else (b"", False)


class _Everything(_Follower):
    def __init__(self, collection: Collection, state: LibraryState, heard: int, house: House) -> None:
        super().__init__(collection, heard, house)
        self._state = state
        self._library: dict[str, int] = {}

    def first(self) -> tuple[bytes, bool]:
        """Who comes back is told what has ended meanwhile; who comes for the first time what is going on."""
        jobs = self._collection.jobs.all()[::-1]
        frames = [self._present(job) for job in jobs if not job.is_final]
        frames += [self._frame(job) for job in jobs if job.is_final and self._heard]
        return b"".join([*frames, self._library_frame(fresh=True)]), False

    def more(self, changed: Sequence[str]) -> tuple[bytes, bool]:
        jobs = {job.id: job for job in self._collection.jobs.all()} if changed else {}
        frames = [self._frame(jobs[key]) for key in changed if key in jobs]
        return b"".join([*frames, self._library_frame()]), False

    def _present(self, job: Job) -> bytes:
        """The state of a job that is at work, whatever was told before."""
        self._told[job.id] = job.number - 1
        return self._frame(job)

    def _library_frame(self, *, fresh: bool = False) -> bytes:
        state = self._state.now(fresh=fresh)
        if state == self._library:
            return b""
        self._library = state
        return frame(state, "library")
