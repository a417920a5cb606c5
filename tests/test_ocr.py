"""Scans: what an engine saw becomes the page's text and boxes, and everything that points into the text moves with it.

The parts that are not the engine's are tested with a scripted one. The scans of the other tests are made here.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from ragapp.errors import ConfigError, ReadError
from ragapp.ingest import rapid, tesseract
from ragapp.ingest.engines import EngineFailed, Seen, find_engine, is_glued
from ragapp.ingest.ocr import OcrPage, bounded, complete, recognised, with_pages
from ragapp.ingest.readers.pdfium import Picture
from ragapp.ingest.skew import sheared, slope_of
from ragapp.types import Document, Heading, Page, PageQuality, Table
from tests.pdfs import Line, pdf

PAPER = Picture(1, 100, 200, b"\xff" * 20_000, 50.0, 100.0)
needs_tesseract = pytest.mark.skipif(
    tesseract.program() is None and not os.environ.get("CI_REQUIRES_OCR"), reason="tesseract is not installed"
)


def seen(text: str, certainty: float = 0.95, line: int = 0, paragraph: int = 0, *, glued: bool = False) -> Seen:
    return Seen(text, certainty, 10 + 20 * line, 20, 30 + 20 * line, 40, line, paragraph, glued)


def lines(*texts: str, certainty: float = 0.95, paragraph: int = 0) -> list[Seen]:
    return [seen(word, certainty, n, paragraph) for n, text in enumerate(texts) for word in text.split()]


# -- from words to a page ----------------------------------------------------------------------------------------------


def test_words_become_lines_and_paragraphs_with_their_boxes_in_points() -> None:
    page = recognised([seen("The"), seen("lamp"), seen("burns.", line=1), seen("Next", line=2, paragraph=1)], PAPER)
    assert page.text == "The lamp\nburns.\n\nNext\n"
    assert [page.text[start:end] for start, end, *_ in page.words] == ["The", "lamp", "burns.", "Next"]
    assert page.words[2][2:] == (15.0, 10.0, 25.0, 20.0)
    assert page.is_sure


def test_a_paragraph_that_goes_on_in_small_letters_is_not_cut() -> None:
    page = recognised([seen("The", line=0), seen("lamp", line=1, paragraph=1)], PAPER)
    assert page.text == "The\nlamp\n"


def test_chinese_words_are_joined_without_spaces() -> None:
    page = recognised([seen("灯塔"), seen("看守", glued=True), seen("人。", glued=True)], PAPER)
    assert page.text == "灯塔看守人。\n"
    assert [page.text[start:end] for start, end, *_ in page.words] == ["灯塔", "看守", "人。"]


@pytest.mark.parametrize(
    ("before", "after", "gap", "glued"),
    [("灯塔", "看守", 9.0, True), ("灯塔", "lamp", 1.0, True), ("灯塔", "lamp", 9.0, False), ("a", "b", 0.0, False)],
)
def test_where_a_space_stands_between_words(before: str, after: str, gap: float, glued: bool) -> None:
    assert is_glued(before, after, gap, 20.0) is glued


def test_words_broken_at_the_end_of_a_line_are_made_whole() -> None:
    page = recognised(lines("the mainte-", "nance of the lamp"), PAPER)
    assert page.text == "the maintenance of the lamp\n"
    assert [page.text[start:end] for start, end, *_ in page.words[1:3]] == ["mainte", "nance"]
    assert page.words[1][2:] != page.words[2][2:]


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("the well-", "known lamp is well known", "the well-known lamp is well known\n"),
        ("from the Franco-", "Prussian war", "from the Franco-Prussian war\n"),
        ("a dash -", "and more", "a dash -\nand more\n"),
        ("ends with a-", "", "ends with a-\n"),
    ],
)
def test_hyphens_that_break_no_word_stay(first: str, second: str, text: str) -> None:
    assert recognised(lines(first, second), PAPER).text == text


def test_text_is_normalised_and_holds_no_control_characters() -> None:
    page = recognised([seen("Cafe\u0301\u0007"), seen("\u200b"), seen("“lamp”\u00ad")], PAPER)
    assert page.text == "Café “lamp”\n"


def test_unsure_lines_and_lines_without_letters_are_left_out() -> None:
    words = lines("A clear line of print", "zq xv wk", "—— ~")
    words = [replace(word, certainty=0.4) if word.line == 1 else word for word in words]
    assert recognised(words, PAPER).text == "A clear line of print\n"


def test_an_unsure_word_stays_in_a_sure_line_and_goes_from_a_doubtful_one() -> None:
    sure = [seen("The"), seen("keeper's"), seen("lamp"), seen("Wojt", 0.3)]
    assert recognised(sure, PAPER).text == "The keeper's lamp Wojt\n"
    doubtful = [seen("Lake", 0.75), seen("Crockett", 0.75), seen("ae", 0.1)]
    assert recognised(doubtful, PAPER).text == "Lake Crockett\n"


def test_a_single_letter_must_be_surer_than_a_line() -> None:
    assert recognised([*lines("A clear line"), seen("e", 0.7, line=1)], PAPER).text == "A clear line\n"


def test_a_lucky_word_among_rubbish_is_not_believed() -> None:
    words = [seen("lamp", 0.9), *(seen("xqzvk", 0.3, line=n) for n in range(1, 9))]
    assert recognised(words, PAPER) == OcrPage("\n", (), is_sure=False)


def test_nothing_seen_is_sure_and_rubbish_is_not() -> None:
    assert recognised([], PAPER) == OcrPage("\n")
    assert not recognised(lines("xq zv", certainty=0.2), PAPER).is_sure


def test_rubbish_seen_in_a_photograph_is_nothing() -> None:
    photograph = replace(PAPER, gray=bytes(64 + n % 128 for n in range(20_000)))
    assert recognised(lines("xq zv", certainty=0.2), photograph) == OcrPage("\n")


def test_a_page_comes_back_from_its_bytes() -> None:
    page = recognised(lines("Net sales 2018", "“灯塔”"), PAPER)
    assert OcrPage.from_bytes(page.to_bytes()) == page
    unsure = OcrPage("\n", (), is_sure=False)
    assert OcrPage.from_bytes(unsure.to_bytes()) == unsure


@pytest.mark.parametrize("data", [b"", b"junk", OcrPage("\n").to_bytes()[:-3]])
def test_bytes_that_are_no_page_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="OCR"):
        OcrPage.from_bytes(data)


WORDS = st.builds(
    Seen,
    st.sampled_from(["lamp", "wind-", "a-", "XYZ", "灯塔", "。", "", " ", "12 3", "e\u0301", "\u00ad", "a\nb", "—"]),
    st.floats(0, 1), st.floats(0, 90), st.floats(0, 90), st.floats(90, 99), st.floats(90, 99),
    st.integers(0, 5), st.integers(0, 2), st.booleans(),
)  # fmt: skip


@given(st.lists(WORDS, max_size=12).map(lambda words: sorted(words, key=lambda word: word.line)))
def test_whatever_is_seen_the_words_lie_in_the_text_in_order(words: list[Seen]) -> None:
    page = recognised(words, PAPER)
    assert page.text.endswith("\n")
    at = 0
    for start, end, x0, y0, x1, y1 in page.words:
        assert at <= start < end < len(page.text)
        assert page.text[start:end] == " ".join(page.text[start:end].split())
        assert 0 <= x0 <= x1 <= 50
        assert 0 <= y0 <= y1 <= 100
        at = end
    covered = {k for start, end, *_ in page.words for k in range(start, end)}
    assert all(char.isspace() for k, char in enumerate(page.text) if k not in covered)
    assert OcrPage.from_bytes(page.to_bytes()) == page


# -- from pages to a document ------------------------------------------------------------------------------------------


def document(pages: Sequence[tuple[str, PageQuality]], **more: object) -> Document:
    made, start = [], 0
    for number, (text, quality) in enumerate(pages, 1):
        made.append(Page(number, start, start + len(text), quality=quality, runs=((0, 0, len(text)),)))
        start += len(text)
    return Document("id", "file:///a.pdf", "A", "application/pdf", "".join(t for t, _ in pages), tuple(made), **more)  # type: ignore[arg-type]


def test_pages_after_a_scan_move_and_so_does_what_points_into_them() -> None:
    before = document(
        [("One\n", "good"), ("\n", "image"), ("Sales\n2018\t7\n", "good")],
        headings=(Heading(1, "One", 0), Heading(1, "Sales", 5)),
        tables=(Table(3, 11, 17, "Sales", ("2018",), ((11, 17),)),),
    )
    after = with_pages(before, {2: OcrPage("The lamp\n", ((0, 3, 1.0, 2.0, 3.0, 4.0),))}, "tesseract")
    assert after.text == "One\nThe lamp\nSales\n2018\t7\n"
    assert [(page.start, page.end, page.read_by) for page in after.pages] == [
        (0, 4, "text"), (4, 13, "ocr"), (13, 26, "text")]  # fmt: skip
    assert after.pages[1].runs is None
    assert after.pages[1].words == ((0, 3, 1.0, 2.0, 3.0, 4.0),)
    assert after.pages[2].runs == ((0, 0, 13),)
    assert [after.text[h.start : h.start + len(h.title)] for h in after.headings] == ["One", "Sales"]
    assert after.text[after.tables[0].start : after.tables[0].end] == "2018\t7"
    assert after.tables[0].rows == ((19, 25),)
    assert after.pages_unread == ()
    assert after.metadata["ocr"] == "tesseract"


def test_an_outline_finds_its_title_in_the_new_text_or_the_top_of_the_page() -> None:
    before = document(
        [("\n", "image"), ("\n", "image")],
        headings=(Heading(1, "The Lamp", 0), Heading(2, "North wind", 1), Heading(2, "Not there", 1)),
    )
    new = {1: OcrPage("Page 1\nTHE  LAMP\n"), 2: OcrPage("Some\nnorth\nwind\n")}
    after = with_pages(before, new)
    assert [(h.title, h.start) for h in after.headings] == [("The Lamp", 7), ("Not there", 17), ("North wind", 22)]


def test_headings_and_tables_of_broken_letters_fall_away_with_them() -> None:
    before = document(
        [("7KH /DPS\nx\ty\n", "garbled")],
        headings=(Heading(1, "7KH /DPS", 0),),
        tables=(Table(1, 9, 12, "", (), ((9, 12),)),),
    )
    after = with_pages(before, {1: OcrPage("The Lamp\n", ((0, 3, 0.0, 0.0, 1.0, 1.0),))})
    assert (after.text, after.headings, after.tables) == ("The Lamp\n", (), ())


def test_a_page_that_was_not_read_surely_stays_unread() -> None:
    before = document([("#$!\n", "garbled"), ("\n", "image"), ("Good\n", "good")])
    unsure = OcrPage("\n", (), is_sure=False)
    assert with_pages(before, {1: unsure, 2: unsure, 3: OcrPage("Other\n")}) == before


def test_broken_text_is_kept_where_ocr_found_nothing_and_a_picture_without_words_is_read() -> None:
    after = with_pages(document([("#$!\n", "garbled"), ("\n", "image")]), {1: OcrPage("\n"), 2: OcrPage("\n")})
    assert after.text == "#$!\n\n"
    assert after.pages_unread == (1,)


PAGES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["lamp", "wind", "north", "灯塔"]), max_size=6),
        st.sampled_from(["good", "garbled", "image", "empty"]),
        st.none() | st.lists(st.sampled_from(["keeper", "sea", "看守"]), max_size=9),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(PAGES, st.data())
def test_shifting_keeps_pages_whole_and_pointers_on_their_words(
    made: list[tuple[list[str], PageQuality, list[str] | None]], data: st.DataObject
) -> None:
    before = document([(" ".join(words) + "\n", quality) for words, quality, _ in made])
    spots = [(page, data.draw(st.integers(page.start, page.end - 1))) for page in before.pages]
    before = replace(
        before,
        headings=tuple(Heading(1, before.text[at : at + 3].strip() or "x", at) for _, at in spots),
        tables=tuple(Table(p.number, at, p.end, "", (), ((at, p.end),)) for p, at in spots),
    )
    read = {
        n: OcrPage(" ".join(new) + "\n", ((0, 1, 0.0, 0.0, 1.0, 1.0),))
        for n, (_, _, new) in enumerate(made, 1)
        if new is not None
    }
    after = with_pages(before, read)
    at = 0
    for old, new in zip(before.pages, after.pages, strict=True):
        assert new.start == at
        at = new.end
        replaced = old.is_unread and old.number in read
        expected = read[old.number].text if replaced else before.text[old.start : old.end]
        assert after.text[new.start : new.end] == expected
        assert new.read_by == ("ocr" if replaced else "text")
    assert at == len(after.text)
    kept = [table for table in before.tables if after.pages[table.page - 1].read_by == "text"]
    assert [after.text[t.start : t.end] for t in after.tables] == [before.text[t.start : t.end] for t in kept]
    assert [[after.text[a:b] for a, b in t.rows] for t in after.tables] == [
        [before.text[t.start : t.end]] for t in kept
    ]
    assert [heading.start for heading in after.headings] == sorted(heading.start for heading in after.headings)
    assert all(0 <= heading.start < len(after.text) for heading in after.headings)
    for heading, (page, _) in zip(before.headings, spots, strict=True):
        if after.pages[page.number - 1].read_by == "text":
            moved = replace(heading, start=heading.start + after.pages[page.number - 1].start - page.start)
            assert moved in after.headings


# -- the run over a file -----------------------------------------------------------------------------------------------


class Scripted:
    """An engine that says of every page what it is told to, and counts how many are read at a time."""

    name = "scripted"

    def __init__(self, says: Callable[[Picture], Sequence[Seen]]) -> None:
        self._says = says
        self._lock = threading.Lock()
        self.read_pages: list[int] = []
        self.at_once = self.most_at_once = 0
        self.is_stopped = False

    def read(self, picture: Picture) -> Sequence[Seen]:
        with self._lock:
            self.read_pages.append(picture.number)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._says(picture)
        finally:
            with self._lock:
                self.at_once -= 1

    def stop(self) -> None:
        self.is_stopped = True


def by_number(picture: Picture) -> Sequence[Seen]:
    return lines(f"Page number {picture.number} was read here")


def scan(path: Path, contents: Sequence[str], *, turn: int = 0, lean: float = 0.0, password: str | None = None) -> Path:
    """A file of pictures of these pages, as a scanner makes it: lying on its side, or crooked by ``lean`` degrees."""
    out = io.BytesIO()
    encrypt = None if password is None else StandardEncryption(password, "owner", strength=128)
    canvas = Canvas(out, invariant=1, encrypt=encrypt)
    source = pypdfium2.PdfDocument(pdf([[Line(text, 14) for text in page.split("\n")] for page in contents]))
    for page in source:
        width, height = page.get_size()
        picture = page.render(scale=150 / 72, grayscale=True).to_pil()
        if lean:
            picture = picture.rotate(lean, fillcolor=255)
        if turn:
            picture = picture.rotate(turn, expand=True)
            width, height = (height, width) if turn in (90, 270) else (width, height)
        canvas.setPageSize((width, height))
        canvas.drawImage(ImageReader(picture), 0, 0, width, height)
        canvas.showPage()
    canvas.save()
    source.close()
    path.write_bytes(out.getvalue())
    return path


def unread(count: int) -> Document:
    return document([("\n", "image")] * count)


def ignore(number: int, page: OcrPage, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scan(tmp_path_factory.mktemp("scans") / "five.pdf", [f"Page {n}" for n in range(1, 6)])


def test_only_unread_pages_are_read_and_each_is_reported_in_order(five: Path) -> None:
    before = document([("\n", "image"), ("Good\n", "good"), ("\n", "image"), ("#$\n", "garbled"), ("", "empty")])
    engine, reports = Scripted(by_number), []
    after = complete(before, five, (), engine, have={}, on_page=lambda *report: reports.append(report), workers=2)
    assert sorted(engine.read_pages) == [1, 3, 4]
    assert [(number, page.text, done, total) for number, page, done, total in reports] == [
        (n, f"Page number {n} was read here\n", k, 3) for k, n in enumerate((1, 3, 4), 1)]  # fmt: skip
    assert [after.text[p.start : p.end] for p in after.pages][1::2] == ["Good\n", "Page number 4 was read here\n"]
    assert not engine.is_stopped


def test_pages_of_an_interrupted_run_are_not_read_again(five: Path) -> None:
    engine, reports = Scripted(by_number), []
    have = {2: OcrPage("kept\n"), 5: OcrPage("kept too\n"), 9: OcrPage("of another file\n")}
    after = complete(
        unread(5), five, (), engine, have=have, on_page=lambda n, *rest: reports.append((n, *rest[1:])), workers=1
    )
    assert sorted(engine.read_pages) == [1, 3, 4]
    assert reports == [(1, 3, 5), (3, 4, 5), (4, 5, 5)]
    assert after.text.split("\n")[1] == "kept"
    assert after.pages_unread == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_pages_are_read_at_a_time_as_there_are_workers(five: Path, workers: int) -> None:
    meeting = threading.Barrier(workers)  # nobody goes on before as many have come

    def says(picture: Picture) -> Sequence[Seen]:
        meeting.wait(timeout=20)
        return by_number(picture)

    engine = Scripted(says)
    complete(unread(4), five, (), engine, have={}, on_page=ignore, workers=workers)
    assert engine.most_at_once == workers


def test_a_page_on_which_the_engine_fails_costs_that_page(five: Path) -> None:
    def says(picture: Picture) -> Sequence[Seen]:
        if picture.number == 2:
            raise EngineFailed("it took too long")
        return by_number(picture)

    reports: list[tuple[int, bool]] = []
    after = complete(unread(3), five, (), Scripted(says), have={}, workers=2,
                     on_page=lambda n, page, *_: reports.append((n, page.is_sure)))  # fmt: skip
    assert after.pages_unread == (2,)
    assert reports == [(1, True), (2, False), (3, True)]


def test_pages_that_cannot_be_drawn_are_reported_as_unread(five: Path) -> None:
    reports: list[int] = []
    after = complete(
        unread(7), five, (), Scripted(by_number), have={}, workers=1, on_page=lambda n, *_: reports.append(n)
    )
    assert after.pages_unread == (6, 7)
    assert sorted(reports) == [1, 2, 3, 4, 5, 6, 7]


def test_an_end_in_the_middle_stops_the_engine(five: Path) -> None:
    def interrupted(number: int, page: OcrPage, done: int, total: int) -> None:
        raise KeyboardInterrupt

    engine = Scripted(by_number)
    with pytest.raises(KeyboardInterrupt):
        complete(unread(5), five, (), engine, have={}, on_page=interrupted, workers=1)
    assert engine.is_stopped
    assert len(engine.read_pages) < 5


def test_an_encrypted_scan_opens_with_its_password(tmp_path: Path) -> None:
    path = scan(tmp_path / "locked.pdf", ["Secret"], password="lamp")
    read = complete(unread(1), path, ["wrong", "lamp"], Scripted(by_number), have={}, on_page=ignore, workers=1)
    assert read.text == "Page number 1 was read here\n"
    with pytest.raises(ReadError):
        complete(unread(1), path, ["wrong"], Scripted(by_number), have={}, on_page=ignore, workers=1)


def test_boxes_of_a_crooked_page_lie_where_the_words_are_on_it(tmp_path: Path) -> None:
    path = scan(tmp_path / "crooked.pdf", ["\n".join(["The lamp burns all night long in the north"] * 12)], lean=2.0)

    def says(picture: Picture) -> Sequence[Seen]:
        gray = np.frombuffer(picture.gray, np.uint8).reshape(picture.height, picture.width)
        rows = np.flatnonzero((gray < 128).any(axis=1))
        columns = np.flatnonzero((gray < 128).any(axis=0))
        return [Seen("top", 0.9, columns[0], rows[0], columns[0] + 4, rows[0] + 30, 0, 0),
                Seen("right", 0.9, columns[-1] - 4, rows[0], columns[-1], rows[0] + 30, 1, 0)]  # fmt: skip

    words = complete(unread(1), path, (), Scripted(says), have={}, on_page=ignore, workers=1).pages[0].words
    # Turned against the clock, the line's right end stands higher than its left end.
    rise = (words[0][3] - words[1][3]) / (words[1][2] - words[0][2])
    assert rise == pytest.approx(0.035, abs=0.006)


# -- pictures ----------------------------------------------------------------------------------------------------------


def ruled(height: int = 600, width: int = 800) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    gray = np.full((height, width), 255, np.uint8)
    for top in range(40, height - 40, 24):
        gray[top : top + 10, 60:-60:3] = 0
    return gray


@pytest.mark.parametrize("slope", [-0.06, -0.02, 0.02, 0.06])
def test_a_crooked_page_is_set_straight(slope: float) -> None:
    crooked = sheared(ruled(), -slope)
    assert slope_of(crooked) == pytest.approx(slope, abs=0.004)
    assert abs(slope_of(sheared(crooked, slope_of(crooked)))) < 0.008


def test_straight_and_empty_pages_and_drawings_have_no_slope() -> None:
    assert slope_of(ruled()) == 0.0
    assert slope_of(np.full((300, 200), 255, np.uint8)) == 0.0
    chance = np.random.default_rng(3).integers(0, 256, (300, 200)).astype(np.uint8)
    assert slope_of(chance) == 0.0


def test_a_huge_page_is_made_smaller_and_keeps_its_size_in_points() -> None:
    huge = Picture(4, 6000, 5000, b"\x80" * 30_000_000, 1440.0, 1200.0)
    small = bounded(huge)
    assert (small.width, small.height, len(small.gray)) == (3000, 2500, 7_500_000)
    assert (small.number, small.page_width, set(small.gray)) == (4, 1440.0, {0x80})
    assert bounded(PAPER) is PAPER


# -- tesseract ---------------------------------------------------------------------------------------------------------

HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"
TSV = HEAD + (
    "1\t1\t0\t0\t0\t0\t0\t0\t2550\t3301\t-1\t\n"
    "4\t1\t1\t1\t1\t0\t882\t131\t775\t86\t-1\t\n"
    "5\t1\t1\t1\t1\t1\t100\t132\t154\t70\t93.302742\tThe\n"
    "5\t1\t1\t1\t1\t2\t300\t132\t200\t70\t50\t\"lamp\"\n"
    "5\t1\t1\t1\t2\t1\t100\t232\t154\t70\t95\t \n"
    "5\t1\t1\t1\t2\t2\t300\t232\t40\t40\t95\t灯塔\n"
    "5\t1\t1\t1\t2\t3\t345\t232\t40\t40\t-1\t看守\n"
    "5\t1\t2\t1\t1\t1\t100\t332\t154\t70\t96\tNext\n"
)  # fmt: skip


def test_words_are_taken_from_the_program_s_table() -> None:
    words = tesseract.parse(TSV)
    assert [word.text for word in words] == ["The", '"lamp"', "灯塔", "看守", "Next"]
    assert words[0] == Seen("The", pytest.approx(0.93302742), 100, 132, 254, 202, 0, 0)
    assert [word.line for word in words] == [0, 0, 1, 1, 2]
    assert [word.paragraph for word in words] == [0, 0, 0, 0, 1]
    assert [word.glued for word in words] == [False, False, False, True, False]
    assert words[3].certainty == 0.0
    assert tesseract.parse("") == []
    assert tesseract.parse("nonsense\n5\t1\n") == []


def test_chinese_is_read_alone_after_the_languages_with_letters() -> None:
    assert tesseract.readings(["eng", "chi_sim", "deu", "jpn"]) == ("eng+deu", "chi_sim", "jpn")
    assert tesseract.readings(["chi_tra"]) == ("chi_tra",)


def fake(folder: Path, body: str) -> str:
    """A program in tesseract's place; it lists three languages."""
    program = folder / "tesseract"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = --list-langs ]; then printf "List of 3:\\neng\\nchi_sim\\nosd\\n"; exit 0; fi\n' + body
    )
    program.chmod(0o755)
    return str(program)


