"""PDFs become documents: text in reading order with the way back to the file, headings, tables, and what each page is.

pdfium reads (``pdfium.py``); pypdf is the second reader (``second.py``) for files and pages that pdfium cannot load.
Pages are looked at twice: first each for itself, then all together, as only the whole document shows which lines run
through it and which words it knows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.headings import Line, from_outline, from_type, title_of
from ragapp.ingest.layout import Block, Span, Strip, strips
from ragapp.ingest.limits import Limits
from ragapp.ingest.quality import quality_of
from ragapp.ingest.readers import named_bytes
from ragapp.ingest.readers.pdfium import PDFIUM, Beside, Raw, Unreadable, beside, boxes, open_pdf, raw_page
from ragapp.ingest.readers.second import Rescue, check_chars, check_pages, read_all
from ragapp.ingest.running import page_number, running_lines, words_of
from ragapp.ingest.tables import FoundTable, continued, find_tables
from ragapp.ingest.weave import Woven, vocabulary, weave
from ragapp.text import collapse
from ragapp.types import Document, Page, PageQuality, Table

__all__ = ["MEDIA_TYPE", "PDFIUM", "PdfReader", "boxes"]

MEDIA_TYPE = "application/pdf"
RUNNING_CHARS = 200
LISTED = 50  # pages that the metadata name one by one
TICK = 500  # pages put together between two signs of life


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A page looked at by itself. ``tables`` are as found; a line's ``table`` is its place in them.

    ``rescued`` is the second reader's text of a page that pdfium could not load.
    """

    text: str = ""
    height: float = 0.0
    quality: PageQuality = "good"
    strips: tuple[Strip, ...] = ()
    tables: tuple[FoundTable, ...] = ()
    rescued: str | None = None


@dataclass(slots=True)
class _Built:
    """A document on its way."""

    texts: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    length: int = 0
    running: str = ""

    def add(self, text: str, label: str, quality: PageQuality, runs: tuple[tuple[int, int, int], ...] | None) -> None:
        """Add a page; the line end that closes it is ours."""
        start, self.length = self.length, self.length + len(text) + 1
        self.texts.append(f"{text}\n")
        self.pages.append(Page(len(self.pages) + 1, start, self.length, label, quality, runs=runs))


class PdfReader:
    """Reads PDFs. ``on_page(done, total)`` is called after every page."""

    def __init__(
        self, on_page: Callable[[int, int], None] = lambda done, total: None, limits: Limits | None = None
    ) -> None:
        self._on_page = on_page
        self._limits = limits or Limits()

    def read(self, path: Path, password: str | None = None) -> Document:
        """The document in a file. Raises ReadError for anything that is not a readable PDF."""
        return self.read_any(path, [password] if password else [])

    def read_any(self, path: Path, passwords: Sequence[str]) -> Document:
        """The document in a file that opens without a password or with one of these."""
        name, data = named_bytes(path)
        check_kind(name, data)
        found = Beside()
        try:
            sheets, found = self._read_pdfium(name, data, passwords)
            built = self._built(sheets, found.labels)
            metadata = {**found.metadata, "reader": "pdfium", **_remarks(sheets, built)}
        except Unreadable as reason:
            built = _Built()
            texts, metadata = read_all(
                name, data, passwords, reason=str(reason), limits=self._limits, on_page=self._on_page
            )
            for text in texts:
                built.add(text, "", "good", ())
            metadata["reader"] = "pypdf"
        whole = "".join(built.texts)
        headings = from_outline(found.entries, whole, built.pages) or from_type(built.lines, whole)
        return Document(
            id=hashlib.sha256(data).hexdigest(),
            uri=Path(os.path.realpath(path)).as_uri(),
            title=title_of(metadata.get("title", ""), built.lines, whole, built.pages, name),
            media_type=MEDIA_TYPE,
            text=whole,
            pages=tuple(built.pages),
            headings=headings,
            metadata=metadata,
            tables=tuple(built.tables),
        )

    def _read_pdfium(self, name: str, data: bytes, passwords: Sequence[str]) -> tuple[list[_Sheet], Beside]:
        with open_pdf(name, data, passwords) as (pdf, opened_with):
            total = len(pdf)
            if total == 0:
                raise Unreadable("it has no pages")
            check_pages(name, total, self._limits)
            rescue = Rescue(data, opened_with, total)
            sheets: list[_Sheet] = []
            chars = 0
            last: FoundTable | None = None
            for index in range(total):
                sheets.append(_sheet(pdf, index, rescue, last))
                chars += len(sheets[-1].text)
                check_chars(name, chars, self._limits)
                last = sheets[-1].tables[-1] if sheets[-1].tables else None
                self._on_page(index + 1, total)
            return sheets, beside(pdf)

    def _built(self, sheets: Sequence[_Sheet], labels: dict[int, str]) -> _Built:
        running = running_lines([(sheet.strips, sheet.text, sheet.height) for sheet in sheets])
        known = vocabulary(sheet.text for sheet in sheets)
        built = _Built()
        for index, (sheet, left_out) in enumerate(zip(sheets, running, strict=True)):
            label = labels.get(index, "")
            if sheet.rescued is not None:
                built.add(sheet.rescued, label, sheet.quality, ())
                continue
            woven = weave(sheet.text, sheet.strips, left_out, known)
            built.lines += _lines(sheet, woven, index, built.length)
            built.tables += _tables(sheet, woven, index + 1, built.length)
            built.add(woven.text, label, sheet.quality, woven.runs)
            if index % TICK == TICK - 1:
                self._on_page(len(sheets), len(sheets))
        built.running = _first_running(sheets, running)
        return built


