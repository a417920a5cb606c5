"""The PDF reader: what a page says, where it says it, and a sentence for every file that cannot be read."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pypdf
import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from ragapp.errors import ReadError
from ragapp.ingest.boxes import PageSpan
from ragapp.ingest.limits import Limits
from ragapp.ingest.readers.pdf import PdfReader
from ragapp.ingest.readers.pdfium import boxes, open_pdf, page_facts, raw_page, render_gray
from ragapp.types import Box, Document, Heading
from tests import pdfs
from tests.libraries import child_environment
from tests.pdfs import Line, Picture

SCALE = 3


def read(path: Path, *passwords: str) -> Document:
    return PdfReader().read_any(path, passwords)


def page_texts(document: Document) -> list[str]:
    return [document.text[page.start : page.end] for page in document.pages]


# -- text and places -------------------------------------------------------------------------------------------------


def test_text_pages_and_offsets(tmp_path: Path) -> None:
    document = read(pdfs.write(tmp_path / "a.pdf", ["First page.\nSecond line.", "", "现金流量表 Third."]))
    assert [" ".join(text.split()) for text in page_texts(document)] == [
        "First page. Second line.",
        "",
        "现金流量表 Third.",
    ]
    assert document.pages[0].start == 0
    assert [page.end for page in document.pages[:-1]] == [page.start for page in document.pages[1:]]
    assert document.pages[-1].end == len(document.text)
    assert [page.number for page in document.pages] == [1, 2, 3]
    assert all(text.endswith("\n") for text in page_texts(document))
    assert document.pages_without_text == (2,)
    assert document.media_type == "application/pdf"
    assert document.uri == (tmp_path / "a.pdf").as_uri()
    assert document.metadata["reader"] == "pdfium"


def test_the_id_is_the_sum_of_the_bytes(tmp_path: Path) -> None:
    one = pdfs.write(tmp_path / "a.pdf", ["Text."])
    other = tmp_path / "b.pdf"
    other.write_bytes(one.read_bytes())
    assert read(one).id == read(other).id
    other.write_bytes(one.read_bytes() + b"\n")
    assert read(one).id != read(other).id


def test_words_broken_at_a_line_end_are_whole(tmp_path: Path) -> None:
    text = "This is an exam-\nple of a well-known\nthing, as is each well-\nknown exam."
    document = read(pdfs.write(tmp_path / "a.pdf", [text]))
    words = document.text.split()
    assert "example" in words
    assert words.count("well-known") == 2
    for word in ("example", "well-known exam"):
        assert "".join(text_in(tmp_path / "a.pdf", boxes_of(tmp_path / "a.pdf", word))).replace("-", "") == (
            word.replace("-", "").replace(" ", "")
        )


def test_a_word_broken_at_the_end_of_a_page_carries_a_soft_hyphen(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    # Only a hyphen with text behind it is one of a broken word; here the text is drawn further up.
    lines = [Line("Last line with a bro-", y=100), Line("Drawn last, at the top.", y=700)]
    pdfs.write(path, [lines, "ken word on the next page."])
    assert page_texts(read(path))[0].endswith(("bro\u00ad\n", "bro-\n"))


def test_columns_are_read_one_after_the_other(tmp_path: Path) -> None:
    left = [Line(f"left {n}", x=72, y=700 - 20 * n) for n in range(3)]
    right = [Line(f"right {n}", x=320, y=700 - 20 * n) for n in range(3)]
    document = read(pdfs.write(tmp_path / "a.pdf", [[*left, *right]]))
    assert document.text.split() == [w for side in ("left", "right") for n in range(3) for w in (side, str(n))]


def test_progress(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    PdfReader(lambda done, total: told.append((done, total))).read(pdfs.write(tmp_path / "a.pdf", ["a", "b", "c"]))
    assert told == [(1, 3), (2, 3), (3, 3)]


@settings(max_examples=15)
@given(st.lists(st.text("abc defg.,;:-–“”()%$123 éüß", min_size=1, max_size=60), min_size=1, max_size=12))
def test_any_lines_come_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = pdfs.write(tmp_path_factory.mktemp("pdf") / "a.pdf", ["\n".join(lines)])
    text = read(path).text
    # Hyphens at a line's end are judged, and they are not the point here.
    assert re.sub(r"[\s\u00ad-]", "", text) == re.sub(r"[\s-]", "", "".join(lines))


# -- titles, headings, labels ------------------------------------------------------------------------------------------


def test_title_comes_from_metadata_type_or_name(tmp_path: Path) -> None:
    big: list[pdfs.Content] = [Line("The Large Title", 24), *pdfs.prose("thing").split("\n")]
    assert (
        read(pdfs.write(tmp_path / "a.pdf", [big], title="Annual Report 2018", author="Me")).title
        == "Annual Report 2018"
    )
    assert read(pdfs.write(tmp_path / "a.pdf", [big], title="untitled")).title == "The Large Title"
    assert read(pdfs.write(tmp_path / "my_notes.pdf", [pdfs.prose("thing")])).title == "my notes"
    assert read(tmp_path / "a.pdf").metadata["title"] == "untitled"


def test_outline_gives_the_headings(tmp_path: Path) -> None:
    path = pdfs.write(
        tmp_path / "a.pdf",
        [
            [Line("Chapter one", outline=1), "text"],
            ["text", Line("Section A", outline=2), "text", Line("Chapter two", outline=1)],
        ],
    )
    document = read(path)
    assert [(h.level, h.title) for h in document.headings] == [(1, "Chapter one"), (2, "Section A"), (1, "Chapter two")]
    assert all(document.text[h.start :].startswith(h.title) for h in document.headings)


def test_sizes_give_the_headings_where_there_is_no_outline(tmp_path: Path) -> None:
    body = pdfs.prose("thing").split("\n")
    path = pdfs.write(
        tmp_path / "a.pdf",
        [
            [Line("Results", 18), *body, Line("Cash flows", 13), *body],
            [Line("Outlook", 18), *body, Line("Risks", 13), *body],
        ],
    )
    document = read(path)
    assert document.headings == tuple(
        Heading(level, title, document.text.index(title))
        for level, title in [(1, "Results"), (2, "Cash flows"), (1, "Outlook"), (2, "Risks")]
    )


def test_metadata_and_titles_in_broken_letters_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    # Half of a pair of UTF-16 is no letter.
    data = pdfs.assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] >>",
            b"<< /First 5 0 R /Last 6 0 R /Count 2 >>",
            b"<< /Title <FEFF0041D800> /Parent 4 0 R /Next 6 0 R /Dest [3 0 R /Fit] >>",
            b"<< /Title (Good) /Parent 4 0 R /Prev 5 0 R /Dest [3 0 R /Fit] >>",
            b"<< /Title <FEFF0041D800> /Author (Ann) >>",
        ]
    )
    path.write_bytes(data.replace(b"/Root 1 0 R", b"/Root 1 0 R /Info 7 0 R"))
    document = read(path)
    assert document.metadata.get("author") == "Ann"
    assert "title" not in document.metadata
    assert [heading.title for heading in document.headings] == ["Good"]


def test_page_labels(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["a", "b", "c"], labels=[(0, "ROMAN_LOWER", 1), (2, "ARABIC", 1)])
    assert [page.label for page in read(path).pages] == ["i", "ii", "1"]
    assert [page.label for page in read(pdfs.write(tmp_path / "b.pdf", ["a", "b"])).pages] == ["", ""]


# -- boxes -------------------------------------------------------------------------------------------------------------


def dark(path: Path, page: int) -> list[tuple[float, float, float, float]]:
    """The rectangle of everything dark on a page as it is shown, in points."""
    with pypdfium2.PdfDocument(path) as pdf:
        picture = pdf[page - 1].render(scale=SCALE).to_numpy()[:, :, :3].min(axis=2)
    ys, xs = np.nonzero(picture < 128)
    return [(xs.min() / SCALE, ys.min() / SCALE, (xs.max() + 1) / SCALE, (ys.max() + 1) / SCALE)]


def span_of(document: Document, words: str, page: int = 1) -> PageSpan:
    place = document.pages[page - 1]
    at = document.text.index(words, place.start) - place.start
    return PageSpan(page, at, at + len(words), words, place.runs)


def boxes_of(path: Path, words: str, page: int = 1) -> list[Box]:
    return boxes(path, (), [span_of(read(path), words, page)])[0]


def text_in(path: Path, found: Sequence[Box]) -> list[str]:
    """What stands inside of boxes, without white space and marks; pages that are not rotated."""
    texts = []
    with pypdfium2.PdfDocument(path) as pdf:
        for box in found:
            page = pdf[box.page - 1]
            height = page.get_height()
            there = page.get_textpage().get_text_bounded(box.x0, height - box.y1, box.x1, height - box.y0)
            texts.append(re.sub("[\\s\ufffe\x02]", "", there))
    return texts


def moved(data: bytes) -> bytes:
    """The same page on a sheet whose corner is not the origin, cut smaller than it is."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    for page in writer.pages:
        page.mediabox = pypdf.generic.RectangleObject((-50, -30, 700, 900))
        page.cropbox = pypdf.generic.RectangleObject((20, 40, 500, 800))
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("change", [lambda data: data, moved], ids=["plain", "moved"])
def test_a_box_lies_around_what_is_dark(tmp_path: Path, rotation: int, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(change(pdfs.pdf([[Line("Targetwords", 20, x=150, y=400)]], rotation=rotation)))
    (box,) = boxes_of(path, "Targetwords")
    ((x0, y0, x1, y1),) = dark(path, 1)
    assert box.page == 1
    assert box.x0 - 1 <= x0 < x1 <= box.x1 + 1
    assert box.y0 - 1 <= y0 < y1 <= box.y1 + 1
    # Not much larger than the ink: a type size more at the most.
    assert (box.x1 - box.x0) - (x1 - x0) < 10
    assert (box.y1 - box.y0) - (y1 - y0) < 20


def test_a_box_holds_the_words_it_was_asked_for(tmp_path: Path) -> None:
    text = "Some words here.\nThe exam-\nple “quoted” stands 现金 there, and more."
    path = pdfs.write(tmp_path / "a.pdf", ["Other page", text])
    for words in ("words", "“quoted”", "stands", "more."):
        assert text_in(path, boxes_of(path, words, page=2)) == [words]


def test_a_span_over_lines_has_a_box_for_each(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["one two\nthree four\nfive six"])
    text = read(path).text
    found = boxes_of(path, text[text.index("two") : text.index("six")])
    assert len(found) == 3
    assert [box.y0 for box in found] == sorted(box.y0 for box in found)


@pytest.mark.parametrize(
    ("number", "start", "end", "expected"), [(1, 0, 4, "Four"), (2, 0, 3, "One"), (0, 0, 3, "One"), (1, 90, 99, "x")]
)
def test_no_box_is_better_than_a_wrong_one(tmp_path: Path, number: int, start: int, end: int, expected: str) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["One two three"])
    assert boxes(path, (), [PageSpan(number, start, end, expected)]) == [[]]


