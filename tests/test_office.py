"""Office, web, mail and text files: what they say, where it stands, and what happens to broken ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits
from ragapp.ingest.readers import EXTRAS, SUFFIXES, cannot_read, reader_for
from ragapp.ingest.readers.blocks import Grid, NewPage, Para, Title, build, wrapped
from ragapp.ingest.readers.hires import HiResReader
from ragapp.ingest.readers.office import KINDS, OfficeReader
from ragapp.ingest.readers.plain import decoded
from ragapp.ingest.readers.sheets import delimiter_of
from ragapp.ingest.scan import scan
from ragapp.types import Document, Table
from tests import offices, pdfs
from tests.test_story import GUARD, attempts, guarded  # noqa: F401  a fixture

SAMPLES = offices.samples()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Document]:
    def reading(data: bytes | str, name: str, limits: Limits | None = None) -> Document:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        document = OfficeReader(limits=limits).read(path)
        check_laws(document)
        return document

    return reading


def check_laws(document: Document) -> None:
    text = document.text
    assert "".join(text[page.start : page.end] for page in document.pages) == text
    assert [page.number for page in document.pages] == list(range(1, len(document.pages) + 1))
    assert all(text[page.end - 1] == "\n" for page in document.pages)
    text.encode()
    assert not any(ord(char) < 32 and char not in "\n\t" for char in text)
    assert all(text[h.start :].startswith(h.title) and h.level >= 1 for h in document.headings)
    assert [h.start for h in document.headings] == sorted(h.start for h in document.headings)
    for table in document.tables:
        page = document.pages[table.page - 1]
        assert page.start <= table.start <= table.end < page.end
        edges = [table.start, *(edge for row in table.rows for edge in row), table.end]
        assert edges == sorted(edges)
        assert all("\n" not in text[start:end] and text[start:end].strip() for start, end in table.rows)


def pages(document: Document) -> list[str]:
    return [document.text[page.start : page.end] for page in document.pages]


def labels(document: Document) -> list[str]:
    return [page.label for page in document.pages]


def headings(document: Document) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in document.headings]


def rows(document: Document, table: Table | int = 0) -> list[str]:
    table = document.tables[table] if isinstance(table, int) else table
    return [document.text[start:end] for start, end in table.rows]


# Every kind


def test_every_kind_has_a_reader_and_a_sample() -> None:
    assert SUFFIXES[0] == ".pdf"
    assert set(SUFFIXES) - {".pdf"} == set(KINDS)
    assert {KINDS[suffix] for suffix in SUFFIXES[1:]} == {Path(name).suffix for name in SAMPLES}
    assert not set(EXTRAS) & set(SUFFIXES)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_is_read_in_english_and_chinese(read: Callable[..., Document], tmp_path: Path, name: str) -> None:
    document = read(SAMPLES[name], name)
    assert "42" in document.text
    assert "litres" in document.text
    assert "水" in document.text or name == "a.tsv"
    assert document.uri == (tmp_path / name).resolve().as_uri()
    assert len(document.id) == 64
    assert "/" in document.media_type
    assert read(SAMPLES[name], name) == document


def test_pages_are_counted_while_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deck.pptx"
    path.write_bytes(SAMPLES["a.pptx"])
    seen: list[tuple[int, int]] = []
    reader_for(path, lambda done, total: seen.append((done, total))).read_any(path, ["a password"])
    assert seen == [(1, 2), (2, 2)]


def test_pdfs_go_to_the_reader_of_pdfs(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.PDF", ["The pump moves 42 litres."])
    assert "42 litres" in reader_for(path).read_any(path, []).text


def test_a_title_is_the_metadata_s_or_the_first_heading_or_the_name(read: Callable[..., Document]) -> None:
    assert read(offices.docx((1, "Pumps"), "x", title="The pump manual"), "a.docx").title == "The pump manual"
    assert read(offices.docx((1, "Pumps"), "x", title="Document1"), "a.docx").title == "Pumps"
    assert read(offices.docx("x"), "pump_manual-2.docx").title == "pump manual 2"


# Word


def test_word_keeps_headings_lists_and_order(read: Callable[..., Document]) -> None:
    document = read(
        offices.docx((0, "The pump"), (1, "Overview"), "Text.", (2, "Parts"), "- wheel", "- axle", "# first",
                     "# second", "一", author="Ann", header="RUNNING"),
        "a.docx",
    )  # fmt: skip
    assert document.text == ("The pump\n\nOverview\n\nText.\n\nParts\n\n- wheel\n- axle\n1. first\n2. second\n\n一\n")
    assert headings(document) == [(1, "The pump"), (1, "Overview"), (2, "Parts")]
    assert document.metadata["author"] == "Ann"
    assert document.metadata["running"] == "RUNNING"


def test_word_reads_what_lies_beside_the_plain_paragraphs(read: Callable[..., Document]) -> None:
    wrapped_words = (
        '<w:p {w}><w:r><w:t>Now </w:t></w:r><w:ins w:id="1" w:author="x"><w:r><w:t>inserted</w:t></w:r></w:ins>'
        '<w:del w:id="2" w:author="x"><w:r><w:delText>deleted</w:delText></w:r></w:del>'
        '<w:fldSimple w:instr="PAGE"><w:r><w:t> field</w:t></w:r></w:fldSimple>'
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r></w:p>"
    )
    control = "<w:sdt {w}><w:sdtContent><w:p><w:r><w:t>In a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    box = (
        '<w:p {w} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><w:r><w:t>Host</w:t></w:r>'
        '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r>'
        "</w:p></w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent><w:p><w:r><w:t>boxed</w:t>"
        "</w:r></w:p></w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    blocks = [part.replace("{w}", offices.W).encode() for part in (wrapped_words, control, box)]
    assert read(offices.docx(*blocks), "a.docx").text == "Now inserted field\n\nIn a control\n\nHost\n\nboxed\n"


def test_word_s_notes_follow_their_paragraph(read: Callable[..., Document]) -> None:
    body = f'<w:p {offices.W}><w:r><w:t>Claim.</w:t></w:r><w:r><w:footnoteReference w:id="5"/></w:r></w:p>'
    note = '<w:footnote w:id="5"><w:p><w:r><w:t>Source.</w:t></w:r></w:p></w:footnote>'
    notes = f"<w:footnotes {offices.W}>{note}</w:footnotes>"
    data = with_member(offices.docx(body.encode(), "Next."), "word/footnotes.xml", notes)
    assert read(data, "a.docx").text == "Claim.\n\n1 Source.\n\nNext.\n"


def with_member(data: bytes, name: str, body: str | bytes) -> bytes:
    out = BytesIO(data)
    with zipfile.ZipFile(out, "a") as file:
        file.writestr(name, body)
    return out.getvalue()


def test_word_s_pages_are_the_writer_s_breaks_or_the_ones_word_noted(read: Callable[..., Document]) -> None:
    assert pages(read(offices.docx("One.", "\f", "Two."), "a.docx")) == ["One.\n", "Two.\n"]
    noted = f"<w:p {offices.W}><w:r><w:t>end</w:t></w:r><w:r><w:lastRenderedPageBreak/><w:t>start</w:t></w:r></w:p>"
    assert pages(read(offices.docx("One.", "\f", "Two.", noted.encode()), "a.docx")) == [
        "One.\n\nTwo.\n\nend\n", "start\n",
    ]  # fmt: skip
    before = f"<w:p {offices.W}><w:pPr><w:pageBreakBefore/></w:pPr><w:r><w:t>Next</w:t></w:r></w:p>"
    assert pages(read(offices.docx("One.", before.encode()), "a.docx")) == ["One.\n", "Next\n"]
    section = f"<w:p {offices.W}><w:pPr><w:sectPr/></w:pPr><w:r><w:t>End</w:t></w:r></w:p>"
    assert pages(read(offices.docx(section.encode(), "Next."), "a.docx")) == ["End\n", "Next.\n"]
    assert len(read(offices.docx(*["A paragraph of some words. " * 9] * 99), "a.docx").pages) == 1


def test_word_s_tables_are_whole(read: Callable[..., Document]) -> None:
    table = [["Item", "2018", None, "2019"], ["", "Net", "Gross", "Net"], ["North", "1", "2", "3"], ["^", "4", "", "6"]]
    document = read(offices.docx("Before.", table, "After."), "a.docx")
    assert document.text == (
        "Before.\n\nItem\t2018\t\t2019\n\tNet\tGross\tNet\nNorth\t1\t2\t3\nNorth\t4\t\t6\n\nAfter.\n"
    )
    assert document.tables[0].columns == ("Item", "2018 Net", "2018 Gross", "2019 Net")
    assert rows(document) == ["North\t1\t2\t3", "North\t4\t\t6"]
    frame = read(offices.docx([["A box of words"]], "After."), "a.docx")
    assert (frame.tables, frame.text) == ((), "A box of words\n\nAfter.\n")


def test_a_head_over_the_whole_table_is_not_in_every_column(read: Callable[..., Document]) -> None:
    table = [["Sales of pumps", None, None], ["Item", "2018", "2019"], ["Net", "1", "2"]]
    document = read(offices.docx(table), "a.docx")
    assert document.tables[0].columns == ("Sales of pumps Item", "2018", "2019")


def test_a_table_over_two_pages_is_a_table_on_each(read: Callable[..., Document]) -> None:
    cells = "".join(
        f"<w:tr><w:tc><w:p><w:r>{'<w:lastRenderedPageBreak/>' if n == 2 else ''}<w:t>{a}</w:t></w:r></w:p></w:tc>"
        f"<w:tc><w:p><w:r><w:t>{b}</w:t></w:r></w:p></w:tc></w:tr>"
        for n, (a, b) in enumerate([("Item", "Value"), ("a", "1"), ("b", "2")])
    )
    document = read(offices.docx(f"<w:tbl {offices.W}><w:tblPr/><w:tblGrid/>{cells}</w:tbl>".encode()), "a.docx")
    assert pages(document) == ["Item\tValue\na\t1\n", "b\t2\n"]
    assert [(table.page, table.columns) for table in document.tables] == [
        (1, ("Item", "Value")),
        (2, ("Item", "Value")),
    ]


# PowerPoint


def test_slides_are_pages_with_their_notes(read: Callable[..., Document]) -> None:
    document = read(
        offices.pptx({"title": "Results 结果", "body": ["One", "Two"], "notes": "Say hello."}, {}, {"title": "End"}),
        "a.pptx",
    )
    assert pages(document) == ["Results 结果\n\nOne\nTwo\n\nSay hello.\n", "\n", "End\n"]
    assert labels(document) == ["slide 1", "slide 2", "slide 3"]
    assert headings(document) == [(1, "Results 结果"), (1, "End")]
    assert [page.quality for page in document.pages] == ["good", "empty", "good"]


def test_slides_keep_tables_and_the_numbers_of_charts(read: Callable[..., Document]) -> None:
    table = [["Item", "2018"], ["Net", "7"]]
    document = read(
        offices.pptx({"title": "T", "table": table, "chart": [["", "Q1"], ["East", 1.5], ["West", 2]]}), "a.pptx"
    )
    assert rows(document, 0) == ["Net\t7"]
    assert rows(document, 1) == ["East\t1.5", "West\t2"]
    assert [table.columns for table in document.tables] == [("Item", "2018"), ("", "Q1")]


def test_a_shape_that_hangs_over_the_edge_is_read(read: Callable[..., Document]) -> None:
    import pptx

    deck = pptx.Presentation(BytesIO(offices.pptx({"title": "T"})))
    for text, left, top in (("Left", -500, 9), ("Upper", 9, -500)):
        deck.slides[0].shapes.add_textbox(left, top, 9_000_000, 900_000).text_frame.text = text
    out = BytesIO()
    deck.save(out)
    assert {"Left", "Upper"} <= set(read(out.getvalue(), "a.pptx").text.split())


# Sheets


def test_every_sheet_is_a_page_and_every_cell_is_kept(read: Callable[..., Document]) -> None:
    import datetime

    facts = [[], [None, "Report"], [None, "Day", "Share", "Open"], [None, datetime.datetime(2024, 5, 1), 0.25, True],
             [None, datetime.datetime(2024, 5, 2, 8, 30), 3, 1.5], [], ["lone", "x"], ["7", "y"]]  # fmt: skip
    document = read(offices.xlsx({"Sales": facts, "Sheet2": [["a", "b"]], "空": []}, percent="C4"), "a.xlsx")
    assert pages(document) == [
        "Sales\n\nReport\n\nDay\tShare\tOpen\n2024-05-01\t25%\tTRUE\n2024-05-02 08:30:00\t3\t1.5\n\nlone\tx\n7\ty\n",
        "a\tb\n",
        "\n",
    ]
    assert labels(document) == ["Sales", "Sheet2", "空"]
    assert headings(document) == [(1, "Sales")]
    assert document.tables[0].columns == ("Day", "Share", "Open")
    assert document.title == "a"


def test_heads_that_were_merged_name_every_column_below(read: Callable[..., Document]) -> None:
    sheet = [["Item", 2018, None, 2019], [None, "Net", "Gross", "Net"], ["A", 1, 2, 3]]
    document = read(offices.xlsx({"S": sheet}, merged={"S": ["B1:C1"]}), "a.xlsx")
    assert document.tables[0].columns == ("Item", "2018 Net", "2018 Gross", "2019 Net")
    assert rows(document) == ["A\t1\t2\t3"]


def test_a_long_sheet_is_cut_by_its_rows(read: Callable[..., Document]) -> None:
    sheet = [["Sales of pumps"], ["Region", "Value"], *([f"region {n}", n] for n in range(3, 1203))]
    document = read(offices.xlsx({"Sales": sheet}), "a.xlsx")
    assert labels(document) == ["Sales, rows 1–500", "Sales, rows 501–1000", "Sales, rows 1001–1202"]
    assert "region 501\t501" in pages(document)[1]
    assert pages(document)[0].startswith("Sales\n\nSales of pumps\n\nRegion\tValue\nregion 3\t3\n")
    assert [table.columns for table in document.tables] == [("Region", "Value")] * 3
    assert sum(len(table.rows) for table in document.tables) == 1200


def test_a_sheet_that_claims_all_rows_and_columns_is_read(read: Callable[..., Document]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active["A1"] = "first"
    book.active["XFD1048576"] = "last"
    out = BytesIO()
    book.save(out)
    document = read(out.getvalue(), "a.xlsx")
    assert document.text.split() == ["first", "last"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,b\n1,"x, y"\n', ["1\tx, y"]),
        ('a;b\n1;"x\ny"\n', ["1\tx y"]),
        ("a\tb\n1\t2\n", ["1\t2"]),
        ("a|b\n1|2,5\n", ["1\t2,5"]),
        ("名称,值\n水泵,42\n", ["水泵\t42"]),
    ],
)
def test_csv_is_read_with_whatever_parts_its_cells(
    read: Callable[..., Document], text: str, expected: list[str]
) -> None:
    document = read(text, "a.csv")
    assert rows(document) == expected
    assert len(document.tables[0].columns) == 2


def test_a_lone_quotation_mark_does_not_swallow_a_csv(read: Callable[..., Document]) -> None:
    lines = ["size,name", '"5 inch,pipe', *(f"{n},item" for n in range(300))]
    document = read("\n".join(lines), "a.csv")
    assert rows(document)[:2] == ['"5 inch\tpipe', "0\titem"]
    assert len(rows(document)) == 301


def test_a_long_csv_is_cut_by_its_rows(read: Callable[..., Document]) -> None:
    document = read("id,name\n" + "".join(f"{n},n{n}\n" for n in range(2, 1302)), "a.csv")
    assert labels(document) == ["rows 1–500", "rows 501–1000", "rows 1001–1301"]
    assert {table.columns for table in document.tables} == {("id", "name")}


CELLS = st.text(alphabet=st.sampled_from('ab 1,;|"水\n'), max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=8), st.sampled_from(",;|\t"))
def test_no_cell_of_a_csv_is_lost(table: list[list[str]], delimiter: str) -> None:
    import csv
    import io

    from ragapp.ingest.readers.sheets import read_csv

    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(table)
    blocks = read_csv(out.getvalue(), Limits(), "x", delimiter)
    kept = [cell for block in blocks if isinstance(block, Grid) for row in block.rows for cell in row if cell]
    assert kept == [" ".join(cell.split()) for row in table for cell in row if cell.strip()]
    assert len(delimiter_of(out.getvalue())) == 1


# The web and Markdown


def test_a_page_keeps_what_a_browser_shows(read: Callable[..., Document]) -> None:
    document = read(
        "<html><head><title>The pump page</title><meta name=author content=Ann><style>p{}</style></head><body>"
        "<nav>menu</nav><h1>Pump <em>one</em></h1><p>A</p><div>一<p>- own dash</p></div>"
        "<form><p>In a form</p></form><figure><figcaption>Figure words</figcaption></figure>"
        "<ul><li>x<ul><li><p>deep</p></li></ul></li></ul><ol start=3><li>three<li>four</ol>"
        "<p>line<br>end</p><pre>def f():\n    pass</pre><my-box>own <b>el</b>ement</my-box>"
        "<p hidden>no</p><p style='display: none'>no</p><script>no()</script><h3>Deeper</h3></body></html>",
        "a.html",
    )
    assert document.text == (
        "Pump one\n\nA\n\n一\n\n- own dash\n\nIn a form\n\nFigure words\n\n- x\n- deep\n3. three\n4. four\n\n"
        "line\nend\n\ndef f():\n    pass\n\nown element\n\nDeeper\n"
    )
    assert headings(document) == [(1, "Pump one"), (3, "Deeper")]
    assert (document.title, document.metadata["author"]) == ("The pump page", "Ann")


def test_tables_of_a_page(read: Callable[..., Document]) -> None:
    document = read(
        "<table><caption>Sales</caption><thead><tr><th rowspan=2>Item<th colspan=2>2018</tr><tr><th>Net<th>Gross</tr>"
        "</thead><tr><td rowspan=2>North<td>1<td>2<tr><td colspan=2>none</table>"
        "<table><tr><td><h2>Left</h2>words</td><td><table><tr><td>q<td>w<tr><td>1<td>2</table></td></tr></table>",
        "a.html",
    )
    assert document.text == (
        "Sales\n\nItem\t2018\nItem\tNet\tGross\nNorth\t1\t2\nNorth\tnone\n\nLeft\n\nwords\n\nq\tw\n1\t2\n"
    )
    assert document.tables[0].title == "Sales"
    assert document.tables[0].columns == ("Item", "2018 Net", "2018 Gross")
    assert rows(document, 0) == ["North\t1\t2", "North\tnone"]
    assert rows(document, 1) == ["1\t2"]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("gbk", "gb2312"), ("big5", "big5"), ("utf-16", ""), ("utf-8-sig", ""), ("gbk", ""), ("utf-8", "utf-8")],
)
def test_pages_in_chinese_encodings(read: Callable[..., Document], encoding: str, declared: str) -> None:
    meta = f"<meta charset={declared}>" if declared else ""
    page = f"<html><head>{meta}<title>水</title></head><body><p>第一章的水在中文系統中</p></body></html>"
    page = page if "big5" in encoding else page.replace("系統", "系统")
    assert "的水在中文系" in read(page.encode(encoding), "a.html").text


def test_markdown(read: Callable[..., Document]) -> None:
    document = read(
        "---\ntitle: The guide\nauthor: Bo\n---\n# One\n\nSome *words* and `code`.\n\n- a\n- b\n\n2. two\n\n## 二\n\n"
        "| H | K |\n|---|---|\n| 1 | x |\n\n```\nx = 1\n```\n",
        "a.md",
    )
    assert document.text == ("One\n\nSome words and code.\n\n- a\n- b\n2. two\n\n二\n\nH\tK\n1\tx\n\nx = 1\n")
    assert headings(document) == [(1, "One"), (2, "二")]
    assert (document.title, document.metadata["author"]) == ("The guide", "Bo")
    assert document.tables[0].columns == ("H", "K")


# Text


ENGLISH = "The pump moves forty-two litres a minute; its warranty lasts two years."
SIMPLE = "水泵每分钟输送四十二升水。保修期为二十四个月。"
TRADITIONAL = "水泵每分鐘輸送四十二公升水。保固期為二十四個月。"
WESTERN = "Grüße aus Köln: “the café” is naïve – 5 €."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ENGLISH, "ascii"), (SIMPLE, "utf-8"), (SIMPLE, "utf-8-sig"), (SIMPLE, "gbk"), (SIMPLE, "gb18030"),
        (TRADITIONAL, "big5"), (SIMPLE, "utf-16"), (SIMPLE, "utf-16-le"), (SIMPLE, "utf-16-be"), (ENGLISH, "utf-16-le"),
        (ENGLISH, "utf-32"), (WESTERN, "cp1252"), ("Grüße, où est le café ?", "latin-1"), ("保修", "gbk"),
        ("Привет, как дела? Это русский текст о насосе.", "cp1251"), ("이것은 펌프 설명서입니다", "euc_kr"),
    ],
)  # fmt: skip
def test_text_is_read_in_its_encoding(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding), "x") == text


COMMON = st.text(
    alphabet=st.sampled_from("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动"),
    min_size=4,
)


@given(COMMON, st.sampled_from(["gb18030", "utf-8", "utf-16", "utf-8-sig"]))
def test_common_chinese_is_never_taken_for_something_else(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    # A few characters of one encoding can be flawless UTF-8 by accident.
    assume(encoding != "gb18030" or "\ufffd" in data.decode("utf-8", "replace"))
    assert decoded(data, "x") == text


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    with contextlib.suppress(ReadError):
        text = decoded(data, "x")
        text.encode()
        assert "\x00" not in text


def test_a_declared_encoding_counts_before_a_guess() -> None:
    assert decoded("Ÿ".encode("cp1252"), "x", "cp1252") == "Ÿ"
    assert decoded("日本語のポンプ".encode("cp932"), "x", "cp932") == "日本語のポンプ"
    assert decoded(SIMPLE.encode("gbk"), "x", "no-such-encoding") == SIMPLE


def test_long_texts_are_cut_into_pages_at_paragraphs(read: Callable[..., Document]) -> None:
    paragraphs = [f"Paragraph {n} of the text. " + "It goes on. " * 30 for n in range(40)]
    document = read("\n\n".join(paragraphs), "a.txt")
    assert len(document.pages) == pytest.approx(len(document.text) / 3000, rel=0.3)
    assert all(page.startswith("Paragraph") for page in pages(document))
    assert set(labels(document)) == {""}
    assert all(page.strip() for page in pages(document))
    assert len(read("\n\n".join(paragraphs[:8]), "a.log").pages) == 1


def test_a_line_without_end_is_cut_too(read: Callable[..., Document]) -> None:
    document = read("words of it " * 5000, "a.text")
    assert len(document.pages) > 10
    assert document.text.split() == ("words of it " * 5000).split()


def test_a_line_that_no_reader_wrapped_stays_on_one_page() -> None:
    assert len(build([Para("x" * 9000)], Limits(), "x", flow=True).pages) == 1
    assert len(build([Para("x" * 9000), Para("end")], Limits(), "x", flow=True).pages) == 2


@given(st.text(alphabet="ab 。水\u0301", min_size=1, max_size=300), st.integers(4, 40))
def test_wrapping_loses_nothing(line: str, width: int) -> None:
    parts = list(wrapped(line, width))
    assert "".join("".join(parts).split()) == "".join(line.split())
    assert all(len(part) <= width for part in parts)


BLOCKS = st.one_of(
    st.builds(Title, st.integers(1, 6), st.text(max_size=20)),
    st.builds(Para, st.text(max_size=200), st.booleans()),
    st.builds(NewPage, st.text(max_size=8)),
    st.builds(
        Grid,
        st.lists(st.lists(st.text(max_size=6), min_size=1, max_size=4).map(tuple), min_size=1, max_size=9).map(tuple),
        st.integers(0, 3), st.text(max_size=8),
    ),
)  # fmt: skip


@given(st.lists(BLOCKS, max_size=12), st.booleans())
@settings(max_examples=100)
def test_whatever_the_blocks_the_laws_hold(blocks: list[Any], flow: bool) -> None:
    content = build(blocks, Limits(), "x", flow=flow)
    check_laws(Document("0" * 64, "file:///x", "x", "text/plain", content.text, content.pages, content.headings,
                        {}, content.tables))  # fmt: skip


def test_a_table_that_a_page_is_cut_in_stays_a_table_on_both() -> None:
    grid = Grid((("Item", "Value"), *((f"item {n}", "x" * 90) for n in range(90))), 1)
    content = build([grid, Para("End.")], Limits(), "x", flow=True)
    assert len(content.pages) > 2
    assert [table.page for table in content.tables] == [page.number for page in content.pages]
    assert sum(len(table.rows) for table in content.tables) == 90
    for table in content.tables:
        page = content.pages[table.page - 1]
        assert page.start <= table.start < table.end < page.end


# Mail


def test_a_mail_is_a_page_with_its_attachments_behind_it(read: Callable[..., Document]) -> None:
    document = read(
        offices.eml(
            "Hi,\nsee the file.\n", "<p>Hi,<br>see the <b>file</b>.</p>",
            {"nums.csv": b"x,y\n1,2\n", "manual.docx": SAMPLES["a.docx"], "pic.png": b"\x89PNG\r\n",
             "deck.pptx": SAMPLES["a.pptx"], "terms.pdf": pdfs.pdf(["Paid in 30 days.", "No refunds."])},
            Subject="Offer 报价", Date="Mon, 01 Jan 2024 10:00:00 +0100", Cc="Cy <cy@example.org>",
        ),
        "a.eml",
    )  # fmt: skip
    assert pages(document)[0] == (
        "Offer 报价\n\nFrom: Ann <ann@example.org>\nTo: bo@example.org\nCc: Cy <cy@example.org>\n"
        "Date: Mon, 01 Jan 2024 10:00:00 +0100\n\nHi,\nsee the file.\n"
    )
    assert labels(document) == [
        "",
        "nums.csv",
        "manual.docx",
        "deck.pptx, slide 1",
        "deck.pptx, slide 2",
        "terms.pdf, page 1",
        "terms.pdf, page 2",
    ]
    assert pages(document)[-2:] == ["Paid in 30 days.\n", "No refunds.\n"]
    assert document.title == "Offer 报价"
    facts = document.metadata
    assert facts["sender"] == "Ann <ann@example.org>"
    assert facts["recipients"] == "bo@example.org"
    assert facts["date"] == "2024-01-01 10:00:00+01:00"
    assert facts["attachments"] == "nums.csv, manual.docx, pic.png, deck.pptx, terms.pdf"
    assert facts["attachments_unread"] == "pic.png"


def test_of_two_bodies_the_fuller_one_is_read(read: Callable[..., Document]) -> None:
    page = "<p>Hi,</p><table><tr><th>Item<th>Price<tr><td>Pump<td>7</table>"
    assert read(offices.eml("Hi,\nItem Price\nPump 7\n", page), "a.eml").tables[0].columns == ("Item", "Price")
    stub = read(offices.eml("The whole long text of the mail.\n", "<p>See the text.</p>"), "a.eml")
    assert "whole long text" in stub.text
    assert "See" not in stub.text


def test_mails_that_keep_no_standard_are_read(read: Callable[..., Document]) -> None:
    raw = "From: a@x.org\nSubject: 报价单和保修\nContent-Type: text/plain; charset=gb2312\n\n".encode("gbk")
    document = read(raw + SIMPLE.encode("gbk"), "a.eml")
    assert document.title == "报价单和保修"
    assert SIMPLE in document.text
    nothing_declared = b"From: a@x.org\n\n" + SIMPLE.encode("gbk")
    assert SIMPLE in read(nothing_declared, "a.eml").text
    unknown = b"From: a@x.org\nContent-Type: text/plain; charset=x-unknown\n\nplain words"
    assert "plain words" in read(unknown, "a.eml").text
    with pytest.raises(ReadError, match="is not a mail"):
        read("just words\n", "a.eml")


def test_a_mail_in_a_mail_in_a_mail_ends_somewhere(read: Callable[..., Document]) -> None:
    data = offices.eml("The innermost words.", Subject="0")
    for depth in range(1, 9):
        data = offices.eml(f"Level {depth}.", attachments={"inner.eml": data}, Subject=str(depth))
    document = read(data, "a.eml")
    assert "Level 4." in document.text
    assert "Level 3." not in document.text


# Books, OpenDocument, Rich Text


def test_chapters_are_pages_named_as_in_the_contents(read: Callable[..., Document]) -> None:
    chapters = {"a.xhtml": "<h1>One</h1><p>First &#233;.</p>", "b.xhtml": "<h1>第二章</h1><h2>内</h2><p>水泵。</p>"}
    document = read(offices.epub(chapters, title="灯塔之书", toc={"a.xhtml": "The first"}), "a.epub")
    assert pages(document) == ["One\n\nFirst é.\n", "第二章\n\n内\n\n水泵。\n"]
    assert labels(document) == ["The first", "第二章"]
    assert headings(document) == [(1, "One"), (1, "第二章"), (2, "内")]
    assert (document.title, document.metadata["author"]) == ("灯塔之书", "Ann Author")


def test_a_protected_book_says_so(read: Callable[..., Document]) -> None:
    method = '<EncryptionMethod xmlns="http://www.w3.org/2001/04/xmlenc#" Algorithm="{}"/>'
    fonts = method.format("http://www.idpf.org/2008/embedding")
    assert read(offices.epub({"a.xhtml": "<p>x y</p>"}, encryption=fonts), "a.epub").text == "x y\n"
    with pytest.raises(ReadError, match="DRM"):
        read(offices.epub({"a.xhtml": "<p>x</p>"}, encryption=method.format("http://drm")), "a.epub")


def test_opendocument(read: Callable[..., Document]) -> None:
    styles = (
        '<style:style style:name="PB"><style:paragraph-properties fo:break-before="page"/></style:style>'
        '<text:list-style style:name="L1"><text:list-level-style-number text:level="1"/></text:list-style>'
    )
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion>"
        '</text:changed-region></text:tracked-changes><text:h text:outline-level="2">Head</text:h>'
        "<text:p>A<text:s/>word<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>a note"
        "</text:p></text:note-body></text:note> and tail<text:line-break/>line two</text:p>"
        '<text:list text:style-name="L1"><text:list-item><text:p>first</text:p></text:list-item></text:list>'
        "<text:list><text:list-item><text:p>dash</text:p></text:list-item></text:list>"
        "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>Item</text:p>"
        '</table:table-cell><table:table-cell table:number-columns-spanned="2"><text:p>2018</text:p></table:table-cell>'
        "<table:covered-table-cell/></table:table-row></table:table-header-rows><table:table-row><table:table-cell>"
        '<text:p>A</text:p></table:table-cell><table:table-cell table:number-columns-repeated="2"><text:p>7</text:p>'
        '</table:table-cell></table:table-row></table:table><text:p text:style-name="PB">第二页<draw:frame>'
        "<draw:text-box><text:p>boxed</text:p></draw:text-box></draw:frame></text:p>"
        "<text:p>before<text:soft-page-break/>after</text:p>"
    )
    document = read(offices.odt(body, styles=styles, title="The odt"), "a.odt")
    assert pages(document) == [
        "Head\n\nA word and tail\nline two\n\na note\n\n1. first\n- dash\n\nItem\t2018\nA\t7\t7\n",
        "第二页\n\nboxed\n\nbefore\n",
        "after\n",
    ]
    assert headings(document) == [(2, "Head")]
    assert document.tables[0].columns == ("Item", "2018", "2018")
    assert document.title == "The odt"


def test_rich_text(read: Callable[..., Document]) -> None:
    document = read(offices.RTF, "a.rtf")
    assert pages(document) == [
        "Head 标题\n\nThe 水泵 moves 42 litres, café.\n\n- item\n2. second\n\nItem\t2018\nNet\t7\n\nafter\n\na note\n",
        "next page boxed\n",
    ]
    assert headings(document) == [(1, "Head 标题")]
    assert document.tables[0].columns == ("Item", "2018")
    assert (document.title, document.metadata["author"]) == ("The pump paper", "Al")


# Accidents


def test_a_file_is_read_as_what_it_is(read: Callable[..., Document]) -> None:
    assert read(SAMPLES["a.html"], "page.docx").media_type == "text/html"
    assert read(SAMPLES["a.docx"], "text.odt").media_type.endswith("wordprocessingml.document")
    assert read(SAMPLES["a.epub"], "book.docx").media_type == "application/epub+zip"
    assert read(offices.RTF, "letter.docx").media_type == "application/rtf"


ZEROS = bytes(40 << 20)
ODT = "application/vnd.oasis.opendocument.text"
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.docx", b"", "is empty"),
        ("a.txt", b"", "is empty"),
        ("a.docx", b"%PDF-1.7 ...", "is a PDF"),
        ("a.txt", b"\xef\xbb\xbf%PDF-1.7 ...", "is a PDF"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "before 2007"),
        ("a.docx", SAMPLES["a.docx"][:9000], "is damaged"),
        ("a.pptx", SAMPLES["a.pptx"][:9000], "is damaged"),
        ("a.docx", b"just words", "does not begin like"),
        ("a.rtf", b"just words", "does not begin like"),
        ("a.txt", bytes(range(256)) * 8, "is not text"),
        ("a.csv", b"\x89PNG\r\n\x1a\n", "is a picture"),
        ("a.txt", offices.packed({"x": "y"}), "is an archive"),
        ("a.docx", offices.packed({"x": "y"}), "is damaged"),
        ("a.docx", offices.packed({"[Content_Types].xml": "<x/>", "word/document.xml": ZEROS}), "would unpack to"),
        ("a.odt", with_member(SAMPLES["a.odt"], "Pictures/x", offices.packed({"x": ZEROS})), "would unpack to"),
        ("a.odt", with_member(SAMPLES["a.odt"], "extra.xml", f"{LAUGHS}<x>&b;</x>"), "XML entities"),
        ("a.docx", with_member(SAMPLES["a.docx"], "extra.bin", f"{LAUGHS}<x>&b;</x>".encode("utf-16")), "XML entities"),
        ("a.html", "<div>" * 3000 + "deep", "nested too deeply"),
        ("a.odt", offices.odt("<text:section>" * 400 + "deep" + "</text:section>" * 400), "nested too deeply"),
        ("a.rtf", b"{\\rtf1" + b"{" * 9000, "nested too deeply"),
        ("a.odt", offices.packed({"mimetype": ODT, "content.xml": "<x/>"}), "no text"),
        ("a.epub", offices.packed({"mimetype": "application/epub+zip", "x": "y"}), "is damaged"),
        ("a.odt", with_member(SAMPLES["a.odt"], "META-INF/manifest.xml", "<x><encryption-data/></x>"), "is encrypted"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(
    read: Callable[..., Document], name: str, data: bytes | str, message: str
) -> None:
    with pytest.raises(ReadError, match=message) as caught:
        read(data, name)
    assert caught.value.message.startswith(name)
    assert caught.value.hint


def test_deep_pages_do_not_lose_their_words(read: Callable[..., Document]) -> None:
    deep = "<div>" * 120 + "<font>" * 60 + "the words" + "</font>" * 60 + "</div>" * 120 + "<p>after</p>"
    assert read(deep, "a.html").text == "the words\n\nafter\n"


def test_spans_without_measure_cost_nothing(read: Callable[..., Document]) -> None:
    tall = "<table><tr><td rowspan=3>x<td>1<tr><td>2<tr><td>3<tr><td>y<td>4</table>"
    assert rows(read(tall, "a.html")) == ["x\t1", "x\t2", "x\t3", "y\t4"]
    page = "<table><tr><td colspan=999999 rowspan=999999>x<td>y<tr><td>z<td>q</table>"
    assert read(page, "a.html").text.split() == ["x", "y", "x", "z", "q"]


def test_limits_are_kept(read: Callable[..., Document]) -> None:
    with pytest.raises(ReadError, match="more than 3 pages"):
        read(offices.pptx(*[{"title": "T"}] * 4), "a.pptx", Limits(pages=3))
    with pytest.raises(ReadError, match="more than 1,000 characters"):
        read("words " * 500, "a.txt", Limits(chars=1000))
    with pytest.raises(ReadError, match="would unpack to"):
        read(SAMPLES["a.docx"], "a.docx", Limits(expanded_bytes=20_000))


def test_characters_that_cannot_be_stored_are_left_out(read: Callable[..., Document]) -> None:
    assert read("<p>a&#x0;b\x01c\ufffe\U000f0001d&#xD800;</p>", "a.html").text.replace("\ufffd", "") == "abcd\n"
    assert read("one\r\ntwo\rthree\x0cfour", "a.txt").text == "one\ntwo\nthree\nfour\n"


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_an_error_or_a_document(tmp_path: Path, name: str) -> None:
    import random

    data, chance = SAMPLES[name], random.Random(name)
    path = tmp_path / name
    for case in range(40):
        broken = bytearray(data)
        if case % 2:
            del broken[chance.randrange(len(broken)) :]
        for _ in range(chance.randrange(1, 12) if broken else 0):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        path.write_bytes(broken)
        with contextlib.suppress(ReadError):
            check_laws(OfficeReader().read(path))


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        OfficeReader().read(tmp_path / "gone.docx")


def test_named_files_of_other_kinds_say_what_would_help(tmp_path: Path) -> None:
    for name in ("old.doc", "pic.PNG", "x.unknown"):
        (tmp_path / name).write_bytes(b"x")
    found = scan([tmp_path / "old.doc", tmp_path / "pic.PNG", tmp_path / "x.unknown"])
    reasons = {Path(path).name: reason for path, reason in found.failed}
    assert "save it as .docx" in reasons["old.doc"]
    assert "ragapp[ocr]" in reasons["pic.PNG"]
    assert reasons["x.unknown"] == cannot_read(".unknown")
    assert ".docx" in reasons["x.unknown"]
    in_folder = scan([tmp_path])
    assert (in_folder.failed, in_folder.others) == ([], 3)


# Silence


def test_reading_is_offline_silent_and_light(guarded: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    """Every kind in a child under the guard, with warnings as errors, and nothing of what it must not import."""
    for name, data in SAMPLES.items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import sys, pathlib\n"
        "from ragapp.ingest.readers import reader_for\n"
        "assert 'lxml' not in sys.modules and 'unstructured' not in sys.modules\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('a.*')):\n"
        "    assert '42' in reader_for(path).read_any(path, []).text, path\n"
        "assert 'unstructured.partition.docx' in sys.modules\n"
        "assert not {'torch', 'spacy', 'pandas', 'thinc'} & set(sys.modules)\n"
    )
    environment = {key: value for key, value in guarded.items() if key not in ("DO_NOT_TRACK", "SCARF_NO_ANALYTICS")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert attempts(guarded) == ""
    assert "socket.connect" in GUARD


def test_text_is_read_without_unstructured(tmp_path: Path) -> None:
    for name in ("a.txt", "a.csv", "a.xlsx", "a.rtf"):
        (tmp_path / name).write_bytes(SAMPLES[name])
    code = (
        "import sys, pathlib\nfrom ragapp.ingest.readers import reader_for\n"
        "for path in pathlib.Path(sys.argv[1]).glob('a.*'): reader_for(path).read_any(path, [])\n"
        "assert 'unstructured' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True, timeout=60)


# PDFs by models


def test_without_its_extra_high_resolution_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["Words."])
    monkeypatch.setitem(sys.modules, "unstructured.partition.pdf", None)
    with pytest.raises(ReadError, match="part of it is missing") as caught:
        reader_for(path, pdf="hi_res").read_any(path, [])
    assert "pip install 'ragapp[layout]'" in caught.value.hint
    (tmp_path / "b.pdf").write_bytes(b"words")
    with pytest.raises(ReadError, match="is not a PDF"):
        HiResReader().read(tmp_path / "b.pdf")


def element(category: str, text: str, page: int, **facts: Any) -> SimpleNamespace:
    metadata = {"page_number": page, "category_depth": None, "text_as_html": None, **facts}
    return SimpleNamespace(category=category, text=text, metadata=SimpleNamespace(**metadata))


def test_high_resolution_reads_pages_headings_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def partition_pdf(**options: Any) -> list[SimpleNamespace]:
        asked.append(options)
        if options["password"] is None:
            raise ValueError("needs a password")
        html = "<table><thead><tr><th>Item</th><th>2018</th></tr></thead><tr><td>Net</td><td>7</td></tr></table>"
        return [
            element("Header", "RUNNING", 1), element("Title", "The pump", 1), element("NarrativeText", "Words.", 1),
            element("ListItem", "one", 1), element("ListItem", "two", 1), element("PageBreak", "", 1),
            element("Table", "Item 2018 Net 7", 3, text_as_html=html), element("Title", "Part", 3, category_depth=1),
        ]  # fmt: skip

    module = ModuleType("unstructured.partition.pdf")
    module.partition_pdf = partition_pdf  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "unstructured.partition.pdf", module)
    path = pdfs.write(tmp_path / "a.pdf", ["Words."])
    document = reader_for(path, pdf="hi_res").read_any(path, ["secret"])
    check_laws(document)
    assert pages(document) == ["The pump\n\nWords.\n\n- one\n- two\n", "\n", "Item\t2018\nNet\t7\n\nPart\n"]
    assert headings(document) == [(1, "The pump"), (2, "Part")]
    assert document.tables[0].columns == ("Item", "2018")
    assert (document.title, document.media_type) == ("The pump", "application/pdf")
    assert [options["strategy"] for options in asked] == ["hi_res", "hi_res"]
    with pytest.raises(ReadError, match="needs a password"):
        HiResReader().read(path)
