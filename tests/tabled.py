"""Documents with tables, as the readers make them: a row a line, cells set apart by tabs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ragapp.testing import document_of
from ragapp.types import Document, Heading, Table


@dataclass(frozen=True)
class Grid:
    """A table to be laid out; ``heads`` also stand in the text, on the line above the rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Title:
    """A heading to be laid out."""

    text: str
    level: int = 1


@dataclass
class _Laid:
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)


def document(*pages: Sequence[str | Grid | Title], name: str = "report.pdf") -> Document:
    """Pages of paragraphs, headings and tables, a line each."""
    laid = [_laid(content, number) for number, content in enumerate(pages, 1)]
    made = document_of(*(page.text for page in laid), name=name)
    tables, headings = [], []
    for place, page in zip(made.pages, laid, strict=True):
        headings += [replace(heading, start=heading.start + place.start) for heading in page.headings]
        for table in page.tables:
            rows = tuple((left + place.start, right + place.start) for left, right in table.rows)
            tables.append(replace(table, start=table.start + place.start, end=table.end + place.start, rows=rows))
    return replace(made, tables=tuple(tables), headings=tuple(headings))


def _laid(content: Sequence[str | Grid | Title], page: int) -> _Laid:
    laid = _Laid()
    for item in content:
        if isinstance(item, Title):
            laid.headings.append(Heading(item.level, item.text, len(laid.text)))
            laid.text += f"{item.text}\n"
        elif isinstance(item, Grid):
            _lay_table(laid, item, page)
        else:
            laid.text += f"{item}\n"
    return laid


def _lay_table(laid: _Laid, grid: Grid, page: int) -> None:
    start = len(laid.text)
    laid.text += "\t".join(["", *grid.heads]) + "\n" if grid.heads else ""
    rows = []
    for row in grid.rows:
        line = "\t".join(row)
        rows.append((len(laid.text), len(laid.text) + len(line)))
        laid.text += f"{line}\n"
    laid.tables.append(Table(page, start, len(laid.text), grid.title, tuple(grid.heads), tuple(rows)))
