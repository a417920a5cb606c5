"""An ingest that is cancelled, watched and named from outside: ``Rag.add`` for those who run it behind a request."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ragapp.ingest.pool import Pool
from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.report import Outcome, Progress
from ragapp.ingest.scan import Source
from ragapp.rag import Rag
from tests import pdfs
from tests.server.slow import CALL_S
from tests.server.slow import NAME as SLOW


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A short document, and a long one that is embedded slowly."""
    folder = tmp_path / "docs"
    pdfs.write(folder / "a.pdf", [pdfs.prose("pump")])
    pdfs.write(folder / "sub" / "z.pdf", [pdfs.prose(f"work that goes slowly {n}") for n in range(450)])
    return folder


@pytest.mark.parametrize("stage", ["read", "embed"])
def test_what_is_through_stays_and_nothing_is_half(tmp_path: Path, docs: Path, stage: str) -> None:
    said: list[float] = []  # when it was cancelled

    def progress(now: Progress) -> None:
        if not said and now.stage == stage and now.file == "sub/z.pdf" and now.pages > 20:
            said.append(time.perf_counter())

    with Rag.open(tmp_path / "library", embedder__name=SLOW, ingest__workers=1) as rag:
        report = rag.add([docs], progress=progress, cancelled=lambda: bool(said))
        assert time.perf_counter() - said[0] < 2 * CALL_S + 0.9  # all of it would take 1.7 s
        assert (report.added, report.failed) == (1, [])
        assert [entry.document for entry in rag.documents()] == ["a.pdf"]
        assert list(rag.doctor()) == []
        assert rag.search("pump")
        assert reading_processes() == []
        again = rag.add([docs])
        assert (again.added, again.kept) == (1, 1)
        assert [entry.document for entry in rag.documents()] == ["a.pdf", "sub/z.pdf"]


def reading_processes() -> list[str]:
    """Children of this process that read files, where the system shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and b"ragapp.ingest.worker" in (path / "cmdline").read_bytes():
                found.append(path.name)
    return found


def test_a_file_that_takes_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadingProcess, "start", lambda self: None)
    began, given_up = time.perf_counter(), threading.Event()

    def read(process: ReadingProcess, source: Source) -> str:
        given_up.wait(10)  # as a reading process does until it is killed
        return source.name

    source = Source(Path("/docs/slow.pdf"), "file:///docs/slow.pdf", "slow.pdf", 1, 1)
    pool = Pool(read, [source], Settings(), 1, lambda: time.perf_counter() - began > 0.2)
    with pool.open():
        assert pool.take(wait=True) is None
        assert time.perf_counter() - began < 2
        given_up.set()


def test_a_run_that_is_cancelled_before_it_begins(tmp_path: Path, docs: Path) -> None:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        report = rag.add([docs], cancelled=lambda: True)
        assert (report.added, report.kept, report.failed) == (0, 0, [])
        assert rag.documents() == []


def test_an_error_in_the_question_whether_ends_the_run_as_ctrl_c_does(tmp_path: Path, docs: Path) -> None:
    seen: list[Progress] = []

    def cancelled() -> bool:
        if any(p.stage == "embed" for p in seen):
            raise KeyboardInterrupt
        return False

    with Rag.open(tmp_path / "library", embedder__name=SLOW) as rag:
        with pytest.raises(KeyboardInterrupt):
            rag.add([docs], progress=seen.append, cancelled=cancelled)
        assert reading_processes() == []
        assert rag.add([docs]).failed == []


def test_every_file_is_told_of(tmp_path: Path, docs: Path) -> None:
    pdfs.write(docs / "locked.pdf", ["secret"], password="sesame")
    (docs / "torn.pdf").write_bytes(b"%PDF-1.4 torn")
    (docs / "copy.pdf").write_bytes((docs / "a.pdf").read_bytes())
    told: list[Outcome] = []
    threads: set[int] = set()

    def on_file(outcome: Outcome) -> None:
        told.append(outcome)
        threads.add(threading.get_ident())

    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add([docs], on_file=on_file)
        names = {str(docs / name): name for name in ("a.pdf", "copy.pdf", "locked.pdf", "torn.pdf", "sub/z.pdf")}
        states: dict[str, list[str]] = {}
        for outcome in told:
            states.setdefault(names[outcome.path], []).append(outcome.state)
        assert states == {
            "a.pdf": ["reading", "added"], "copy.pdf": ["reading", "added"], "sub/z.pdf": ["reading", "added"],
            "locked.pdf": ["reading", "failed"], "torn.pdf": ["reading", "failed"],
        }  # fmt: skip
        failures = {names[o.path]: o.failure for o in told if o.failure}
        assert failures["locked.pdf"].needs_password
        assert not failures["torn.pdf"].needs_password
        ids = {entry.document: entry.id for entry in rag.documents()}
        assert {names[o.path]: o.document_id for o in told if o.document_id} == ids
        told.clear()
        report = rag.add([docs], on_file=on_file)
        assert report.failed[0].needs_password or report.failed[1].needs_password
        kept = {names[o.path] for o in told if o.state == "kept"}
        assert kept == {"a.pdf", "copy.pdf", "sub/z.pdf"}


def test_files_are_named_below_another_folder(tmp_path: Path, docs: Path) -> None:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add([docs / "sub" / "z.pdf"], below=docs)
        assert [entry.document for entry in rag.documents()] == ["sub/z.pdf"]


def test_caches_can_be_written_later(tmp_path: Path, docs: Path) -> None:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add([docs / "a.pdf"], publish=False)
        assert not list((tmp_path / "library").glob("cache/*/mark.json"))
        assert rag.search("pump")
        rag.publish_caches()
        assert list((tmp_path / "library").glob("cache/*/mark.json"))
