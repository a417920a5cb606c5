"""Scans at the doors: read by OCR, found, quoted and boxed; tried again once there is a program for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pypdf
import pytest

from ragapp import Rag
from tests import pdfs
from tests.test_ocr import scan

NEEDED = os.environ.get("CI_REQUIRES_OCR")
pytestmark = [
    pytest.mark.usefixtures("in_folder"),
    pytest.mark.skipif(not (NEEDED or shutil.which("tesseract")), reason="tesseract is not installed"),
]

WORDS = "The keeper lit the lamp of the tower\nat dusk and wrote the hour into his book."


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A document whose first page is text and whose second is a scan."""
    text = pdfs.write(tmp_path / "text.pdf", [pdfs.prose("walrus", 8)])
    writer = pypdf.PdfWriter()
    writer.append(text)
    writer.append(scan(tmp_path / "scan.pdf", [WORDS]))
    path = tmp_path / "docs" / "mixed.pdf"
    path.parent.mkdir()
    with path.open("wb") as file:
        writer.write(file)
    return path


def test_a_scan_is_found_quoted_and_boxed(mixed: Path, tmp_path: Path) -> None:
    with Rag.open(tmp_path / "library") as rag:
        report = rag.add(mixed)
        assert (report.pages_by_ocr, report.warnings) == (1, [])
        answer = rag.ask("When did the keeper light the lamp?")
        citation = answer.citations[0]
        assert (citation.page, citation.state) == (2, "verified")
        assert "lamp of the tower at dusk" in citation.quote
        assert {box.page for box in citation.boxes} == {2}
        # The text was set from an inch below the top of the page, at its left margin.
        assert all(60 < box.y0 < box.y1 < 130 and 60 < box.x0 < box.x1 < 400 for box in citation.boxes)
        assert answer.unread == {}


def test_pages_that_could_not_be_read_are_tried_once_there_is_a_program(mixed: Path, tmp_path: Path) -> None:
    (mixed.parent / "copy.pdf").write_bytes(mixed.read_bytes())
    where = tmp_path / "library"
    with Rag.open(where, embedder__name="hashing", ingest__ocr="off") as rag:
        assert rag.add(mixed.parent).added == 2
        assert {entry.document: entry.pages_unread for entry in rag.documents()} == {
            "copy.pdf": (2,),
            "mixed.pdf": (2,),
        }
        assert rag.add(mixed.parent).kept == 2
    with Rag.open(where, embedder__name="hashing") as rag:
        report = rag.add(mixed.parent)
        assert (report.kept + report.changed, report.failed, report.pages_by_ocr) == (2, [], 1)
        assert [entry.pages_unread for entry in rag.documents()] == [(), ()]
        assert any("lamp" in passage.chunk.text for passage in rag.search("keeper lamp tower dusk", k=3))
        assert list(rag.doctor()) == []
        assert rag.add(mixed.parent).kept == 2


def test_a_document_that_wants_its_password_again_stays_as_it_was(mixed: Path, tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=str(mixed))
    writer.encrypt("secret")
    with mixed.open("wb") as file:
        writer.write(file)
    where = tmp_path / "library"
    with Rag.open(where, embedder__name="hashing", ingest__ocr="off") as rag:
        assert rag.add(mixed, passwords=["secret"]).added == 1
    with Rag.open(where, embedder__name="hashing") as rag:
        report = rag.add(mixed)
        assert (report.kept, report.failed) == (1, [])
        assert rag.add(mixed, passwords=["secret"]).pages_by_ocr == 1


def test_a_picture_without_words_is_not_tried_again_and_again(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    pdfs.write(docs / "drawn.pdf", ["Some text.", [pdfs.Picture()]])
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add(docs)
        assert rag.add(docs).kept == 1


def test_pages_read_before_a_stop_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scan(tmp_path / "scan.pdf", [WORDS] * 4)

    def stop(told: object) -> None:
        if getattr(told, "stage", "") == "ocr" and getattr(told, "pages", 0) == 3:
            raise KeyboardInterrupt

    where = tmp_path / "library"
    with Rag.open(where, embedder__name="hashing") as rag, pytest.raises(KeyboardInterrupt):
        rag.add(path, progress=stop)
    done: list[int] = []
    with Rag.open(where, embedder__name="hashing") as rag:
        rag.add(path, progress=lambda told: done.append(told.pages) if told.stage == "ocr" else None)
        assert done == [0, 4]  # three were kept
        assert rag.documents()[0].pages_unread == ()
        assert rag.catalog.drafts(rag.documents()[0].id) == {}
