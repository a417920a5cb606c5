"""Documents as people see them: what a picture shows under a box is what the text says there."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from ragapp import Rag
from ragapp.catalog import FileRow
from ragapp.errors import NotFound, QuestionError
from ragapp.ingest.readers.pdfium import word_spots
from ragapp.types import Box, Document, Page, Query
from ragapp.viewer import NoPicture, Viewer
from tests import offices, pdfs
from tests.libraries import chunks_of, open_catalog, vectors_of

WIDTH = 1200
SAMPLES = Path(__file__).parents[1] / "eval" / "data"
Shown = list[tuple[float, float, float, float]]


@contextmanager
def library(folder: Path, *files: Path, **more: Any) -> Iterator[Rag]:
    with Rag.open(folder / "library", embedder__name="hashing", ingest__ocr="off") as rag:
        report = rag.add(files, **more)
        assert not report.failed
        yield rag


def only_id(rag: Rag) -> str:
    (entry,) = {entry.id: entry for entry in rag.documents()}.values()
    return entry.id


def pixels(picture: bytes) -> Any:
    image = Image.open(io.BytesIO(picture))
    image.load()
    return np.asarray(image.convert("RGB")).astype(int)


# -- a box is drawn over its words -------------------------------------------------------------------------------------

LINES = [f"Line {n} speaks of bolts and hoses." for n in range(12)]
RED = "The warranty lasts years."


def painted(
    path: Path,
    *,
    rotation: int = 0,
    crop: tuple[float, float, float, float] | None = None,
    media: tuple[float, float, float, float] | None = None,
    columns: int = 1,
) -> Path:
    """A page of lines in black, and one line in red among them."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    if rotation:
        canvas.setPageRotation(rotation)
    if crop:
        canvas.setCropBox(crop)
    left, _, _, top = media or (0, 0, *A4)
    for column in range(columns):
        for n, line in enumerate(LINES):
            x, y = left + 90 + 250 * column, top - 120 - 24 * n
            is_red = n == 7 and column == columns - 1
            canvas.setFillColorRGB(1, 0, 0) if is_red else canvas.setFillColorRGB(0, 0, 0)
            canvas.setFont("Helvetica", 12)
            canvas.drawString(x, y, RED if is_red else line)
    canvas.showPage()
    canvas.save()
    if media:
        sheet = b"/MediaBox [ 0 0 595.2756 841.8898 ]"
        body = path.read_bytes()
        assert sheet in body
        new = b"/MediaBox [ %g %g %g %g ]" % media
        path.write_bytes(body.replace(sheet, new + b" " * max(0, len(sheet) - len(new))))
    return path


def under(image: Any, boxes: Shown, width: float, grow: float) -> Any:
    """Which pixels lie under boxes, made larger by some pixels on each side."""
    scale = image.shape[1] / width
    mask = np.zeros(image.shape[:2], dtype=bool)
    for x0, y0, x1, y1 in boxes:
        rows = slice(max(0, round(y0 * scale - grow)), max(0, round(y1 * scale + grow)))
        mask[rows, max(0, round(x0 * scale - grow)) : max(0, round(x1 * scale + grow))] = True
    return mask


def assert_over_red(picture: bytes, boxes: Shown, width: float) -> None:
    image = pixels(picture)
    is_red = (image[..., 0] > 150) & (image[..., 1] < 120) & (image[..., 2] < 120)
    is_black = image.max(axis=2) < 110
    assert is_red.sum() > 500
    assert is_black.sum() > 500
    assert not (is_red & ~under(image, boxes, width, 1.5)).any()
    assert not (is_black & under(image, boxes, width, -1)).any()
    # The boxes are not much larger than what is drawn in them.
    assert is_red.sum() > 0.1 * under(image, boxes, width, 0).sum()


HOWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "quarter": {"rotation": 90},
    "half": {"rotation": 180},
    "three quarters": {"rotation": 270},
    "cropped": {"crop": (50, 300, 500, 800)},
    "cropped quarter": {"crop": (50, 300, 500, 800), "rotation": 90},
    "cropped three quarters": {"crop": (50, 300, 500, 800), "rotation": 270},
    "moved": {"media": (-40, -30, 560, 810)},
    "moved half": {"media": (-40, -30, 560, 810), "rotation": 180},
    "columns": {"columns": 2},
}


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rag]:
    folder = tmp_path_factory.mktemp("painted")
    with library(folder, *(painted(folder / f"{name}.pdf", **how) for name, how in HOWS.items())) as rag:
        yield rag


