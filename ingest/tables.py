"""Tables of a page, found from its words and ruled lines; their columns as one line of text.

Two ways lead to a table: cells that are drawn (``grid``), and lines whose pieces stand in columns (``aligned``).
Pure functions, standard library only; about a millisecond a page. Not covered: tables in pictures, tables of words
alone without rules, tables turned on their page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ragapp.ingest.aligned import find_aligned
from ragapp.ingest.cells import Cell, Cells
from ragapp.ingest.grid import find_grids
from ragapp.ingest.segments import CAPTION, Line, cut_lines, height_of, rows_of
from ragapp.ingest.words import Rule, Word
from ragapp.types import Table

_DRAWN = re.compile(r"\|+|\+[-=+]+|[-=_]{4,}")  # lines drawn with characters


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table on one page. Cells are indices into the words that were given; no index stands in two cells.

    ``columns`` are the heads, outer heads first, one for each cell of every row; ``head`` holds the words they were
    read from, a cell over several columns at the first of them. ``row_context`` are the section labels that each row
    stands under ("Current assets:"). ``spans`` are the columns' (x0, x1). ``sure`` says that the head is a head for
    more reasons than its place.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    title_words: Cell
    columns: tuple[str, ...]
    head: tuple[tuple[Cell, ...], ...]
    rows: tuple[tuple[Cell, ...], ...]
    row_context: tuple[str, ...]
    spans: tuple[tuple[float, float], ...]
    sure: bool


def find_tables(words: Sequence[Word], text: str, rules: Sequence[Rule] = ()) -> list[FoundTable]:
    """The tables of a page from the top. ``text`` is what the words' offsets count in; the order of words and rules
    does not matter.
    """
    if len(words) < 6:
        return []
    em = height_of(words)
    if _is_turned(words):
        return []
    drawn = {i for i, w in enumerate(words) if text[w.start] in "|+-=_" and _DRAWN.fullmatch(text, w.start, w.end)}
    if len(drawn) <= 4:
        drawn = set()
    kept = [i for i in range(len(words)) if i not in drawn]
    cells = find_grids(words, text, kept, rules, em) if len(rules) > 3 else []
    if drawn:
        taken = {i for table in cells for i in table.indices()}
        kept = [i for i in kept if i not in taken]
        cells += find_grids(words, text, kept, _strokes(words, text, drawn, em), em, plain=True)
        kept = _undrawn(words, kept, drawn, em)
    taken = {i for table in cells for i in table.indices()}
    lines = cut_lines(words, text, [i for i in kept if i not in taken], em)
    cells = sorted(cells + find_aligned(lines, rules, em), key=lambda table: (table.y0, table.x0))
    taken = {i for table in cells for i in table.indices()}
    free = [line for line in lines if not any(taken.intersection(piece.words) for piece in line.pieces)]
    return [_found(words, text, table, free, em) for table in cells]


def _is_turned(words: Sequence[Word]) -> bool:
    """Whether most words run up or down the page: their lines would be taken for columns."""
    long = [w for w in words if w.end - w.start > 2]
    return sum(w.y1 - w.y0 > 1.2 * (w.x1 - w.x0) for w in long) > 0.5 * len(long)


def same_columns(a: FoundTable, b: FoundTable) -> bool:
    """Whether two tables have as many columns at the same places, as one that goes on on the next page has."""
    if len(a.spans) != len(b.spans):
        return False
    reach = 0.02 * max(a.x1 - a.x0, b.x1 - b.x0)
    alike = 0
    for (a0, a1), (b0, b1) in zip(a.spans, b.spans, strict=True):
        if min(a1, b1) <= max(a0, b0):
            return False
        alike += min(abs(a0 - b0), abs(a1 - b1), abs(a0 + a1 - b0 - b1) / 2) <= reach
    return alike >= 0.75 * len(a.spans)


def continued(previous: FoundTable, table: FoundTable) -> FoundTable:
    """The table with the heads of the one that it continues, where it has none of its own; else the table itself."""
    if not same_columns(previous, table) or (table.sure and table.head):
        return table
    heads = {" ".join(head.split()).casefold() for head in table.columns}
    repeats = heads == {" ".join(head.split()).casefold() for head in previous.columns}
    rows, context = table.rows, table.row_context
    if table.head and not repeats:
        rows, context = table.head + rows, ("",) * len(table.head) + context
    last = previous.row_context[-1] if previous.row_context else ""
    first = next((k for k, label in enumerate(context) if label), len(context))
    return replace(
        table,
        columns=previous.columns,
        head=table.head if repeats else (),
        rows=rows,
        row_context=(last,) * first + context[first:],
        sure=previous.sure,
    )


def column_line(table: Table) -> str:
    """The heads of a table's columns in few words: "Years ended December 31: 2018 | 2017 | 2016".

    Words that neighbouring heads begin with are said once, a head that repeats is said once, and the empty head of
    the labels is left out. Empty when no column has a head.
    """
    heads = [head.split() for head in table.columns]
    while heads and not heads[0]:
        heads = heads[1:]
    while heads and not heads[-1]:
        heads = heads[:-1]
    distinct = [head for k, head in enumerate(heads) if k == 0 or head != heads[k - 1]]
    return "; ".join(_factored(distinct))


def _factored(heads: Sequence[Sequence[str]]) -> list[str]:
    """Groups of neighbours that begin alike, each as one text; heads that share nothing stand together."""
    groups: list[str] = []
    plain: list[str] = []
    k = 0
    while k < len(heads):
        end = k + 1
        while end < len(heads) and heads[k] and heads[end] and heads[end][0] == heads[k][0]:
            end += 1
        if end - k == 1:
            plain.append(" ".join(heads[k]) or "–")
        else:
            if plain:
                groups.append(" | ".join(plain))
                plain = []
            shared = _shared(heads[k:end])
            rests = [" ".join(head[shared:]) or "–" for head in heads[k:end]]
            groups.append(f"{' '.join(heads[k][:shared]).rstrip(':')}: {' | '.join(rests)}")
        k = end
    return [*groups, " | ".join(plain)] if plain else groups


def _shared(heads: Sequence[Sequence[str]]) -> int:
    """How many words all heads begin with."""
    count = 0
    while all(len(head) > count and head[count] == heads[0][count] for head in heads):
        count += 1
    return count


def _undrawn(words: Sequence[Word], kept: Sequence[int], drawn: set[int], em: float) -> list[int]:
    """Words on lines without strokes: what is drawn with characters and is no table is a diagram."""
    rows = rows_of(words, [*kept, *drawn], em)
    return [i for row in rows if not drawn.intersection(row) for i in row]


def _strokes(words: Sequence[Word], text: str, drawn: set[int], em: float) -> list[Rule]:
    """The lines that "|" and "+---+" draw in typewriter text; upright ones reach half-way to the next line of text."""
    middles = sorted((words[i].y0 + words[i].y1) / 2 for i in drawn)
    steps = sorted(b - a for a, b in pairwise(middles) if b - a > 0.4 * em)
    reach = 0.52 * min(steps[len(steps) // 2], 2 * em) if steps else em
    strokes: list[Rule] = []
    for index in sorted(drawn):
        word = words[index]
        y = (word.y0 + word.y1) / 2
        step = (word.x1 - word.x0) / (word.end - word.start)
        marks = text[word.start : word.end]
        if marks[0] != "|":
            strokes.append(Rule(word.x0 + step / 2, y, word.x1 - step / 2, y))
        for place in (k for k, mark in enumerate(marks) if mark in "+|"):
            x = word.x0 + (place + 0.5) * step
            strokes.append(Rule(x, y - reach, x, y + reach))
    return strokes


def _found(words: Sequence[Word], text: str, table: Cells, lines: Sequence[Line], em: float) -> FoundTable:
    wide = len(table.spans)
    heads: list[list[str]] = [[] for _ in range(wide)]
    head: list[tuple[Cell, ...]] = []
    for row in table.head:
        cells: list[Cell] = [()] * wide
        for cell in row:
            cells[cell.first] += cell.words
            for column in range(cell.first, cell.last + 1):
                heads[column] += [text[words[i].start : words[i].end] for i in cell.words]
        head.append(tuple(cells))
    return FoundTable(
        table.x0,
        table.y0,
        table.x1,
        table.y1,
        table.title or _title(table, lines, em),
        tuple(" ".join(parts) for parts in heads),
        tuple(head),
        table.rows,
        _contexts(words, text, table.rows, em),
        table.spans,
        table.sure,
    )


def _title(table: Cells, lines: Sequence[Line], em: float) -> Cell:
    """The caption right above: a short line over the table, and the line above it when that is numbered ("Table 3")."""
    above: list[Line] = [
        line
        for line in lines
        if table.y0 - 5 * em < line.y0
        and line.y1 <= table.y0 + 0.4 * em
        and any(p.x0 < table.x1 and p.x1 > table.x0 for p in line.pieces)
    ]
    title: Cell = ()
    bottom = table.y0
    for line in sorted(above, key=lambda other: -other.y1)[:3]:
        pieces = [p for p in line.pieces if p.x0 < table.x1 and p.x1 > table.x0]
        if len(pieces) != 1 or bottom - line.y1 > (0.5 if title else 2.2) * em:
            break
        caption = CAPTION.match(pieces[0].text) is not None
        if not caption and not _is_short(pieces[0].text):
            break
        title = pieces[0].words + title
        bottom = line.y0
        if caption:
            break
    return title


def _is_short(text: str) -> bool:
    return (
        text.count(" ") < 14
        and len(text) <= 110
        and not text.endswith((".", ",", ";", "。", "，"))
        and any(c.isalpha() for c in text)
    )


def _contexts(words: Sequence[Word], text: str, rows: Sequence[Sequence[Cell]], em: float) -> tuple[str, ...]:
    """For each row the labels of the sections it stands in, outermost first. A label stands alone in its row; it holds
    for the rows below it until one stands further left, or as far left after rows that were indented.
    """
    open_labels: list[_Label] = []
    contexts: list[str] = []
    for row in rows:
        left = min((words[i].x0 for i in row[0]), default=None)
        lone = not any(row[1:])
        if left is not None:
            while open_labels and open_labels[-1].ends_at(left, lone, 0.3 * em):
                open_labels.pop()
            for label in open_labels:
                label.indents = label.indents or left > label.left + 0.3 * em
        contexts.append(" ".join(label.text for label in open_labels))
        if left is not None and lone and len(row[0]) <= 12:
            open_labels.append(_Label(left, " ".join(text[words[i].start : words[i].end] for i in row[0])))
    return tuple(contexts)


@dataclass(slots=True)
class _Label:
    """A section's label; ``indents`` says that rows below it stand further right than it does."""

    left: float
    text: str
    indents: bool = False

    def ends_at(self, left: float, lone: bool, reach: float) -> bool:
        """Whether a row that begins at ``left`` is no longer in the section; ``lone``: the row is a label itself."""
        return self.left > left + reach or (self.left > left - reach and (lone or self.indents))
