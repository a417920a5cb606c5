"""Running headers, footers and page numbers: lines that stand at the same place on several pages. Pure.

What is found stands on at least three pages in the same words but for digits, at the same distance from the page's
edge, outside everything else on the page and with white between; or it is the page's number, counting with the pages.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ragapp.ingest.layout import Strip

ON_PAGES = 3
LINES = 4  # at most this many at the top, and as many at the bottom
ZONE = 0.16  # of the page's height
SAME_PLACE = 5.0  # points
WHITE = 0.4  # type sizes of white that part it from the page's own text, at least,
MORE = 0.2  # and so many more than there are between the lines of that text

_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(
    r"^[\s\[(|–—-]*(?:page|seite|第)?\s*(?:[a-z]{1,2}[-–.])?(?P<number>\d{1,5}|[ivxlc]{1,7})\s*(?:页)?"
    r"(?:\s*(?:of|/|von|共)\s*\d{1,5}\s*(?:页)?)?[\s\])|–—-]*$",
    re.IGNORECASE,
)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass(frozen=True, slots=True)
class _Edge:
    """A line near an edge: ``place`` is its distance from that edge in points, ``key`` its words without digits."""

    page: int
    strip: int
    is_top: bool
    place: float
    size: float
    text: str
    key: str


def running_lines(pages: Sequence[tuple[Sequence[Strip], str, float]]) -> list[frozenset[int]]:
    """For each page ``(lines, raw text, height)`` the numbers of its lines that are running lines."""
    found: list[set[int]] = [set() for _ in pages]
    if len(pages) < ON_PAGES:
        return [frozenset()] * len(pages)
    edges = [edge for number, page in enumerate(pages) for edge in _edges(number, *page)]
    repeated = _repeated(edges) | _counting(edges)
    for edge in edges:
        if (edge.page, edge.strip) in repeated:
            found[edge.page].add(edge.strip)
    return [_outermost(own, page[0]) for own, page in zip(found, pages, strict=True)]


def words_of(strip: Strip, text: str) -> str:
    """A line's words with single spaces."""
    return " ".join(" ".join(text[start:end].split()) for cell in strip.cells for start, end in cell)


def _edges(number: int, lines: Sequence[Strip], text: str, height: float) -> Iterator[_Edge]:
    body = [n for n, strip in enumerate(lines) if strip.table < 0 and not strip.is_turned]
    top = sorted((n for n in body if lines[n].y1 <= ZONE * height), key=lambda n: lines[n].y0)[: 2 * LINES]
    bottom = sorted((n for n in body if lines[n].y0 >= (1 - ZONE) * height), key=lambda n: -lines[n].y1)[: 2 * LINES]
    for is_top, numbers in ((True, top), (False, bottom)):
        for n in numbers:
            strip = lines[n]
            words = words_of(strip, text)
            place = strip.y0 if is_top else height - strip.y1
            yield _Edge(number, n, is_top, place, strip.size, words, _DIGITS.sub("#", words.casefold()))
    for n, strip in enumerate(lines):
        if strip.table < 0 and strip.is_turned:  # along a side; its distance from the left edge is its place
            words = words_of(strip, text)
            yield _Edge(number, n, True, strip.x0, strip.size, words, f"|{_DIGITS.sub('#', words.casefold())}")


def _repeated(edges: Sequence[_Edge]) -> set[tuple[int, int]]:
    """Lines with letters that stand at the same place on several pages, where no page's own text stands."""
    groups: dict[tuple[bool, str], list[_Edge]] = defaultdict(list)
    for edge in edges:
        if any(c.isalpha() for c in edge.key):
            groups[edge.is_top, edge.key].append(edge)
    several = [near for group in groups.values() for near in _at_one_place(group) if _pages(near) >= ON_PAGES]
    alike = {(edge.page, edge.strip) for near in several for edge in near}
    others = [edge for edge in edges if (edge.page, edge.strip) not in alike and page_number(edge.text) is None]
    same = [edge for near in several for edge in near]
    kept = (near for near in several if _counts(near) or not _is_body(near[0], same, others))
    return {(edge.page, edge.strip) for near in kept for edge in near}


