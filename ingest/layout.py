"""What belongs together on a page: words become lines, lines are put in reading order, paragraphs are set apart.

Pure. The order of the file's own content stays unless geometry shows that it jumps between columns, in the manner of
the XY-cut (Nagy and Seth 1984), but along lanes: a lane is white from the top to the bottom of a band of the page,
with full lines of prose on both sides. Tables found elsewhere take part as one block. Not covered: columns of scripts
that run from right to left, text along curves, and columns that hold lists of short lines.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median

from ragapp.ingest.words import Word

TINY = 2.0  # type of fewer points is not there to be read
JUMP = 1.2  # white of more than this many type sizes ends a piece of a line
LANE = 0.6  # a lane between columns is at least this many type sizes wide
COLUMN_LINES = 3
COLUMN_WIDTH = 9.5  # a column of prose is at least this many type sizes wide
FULL = 0.7  # a line of this share of its column's width is full
BETTER = 0.6  # a new order is taken if it jumps at most this share as often as the content's
SOME, MUCH = 0.12, 0.3  # shares by which type sizes differ
APART = 0.35  # white of this many type sizes more than usual sets paragraphs apart

_MARKS = "\ufffe\x02"
_LINE_END = re.compile(f"\n|[{_MARKS}]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_DRAWN = re.compile(r"[|+=_-]+")
_ENDED = re.compile(r"[.!?:;。！？：；…][\"'”’)\]」』）]*$")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Strip:
    """A line of text: ``cells`` are its parts as spans of the page's raw text, one cell but for the rows of a table.

    ``apart`` asks for an empty line before it. ``table`` is the number of its table on the page, or -1.
    """

    cells: tuple[tuple[Span, ...], ...]
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    bold: bool = False
    apart: bool = False
    table: int = -1

    @property
    def is_turned(self) -> bool:
        """Whether its words run up or down the page."""
        return self.y1 - self.y0 > 2 * max(self.size, self.x1 - self.x0)

    @property
    def first(self) -> int:
        """Where its first character stands in the raw text; -1 for a row without any."""
        return min((span[0] for cell in self.cells for span in cell), default=-1)


@dataclass(frozen=True, slots=True)
class Block:
    """A table on its way into the text: rows of cells of numbers of words. Title and head come before the body."""

    x0: float
    y0: float
    x1: float
    y1: float
    title: tuple[int, ...]
    head: tuple[tuple[tuple[int, ...], ...], ...]
    rows: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Words that follow each other on a line without a wide gap, or a whole table: ``table`` is its number or -1."""

    words: tuple[int, ...]
    line: int
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    table: int = -1

    @property
    def middle(self) -> float:
        """Half its height, counted from the top of the page."""
        return (self.y0 + self.y1) / 2


def strips(text: str, words: Sequence[Word], bold: frozenset[int], tables: Sequence[Block] = ()) -> list[Strip]:
    """The lines of a page in reading order; every word is in exactly one of them, but for the rules of
    tables that are drawn with characters."""
    pieces = _pieces(text, words, tables)
    found: list[Strip] = []
    for region in _in_order(pieces, text, words):
        for _, group in groupby(region, key=lambda piece: (piece.table, piece.line)):
            together = tuple(group)
            if together[0].table >= 0:
                found += _table_strips(together[0].table, tables[together[0].table], text, words)
            else:
                found.append(_strip(together, text, words, bold))
    return _set_apart(found, text)


# -- pieces ------------------------------------------------------------------------------------------------------------


def _pieces(text: str, words: Sequence[Word], tables: Sequence[Block]) -> list[_Piece]:
    """In the order of the content; a table stands where its first word does."""
    owner = {w: n for n, table in enumerate(tables) for w in _words_of(table)}
    placed: set[int] = set()
    pieces: list[_Piece] = []
    held: list[int] = []
    line = 0

    def finish() -> None:
        if held:
            pieces.append(_piece(held, line, words))
            held.clear()

    for number, word in enumerate(words):
        table = owner.get(number, -1)
        if table >= 0:
            finish()
            line += 1
            if table not in placed:
                placed.add(table)
                block = tables[table]
                pieces.append(_Piece((), line, block.x0, block.y0, block.x1, block.y1, word.size, table))
            continue
        if tables and _DRAWN.fullmatch(text, word.start, word.end) and any(_is_inside(word, t) for t in tables):
            continue
        if held:
            last = words[held[-1]]
            if text[last.end : word.start] != " " and _LINE_END.search(text, last.end - 1, word.start):
                finish()
                line += 1
            elif _jumps(last, word):
                finish()
                if abs(last.y0 + last.y1 - word.y0 - word.y1) > 3 * max(last.size, word.size):
                    line += 1
        held.append(number)
    finish()
    return pieces


