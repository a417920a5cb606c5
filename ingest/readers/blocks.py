"""What a document is made of before it has offsets: headings, paragraphs, tables, page borders; and how it gets them.

Every reader of office, web and text files ends here, so text, pages, headings and tables keep the same laws: the pages
partition the text, each ends with one line end that is ours, and every span lies inside its page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits
from ragapp.types import Heading, Page, Table

PAGE_CHARS = 3000  # where a format has no pages, a citation shall still lead to a screenful of text
MAX_TITLE_CHARS = 200
MAX_HEADS = 4  # rows that heads with merged cells may take
MAX_COLUMNS = 16_384  # as many as a sheet of Excel may have; a table that claims more is cut there

# Control characters, halves of surrogate pairs and non-characters can be neither stored nor shown.
_UNSTORABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff\ufeff]")
_NUMBER = re.compile(r"^[-+(]?[$€£¥]?\s?\d[\d.,:/%\s\-]*\)?[%€]?$")


@dataclass(frozen=True, slots=True)
class Title:
    """A heading; ``level`` 1 is the outermost."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Para:
    """A paragraph; ``tight`` ones (list items, lines of an address) follow each other without an empty line."""

    text: str
    tight: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as rows of cells, all of one width or shorter. The first ``heads`` rows head the columns."""

    rows: tuple[tuple[str, ...], ...]
    heads: int = 0
    title: str = ""
    columns: tuple[str, ...] = ()  # where the heads stand elsewhere, as on the second page of a long sheet


@dataclass(frozen=True, slots=True)
class NewPage:
    """What follows stands on a new page; one before anything else only gives the first page its label."""

    label: str = ""


Block = Title | Para | Grid | NewPage
Wides = Sequence[tuple[int, int]]
"""The cells of a row that were merged over columns, each as its column from 0 and its width."""


@dataclass(frozen=True, slots=True)
class Content:
    """A document's text with everything that has offsets into it."""

    text: str
    pages: tuple[Page, ...]
    headings: tuple[Heading, ...]
    tables: tuple[Table, ...]


def storable(text: str) -> str:
    """The text with line ends as one and without characters that cannot be stored or shown."""
    return _UNSTORABLE.sub(
        "", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n").replace("\x0c", "\n")
    )


def one_line(text: str) -> str:
    """The text on one line: what a cell of a table and a heading may hold."""
    return " ".join(storable(text).split())


def headed(rows: Sequence[Sequence[str]], wides: Sequence[Wides], marked: int = 0, title: str = "") -> Grid:
    """A table whose first ``marked`` rows are heads, or as many as look like it; ``wides`` are merged cells by row."""
    heads = marked if 0 < marked < len(rows) else guess_heads(rows, wides)
    width = min(MAX_COLUMNS, max(map(len, rows), default=0))
    return Grid(tuple(map(tuple, rows)), heads, title, _names(rows[:heads], wides, width) if heads else ())


def guess_heads(rows: Sequence[Sequence[str]], wides: Sequence[Wides] = ()) -> int:
    """How many rows look like the heads of columns: those with merged cells, and one more that names the columns.

    A row names the columns when it leaves none empty, holds no number, and all names, with what stands above, differ.
    """
    over = 0
    while over < min(MAX_HEADS, len(rows) - 1, len(wides)) and wides[over]:
        over += 1
    if len(rows) < over + 2 or len(rows[over]) < 2:
        return over
    cells = [cell.strip() for cell in rows[over]]
    # The corner above a column of names is often empty.
    named = cells[1:] if not cells[0] else cells
    names = _names(rows[: over + 1], wides, len(cells))
    is_head = all(named) and len(set(names)) == len(names) and not any(is_number(cell) for cell in named)
    return over + is_head


def _names(heads: Sequence[Sequence[str]], wides: Sequence[Wides], width: int) -> tuple[str, ...]:
    padded = [[*row, *[""] * (width - len(row))] for row in heads]
    return column_names(
        [spread(row, wide) for row, wide in zip_longest(padded, wides[: len(heads)], fillvalue=())], width
    )


def is_number(cell: str) -> bool:
    """Whether a cell holds a figure rather than words; a bare year may head a column and is none."""
    stripped = cell.strip()
    return bool(_NUMBER.match(stripped)) and not re.fullmatch(r"(?:19|20)\d\d", stripped)


def spread(row: Sequence[str], wides: Wides) -> list[str]:
    """A row of heads with every merged cell in each of its columns; one over all of them heads the table, not them."""
    full = list(row)
    for column, width in wides:
        for n in range(column, min(column + width, len(full)) if width < len(full) else 0):
            full[n] = row[column]
    return full


def column_names(heads: Sequence[Sequence[str]], width: int) -> tuple[str, ...]:
    """The names of the columns, outer heads first; a head that was merged over several columns is in each of them."""
    names = []
    for column in range(width):
        parts: list[str] = []
        for row in heads:
            part = row[column] if column < len(row) else ""
            if part and part not in parts:
                parts.append(part)
        names.append(" ".join(parts))
    return tuple(names)


def build(blocks: Iterable[Block], limits: Limits, name: str, *, flow: bool = False) -> Content:
    """Text, pages, headings and tables of the blocks. ``flow`` cuts long pages at paragraphs (see ``PAGE_CHARS``).

    Raises ReadError when there are more pages or characters than the limits allow.
    """
    writer = _Writer(limits, name)
    for block in blocks:
        writer.take(block)
    text, pages = writer.closed()
    if flow:
        pages = [part for page in pages for part in _flowed(page, text)]
    if len(pages) > limits.pages:
        raise _too_long(name, f"{limits.pages:,} pages")
    pages = [_judged(page, n, text) for n, page in enumerate(pages, 1)]
    tables = _on_pages(writer.tables, pages)
    return Content(text, tuple(pages), tuple(writer.headings), tuple(tables))