def _sheet(pdf: Any, index: int, rescue: Rescue, last: FoundTable | None) -> _Sheet:
    """A page looked at by itself; ``last`` is the table that the page before it ended with."""
    try:
        raw = raw_page(pdf, index)
    except Unreadable:
        text = rescue.text(index)
        return _Sheet(quality="good" if text and text.strip() else "garbled", rescued=text or "")
    found = _found_tables(raw, last)
    blocks = _blocks(found)
    return _Sheet(
        raw.text,
        raw.height,
        quality_of(raw.text, raw.facts),
        tuple(strips(raw.text, raw.words, raw.bold, blocks)),
        tuple(found),
    )


def _found_tables(raw: Raw, last: FoundTable | None) -> list[FoundTable]:
    """The page's tables, the first with the heads of the last page's table where it goes on with that one."""
    found = find_tables(raw.words, raw.text, raw.rules)
    if found and last is not None:
        found[0] = continued(last, found[0])
    return found


def _blocks(tables: Sequence[FoundTable]) -> list[Block]:
    """Tables as the layout takes them; no word stands in two."""
    taken = {word for table in tables for row in (*table.head, *table.rows) for cell in row for word in cell}
    blocks = []
    for table in tables:
        title = tuple(word for word in table.title_words if word not in taken)
        taken.update(title)
        blocks.append(Block(table.x0, table.y0, table.x1, table.y1, title, table.head, table.rows))
    return blocks


def _lines(sheet: _Sheet, woven: Woven, page: int, base: int) -> Iterator[Line]:
    """The lines that may be headings; ``base`` is where the page starts in the document."""
    for paragraph in _paragraphs(sheet.strips, woven.places):
        alike = len({(sheet.strips[n].size, sheet.strips[n].bold) for n in paragraph}) == 1
        for n in paragraph:
            strip, (start, end) = sheet.strips[n], woven.places[n]
            if strip.table < 0 and start < end:
                yield Line(base + start, base + end, strip.size, page, strip.bold, alike and len(paragraph) <= 3)


def _paragraphs(lines: Sequence[Strip], places: dict[int, Span]) -> Iterator[list[int]]:
    held: list[int] = []
    for n in places:
        if held and lines[n].apart:
            yield held
            held = []
        held.append(n)
    if held:
        yield held


def _tables(sheet: _Sheet, woven: Woven, page: int, base: int) -> Iterator[Table]:
    for number, table in enumerate(sheet.tables):
        spans = [woven.places[n] for n in woven.places if sheet.strips[n].table == number]
        body = spans[len(spans) - len(table.rows) :]
        titles = spans[: len(spans) - len(table.rows) - len(table.head)]
        if not body:
            continue
        title = collapse(woven.text[titles[0][0] : titles[-1][1]]) if titles else ""
        rows = tuple((base + start, base + end) for start, end in body if start < end)
        yield Table(page, base + spans[0][0], base + spans[-1][1], title, table.columns, rows)


def _first_running(sheets: Sequence[_Sheet], running: Sequence[frozenset[int]]) -> str:
    """The first line with words that runs through the document; it often names who wrote it."""
    for sheet, left_out in zip(sheets, running, strict=True):
        for n in sorted(left_out):
            words = words_of(sheet.strips[n], sheet.text)
            if page_number(words) is None:
                return collapse(words)[:RUNNING_CHARS]
    return ""


def _remarks(sheets: Sequence[_Sheet], built: _Built) -> dict[str, str]:
    remarks = {"running": built.running} if built.running else {}
    unread = [str(n) for n, sheet in enumerate(sheets, 1) if sheet.rescued is not None and sheet.quality != "good"]
    more = f" and {len(unread) - LISTED:,} more" if len(unread) > LISTED else ""
    return {**remarks, "pages_unreadable": ", ".join(unread[:LISTED]) + more} if unread else remarks


def check_kind(name: str, data: bytes) -> None:
    """Raise ReadError for what is plainly no PDF, by its first bytes."""
    if not data:
        raise ReadError(f"{name} is empty (0 bytes).", "Fetch it again from where it came.")
    # Readers accept stray bytes before the header, as many real files have them.
    if b"%PDF-" in data[: 1 << 16]:
        return
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")):
        raise ReadError(f"{name} is a web page, not a PDF.", "It may be an error page saved under that name.")
    raise ReadError(f"{name} is not a PDF.", "Fetch it again from where it came.")