def _is_inside(word: Word, table: Block) -> bool:
    """Whether a word lies on a table; lines that are drawn with characters are no part of its text."""
    middle = (word.y0 + word.y1) / 2
    return table.y0 - 2 <= middle <= table.y1 + 2 and word.x1 > table.x0 - 2 and word.x0 < table.x1 + 2


def _words_of(table: Block) -> Iterator[int]:
    yield from table.title
    for row in (*table.head, *table.rows):
        for cell in row:
            yield from cell


def _piece(numbers: Sequence[int], line: int, words: Sequence[Word]) -> _Piece:
    own = [words[n] for n in numbers]
    return _Piece(
        tuple(numbers),
        line,
        min(word.x0 for word in own),
        min(word.y0 for word in own),
        max(word.x1 for word in own),
        max(word.y1 for word in own),
        _size(own),
    )


def _size(words: Sequence[Word]) -> float:
    """The type size that the middle character of the words has, by size."""
    least, most = min(word.size for word in words), max(word.size for word in words)
    if round(least * 2) == round(most * 2):
        return round(least * 2) / 2
    by_size = sorted((word.size, word.end - word.start) for word in words)
    half = sum(count for _, count in by_size) / 2
    for size, count in by_size:
        half -= count
        if half <= 0:
            return round(size * 2) / 2
    return 0.0


def _jumps(last: Word, word: Word) -> bool:
    if abs(last.x0 - word.x0) < 1 and abs(last.x1 - word.x1) < 1:
        return False  # words that run up or down the page
    size = last.size if last.size > word.size else word.size
    gap = word.x0 - last.x1
    if -size < gap < JUMP * size and last.y0 < (word.y0 + word.y1) / 2 < last.y1:
        return False
    overlap = min(last.y1, word.y1) - max(last.y0, word.y0)
    if overlap < 0.3 * min(last.y1 - last.y0, word.y1 - word.y0):
        return True
    return gap > JUMP * size or word.x1 < last.x0 - JUMP * size


# -- reading order -----------------------------------------------------------------------------------------------------


def _in_order(pieces: list[_Piece], text: str, words: Sequence[Word]) -> list[list[_Piece]]:
    """The pieces in reading order, in groups that no line crosses; what nobody can read comes last."""
    tiny = [piece for piece in pieces if piece.size < TINY and piece.table < 0]
    if 0 < len(tiny) < len(pieces):
        return [*_in_order([piece for piece in pieces if piece not in tiny], text, words), tiny]
    wrong = _jumps_back(pieces)
    if not wrong or len(_RIGHT_TO_LEFT.findall(text)) * 2 > len(text):
        return [pieces]
    upright = [piece for piece in pieces if not _is_turned(piece)]
    regions = _regions(upright)
    if len(regions) == 1:
        return [_by_blocks(pieces)]
    place = {id(piece): n for n, region in enumerate(regions) for piece in region}
    visits = [n for n, _ in groupby(place[id(piece)] for piece in upright)]
    if len(visits) > len(set(visits)):
        if _is_in_rows(upright, place, text, words):
            return [pieces]
        regions = [_by_rows(region) for region in regions]
    left = _jumps_back([piece for region in regions for piece in region])
    if left > BETTER * wrong:
        return [pieces]
    return [*regions, [piece for piece in pieces if _is_turned(piece)]]


def _jumps_back(pieces: Sequence[_Piece]) -> int:
    """How often the order goes up, but not to a column on the right, or across a wide gap to the right."""
    count = 0
    for one, other in pairwise(pieces):
        size = max(one.size, other.size)
        if other.middle < one.middle - size:
            count += other.x0 < one.x1 - size
        elif other.middle < one.middle + 0.5 * size:
            count += other.x0 - one.x1 > JUMP * size
    return count


def _is_turned(piece: _Piece) -> bool:
    """Whether the words run up or down the page."""
    return piece.table < 0 and piece.y1 - piece.y0 > 2 * piece.size and piece.y1 - piece.y0 > 2 * (piece.x1 - piece.x0)


