"""The room of pdfium: opening a PDF, what stands on a page and where, and pages as pictures.

Every character of a page has an index, counted from 0 through pdfium's own list of them. ``Raw.text`` has exactly one
character for each, so an offset into it is an index; all places are kept as indices, and boxes are asked for again
from the file when they are needed.
"""

from __future__ import annotations

import ctypes
import logging
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.boxes import PageSpan, Rect, joined
from ragapp.ingest.quality import PageFacts
from ragapp.ingest.weave import stands_for
from ragapp.ingest.words import Rule, Word
from ragapp.types import Box

PDFIUM = threading.RLock()  # pdfium is not thread-safe, not even with two documents: hold this for every use of it
PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
OUTLINE_LIMIT = 5000
OBJECT_LIMIT = 3000  # objects of a page that are looked at
SAMPLE = 64  # characters of a page that are asked whether their font knows what they are
FAR = 1e6  # points; nothing stands further away than this
MAX_PIXELS = 64_000_000

_WORD = re.compile("[^\\s\ufffe\x02]+[\ufffe\x02]?")
_LINE_END = re.compile("\n|[\ufffe\x02]")
_SHOWN_WORD = re.compile(r"\S+")
_BOLD = re.compile(r"bold|black|heavy|demi", re.IGNORECASE)
_TEXT, _PATH, _IMAGE, _SHADING, _FORM = 1, 2, 3, 4, 5  # FPDF_PAGEOBJ_*


PlacedWord = tuple[int, int, float, float, float, float]  # as in Page.words


class Unreadable(Exception):
    """pdfium cannot read the file or the page; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A page as pdfium sees it. Places are points from the top left of the page turned so that most of its text is
    upright; ``bold`` are the numbers of words in bold type, looked at for the first and last word of a line only.
    """

    text: str
    words: tuple[Word, ...]
    bold: frozenset[int]
    rules: tuple[Rule, ...]
    width: float
    height: float
    facts: PageFacts


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the text: metadata, page labels, and outline entries as (level, title, page from 0)."""

    metadata: dict[str, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    entries: list[tuple[int, str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as drawn: ``gray`` is ``width * height`` bytes, row by row from the top, 0 is black; points as shown."""

    number: int
    width: int
    height: int
    gray: bytes
    page_width: float
    page_height: float


# -- documents ---------------------------------------------------------------------------------------------------------


@contextmanager
def open_pdf(name: str, data: bytes, passwords: Sequence[str]) -> Iterator[tuple[Any, str | None]]:
    """pdfium's document and the password that opened it, for one thread at a time.

    Raises ReadError when a password is missing or wrong, Unreadable when the structure is broken.
    """
    with PDFIUM:
        pdf, password = opened(name, data, passwords)
        try:
            yield pdf, password
        finally:
            pdf.close()


def opened(name: str, data: bytes, passwords: Sequence[str]) -> tuple[Any, str | None]:
    """As ``open_pdf``, for who holds ``PDFIUM`` or is alone, and closes the document."""
    import pypdfium2

    # What it has to say about broken files would fall into a user's log.
    logging.getLogger("pypdfium2").setLevel(logging.CRITICAL)
    for password in (None, *passwords):
        try:
            return pypdfium2.PdfDocument(data, password=password), password
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) != PASSWORD_ERROR:
                raise Unreadable("its structure cannot be read") from error
    if passwords:
        raise ReadError(
            f"{name} is encrypted and none of the passwords given opens it.",
            "Check the password file.",
            needs_password=True,
        )
    raise ReadError(
        f"{name} is encrypted and needs a password.",
        "Write it on a line of a file and give --password-file FILE.",
        needs_password=True,
    )


def beside(pdf: Any) -> Beside:
    """Metadata, page labels and outline. What is broken of them is left out."""
    import pypdfium2.raw as pdfium

    found = Beside()
    for key in pdf.METADATA_KEYS:
        if text := _said(pdf.get_metadata_value, key):
            found.metadata[key.lower()] = text[:500]
    # Most documents number their pages 1, 2, 3 and say nothing: asking for the first label tells.
    total = len(pdf)
    if pdfium.FPDF_GetPageLabel(pdf, 0, None, 0) > 0:
        labels = ((i, _said(pdf.get_page_label, i)) for i in range(total))
        found.labels.update({i: label[:100] for i, label in labels if label and label != str(i + 1)})
    found.entries.extend(_entries(pdf, total))
    return found


