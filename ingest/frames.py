"""Columns read from the places of pieces: runs of lines, cut where two things stand side by side or one below the
other. Pure geometry, standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragapp.ingest.segments import CAPTION, Line, Piece
from ragapp.ingest.words import Rule

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of lines and its columns; ``places[line]`` is the (first, last) column of each of the line's pieces.
    ``level`` are the level rules of the page, ``em`` is a word's height.
    """

    lines: tuple[Line, ...]
    spans: tuple[Span, ...]
    places: tuple[tuple[tuple[int, int], ...], ...]
    level: tuple[Rule, ...]
    em: float

    @property
    def wide(self) -> int:
        """The number of columns."""
        return len(self.spans)


def runs_of(lines: Sequence[Line], prose: set[tuple[int, ...]], em: float) -> list[list[Line]]:
    """Lines that follow each other closely, without prose between them; each run holds lines of several pieces."""
    runs: list[list[Line]] = [[]]
    alone = 0
    for line in lines:
        kept = tuple(p for p in line.pieces if p.words not in prose)
        run = runs[-1]
        if not kept:
            if run and _overlaps(line.pieces, run):
                runs.append([])
            continue
        if run and (line.y0 - run[-1].y1 > 2.2 * em or (len(kept) == 1 and CAPTION.match(kept[0].text))):
            runs.append([])
        alone = 0 if len(kept) > 1 else alone + 1
        if alone > 4 and any(len(other.pieces) > 1 for other in runs[-1]):
            runs.append([])
        y0, y1 = min(p.y0 for p in kept), max(p.y1 for p in kept)
        runs[-1].append(Line(y0, y1, kept, line.leaders))
    return [run for run in runs if sum(len(line.pieces) > 1 for line in run) >= 2]


def _overlaps(pieces: Sequence[Piece], run: Sequence[Line]) -> bool:
    x0 = min(p.x0 for line in run for p in line.pieces)
    x1 = max(p.x1 for line in run for p in line.pieces)
    return any(p.x0 < x1 and p.x1 > x0 for p in pieces)


def trimmed(run: Sequence[Line]) -> list[Line]:
    """Without the lines of one piece at the end, and with at most three of them at the beginning (heads over heads)."""
    first = next((k for k, line in enumerate(run) if len(line.pieces) > 1), 0)
    last = max((k for k, line in enumerate(run) if len(line.pieces) > 1), default=-1)
    while last + 1 < len(run) and run[last + 1].pieces[0].is_number:
        last += 1
    if last + 1 < len(run) and run[last + 1].pieces[0].text[:1].islower():
        last += 1
    return list(run[max(0, first - 3) : last + 1])


def side_by_side(run: Sequence[Line], em: float) -> tuple[list[Line], list[Line]] | None:
    """Two things side by side: a gap through the whole run, with figures before it and labels after it, or lines of
    their own on either side.
    """
    gaps = _gaps(run, 2.0 * em)
    for low, high in sorted(gaps, key=lambda gap: gap[0] - gap[1]):
        middle = (low + high) / 2
        left, right = _side(run, middle, before=True), _side(run, middle, before=False)
        only_left = sum(all(p.x1 <= middle for p in line.pieces) for line in run)
        only_right = sum(all(p.x0 >= middle for p in line.pieces) for line in run)
        parted = min(only_left, only_right) >= max(2, 0.25 * len(run))
        if parted or (high - low >= 2.5 * em and _is_double(left, right)):
            return left, right
    return None


def _gaps(run: Sequence[Line], least: float) -> list[Span]:
    """The upright strips of white space between pieces that go through every line."""
    edges = sorted((p.x0, p.x1) for line in run for p in line.pieces)
    gaps: list[Span] = []
    reach = edges[0][1]
    for x0, x1 in edges[1:]:
        if x0 - reach >= least:
            gaps.append((reach, x0))
        reach = max(reach, x1)
    return gaps


def _side(run: Sequence[Line], middle: float, before: bool) -> list[Line]:
    side: list[Line] = []
    for line in run:
        kept = tuple(p for p in line.pieces if (p.x1 <= middle) == before)
        if kept:
            side.append(Line(min(p.y0 for p in kept), max(p.y1 for p in kept), kept, line.leaders))
    return side


