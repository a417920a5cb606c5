"""Figures for Prometheus: ``GET /metrics``. Each app has a registry of its own; nothing is global.

Labels are templates of paths, names of steps, states and codes: never a name of a document, a question or a key.
"""

from __future__ import annotations

import asyncio
import platform
import threading
from collections import Counter as Tally
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

import ragapp
from ragapp.errors import RagappError
from ragapp.server.events import LibraryState
from ragapp.server.observing import Seen
from ragapp.types import Done, Event, Step, Token

if TYPE_CHECKING:
    from ragapp.server.house import Collection, House

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
MOST_STEPS = 100  # names of steps, as flows of the users' own may make some up
SHORT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
LONG_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """What one app counts; see observing.Sink. Safe to share between threads."""

    def __init__(self, house: House) -> None:
        self.registry = own = CollectorRegistry()
        self._requests = Counter(
            "ragapp_requests", "Requests that were answered", ("method", "route", "status"), registry=own
        )
        self._seconds = Histogram(
            "ragapp_request_seconds", "Time of whole answers", ("route",), buckets=LONG_S, registry=own
        )
        self._open = Gauge("ragapp_requests_open", "Requests that are being answered", registry=own)
        self._errors = Counter("ragapp_errors", "Errors that clients were told", ("code",), registry=own)
        self._steps = Histogram("ragapp_step_seconds", "Time of stages", ("step",), buckets=SHORT_S, registry=own)
        self._first = Histogram(
            "ragapp_first_token_seconds", "Time from the request to the first token", buckets=LONG_S, registry=own
        )
        self._tokens = Counter("ragapp_tokens", "Tokens that models read and wrote", ("kind",), registry=own)
        self._answers = Counter("ragapp_answers", "Answers by the way they ended", ("finish_reason",), registry=own)
        Info("ragapp_build", "What runs", registry=own).info(
            {"version": ragapp.__version__, "python": platform.python_version()}
        )
        self._names: set[str] = set()
        own.register(_Present(house))
        own.register(_Ingested(house))
        ProcessCollector(registry=own)

    def begun(self, seen: Seen) -> None:
        self._open.inc()

    def heard(self, seen: Seen, event: Event) -> None:
        match event:
            case Step(name, seconds):
                self._steps.labels(self._step(name)).observe(seconds)
            case Token(text) if text and seen.first_token is None:
                self._first.observe(seen.age)
            case Done(answer):
                self._answers.labels(answer.finish_reason).inc()
                self._tokens.labels("prompt").inc(answer.usage.prompt_tokens)
                self._tokens.labels("completion").inc(answer.usage.completion_tokens)

    def ended(self, seen: Seen) -> None:
        self._open.dec()
        method = seen.method if seen.method in METHODS else "other"
        self._requests.labels(method, seen.route, str(seen.status)).inc()
        self._seconds.labels(seen.route).observe(seen.seconds)
        for code in seen.codes:
            self._errors.labels(code).inc()

    def routes(self) -> APIRouter:
        """``GET /metrics``. Where keys exist it wants one that may read; see auth.py."""
        router = APIRouter(tags=["health"])

        @router.get(
            "/metrics",
            summary="Figures for Prometheus",
            response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
        async def metrics() -> Response:
            """Requests, seats, queue, stages, tokens, ingest, jobs, errors and the library, in Prometheus' format."""
            # In a thread: what the library holds is looked up.
            told = await asyncio.to_thread(generate_latest, self.registry)
            return Response(told, headers={"Content-Type": CONTENT_TYPE})

        return router

    def _step(self, name: str) -> str:
        if name not in self._names and len(self._names) >= MOST_STEPS:
            return "other"
        self._names.add(name)
        return name


class _Present:
    """How things are now: asked for when somebody looks."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._states = {name: LibraryState(collection) for name, collection in house.collections.items()}

    def collect(self) -> Iterator[Metric]:
        gate = self._house.gate
        yield _gauge("ragapp_seats", "Answers that can be written at once", gate.seats)
        yield _gauge("ragapp_seats_taken", "Answers that are being written", gate.taken)
        yield _gauge("ragapp_queue_places", "Questions that can wait for a seat", gate.queue)
        yield _gauge("ragapp_queue_length", "Questions that wait for a seat", gate.waiting)
        yield _gauge("ragapp_searches", "Searches at work or waiting", gate.searches.inside)
        yield _gauge("ragapp_threads", "Threads of the process", threading.active_count())
        listeners = sum(len(collection.jobs.feeds) for collection in self._house.collections.values())
        yield _gauge("ragapp_listeners", "Open streams of changes", listeners)
        yield self._jobs()
        yield from self._library()

    def _jobs(self) -> Metric:
        found = GaugeMetricFamily("ragapp_jobs", "Jobs by state", labels=("collection", "kind", "state"))
        for name, collection in self._house.collections.items():
            counted = Tally((job.kind, job.state) for job in collection.jobs.all())
            for (kind, state), count in sorted(counted.items()):
                found.add_metric((name, kind, state), count)
        return found

    def _library(self) -> Iterator[Metric]:
        kinds = ("documents", "pages", "chunks")
        found = {
            kind: GaugeMetricFamily(f"ragapp_library_{kind}", f"{kind.capitalize()} held", labels=("collection",))
            for kind in kinds
        }
        for name, state in self._states.items():
            try:
                held = state.now()
            except RagappError:  # a library that cannot be read has no figures; /readyz says so
                continue
            for kind in kinds:
                found[kind].add_metric((name,), held[kind])
        yield from found.values()


class _Ingested:
    """What jobs have done since the server began. Jobs know it; here it is added up, as they are forgotten in time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._turn = threading.Lock()
        self._files: Tally[tuple[str, str]] = Tally()
        self._pages: Tally[str] = Tally()
        self._known: dict[str, Tally[str]] = {}  # by job: what was counted of it
        for name, collection in house.collections.items():
            self._look(name, collection)
        self._files.clear()
        self._pages.clear()

    def collect(self) -> Iterator[Metric]:
        with self._turn:
            for name, collection in self._house.collections.items():
                self._look(name, collection)
            files = Metric("ragapp_ingest_files", "Files of ingest jobs by what became of them", "counter")
            for (name, outcome), count in sorted(self._files.items()):
                files.add_sample("ragapp_ingest_files_total", {"collection": name, "outcome": outcome}, count)
            pages = Metric("ragapp_ingest_pages", "Pages that ingest jobs have read", "counter")
            for name in self._house.collections:
                pages.add_sample("ragapp_ingest_pages_total", {"collection": name}, self._pages[name])
        yield from (files, pages)

    def _look(self, name: str, collection: Collection) -> None:
        for job in collection.jobs.all():
            before = self._known.get(job.id, Tally[str]())
            now = Tally(file.state for file in job.files if file.state in ("done", "kept", "failed", "cancelled"))
            read = job.report.get("pages") if job.report else None
            now["pages"] = read if isinstance(read, int) else before["pages"]
            self._pages[name] += max(0, now["pages"] - before["pages"])
            for outcome in now.keys() - {"pages"}:
                self._files[name, outcome] += max(0, now[outcome] - before[outcome])
            self._known[job.id] = now
        held = {job.id for each in self._house.collections.values() for job in each.jobs.all()}
        for job_id in self._known.keys() - held:
            del self._known[job_id]


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)