def _pages(edges: Iterable[_Edge]) -> int:
    return len({edge.page for edge in edges})


def _counts(near: Sequence[_Edge]) -> bool:
    """Whether a number in the line goes up by one from page to page."""
    distances: dict[int, set[int]] = defaultdict(set)
    for edge in near:
        for number in _DIGITS.findall(edge.text):
            distances[int(number[:9]) - edge.page].add(edge.page)
    return max(map(len, distances.values()), default=0) >= max(ON_PAGES, 0.6 * _pages(near))


def _is_body(line: _Edge, alike: Sequence[_Edge], others: Sequence[_Edge]) -> bool:
    """Whether at this place more pages have lines of their own: a heading that happens to begin several pages."""

    def there(edges: Sequence[_Edge]) -> int:
        return _pages(e for e in edges if e.is_top == line.is_top and abs(e.place - line.place) <= SAME_PLACE)

    return line.key[0] != "|" and there(others) > there(alike)


def _at_one_place(group: Sequence[_Edge]) -> Iterator[list[_Edge]]:
    """The lines of a group by place and type size."""
    held: list[_Edge] = []
    for edge in sorted(group, key=lambda e: (e.size, e.place)):
        if held and (edge.place - held[-1].place > SAME_PLACE or edge.size != held[-1].size):
            yield held
            held = []
        held.append(edge)
    if held:
        yield held


def _counting(edges: Sequence[_Edge]) -> set[tuple[int, int]]:
    """Lone page numbers that go up by one from page to page, at one place."""
    groups: dict[tuple[bool, int], list[_Edge]] = defaultdict(list)
    for edge in edges:
        number = page_number(edge.text)
        if number is not None:
            groups[edge.is_top, number - edge.page].append(edge)
    found = set()
    for group in groups.values():
        if _pages(group) >= ON_PAGES:
            found |= {(edge.page, edge.strip) for edge in group}
    return found


def page_number(text: str) -> int | None:
    """The number that a line gives, if it is nothing but a page's number ("12", "Page 3 of 9", "iv", "F-7")."""
    match = _PAGE_NUMBER.match(text)
    if match is None:
        return None
    number = match["number"].lower()
    return int(number) if number.isdigit() else _roman(number)


def _roman(numeral: str) -> int:
    values = [_ROMAN[c] for c in numeral]
    return sum(-value if any(later > value for later in values[k:]) else value for k, value in enumerate(values))


def _outermost(own: set[int], lines: Sequence[Strip]) -> frozenset[int]:
    """Those with nothing but running lines outside of them, and white between them and the rest of the page.

    None where the page would have no line left.
    """
    kept = set(own)
    rest = [strip for n, strip in enumerate(lines) if n not in own and not strip.is_turned]
    if not rest:
        return frozenset()
    above = min(other.y0 for other in rest)
    below = max(other.y1 for other in rest)
    usual = _usual_gap(rest)
    for n in own:
        strip = lines[n]
        white = max(WHITE * strip.size, usual + MORE * strip.size)
        if not strip.is_turned and not (strip.y1 + white <= above or strip.y0 - white >= below):
            kept.discard(n)
    # What is left stands outside of everything that stays only if that holds for the lines put back, too.
    return frozenset(kept) if kept == own else _outermost(kept, lines)


def _usual_gap(lines: Sequence[Strip]) -> float:
    """The white between lines of the page's own text, in points: half of them stand closer, half further apart."""
    ordered = sorted(lines, key=lambda strip: strip.y0)
    gaps = [below.y0 - above.y1 for above, below in pairwise(ordered) if below.y0 > above.y1 - 0.5 * above.size]
    return median(gaps) if gaps else 0.0
