"""Words found in a text as people look for them: case, width, white space and hyphens at line ends do not matter.

Both texts are folded (Unicode's compatibility decomposition and case folding, by character) into units that know the
character they came from, so every match has exact offsets. White space is one space, and none beside CJK; dashes and
quotation marks are the keyboard's; invisible characters are nothing. Accents do matter. Pure, and a few passes of numpy
over the text, so that thousands of pages take tenths of a second.

Not covered: other forms of a word, and words that a figure or a footnote parts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ragapp.text import CJK, SOFT_HYPHEN

MOST = 10_000  # matches that are counted
BLOCK = 1 << 20  # characters that are folded at once
OVERLAP = 2_000  # characters, besides eight times the words: as far as a match may reach into the next block

_UNITS = 0x110000
# What folding leaves alone: unified ideographs, Hangul, surrogates and private use; and all but two of the planes.
_FOLDED = ((0x0, 0x3400), (0xA000, 0xAC00), (0xF900, 0x20000), (0x2F800, 0x2FA20))
_SAME = {
    **dict.fromkeys("\u2010\u2043\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
}
_INVISIBLE = range(0x200B, 0x2010), range(0x202A, 0x202F), range(0x2060, 0x2070), (0xFEFF, ord(SOFT_HYPHEN))
_NOTHING = frozenset(chr(code) for codes in _INVISIBLE for code in codes)
_SPACE = 32
_FIRST_CJK = 0x2000  # the smallest character that may be CJK or its punctuation
_BROKEN = re.compile(f"{SOFT_HYPHEN}[ \t]*\r?\n[ \t]*")
# One for each: a pattern that begins with a character is looked for many times as fast as with a choice of two.
_HYPHENED = tuple(re.compile(f"{hyphen}[ \t]*\r?\n[ \t]*") for hyphen in "-\u2010")
_CJK = re.compile(f"[{CJK}，。、；：？！“”（）]")

Codes = NDArray[np.uint32]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Matches:
    """``spans`` are the first matches in order; ``total`` is how many there are, and no more than MOST are counted."""

    spans: tuple[tuple[int, int], ...]
    total: int


def find(texts: Iterable[str], words: str, limit: int, *, start: int = 0) -> Matches:
    """Where words stand in a text that comes in pieces, the first of which begins at ``start``; matches do not overlap.

    Words without a letter, digit or sign match nowhere.
    """
    spans: list[tuple[int, int]] = []
    total = 0
    for span in _matches(texts, words, start):
        if total < limit:
            spans.append(span)
        total += 1
        if total == MOST:
            break
    return Matches(tuple(spans), total)


def _matches(texts: Iterable[str], words: str, start: int) -> Iterator[tuple[int, int]]:
    needle = _string(_folded(words, joins=False)[0]).strip(" ")
    if not needle:
        return
    last = start
    for text, offset, own in _blocks(texts, start, OVERLAP + 8 * len(words)):
        for left, right in _in_block(text, needle, max(0, last - offset)):
            # A match that begins behind the block's own part is found again in the next one.
            if offset + left >= last and left < own:
                yield offset + left, offset + right
                last = offset + right


def _blocks(texts: Iterable[str], start: int, overlap: int) -> Iterator[tuple[str, int, int]]:
    """``(text, offset, own)``: blocks of a text that reach into the next one; ``own`` characters are theirs alone."""
    parts: list[str] = []
    length = 0
    for text in texts:
        parts.append(text)
        length += len(text)
        if length >= BLOCK + overlap:
            held = "".join(parts)
            own = len(held) - overlap
            yield held, start, own
            start += own
            parts, length = [held[own:]], overlap
    held = "".join(parts)
    yield held, start, len(held)


def _in_block(text: str, needle: str, first: int) -> Iterator[tuple[int, int]]:
    """Matches that begin at ``first`` or behind it, in order; those of the two readings of hyphens may overlap."""
    found = set(_in_folded(text, needle, first, joins=True))
    if "-" in needle and next(_hyphened(text), None):
        # A hyphen at a line's end is a part of the word, or it is not: whoever writes one looks for both.
        found |= set(_in_folded(text, needle, first, joins=False))
    yield from sorted(found)


def _in_folded(text: str, needle: str, first: int, *, joins: bool) -> Iterator[tuple[int, int]]:
    units, origins = _folded(text, joins=joins)
    folded = _string(units)
    at = folded.find(needle, int(np.searchsorted(origins, first)))
    while at >= 0:
        end = at + len(needle)
        # An accent that follows belongs to the last letter, which is another one then.
        if end == len(folded) or not unicodedata.combining(folded[end]):
            yield int(origins[at]), int(origins[end - 1]) + 1
            at = folded.find(needle, end)
        else:
            at = folded.find(needle, at + 1)


def _folded(text: str, *, joins: bool) -> tuple[Codes, Places]:
    """The units of a text, and for each the character it came from. With ``joins`` a hyphen and the line's end between
    letters are nothing; without it only that line's end is."""
    table = _table()
    codes = _codes(text)
    counts = table.counts.take(codes)
    for match in _BROKEN.finditer(text):
        counts[match.start() : match.end()] = 0
    for start, end in _hyphened(text):
        counts[start + (not joins) : end] = 0
    origins = np.flatnonzero(counts)
    if counts.size and counts.max() > 1:
        origins = np.repeat(origins, counts.take(origins))
    units = table.first.take(codes.take(origins))
    if len(origins) > np.count_nonzero(counts):
        starts = np.cumsum(counts, dtype=np.int64) - counts
        for places, spelled in _spelled(codes, counts, table):
            for k, unit in enumerate(spelled):
                units[starts[places] + k] = unit
    return _spaced(units, origins)


