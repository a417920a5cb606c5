"""Tables cut into whole rows, and the areas of prose between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragapp.ingest.packing import Measured, Span
from ragapp.text import trimmed
from ragapp.types import Document, Table


def areas(document: Document) -> Iterator[tuple[int, int, Table | None]]:
    """The document's text in order, parted at its tables: ``(start, end, table)``, None for prose.

    A table that begins inside the one before it is taken as prose as far as it goes on behind that.
    """
    at, end = 0, len(document.text)
    for table in sorted(document.tables, key=lambda table: (table.start, table.end)):
        if table.start < at or table.end > end or table.end <= table.start:
            continue
        if table.start > at:
            yield at, table.start, None
        yield table.start, table.end, table
        at = table.end
    if at < end:
        yield at, end, None


def row_spans(measured: Measured, table: Table) -> list[Span]:
    """The rows, and what of the table's text lies before, between and behind them."""
    at, spans = table.start, []
    for left, right in table.rows:
        if left < at or right > table.end:
            continue  # a row outside its table, or inside the row before: its text is taken with what is around it
        spans += [*trimmed(measured.text, at, left), *trimmed(measured.text, left, right)]
        at = right
    return [*spans, *trimmed(measured.text, at, table.end)]


def row_groups(measured: Measured, rows: Sequence[Span], most: int) -> Iterator[list[Span]]:
    """Neighbouring rows of at most ``most`` tokens together; a row that is longer is a group of its own."""
    held: list[Span] = []
    for row in rows:
        if held and measured.count(held[0][0], row[1]) > most:
            yield held
            held = []
        held.append(row)
    if held:
        yield held
