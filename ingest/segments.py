"""Words gathered into lines, and lines cut into pieces where the white space is wider than between two words.

Pure geometry, standard library only; every length is measured in the height of an ordinary word, so the result does
not depend on the scale of the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ragapp.ingest.words import Word

_BLANK = re.compile(r"(?:[-–—−‐.…]+|n/?a|nm|nil|none)", re.IGNORECASE)
_NUMBER = re.compile(
    r"[^\w]*(?:(?:US|CA|AU|HK|NT|R)?[$€£¥￥][^\w]*|(?:RMB|EUR|USD|GBP|CHF)\s)?\d[\d.,'’/:\s]*[^\w]*"
    r"(?:[A-Za-z]{1,3}|[万亿億元倍])?[^\w]*(?:[(\[][a-z\d]{1,2}[)\]])?[*†‡§]*(?<![,;:])"
)
_DIGIT = re.compile(r"\d")
_WHOLE = re.compile(r"\d[.,]\d+[%)]?$")  # no part of a figure whose thousands are set apart by spaces
_YEAR = re.compile(r"(?:FY|CY)?\s*(?:19|20)\d\d(?:[-–/](?:\d\d|\d{4}))?[EFA年]?(?:\s*[(\[][a-z\d]{1,3}[)\]])?[*†]*")
_SIGN = re.compile(r"[(+\-−–]?\s*(?:US|CA|AU|HK|NT|R|S)?[$€£¥₹₩￥]|EUR|USD|GBP|CHF|RMB|[(]")
_TAIL = re.compile(r"[)%％*†‡]+")
CAPTION = re.compile(
    r"(?:table|tabelle|tableau|tabla|exhibit|schedule|figure|fig\.|abbildung|表|图)\s*[\dA-Z]", re.IGNORECASE
)
MATHS = re.compile(r"[=≤≥≠≈≡∈∉⊂⊆∪∩→⇒∀∃∑∏∫√∞∂∇⟨⟩{}\\;]|[\U0001d400-\U0001d7ff]")  # and of code
LEADERS = re.compile(r"[.…·_]{2,}|\.")


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that stand together on a line: their indices from left to right, their text, and the box around them."""

    x0: float
    y0: float
    x1: float
    y1: float
    words: tuple[int, ...]
    text: str

    @property
    def is_number(self) -> bool:
        """Whether it is a figure, or stands where a figure would ("—", "n/a")."""
        return is_number(self.text)


@dataclass(frozen=True, slots=True)
class Line:
    """Pieces on one line from left to right. ``leaders`` says that dots led the eye from one piece to another."""

    y0: float
    y1: float
    pieces: tuple[Piece, ...]
    leaders: bool = False


def is_number(text: str) -> bool:
    """Whether a cell holds a figure with at most a sign, a unit or a footnote's mark, or a dash in its place."""
    return _NUMBER.fullmatch(text) is not None or _BLANK.fullmatch(text) is not None


def is_year(text: str) -> bool:
    """Whether a cell holds nothing but a year, which heads a column more often than it fills one."""
    return _YEAR.fullmatch(text.strip()) is not None


