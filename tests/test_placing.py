"""Places of spans: each file opened once for several, and what it said remembered for as long as it is the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragapp.erasure import Receipt
from ragapp.ingest.boxes import PageSpan
from ragapp.ingest.drawing import Drawers
from ragapp.ingest.readers import pdfium
from ragapp.placing import Places
from ragapp.rag import Rag
from ragapp.types import Box
from tests import pdfs


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which files were asked, and for how many spans."""
    calls: list[tuple[str, int]] = []
    real = pdfium.boxes

    def boxes(path: Path, passwords: Sequence[str], spans: Sequence[PageSpan]) -> list[list[Box]]:
        calls.append((path.name, len(spans)))
        return real(path, passwords, spans)

    monkeypatch.setattr(pdfium, "boxes", boxes)
    return calls


def test_a_file_is_asked_once_for_all_and_again_when_it_has_changed(
    tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    long = " ".join(f"The {part} was bought in {1990 + nth}." for nth, part in enumerate(("hose", "nut", "pin") * 9))
    pdfs.write(docs / "a.pdf", ["The pump is blue. " + long, "The valve is made of brass. " + long])
    pdfs.write(docs / "b.pdf", ["The pump is red."])
    with Rag.open(tmp_path / "library", reranker__name="keep", chunker__tokens=60) as rag:
        rag.add(docs)
        found = [passage for passage in rag.search("pump valve", k=20) if "was bought" in passage.chunk.text][:3]
        found += [passage for passage in rag.search("red pump", k=20) if passage.document.endswith("b.pdf")]
        assert [passage.document[-5:] for passage in found] == ["a.pdf"] * 3 + ["b.pdf"]
        together = rag.boxes_of_each(found)
        assert sorted(asked) == [("a.pdf", 3), ("b.pdf", 1)]
        assert all(together)
        assert [rag.boxes_of(passage) for passage in found] == together
        assert len(asked) == 2
        assert rag.boxes_of_each([]) == []
        # The same words at the same time of another day: it may be another file.
        stat = (docs / "a.pdf").stat()
        os.utime(docs / "a.pdf", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
        rag.add(docs)
        assert rag.boxes_of_each(found) == together
        assert asked[2:] == [("a.pdf", 3)]


def test_a_server_asks_in_a_process_of_its_own(tmp_path: Path, asked: list[tuple[str, int]]) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pdfs.write(docs / "a.pdf", ["The pump is blue."])
    with Rag.open(tmp_path / "library", reranker__name="keep") as rag:
        rag.add(docs)
        (found,) = rag.search("What is blue?")
        rag.look_aside()
        placed = rag.boxes_of(found)
        assert placed
        assert asked == []
        (docs / "a.pdf").write_bytes(b"%PDF-1.4 something else")
        assert rag.boxes_of(found) == ()
    with Rag.open(tmp_path / "library", reranker__name="keep") as again:
        assert again.boxes_of(found) == ()
        pdfs.write(docs / "a.pdf", ["The pump is blue."])
        again.add(docs)
        assert again.boxes_of(again.search("What is blue?")[0]) == placed
        assert asked == [("a.pdf", 1)]


@pytest.mark.parametrize("aside", [False, True])
def test_a_removal_does_not_wait_for_a_file_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aside: bool
) -> None:
    pdfs.write(tmp_path / "docs" / "a.pdf", ["The pump is blue."])
    pdfs.write(tmp_path / "docs" / "b.pdf", ["The valve is made of brass."])
    receipts: list[Receipt] = []
    with Rag.open(tmp_path / "library", reranker__name="keep") as rag:
        rag.add(tmp_path / "docs")

        def boxes(*_: object) -> list[list[Box]]:
            with ThreadPoolExecutor(1) as other:
                receipts.append(other.submit(rag.remove, "b.pdf").result(30))
            return [[Box(1, 0, 0, 1, 1)]]

        monkeypatch.setattr(*((rag.viewer, "places") if aside else (pdfium, "boxes")), boxes)
        if aside:
            rag.look_aside()
        found = next(passage for passage in rag.search("What is blue?") if "blue" in passage.chunk.text)
        assert rag.boxes_of(found) == (Box(1, 0, 0, 1, 1),)
    (receipt,) = receipts
    assert (receipt.traces, receipt.findings) == (0, ())


def test_a_file_that_cannot_be_drawn_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(self: Drawers, order: object) -> tuple[dict[str, str], bytes]:
        asked.append(order)
        return {"refused": "damaged", "reason": "it takes longer than 20 seconds"}, b""

    pdfs.write(tmp_path / "docs" / "a.pdf", ["The pump is blue."])
    with Rag.open(tmp_path / "library", reranker__name="keep") as rag:
        rag.add(tmp_path / "docs")
        (found,) = rag.search("What is blue?")
        rag.look_aside()
        monkeypatch.setattr(Drawers, "ask", refuse)
        assert rag.boxes_of(found) == rag.boxes_of(found) == ()
        assert len(asked) == 1
        monkeypatch.undo()
    with Rag.open(tmp_path / "library", reranker__name="keep") as rag:
        rag.look_aside()
        rag.viewer.close()
        assert rag.boxes_of(found) == ()  # it is being closed: no reason to lose an answer


def test_the_longest_unused_are_forgotten() -> None:
    places, calls = Places(most=2), list[list[PageSpan]]()

    def ask(spans: Sequence[PageSpan]) -> list[list[Box]]:
        calls.append(list(spans))
        return [[Box(span.number, 0, 0, 1, 1)] for span in spans]

    one, two, three = (PageSpan(number, 0, 1, "x") for number in (1, 2, 3))
    assert [boxes[0].page for boxes in places.of("file", [one, two, one], ask)] == [1, 2, 1]
    places.of("file", [one], ask)
    places.of("file", [three], ask)
    assert calls == [[one, two], [three]]
    places.of("file", [one, two], ask)
    assert calls[2:] == [[two]]
    places.of("other", [two], ask)
    assert calls[3:] == [[two]]
