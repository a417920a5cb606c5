"""One ingest job at work: files go from the inbox to the originals, the library reads them, the book hears of each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from ragapp.errors import LibraryLocked, RagappError, ReadError
from ragapp.ingest.report import Failure, Notice, Outcome, Progress, Report
from ragapp.jobbook import THROUGH, Job, JobFile
from ragapp.server.adder import Adder, Died
from ragapp.server.inbox import Inbox

MAX_DEATHS = 30  # of the process that reads documents, in one job
MAX_TRIES = 3  # after so many deaths of the process while it was at a file, the file is given up
LOCKED_S = 0.3  # between two looks whether another process has done with the library
STATES = {"added": "done", "changed": "done", "kept": "kept", "failed": "failed", "reading": "reading"}
SHARES = {"read": (0.0, 0.4), "ocr": (0.0, 0.6), "embed": (0.5, 0.5)}  # of a file: where a stage begins, and its length


class Closing(RagappError):
    """The server ends while a job runs: it goes on after the next start."""


class Desk(Protocol):
    """What a job at work may do to the book; see jobs.Jobs."""

    def job(self, job_id: str) -> Job: ...

    def change(self, job_id: str, places: Sequence[int] = (), **changed: Any) -> Job: ...

    def change_file(self, job_id: str, place: int, **changed: Any) -> Job: ...

    def progress(self, job_id: str, progress: dict[str, Any]) -> None: ...


class Ingest:
    """A run of one job. ``cancelled`` and ``closing`` may be set at any time by others."""

    def __init__(
        self,
        desk: Desk,
        job_id: str,
        adder: Adder,
        inbox: Inbox,
        *,
        passwords: Sequence[str],
        cancelled: threading.Event,
        closing: threading.Event,
    ) -> None:
        self._desk, self._id, self._adder, self._inbox = desk, job_id, adder, inbox
        self._passwords, self._cancelled, self._closing = passwords, cancelled, closing
        self._report = Report()
        self._heard = Report()  # what was told of files while they are added: all that is known where it ends in death
        self._at: dict[str, int] = {}  # places of files by their paths
        self._fraction = 0.0

    def run(self) -> Report:
        """Do what is left of the job; every file is through afterwards. Raises Closing, and what the library raises.

        Files that were being read when a process died come last and one by one, so that only the one that kills it is
        suspected again.
        """
        for deaths_left in reversed(range(MAX_DEATHS)):
            try:
                self._run_left()
                break
            except Died:
                if self._stopped():
                    break
                if not deaths_left:
                    raise
                self._report = merged(self._report, self._heard)
                for place, file in enumerate(self._files()):
                    if file.state == "reading":
                        self._desk.change_file(self._id, place, state="queued")
        self._give_back()
        return self._report

    def _run_left(self) -> None:
        left = [place for place, file in enumerate(self._files()) if file.state not in THROUGH]
        suspects = [place for place in left if self._files()[place].tries]
        for part in [[place for place in left if place not in suspects], *([place] for place in suspects)]:
            if part and not self._stopped():
                self._run(part)

    def give_up(self, error: RagappError) -> None:
        """Let every file that is not through fail with what has stopped the job."""
        for place in self._left():
            self._fail(place, Failure("", error.message, error.hint))

    def _run(self, places: Sequence[int]) -> None:
        paths = [path for place in places if (path := self._placed(place)) is not None]
        while paths and not self._stopped():
            try:
                self._add(paths)
            except LibraryLocked:
                self._tell("waiting")
                self._closing.wait(LOCKED_S)
            else:
                break
            paths = [path for path in paths if self._files()[self._at[str(path)]].state not in THROUGH]

    def _placed(self, place: int) -> Path | None:
        """The file at its name; None when it cannot be there."""
        file = self._files()[place]
        if file.tries >= MAX_TRIES:
            why = f"The process ended {MAX_TRIES} times while it was reading {file.name}."
            self._fail(place, Failure("", why, "Open it in a viewer and save it anew."))
            return None
        try:
            path = self._inbox.place(self._id, place, file.name)
        except ReadError as error:
            self._fail(place, Failure("", error.message, error.hint))
            return None
        self._at[str(path)] = place
        return path

    def _add(self, paths: Sequence[Path]) -> None:
        self._heard = Report()
        report = self._adder.add(
            paths,
            passwords=self._passwords,
            progress=self._on_progress,
            below=self._inbox.root,
            on_file=self._on_file,
            cancelled=self._stopped,
        )
        self._report = merged(self._report, report)

    def _stopped(self) -> bool:
        if self._closing.is_set():
            raise Closing("The server is shutting down.")
        return self._cancelled.is_set()

    # -- what the library tells ----------------------------------------------------------------------------------

    def _on_file(self, outcome: Outcome) -> None:
        place = self._at[outcome.path]
        self._count(outcome)
        file = self._files()[place]
        if file.state in THROUGH:
            return
        if outcome.state == "reading":
            self._desk.change_file(self._id, place, state="reading", tries=file.tries + 1)
        elif outcome.failure:
            self._fail(place, outcome.failure)
        else:
            self._desk.change_file(
                self._id,
                place,
                state=STATES[outcome.state],
                document_id=outcome.document_id,
                warning=outcome.warning,
                error="", hint="", needs_password=False, tries=0,
            )  # fmt: skip
            self._inbox.keep(self._id, place)

    def _count(self, outcome: Outcome) -> None:
        if outcome.failure:
            self._heard.failed.append(outcome.failure)
        elif outcome.state in ("added", "changed", "kept"):
            setattr(self._heard, outcome.state, getattr(self._heard, outcome.state) + 1)
        if outcome.warning:
            self._heard.warnings.append(Notice(outcome.path, outcome.warning))

    def _fail(self, place: int, failure: Failure) -> None:
        # First the bytes, then the word: a file that is said to have failed can be tried again.
        self._inbox.take_back(self._id, place, self._files()[place].name)
        self._desk.change_file(
            self._id,
            place,
            state="failed",
            error=self._plain(failure.error),
            # The library's own hint is about the command line.
            hint="Try again with its password." if failure.needs_password else self._plain(failure.hint),
            needs_password=failure.needs_password,
            tries=0,
        )

    def _give_back(self) -> None:
        """What was cancelled returns to the inbox."""
        for place in self._left():
            self._inbox.take_back(self._id, place, self._files()[place].name)
            self._desk.change_file(self._id, place, state="cancelled", tries=0)

    def _on_progress(self, progress: Progress) -> None:
        if progress.stage == "done":
            return
        self._tell(
            progress.stage,
            file=progress.file,
            pages=progress.pages,
            of_pages=progress.of_pages,
            pages_per_second=round(progress.pages_per_second, 2),
            seconds_left=None if progress.seconds_left is None else round(progress.seconds_left, 1),
        )

    def _tell(self, stage: str, file: str | None = None, **more: Any) -> None:
        files = self._files()
        total = sum(each.bytes for each in files) or 1
        done = float(sum(each.bytes for each in files if each.state in THROUGH))
        begin, length = SHARES.get(stage, (0.0, 0.0))
        pages, of_pages = more.get("pages", 0), more.get("of_pages", 0)
        share = begin + length * (pages / of_pages if of_pages else 0)
        done += share * sum(each.bytes for each in files if each.name == file and each.state not in THROUGH)
        self._fraction = max(self._fraction, min(done / total, 1.0))
        self._desk.progress(self._id, {"stage": stage, "file": file, **more, "fraction": round(self._fraction, 4)})

    def _files(self) -> tuple[JobFile, ...]:
        return self._desk.job(self._id).files

    def _left(self) -> list[int]:
        return [place for place, file in enumerate(self._files()) if file.state not in THROUGH]

    def _plain(self, text: str) -> str:
        """A message without the folder of the originals, which is nobody's business."""
        return text.replace(f"{self._inbox.root}/", "")

    def report(self) -> dict[str, Any]:
        """The report as JSON, files by their names."""
        plain: dict[str, Any] = self._report.as_dict()
        for entries in (plain["failed"], plain["warnings"]):
            for entry in entries:
                entry.update({key: self._plain(text) for key, text in entry.items() if isinstance(text, str)})
        return plain


def merged(one: Report, other: Report) -> Report:
    """Two runs as one."""
    counts = {key: value + asdict(other)[key] for key, value in asdict(one).items() if isinstance(value, int | float)}
    failed: list[Failure] = [*one.failed, *other.failed]
    warnings: list[Notice] = [*one.warnings, *other.warnings]
    return replace(one, **counts, failed=failed, warnings=warnings)
