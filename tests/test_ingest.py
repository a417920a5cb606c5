"""From folders to libraries: what is found, what is done, and that one bad file costs one file."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import Rag
from ragapp.catalog import FileRow
from ragapp.errors import LibraryError, NotFound, ReadError
from ragapp.ingest.plan import plan, unique_names
from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.report import Progress, Report
from ragapp.ingest.scan import Source, scan
from ragapp.ports import Tools
from ragapp.testing import HashingEmbedder
from ragapp.types import Answer, Document, Done, Event, Query
from tests import pdfs
from tests.pdfs import Picture

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return pdfs.folder(tmp_path / "docs", 3)


@pytest.fixture
def rag(tmp_path: Path) -> Iterator[Rag]:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as opened:
        yield opened


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.kept, len(report.failed)


def names(rag: Rag) -> list[str]:
    return [entry.document for entry in rag.documents()]


def later(path: Path) -> None:
    """Give a file another time stamp."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


# -- scan --------------------------------------------------------------------------------------------------------------


def test_scan_finds_pdfs_below_folders_and_passes_over_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.pdf", "sub/a.PDF", "sub/deep/c.pdf", ".hidden.pdf", ".git/d.pdf", "e.exe", "._b.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = scan([tmp_path])
    assert [source.name for source in found.sources] == ["b.pdf", "sub/a.PDF", "sub/deep/c.pdf"]
    assert (found.failed, found.others) == ([], 1)


def test_scan_takes_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    found = scan([tmp_path, tmp_path / "a.pdf", tmp_path])
    assert [(source.name, source.bytes) for source in found.sources] == [("a.pdf", 1)]