def row(word: str, certainty: int) -> str:
    return f"5\\t1\\t1\\t1\\t1\\t1\\t1\\t1\\t9\\t9\\t{certainty}\\t{word}\\n"


def asked(folder: Path, english: str, chinese: str) -> tuple[tesseract.Tesseract, Path]:
    """An engine over a program that answers by language and writes down what it was asked for."""
    log = folder / "log"
    body = f'cat > /dev/null; echo "$4" >> {log}; case "$4" in eng) printf "{english}";; *) printf "{chinese}";; esac\n'
    path = fake(folder, body)
    return tesseract.Tesseract(path, tesseract.chosen(path, "auto"), 20.0), log


def test_a_sure_page_is_read_once(tmp_path: Path) -> None:
    engine, log = asked(tmp_path, row("lamp", 95), row("灯塔", 99))
    assert [word.text for word in engine.read(PAPER)] == ["lamp"]
    assert log.read_text().split() == ["eng"]


def test_an_unsure_page_is_read_in_chinese_and_the_next_one_begins_with_it(tmp_path: Path) -> None:
    engine, log = asked(tmp_path, row("xq", 30), row("灯塔", 90))
    assert [word.text for word in engine.read(PAPER)] == ["灯塔"]
    assert [word.text for word in engine.read(PAPER)] == ["灯塔"]
    assert log.read_text().split() == ["eng", "chi_sim", "chi_sim"]


