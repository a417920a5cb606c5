"""From spans of a page's text to rectangles on it: what a span asks for, and the boxes of a page that was read by OCR.

Pure. The boxes of a page whose text stands in the file are asked for in ``readers/pdfium.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ragapp.types import Box, Page

Rect = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PageSpan:
    """A span of a page's text: ``expected`` is what stands from ``start`` to ``end``, relative to the page's start.

    ``number`` counts from 1; ``runs`` are the page's, None where its text is the file's own character for character.
    """

    number: int
    start: int
    end: int
    expected: str
    runs: tuple[tuple[int, int, int], ...] | None = None


def word_boxes(page: Page, start: int, end: int) -> list[Box]:
    """Boxes of a span of a page's ``words``, those of neighbours on a line as one; offsets relative to the page."""
    rects = ((x0, y0, x1, y1) for left, right, x0, y0, x1, y1 in page.words if left < end and right > start)
    return [Box(page.number, *(round(value, 2) for value in rect)) for rect in joined(rects)]


def joined(rects: Iterable[Rect]) -> Iterator[Rect]:
    """Rectangles of words that follow each other on a line as one: some PDFs are set word by word."""
    held: Rect | None = None
    for x0, y0, x1, y1 in rects:
        if held is None:
            held = x0, y0, x1, y1
            continue
        height = min(y1 - y0, held[3] - held[1])
        on_line = min(y1, held[3]) - max(y0, held[1]) > height / 2
        if on_line and -height < x0 - held[2] < height:
            held = held[0], min(y0, held[1]), max(x1, held[2]), max(y1, held[3])
        else:
            yield held
            held = x0, y0, x1, y1
    if held is not None:
        yield held