def _said(ask: Callable[..., str], *about: Any) -> str:
    """What pdfium says, on one line; empty where the file's letters are broken."""
    try:
        return one_line(ask(*about))
    except UnicodeError:
        return ""


def _entries(pdf: Any, total: int) -> Iterator[tuple[int, str, int]]:
    import pypdfium2

    try:
        for count, bookmark in enumerate(pdf.get_toc(max_depth=15)):
            if count >= OUTLINE_LIMIT:
                return
            destination = bookmark.get_dest()
            index = destination.get_index() if destination else None
            title = _said(bookmark.get_title)
            if title and index is not None and 0 <= index < total:
                yield bookmark.level + 1, title[:200], index
    except pypdfium2.PdfiumError:
        return


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+")


def one_line(text: str) -> str:
    """The text without line ends and whatever could not be stored or shown."""
    return _UNPRINTABLE.sub(" ", text).strip()


# -- pages -------------------------------------------------------------------------------------------------------------


def raw_page(pdf: Any, index: int) -> Raw:
    """What stands on a page. Raises Unreadable when pdfium cannot load it."""
    with _text_page(pdf, index) as (page, text_page):
        text = _raw_text(text_page)
        sheet = page.get_bbox()
        spots = [match.span() for match in _WORD.finditer(text)]
        turn = _turn(text_page, text, spots, page.get_rotation())
        words = tuple(_words(text_page, spots, sheet, turn))
        facts, rules = _drawn(page, text_page, len(text), sheet, turn)
        width, height = sheet[2] - sheet[0], sheet[3] - sheet[1]
        if turn % 2:
            width, height = height, width
        return Raw(text, words, _bold(text_page, text, words), rules, width, height, facts)


@contextmanager
def _text_page(pdf: Any, index: int) -> Iterator[tuple[Any, Any]]:
    import pypdfium2

    try:
        page = pdf[index]
    except (pypdfium2.PdfiumError, IndexError) as error:
        raise Unreadable("the page cannot be loaded") from error
    try:
        try:
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError as error:
            raise Unreadable("the page's text cannot be loaded") from error
        try:
            yield page, text_page
        finally:
            text_page.close()
    finally:
        page.close()


def _raw_text(text_page: Any) -> str:
    """One character for each of pdfium's."""
    import pypdfium2.raw as pdfium

    count = text_page.count_chars()
    buffer = (ctypes.c_ushort * (count + 1))()
    if pdfium.FPDFText_GetText(text_page, 0, count, buffer) == count + 1:
        text = bytes(buffer)[:-2].decode("utf-16-le", "surrogatepass")
        if len(text) == count:
            return text
    # Characters beyond 16 bits or without a meaning: the two counts differ, so each is asked for.
    codes = (pdfium.FPDFText_GetUnicode(text_page, i) for i in range(count))
    return "".join(chr(code) if 0 < code < 0x110000 else "\ufffd" for code in codes)