@pytest.mark.parametrize("runs", [(), ((0, 4, 3),), ((0, 0, 2),), ((0, 90, 3),), ((1, 1, 2),)])
def test_no_box_where_the_way_back_is_wrong(tmp_path: Path, runs: tuple[tuple[int, int, int], ...]) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["One two three"])
    assert len(boxes(path, (), [PageSpan(1, 0, 3, "One", ((0, 0, 3),))])[0]) == 1
    assert boxes(path, (), [PageSpan(1, 0, 3, "One", runs)]) == [[]]


def test_boxes_of_a_file_that_is_gone_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        boxes(tmp_path / "none.pdf", (), [PageSpan(1, 0, 1, "x")])
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 nothing")
    with pytest.raises(ReadError, match="damaged"):
        boxes(tmp_path / "a.pdf", (), [PageSpan(1, 0, 1, "x")])


# -- structure ---------------------------------------------------------------------------------------------------------


def body(subject: str, y: float = 740) -> list[Line]:
    return [Line(text, y=y - 13 * n) for n, text in enumerate(pdfs.prose(subject).split("\n"))]


def test_running_lines_are_taken_out_and_the_first_is_kept_aside(tmp_path: Path) -> None:
    pages = [
        [Line("Contoso Annual Report 2018", y=810), *body(f"thing{n}"), Line(f"{n + 1}", x=300, y=30)] for n in range(4)
    ]
    document = read(pdfs.write(tmp_path / "a.pdf", pages))
    assert "Contoso" not in document.text
    assert document.metadata["running"] == "Contoso Annual Report 2018"
    assert [text.strip().startswith(f"The thing{n}") for n, text in enumerate(page_texts(document))] == [True] * 4
    assert all(text.strip().endswith(".") for text in page_texts(document))
    assert text_in(tmp_path / "a.pdf", boxes_of(tmp_path / "a.pdf", "The thing2", 3)) == ["Thething2"]


