"""Jobs: long work that goes on behind requests, and outlives the server.

One thread reads uploads into the library, one job after the other; work of other kinds (a download) has a thread for
each. What is known of the jobs stands in memory and in the book (ragapp/jobbook.py), and is written there before it is
told. After a kill the jobs go on where they were; a file that was being read at three deaths is given up.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ragapp.errors import LibraryError, LibraryLocked, NotFound, RagappError
from ragapp.jobbook import THROUGH, Job, JobBook, JobFile
from ragapp.server.errors import SERVER, Refusal
from ragapp.server.feeds import Feeds
from ragapp.server.inbox import Inbox
from ragapp.server.ingesting import Closing, Ingest
from ragapp.server.job_shapes import job_dict
from ragapp.server.lanes import Lane

if TYPE_CHECKING:
    from ragapp.server.house import Collection

log = logging.getLogger("ragapp.server")

KEPT = 200  # jobs that are over and still listed
KEPT_FILES = 5000  # of all of them together
KEPT_DAYS = 7  # as long as the bytes of files that failed wait for another try
CLOSING_S = 20.0  # for the job at work to end: an embedder ends with the texts it has
CLOSED_S = 2.0  # for it to notice that the process it waits for was killed
GONE = "(deleted)"  # what stands in the book for the name of a document that was deleted

Run = Callable[[Callable[[Mapping[str, Any]], None], Callable[[], bool]], object]


@dataclass(slots=True)
class _Live:
    """What is known of a job only while the server runs."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: dict[str, Any] | None = None
    passwords: list[str] = field(default_factory=list)
    run: Run | None = None  # of work that is no ingest