def _regions(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Parts of the page in reading order: what is above a lane, its left side, its right side, what is below."""
    lane = _best_lane(pieces)
    if lane is None:
        return [pieces]
    found = []
    for part in lane:
        if part:
            found += _regions(part) if len(part) < len(pieces) else [part]
    return found


Parts = tuple[list[_Piece], list[_Piece], list[_Piece], list[_Piece]]


def _best_lane(pieces: list[_Piece]) -> Parts | None:
    """The pieces above, left and right of, and below the highest lane between two columns of prose."""
    if len(pieces) < 2 * COLUMN_LINES:
        return None
    best: Parts | None = None
    height = 0.0
    for x in _edges(pieces):
        white = LANE * _near_size(pieces, x)
        crossing = sorted((p for p in pieces if p.x0 < x - white and p.x1 > x - white), key=lambda p: p.middle)
        cuts = [p.middle for p in crossing]
        bands: dict[int, tuple[list[_Piece], list[_Piece]]] = {}
        for piece in pieces:
            if piece.x0 < x - white < piece.x1:
                continue
            side = int(piece.x0 >= x - white)
            bands.setdefault(bisect_right(cuts, piece.middle), ([], []))[side].append(piece)
        for place, (left, right) in bands.items():
            shared = _shared_height(left, right)
            if shared > height and _is_prose(left) and _is_prose(right):
                height = shared
                best = _parts(pieces, left, right, cuts[place - 1] if place else float("-inf"))
    return best


def _edges(pieces: Sequence[_Piece]) -> list[float]:
    """Left edges that several pieces share, but for the leftmost."""
    found: list[list[float]] = []
    for x in sorted(piece.x0 for piece in pieces):
        if found and x - found[-1][-1] <= 2:
            found[-1].append(x)
        else:
            found.append([x])
    return [group[0] for group in found[1:] if len(group) >= COLUMN_LINES]


def _near_size(pieces: Sequence[_Piece], x: float) -> float:
    return median([piece.size for piece in pieces if abs(piece.x0 - x) <= 3] or [10.0])


def _shared_height(left: Sequence[_Piece], right: Sequence[_Piece]) -> float:
    if len(left) < COLUMN_LINES or len(right) < COLUMN_LINES:
        return 0.0
    bottom = min(max(piece.y1 for piece in left), max(piece.y1 for piece in right))
    return bottom - max(min(piece.y0 for piece in left), min(piece.y0 for piece in right))


def _is_prose(column: Sequence[_Piece]) -> bool:
    """Whether most of its lines are full, as those of a table or a list are not."""
    lines = [piece for piece in column if piece.table < 0]
    if len(lines) < COLUMN_LINES:
        return False
    widths = sorted(piece.x1 - piece.x0 for piece in lines)
    # A side may hold several columns. One line that sticks out must not make all others short.
    wide = widths[-max(1, len(widths) // 10)]
    size = median([piece.size for piece in lines])
    full = sum(width >= FULL * wide for width in widths)
    return wide >= COLUMN_WIDTH * size and full * 2 >= len(lines)


def _parts(pieces: Sequence[_Piece], left: list[_Piece], right: list[_Piece], top: float) -> Parts:
    inside = {id(piece) for piece in (*left, *right)}
    above = [piece for piece in pieces if id(piece) not in inside and piece.middle <= top]
    below = [piece for piece in pieces if id(piece) not in inside and piece.middle > top]
    return above, left, right, below


def _is_in_rows(pieces: Sequence[_Piece], place: dict[int, int], text: str, words: Sequence[Word]) -> bool:
    """Whether the content goes through the regions in rows, cell by cell, as it does through a table.

    Rows of cells of one line each look like columns that were written line by line; there it counts how often a line
    goes on in small letters where the line above it in the same region left off.
    """
    visits = [list(group) for _, group in groupby(pieces, key=lambda piece: place[id(piece)])]
    beside = [
        (one, other)
        for one, other in pairwise(visits)
        if other[0].x0 > one[-1].x1 and abs(other[0].middle - one[0].middle) < 0.5 * other[0].size
    ]
    goes_up = any(o[0].middle < a[0].middle - o[0].size and o[0].x0 < a[-1].x1 for a, o in pairwise(visits))
    if goes_up or len(beside) < 3 or len(beside) * 3 < len(visits):
        return False
    if sum(len(one) > 1 or len(other) > 1 for one, other in beside) * 2 > len(beside):
        return True
    started = [text[words[piece.words[0]].start] for piece in pieces if piece.words]
    return sum(not (first.islower() or first > "\u2e80") for first in started) * 2 > len(started)


def _by_rows(region: Sequence[_Piece]) -> list[_Piece]:
    """From the top to the bottom, and from the left to the right where pieces stand side by side."""
    rows: list[list[_Piece]] = []
    for piece in sorted(region, key=lambda p: p.middle):
        last = rows[-1][0] if rows else None
        if last and min(last.y1, piece.y1) - max(last.y0, piece.y0) > 0.5 * min(last.y1 - last.y0, piece.y1 - piece.y0):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [piece for row in rows for piece in sorted(row, key=lambda p: p.x0)]


def _by_blocks(pieces: list[_Piece]) -> list[_Piece]:
    """The content's order; blocks that it runs through downwards are sorted where none is beside another."""
    blocks: list[list[_Piece]] = []
    for piece in pieces:
        if blocks and piece.middle > blocks[-1][-1].middle - 0.5 * piece.size:
            blocks[-1].append(piece)
        else:
            blocks.append([piece])
    spans = sorted((min(p.y0 for p in b), max(p.y1 for p in b), n) for n, b in enumerate(blocks))
    slack = 0.3 * median([piece.size for piece in pieces])
    if any(below[0] < above[1] - slack for above, below in pairwise(spans)):
        return pieces
    return [piece for _, _, n in spans for piece in blocks[n]]


# -- lines -------------------------------------------------------------------------------------------------------------


def _strip(pieces: Sequence[_Piece], text: str, words: Sequence[Word], bold: frozenset[int]) -> Strip:
    numbers = [number for piece in pieces for number in piece.words]
    piece = pieces[0] if len(pieces) == 1 else _piece(numbers, 0, words)
    is_bold = numbers[0] in bold and numbers[-1] in bold
    return Strip((_spans(numbers, text, words),), piece.x0, piece.y0, piece.x1, piece.y1, piece.size, is_bold)


def _spans(numbers: Sequence[int], text: str, words: Sequence[Word]) -> tuple[Span, ...]:
    """Spans of the raw text that hold these words, as few as there can be, in the words' own order."""
    found: list[Span] = []
    for number in numbers:
        word = words[number]
        if found and found[-1][1] <= word.start and not text[found[-1][1] : word.start].strip(" \t\u00a0"):
            found[-1] = (found[-1][0], word.end)
        else:
            found.append((word.start, word.end))
    return tuple(found)


def _table_strips(number: int, table: Block, text: str, words: Sequence[Word]) -> Iterator[Strip]:
    """The lines of a table: its title as its lines are, then a line for every row."""
    titles = [
        _spans([n for n, _ in group], text, words)
        for _, group in groupby(_numbered_lines(table.title, text, words), key=lambda item: item[1])
    ]
    rows = [tuple(_spans(cell, text, words) for cell in row) for row in (*table.head, *table.rows)]
    size = _size([words[n] for n in _words_of(table)]) if any(_words_of(table)) else 10.0
    for cells in (*((spans,) for spans in titles), *rows):
        yield Strip(cells, table.x0, table.y0, table.x1, table.y1, size, table=number)


def _numbered_lines(numbers: Sequence[int], text: str, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Words with the number of the line they stand on."""
    line = 0
    for k, number in enumerate(numbers):
        if k and _LINE_END.search(text, words[numbers[k - 1]].end - 1, max(words[number].start, 0)):
            line += 1
        yield number, line


# -- paragraphs --------------------------------------------------------------------------------------------------------


def _set_apart(found: Sequence[Strip], text: str) -> list[Strip]:
    usual = _usual_gap(found)
    wide = median([strip.x1 - strip.x0 for strip in found]) if found else 0.0
    apart = [strip.table != above.table or (strip.table < 0 and _is_apart(above, strip, usual, wide, text))
             for above, strip in pairwise(found)]  # fmt: skip
    return [*found[:1], *(replace(s, apart=True) if a else s for s, a in zip(found[1:], apart, strict=True))]


def _usual_gap(found: Sequence[Strip]) -> float:
    """The white between the lines of a paragraph, in points: what is most usual from a line to the next."""
    gaps = Counter(
        round(below.y0 - above.y1)
        for above, below in pairwise(found)
        if above.table < 0 and below.table < 0 and below.y0 > above.y0 and abs(above.size - below.size) < 1
    )
    if not gaps:
        return 2.0
    most = max(gaps.values())
    # Of gaps that are about as frequent the smallest: a page of short paragraphs has many of both.
    return min(gap for gap, count in gaps.items() if count * 2 >= most)


def _is_apart(above: Strip, below: Strip, usual: float, wide: float, text: str) -> bool:
    size = max(1.0, min(above.size, below.size))
    if min(above.y1, below.y1) - max(above.y0, below.y0) > 0.5 * min(above.y1 - above.y0, below.y1 - below.y0):
        return False  # beside each other
    goes_on = _goes_on(above, wide, text)
    if below.y1 < above.y1:  # the next column
        return not (goes_on and abs(above.size - below.size) < 1)
    if below.y0 - above.y1 > usual + max(1.0, APART * size):
        return True
    if min(_length(above), _length(below)) < 4:
        return False
    differ = abs(above.size - below.size) / max(above.size, below.size, 1.0)
    # Words in small capitals or in another weight at the start of a line do not end a paragraph.
    return differ > MUCH or (not goes_on and (differ > SOME or above.bold != below.bold))


def _goes_on(strip: Strip, wide: float, text: str) -> bool:
    """Whether a line is full and ends no sentence, so that the next line belongs to it."""
    end = strip.cells[-1][-1][1]
    return strip.x1 - strip.x0 >= 0.75 * wide and not _ENDED.search(text, max(0, end - 4), end)


def _length(strip: Strip) -> int:
    return sum(end - start for cell in strip.cells for start, end in cell)