@pytest.mark.parametrize("name", HOWS)
def test_boxes_and_words_lie_over_what_is_drawn(paintings: Rag, name: str) -> None:
    viewer, key = paintings.viewer, paintings.viewer.document_id(f"{name}.pdf")
    text = paintings.catalog.document(key).text
    start = text.index(RED)
    picture = viewer.picture(key, 1, WIDTH)
    image = pixels(picture)
    (leaf,) = viewer.pages(key).pages
    assert leaf.width
    assert leaf.height
    assert image.shape[:2] == (round(WIDTH * leaf.height / leaf.width), WIDTH)
    boxes = viewer.boxes(key, start, start + len(RED))
    asked = Query("How long does the warranty last?", where=(f"{name}.pdf",))
    assert boxes == paintings.boxes_of(paintings.ask(asked).citations[0])
    assert_over_red(picture, [(b.x0, b.y0, b.x1, b.y1) for b in boxes], leaf.width)
    words = viewer.words(key, 1)
    assert (words.width, words.height) == (leaf.width, leaf.height)
    red = [word for word in words.words if start <= word[0] < start + len(RED)]
    assert [word[2] for word in red] == RED.split()
    is_red = (image[..., 0] > 150) & (image[..., 1] < 120) & (image[..., 2] < 120)
    assert not (is_red & ~under(image, [word[3:] for word in red], leaf.width, 1.5)).any()
    assert all(text[a:b] == said for a, b, said, *_ in words.words)
    assert "".join(word[2] for word in words.words) == re.sub(r"\s", "", text)


def test_chinese_words_lie_over_what_is_drawn(tmp_path: Path) -> None:
    chinese = next(path for path in sorted(SAMPLES.glob("*.pdf")) if re.search("[\u4e00-\u9fff]", path.name))
    with library(tmp_path, chinese) as rag:
        key = only_id(rag)
        text = rag.catalog.document(key).text
        image = pixels(rag.viewer.picture(key, 1, WIDTH))
        words = rag.viewer.words(key, 1)
        assert words.width
        dark = image.max(axis=2) < 128
        for start, end, said, *box in words.words:
            assert text[start:end] == said
            assert dark[under(image, [tuple(box)], words.width, 0)].any()  # type: ignore[list-item]
        assert not (dark & ~under(image, [w[3:] for w in words.words], words.width, 3)).mean() > 0.001
        (match, *_) = rag.viewer.find(key, words.words[3][2], 3).matches
        assert dark[under(image, [(b.x0, b.y0, b.x1, b.y1) for b in match.boxes], words.width, 0)].mean() > 0.1


def test_a_word_broken_at_a_line_end_is_two_parts(tmp_path: Path) -> None:
    body = ["The information is here.", "All of it is infor-", "mation that matters."]
    with library(tmp_path, pdfs.write(tmp_path / "a.pdf", ["\n".join(body)])) as rag:
        words = rag.viewer.words(only_id(rag), 1).words
        parts = [word for word in words if word[2] in ("infor", "mation")]
        assert [word[2] for word in parts] == ["infor", "mation"]
        assert parts[0][1] == parts[1][0]
        assert parts[0][4] < parts[1][4]
        assert parts[1][3] < 100 < parts[0][3]


def test_a_ligature_does_not_part_a_word(tmp_path: Path) -> None:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf"))
    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.setFont("Vera", 12)
    canvas.drawString(72, 700, "The \ufb01nal \ufb02oor of the of\ufb01ce.")
    canvas.save()
    with library(tmp_path, tmp_path / "a.pdf") as rag:
        words = rag.viewer.words(only_id(rag), 1).words
        assert [word[2] for word in words] == ["The", "final", "floor", "of", "the", "office."]
        assert all(one[5] <= other[3] + 1 for one, other in pairwise(words))


def test_words_and_the_characters_they_came_from() -> None:
    # The ligature is one character of the file; a hyphen and a line's end were taken out; the last word is another.
    raw, text = "an o\ufb03ce infor-\nmation xyz", "an office information abc"
    runs = ((0, 0, 4), (4, 4, 1), (5, 4, 1), (6, 4, 1), (7, 5, 8), (15, 15, 10))
    found = [(text[a:b], raw[c:d]) for a, b, c, d in word_spots(text, raw, runs)]
    assert found == [("an", "an"), ("office", "o\ufb03ce"), ("infor", "infor"), ("mation", "mation")]


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_list_of_pages(tmp_path: Path) -> None:
    pages: Sequence[Any] = [pdfs.prose("pump"), [pdfs.Picture()], [], "The last page."]
    file = pdfs.write(tmp_path / "a.pdf", pages, labels=[(0, "ROMAN_LOWER", 1)], size=(300.5, 700))
    with library(tmp_path, file) as rag:
        leaves = rag.viewer.pages(only_id(rag))
        assert leaves.no_pictures is None
        assert [leaf.state for leaf in leaves.pages] == ["text", "unread", "empty", "text"]
        assert [leaf.number for leaf in leaves.pages] == [1, 2, 3, 4]
        assert leaves.pages[3].label == "iv"
        assert leaves.pages[3].chars == len("The last page.")
        assert {(leaf.width, leaf.height) for leaf in leaves.pages} == {(300.5, 700.0)}