class Jobs:
    """The jobs of one collection. Safe to share between threads; jobs are values, those given out never change."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.book = JobBook(collection.desk)
        self.inbox = Inbox(collection.rag.folder)
        self.feeds = Feeds()
        self.lane = Lane("job", 4, 64)  # for what doors do here that takes its time
        self._jobs: dict[str, Job] = {job.id: job for job in self.book.all()}  # oldest first
        self._live: dict[str, _Live] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closing = threading.Event()
        self._resumed = False
        self._threads: list[threading.Thread] = []

    # -- opening and closing -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Go on with what the last server left, unless another one does."""
        with self._changed:
            if self._resumed or not self.inbox.hold():
                return
            self._resumed = True
            for job in list(self._jobs.values()):
                if not job.is_final:
                    self._resume(job)
            self._prune()
            self.inbox.sweep({job.id for job in self._jobs.values() if job.kind == "ingest"})
            self._thread(self._work, "ragapp-jobs")

    def _resume(self, job: Job) -> None:
        if job.kind != "ingest":
            error = {"message": "The server ended before it was done.", "hint": "Start it again."}
            self.change(job.id, state="failed", ended=_now(), error=error)
            return
        files = tuple(replace(file, state="queued") if file.state == "reading" else file for file in job.files)
        begun = job.state == "running"
        self.change(
            job.id, range(len(files)), files=files, state="queued", attempt=job.attempt + begun, report=None, error=None
        )

    def hush(self) -> None:
        """Let everybody go who only listens, at once."""
        self.feeds.end()

    def shut(self) -> None:
        """Let everybody go who only listens, and begin no more work."""
        self.hush()
        self._closing.set()

    def close(self) -> None:
        """End the work in good order, within seconds; it goes on with the next server."""
        self.shut()
        with self._changed:
            self._changed.notify_all()
            for live in self._live.values():
                if live.run:  # an ingest is told that the server closes, and goes on after it
                    live.cancelled.set()
            threads = list(self._threads)
        for thread in threads:
            thread.join(CLOSING_S)
        self._collection.adder.close()
        for thread in threads:
            thread.join(CLOSED_S)
        self.lane.close()
        self.feeds.lane.close()
        self.inbox.let_go()

    def _thread(self, target: Callable[..., None], name: str, *about: object) -> None:
        with self._changed:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=target, args=about, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    # -- what the doors ask for ----------------------------------------------------------------------------------

    def all(self) -> list[Job]:
        """Every job, newest first."""
        return list(self._jobs.values())[::-1]  # one step for the interpreter: nobody waits for who writes

    def job(self, job_id: str) -> Job:
        """Raises NotFound."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound(f"There is no job {job_id!r}.", "The list of jobs shows what there is.") from None

    def shown(self, job: Job, clean: Callable[[str], str] = str) -> dict[str, Any]:
        """The job as the doors show it; ``clean`` takes the paths of this machine out of messages."""
        live = self._live.get(job.id)
        progress = live.progress if live and job.state == "running" else None
        return job_dict(job, self._collection.name, progress, clean)

    def prepare(self) -> None:
        """Get ready for files that are on their way."""
        self._collection.adder.prepare()

    def submit(self, job_id: str, files: Sequence[JobFile], password: str = "") -> Job:
        """Take in files that lie in the inbox under a job's id. Raises LibraryError: then there is no such job."""
        self.open()
        with self._changed:
            job = Job(job_id, "ingest", _now(), tuple(files), number=self.book.number())
            self.book.put(job)
            self._jobs[job_id] = job
            if password:
                self._of(job_id).passwords.append(password)
            self._changed.notify_all()
            self._prune()
        self.feeds.tell(job_id)
        return job

    def start(self, kind: str, run: Run) -> dict[str, Any]:
        """Do work of another kind in a thread of its own; gives the job as the doors show it.

        ``run(report, cancelled)`` reports its progress as a mapping (``stage``, ``fraction``, …), looks at
        ``cancelled()`` now and then, and raises RagappError when it fails. A mapping that it returns is the report.
        """
        with self._changed:
            job = Job(secrets.token_hex(8), kind, _now(), number=self.book.number())
            self.book.put(job)
            self._jobs[job.id] = job
            self._of(job.id).run = run
            self._prune()
        self._thread(self._work_at, f"ragapp-{kind}", job.id)
        return self.shown(job)

    def cancel(self, job_id: str) -> Job:
        """End a job; one that is over stays as it is. A queued one ends now, a running one in about half a second."""
        with self._changed:
            job = self.job(job_id)
            if job.is_final:
                return job
            self._of(job_id).cancelled.set()
            if job.state == "queued" and job.kind == "ingest":
                return self._end(job_id, "cancelled", files=_with(job.files, "cancelled"))
            return job

    def retry(self, job_id: str, password: str = "") -> Job:
        """Try again what failed or was cancelled. Raises NotFound, and Refusal (409) when there is nothing to try."""
        self.open()
        with self._changed:
            job = self.job(job_id)
            if not job.is_final:
                raise _conflict("The job is not over yet.", "Wait for its end, or cancel it.")
            live = self._of(job_id)
            again = {
                place
                for place, file in enumerate(job.files)
                if file.state in ("failed", "cancelled") and self.inbox.has(job_id, place)
            }
            if not (again or (live.run and job.state != "done")):
                raise _conflict("There is nothing in the job to be tried again.", "Upload the files again.")
            if password:
                live.passwords.append(password)
            live.cancelled.clear()
            files = tuple(
                JobFile(file.name, file.bytes) if place in again else file for place, file in enumerate(job.files)
            )
            job = self.change(
                job_id, range(len(files)), files=files, state="queued", attempt=job.attempt + 1, started=None,
                ended=None, report=None, error=None,
            )  # fmt: skip
            self._changed.notify_all()
        if live.run:
            self._thread(self._work_at, f"ragapp-{job.kind}", job_id)
        return job

    def forget(self, names: Iterable[str]) -> None:
        """Take the names of deleted documents out of the book, and what was kept of them for another try."""
        gone = set(names)
        with self._changed:
            blotted = [job for job in self._jobs.values() if job.is_final and any(f.name in gone for f in job.files)]
            if not blotted:
                return
            for job in blotted:
                for place, file in enumerate(job.files):
                    if file.name in gone:
                        self.inbox.discard(job.id, place)
                self._jobs[job.id] = replace(_blotted(job, gone), number=self.book.number())
            with suppress(LibraryLocked):  # it is out of the book, and off the disk when nobody reads
                self.book.blot([self._jobs[job.id] for job in blotted])

    # -- the book ------------------------------------------------------------------------------------------------

    def change(self, job_id: str, places: Iterable[int] = (), **changed: Any) -> Job:
        """Change a job and write it down with those of its files; then tell everybody."""
        with self._changed:
            job = self._jobs[job_id] = replace(self._jobs[job_id], number=self._number(), **changed)
            try:
                self.book.put(job, places)
            except LibraryError as error:  # a full disk: the work goes on, and after a restart is looked at again
                log.warning("The state of a job could not be written down: %s", error.message)
        self.feeds.tell(job_id)
        return job

    def change_file(self, job_id: str, place: int, **changed: Any) -> Job:
        with self._changed:
            return self.change(job_id, [place], files=self._jobs[job_id].with_file(place, **changed).files)

    def progress(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Remember how far a job is, and tell it; nothing of it is written down."""
        with self._changed:
            self._of(job_id).progress = dict(progress)
            self._jobs[job_id] = replace(self._jobs[job_id], number=self._number())
        self.feeds.tell(job_id)

    def _number(self) -> int:
        try:
            return self.book.number()
        except LibraryError:  # a full disk; numbers still rise as long as the process lives
            return max((job.number for job in self._jobs.values()), default=0) + 1

    def _end(self, job_id: str, state: str, **changed: Any) -> Job:
        """The last change of a job."""
        with self._changed:
            live = self._of(job_id)
            live.progress = None
            live.passwords.clear()
            count = len(changed.get("files", self._jobs[job_id].files))
            return self.change(job_id, range(count), state=state, ended=_now(), **changed)

    def _of(self, job_id: str) -> _Live:
        return self._live.setdefault(job_id, _Live())

    def _prune(self) -> None:
        """Forget jobs that are over, when there are many or they are old, with the bytes they keep."""
        limit = (datetime.now(UTC) - timedelta(days=KEPT_DAYS)).isoformat(timespec="milliseconds")
        gone, kept, files = [], 0, 0
        for job in self.all():
            if not job.is_final:
                continue
            kept, files = kept + 1, files + len(job.files)
            if kept > KEPT or files > KEPT_FILES or (job.ended or job.created) < limit:
                gone.append(job.id)
        if not gone:
            return
        for job_id in gone:
            for place in range(len(self._jobs[job_id].files)):
                self.inbox.discard(job_id, place)
            del self._jobs[job_id]
            self._live.pop(job_id, None)
        self.book.drop(gone)

    # -- at work -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """The thread of the ingests."""
        while True:
            with self._changed:
                job = self._next()
                while job is None and not self._closing.is_set():
                    self._changed.wait()
                    job = self._next()
            if job is None or self._closing.is_set():
                return
            self._work_at(job.id)
            if self._next() is None and not self._closing.is_set():
                self._publish()

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "queued" and job.kind == "ingest"), None)

    def _publish(self) -> None:
        """Write the search caches, once for all jobs; searches work without, and are slower."""
        try:
            self._collection.adder.publish_caches(self._goes_on)
        except Closing:
            pass
        except RagappError as error:
            log.warning("The search caches could not be written: %s", error.message)

    def _goes_on(self) -> bool:
        if self._closing.is_set():
            raise Closing("The server is shutting down.")
        return False

    def _work_at(self, job_id: str) -> None:
        with self._changed:
            if self._jobs[job_id].state != "queued":  # cancelled a moment ago
                return
            job = self.change(job_id, state="running", started=_now())
        live = self._of(job_id)
        ingest = self._ingest(job_id) if job.kind == "ingest" else None
        error: RagappError | None = None
        report: object = None
        try:
            if ingest:
                ingest.run()
                report = ingest.report()
            elif live.run:
                report = live.run(lambda progress: self.progress(job_id, progress), live.cancelled.is_set)
        except Closing:
            self._put_off(job_id)
            return
        except RagappError as raised:
            error = raised
        except Exception:  # a bug must not end the thread that works at the next job
            log.exception("A job failed.")
            error = RagappError("Internal error.", "The server's log has the details.")
        if error and ingest:
            ingest.give_up(error)
        self._finish(job_id, report, error)

    def _ingest(self, job_id: str) -> Ingest:
        live = self._of(job_id)
        return Ingest(
            self, job_id, self._collection.adder, self.inbox,
            passwords=tuple(live.passwords), cancelled=live.cancelled, closing=self._closing,
        )  # fmt: skip

    def _put_off(self, job_id: str) -> None:
        """The server ends in good order: no file is to blame for it."""
        files = self._jobs[job_id].files
        back = tuple(
            replace(file, state="queued", tries=max(0, file.tries - 1)) if file.state == "reading" else file
            for file in files
        )
        self.change(job_id, range(len(files)), files=back)

    def _finish(self, job_id: str, report: object, error: RagappError | None) -> None:
        job = self._jobs[job_id]
        if self._of(job_id).cancelled.is_set() and job.kind != "ingest":
            # Also when the server ends: such work does not go on.
            self._end(job_id, "cancelled")
            return
        told = {"message": error.message, "hint": error.hint} if error else None
        state = "failed" if error else _outcome(job.files)
        if state == "failed" and told is None:
            first = next(file for file in job.files if file.state == "failed")
            told = {"message": first.error, "hint": first.hint}
        self._end(job_id, state, report=dict(report) if isinstance(report, Mapping) else None, error=told)


def _outcome(files: Sequence[JobFile]) -> str:
    """What became of a job whose files are through: done when any is in the library."""
    states = {file.state for file in files}
    if "cancelled" in states:
        return "cancelled"
    return "failed" if states == {"failed"} else "done"


def _with(files: Sequence[JobFile], state: str) -> tuple[JobFile, ...]:
    return tuple(file if file.state in THROUGH else replace(file, state=state) for file in files)


def _blotted(job: Job, gone: set[str]) -> Job:
    """The job without a trace of some names."""
    files = tuple(JobFile(GONE, 0, file.state) if file.name in gone else file for file in job.files)
    told = {name for file in job.files if file.name in gone for name in (file.error, file.hint) if name}
    error = None if job.error and not told.isdisjoint(job.error.values()) else job.error
    report = dict(job.report) if job.report else None
    for key in ("failed", "warnings") if report else ():
        report[key] = [entry for entry in report.get(key, ()) if entry.get("path") not in gone]  # type: ignore[index,union-attr]
    return replace(job, files=files, error=error, report=report)


def _conflict(message: str, hint: str) -> Refusal:
    return Refusal(409, "conflict", message, hint, kind=SERVER)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
