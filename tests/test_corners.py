"""What a second reading found: lock files of office programs, ends in the middle of OCR, other engines' drafts."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from ragapp import Rag
from ragapp.errors import NotFound, ReadError
from ragapp.ingest.engines import find_engine
from ragapp.ingest.ocr import UNSURE, OcrPage, from_drafts, to_draft, with_pages
from ragapp.ingest.pipeline import unread_warning
from ragapp.ingest.reading import ReadingProcess, Settings
from ragapp.ingest.scan import scan
from ragapp.types import Document, Page
from tests import pdfs
from tests.test_ocr import fake
from tests.test_ocr import scan as scanned

pytestmark = [pytest.mark.usefixtures("in_folder"), pytest.mark.skipif(os.name == "nt", reason="programs of POSIX")]

PAGE = OcrPage("The lamp\n", ((0, 3, 1.0, 2.0, 3.0, 4.0),))


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """This in tesseract's place."""
    folder.mkdir()
    fake(folder, body)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_lock_files_of_open_documents_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.docx", "~$a.docx", "~b.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [source.name for source in scan([tmp_path]).sources] == ["a.docx", "~b.txt"]


def test_drafts_are_of_one_engine() -> None:
    drafts = {
        3: to_draft(PAGE, "tesseract eng"),
        4: to_draft(PAGE, "tesseract eng+deu"),
        0: b"tesseract eng\n{}",
        5: b"",
    }
    assert from_drafts(drafts, "tesseract eng") == {3: PAGE}
    assert from_drafts(drafts, "tesseract eng+deu") == {4: PAGE}


def test_languages_set_after_a_stop_read_all_pages_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = r'cat > /dev/null; printf "5\t1\t1\t1\t1\t1\t9\t9\t9\t9\t95\tin-$4-read\n"' + "\n"
    program(tmp_path / "bin", monkeypatch, words)
    path = scanned(tmp_path / "scan.pdf", ["One", "Two", "Three"])

    def stop(told: object) -> None:
        if getattr(told, "stage", "") == "ocr" and getattr(told, "pages", 0) == 2:
            raise KeyboardInterrupt

    where = tmp_path / "library"
    with Rag.open(where, embedder__name="hashing", ingest__ocr_languages="eng") as rag:
        with pytest.raises(KeyboardInterrupt):
            rag.add(path, progress=stop)
        assert len(rag.catalog.drafts(_id(path))) >= 2
    with Rag.open(where, embedder__name="hashing", ingest__ocr_languages="chi_sim") as rag:
        assert rag.add(path).pages_by_ocr == 3
        assert "in-eng-read" not in rag.catalog.document(_id(path)).text


def _id(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_an_engine_could_not_read_was_tried_all_the_same() -> None:
    document = Document("x", "", "", "", "\nText\n", (Page(1, 0, 1, quality="image"), Page(2, 1, 6)))
    tried = with_pages(document, {1: UNSURE}, "tesseract eng")
    assert (tried.text, tried.pages, tried.metadata) == (document.text, document.pages, {"ocr": "tesseract eng"})
    assert "nstall tesseract" in unread_warning(document)
    assert "nstall tesseract" not in unread_warning(tried)


def test_stopping_a_reader_ends_its_ocr_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = tmp_path / "up"
    program(tmp_path / "bin", monkeypatch, f"echo $$ > {up}.new; mv {up}.new {up}; exec sleep 60\n")
    path = scanned(tmp_path / "scan.pdf", ["One"])
    process = ReadingProcess(Settings(ocr="tesseract"))

    def read() -> None:
        with pytest.raises(ReadError):
            process.read(path, (), lambda stage, done, of: None)

    reader = threading.Thread(target=read)
    reader.start()
    until = time.monotonic() + 20
    while not up.exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.close()
    reader.join(10)
    pid = int(up.read_text())
    until = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True


def test_a_tesseract_without_languages_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", monkeypatch, "")
    (tmp_path / "bin" / "tesseract").write_text('#!/bin/sh\necho "List of 0:"\n')
    monkeypatch.setattr("ragapp.ingest.rapid.is_installed", lambda: False)
    assert find_engine("auto") is None
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        assert rag.add(pdfs.write(tmp_path / "a.pdf", ["Some text."])).added == 1


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag, pytest.raises(NotFound):
        rag.sync(tmp_path / name)
