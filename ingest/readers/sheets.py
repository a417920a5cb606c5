"""Spreadsheets: Excel's xlsx by openpyxl, csv and tsv by the standard library; every cell that shows something is kept.

unstructured is not asked: it cuts a sheet into guessed tables and loses cells on the way (and would bring pandas).
A sheet is a page named like it; long ones are cut by rows. Formulas show the value that was stored with them.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ragapp.errors import ReadError
from ragapp.ingest.limits import Limits
from ragapp.ingest.readers.archive import Archive
from ragapp.ingest.readers.blocks import MAX_HEADS, Block, Grid, NewPage, Para, Title, guess_heads, headed, one_line

ROWS_PER_PAGE = 500
CHARS_PER_PAGE = 60_000
MAX_CELL_LINES = 100
_UNNAMED = re.compile(r"(?:Sheet|Tabelle|Feuil\w*|Hoja|工作表|表)\s?\d*$", re.IGNORECASE)
_MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\b[^>]*?ref\s*=\s*["']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})["']""")
_DELIMITERS = ",;\t|"

Row = tuple[int, list[str]]  # its number from 1, and its cells


def read_xlsx(data: bytes, archive: Archive, limits: Limits, name: str) -> tuple[list[Block], dict[str, str]]:
    """Blocks and metadata of a workbook, a page for every sheet. Raises ReadError."""
    import warnings

    import openpyxl

    try:
        with warnings.catch_warnings():
            # openpyxl warns of every feature of Excel that it leaves out (styles, validation): none is text.
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            try:
                blocks = [block for sheet in book.worksheets for block in _sheet(sheet, archive, limits, name)]
                return blocks, _metadata(book.properties)
            finally:
                book.close()
    except (MemoryError, RecursionError, ReadError):
        raise
    except Exception as error:  # openpyxl raises KeyError, TypeError, ValueError and lxml's errors on broken files
        raise ReadError(
            f"{name} is damaged: its structure cannot be read.", "Open it in Excel and save it anew."
        ) from error


def read_csv(text: str, limits: Limits, name: str, delimiter: str = "") -> list[Block]:
    """Blocks of a text whose lines are rows; the delimiter is found when none is given."""
    delimiter = delimiter or delimiter_of(text)
    csv.field_size_limit(min(limits.chars, 2**31 - 1))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        if any(cell.count("\n") > MAX_CELL_LINES for row in rows for cell in row):
            # A lone quotation mark at the start of a cell has swallowed the rest of the file.
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise ReadError(f"{name} is damaged: {error}.", "Save it anew as csv.") from error
    lines = ([one_line(cell) for cell in row] for row in rows)
    numbered = [(n, cells) for n, cells in enumerate(lines, 1) if any(cells)]
    if not numbered:
        return []
    heads = guess_heads([row for _, row in numbered[:2]])
    columns = tuple(numbered[0][1]) if heads else ()
    return list(_paged(numbered, "", heads, columns))


def delimiter_of(text: str) -> str:
    """The delimiter that cuts the first lines into the same number of cells, more than one, most often."""
    sample = text[: 1 << 16]
    lines = sample if len(sample) == len(text) else sample[: sample.rfind("\n") + 1] or sample
    best, score = ",", 0.0
    for delimiter in _DELIMITERS:
        try:
            widths = Counter(len(row) for row in csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter) if row)
        except csv.Error:
            continue
        wide, rows = max(((w, n) for w, n in widths.items() if w > 1), key=lambda wn: wn[1], default=(1, 0))
        share = rows / max(1, widths.total()) + min(wide, 50) / 1000
        if rows and share > score:
            best, score = delimiter, share
    return best


def _sheet(sheet: Any, archive: Archive, limits: Limits, name: str) -> list[Block]:
    # The size that a sheet claims may be all of Excel's sixteen thousand columns.
    sheet.reset_dimensions()
    rows = list(_rows(sheet, limits, name))
    title = one_line(sheet.title)
    blocks: list[Block] = [NewPage(title)]
    if not _UNNAMED.match(title) and rows:
        blocks.append(Title(1, title))
    merges = _merges(archive, sheet)
    chars = 0  # on this page
    for region in _regions(rows):
        lead = 0
        # Lines of one cell above a table are its title and remarks.
        while lead < len(region) and sum(map(bool, region[lead][1])) == 1:
            lead += 1
        table = region[lead:]
        if chars > CHARS_PER_PAGE:
            blocks.append(NewPage(f"{title}, rows {region[0][0]}–{region[-1][0]}"))
            chars = 0
        blocks += [Para("".join(row), tight=True) for _, row in region[:lead]]
        if table:
            heads, columns = _heads(table, merges)
            pages = list(_paged(_trimmed(table), title, heads, columns))
            if len(pages) > 1 and not any(isinstance(block, Grid) for block in blocks):
                # The sheet's first page is this table's first page too.
                blocks[0] = pages.pop(0)
            blocks += pages
        chars += sum(len(cell) for _, row in region for cell in row)
    return blocks