def test_a_page_of_latin_letters_is_not_left_to_chinese(tmp_path: Path) -> None:
    engine, log = asked(tmp_path, row("xq", 30), row("灯塔", 90))
    engine.read(PAPER)
    asked(tmp_path, row("lamp", 96), row("lanp", 89))
    assert [word.text for word in engine.read(PAPER)] == ["lamp"]
    assert log.read_text().split() == ["eng", "chi_sim", "chi_sim", "eng"]


def test_a_program_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    engine = tesseract.Tesseract(fake(tmp_path, "exec sleep 60\n"), ["eng"], 0.3)
    started = time.monotonic()
    with pytest.raises(EngineFailed, match=r"longer than 0\.3 seconds"):
        engine.read(PAPER)
    assert time.monotonic() - started < 10


def test_a_program_that_crashes_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="code 3"):
        tesseract.Tesseract(fake(tmp_path, "exit 3\n"), ["eng"], 5.0).read(PAPER)
    with pytest.raises(EngineFailed, match="does not start"):
        tesseract.Tesseract(str(tmp_path / "gone"), ["eng"], 5.0).read(PAPER)


def test_stopping_ends_the_program_that_runs_and_starts_no_other(tmp_path: Path) -> None:
    engine = tesseract.Tesseract(fake(tmp_path, f"touch {tmp_path}/up; exec sleep 60\n"), ["eng"], 50.0)
    failures: list[EngineFailed] = []

    def read() -> None:
        try:
            engine.read(PAPER)
        except EngineFailed as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    engine.stop()
    reader.join(10)
    assert not reader.is_alive()
    assert len(failures) == 1
    with pytest.raises(EngineFailed, match="stopped"):
        engine.read(PAPER)


