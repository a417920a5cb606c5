"""PDFs: pdfium for the text and the place of every character, pypdf for what it knows better, and as the second reader.

The text of a page is pdfium's own, changed only character for character (line ends, control characters), so the n-th
character of a page's text is pdfium's n-th character and boxes can be asked for later from the file alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.headings import Line, from_outline, from_sizes, title_of
from ragapp.text import SOFT_HYPHEN
from ragapp.types import Box, Document, Page

MEDIA_TYPE = "application/pdf"
PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
OUTLINE_LIMIT = 5000
PDFIUM = threading.RLock()  # pdfium is not thread-safe, not even with two documents: hold this for every use of it

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\uffff]")
_CLEAN = {0xFFFE: SOFT_HYPHEN, 0x02: SOFT_HYPHEN, 0x0D: " "}


@dataclass(frozen=True, slots=True)
class _Outline:
    """What stands beside the text: metadata, page labels, and outline entries as (level, title, page from 0)."""

    metadata: dict[str, str]
    labels: dict[int, str]
    entries: list[tuple[int, str, int]]


class PdfReader:
    """Reads PDFs. ``on_page(done, total)`` is called after every page."""

    def __init__(self, on_page: Callable[[int, int], None] = lambda done, total: None) -> None:
        self._on_page = on_page

    def read(self, path: Path, password: str | None = None) -> Document:
        """The document in a file. Raises ReadError for anything that is not a readable PDF."""
        return self.read_any(path, [password] if password else [])

    def read_any(self, path: Path, passwords: Sequence[str]) -> Document:
        """The document in a file that opens without a password or with one of these."""
        # A name that is not valid UTF-8 on disk must still be printable and storable.
        name = path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ReadError(f"{name} cannot be read: {error.strerror}.") from error
        _check_kind(name, data)
        try:
            texts, lines, opened_with = self._read_pdfium(name, data, passwords)
            reader = "pdfium"
        except _Unreadable as reason:
            texts, opened_with = self._read_pypdf(name, data, passwords, str(reason))
            lines, reader = [], "pypdf"
        outline = _outline(data, opened_with)
        pages = []
        start = 0
        for number, text in enumerate(texts, 1):
            pages.append(Page(number, start, start + len(text), outline.labels.get(number - 1, "")))
            start += len(text)
        whole = "".join(texts)
        headings = from_outline(outline.entries, whole, pages) or from_sizes(lines, whole)
        return Document(
            id=hashlib.sha256(data).hexdigest(),
            uri=Path(os.path.realpath(path)).as_uri(),
            title=title_of(outline.metadata.get("title", ""), lines, whole, pages, name),
            media_type=MEDIA_TYPE,
            text=whole,
            pages=tuple(pages),
            headings=headings,
            metadata={**outline.metadata, "reader": reader},
        )

    def _read_pdfium(
        self, name: str, data: bytes, passwords: Sequence[str]
    ) -> tuple[list[str], list[Line], str | None]:
        with _open(name, data, passwords) as (pdf, opened_with):
            total = len(pdf)
            if total == 0:
                raise _Unreadable("it has no pages")
            texts: list[str] = []
            lines: list[Line] = []
            offset = 0
            for index in range(total):
                text, page_lines = _page_text(pdf, index)
                texts.append(text)
                lines += [Line(line.start + offset, line.end + offset, line.size, index) for line in page_lines]
                offset += len(text)
                self._on_page(index + 1, total)
            return texts, lines, opened_with

    def _read_pypdf(
        self, name: str, data: bytes, passwords: Sequence[str], reason: str
    ) -> tuple[list[str], str | None]:
        import io

        import pypdf

        try:
            reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
            opened_with = None
            if reader.is_encrypted:
                opened_with = next((p for p in ["", *passwords] if reader.decrypt(p)), None)
            total = len(reader.pages)
            texts = []
            for index, page in enumerate(reader.pages):
                texts.append(f"{_clean(page.extract_text())}\n")
                self._on_page(index + 1, total)
        except MemoryError:
            raise
        except Exception as error:
            raise ReadError(
                f"{name} is damaged: {reason}.", "Open it in a viewer and save it anew; then ingest it again."
            ) from error
        if not texts:
            raise ReadError(f"{name} is damaged: {reason}.", "Open it in a viewer and save it anew.")
        return texts, opened_with


class _Unreadable(Exception):
    """pdfium cannot read the file; the message is the reason."""


def boxes(data_path: Path, passwords: Sequence[str], spans: Sequence[tuple[int, int, int, str]]) -> list[Box]:
    """The rectangles of spans ``(page from 1, start and end in the page's text, expected text)``.

    A span whose characters are not those expected has no boxes: nothing is drawn rather than a wrong box. Raises
    ReadError when the file cannot be opened.
    """
    found: list[Box] = []
    try:
        data = data_path.read_bytes()
    except OSError as error:
        raise ReadError(f"{data_path.name} cannot be read: {error.strerror}.") from error
    try:
        with _open(data_path.name, data, passwords) as (pdf, _):
            for number, start, end, expected in spans:
                found += _boxes_of_span(pdf, number, start, end, expected)
    except _Unreadable as reason:
        raise ReadError(f"{data_path.name} is damaged: {reason}.") from reason
    return found


def _boxes_of_span(pdf: Any, number: int, start: int, end: int, expected: str) -> Iterator[Box]:
    import pypdfium2

    if not 1 <= number <= len(pdf):
        return
    page = pdf[number - 1]
    try:
        text_page = page.get_textpage()
        try:
            text = _clean(text_page.get_text_range())
            # pdfium counts UTF-16 units in places; where the two counts differ no index can be trusted.
            if len(text) != text_page.count_chars() or text[start:end] != expected:
                return
            left, bottom, right, top = page.get_bbox()
            rects = (text_page.get_rect(k) for k in range(text_page.count_rects(start, end - start)))
            for x0, y0, x1, y1 in _joined(rects):
                if page.get_rotation() == 0:
                    yield Box(number, round(x0 - left, 2), round(top - y1, 2), round(x1 - left, 2), round(top - y0, 2))
                else:
                    yield _rotated_box(number, page.get_rotation(), (left, bottom, right, top), (x0, y0, x1, y1))
        finally:
            text_page.close()
    except pypdfium2.PdfiumError:
        return
    finally:
        page.close()


def _joined(rects: Iterable[tuple[float, float, float, float]]) -> Iterator[tuple[float, float, float, float]]:
    """Rectangles of words that follow each other on a line as one: some PDFs are set word by word."""
    held: tuple[float, float, float, float] | None = None
    for x0, y0, x1, y1 in rects:
        if held is None:
            held = x0, y0, x1, y1
            continue
        height = min(y1 - y0, held[3] - held[1])
        on_line = min(y1, held[3]) - max(y0, held[1]) > height / 2
        if on_line and -height < x0 - held[2] < height:
            held = held[0], min(y0, held[1]), max(x1, held[2]), max(y1, held[3])
        else:
            yield held
            held = x0, y0, x1, y1
    if held is not None:
        yield held


def _rotated_box(
    number: int, rotation: int, sheet: tuple[float, float, float, float], rect: tuple[float, float, float, float]
) -> Box:
    """A rectangle in the page's own space as it lies on the page as shown, turned clockwise by ``rotation`` degrees."""
    left, bottom, right, top = sheet
    x0, y0, x1, y1 = rect
    if rotation == 90:
        shown = (y0 - bottom, x0 - left, y1 - bottom, x1 - left)
    elif rotation == 180:
        shown = (right - x1, y0 - bottom, right - x0, y1 - bottom)
    else:
        shown = (top - y1, right - x1, top - y0, right - x0)
    return Box(number, *(round(value, 2) for value in shown))


@contextmanager
def _open(name: str, data: bytes, passwords: Sequence[str]) -> Iterator[tuple[Any, str | None]]:
    """pdfium's document and the password that opened it, for one thread at a time.

    Raises ReadError when a password is missing or wrong.
    """
    with PDFIUM:
        yield from _opened(name, data, passwords)


def _opened(name: str, data: bytes, passwords: Sequence[str]) -> Iterator[tuple[Any, str | None]]:
    import pypdfium2

    for password in (None, *passwords):
        try:
            pdf = pypdfium2.PdfDocument(data, password=password)
            break
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) != PASSWORD_ERROR:
                raise _Unreadable("its structure cannot be read") from error
    else:
        if passwords:
            raise ReadError(
                f"{name} is encrypted and none of the passwords given opens it.", "Check the password file."
            )
        raise ReadError(
            f"{name} is encrypted and needs a password.", "Write it on a line of a file and give --password-file FILE."
        )
    try:
        yield pdf, password
    finally:
        pdf.close()