def _rows(sheet: Any, limits: Limits, name: str) -> Iterator[Row]:
    chars = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells = [_shown(cell) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        chars += sum(map(len, cells))
        if chars > limits.chars:
            raise ReadError(f"{name} holds more than {limits.chars:,} characters.", "Split it, or raise the limits.")
        yield number, cells


def _shown(cell: Any) -> str:
    """A cell as people read it: dates as dates, percentages as such, whole numbers without a point."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return (
            value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime.datetime) else value.isoformat()
        )
    if isinstance(value, int | float):
        is_percent = "%" in str(getattr(cell, "number_format", "") or "")
        return f"{value * 100:.12g}%" if is_percent else f"{value:.15g}" if isinstance(value, float) else str(value)
    return one_line(str(value))


def _regions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Runs of rows without a gap: an empty row parts two tables."""
    region: list[Row] = []
    for row in rows:
        if region and row[0] > region[-1][0] + 1:
            yield region
            region = []
        region.append(row)
    if region:
        yield region


def _trimmed(rows: list[Row]) -> list[Row]:
    """The rows without the columns before the first that holds anything."""
    first = min((next(i for i, cell in enumerate(row) if cell) for _, row in rows), default=0)
    return [(number, row[first:]) for number, row in rows]


def _heads(rows: list[Row], merges: dict[int, list[tuple[int, int]]]) -> tuple[int, tuple[str, ...]]:
    """How many rows head the columns, and the columns' names."""
    first = min(next(i for i, cell in enumerate(row) if cell) for _, row in rows)
    top = rows[: MAX_HEADS + 2]
    width = max(len(row) for _, row in rows) - first
    full = [[*row[first:], *[""] * (width - len(row) + first)] for _, row in top]
    wides = [
        [(column - first, wide) for column, wide in merges.get(number, []) if column >= first] for number, _ in top
    ]
    grid = headed(full, wides)
    return grid.heads, grid.columns


def _merges(archive: Archive, sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """By row: the column (from 0) and width of cells that were merged over columns."""
    from openpyxl.utils import column_index_from_string

    found: dict[int, list[tuple[int, int]]] = {}
    path = str(sheet._worksheet_path).lstrip("/")
    for match in _MERGED.finditer(archive.read(path)) if path in archive.names else ():
        left, right = (column_index_from_string(match[n].decode()) for n in (1, 3))
        if right > left:
            found.setdefault(int(match[2]), []).append((left - 1, right - left + 1))
    return found


def _paged(rows: Sequence[Row], title: str, heads: int, columns: tuple[str, ...]) -> Iterator[Block]:
    """Rows as one table, or as a table on each of several pages that are named by the numbers of their rows."""
    pages: list[list[Row]] = [[]]
    chars = 0
    for row in rows:
        if pages[-1] and (_screen(row) != _screen(pages[-1][-1]) or chars > CHARS_PER_PAGE):
            pages.append([])
            chars = 0
        chars += sum(map(len, row[1])) + len(row[1])
        pages[-1].append(row)
    for n, page in enumerate(pages):
        if len(pages) > 1:
            # The first page begins with what stands above the table.
            first = page[0][0] if n else _screen(page[0]) * ROWS_PER_PAGE + 1
            span = f"rows {first}–{page[-1][0]}"
            yield NewPage(f"{title}, {span}" if title else span)
        yield Grid(tuple(tuple(row) for _, row in page), 0 if n else heads, "", columns)


def _screen(row: Row) -> int:
    """Which stretch of ROWS_PER_PAGE rows a row lies in."""
    return (row[0] - 1) // ROWS_PER_PAGE


def _metadata(facts: Any) -> dict[str, str]:
    found = {}
    pairs = {"title": facts.title, "author": facts.creator, "subject": facts.subject, "created": facts.created,
             "modified": facts.modified}  # fmt: skip
    for key, value in pairs.items():
        text = one_line(value.isoformat(sep=" ") if hasattr(value, "isoformat") else str(value or ""))
        if text and text != "openpyxl":
            found[key] = text
    return found