def test_engines_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "exit 0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_engine("off") is None
    for name in ("auto", "tesseract"):
        engine = find_engine(name)
        assert engine is not None
        assert engine.name.startswith("tesseract ")
    with pytest.raises(ConfigError, match="no OCR engine 'magic'"):
        find_engine("magic")
    with pytest.raises(ConfigError, match="no data for deu") as error:
        find_engine("auto", "eng+deu")
    assert "tesseract-ocr-deu" in error.value.hint


def test_without_tesseract_a_named_one_is_refused_and_auto_takes_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="tesseract is not installed"):
        find_engine("tesseract")
    engine = find_engine("auto")
    assert (None if engine is None else engine.name) == ("rapidocr" if rapid.is_installed() else None)


@pytest.mark.skipif(rapid.is_installed(), reason="rapidocr is installed")
def test_without_the_extra_a_named_rapidocr_is_refused() -> None:
    with pytest.raises(ConfigError, match="rapidocr is not installed") as error:
        find_engine("rapidocr")
    assert "ragapp[ocr]" in error.value.hint


PROSE = "The keeper of the lighthouse\nwrote down the weather\nevery four hours of the night."


def read_with(name: str, path: Path) -> Document:
    engine = find_engine(name)
    assert engine is not None
    return complete(unread(1), path, (), engine, have={}, on_page=ignore, workers=1)