def _judged(page: Page, number: int, text: str) -> Page:
    has_text = any(not char.isspace() for char in text[page.start : page.end])
    return Page(number, page.start, page.end, page.label, quality="good" if has_text else "empty")


def _too_long(name: str, what: str) -> ReadError:
    return ReadError(f"{name} holds more than {what}.", "Split it, or raise the limits of [ingest].")


class _Writer:
    """Puts blocks one after the other and remembers where each began."""

    def __init__(self, limits: Limits, name: str) -> None:
        self._limits, self._name = limits, name
        self._parts: list[str] = []
        self._at = 0
        self._page_start = 0
        self._label = ""
        self._after: Block | None = None  # the last block on this page
        self.pages: list[Page] = []
        self.headings: list[Heading] = []
        self.tables: list[Table] = []

    def take(self, block: Block) -> None:
        if isinstance(block, NewPage):
            self._turn(block)
        elif isinstance(block, Grid):
            self._table(block)
        else:
            # The ends of lines carry nothing; the beginnings may (a program, a poem).
            text = "\n".join(line.rstrip() for line in storable(block.text).strip("\n").split("\n")).rstrip()
            if text.strip():
                self._gap(block)
                if isinstance(block, Title):
                    text = one_line(text)
                    self.headings.append(Heading(max(1, block.level), text[:MAX_TITLE_CHARS], self._at))
                self._write(text)

    def closed(self) -> tuple[str, list[Page]]:
        self._close_page()
        return "".join(self._parts), self.pages

    def _turn(self, block: NewPage) -> None:
        if self._after is not None or self._label or self.pages:
            self._close_page()
        self._label = one_line(block.label)

    def _close_page(self) -> None:
        self._write("\n")
        self.pages.append(Page(len(self.pages) + 1, self._page_start, self._at, self._label))
        self._page_start, self._label, self._after = self._at, "", None
        if len(self.pages) > self._limits.pages:
            raise _too_long(self._name, f"{self._limits.pages:,} pages")

    def _gap(self, block: Block) -> None:
        """What sets a block apart from the one before: list items follow each other line by line."""
        last, self._after = self._after, block
        if last is not None:
            together = isinstance(last, Para) and last.tight and isinstance(block, Para) and block.tight
            self._write("\n" if together else "\n\n")

    def _table(self, grid: Grid) -> None:
        lines = [(i, "\t".join(one_line(cell) for cell in row[:MAX_COLUMNS]).rstrip("\t"))
                 for i, row in enumerate(grid.rows)]  # fmt: skip
        lines = [(i, line) for i, line in lines if line.strip()]
        if not lines:
            return
        if grid.title.strip():
            self.take(Para(one_line(grid.title)))
        self._gap(grid)
        start, spans = self._at, []
        for n, (i, line) in enumerate(lines):
            if n:
                self._write("\n")
            if i >= grid.heads:
                spans.append((self._at, self._at + len(line)))
            self._write(line)
        width = min(MAX_COLUMNS, max(len(row) for row in grid.rows))
        heads = [[one_line(cell) for cell in row] for row in grid.rows[: grid.heads]]
        columns = grid.columns or (column_names(heads, width) if heads else ())
        # The page is known when all pages are.
        self.tables.append(Table(0, start, self._at, one_line(grid.title), columns, tuple(spans)))

    def _write(self, text: str) -> None:
        self._parts.append(text)
        self._at += len(text)
        if self._at > self._limits.chars:
            raise _too_long(self._name, f"{self._limits.chars:,} characters")


def _flowed(page: Page, text: str) -> Iterator[Page]:
    """A long page as several of about PAGE_CHARS, cut behind a line end, best behind an empty line."""
    start = page.start
    while page.end - start > PAGE_CHARS * 3 // 2:
        empty = text.rfind("\n\n", start + PAGE_CHARS // 2, start + PAGE_CHARS)
        cut = empty + 2 if empty >= 0 else text.rfind("\n", start + PAGE_CHARS // 2, start + PAGE_CHARS) + 1
        if not cut:
            # A line that is longer than a page stays whole; readers of plain text have wrapped theirs.
            cut = text.find("\n", start + PAGE_CHARS, page.end) + 1
        if cut >= page.end - 1:  # what is left is the line end that closes the page
            break
        yield Page(0, start, cut, page.label)
        start = cut
    yield Page(0, start, page.end, page.label)


def wrapped(line: str, width: int = PAGE_CHARS) -> Iterator[str]:
    """A line without end as lines that a page can hold, broken at a space or a full stop where there is one."""
    start = 0
    while len(line) - start > width:
        cut = max(line.rfind(mark, start + width // 2, start + width) for mark in " 。！？")
        cut = start + width if cut < 0 else cut + 1
        if unicodedata.combining(line[cut]):
            cut -= 1
        yield line[start:cut].rstrip()
        start = cut
    yield line[start:]


def _on_pages(tables: Sequence[Table], pages: Sequence[Page]) -> Iterator[Table]:
    """The tables with their pages; one that a cut between pages falls into becomes a table on each of them."""
    place = 0
    for table in tables:
        while pages[place].end <= table.start:
            place += 1
        last = place
        while pages[last].end < table.end:
            last += 1
        edges = [table.start, *(page.end for page in pages[place:last]), table.end]
        for page, (start, end) in zip(pages[place : last + 1], pairwise(edges), strict=True):
            rows = tuple((max(a, start), min(b, end)) for a, b in table.rows if start <= a < end)
            if rows or page.number == pages[place].number:
                # A page ends behind a line end, which is no part of the table.
                yield Table(page.number, start, rows[-1][1] if rows else end, table.title, table.columns, rows)