def _hyphened(text: str) -> Iterator[tuple[int, int]]:
    """Hyphens between letters that a line's end follows, with that and the white space around it."""
    for pattern in _HYPHENED:
        for match in pattern.finditer(text):
            start, end = match.span()
            if start and end < len(text) and text[start - 1].isalpha() and text[end].isalpha():
                yield start, end


def _spelled(codes: Codes, counts: NDArray[np.uint8], table: _Table) -> Iterator[tuple[Places, Sequence[int]]]:
    """Places of each character that is several units, with these."""
    many = np.flatnonzero(counts > 1)
    for code in np.unique(codes[many]):
        yield many[codes[many] == code], table.several[int(code)]


def _spaced(units: Codes, origins: Places) -> tuple[Codes, Places]:
    """White space as one space, and none beside CJK."""
    is_space = units == _SPACE
    units, origins = _without(1 + np.flatnonzero(is_space[1:] & is_space[:-1]), units, origins)
    if units.size and units.max() >= _FIRST_CJK:
        is_cjk = _table().is_cjk.take(units)
        beside = np.zeros_like(is_cjk)
        beside[1:] |= is_cjk[:-1]
        beside[:-1] |= is_cjk[1:]
        units, origins = _without(np.flatnonzero((units == _SPACE) & beside), units, origins)
    return units, origins


def _without(places: Places, units: Codes, origins: Places) -> tuple[Codes, Places]:
    if not places.size:
        return units, origins
    kept = np.ones(len(units), dtype=np.bool_)
    kept[places] = False
    left = np.flatnonzero(kept)
    return units.take(left), origins.take(left)


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32, copy=False)


def _string(units: Codes) -> str:
    return units.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True, slots=True)
class _Table:
    """By character: how many units it is, the unit where it is one, and whether it is CJK; ``several`` has the rest."""

    counts: NDArray[np.uint8]
    first: Codes
    is_cjk: NDArray[np.bool_]
    several: dict[int, tuple[int, ...]]


@lru_cache(maxsize=1)
def _table() -> _Table:
    counts = np.ones(_UNITS, dtype=np.uint8)
    first = np.arange(_UNITS, dtype=np.uint32)
    is_cjk = np.zeros(_UNITS, dtype=np.bool_)
    is_cjk[[code for code in range(0x2000, 0x10000) if _CJK.match(chr(code))]] = True
    is_cjk[0x20000:0x32000] = True
    several: dict[int, tuple[int, ...]] = {}
    for low, high in _FOLDED:
        for code in range(low, high):
            units = _units_of(chr(code))
            counts[code] = len(units)
            if len(units) == 1:
                first[code] = units[0]
            elif units:
                several[code] = units
    return _Table(counts, first, is_cjk, several)


def _units_of(char: str) -> tuple[int, ...]:
    if char in _NOTHING:
        return ()
    if char.isspace():
        return (_SPACE,)
    spelled = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    return tuple(ord(_SAME.get(each, each)) for each in spelled if each not in _NOTHING) or (ord(char),)