def _turn(text_page: Any, text: str, spots: Sequence[tuple[int, int]], rotation: int) -> int:
    """Quarters of a turn, clockwise, that make most of the text upright; the page's own where there is no text."""
    import pypdfium2.raw as pdfium

    quarters: Counter[int] = Counter()
    for start, end in spots[:: max(1, len(spots) // 12)]:
        angle = pdfium.FPDFText_GetCharAngle(text_page, start)
        if angle >= 0:
            quarters[round(angle / (math.pi / 2)) % 4] += end - start
    shown = rotation // 90
    if not quarters:
        return shown
    # pdfium's angle is clockwise in the page's own space; a tie is for the page as it is shown.
    best = max(quarters, key=lambda quarter: (quarters[quarter], (-quarter) % 4 == shown))
    return (-best) % 4


def _words(text_page: Any, spots: Sequence[tuple[int, int]], sheet: Rect, turn: int) -> Iterator[Word]:
    """Words with their boxes, from the loose boxes of their first and last characters."""
    import pypdfium2.raw as pdfium

    rect = pdfium.FS_RECTF()
    reference, ask, raw = ctypes.byref(rect), pdfium.FPDFText_GetLooseCharBox, text_page.raw
    left, top = sheet[0], sheet[3]
    for start, end in spots:
        if not ask(raw, start, reference):
            continue
        one = other = (rect.left, rect.bottom, rect.right, rect.top)
        if end - start > 1 and ask(raw, end - 1, reference):
            other = (rect.left, rect.bottom, rect.right, rect.top)
        if turn == 0:  # the same as below, for nearly all pages
            a0, b0, a1, b1 = one[0] - left, top - one[3], one[2] - left, top - one[1]
            c0, d0, c1, d1 = other[0] - left, top - other[3], other[2] - left, top - other[1]
        else:
            a0, b0, a1, b1 = turned(one, sheet, turn)
            c0, d0, c1, d1 = turned(other, sheet, turn)
        x0, y0 = a0 if a0 < c0 else c0, b0 if b0 < d0 else d0
        x1, y1 = a1 if a1 > c1 else c1, b1 if b1 > d1 else d1
        wide, high = x1 - x0, y1 - y0
        if not (0 <= wide < FAR and 0 <= high < FAR and abs(x0) < FAR and abs(y0) < FAR):
            yield Word(start, end, 0.0, 0.0, 0.0, 0.0, 0.0)  # broken numbers: its letters count, its place does not
            continue
        if abs(b0 - d0) > 1.0 and abs(b0 - d0) > abs(a0 - c0):
            yield Word(start, end, x0, y0, x1, y1, min(wide, 5 * high / (end - start)))  # it runs up or down
            continue
        # The width keeps fonts that claim enormous heights in bounds; raised numbers behind a word do not count.
        bound = 5 * (wide if wide > 1.0 else 1.0) / (end - start)
        size = min(b1 - b0, bound)
        if bound < high * 0.6:
            middle = (y0 + y1) / 2
            y0, y1 = middle - bound / 2, middle + bound / 2
        yield Word(start, end, x0, y0, x1, y1, size)


def turned(rect: Rect, sheet: Rect, quarters: int) -> Rect:
    """A rectangle of the page's own space as it lies after quarters of a turn clockwise, from the top left, y down."""
    left, bottom, right, top = sheet
    x0, y0, x1, y1 = rect
    if quarters % 4 == 0:
        return x0 - left, top - y1, x1 - left, top - y0
    if quarters % 4 == 1:
        return y0 - bottom, x0 - left, y1 - bottom, x1 - left
    if quarters % 4 == 2:
        return right - x1, y0 - bottom, right - x0, y1 - bottom
    return top - y1, right - x1, top - y0, right - x0


def _bold(text_page: Any, text: str, words: Sequence[Word]) -> frozenset[int]:
    """The first and last words of lines that are in bold type."""
    edges: set[int] = set()
    before = 0
    for number, word in enumerate(words):
        gap = text[before : word.start]
        if gap != " " and (number == 0 or _LINE_END.search(text, before - 1, word.start)):
            edges |= {number - 1, number} if number else {number}
        before = word.end
    if words:
        edges.add(len(words) - 1)
    return frozenset(n for n in edges if _is_bold(text_page, (words[n].start + words[n].end) // 2))


def _is_bold(text_page: Any, index: int) -> bool:
    import pypdfium2.raw as pdfium

    if pdfium.FPDFText_GetFontWeight(text_page, index) >= 600:
        return True
    name = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    count = pdfium.FPDFText_GetFontInfo(text_page, index, name, 128, ctypes.byref(flags))
    return 0 < count <= 128 and _BOLD.search(name.value.decode("utf-8", "replace")) is not None


# -- what is drawn -----------------------------------------------------------------------------------------------------


def page_facts(page: Any, text_page: Any = None) -> PageFacts:
    """What is drawn on a page; hold ``PDFIUM``. Without its text page no characters are sampled."""
    count = text_page.count_chars() if text_page is not None else 0
    return _drawn(page, text_page, count, page.get_bbox(), 0)[0]


def _drawn(page: Any, text_page: Any, chars: int, sheet: Rect, turn: int) -> tuple[PageFacts, tuple[Rule, ...]]:
    import pypdfium2.raw as pdfium

    objects = images = drawn = 0
    covered = 0.0
    rules: list[Rule] = []
    for kind, item, matrix in _objects(page):
        objects += 1
        if kind == _IMAGE:
            images += 1
            covered += _area_inside(item, matrix, sheet)
        elif kind == _PATH:
            drawn += 1
            rules += [Rule(*turned(rect, sheet, turn)) for rect in _ruled(item, matrix, sheet)]
        elif kind == _SHADING:
            drawn += 1
    area = max(1.0, (sheet[2] - sheet[0]) * (sheet[3] - sheet[1]))
    sample = range(0, chars, max(1, chars // SAMPLE))[:SAMPLE]
    unmapped = sum(pdfium.FPDFText_HasUnicodeMapError(text_page, i) == 1 for i in sample)
    return PageFacts(objects, images, min(1.0, covered / area), unmapped, len(sample), drawn), tuple(rules)


Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def _objects(page: Any) -> Iterator[tuple[int, Any, Matrix]]:
    """Kinds and handles of a page's objects, and the matrix of the form they are in; forms in forms are left closed."""
    import pypdfium2.raw as pdfium

    left = OBJECT_LIMIT
    for i in range(pdfium.FPDFPage_CountObjects(page)):
        item = pdfium.FPDFPage_GetObject(page, i)
        kind = pdfium.FPDFPageObj_GetType(item)
        if kind == _TEXT:
            continue
        left -= 1
        if left < 0:
            return
        if kind != _FORM:
            yield kind, item, _IDENTITY
            continue
        matrix = _matrix(item)
        for k in range(min(left, pdfium.FPDFFormObj_CountObjects(item))):
            inner = pdfium.FPDFFormObj_GetObject(item, k)
            kind = pdfium.FPDFPageObj_GetType(inner)
            if kind != _TEXT:
                left -= 1
                yield kind, inner, matrix


def _matrix(item: Any) -> Matrix:
    import pypdfium2.raw as pdfium

    found = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(item, found):
        return _IDENTITY
    return found.a, found.b, found.c, found.d, found.e, found.f


def _moved(x: float, y: float, matrix: Matrix) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def _bounds(item: Any, matrix: Matrix) -> Rect | None:
    import pypdfium2.raw as pdfium

    edges = [ctypes.c_float() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetBounds(item, *edges):
        return None
    x0, y0, x1, y1 = (edge.value for edge in edges)
    if matrix == _IDENTITY:
        return x0, y0, x1, y1
    corners = [_moved(x, y, matrix) for x in (x0, x1) for y in (y0, y1)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _area_inside(item: Any, matrix: Matrix, sheet: Rect) -> float:
    bounds = _bounds(item, matrix)
    if bounds is None:
        return 0.0
    wide = min(bounds[2], sheet[2]) - max(bounds[0], sheet[0])
    high = min(bounds[3], sheet[3]) - max(bounds[1], sheet[1])
    return max(0.0, wide) * max(0.0, high)


def _ruled(item: Any, matrix: Matrix, sheet: Rect) -> Iterator[Rect]:
    """The level and upright lines of a path, in the page's own space."""
    import pypdfium2.raw as pdfium

    bounds = _bounds(item, matrix)
    if bounds is None:
        return
    wide, high = bounds[2] - bounds[0], bounds[3] - bounds[1]
    if wide < 5 and high < 5:
        return
    if min(wide, high) <= 3:
        yield bounds
        return
    if wide > 0.95 * (sheet[2] - sheet[0]) and high > 0.95 * (sheet[3] - sheet[1]):
        return
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not pdfium.FPDFPath_GetDrawMode(item, fill, stroke) or not stroke.value:
        return
    count = pdfium.FPDFPath_CountSegments(item)
    if count <= 200:
        yield from _straight_parts(item, matrix, count)


def _straight_parts(item: Any, matrix: Matrix, count: int) -> Iterator[Rect]:
    import pypdfium2.raw as pdfium

    own = _matrix(item)
    x, y = ctypes.c_float(), ctypes.c_float()
    first = last = (0.0, 0.0)
    for k in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(item, k)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        here = _moved(*_moved(x.value, y.value, own), matrix)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            first = here
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            yield from _if_straight(last, here)
        last = here
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield from _if_straight(here, first)
            last = first


def _if_straight(one: tuple[float, float], other: tuple[float, float]) -> Iterator[Rect]:
    wide, high = abs(one[0] - other[0]), abs(one[1] - other[1])
    if min(wide, high) < 1 and max(wide, high) >= 5:
        yield min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1])


# -- boxes -------------------------------------------------------------------------------------------------------------


def boxes(path: Path, passwords: Sequence[str], spans: Sequence[PageSpan]) -> list[list[Box]]:
    """The rectangles of each span, in points from the top left of the page as shown.

    A span whose characters are not those expected has no boxes: nothing is drawn rather than a wrong box. Raises
    ReadError when the file cannot be opened.
    """
    data = _bytes(path)
    try:
        with open_pdf(path.name, data, passwords) as (pdf, _):
            return boxes_by_span(pdf, spans)
    except Unreadable as reason:
        raise ReadError(f"{path.name} is damaged: {reason}.", "Open it in a viewer and save it anew.") from reason


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path.name} cannot be read: {error.strerror}.", "Check that it is still there.") from error


def _boxes_on_page(page: Any, text_page: Any, text: str, span: PageSpan) -> Iterator[Box]:
    if span.end - span.start != len(span.expected) or span.start < 0:
        return
    pieces = list(_pieces(span, len(text)))
    if not pieces or not _is_expected(span, pieces, text):
        return
    sheet, turn = page.get_bbox(), page.get_rotation() // 90
    rects = (
        turned(text_page.get_rect(k), sheet, turn)
        for _, source, length in pieces
        for k in range(text_page.count_rects(source, length))
    )
    # Characters that are not drawn have a place, but no extent.
    for rect in joined(r for r in rects if r[2] - r[0] > 0 and r[3] - r[1] > 0):
        yield Box(span.number, *(round(value, 2) for value in rect))


def boxes_by_span(pdf: Any, spans: Sequence[PageSpan]) -> list[list[Box]]:
    """The same of a document that is open; a page that several spans lie on is loaded once."""
    found: list[list[Box]] = [[] for _ in spans]
    wanted: dict[int, list[int]] = {}
    for place, span in enumerate(spans):
        wanted.setdefault(span.number, []).append(place)
    for number, places in wanted.items():
        if not 1 <= number <= len(pdf):
            continue
        try:
            with _text_page(pdf, number - 1) as (page, text_page):
                text = _raw_text(text_page)
                for place in places:
                    found[place] = list(_boxes_on_page(page, text_page, text, spans[place]))
        except Unreadable:
            continue
    return found


def _pieces(span: PageSpan, count: int) -> Iterator[tuple[int, int, int]]:
    """The runs that lie in a span, cut to it: (offset, index, length)."""
    for offset, source, length in span.runs if span.runs is not None else ((0, 0, count),):
        start, end = max(span.start, offset), min(span.end, offset + length)
        if start < end:
            yield start, source + start - offset, end - start


def _is_expected(span: PageSpan, pieces: Sequence[tuple[int, int, int]], text: str) -> bool:
    """Whether the characters of a span are the file's where they come from it, and white space where they do not."""
    at = span.start
    for offset, source, length in pieces:
        if source + length > len(text) or span.expected[at - span.start : offset - span.start].strip():
            return False
        for k in range(length):
            if not stands_for(span.expected[offset - span.start + k], text[source + k]):
                return False
        at = offset + length
    return not span.expected[at - span.start :].strip()


# -- words as they are shown -------------------------------------------------------------------------------------------


def shown_words(pdf: Any, number: int, text: str, runs: tuple[tuple[int, int, int], ...] | None) -> list[PlacedWord]:
    """The words of a page's ``text``, each part that stands on a line by itself, with offsets relative to the page.

    ``runs`` are the page's. Places are points from the top left of the page as shown; a word whose characters are not
    the file's is left out. ``pdf`` is open, and ``PDFIUM`` held. Raises Unreadable when the page cannot be loaded.
    """
    if not 1 <= number <= len(pdf):
        return []
    with _text_page(pdf, number - 1) as (page, text_page):
        raw = _raw_text(text_page)
        spots: dict[tuple[int, int], int] = {}
        ends: dict[tuple[int, int], int] = {}
        for start, end, first, last in word_spots(text, raw, runs if runs is not None else ((0, 0, len(raw)),)):
            for left, right in _on_lines(text_page, first, last) if end - start == last - first else [(first, last)]:
                spots[left, right] = start + left - first
                ends[left, right] = end - (last - right)
        words = _words(text_page, list(spots), page.get_bbox(), page.get_rotation() // 90)
        return [
            (
                spots[w.start, w.end],
                ends[w.start, w.end],
                round(w.x0, 2),
                round(w.y0, 2),
                round(w.x1, 2),
                round(w.y1, 2),
            )
            for w in words
            if w.x1 > w.x0 and w.y1 > w.y0
        ]


def word_spots(text: str, raw: str, runs: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """``(start, end, first, last)``: words of the text, or their halves, and the raw characters that they came from."""
    at = 0
    for match in _SHOWN_WORD.finditer(text):
        while at < len(runs) and runs[at][0] + runs[at][2] <= match.start():
            at += 1
        held: tuple[int, int, int, int] | None = None
        for offset, source, length in runs[at:]:
            if offset >= match.end():
                break
            start, end = max(offset, match.start()), min(offset + length, match.end())
            first, last = source + start - offset, source + end - offset
            if last > len(raw) or not all(map(stands_for, text[start:end], raw[first:last])):
                continue
            # A ligature is one character of the file and several of the text.
            if held is not None and start == held[1] and first in (held[3] - 1, held[3]):
                held = held[0], end, held[2], last
                continue
            if held is not None:
                yield held
            held = start, end, first, last
        if held is not None:
            yield held


def _on_lines(text_page: Any, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The raw characters of a word, cut where the next one does not stand beside the one before."""
    if last - first < 2 or text_page.count_rects(first, last - first) < 2:
        yield first, last
        return
    before: Rect | None = None
    for index in range(first, last):
        here = text_page.get_charbox(index, loose=True)
        if before is not None:
            high = min(here[3] - here[1], before[3] - before[1])
            wide = min(here[2] - here[0], before[2] - before[0])
            beside = min(here[3], before[3]) - max(here[1], before[1]) > high / 2
            below = min(here[2], before[2]) - max(here[0], before[0]) > wide / 2
            if not (beside or below):
                yield first, index
                first = index
        before = here
    yield first, last


# -- pictures ----------------------------------------------------------------------------------------------------------


def render_gray(path: Path, passwords: Sequence[str], numbers: Sequence[int], dpi: float = 300) -> Iterator[Picture]:
    """Pages as pictures, one at a time, with their annotations, on white; those that cannot be drawn are left out.

    Very large pages are drawn with fewer dots. Other threads may use pdfium between two pages. Raises ReadError when
    the file cannot be opened.
    """
    data = _bytes(path)
    with PDFIUM:
        try:
            pdf, _ = opened(path.name, data, passwords)
        except Unreadable as reason:
            raise ReadError(f"{path.name} is damaged: {reason}.", "Open it in a viewer and save it anew.") from reason
    try:
        for number in numbers:
            with PDFIUM:
                picture = _picture(pdf, number, dpi)
            if picture is not None:
                yield picture
    finally:
        with PDFIUM:
            pdf.close()


def _picture(pdf: Any, number: int, dpi: float) -> Picture | None:
    import pypdfium2

    if not 1 <= number <= len(pdf):
        return None
    try:
        page = pdf[number - 1]
    except pypdfium2.PdfiumError:
        return None
    try:
        width, height = page.get_size()
        scale = min(dpi / 72, math.sqrt(MAX_PIXELS / max(1.0, width * height)))
        bitmap = page.render(scale=scale, grayscale=True, may_draw_forms=True, fill_color=(255, 255, 255, 255))
        try:
            # A row of a bitmap may be longer than its pixels.
            rows = bitmap.to_numpy().reshape(bitmap.height, bitmap.width, -1)[:, :, 0]
            return Picture(number, bitmap.width, bitmap.height, rows.tobytes(), width, height)
        finally:
            bitmap.close()
    except (pypdfium2.PdfiumError, ValueError):
        return None
    finally:
        page.close()
