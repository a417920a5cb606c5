"""Folders mirrored: what is gone is forgotten, what moved keeps its vectors, what was edited costs what is new."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragapp import Rag
from ragapp.errors import LibraryError, LibraryLocked, NotFound
from ragapp.ingest.watch import changes
from tests import pdfs
from tests.libraries import child_environment

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return pdfs.folder(tmp_path / "docs", 3)


@pytest.fixture
def rag(tmp_path: Path) -> Iterator[Rag]:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as opened:
        yield opened


def names(rag: Rag) -> list[str]:
    return [entry.document for entry in rag.documents()]


def later(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def test_what_is_gone_from_the_folder_is_forgotten(rag: Rag, docs: Path) -> None:
    assert rag.sync(docs).added == 3
    (docs / "01.pdf").unlink()
    pdfs.write(docs / "new.pdf", ["A new one."])
    report = rag.sync(docs)
    assert (report.added, report.kept, report.dropped) == (1, 2, 1)
    assert names(rag) == ["00.pdf", "02.pdf", "new.pdf"]
    assert list(rag.doctor()) == []


def test_documents_from_elsewhere_stay(rag: Rag, docs: Path, tmp_path: Path) -> None:
    rag.add(pdfs.write(tmp_path / "docs-too" / "other.pdf", ["Elsewhere."]))
    rag.sync(docs)
    for path in docs.iterdir():
        path.unlink()
    assert rag.sync(docs).dropped == 3
    assert names(rag) == ["other.pdf"]


def test_a_folder_that_is_not_there_drops_nothing(rag: Rag, docs: Path) -> None:
    rag.sync(docs)
    with pytest.raises(NotFound, match="not a folder"):
        rag.sync(docs.parent / "elsewhere")
    with pytest.raises(NotFound, match="not a folder"):
        rag.sync(docs / "00.pdf")
    assert len(names(rag)) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_is_closed_drops_nothing(rag: Rag, docs: Path) -> None:
    closed = docs / "sub"
    pdfs.write(closed / "in.pdf", ["Inside."])
    rag.sync(docs)
    closed.chmod(0)
    try:
        assert rag.sync(docs).dropped == 0
    finally:
        closed.chmod(0o700)
    assert len(names(rag)) == 4


def test_a_folder_that_cannot_be_looked_into_drops_nothing(
    rag: Rag, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pdfs.write(docs / "sub" / "in.pdf", ["Inside."])
    rag.sync(docs)
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    report = rag.sync(docs)
    assert (report.dropped, len(report.failed)) == (0, 1)
    assert "sub/in.pdf" in names(rag)


def test_an_empty_folder_is_taken_for_a_disk_that_is_not_there(rag: Rag, tmp_path: Path) -> None:
    docs = pdfs.folder(tmp_path / "many", 12)
    rag.sync(docs)
    for path in docs.iterdir():
        path.unlink()
    with pytest.raises(LibraryError, match="is empty, and the library has 12 files from it"):
        rag.sync(docs)
    assert len(names(rag)) == 12
    (docs / "note").write_text("here I am")
    assert rag.sync(docs).dropped == 12


def test_moved_files_keep_their_vectors(rag: Rag, docs: Path) -> None:
    rag.sync(docs)
    ids = rag.catalog.chunk_ids().tolist()
    (docs / "deep").mkdir()
    (docs / "00.pdf").rename(docs / "deep" / "moved.pdf")
    (docs / "01.pdf").rename(docs / "renamed.pdf")
    report = rag.sync(docs)
    assert (report.changed, report.dropped, report.embedded) == (2, 0, 0)
    assert names(rag) == ["02.pdf", "deep/moved.pdf", "renamed.pdf"]
    assert rag.catalog.chunk_ids().tolist() == ids


def test_an_edited_document_costs_what_is_new_in_it(rag: Rag, docs: Path) -> None:
    pages = [pdfs.prose(word, 40) for word in ("walrus", "heron", "lynx", "otter", "raven", "stoat")]
    pdfs.write(docs / "long.pdf", pages)
    first = rag.sync(docs)
    assert first.embedded == first.chunks
    pdfs.write(docs / "long.pdf", [*pages[:3], pdfs.prose("mammoth", 40), *pages[4:]])
    later(docs / "long.pdf")
    report = rag.sync(docs)
    assert (report.changed, report.kept) == (1, 3)
    assert 0 < report.embedded <= report.chunks // 2
    assert list(rag.doctor()) == []


def test_a_dry_run_drops_nothing(rag: Rag, docs: Path) -> None:
    rag.sync(docs)
    (docs / "01.pdf").unlink()
    assert rag.sync(docs, dry_run=True).dropped == 1
    assert len(names(rag)) == 3


def test_a_second_writer_is_refused(rag: Rag, docs: Path, tmp_path: Path) -> None:
    with (
        Rag.open(tmp_path / "library", embedder__name="hashing") as other,
        other.catalog.writing(),
        pytest.raises(LibraryLocked),
    ):
        rag.sync(docs)
    assert rag.sync(docs).added == 3


# -- following ---------------------------------------------------------------------------------------------------------


def test_changes_come_in_bursts_and_end_when_told(docs: Path) -> None:
    stop, is_on = threading.Event(), threading.Event()
    seen: list[int] = []
    for name in (".hidden", "library"):
        (docs / name).mkdir()

    def follow() -> None:
        following = changes([docs], stop, ignored=[docs / "library"])
        assert next(following) == 0
        is_on.set()
        for count in following:
            seen.append(count)
            stop.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert is_on.wait(20), "nothing may change before the watch is on"
    deadline = time.monotonic() + 20
    while not seen and time.monotonic() < deadline:
        for name in (".hidden.pdf", ".hidden/a.pdf", "library/a.pdf", "~$a.docx"):
            (docs / name).write_bytes(b"x")
        for name in ("a.pdf", "b.pdf"):
            (docs / name).write_bytes(b"x")
        time.sleep(0.2)
        stop.wait(2)
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert seen == [2]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ragapp", *map(str, arguments)]


def test_sync_watch_follows_a_folder_until_it_is_stopped(docs: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command("sync", docs, "--watch", "--json", "--library", tmp_path / "lib", "--set", "embedder.name=hashing"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment(),
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            assert json.loads(running.stdout.readline())["added"] == 3
            # At once: the watch was on before the first sync.
            (docs / "01.pdf").unlink()
            pdfs.write(docs / "new.pdf", ["A new one."])
            report = json.loads(running.stdout.readline())
            assert (report["added"], report["dropped"]) == (1, 1)
            assert "Following" in running.stderr.readline()
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=20) in (0, 130)
        finally:
            running.kill()


# -- stopping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_stops_soon_and_the_next_run_goes_on(docs: Path, tmp_path: Path, times: int) -> None:
    pdfs.folder(docs / "more", 30)
    given = ("ingest", docs, "--json-events", "--library", tmp_path / "lib", "--set", "embedder.name=hashing")
    with subprocess.Popen(
        command(*given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment(),
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["event"] == "progress"
        started = time.monotonic()
        for _ in range(times):
            running.send_signal(signal.SIGINT)
            time.sleep(0.05)
        _, said = running.communicate(timeout=20)
        assert time.monotonic() - started < 5
        assert running.returncode != 0
        assert "Traceback" not in said
    done = subprocess.run(command(*given), capture_output=True, text=True, env=child_environment(), check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    report = events[-1]
    assert report["event"] == "report"
    assert report["added"] + report["kept"] == 33
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[-2]["files_done"] == events[-2]["files"]