def test_scan_says_what_is_wrong_with_paths(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.pdf")
    (tmp_path / "dangling.pdf").symlink_to(tmp_path / "nowhere.pdf")
    paths = [tmp_path / "none", tmp_path / "a.doc", tmp_path / ("n" * 300), Path("null\0"), tmp_path]
    found = scan(paths)
    assert [(Path(path).name[:12], why.split(":")[0].split("(")[0].strip()) for path, why in found.failed] == [
        ("none", "does not exist"),
        ("a.doc", "is not of a kind that can be read as it is"),
        ("n" * 12, "cannot be opened"),
        ("null\0", "cannot be opened"),
        ("dangling.pdf", "cannot be read"),
        ("pipe.pdf", "is not a file"),
    ]
    assert found.sources == []


# -- plan --------------------------------------------------------------------------------------------------------------


def source(uri: str, name: str, size: int = 1, mtime: int = 1) -> Source:
    return Source(Path(uri), f"file://{uri}", name, size, mtime)


def row(uri: str, name: str, size: int = 1, mtime: int = 1) -> FileRow:
    return FileRow(f"file://{uri}", name, "id", size, mtime)


def rows(*files: FileRow) -> dict[str, FileRow]:
    return {file.uri: file for file in files}


def test_plan_keeps_what_is_unchanged_and_reads_small_files_first() -> None:
    files = rows(row("/d/kept.pdf", "kept.pdf"), row("/d/new.pdf", "new.pdf"), row("/d/old.pdf", "old.pdf"))
    found = [
        source("/d/kept.pdf", "kept.pdf"),
        source("/d/new.pdf", "new.pdf", 900),
        source("/d/old.pdf", "old.pdf", 1, 2),
        source("/d/more.pdf", "more.pdf", 50),
    ]
    made = plan(found, files)
    assert [s.name for s in made.keep] == ["kept.pdf"]
    assert [s.name for s in made.read] == ["old.pdf", "more.pdf", "new.pdf"]
    assert made.known == {"file:///d/old.pdf", "file:///d/new.pdf"}


def test_names_that_are_taken_get_their_folder_in_front() -> None:
    files = rows(row("/one/a.pdf", "a.pdf"))
    found = [source("/two/a.pdf", "a.pdf"), source("/x/two/a.pdf", "a.pdf"), source("/one/a.pdf", "a.pdf")]
    assert [s.name for s in unique_names(found, files)] == ["two/a.pdf", "x/two/a.pdf", "a.pdf"]


URIS = st.lists(st.sampled_from([f"/{a}/{b}.pdf" for a in ("p", "q", "p/q", "r/q") for b in "xy"]), unique=True)


@given(URIS, URIS)
def test_names_are_unique_and_stay(first: list[str], second: list[str]) -> None:
    def found(uris: Sequence[str]) -> list[Source]:
        return [source(uri, uri.rpartition("/")[2]) for uri in uris]

    once = unique_names(found(first), {})
    files = rows(*(row(s.uri.removeprefix("file://"), s.name) for s in once))
    twice = unique_names(found([*second, *first]), files)
    named = {s.uri: s.name for s in twice}
    assert len(set(named.values())) == len(named)
    assert all(named[s.uri] == s.name for s in once)


# -- runs --------------------------------------------------------------------------------------------------------------


def test_counts_of_runs_one_after_the_other(rag: Rag, docs: Path) -> None:
    first = rag.add([docs])
    assert counts(first) == (3, 0, 0, 0)
    assert (first.pages, first.chunks) == (3, sum(entry.chunks for entry in rag.documents()))
    assert counts(rag.add([docs])) == (0, 0, 3, 0)
    pdfs.write(docs / "01.pdf", ["Something else entirely."])
    later(docs / "01.pdf")
    (docs / "bad.pdf").write_bytes(b"nothing")
    pdfs.write(docs / "new.pdf", ["A new one."])
    report = rag.add([docs])
    assert counts(report) == (1, 1, 2, 1)
    assert report.failed[0].path == str(docs / "bad.pdf")
    assert report.failed[0].error == "bad.pdf is not a PDF."
    assert names(rag) == ["00.pdf", "01.pdf", "02.pdf", "new.pdf"]
    assert list(rag.doctor()) == []


def test_a_file_that_was_only_touched_is_kept(rag: Rag, docs: Path) -> None:
    rag.add([docs])
    later(docs / "00.pdf")
    assert counts(rag.add([docs])) == (0, 0, 3, 0)
    assert counts(rag.add([docs])) == (0, 0, 3, 0)


def test_an_edited_file_keeps_searching_what_it_kept(rag: Rag, docs: Path) -> None:
    pages = [pdfs.prose("walrus", 5), pdfs.prose("heron", 30), pdfs.prose("lynx", 30)]
    pdfs.write(docs / "00.pdf", pages)
    rag.add([docs])
    pdfs.write(docs / "00.pdf", [pdfs.prose("mammoth", 5), *pages[1:]])
    later(docs / "00.pdf")
    assert counts(rag.add([docs])) == (0, 1, 2, 0)
    assert list(rag.doctor()) == []
    assert "lynx" in rag.search("The lynx has the property")[0].chunk.text


def test_copies_are_aliases(rag: Rag, docs: Path) -> None:
    (docs / "copy.pdf").write_bytes((docs / "00.pdf").read_bytes())
    report = rag.add([docs])
    assert counts(report) == (4, 0, 0, 0)
    assert report.pages == 3
    (docs / "late.pdf").write_bytes((docs / "00.pdf").read_bytes())
    assert counts(rag.add([docs])) == (1, 0, 4, 0)
    assert names(rag) == ["00.pdf", "01.pdf", "02.pdf", "copy.pdf", "late.pdf"]


def test_a_dry_run_changes_nothing(rag: Rag, docs: Path) -> None:
    assert counts(rag.add([docs], dry_run=True)) == (3, 0, 0, 0)
    assert names(rag) == []
    rag.add([docs])
    pdfs.write(docs / "01.pdf", ["Something else entirely."])
    later(docs / "01.pdf")
    before = rag.catalog.generation()
    assert counts(rag.add([docs], dry_run=True)) == (0, 1, 2, 0)
    assert rag.catalog.generation() == before


def test_two_roots_with_the_same_names(rag: Rag, tmp_path: Path) -> None:
    for root in ("one", "two"):
        pdfs.write(tmp_path / root / "sub" / "a.pdf", [f"Text of root {root}."])
    assert counts(rag.add([tmp_path / "one", tmp_path / "two"])) == (2, 0, 0, 0)
    assert sorted(names(rag)) == ["sub/a.pdf", "two/sub/a.pdf"]
    assert counts(rag.add([tmp_path / "two", tmp_path / "one"])) == (0, 0, 2, 0)
    assert sorted(names(rag)) == ["sub/a.pdf", "two/sub/a.pdf"]


ODD = [
    "with space.pdf",
    'it\'s "quoted".pdf',
    "line\nbreak.pdf",
    "年度报告.pdf",
    "100% #1?.pdf",
    f"{'long' * 60}.pdf",
    "-rf.pdf",
    "a&b;c.pdf",
]


def test_odd_names(rag: Rag, docs: Path) -> None:
    for number, name in enumerate(ODD):
        pdfs.write(docs / name, [f"Text number {number} of an odd file."])
    assert counts(rag.add([docs])) == (3 + len(ODD), 0, 0, 0)
    assert sorted(names(rag)) == sorted([*(f"0{n}.pdf" for n in range(3)), *ODD])
    found = rag.search("Text number 3 of an odd file", k=12)
    assert {passage.document for passage in found} >= set(ODD)
    assert all(rag.boxes_of(passage) for passage in found)
    for name in ODD:
        assert [entry.document for entry in rag.remove(name).documents] == [name]


def test_a_name_that_is_not_utf8(rag: Rag, docs: Path) -> None:
    try:
        pdfs.write(Path(f"{docs}/caf\udce9.pdf"), ["Text of the café."])
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such names")
    assert counts(rag.add([docs])) == (4, 0, 0, 0)
    assert "caf\ufffd.pdf" in names(rag)


def test_nothing_to_ingest(rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="nothing to ingest") as caught:
        rag.add([tmp_path / "empty"])
    assert ".pdf" in caught.value.hint
    with pytest.raises(NotFound, match="none does not exist"):
        rag.add([tmp_path / "none"])


def test_a_path_that_does_not_exist_among_others(rag: Rag, docs: Path) -> None:
    report = rag.add([docs / "none", docs])
    assert counts(report) == (3, 0, 0, 1)
    assert "does not exist" in report.failed[0].error


def test_scans_without_ocr(docs: Path, tmp_path: Path) -> None:
    pdfs.write(docs / "scan.pdf", [[Picture()], [Picture()]])
    pdfs.write(docs / "partly.pdf", ["Some text.", [Picture()], [Picture()]])
    pdfs.write(docs / "blank.pdf", [""])
    with Rag.open(tmp_path / "library", embedder__name="hashing", ingest__ocr="off") as rag:
        report = rag.add([docs])
        assert counts(report) == (4, 0, 0, 2)
        blank, scan = sorted(report.failed, key=lambda failure: failure.path)
        assert "2 of 2 pages have no text; they are scanned or garbled." in scan.error
        assert "tesseract" in scan.hint
        assert "it is blank" in blank.error
        (warning,) = report.warnings
        assert Path(warning.path).name == "partly.pdf"
        assert warning.warning.startswith(
            "2 of 3 pages could not be read: 2-3; they are scanned or garbled. Install tesseract"
        )
        entry = next(e for e in rag.documents() if e.document == "partly.pdf")
        assert (entry.pages_without_text, entry.pages_unread) == (2, (2, 3))
        assert rag.ask("Some text?").unread == {"partly.pdf": (2, 3)}
        answer = rag.ask("What do the walruses pay?", flow="tests.test_ingest:no_evidence")
        assert answer.unread == {"partly.pdf": (2, 3)}


def no_evidence(tools: Tools, query: Query) -> Iterator[Event]:
    yield Done(Answer("Not there.", (), (), "no_evidence"))


def test_passwords(rag: Rag, docs: Path) -> None:
    pdfs.write(docs / "locked.pdf", ["Hidden words."], password="secret")
    assert counts(rag.add([docs])) == (3, 0, 0, 1)
    assert counts(rag.add([docs], passwords=["wrong", "secret"])) == (1, 0, 3, 0)


def test_a_file_that_vanishes_during_the_run(rag: Rag, docs: Path) -> None:
    def progress(told: Progress) -> None:
        (docs / "02.pdf").unlink(missing_ok=True)

    report = rag.add([docs], progress=progress)
    assert counts(report) == (2, 0, 0, 1)
    assert "02.pdf cannot be read" in report.failed[0].error


def test_progress_comes_to_its_end(rag: Rag, docs: Path) -> None:
    told: list[Progress] = []
    rag.add([docs], progress=told.append)
    assert {p.stage for p in told} == {"read", "embed", "done"}
    assert [p.files_done for p in told] == sorted(p.files_done for p in told)
    assert (told[-1].files_done, told[-1].files, told[-1].pages_done) == (3, 3, 3)


def test_a_progress_that_raises_ends_the_run_and_leaves_whole_documents(rag: Rag, docs: Path) -> None:
    def progress(told: Progress) -> None:
        if told.files_done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rag.add([docs], progress=progress)
    assert len(names(rag)) == 1
    assert list(rag.doctor()) == []
    assert counts(rag.add([docs])) == (2, 0, 1, 0)


def test_an_embedder_that_fails_leaves_nothing_half(rag: Rag, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: HashingEmbedder, texts: list[str]) -> np.typing.NDArray[np.float32]:
        raise LibraryError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(HashingEmbedder, "embed_documents", broken)
        with pytest.raises(LibraryError, match="out of memory"):
            rag.add([docs])
    assert names(rag) == []
    assert counts(rag.add([docs])) == (3, 0, 0, 0)


# -- the reading process -----------------------------------------------------------------------------------------------


@pytest.fixture
def process() -> Iterator[ReadingProcess]:
    made = ReadingProcess(Settings(10, 2048))
    yield made
    made.stop()


def quietly(stage: str, done: int, of: int) -> None:
    """No progress."""


def pid_of(process: ReadingProcess) -> int:
    assert process._process is not None
    return process._process.pid


def test_reading_elsewhere_is_reading(process: ReadingProcess, docs: Path) -> None:
    from ragapp.ingest.readers.pdf import PdfReader

    path = pdfs.write(
        docs / "a.pdf", [[pdfs.Line("Title 现金", 20, outline=1), "Text “ﬁ”."], "more"], title="The Title"
    )
    told: list[tuple[int, int]] = []
    document = process.read(path, (), lambda stage, done, of: told.append((done, of)))
    assert document == PdfReader().read(path)
    assert told == [(1, 2), (2, 2)]
    first = pid_of(process)
    assert isinstance(process.read(docs / "00.pdf", (), quietly), Document)
    assert pid_of(process) == first


def test_a_killed_process_costs_one_file(process: ReadingProcess, docs: Path) -> None:
    process.read(docs / "00.pdf", (), quietly)
    os.kill(pid_of(process), signal.SIGKILL)
    with pytest.raises(ReadError, match="made the reading process end") as caught:
        process.read(docs / "01.pdf", (), quietly)
    assert caught.value.hint
    assert process.read(docs / "02.pdf", (), quietly).text


def test_a_process_killed_within_a_run_costs_one_file(rag: Rag, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()
    read = ReadingProcess.read

    def unlucky(self: ReadingProcess, path: Path, passwords: Sequence[str], *rest: Any) -> Document:
        if path.name == "01.pdf" and not killed.is_set():
            killed.set()
            os.kill(pid_of(self), signal.SIGKILL)
        return read(self, path, passwords, *rest)

    monkeypatch.setattr(ReadingProcess, "read", unlucky)
    report = rag.add([docs])
    assert counts(report) == (2, 0, 0, 1)
    assert report.failed[0].path == str(docs / "01.pdf")
    assert counts(rag.add([docs])) == (1, 0, 2, 0)


def test_a_page_that_is_too_slow_is_given_up(docs: Path) -> None:
    slow = ReadingProcess(Settings(1, 2048))
    try:
        slow.read(docs / "00.pdf", (), quietly)
        os.kill(pid_of(slow), signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(ReadError, match="longer than 1 seconds") as caught:
            slow.read(docs / "01.pdf", (), quietly)
        assert 0.9 < time.monotonic() - started < 10
        assert "seconds_per_page" in caught.value.hint
        assert slow.read(docs / "02.pdf", (), quietly).text
    finally:
        slow.stop()


def test_the_start_of_the_process_is_not_the_pages_time(docs: Path) -> None:
    """A process that was started ahead, as every run does it, may take its time to come up."""
    early = ReadingProcess(Settings(1, 2048))
    early.start()
    pid = pid_of(early)
    os.kill(pid, signal.SIGSTOP)
    awake = threading.Timer(1.5, os.kill, (pid, signal.SIGCONT))
    awake.start()
    try:
        assert early.read(docs / "00.pdf", (), quietly).text
    finally:
        awake.join()
        early.stop()


def test_too_little_memory_costs_one_file(docs: Path) -> None:
    small = ReadingProcess(Settings(20, 300))
    big = docs / "big.pdf"
    big.write_bytes(pdfs.pdf(["x"]))
    os.truncate(big, 400_000_000)  # takes no room on disk
    try:
        with pytest.raises(ReadError, match=r"memory|needs more than"):
            small.read(big, (), quietly)
        assert small.read(docs / "00.pdf", (), quietly).text
    finally:
        small.stop()


def test_the_process_ends_with_its_parent(process: ReadingProcess, docs: Path) -> None:
    process.read(docs / "00.pdf", (), quietly)
    assert process._process is not None
    assert process._process.stdin is not None
    process._process.stdin.close()
    assert process._process.wait(timeout=10) == 0


def test_a_folder_with_modules_of_the_same_names_does_no_harm(rag: Rag, docs: Path, in_folder: Path) -> None:
    for name in ("json.py", "ragapp.py", "pypdfium2.py"):
        (in_folder / name).write_text("raise SystemExit(9)")
    assert counts(rag.add([docs])) == (3, 0, 0, 0)


# -- files that move ---------------------------------------------------------------------------------------------------


def test_a_renamed_file_whose_name_another_takes(rag: Rag, docs: Path) -> None:
    rag.add([docs])
    big, small = docs / "00.pdf", docs / "zz.pdf"
    big.rename(docs / "00_old.pdf")
    pdfs.write(small, ["A small one."])
    small.rename(big)
    later(big)
    assert rag.add([docs]).failed == []
    assert names(rag) == ["00.pdf", "00_old.pdf", "01.pdf", "02.pdf"]
    assert rag.catalog.document(rag.documents()[0].id).text.startswith("A small one.")
    assert list(rag.doctor()) == []


def test_two_files_that_swap_their_names(rag: Rag, docs: Path) -> None:
    rag.add([docs])
    before = {entry.document: entry.id for entry in rag.documents()}
    (docs / "00.pdf").rename(docs / "swap")
    (docs / "01.pdf").rename(docs / "00.pdf")
    (docs / "swap").rename(docs / "01.pdf")
    later(docs / "00.pdf")
    later(docs / "01.pdf")
    assert rag.add([docs]).failed == []
    after = {entry.document: entry.id for entry in rag.documents()}
    assert after == {"00.pdf": before["01.pdf"], "01.pdf": before["00.pdf"], "02.pdf": before["02.pdf"]}
    assert list(rag.doctor()) == []


def test_a_renamed_file_leaves_no_ghost(rag: Rag, docs: Path) -> None:
    rag.add([docs])
    chunks = rag.catalog.chunk_ids().tolist()
    (docs / "00.pdf").rename(docs / "renamed.pdf")
    assert counts(rag.add([docs])) == (0, 1, 2, 0)
    assert names(rag) == ["01.pdf", "02.pdf", "renamed.pdf"]
    assert rag.catalog.chunk_ids().tolist() == chunks  # nothing was read or embedded again


def test_a_file_that_breaks_says_that_its_old_text_stays(rag: Rag, docs: Path) -> None:
    rag.add([docs])
    (docs / "00.pdf").write_bytes(b"broken")
    (failure,) = rag.add([docs]).failed
    assert "What was read of it before stays in the library." in failure.hint
    assert names(rag) == ["00.pdf", "01.pdf", "02.pdf"]


def test_one_path_need_not_be_a_list(rag: Rag, docs: Path) -> None:
    assert rag.add(str(docs)).added == 3
    assert rag.add(docs).kept == 3


def test_a_closed_reading_process_does_not_start_again(docs: Path) -> None:
    process = ReadingProcess(Settings(10, 2048))
    process.close()
    with pytest.raises(ReadError, match="was stopped"):
        process.read(docs / "00.pdf", [], quietly)


@pytest.mark.skipif(os.name == "nt", reason="names of bytes are POSIX")
def test_a_copy_whose_name_is_not_utf8_is_not_taken_for_gone(rag: Rag, docs: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(docs) + b"/odd\xff.pdf"))
    try:
        odd.write_bytes((docs / "00.pdf").read_bytes())
    except OSError:
        pytest.skip("this file system wants UTF-8")
    rag.add([odd])
    rag.add([docs / "00.pdf"])
    assert len(rag.documents()) == 2
    assert rag.boxes_of(rag.search("value", k=1)[0])


def test_a_copy_that_cannot_be_looked_at_is_not_taken_for_gone(
    rag: Rag, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rag.add([docs])
    copy = docs.parent / "copy.pdf"
    copy.write_bytes((docs / "00.pdf").read_bytes())
    stat = Path.stat

    def refused(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "00.pdf":
            raise PermissionError(13, "no", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
    assert rag.add([copy]).added == 1
    assert names(rag) == ["00.pdf", "01.pdf", "02.pdf", "copy.pdf"]