def test_two_pages_lose_nothing(tmp_path: Path) -> None:
    document = read(
        pdfs.write(tmp_path / "a.pdf", [[Line("Report", y=810), "Text."], [Line("Report", y=810), "More."]])
    )
    assert document.text.count("Report") == 2
    assert "running" not in document.metadata


def test_columns_drawn_line_by_line_are_read_one_after_the_other(tmp_path: Path) -> None:
    left = [Line(f"left line {n} of a column that holds prose", x=72, y=700 - 12 * n) for n in range(6)]
    right = [Line(f"right line {n} of a column that has prose", x=330, y=700 - 12 * n) for n in range(6)]
    path = pdfs.write(tmp_path / "a.pdf", [[line for row in zip(left, right, strict=True) for line in row]])
    text = read(path).text
    assert [line.strip() for line in text.split("\n") if line.strip()] == [line.text for line in (*left, *right)]
    for words in ("left line 5 of a column", "right line 0 of a column"):
        assert text_in(path, boxes_of(path, words)) == [words.replace(" ", "")]


def test_text_drawn_upwards_reads_in_its_own_direction(tmp_path: Path) -> None:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(595, 842))
    canvas.rotate(90)
    canvas.setFont("Helvetica-Bold", 20)
    canvas.drawString(100, -100, "A heading going up")
    canvas.setFont("Helvetica", 10)
    lines = [f"line {n} of the text that goes up the page." for n in range(6)]
    for n, line in enumerate(lines):
        canvas.drawString(100, -130 - 12 * n, line)
    canvas.showPage()
    canvas.save()
    path = tmp_path / "a.pdf"
    path.write_bytes(out.getvalue())
    document = read(path)
    assert [line.strip() for line in document.text.split("\n") if line.strip()] == ["A heading going up", *lines]
    assert [heading.title for heading in document.headings] == ["A heading going up"]
    with open_pdf("a.pdf", out.getvalue(), ()) as (pdf, _):
        words = raw_page(pdf, 0).words
    assert all(word.x1 - word.x0 > word.y1 - word.y0 for word in words if word.end - word.start > 3)
    assert [word.y0 for word in words] == sorted(word.y0 for word in words)
    (box,) = boxes_of(path, "line 3 of the text")
    assert box.y1 - box.y0 > 5 * (box.x1 - box.x0)
    assert text_in(path, [box]) == ["line3ofthetext"]