def _page_text(pdf: Any, index: int) -> tuple[str, list[Line]]:
    """The text of a page with a line end at its end, and its lines with their type size."""
    import pypdfium2

    try:
        page = pdf[index]
    except pypdfium2.PdfiumError:
        return "\n", []
    try:
        text_page = page.get_textpage()
        try:
            text = _clean(text_page.get_text_range())
            lines = _lines(text_page, text) if len(text) == text_page.count_chars() else []
            return f"{text}\n", lines
        finally:
            text_page.close()
    except pypdfium2.PdfiumError:
        return "\n", []
    finally:
        page.close()


def _lines(text_page: Any, text: str) -> list[Line]:
    """Lines of a page with the height of their type in points, taken from characters in their middle."""
    import pypdfium2.raw as pdfium

    rect = pdfium.FS_RECTF()
    lines = []
    for match in re.finditer(r"[^\n]*\S[^\n]*", text):
        middle = (match.start() + match.end()) // 2
        seen = (i for i in (*range(middle, match.end()), *range(match.start(), middle)) if text[i].isalnum())
        # The width keeps fonts that claim enormous heights in bounds; of five letters one is not as narrow as "l".
        size = max(
            (
                min(abs(rect.top - rect.bottom), abs(rect.right - rect.left) * 4)
                for i in islice(seen, 5)
                if pdfium.FPDFText_GetLooseCharBox(text_page, i, ctypes.byref(rect))
            ),
            default=0.0,
        )
        if size:
            lines.append(Line(match.start(), match.end(), round(size * 2) / 2, 0))
    return lines


