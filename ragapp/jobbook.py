"""The book of jobs: what is to be done, what was done and what became of each file, in the library's desk.

It outlives the process that works on a job. Every change of a job has a number, larger than any before it, also after
a restart: who listens again after a break is told the present state of a job whose number is larger than the last one
heard of. That state holds all that happened, so the changes in between are not kept. Passwords are never written here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from ragapp.desk import Desk

FINAL = frozenset({"done", "failed", "cancelled"})  # states of a job after which nothing happens by itself
THROUGH = FINAL | {"kept"}  # likewise of a file
BLOCK = 1000  # numbers that are taken from the book at a time: what is lost of them in a crash is only skipped

_TABLES = (
    "CREATE TABLE IF NOT EXISTS jobs (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
    " kind TEXT NOT NULL, created TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, started TEXT,"
    " ended TEXT, report TEXT, error TEXT, number INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS job_files (job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,"
    " place INTEGER NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,"
    " hint TEXT NOT NULL, needs_password INTEGER NOT NULL, document_id TEXT, warning TEXT NOT NULL,"
    " tries INTEGER NOT NULL, PRIMARY KEY (job, place)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS job_numbers (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file of a job: queued, reading, done, kept (it was there already), failed or cancelled.

    ``name`` is the document's, ``tries`` says how often it was begun and not ended: such a file may be what ends the
    process.
    """

    name: str
    bytes: int
    state: str = "queued"
    error: str = ""
    hint: str = ""
    needs_password: bool = False
    document_id: str | None = None
    warning: str = ""
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job: queued, running, done, failed or cancelled; ``number`` is that of its last change.

    Times are ISO 8601 in UTC. ``report`` is JSON-able; ``error`` is ``{"message", "hint"}``.
    """

    id: str
    kind: str
    created: str
    files: tuple[JobFile, ...] = ()
    state: str = "queued"
    attempt: int = 1
    started: str | None = None
    ended: str | None = None
    report: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    number: int = 0

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def with_file(self, place: int, **changed: Any) -> Job:
        """The job with one of its files changed."""
        file = replace(self.files[place], **changed)
        return replace(self, files=(*self.files[:place], file, *self.files[place + 1 :]))


_FILE = ", ".join(field.name for field in fields(JobFile))
_MARKS = ", ".join("?" * (2 + len(fields(JobFile))))


class JobBook:
    """The jobs of one library, oldest first. Safe to share between threads. Every method may raise LibraryError."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._next = self._last = 0
        desk.make(_TABLES)

    def number(self) -> int:
        """A number that is larger than every one that was given before, by any process."""
        with self._lock:
            if self._next == self._last:
                with self._desk.change() as db:
                    db.execute("INSERT OR IGNORE INTO job_numbers VALUES (1, 1)")
                    (start,) = db.execute("SELECT next FROM job_numbers").fetchone()
                    db.execute("UPDATE job_numbers SET next = ?", (start + BLOCK,))
                self._next, self._last = start, start + BLOCK
            self._next += 1
            return self._next - 1

    def all(self) -> list[Job]:
        """Every job with its files."""
        files: dict[str, list[JobFile]] = {}
        for row in self._desk.rows(f"SELECT job, {_FILE} FROM job_files ORDER BY job, place"):
            name, size, state, error, hint, needs_password, *rest = row[1:]
            files.setdefault(row[0], []).append(JobFile(name, size, state, error, hint, bool(needs_password), *rest))
        return [
            Job(
                row["id"], row["kind"], row["created"], tuple(files.get(row["id"], ())), row["state"], row["attempt"],
                row["started"], row["ended"], _loaded(row["report"]), _loaded(row["error"]), row["number"],
            )
            for row in self._desk.rows("SELECT * FROM jobs ORDER BY place")
        ]  # fmt: skip

    def put(self, job: Job, places: Iterable[int] | None = None) -> None:
        """Write a job down in one step: a new one, or what has changed of it and of those of its files."""
        with self._desk.change() as db:
            _write(db, job, range(len(job.files)) if places is None else places)

    def drop(self, ids: Collection[str]) -> None:
        """Forget jobs."""
        with self._desk.change() as db:
            db.executemany("DELETE FROM jobs WHERE id = ?", [(key,) for key in ids])

    def blot(self, jobs: Iterable[Job]) -> None:
        """Write jobs down of which something was taken out, leaving nothing of it on the disk. Raises LibraryLocked
        where another process reads: then it is out of the book, and the desk clears the disk when it can."""
        with self._desk.erasing() as db:
            for job in jobs:
                _write(db, job, range(len(job.files)))


def _write(db: Any, job: Job, places: Iterable[int]) -> None:
    db.execute(
        "INSERT INTO jobs (id, kind, created, state, attempt, started, ended, report, error, number)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
        " attempt = excluded.attempt, started = excluded.started, ended = excluded.ended,"
        " report = excluded.report, error = excluded.error, number = excluded.number",
        (job.id, job.kind, job.created, job.state, job.attempt, job.started, job.ended,
         _dumped(job.report), _dumped(job.error), job.number),
    )  # fmt: skip
    rows = [(job.id, place, *astuple(job.files[place])) for place in places]
    db.executemany(f"INSERT OR REPLACE INTO job_files (job, place, {_FILE}) VALUES ({_MARKS})", rows)


def _dumped(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)