@needs_tesseract
@pytest.mark.parametrize(("turn", "lean"), [(0, 0.0), (180, 0.0), (0, 3.0)])
def test_a_scan_is_read_upright_or_not(tmp_path: Path, turn: int, lean: float) -> None:
    text = "\n".join([PROSE] * 4)
    after = read_with("tesseract", scan(tmp_path / "scan.pdf", [text], turn=turn, lean=lean))
    assert after.text.split() == text.split()
    first = after.pages[0].words[0]
    assert after.text[first[0] : first[1]] == "The"
    # The first word stands at the left margin of 72 points, an inch from the top; on its head, at the other end.
    left, top = (595 - first[4], 842 - first[5]) if turn else (first[2], first[3])
    assert left == pytest.approx(72, abs=3 if not lean else 25)
    assert top == pytest.approx(62, abs=3 if not lean else 25)


@needs_tesseract
def test_a_blank_page_is_read_and_found_empty(tmp_path: Path) -> None:
    after = read_with("tesseract", scan(tmp_path / "blank.pdf", [""]))
    assert (after.text, after.pages_unread) == ("\n", ())


@pytest.mark.skipif(not rapid.is_installed(), reason="the extra `ocr` is not installed")
def test_the_extra_reads_a_scan_too(tmp_path: Path) -> None:
    after = read_with("rapidocr", scan(tmp_path / "scan.pdf", [PROSE]))
    assert after.text.split() == PROSE.split()