def test_a_page_that_ocr_has_read(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "scan.pdf", [[pdfs.Picture()]], size=(400, 500))
    words = ((0, 3, 10.0, 10.0, 30.0, 20.0), (4, 8, 34.0, 10.0, 60.0, 20.0))
    page = Page(1, 0, 9, quality="image", read_by="ocr", words=words)
    document = Document("f" * 64, file.as_uri(), "Scan", "application/pdf", "The pump\n", (page,))
    catalog = open_catalog(tmp_path / "library")
    chunks, stat = chunks_of(document), file.stat()
    row = FileRow(document.uri, "scan.pdf", document.id, stat.st_size, stat.st_mtime_ns)
    catalog.put(row, document, chunks, vectors_of(chunks), catalog.embedder() or "")
    viewer = Viewer(catalog)
    try:
        (leaf,) = viewer.pages(document.id).pages
        assert (leaf.state, leaf.chars, leaf.width) == ("ocr", 8, 400)
        shown = viewer.words(document.id, 1)
        assert (shown.width, shown.height) == (400, 500)
        assert shown.words == ((0, 3, "The", *words[0][2:]), (4, 8, "pump", *words[1][2:]))
        assert viewer.boxes(document.id, 4, 8) == (Box(1, 34.0, 10.0, 60.0, 20.0),)
    finally:
        viewer.close()
        catalog.close()


@pytest.mark.parametrize("number", [0, 3, 10**30])
def test_pages_that_do_not_exist(tmp_path: Path, number: int) -> None:
    with library(tmp_path, pdfs.write(tmp_path / "a.pdf", ["one", "two"])) as rag:
        for look in (rag.viewer.text, rag.viewer.words, rag.viewer.check_picture):
            with pytest.raises(NotFound, match="no page"):
                look(only_id(rag), number)
        with pytest.raises(NotFound, match="no page"):
            rag.viewer.picture(only_id(rag), number, 100)


def test_documents_by_id_and_name(tmp_path: Path) -> None:
    pdfs.write(tmp_path / "docs" / "sub" / "手册.pdf", ["one"])
    with library(tmp_path, tmp_path / "docs") as rag:
        assert rag.viewer.document_id("sub/手册.pdf") == rag.viewer.document_id(only_id(rag)) == only_id(rag)
        with pytest.raises(NotFound, match="no document"):
            rag.viewer.document_id("other.pdf")


