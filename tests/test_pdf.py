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

from ragapp.errors import ReadError
from ragapp.ingest.readers.pdf import PdfReader, boxes
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


def test_words_broken_at_a_line_end_carry_a_soft_hyphen(tmp_path: Path) -> None:
    document = read(pdfs.write(tmp_path / "a.pdf", ["This is an exam-\nple of a well-known thing."]))
    assert "exam\u00ad" in document.text
    assert "well-known" in document.text


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
    # Hyphens at a line's end become soft ones, and they are not the point here.
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


def boxes_of(path: Path, words: str, page: int = 1) -> list[Box]:
    document = read(path)
    start = document.pages[page - 1].start
    at = document.text.index(words, start) - start
    return boxes(path, (), [(page, at, at + len(words), words)])


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
        (box,) = boxes_of(path, words, page=2)
        with pypdfium2.PdfDocument(path) as pdf:
            page = pdf[1]
            height = page.get_height()
            there = page.get_textpage().get_text_bounded(box.x0, height - box.y1, box.x1, height - box.y0)
        assert there.strip() == words


def test_a_span_over_lines_has_a_box_for_each(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["one two\nthree four\nfive six"])
    start, end = (read(path).text.index(word) for word in ("two", "six"))
    found = boxes(path, (), [(1, start, end, read(path).text[start:end])])
    assert len(found) == 3
    assert [box.y0 for box in found] == sorted(box.y0 for box in found)


@pytest.mark.parametrize(
    ("number", "start", "end", "expected"), [(1, 0, 4, "Four"), (2, 0, 3, "One"), (0, 0, 3, "One"), (1, 90, 99, "x")]
)
def test_no_box_is_better_than_a_wrong_one(tmp_path: Path, number: int, start: int, end: int, expected: str) -> None:
    path = pdfs.write(tmp_path / "a.pdf", ["One two three"])
    assert boxes(path, (), [(number, start, end, expected)]) == []


def test_boxes_of_a_file_that_is_gone_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        boxes(tmp_path / "none.pdf", (), [(1, 0, 1, "x")])
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 nothing")
    with pytest.raises(ReadError, match="damaged"):
        boxes(tmp_path / "a.pdf", (), [(1, 0, 1, "x")])


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
from ragapp.ingest.readers.pdf import PdfReader, boxes
paths = sorted(Path(sys.argv[1]).glob("*.pdf"))
texts = [PdfReader().read(path).text for path in paths]
found = []
def work(first):
    for n in range(first, first + 80):
        path, text = paths[n % len(paths)], texts[n % len(paths)]
        found.append(len(boxes(path, (), [(1, 0, 50, text[:50])])))
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