def _clean(text: str) -> str:
    """Character for character: line ends as one, soft hyphens marked, nothing that could not be stored or shown."""
    return _CONTROL.sub(" ", text.replace("\r\n", " \n").translate(_CLEAN))


def _check_kind(name: str, data: bytes) -> None:
    if not data:
        raise ReadError(f"{name} is empty (0 bytes).", "Fetch it again from where it came.")
    # Readers accept stray bytes before the header, as many real files have them.
    if b"%PDF-" in data[: 1 << 16]:
        return
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")):
        raise ReadError(f"{name} is a web page, not a PDF.", "It may be an error page saved under that name.")
    raise ReadError(f"{name} is not a PDF.", "Fetch it again from where it came.")


def _outline(data: bytes, password: str | None) -> _Outline:
    """Metadata, page labels and outline by pypdf; nothing of them where pypdf cannot read the file."""
    import io

    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    found = _Outline({}, {}, [])
    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted:
            reader.decrypt(password or "")
        for key, value in (reader.metadata or {}).items():
            text = _CONTROL.sub(" ", str(value)).strip()
            if text:
                found.metadata[str(key).lstrip("/").lower()] = text[:500]
        root = reader.root_object
        if "/PageLabels" in root:
            labels = reader.page_labels
            found.labels.update({i: label for i, label in enumerate(labels) if label != str(i + 1)})
        if "/Outlines" in root:
            pages = {page.indirect_reference.idnum: i for i, page in enumerate(reader.pages) if page.indirect_reference}
            _walk(reader, reader.outline, 1, pages, found.entries)
    except Exception:  # noqa: BLE001  extras of a file that pdfium has read already: pypdf's many errors must not lose it
        return found
    return found


def _walk(reader: Any, items: Any, level: int, pages: dict[int, int], found: list[tuple[int, str, int]]) -> None:
    for item in items:
        if len(found) >= OUTLINE_LIMIT:
            return
        if isinstance(item, list):
            _walk(reader, item, level + 1, pages, found)
            continue
        reference = getattr(item, "page", None)
        index = pages.get(getattr(reference, "idnum", -1))
        title = _CONTROL.sub(" ", str(item.title or "")).strip()
        if index is not None and title:
            found.append((level, title[:200], index))