def test_raised_numbers_behind_a_word_do_not_make_its_type_larger(tmp_path: Path) -> None:
    lines = [Line("state.", x=100, y=700), Line("[18]", 8, x=124.5, y=703)]
    data = pdfs.pdf([lines])
    with open_pdf("a.pdf", data, ()) as (pdf, _):
        (plain,) = raw_page(pdf, 0).words[:1]
    with open_pdf("a.pdf", pdfs.pdf([lines[:1]]), ()) as (pdf, _):
        (alone,) = raw_page(pdf, 0).words
    assert plain.y1 - plain.y0 > alone.y1 - alone.y0
    assert plain.size == alone.size


def test_places_that_are_no_numbers_lose_no_letters(tmp_path: Path) -> None:
    words = b"BT /F 12 Tf 1 0 0 1 1e30 100 Tm (Far away) Tj 1 0 0 1 10 50 Tm (Near by) Tj 0 0 0 0 9 9 Tm (Flat) Tj ET"
    path = tmp_path / "a.pdf"
    path.write_bytes(claimed("3 0 R", 1, words))
    assert "Near by" in read(path).text


def table_of(years: Sequence[str], items: dict[str, list[str]], y: float) -> list[Line]:
    xs = [300, 380, 460]
    lines = [Line(year, x=x, y=y) for year, x in zip(years, xs, strict=False)]
    for n, (item, figures) in enumerate(items.items(), 1):
        lines += [Line(item, y=y - 16 * n), *(Line(f, x=x, y=y - 16 * n) for f, x in zip(figures, xs, strict=True))]
    return lines


def test_a_table_that_goes_on_on_the_next_page_keeps_its_heads(tmp_path: Path) -> None:
    first = {f"Item number {n}": [f"{n},1{n}7", f"{n},2{n}5", f"{n},3{n}1"] for n in range(2, 8)}
    more = {f"Other item {n}": [f"{n},4{n}7", f"{n},5{n}5", f"{n},6{n}1"] for n in range(2, 8)}
    pages = [table_of(["2018", "2017", "2016"], first, 640), table_of([], more, 780)]
    document = read(pdfs.write(tmp_path / "a.pdf", pages))
    assert [table.page for table in document.tables] == [1, 2]
    assert document.tables[0].columns == document.tables[1].columns
    assert [column.strip() for column in document.tables[1].columns[-3:]] == ["2018", "2017", "2016"]