def test_the_text_of_a_page_and_its_headings(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n\nText of one.\n\n## Two\n\nText of two.\n", encoding="utf-8")
    with library(tmp_path, tmp_path / "a.md") as rag:
        leaf = rag.viewer.text(only_id(rag), 1)
        assert [(h.title, h.level, leaf.text[h.start - leaf.start :][:3]) for h in leaf.headings] == [
            ("One", 1, "One"), ("Two", 2, "Two"),
        ]  # fmt: skip
        assert (leaf.start, leaf.end) == (0, len(leaf.text))
    deck = tmp_path / "b.pptx"
    deck.write_bytes(offices.pptx({"title": "Opening", "body": ["Welcome."]}, {"title": "Costs", "body": ["Nine."]}))
    with library(tmp_path / "decks", deck) as rag:
        leaf = rag.viewer.text(only_id(rag), 2)
        text = rag.catalog.document(only_id(rag)).text
        assert (leaf.label, text[leaf.start : leaf.end]) == ("slide 2", leaf.text)
        assert [heading.title for heading in leaf.headings] == ["Costs"]


def test_the_fields_of_a_form_are_drawn(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(300, 300))
    canvas.drawString(50, 250, "A form")
    look = {"x": 50, "y": 100, "width": 150, "height": 40, "borderWidth": 0, "forceBorder": False, "fillColor": None}
    canvas.acroForm.textfield(name="a", value="HELLO", **look)
    canvas.showPage()
    canvas.save()
    with library(tmp_path, tmp_path / "a.pdf") as rag:
        image = pixels(rag.viewer.picture(only_id(rag), 1, 300))
        assert (image[160:200, 50:200].max(axis=2) < 128).sum() > 15


# -- documents without pictures ----------------------------------------------------------------------------------------


def assert_text_only(rag: Rag, kind: str) -> None:
    key = only_id(rag)
    leaves = rag.viewer.pages(key)
    assert leaves.no_pictures is not None
    assert leaves.no_pictures.kind == kind
    assert {leaf.width for leaf in leaves.pages} == {None}
    assert rag.viewer.words(key, 1).words == ()
    assert "pump" in rag.viewer.text(key, 1).text
    (match, *_) = rag.viewer.find(key, "PUMP", 5).matches
    assert match.boxes == rag.viewer.boxes(key, match.start, match.end) == ()
    with pytest.raises(NoPicture) as refused:
        rag.viewer.picture(key, 1, 200)
    assert refused.value.kind == kind
    assert refused.value.status == 404
    assert str(Path(rag.catalog.folder).parent) not in refused.value.message + refused.value.hint
    if kind not in ("encrypted", "damaged"):
        with pytest.raises(NoPicture):
            rag.viewer.check_picture(key, 1)


def test_other_kinds_have_no_pictures(tmp_path: Path) -> None:
    for n, (name, body) in enumerate(
        {"a.docx": offices.docx("The pump."), "b.eml": offices.eml("The pump."), "c.txt": b"The pump."}.items()
    ):
        (tmp_path / name).write_bytes(body)
        with library(tmp_path / str(n), tmp_path / name) as rag:
            assert_text_only(rag, "kind")


def test_a_file_that_changed_or_is_gone(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "a.pdf", ["The pump is blue."])
    with library(tmp_path, file) as rag:
        assert rag.viewer.picture(only_id(rag), 1, 200)
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        assert_text_only(rag, "changed")
        file.unlink()
        assert_text_only(rag, "gone")


def test_one_of_two_files_is_enough(tmp_path: Path) -> None:
    files = [pdfs.write(tmp_path / name / "a.pdf", ["The pump is blue."]) for name in ("one", "two")]
    with library(tmp_path, tmp_path / "one", tmp_path / "two") as rag:
        files[0].unlink()
        assert rag.viewer.picture(only_id(rag), 1, 200)
        files[1].unlink()
        assert_text_only(rag, "gone")


def test_an_encrypted_file(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "a.pdf", ["The pump is blue."], password="secret")
    with library(tmp_path, file, passwords=["secret"]) as rag:
        assert_text_only(rag, "encrypted")
    opens = pdfs.write(tmp_path / "b.pdf", ["The pump is blue."], password="")
    with library(tmp_path / "b", opens) as rag:
        assert rag.viewer.picture(only_id(rag), 1, 200)


def test_a_file_that_nothing_can_draw(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "a.pdf", ["The pump is blue."])
    with library(tmp_path, file) as rag:
        stat = file.stat()
        file.write_bytes(b"x" * stat.st_size)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert_text_only(rag, "damaged")


# -- find --------------------------------------------------------------------------------------------------------------


def test_find_tells_page_place_and_what_is_around(tmp_path: Path) -> None:
    pages = [pdfs.prose("pump"), "Before it.\nThe WARRANTY\nlasts years.\nAfter it.", pdfs.prose("valve")]
    with library(tmp_path, pdfs.write(tmp_path / "a.pdf", pages)) as rag:
        key = only_id(rag)
        text = rag.catalog.document(key).text
        found = rag.viewer.find(key, "the warranty  lasts", 10)
        (match,) = found.matches
        assert (found.total, match.page) == (1, 2)
        assert re.sub(r"\s+", " ", text[match.start : match.end]) == match.text == "The WARRANTY lasts"
        assert match.before.endswith("Before it. ")
        assert match.after.startswith(" years. After it. The valve")
        assert match.boxes == rag.viewer.boxes(key, match.start, match.end)
        assert len(match.boxes) == 2
        assert rag.viewer.find(key, "the warranty lasts", 10, boxes=False).matches[0].boxes == ()
        many = rag.viewer.find(key, "property", 4)
        assert (len(many.matches), many.total) == (4, 12)
        assert [m.page for m in rag.viewer.find(key, "property number 0", 9).matches] == [1, 3]
        assert all(m.boxes for m in many.matches)


def test_find_follows_the_library(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "docs" / "a.pdf", ["The pump is blue."])
    with library(tmp_path, tmp_path / "docs") as rag:
        first = only_id(rag)
        assert rag.viewer.find(first, "blue", 5).total == 1
        rag.remove("a.pdf")
        assert rag.viewer.find(first, "blue", 5).total == 0
        assert file.exists()


@pytest.mark.parametrize("words", ["", " \n", "x" * 501])
def test_what_cannot_be_found(tmp_path: Path, words: str) -> None:
    with (
        library(tmp_path, pdfs.write(tmp_path / "a.pdf", ["one"])) as rag,
        pytest.raises(QuestionError),
    ):
        rag.viewer.find(only_id(rag), words, 5)
