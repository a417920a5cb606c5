"""Lines become the text of a page, and every character keeps the way back to the character it came from. Pure.

Words broken at a line's end are made whole, ligatures are spelled out, what cannot be stored is a space. The way back
is a list of runs ``(offset, index, length)``: these characters of the text are the raw text's from ``index`` on, as far
as ``stands_for`` says; characters in no run are ours: line ends, tabs, spaces.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ragapp.ingest.layout import Span, Strip
from ragapp.text import SOFT_HYPHEN

Run = tuple[int, int, int]

MARKS = "\ufffe\x02"  # pdfium's two signs for a hyphen at the end of a line
LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ft", "ﬆ": "st"}
SHORT = 3  # halves with fewer letters are no words of their own

_HYPHENS = "-\u2010" + SOFT_HYPHEN + MARKS
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\uffff]")
_CLEAN = {ord(mark): "-" for mark in MARKS} | {0x0D: " "}
_SPECIAL = re.compile(f"[ﬀ-ﬆ{MARKS}]")
_WORDS = re.compile(rf"[^\W\d_]+(?:[{_HYPHENS}](?:[ \t]*\r?\n)?[^\W\d_]+)*")
_BROKEN = re.compile(f"[\n{SOFT_HYPHEN}{MARKS}]")
_LEFT = re.compile(rf"[^\W\d_]+(?:-[^\W\d_]+)*(?=[{_HYPHENS}]$)")
_RIGHT = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Woven:
    """A page's text without the line end that closes it, its way back (None: character for character), and where each
    line went: ``places`` has ``(start, end)`` by the line's number; lines that were left out are not in it.
    """

    text: str
    runs: tuple[Run, ...] | None
    places: dict[int, Span]


def stands_for(char: str, raw: str) -> bool:
    """Whether a character of the text may come from this raw one."""
    if raw in MARKS:
        return char in ("-", SOFT_HYPHEN)
    if raw.isspace() and char.isspace():
        return True
    return char == (" " if raw == "\r" or _CONTROL.match(raw) else raw) or char in LIGATURES.get(raw, ())


def vocabulary(texts: Iterable[str]) -> frozenset[str]:
    """The words of a document as they stand unbroken, in small letters, those with hyphens as a whole.

    Words that a line's end breaks, or may break, are left out.
    """
    return frozenset(
        word.casefold() for text in texts for word in set(_WORDS.findall(text)) if not _BROKEN.search(word)
    )


def weave(text: str, strips: Sequence[Strip], left_out: Collection[int], known: frozenset[str]) -> Woven:
    """The text of a page from its lines in order, without those that are left out. ``known`` is its vocabulary."""
    kept = [n for n in range(len(strips)) if n not in left_out]
    loom = _Loom(text, known)
    places = {}
    for k, number in enumerate(kept):
        follows = strips[kept[k + 1]] if k + 1 < len(kept) else None
        start = loom.length
        joins = loom.add_strip(strips[number], follows)
        places[number] = (start, loom.length)
        if follows is not None and not joins:
            loom.break_line(strips[number], follows)
    return Woven("".join(loom.parts), loom.way_back(), places)


@dataclass(slots=True)
class _Loom:
    raw: str
    known: frozenset[str]
    parts: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    length: int = 0

    def add_strip(self, strip: Strip, follows: Strip | None) -> bool:
        """Add a line; whether the next one is to join it, as the line's end breaks a word."""
        if strip.table >= 0:
            before = -1
            for n, cell in enumerate(_without_empty_end(strip.cells)):
                if n:
                    self.set_apart("\t", before, cell[0][0] if cell else -1)
                self.add_spans(cell)
                before = cell[-1][1] if cell else -1
            return False
        spans = strip.cells[0]
        end = spans[-1][1]
        if self.raw[end - 1] not in _HYPHENS:
            self.add_spans(spans)
            return False
        decision = self.decide(end, follows)
        self.add_spans((*spans[:-1], (spans[-1][0], end - 1)))
        if decision in ("keep", "stay"):
            self.translated(end - 1, self.raw[end - 1].translate(_CLEAN))
        elif decision == "page end":
            self.translated(end - 1, SOFT_HYPHEN)
        return decision in ("join", "keep")

    def decide(self, end: int, follows: Strip | None) -> str:
        """What becomes of a hyphen at a line's end, just before ``end``."""
        is_marked = self.raw[end - 1] in MARKS + SOFT_HYPHEN
        if follows is None:
            return "page end" if is_marked else "stay"
        first = self.raw[follows.first : follows.first + 1]
        if follows.table >= 0 or (follows.apart and not (is_marked and first.islower())):
            return "stay"
        return broken(self.raw, end, self.raw[follows.first : follows.first + 60], self.known, is_marked=is_marked)

    def add_spans(self, spans: Sequence[Span]) -> None:
        for n, (start, end) in enumerate(spans):
            if n:
                self.set_apart(" ", spans[n - 1][1], start)
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Add ``raw[start:end]``, with ligatures spelled out and broken words inside it made whole."""
        for match in _SPECIAL.finditer(self.raw, start, end):
            at = match.start()
            self.plain(start, at)
            if match.group() in LIGATURES:
                for char in LIGATURES[match.group()]:
                    self.translated(at, char)
            elif broken(self.raw, at + 1, self.raw[at + 1 : min(end, at + 60)], self.known, is_marked=True) != "join":
                self.translated(at, "-")
            start = at + 1
        self.plain(start, end)

    def plain(self, start: int, end: int) -> None:
        if start < end:
            self._run(start, end - start)
            self._put(_CONTROL.sub(" ", self.raw[start:end].translate(_CLEAN)))

    def translated(self, index: int, char: str) -> None:
        self._run(index, 1)
        self._put(char)

    def set_apart(self, char: str, before: int, after: int) -> None:
        """White space between two spans: in place of the file's own where that is one character, which saves a run."""
        if 0 <= before == after - 1 and self.raw[before].isspace():
            self.translated(before, char)
        else:
            self.own(char)

    def own(self, text: str) -> None:
        self._put(text)

    def break_line(self, strip: Strip, follows: Strip) -> None:
        """The line end between two lines: the file's own where there is one, and an empty line where they are apart."""
        if strip.table < 0 and follows.table < 0:
            start, end = strip.cells[-1][-1][1], follows.first
            between = self.raw[start:end] if start < end else ""
            if "\n" in between and not between.strip():
                self.plain(start, end)
                if follows.apart and between.count("\n") < 2:
                    self.own("\n")
                return
        self.own("\n\n" if follows.apart else "\n")

    def way_back(self) -> tuple[Run, ...] | None:
        if not self.runs or self.runs == [(0, 0, self.length)]:
            return None if self.runs or not self.length else ()
        return tuple(self.runs)

    def _run(self, index: int, length: int) -> None:
        if self.runs:
            offset, source, count = self.runs[-1]
            if offset + count == self.length and source + count == index:
                self.runs[-1] = (offset, source, count + length)
                return
        self.runs.append((self.length, index, length))

    def _put(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)


def _without_empty_end(cells: Sequence[tuple[Span, ...]]) -> Sequence[tuple[Span, ...]]:
    count = len(cells)
    while count and not cells[count - 1]:
        count -= 1
    return cells[:count]


def broken(raw: str, end: int, follows: str, known: frozenset[str], *, is_marked: bool) -> str:
    """What to do with the hyphen before ``end``, where the text goes on with ``follows``: "join" the word without it,
    "keep" it and join, or let hyphen and line end "stay".

    A mark of the file says only that a hyphen ends a line; which words the document knows tells a broken word from
    a compound.
    """
    left, right = _LEFT.search(raw, max(0, end - 60), end), _RIGHT.match(follows)
    if left is None or right is None:
        return "keep" if is_marked and follows[:1].strip() else "stay"
    one, other = left.group().casefold(), right.group().casefold()
    if one + other in known:
        return "join"
    if f"{one}-{other}" in known or right.group()[0].isupper():
        return "keep"
    if not is_marked:
        return "keep"
    is_compound = one in known and other in known and min(len(one), len(other)) >= SHORT
    return "keep" if is_compound else "join"