def test_a_table_becomes_rows_with_its_columns(tmp_path: Path) -> None:
    years = ["2018", "2017", "2016"]
    items = {"Net sales": ["32,765", "31,657", "30,109"], "Operating income": ["7,207", "7,820", "7,223"],
             "Net income": ["5,363", "4,858", "5,050"], "Dividends paid": ["3,193", "2,803", "2,678"]}  # fmt: skip
    table = table_of(years, items, 636)
    path = pdfs.write(tmp_path / "a.pdf", [[*body("company"), *table, *body("end", 500)]])
    document = read(path)
    (found,) = document.tables
    rows = [document.text[start:end].split("\t") for start, end in found.rows]
    assert [row for row in rows if row[0] in items] == [[item, *numbers] for item, numbers in items.items()]
    assert [column.strip() for column in found.columns[-3:]] == years
    assert text_in(path, boxes_of(path, "Net income\t5,363")) == ["Netincome", "5,363"]
    assert document.text[: found.start].endswith("\n\n")


def test_ticks_and_limits(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.pdf", [pdfs.prose(f"thing{n}") for n in range(5)])
    with pytest.raises(ReadError, match="claims 5 pages, more than the 4") as caught:
        PdfReader(limits=Limits(pages=4)).read(path)
    assert "max_pages" in caught.value.hint
    with pytest.raises(ReadError, match="more than the 500 characters") as caught:
        PdfReader(limits=Limits(chars=500)).read(path)
    assert caught.value.hint
    assert len(PdfReader(limits=Limits(pages=5, chars=5000)).read(path).pages) == 5


def claimed(kids: str, count: int, words: bytes = b"BT /F 12 Tf 10 100 Td (Hello there) Tj ET") -> bytes:
    """A PDF whose page tree names these kids and claims so many pages; object 3 is a page that says "Hello"."""
    return pdfs.assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R"
            b" /Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(words), words),
        ]
    )


def test_a_claim_of_many_pages_is_refused_before_any_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(claimed("3 0 R", 100_000))
    told: list[int] = []
    with pytest.raises(ReadError, match="claims 100,000 pages"):
        PdfReader(lambda done, total: told.append(done)).read(path)
    assert told == []


def test_pages_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(claimed("3 0 R", 3))
    document = read(path)
    assert [text.strip() for text in page_texts(document)] == ["Hello there", "", ""]
    assert document.metadata["pages_unreadable"] == "2, 3"
    assert document.pages_unread == (2, 3)


def test_one_page_named_many_times_is_so_many_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(claimed("3 0 R " * 60, 60))
    assert read(path).text.count("Hello there") == 60
    with pytest.raises(ReadError, match="characters of text"):
        PdfReader(limits=Limits(chars=300)).read(path)


# -- what is drawn, and pictures ---------------------------------------------------------------------------------------


def test_facts_of_pages(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.pdf", [[Picture()], "Text.", ""])
    with open_pdf("a.pdf", path.read_bytes(), ()) as (pdf, _):
        facts = [page_facts(pdf[n], pdf[n].get_textpage()) for n in range(3)]
    assert [(f.objects, f.images, f.drawn) for f in facts] == [(1, 0, 1), (0, 0, 0), (0, 0, 0)]
    assert [f.sampled for f in facts] == [0, 5, 0]
    assert [page.quality for page in read(path).pages][1:] == ["good", "empty"]


@pytest.mark.parametrize("rotation", [0, 90])
def test_pages_as_pictures(tmp_path: Path, rotation: int) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["one", [Line("Words", 40, x=150, y=400)]], rotation=rotation)
    (picture,) = render_gray(path, (), [2, 9, 0], dpi=36)
    assert picture.number == 2
    # reportlab turns the sheet with the page, so that it shows upright either way.
    assert abs(picture.width - 298) <= 1
    assert abs(picture.height - 421) <= 1
    assert abs(picture.page_width * picture.height - picture.page_height * picture.width) < 1000
    pixels = np.frombuffer(picture.gray, np.uint8).reshape(picture.height, picture.width)
    assert pixels[0, 0] == 255
    ys, xs = np.nonzero(pixels < 128)
    ((x0, y0, x1, y1),) = dark(path, 2)
    assert abs(xs.min() * 2 - x0) < 4
    assert abs(ys.min() * 2 - y0) < 4
    assert abs(xs.max() * 2 - x1) < 4
    assert abs(ys.max() * 2 - y1) < 4


