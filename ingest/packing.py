"""Sentences packed into spans: cut at headings and page ends first, then by size. Pure functions over spans.

Every decision looks at one section of one page, or of a few pages where they hold little. So an edit moves the borders
near it, and those of the other pages stay where they were: what did not change need not be embedded again.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragapp.ingest.headings import HeadingPath
from ragapp.text import sentences, trimmed
from ragapp.types import Document, Page

Span = tuple[int, int]
Count = Callable[[int, int], int]  # the tokens between two offsets

SMALL = 4  # what holds less than this part of a full span is too little to stand alone
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """A span that is to become a chunk: the headings it stands under, and what is to be read where it is found."""

    start: int
    end: int
    headings: tuple[str, ...] = ()
    parent: Span | None = None


class Measured:
    """A document with what a chunker asks of it: tokens between offsets, sections, pages."""

    def __init__(self, document: Document, tokens: Sequence[Span]) -> None:
        self.document = document
        self.text = document.text
        self.headings = HeadingPath(document.headings)
        self.starts = [start for start, end in tokens if end > start]
        self._page_starts = [page.start for page in document.pages]

    def count(self, start: int, end: int) -> int:
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def cut(self, start: int, end: int, room: int) -> Iterator[Span]:
        """A span, or its pieces of at most ``room`` tokens: cut between words where it can be, else between tokens."""
        while self.count(start, end) > room:
            first = bisect_left(self.starts, start)
            places = (self.starts[i] for i in range(first + room, first + room // 2, -1))
            at = next((place for place in places if self.text[place - 1].isspace()), self.starts[first + room])
            yield from trimmed(self.text, start, at)
            start = at
        yield from trimmed(self.text, start, end)

    def page_index(self, offset: int) -> int:
        return bisect_right(self._page_starts, offset) - 1

    def page_of(self, start: int, end: int) -> Page:
        """The page that holds most of a span."""
        touched = self.document.pages[self.page_index(start) : self.page_index(end - 1) + 1]
        return max(touched, key=lambda page: min(end, page.end) - max(start, page.start))

    def piece(self, start: int, end: int, parent: Span | None = None) -> Piece:
        """A span under the headings that rule where it starts."""
        return Piece(start, end, self.headings.at(start), parent)

    def sections(self, start: int, end: int) -> Iterator[list[Span]]:
        """The sentences of an area, parted before every heading."""
        held: list[Span] = []
        for span in sentences(self.text, start, end):
            if held and self.headings.starts_between(held[-1][0], span[0]):
                yield held
                held = []
            held.append(span)
        if held:
            yield held

    def page_runs(self, section: Sequence[Span], least: int) -> Iterator[list[Span]]:
        """A section parted at the ends of pages; a page with less than ``least`` tokens of it runs into the next."""
        held: list[Span] = []
        for span in section:
            if held and self.page_index(held[-1][0]) != self.page_index(span[0]) and self.size(held) >= least:
                yield held
                held = []
            held.append(span)
        if held:
            yield held

    def packed(self, section: Sequence[Span], most: int, at_most: int | None = None) -> list[list[Span]]:
        """A section as groups of whole sentences of at most ``most`` tokens each (and ``at_most`` sentences); a
        sentence that is longer is a group of its own."""
        groups = []
        for run in self.page_runs(section, most // SMALL):
            groups += self._balanced(self._filled(run, most, at_most), most, at_most or len(run))
        return groups

    def size(self, group: Sequence[Span]) -> int:
        return self.count(*joined(group))

    def _filled(self, run: Sequence[Span], most: int, at_most: int | None) -> list[list[Span]]:
        """Groups that are as full as they can be, ended at a paragraph's end where one lies in their last third."""
        groups, first = [], 0
        while first < len(run):
            stop = first + 1
            limit = len(run) if at_most is None else min(len(run), first + at_most)
            while stop < limit and self.count(run[first][0], run[stop][1]) <= most:
                stop += 1
            if stop < len(run):
                stop = next((i for i in range(stop, first + 1, -1) if self._ends_well(run, first, i, most)), stop)
            groups.append(list(run[first:stop]))
            first = stop
        return groups

    def _ends_well(self, run: Sequence[Span], first: int, stop: int, most: int) -> bool:
        full = self.count(run[first][0], run[stop - 1][1]) * 3 >= most * 2
        return full and _PARAGRAPH.search(self.text, run[stop - 1][1], run[stop][0]) is not None

    def _balanced(self, groups: list[list[Span]], most: int, at_most: int) -> list[list[Span]]:
        """The last two groups of a page become one, or share evenly, where the last has less than half a span."""
        if len(groups) < 2 or self.size(groups[-1]) * 2 >= most:
            return groups
        *rest, one, other = groups
        both = one + other
        if len(both) <= at_most and self.size(both) <= most:
            return [*rest, both]

        def worse(at: int) -> int:
            return max(self.size(both[:at]), self.size(both[at:]))

        at = min((i for i in range(1, len(both)) if max(i, len(both) - i) <= at_most), key=worse)
        return [*rest, both[:at], both[at:]]


def joined(group: Sequence[Span]) -> Span:
    """From the start of the first to the end of the last."""
    return group[0][0], group[-1][1]


def overlapped(groups: Sequence[Sequence[Span]], count: Count, overlap: int, most: int) -> Iterator[Span]:
    """The span of each group, begun earlier by the last whole sentences of the group before it: at most ``overlap``
    tokens of them, and ``most`` tokens in all."""
    for before, group in pairwise([[], *groups]):
        start, end = joined(group)
        for sentence in reversed(before):
            if count(sentence[0], before[-1][1]) > overlap or count(sentence[0], end) > most:
                break
            start = sentence[0]
        yield start, end