def _is_double(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Whether both sides are tables of their own: labels first, figures last."""
    return all(_is_whole(side) for side in (left, right))


def _is_whole(side: Sequence[Line]) -> bool:
    rows = [line for line in side if len(line.pieces) > 1]
    labelled = sum(not line.pieces[0].is_number and line.pieces[-1].is_number for line in rows)
    return len(rows) >= 3 and labelled >= 0.6 * len(rows) and len({len(line.pieces) for line in rows}) <= 3


def apart(run: Sequence[Line], em: float) -> tuple[list[Line], list[Line]] | None:
    """The run cut at its widest gap between two lines; at a line of one piece where all gaps are alike."""
    if len(run) < 5:
        return None
    spaces = [(run[k].y0 - run[k - 1].y1, -abs(2 * k - len(run)), k) for k in range(1, len(run))]
    space, _, k = max(spaces)
    usual = sorted(gap for gap, _, _ in spaces)[len(spaces) // 2]
    if space < usual + 0.3 * em:
        lone = [n for n in range(2, len(run) - 2) if len(run[n].pieces) == 1]
        if not lone:
            return None
        k = min(lone, key=lambda n: abs(2 * n - len(run)))
    return list(run[:k]), list(run[k:])


def frame_of(run: Sequence[Line], level: Sequence[Rule], em: float) -> Frame | None:
    """The columns of a run: pieces that overlap stand in one, the narrow ones first; what then lies over several is a
    head over them, or the end of a label that is longer than its column.
    """
    spans: list[list[float]] = []
    pieces = [p for line in run if len(line.pieces) > 1 or line.pieces[0].is_number for p in line.pieces]
    for piece in sorted(pieces, key=lambda p: (p.x1 - p.x0, p.x0, p.y0)):
        under = [span for span in spans if min(piece.x1, span[1]) - max(piece.x0, span[0]) > 0.1 * em]
        if not under:
            spans.append([piece.x0, piece.x1])
        elif len(under) == 1:
            under[0][0], under[0][1] = min(under[0][0], piece.x0), max(under[0][1], piece.x1)
    spans.sort()
    merged = _merge(spans, run, em)
    kept = _without_strays(merged, run, em)
    if kept is not None:
        return frame_of(kept, level, em)
    if len(merged) < 2 or all(len(line.pieces) < 2 for line in run):
        return None
    places = tuple(tuple(_place(p, merged, em) for p in line.pieces) for line in run)
    return Frame(tuple(run), tuple(merged), places, tuple(level), em)


def _without_strays(spans: Sequence[Span], run: Sequence[Line], em: float) -> list[Line] | None:
    """The run without an outermost column that only one of many lines fills: a heading beside the table, mostly."""
    if len(run) < 4 or len(spans) < 3:
        return None
    for (x0, x1), gap in ((spans[-1], spans[-1][0] - spans[-2][1]), (spans[0], spans[1][0] - spans[0][1])):
        inside = [p for line in run for p in line.pieces if p.x1 > x0 and p.x0 < x1]
        if len(inside) == 1 and gap > 0.75 * em and x0 <= inside[0].x0 and inside[0].x1 <= x1:
            left = [Line(n.y0, n.y1, tuple(p for p in n.pieces if p is not inside[0]), n.leaders) for n in run]
            return [line for line in left if line.pieces]
    return None


def _place(piece: Piece, spans: Sequence[Span], em: float) -> tuple[int, int]:
    under = [k for k, (x0, x1) in enumerate(spans) if min(piece.x1, x1) - max(piece.x0, x0) > 0.1 * em]
    if under:
        return under[0], under[-1]
    middle = (piece.x0 + piece.x1) / 2
    nearest = min(range(len(spans)), key=lambda k: max(spans[k][0] - middle, middle - spans[k][1]))
    return nearest, nearest


def _merge(spans: list[list[float]], run: Sequence[Line], em: float) -> list[Span]:
    """Neighbouring columns that no line fills both are one: indented labels, heads beside their figures."""
    merged: list[Span] = []
    for x0, x1 in spans:
        if merged:
            last = merged[-1]
            if x0 <= last[1] or (_bridged(last, (x0, x1), run, em) and not _both_filled(last, (x0, x1), run)):
                merged[-1] = last[0], max(last[1], x1)
                continue
        merged.append((x0, x1))
    return merged


def _bridged(a: Span, b: Span, run: Sequence[Line], em: float) -> bool:
    near = b[0] - a[1] < 1.5 * em
    return near or any(p.x0 < a[1] and p.x1 > b[0] for line in run for p in line.pieces)


def _both_filled(a: Span, b: Span, run: Sequence[Line]) -> bool:
    for line in run:
        inside_a = any(p.x0 < a[1] and p.x1 > a[0] and p.x1 <= b[0] for p in line.pieces)
        inside_b = any(p.x0 < b[1] and p.x1 > b[0] and p.x0 >= a[1] for p in line.pieces)
        if inside_a and inside_b:
            return True
    return False