def test_pictures_of_a_file_that_is_gone_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        list(render_gray(tmp_path / "none.pdf", (), [1]))
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 nothing")
    with pytest.raises(ReadError, match="damaged"):
        list(render_gray(tmp_path / "a.pdf", (), [1]))


# -- encrypted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passwords", [["secret"], ["wrong", "secret"], ["owner"]])
def test_the_right_password(tmp_path: Path, passwords: Sequence[str]) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["Hidden words."], password="secret", title="A Hidden Title")
    document = read(path, *passwords)
    assert "Hidden words." in document.text
    assert document.title == "A Hidden Title"


@pytest.mark.parametrize(("passwords", "said"), [([], "needs a password"), (["wrong", ""], "none of the passwords")])
def test_no_or_wrong_passwords(tmp_path: Path, passwords: Sequence[str], said: str) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["Hidden words."], password="secret")
    with pytest.raises(ReadError, match=said) as caught:
        read(path, *passwords)
    assert caught.value.hint
    assert "Hidden" not in caught.value.message


def test_an_empty_user_password_needs_none(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["Open words."], password="", title="An Open Title")
    assert read(path).title == "An Open Title"
    assert len(boxes_of(path, "Open")) == 1


# -- broken ------------------------------------------------------------------------------------------------------------

GOOD = pdfs.pdf([pdfs.prose("thing", 40)] * 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"a\.pdf is empty"),
        (b"\n <!DOCTYPE html><html>404</html>", "web page, not a PDF"),
        (b"<html><body>" + GOOD[5:], "web page, not a PDF"),
        (bytes(range(256)) * 20, "is not a PDF"),
        (b"PK\x03\x04" + b"x" * 2000, "is not a PDF"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "is damaged"),
        (GOOD[:200], "is damaged"),
    ],
)
def test_files_that_are_no_pdf(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=said) as caught:
        read(path)
    assert caught.value.hint


def attempt(path: Path) -> Document | ReadError:
    try:
        return read(path)
    except ReadError as error:
        return error


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_read_or_refused_and_never_invents(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(GOOD[: int(len(GOOD) * share)])
    result = attempt(path)
    if isinstance(result, ReadError):
        assert "damaged" in result.message
    else:
        assert set(result.text.split()) <= set(pdfs.prose("thing", 40).split())


def test_a_page_tree_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.recursive_page_tree())
    result = attempt(path)
    assert "damaged" in result.message if isinstance(result, ReadError) else result.pages_without_text


def test_pages_without_text(tmp_path: Path) -> None:
    document = read(pdfs.write(tmp_path / "a.pdf", [[Picture()], "Text.", [Picture()]]))
    assert document.pages_without_text == (1, 3)


def test_what_pdfium_refuses_pypdf_reads(tmp_path: Path) -> None:
    data = re.sub(rb"/Root \d+ 0 R", b"", pdfs.pdf(["Rescued words.", "Second page."]))
    with pytest.raises(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(data)
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    document = read(path)
    assert [text.strip() for text in page_texts(document)] == ["Rescued words.", "Second page."]
    assert document.metadata["reader"] == "pypdf"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"none\.pdf cannot be read: No such file"):
        read(tmp_path / "none.pdf")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(f"{tmp_path}/caf\udce9.pdf")
    try:
        pdfs.write(path, [pdfs.prose("thing")])
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such names")
    document = read(path)
    assert document.title == "caf\ufffd"
    document.uri.encode()


HAMMER = """
import sys, threading
from pathlib import Path
from ragapp.ingest.boxes import PageSpan
from ragapp.ingest.readers.pdf import PdfReader, boxes
paths = sorted(Path(sys.argv[1]).glob("*.pdf"))
texts = [PdfReader().read(path) for path in paths]
found = []
def work(first):
    for n in range(first, first + 80):
        path, text = paths[n % len(paths)], texts[n % len(paths)]
        found.append(len(boxes(path, (), [PageSpan(1, 0, 50, text.text[:50], text.pages[0].runs)])[0]))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), min(found))
"""


def test_boxes_may_be_asked_for_from_many_threads(tmp_path: Path) -> None:
    """pdfium crashes when two threads use it at once; in a process of its own, as that would end the tests too."""
    pdfs.folder(tmp_path, 4)
    ran = subprocess.run(
        [sys.executable, "-c", HAMMER, str(tmp_path)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "640 1\n")
