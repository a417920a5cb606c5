"""Tables whose cells are drawn: ruled lines that cross each other. Pure geometry, standard library only.

Rules that lie on one line are joined, those that touch form a grid, and each cell of the grid holds the words whose
middle lies in it; where no line stands between two cells they are one (a head over several columns). Not covered:
slanted lines, grids turned by less than 90 degrees.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ragapp.ingest.cells import Cell, Cells, HeadCell
from ragapp.ingest.segments import LEADERS, MATHS, cut_lines, is_number, is_year, rows_of
from ragapp.ingest.words import Rule, Word

_MARK = re.compile(r"[(\[][^)\]]{1,4}[)\]]|\b(?:19|20)\d\d\b")  # what may stand in a head: notes, years
_CROSSINGS = 60_000  # more pairs of lines than this are a drawing
_LONG = 60  # words in a cell that is a paragraph; where most words stand in such cells the lines are a frame
_NOTE = 12  # a last row across all columns with more words than this is a note under the table


@dataclass(frozen=True, slots=True)
class _Stroke:
    """A line at ``at`` from ``low`` to ``high``; ``at`` is its y when it is level, its x when it is upright."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Grid:
    """The lines of one grid, and the places of its columns' and rows' borders, outer ones included."""

    level: tuple[_Stroke, ...]
    upright: tuple[_Stroke, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Net:
    """A grid's cells by (row, column) of the net: ``roots`` names for each the first of the cells that it is one with,
    ``cells`` the words of these, ``widths`` how many columns they cover.
    """

    grid: _Grid
    roots: dict[tuple[int, int], tuple[int, int]]
    cells: dict[tuple[int, int], list[int]]
    widths: dict[tuple[int, int], int]


def find_grids(
    words: Sequence[Word], text: str, among: Sequence[int], rules: Sequence[Rule], em: float, *, plain: bool = False
) -> list[Cells]:
    """The tables that are drawn, from the top; their cells hold words of ``among``, each at most once.

    ``plain`` takes only tables whose rows all have the same cells: what is drawn with characters may be a diagram.
    """
    level = _joined([_Stroke((r.y0 + r.y1) / 2, r.x0, r.x1) for r in rules if r.is_horizontal], em)
    upright = _joined([_Stroke((r.x0 + r.x1) / 2, r.y0, r.y1) for r in rules if not r.is_horizontal], em)
    if not level or not upright or len(level) * len(upright) > _CROSSINGS:
        return []
    found: list[Cells] = []
    free = set(among)
    # Small grids first: a frame around two tables must not hide them.
    for grid in sorted(_grids(level, upright, em), key=lambda g: (g.xs[-1] - g.xs[0]) * (g.ys[-1] - g.ys[0])):
        table = _table(words, text, grid, free, em, plain=plain)
        if table is not None:
            found.append(table)
            free.difference_update(table.indices())
    return sorted(found, key=lambda t: (t.y0, t.x0))


def _joined(strokes: list[_Stroke], em: float) -> list[_Stroke]:
    """Strokes on one line that touch, as one; borders are often drawn cell by cell, and twice."""
    joined: list[_Stroke] = []
    for group in _near(sorted(strokes, key=lambda s: (s.at, s.low, s.high)), 0.15 * em):
        at = sum(s.at for s in group) / len(group)
        low, high = None, 0.0
        for stroke in sorted(group, key=lambda s: (s.low, s.high)):
            if low is None:
                low, high = stroke.low, stroke.high
            elif stroke.low <= high + 0.25 * em:
                high = max(high, stroke.high)
            else:
                joined.append(_Stroke(at, low, high))
                low, high = stroke.low, stroke.high
        if low is not None:
            joined.append(_Stroke(at, low, high))
    return joined


def _near(strokes: Sequence[_Stroke], reach: float) -> list[list[_Stroke]]:
    groups: list[list[_Stroke]] = []
    for stroke in strokes:
        if groups and stroke.at - groups[-1][0].at <= reach:
            groups[-1].append(stroke)
        else:
            groups.append([stroke])
    return groups


def _grids(level: Sequence[_Stroke], upright: Sequence[_Stroke], em: float) -> list[_Grid]:
    """Lines that touch each other, group by group. A level line that meets no upright one is an underline."""
    reach = 0.3 * em
    level, upright = _anchored(level, upright, reach)
    parent = list(range(len(level) + len(upright)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for i, h in enumerate(level):
        for j, v in enumerate(upright, len(level)):
            if _meet(h, v, reach):
                parent[root(i)] = root(j)
    groups: dict[int, tuple[list[_Stroke], list[_Stroke]]] = {}
    for k in range(len(parent)):
        pair = groups.setdefault(root(k), ([], []))
        if k < len(level):
            pair[0].append(level[k])
        else:
            pair[1].append(upright[k - len(level)])
    return [_grid(hs, vs, reach) for hs, vs in groups.values() if hs and vs]


def _meet(a: _Stroke, b: _Stroke, reach: float) -> bool:
    return a.low - reach <= b.at <= a.high + reach and b.low - reach <= a.at <= b.high + reach


def _anchored(
    level: Sequence[_Stroke], upright: Sequence[_Stroke], reach: float
) -> tuple[Sequence[_Stroke], Sequence[_Stroke]]:
    """Without the lines that hang on a grid by one end: a rule under a heading that runs up to a box."""
    while True:
        kept = [h for h in level if _is_anchored(h, upright, reach)]
        kept_upright = [v for v in upright if _is_anchored(v, kept, reach)]
        if len(kept) == len(level) and len(kept_upright) == len(upright):
            return kept, kept_upright
        level, upright = kept, kept_upright


def _is_anchored(stroke: _Stroke, others: Sequence[_Stroke], reach: float) -> bool:
    met = [other.at for other in others if _meet(stroke, other, reach)]
    return len(met) > 1 or (len(met) == 1 and stroke.low + reach < met[0] < stroke.high - reach)


def _grid(level: list[_Stroke], upright: list[_Stroke], reach: float) -> _Grid:
    xs = _places([v.at for v in upright], [h.low for h in level], [h.high for h in level], reach)
    ys = _places([h.at for h in level], [v.low for v in upright], [v.high for v in upright], reach)
    return _Grid(tuple(level), tuple(upright), xs, ys)


def _places(lines: list[float], lows: list[float], highs: list[float], reach: float) -> tuple[float, ...]:
    """Where lines stand, and the outer ends of the lines across them: many tables are open at the sides."""
    places: list[float] = []
    for at in sorted([*lines, min(lows), max(highs)]):
        if not places or at - places[-1] > reach:
            places.append(at)
    return tuple(places)


def _table(words: Sequence[Word], text: str, grid: _Grid, free: set[int], em: float, *, plain: bool) -> Cells | None:
    wide, high = len(grid.xs) - 1, len(grid.ys) - 1
    if wide < 2 or high < 1 or wide * high > _CROSSINGS:
        return None
    inside = _inside(words, text, grid, free)
    if len(inside) < 4:
        return None
    roots = _merged(grid, em)
    if _crossing(words, inside, grid, roots, em) > 0.1 * len(inside):
        return None
    cells: dict[tuple[int, int], list[int]] = {}
    for index in sorted(inside, key=lambda i: (words[i].start, i)):
        cells.setdefault(roots[inside[index]], []).append(index)
    if sum(len(held) for held in cells.values() if len(held) > _LONG) > 0.5 * len(inside):
        return None
    net = _Net(grid, roots, cells, {})
    _part_wide_cells(words, text, net, em)
    if plain and not _is_plain(net):
        return None
    return _read(words, text, net, em)


def _is_plain(net: _Net) -> bool:
    rows: dict[int, int] = {}
    for band, _ in net.cells:
        rows[band] = rows.get(band, 0) + 1
    wide = max(rows.values())
    return all(width == 1 for width in net.widths.values()) and sum(count == wide for count in rows.values()) > 1


def _part_wide_cells(words: Sequence[Word], text: str, net: _Net, em: float) -> None:
    """Heads that stand side by side over several columns without a line between them: each piece over its own."""
    xs = net.grid.xs
    for cell, held in list(net.cells.items()):
        width = _width(net.roots, cell)
        net.widths[cell] = width
        if width < 2:
            continue
        lines = cut_lines(words, text, held, em)
        if all(len(line.pieces) < 2 for line in lines):
            continue
        del net.cells[cell], net.widths[cell]
        for line in lines:
            for piece in line.pieces:
                first = min(len(xs) - 2, max(0, bisect_right(xs, piece.x0 + 0.3 * em) - 1))
                last = min(len(xs) - 2, max(first, bisect_right(xs, piece.x1 - 0.3 * em) - 1))
                net.cells.setdefault((cell[0], first), []).extend(piece.words)
                net.widths[cell[0], first] = max(net.widths.get((cell[0], first), 1), last - first + 1)


def _inside(words: Sequence[Word], text: str, grid: _Grid, free: set[int]) -> dict[int, tuple[int, int]]:
    """The words whose middle lies in the grid, with their (row, column)."""
    inside: dict[int, tuple[int, int]] = {}
    xs, ys = grid.xs, grid.ys
    for index in sorted(free):
        word = words[index]
        if word.end - word.start > 1 and LEADERS.fullmatch(text, word.start, word.end):
            continue
        x, y = (word.x0 + word.x1) / 2, (word.y0 + word.y1) / 2
        if xs[0] <= x < xs[-1] and ys[0] <= y < ys[-1]:
            inside[index] = bisect_right(ys, y) - 1, bisect_right(xs, x) - 1
    return inside


def _merged(grid: _Grid, em: float) -> dict[tuple[int, int], tuple[int, int]]:
    """For each cell of the net the first cell, from the top left, that no line parts from it."""
    wide, high = len(grid.xs) - 1, len(grid.ys) - 1
    level = _walls(grid.level, grid.ys, grid.xs, em)
    upright = _walls(grid.upright, grid.xs, grid.ys, em)
    parent = {(r, c): (r, c) for r in range(high) for c in range(wide)}

    def root(cell: tuple[int, int]) -> tuple[int, int]:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    for r in range(high):
        for c in range(wide):
            if c and (c, r) not in upright:
                _join(parent, root((r, c - 1)), root((r, c)))
            if r and (r, c) not in level:
                _join(parent, root((r - 1, c)), root((r, c)))
    return {cell: root(cell) for cell in parent}


def _join(parent: dict[tuple[int, int], tuple[int, int]], a: tuple[int, int], b: tuple[int, int]) -> None:
    parent[max(a, b)] = min(a, b)


def _walls(
    strokes: Sequence[_Stroke], places: Sequence[float], across: Sequence[float], em: float
) -> set[tuple[int, int]]:
    """(line, gap) for each stretch of a border that is drawn: line k, from across[gap] to across[gap + 1]."""
    drawn: set[tuple[int, int]] = set()
    for stroke in strokes:
        k = min(range(len(places)), key=lambda n: abs(places[n] - stroke.at))
        for gap in range(len(across) - 1):
            low, high = across[gap], across[gap + 1]
            if min(high, stroke.high) - max(low, stroke.low) > 0.6 * (high - low):
                drawn.add((k, gap))
    return drawn


def _crossing(
    words: Sequence[Word],
    inside: dict[int, tuple[int, int]],
    grid: _Grid,
    roots: dict[tuple[int, int], tuple[int, int]],
    em: float,
) -> int:
    """How many words lie across the border of their cell: labels of a chart do, words of a table do not."""
    count = 0
    for index, (row, column) in inside.items():
        word = words[index]
        first, last = column, column
        while first and word.x0 < grid.xs[first] - 0.4 * em:
            first -= 1
        while last < len(grid.xs) - 2 and word.x1 > grid.xs[last + 1] + 0.4 * em:
            last += 1
        count += any(roots[row, c] != roots[row, column] for c in range(first, last + 1))
    return count


def _read(words: Sequence[Word], text: str, net: _Net, em: float) -> Cells | None:
    """The table of a net, or None where the cells are those of a drawing, a form or a frame."""
    xs, ys = net.grid.xs, net.grid.ys
    last = len(xs) - 1
    bands = sorted({r for r, _ in net.cells})
    columns = _columns(net, bands, em)
    if len(columns) < 2:
        return None
    title: list[int] = []
    while len(bands) > 1 and _is_across(net, bands[0]) and _is_title(words, text, net, bands, columns):
        title += _band(net, bands.pop(0))
    while bands and _is_across(net, bands[-1]) and len(_band(net, bands[-1])) > _NOTE:
        bands.pop()
    rows = [_row(net, band, columns) for band in bands]
    if not rows or not _is_filled(rows):
        return None
    heads, sure = _head_rows(net, bands, columns, [[_text(words, text, cell) for cell in row] for row in rows])
    body = [part for row in rows[heads:] for part in _split(words, text, row, len(rows) - heads, em)]
    if not body or len(body) + heads < 2 or _is_crowded(words, text, body):
        return None
    if _is_drawing(words, text, rows) or _is_form(words, text, rows):
        return None
    head = tuple(_head_row(net, bands[k], columns, rows[k]) for k in range(heads))
    spans = tuple((xs[c], xs[d]) for c, d in zip(columns, [*columns[1:], last], strict=True))
    bottom = max(words[i].y1 for row in rows for cell in row for i in cell)
    bottom = max(bottom, ys[bands[-1] + 1])
    return Cells(xs[0], ys[bands[0]], xs[-1], bottom, spans, head, tuple(body), sure, tuple(title))


def _is_title(words: Sequence[Word], text: str, net: _Net, bands: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether the first row, one cell across all columns, is a title: it is short, or a head stands below it."""
    below = [_text(words, text, cell) for cell in _row(net, bands[1], columns)]
    heads = all(below) and not any(_is_dated(cell) for cell in below)
    return len(_band(net, bands[0])) <= (_LONG if heads else 2 * _NOTE)


def _columns(net: _Net, bands: Sequence[int], em: float) -> list[int]:
    """The net's columns in which cells with words begin, and empty ones that are drawn: they may hold pictures, and
    the same table may have words there on another page.
    """
    xs = net.grid.xs
    starts = {c for (r, c) in net.cells if net.widths[r, c] < len(xs) - 1}
    for c in range(len(xs) - 1):
        drawn = sum(net.roots[band, c][1] == c for band in bands)
        if xs[c + 1] - xs[c] > 2 * em and drawn >= 0.6 * len(bands):
            starts.add(c)
    return sorted(starts)


def _is_crowded(words: Sequence[Word], text: str, rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether cells hold three or more figures side by side: then the lines drawn are not all that part the columns."""
    filled = [cell for row in rows for cell in row if cell]
    crowded = [c for c in filled if len(c) > 2 and all(_is_figure(text, words[i]) for i in c)]
    return len(crowded) > 0.25 * len(filled)


def _is_form(words: Sequence[Word], text: str, rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether labels with colons stand in later columns too, or before words: "Name: … Date: …"."""
    texts = [[_text(words, text, cell) for cell in row] for row in rows]
    later = sum(any(cell.endswith((":", "：")) for cell in row[1:]) for row in texts)
    values = [cell for row in texts for cell in row[1:] if cell]
    figures = sum(is_number(cell) for cell in values) >= 0.4 * len(values)
    return (later >= 2 and later >= 0.2 * len(rows)) or (_looks_like_form(texts) and not figures)


def _is_drawing(words: Sequence[Word], text: str, rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether the cells hold the signs and letters of a drawing or a formula."""
    filled = [_text(words, text, cell) for row in rows for cell in row if cell]
    odd = sum(1 for cell in filled if MATHS.search(cell) or (len(cell) == 1 and not cell.isdigit()))
    return odd > 0.3 * len(filled)


def _is_figure(text: str, word: Word) -> bool:
    mark = text[word.start : word.end]
    return is_number(mark) and any(c.isdigit() for c in mark)


def _band(net: _Net, band: int) -> list[int]:
    return [i for cell, held in sorted(net.cells.items()) if cell[0] == band for i in held]


def _row(net: _Net, band: int, columns: Sequence[int]) -> list[Cell]:
    """The cells of a row by column; what begins between two columns belongs to the one before it."""
    held: list[Cell] = [()] * len(columns)
    for (r, c), members in sorted(net.cells.items()):
        if r == band:
            held[max(0, bisect_right(columns, c) - 1)] += tuple(members)
    return held


def _width(roots: dict[tuple[int, int], tuple[int, int]], cell: tuple[int, int]) -> int:
    """How many columns of the net a cell covers in its first row."""
    row, column = cell
    width = 1
    while roots.get((row, column + width)) == cell:
        width += 1
    return width


def _is_across(net: _Net, band: int) -> bool:
    held = [cell for cell in net.cells if cell[0] == band]
    return len(held) == 1 and net.widths[held[0]] == len(net.grid.xs) - 1


def _is_filled(rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether enough cells hold words; the lines of a drawing have little between them."""
    counts = [sum(1 for cell in row if cell) for row in rows]
    columns = sum(sum(1 for cell in column if cell) > 1 for column in zip(*rows, strict=True))
    return sum(counts) >= 0.35 * len(rows) * len(rows[0]) and sum(count > 1 for count in counts) > 1 and columns > 1


def _text(words: Sequence[Word], text: str, cell: Cell) -> str:
    return " ".join(text[words[i].start : words[i].end] for i in cell)


def _head_rows(
    net: _Net, bands: Sequence[int], columns: Sequence[int], texts: Sequence[Sequence[str]]
) -> tuple[int, bool]:
    """How many rows are the head, and whether that is more than a guess."""
    count, spanned = 0, False
    while count < min(len(texts) - 1, 4):
        row = texts[count]
        if any(is_number(cell) and not is_year(cell) for cell in row if cell):
            break
        above, spanned = spanned, _is_spanned(net, bands, columns, count)
        if not (spanned or above) and sum(1 for cell in row if cell) < 0.5 * len(row):
            break
        count += 1
        if not spanned:
            break
    body = texts[count:]
    figures = any(_is_numeric([row[c] for row in body]) for c in range(len(columns)))
    dated = sum(_is_dated(cell) for row in texts[:count] for cell in row)
    if count and not figures and dated > 1:
        return 0, False
    return count, bool(count) and (figures or count > 1)


def _is_dated(cell: str) -> bool:
    """Whether a figure stands in a cell: a date or a measure speaks against a head, a year does not."""
    return any(c.isdigit() for c in _MARK.sub("", cell))


def _is_spanned(net: _Net, bands: Sequence[int], columns: Sequence[int], row: int) -> bool:
    """Whether a cell of this row goes over several columns, or on into the next row."""
    below = {net.roots[bands[row + 1], c] for c in columns}
    here = [cell for cell in net.cells if cell[0] == bands[row]]
    return any(cell in below or _covered(net, cell, columns) > 1 for cell in here)


def _covered(net: _Net, cell: tuple[int, int], columns: Sequence[int]) -> int:
    return sum(cell[1] <= c < cell[1] + net.widths[cell] for c in columns)


def _looks_like_form(texts: Sequence[Sequence[str]]) -> bool:
    first = [row[0] for row in texts if row[0]]
    return bool(first) and sum(cell.endswith((":", "：")) for cell in first) > 0.5 * len(first)


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and sum(is_number(cell) for cell in filled) >= 0.6 * len(filled)


def _head_row(net: _Net, band: int, columns: Sequence[int], row: Sequence[Cell]) -> tuple[HeadCell, ...]:
    head: list[HeadCell] = []
    for k, (column, cell) in enumerate(zip(columns, row, strict=True)):
        covered = _covered(net, (band, column), columns) if (band, column) in net.widths else 1
        head.append(HeadCell(k, k + max(1, covered) - 1 if cell else k, cell))
    return tuple(head)


def _split(words: Sequence[Word], text: str, row: Sequence[Cell], rows: int, em: float) -> list[tuple[Cell, ...]]:
    """A drawn row that holds several lines of figures is several rows: only its outside is ruled. In a table of many
    drawn rows that takes more lines than cells wrap onto.
    """
    everything = [i for cell in row for i in cell]
    lines = rows_of(words, everything, em)
    if len(lines) < (2 if rows < 3 else 4):
        return [tuple(row)]
    split: list[tuple[Cell, ...]] = []
    for line in lines:
        here = set(line)
        split.append(tuple(tuple(i for i in cell if i in here) for cell in row))
    if sum(bool(part[0]) and any(part[1:]) for part in split) < 0.6 * len(split):
        return [tuple(row)]
    for column in range(len(row)):
        figures = sum(bool(part[column]) and is_number(_text(words, text, part[column])) for part in split)
        if figures >= 2 and figures >= 0.6 * len(split):
            return _rewrapped(words, text, split)
    return [tuple(row)]


def _rewrapped(words: Sequence[Word], text: str, lines: Sequence[tuple[Cell, ...]]) -> list[tuple[Cell, ...]]:
    """The lines of a row, those with nothing but the end of a label joined to the line before."""
    rows: list[tuple[Cell, ...]] = []
    for line in lines:
        if rows and not any(line[1:]) and _text(words, text, line[0])[:1].islower():
            rows[-1] = (rows[-1][0] + line[0], *rows[-1][1:])
        else:
            rows.append(line)
    return rows