# -- rapidocr's lines --------------------------------------------------------------------------------------------------


def at(text: str, x0: float, y0: float, x1: float, y1: float) -> rapid.Line:
    return rapid.Line(text, 0.9, (x0, y0, x1, y1))


def order(found: Sequence[rapid.Line]) -> list[list[str]]:
    return [[" ".join(line.text for line in row) for row in rows] for rows in rapid.paragraphs(found)]


def test_columns_are_read_one_after_the_other_below_their_title() -> None:
    left = [at(f"left {n}", 10, 100 + 12 * n, 200, 110 + 12 * n) for n in range(4)]
    right = [at(f"right {n}", 220, 100 + 12 * n, 410, 110 + 12 * n) for n in range(4)]
    mixed = [line for pair in zip(right, left, strict=True) for line in pair]
    assert order([*mixed, at("title", 10, 60, 410, 70)]) == [
        ["title"], [f"left {n}" for n in range(4)], [f"right {n}" for n in range(4)]]  # fmt: skip


def test_rows_of_a_table_stay_rows_and_white_sets_paragraphs_apart() -> None:
    table = [
        at(f"{n}{cell}", 10 + 60 * k, 12 * n, 40 + 60 * k, 10 + 12 * n) for n in range(4) for k, cell in enumerate("ab")
    ]
    assert order([at("below", 10, 90, 300, 100), *reversed(table)]) == [["0a 0b", "1a 1b", "2a 2b", "3a 3b"], ["below"]]
    assert order([]) == []


@given(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5))
def test_a_box_of_a_turned_page_is_found_again(turn: int, x: int, y: int) -> None:
    page = np.zeros((8, 12), np.uint8)
    page[y : y + 2, x : x + 2] = 1
    ys, xs = np.nonzero(np.rot90(page, turn))
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    assert rapid.unturned(box, turn, 12, 8) == (x, y, x + 2, y + 2)
