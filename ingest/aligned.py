"""Tables without drawn cells: lines whose pieces stand one above the other. Pure, standard library only.

Running text is put aside first, so that a table beside a column of it is seen alone. What is left is gathered into runs
of lines, each run's columns are read from the places of its pieces, and the run is kept only when it holds figures in
columns. Precision goes first: lists, addresses, forms, contents, formulas and code are left as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragapp.ingest.cells import Cells, HeadCell
from ragapp.ingest.frames import Frame, apart, frame_of, runs_of, side_by_side, trimmed
from ragapp.ingest.prose import running_text
from ragapp.ingest.segments import MATHS, Line, Piece, is_number, is_year
from ragapp.ingest.words import Rule

_DEPTH = 4  # how often a run may be cut in two in search of a table
_HEADS = 6  # lines of a head at most


@dataclass(frozen=True, slots=True)
class _Reading:
    """A frame read as a table: its lines from ``start``, its body from line ``body`` on, the texts of the body by
    column ("" for a piece across columns, which speaks against them), and how many body lines hold several pieces.
    """

    frame: Frame
    start: int
    body: int
    texts: tuple[tuple[str, ...], ...]
    full: int
    is_ruled: bool


def find_aligned(lines: Sequence[Line], rules: Sequence[Rule], em: float) -> list[Cells]:
    """The tables among these lines, from the top. ``rules`` are the page's ruled lines, ``em`` a word's height."""
    if sum(len(line.pieces) > 1 for line in lines) < 2:
        return []
    level = [rule for rule in rules if rule.is_horizontal and rule.x1 - rule.x0 >= 8 * em]
    found: list[Cells] = []
    for run in runs_of(lines, running_text(lines, em), em):
        found += _tables(run, level, em, _DEPTH)
    return sorted(found, key=lambda table: (table.y0, table.x0))


def _tables(run: Sequence[Line], level: Sequence[Rule], em: float, depth: int) -> list[Cells]:
    """The tables of a run: the run itself, or those of its parts where it is none."""
    run = trimmed(run)
    if sum(len(line.pieces) > 1 for line in run) < 2:
        return []
    halves = side_by_side(run, em) if depth else None
    if halves is None:
        frame = frame_of(run, level, em)
        reading = _reading(frame) if frame else None
        if reading is not None and _is_table(reading):
            return [_cells(reading)]
        halves = apart(run, em) if depth else None
    return [table for half in halves or () for table in _tables(half, level, em, depth - 1)]


def _reading(frame: Frame) -> _Reading:
    start = _first_line(frame)
    body = _first_of_body(frame, start)
    texts: list[list[str]] = [[] for _ in frame.spans]
    for line, places in zip(frame.lines[body:], frame.places[body:], strict=True):
        for piece, (first, last) in zip(line.pieces, places, strict=True):
            if first != last and not (first == 0 and len(places) == 1):
                texts[first].append("")
            texts[first].append(piece.text)
    full = sum(len(places) > 1 for places in frame.places[body:])
    return _Reading(frame, start, body, tuple(map(tuple, texts)), full, _is_ruled(frame))


def _first_line(frame: Frame) -> int:
    """The first line of the table: a line of one piece above the others belongs to it when it stands over their
    figures, or when it is the label of a section.
    """
    start = next(k for k, line in enumerate(frame.lines) if len(line.pieces) > 1)
    while start and (frame.places[start - 1][0][0] >= 1 or _is_section(frame, start - 1)):
        start -= 1
    return start


def _is_section(frame: Frame, k: int) -> bool:
    """Whether a line of one piece right above a row of figures is a label: it has a colon, or the row is indented."""
    label, below = frame.lines[k].pieces[0], frame.lines[k + 1]
    if below.y0 - label.y1 > 0.7 * frame.em or frame.places[k + 1][0][0] > 0 or not _figures(frame, k + 1):
        return False
    return label.text.endswith((":", "：")) or 0.3 * frame.em < below.pieces[0].x0 - label.x0 < 4 * frame.em


def _figures(frame: Frame, k: int) -> list[Piece]:
    """The figures of a line that stand behind its label and are no years."""
    pairs = zip(frame.lines[k].pieces, frame.places[k], strict=True)
    return [p for p, (first, _) in pairs if first > 0 and p.is_number and not is_year(p.text)]


def _first_of_body(frame: Frame, start: int) -> int:
    """The first line below the head: the first with a figure that is no year, or a label alone below other lines or
    above figures.
    """
    for k in range(start, len(frame.lines)):
        if _figures(frame, k):
            return k if k - start <= _HEADS else start
        lone = len(frame.lines[k].pieces) == 1 and frame.places[k][0][0] == 0
        if lone and (k > start or (k + 1 < len(frame.lines) and _figures(frame, k + 1))):
            return k
    return next((k for k in range(start + 1, min(start + 4, len(frame.lines))) if _is_underlined(frame, k)), start)


def _is_underlined(frame: Frame, k: int) -> bool:
    """Whether a rule as wide as the table stands right above line ``k``."""
    width = frame.spans[-1][1] - frame.spans[0][0]
    wide = [rule for rule in frame.level if rule.x1 - rule.x0 > 0.7 * width]
    return _ruled_between(frame.lines[k - 1], frame.lines[k], wide)


def _is_table(reading: _Reading) -> bool:
    """Whether there are figures in columns, enough rows of them, and nothing that speaks for another kind of text."""
    frame, texts = reading.frame, reading.texts
    values = [column for column in range(1, frame.wide) if _is_numeric(texts[column])]
    if not _is_filled(reading) or _is_wordy(reading) or _is_formula(frame) or _is_form(frame):
        return False
    if not values:
        return reading.is_ruled and reading.full > 2 and frame.wide > 2 and _is_tidy(frame)
    if len(values) == 1 and _is_contents(reading, texts[values[0]]):
        return False
    return len(values) >= 0.5 * (frame.wide - 1) or reading.is_ruled or (frame.wide >= 3 and _is_tidy(frame))


def _is_filled(reading: _Reading) -> bool:
    """Whether enough lines hold several cells: three, fewer below a head or rules or with many columns."""
    wide, full = reading.frame.wide, reading.full
    headed = reading.body > reading.start
    least = 2 if headed or reading.is_ruled else 3
    if wide >= 5:
        least = 1 if headed else 2
    if full < least or sum(map(len, reading.texts)) < 0.45 * full * wide:
        return False
    if _lone(reading.frame, reading.body) > 0.25 * (len(reading.frame.lines) - reading.body):
        return False
    if not headed and not reading.is_ruled and wide < 4 and _is_numeric(reading.texts[0]):
        return False  # figures without a word that says what they are
    filled = [column for places in reading.frame.places[reading.start :] for column, _ in places]
    if sum(filled.count(column) > 1 for column in range(wide)) < 2:
        return False
    return wide > 3 or all(len(column) >= 0.3 * full for column in reading.texts[1:])


def _lone(frame: Frame, body: int) -> int:
    """How many lines hold one piece that is no label: figures along the side of a chart, a list beside something."""
    ones = [k for k in range(body, len(frame.lines)) if len(frame.lines[k].pieces) == 1]
    return sum(frame.places[k][0][0] > 0 or frame.lines[k].pieces[0].is_number for k in ones)


def _is_wordy(reading: _Reading) -> bool:
    """Whether cells hold sentences rather than labels and figures."""
    if not reading.is_ruled and any(text.count(" ") > 8 for column in reading.texts[1:] for text in column):
        return True
    words = sorted(text.count(" ") + 1 for column in reading.texts for text in column if text)
    return words[len(words) // 2] > 6


def _is_numeric(texts: Sequence[str]) -> bool:
    filled = [text for text in texts if text]
    return len(filled) > 0 and sum(is_number(text) for text in filled) >= 0.6 * len(texts)


def _is_ruled(frame: Frame) -> bool:
    """Whether two level lines as wide as the run stand in it, right above it or right below it."""
    em, x0, x1 = frame.em, frame.spans[0][0], frame.spans[-1][1]
    y0, y1 = frame.lines[0].y0 - 1.5 * em, frame.lines[-1].y1 + 1.5 * em
    places = [
        rule.y0
        for rule in frame.level
        if y0 <= rule.y0 <= y1
        and min(x1, rule.x1) - max(x0, rule.x0) >= 0.7 * (x1 - x0)
        and rule.x1 - rule.x0 <= 1.4 * (x1 - x0) + 2 * em
    ]
    return bool(places) and max(places) - min(places) > 0.5 * em


def _is_formula(frame: Frame) -> bool:
    """Whether signs of mathematics stand in it, or lines that reach into each other as raised and lowered signs do."""
    pieces = [p for line in frame.lines for p in line.pieces]
    odd = sum(1 for p in pieces if MATHS.search(p.text) or _is_mark(p))
    pairs = list(pairwise(frame.lines))
    close = sum(below.y0 < above.y1 - 0.3 * frame.em for above, below in pairs)
    return odd > 0.2 * len(pieces) or close > 0.2 * len(pairs)


def _is_mark(piece: Piece) -> bool:
    return len(piece.text) <= 2 and not any(c.isalnum() for c in piece.text) and not piece.is_number


def _is_form(frame: Frame) -> bool:
    """Whether labels with colons stand in later columns too, or before single answers: "Name: … Date: …"."""
    first = later = 0
    for line, places in zip(frame.lines, frame.places, strict=True):
        colons = [column for p, (column, _) in zip(line.pieces, places, strict=True) if p.text.endswith((":", "："))]
        first += len(places) > 1 and 0 in colons
        later += any(column > 0 for column in colons)
    lines = len(frame.lines)
    return (later >= 2 and later >= 0.2 * lines) or ((frame.wide == 2 or later > 0) and first >= 0.6 * lines)


def _is_contents(reading: _Reading, figures: Sequence[str]) -> bool:
    """Whether the only figures are page numbers: plain whole numbers that never go down."""
    figures = [text.lstrip(".· ") for text in figures]
    plain = [text for text in figures if text.isdecimal() and len(text) <= 4]
    if len(plain) < 0.8 * len(figures):
        return False
    numbers = [int(text) for text in plain]
    rising = all(a <= b for a, b in pairwise(numbers))
    return (rising and (not reading.is_ruled or len(plain) > 5)) or any(line.leaders for line in reading.frame.lines)


def _is_tidy(frame: Frame) -> bool:
    """Whether the pieces of every later column begin, end or are centred at one place."""
    for column in range(1, len(frame.spans)):
        pieces = [
            p
            for line, places in zip(frame.lines, frame.places, strict=True)
            for p, (first, last) in zip(line.pieces, places, strict=True)
            if first == last == column
        ]
        if not pieces:
            return False
        edges = ([p.x0 for p in pieces], [p.x1 for p in pieces], [(p.x0 + p.x1) / 2 for p in pieces])
        if max(_agreeing(edge, 0.35 * frame.em) for edge in edges) < 0.7 * len(pieces):
            return False
    return True


def _agreeing(values: Sequence[float], reach: float) -> int:
    """How many of these values lie within ``reach`` of their middle one."""
    middle = sorted(values)[len(values) // 2]
    return sum(abs(value - middle) <= reach for value in values)


def _cells(reading: _Reading) -> Cells:
    frame, start, body = reading.frame, reading.start, reading.body
    rows: list[list[list[int]]] = []
    for k in range(body, len(frame.lines)):
        row: list[list[int]] = [[] for _ in frame.spans]
        for piece, (first, _) in zip(frame.lines[k].pieces, frame.places[k], strict=True):
            row[first] += piece.words
        if rows and _goes_on(frame, k, rows[-1], row):
            for above, more in zip(rows[-1], row, strict=True):
                above.extend(more)
        else:
            rows.append(row)
    pieces = [p for line in frame.lines[start:] for p in line.pieces]
    return Cells(
        min(p.x0 for p in pieces),
        min(p.y0 for p in pieces),
        max(p.x1 for p in pieces),
        max(p.y1 for p in pieces),
        frame.spans,
        tuple(_head_row(frame, k, body) for k in range(start, body)),
        tuple(tuple(tuple(cell) for cell in row) for row in rows),
        body > start,
    )


def _goes_on(frame: Frame, k: int, above: Sequence[Sequence[int]], row: Sequence[Sequence[int]]) -> bool:
    """Whether line ``k`` goes on with the row above it: a label that wraps, or cells of words that do."""
    line, before = frame.lines[k], frame.lines[k - 1]
    if line.y0 - before.y1 > 0.7 * frame.em or _ruled_between(before, line, frame.level):
        return False
    if frame.places[k][0][0] > 0:
        words = not any(p.is_number for p in line.pieces)
        return words and all(above[first] for first, _ in frame.places[k]) and bool(above[0])
    label = line.pieces[0].text
    if not any(row[1:]):
        return label[:1].islower()
    return not any(above[1:]) and label[:1].islower() and not before.pieces[0].text.endswith((":", "："))


def _ruled_between(above: Line, below: Line, level: Sequence[Rule]) -> bool:
    top, bottom = (above.y0 + above.y1) / 2, (below.y0 + below.y1) / 2
    return any(top < rule.y0 < bottom for rule in level)


def _head_row(frame: Frame, k: int, body: int) -> tuple[HeadCell, ...]:
    """The cells of a line of the head. One with heads below it covers those that it is centred over."""
    places = frame.places[k]
    below = {c for lower in range(k + 1, body) for first, last in frame.places[lower] for c in range(first, last + 1)}
    lows = [1, *(last + 1 for _, last in places)]
    highs = [*(first - 1 for first, _ in places[1:]), frame.wide - 1]
    row: list[HeadCell] = []
    for piece, place, low, high in zip(frame.lines[k].pieces, places, lows, highs, strict=False):
        covered = place
        if place[0] > 0 and below and below.issuperset(range(place[0], place[1] + 1)):
            headed = [c for c in range(max(1, low), high + 1) if c in below]
            covered = _centred(frame, k, piece, place, headed)
        row.append(HeadCell(*covered, piece.words))
    return tuple(row)


def _centred(frame: Frame, k: int, piece: Piece, place: tuple[int, int], headed: Sequence[int]) -> tuple[int, int]:
    """The columns around ``place``, all with a head of their own, that a piece is centred over."""
    middle = (piece.x0 + piece.x1) / 2
    pairs = (
        pair
        for n in range(k + 1, len(frame.lines))
        for pair in zip(frame.lines[n].pieces, frame.places[n], strict=True)
    )
    below = [p for p, (first, last) in pairs if place[0] <= first and last <= place[1]]
    low, high = min(p.x0 for p in below), max(p.x1 for p in below)
    # One that is wider than the column below it stands over more: the middle one of three looks like all three.
    outside = piece.x0 < low - 0.2 * frame.em and piece.x1 > high + 0.2 * frame.em

    def off(span: tuple[int, int]) -> float:
        away = abs((frame.spans[span[0]][0] + frame.spans[span[1]][1]) / 2 - middle)
        return away + 0.25 * frame.em if (span == place) == outside else away

    wider = [
        (first, last)
        for first in headed
        for last in headed
        if first <= place[0] and place[1] <= last and all(c in headed for c in range(first, last + 1))
    ]
    best = min(wider, key=off, default=place)
    return best if off(best) < 1.75 * frame.em else place