def height_of(words: Sequence[Word]) -> float:
    """The height of an ordinary word; 1 when there is none."""
    heights = sorted(word.y1 - word.y0 for word in words)
    return heights[len(heights) // 2] or 1.0 if heights else 1.0


def rows_of(words: Sequence[Word], among: Sequence[int], em: float) -> list[list[int]]:
    """Indices of words by the line they stand on, lines from the top, words from the left."""
    middles = sorted(((words[i].y0 + words[i].y1) / 2, words[i].x0, words[i].start, i) for i in among)
    lines: list[list[int]] = []
    first = 0.0
    for middle, _, _, index in middles:
        if lines and middle - first <= 0.4 * em:
            lines[-1].append(index)
        else:
            lines.append([index])
            first = middle
    for line in lines:
        line.sort(key=lambda i: (words[i].x0, words[i].start))
    return lines


def cut_lines(words: Sequence[Word], text: str, among: Sequence[int], em: float) -> list[Line]:
    """The lines of a page, cut into pieces."""
    rows = rows_of(words, among, em)
    wide = _wide(words, rows, em)
    return [line for row in rows if (line := _cut(words, text, row, wide, em)).pieces]


def _wide(words: Sequence[Word], rows: Sequence[Sequence[int]], em: float) -> float:
    """The narrowest gap that parts two pieces. Typewriter text has wide spaces, and two of them after a sentence."""
    gaps = [words[b].x0 - words[a].x1 for row in rows for a, b in pairwise(row)]
    spaces = [gap for gap in gaps if 0 < gap < 0.7 * em]
    return max(0.75 * em, 2.4 * median(spaces)) if spaces else 0.75 * em


def _cut(words: Sequence[Word], text: str, row: Sequence[int], wide: float, em: float) -> Line:
    groups: list[list[int]] = []
    leaders = False
    before: Word | None = None
    for index in row:
        word = words[index]
        if LEADERS.fullmatch(text, word.start, word.end):
            # Dots that lead to a figure belong to no cell; they part what stands before from what stands after them.
            leaders = leaders or word.end - word.start > 3
            before = None
        elif before is not None and word.x0 - before.x1 <= wide * _share(before, word, em):
            groups[-1].append(index)
            before = word if word.x1 > before.x1 else before
        else:
            groups.append([index])
            before = word
    groups = _figures_parted(words, text, _stretched_joined(words, text, groups, em), wide, em)
    pieces = _signs_joined([_piece(words, text, group) for group in groups], em)
    y0 = min(words[i].y0 for i in row)
    y1 = max(words[i].y1 for i in row)
    return Line(y0, y1, tuple(pieces), leaders)


def _share(a: Word, b: Word, em: float) -> float:
    """Small print has narrow gaps: a gap counts by the lower of the two words beside it."""
    return min(1.0, (a.y1 - a.y0) / em, (b.y1 - b.y0) / em)


def _stretched_joined(words: Sequence[Word], text: str, groups: list[list[int]], em: float) -> list[list[int]]:
    """A justified line may be stretched until its spaces look like gaps, but then they are all equally wide."""
    if len(groups) < 4:
        return groups
    joined: list[list[int]] = []
    k = 0
    while k < len(groups):
        end = k + 1
        first = _gap(words, groups, k)
        while end < len(groups) and first < 1.2 * em and abs(_gap(words, groups, end - 1) - first) < 0.12 * em:
            end += 1
        members = [i for group in groups[k:end] for i in group]
        marks = [text[words[i].start : words[i].end] for i in members]
        letters = sum(mark.isalpha() for mark in marks) >= 0.6 * len(marks)
        if end - k >= 4 and letters and sum(map(len, marks)) >= 3 * len(marks):
            joined.append(members)
            k = end
        else:
            joined.append(groups[k])
            k += 1
    return joined


def _gap(words: Sequence[Word], groups: Sequence[Sequence[int]], k: int) -> float:
    """The white space after a group; endless after the last."""
    return words[groups[k + 1][0]].x0 - words[groups[k][-1]].x1 if k + 1 < len(groups) else float("inf")


def _figures_parted(
    words: Sequence[Word], text: str, groups: list[list[int]], wide: float, em: float
) -> list[list[int]]:
    """Figures stand closer in narrow tables than words do: groups with several of them are cut at smaller gaps."""
    parted: list[list[int]] = []
    for group in groups:
        figures = [_is_figure(text, words[i]) for i in group]
        if sum(figures) < 2:
            parted.append(group)
            continue
        whole = _in_threes([_WHOLE.search(text, words[i].start, words[i].end) is not None for i in group])
        cuts = [
            k
            for k in range(1, len(group))
            if figures[k]
            and (
                whole[k]
                or words[group[k]].x0 - words[group[k - 1]].x1
                > 0.45 * wide * _share(words[group[k - 1]], words[group[k]], em)
            )
        ]
        close = sum(figures[k - 1] for k in cuts)
        bounds = [0, *(cuts if close else ()), len(group)]
        parted += [group[a:b] for a, b in pairwise(bounds)]
    return parted


def _in_threes(marks: Sequence[bool]) -> list[bool]:
    """The marks that stand in a row of three or more."""
    lone = [False, False, *marks, False, False]
    return [any(all(lone[k + s : k + s + 3]) for s in range(3)) for k in range(len(marks))]


def _is_figure(text: str, word: Word) -> bool:
    mark = text[word.start : word.end]
    return (_DIGIT.search(mark) is not None and _NUMBER.fullmatch(mark) is not None) or _BLANK.fullmatch(
        mark
    ) is not None


def _piece(words: Sequence[Word], text: str, group: Sequence[int]) -> Piece:
    members = [words[i] for i in group]
    return Piece(
        min(w.x0 for w in members),
        min(w.y0 for w in members),
        max(w.x1 for w in members),
        max(w.y1 for w in members),
        tuple(group),
        " ".join(text[w.start : w.end] for w in members),
    )


def _signs_joined(pieces: list[Piece], em: float) -> list[Piece]:
    """A currency sign in a column of its own belongs to the figure after it, a bracket or "%" to the one before."""
    if len(pieces) < 2:
        return pieces
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        gap = piece.x0 - last.x1 if last else 0.0
        sign = last is not None and _SIGN.fullmatch(last.text) and gap < 6 * em and piece.is_number
        tail = last is not None and _TAIL.fullmatch(piece.text) and gap < 1.5 * em and last.is_number
        if last is not None and (sign or tail):
            joined[-1] = _both(last, piece)
        else:
            joined.append(piece)
    return joined


def _both(a: Piece, b: Piece) -> Piece:
    return Piece(
        min(a.x0, b.x0),
        min(a.y0, b.y0),
        max(a.x1, b.x1),
        max(a.y1, b.y1),
        a.words + b.words,
        f"{a.text} {b.text}",
    )
