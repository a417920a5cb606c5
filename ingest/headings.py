"""Headings and titles: from a document's outline, or from the size of its type. Pure functions over lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ragapp.text import collapse
from ragapp.types import Heading, Page

LARGER = 1.12  # type that is this much larger than the body's is a heading
LEVELS = 3
MAX_HEADING_CHARS = 120
REPEATED_ON_PAGES = 3  # a line on more pages than this is a running header

_PLACEHOLDER = re.compile(
    r"^(?:untitled|unbenannt|document\s*\d*|microsoft (?:word|powerpoint|excel) - .*|powerpoint presentation"
    r"|slide \d+|title|no title|print|\(?anonymous\)?"
    r"|.*\.(?:docx?|pptx?|xlsx?|pdf|tex|dvi|rtf|indd|qxd|html?|txt|ps|tiff?))$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a document: its span, the height of its type in points, its page from 0."""

    start: int
    end: int
    size: float
    page: int


def from_outline(entries: Sequence[tuple[int, str, int]], text: str, pages: Sequence[Page]) -> tuple[Heading, ...]:
    """Headings from outline entries ``(level, title, page from 0)``, each at its words on the page."""
    headings = []
    for level, title, index in entries:
        if not 0 <= index < len(pages):
            continue
        page = pages[index]
        words = [re.escape(word) for word in title.split()]
        match = re.compile(r"\s*".join(words), re.IGNORECASE).search(text, page.start, page.end)
        headings.append(Heading(level, collapse(title), match.start() if match else page.start))
    # A viewer may list entries in any order; a heading rules from its place on.
    return tuple(sorted(headings, key=lambda heading: heading.start))


def from_sizes(lines: Sequence[Line], text: str) -> tuple[Heading, ...]:
    """Headings from lines in larger type than the body's; the largest sizes are the outermost levels."""
    if not lines:
        return ()
    body = body_size(lines)
    on_pages: Counter[str] = Counter()
    for words, _ in {(text[line.start : line.end].strip(), line.page) for line in lines}:
        on_pages[words] += 1
    large = [
        line
        for line in lines
        if line.size >= body * LARGER and on_pages[text[line.start : line.end].strip()] <= REPEATED_ON_PAGES
    ]
    groups: list[list[Line]] = []
    for line in large:
        last = groups[-1][-1] if groups else None
        if last and last.size == line.size and last.page == line.page and not text[last.end : line.start].strip():
            groups[-1].append(line)
        else:
            groups.append([line])
    kept = []
    for group in groups:
        title = collapse(text[group[0].start : group[-1].end])
        if 2 <= len(title) <= MAX_HEADING_CHARS and any(c.isalpha() for c in title):
            kept.append((group[0].size, title, group[0].start))
    sizes = sorted({size for size, _, _ in kept}, reverse=True)
    # The few largest sizes may be a cover's; levels are counted among the sizes that head more than one section.
    common = [size for size in sizes if sum(s == size for s, _, _ in kept) > 1] or sizes
    return tuple(
        Heading(min(LEVELS, 1 + sum(other > size for other in common)), title, start) for size, title, start in kept
    )


def body_size(lines: Sequence[Line]) -> float:
    """The size that most characters are set in."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[line.size] += line.end - line.start
    return weights.most_common(1)[0][0]


def title_of(metadata: str, lines: Sequence[Line], text: str, pages: Sequence[Page], file_name: str) -> str:
    """The title: the metadata's if it is meaningful, else the largest line of page 1, else the cleaned file name."""
    stem = PurePath(file_name).stem
    if is_meaningful(metadata) and metadata.casefold() != stem.casefold():
        return collapse(metadata)
    first = [line for line in lines if line.page == 0]
    if first and pages:
        size = max(line.size for line in first)
        if size >= body_size(lines) * LARGER:
            largest = [line for line in first if line.size == size]
            together = [
                line for i, line in enumerate(largest) if i == 0 or not text[largest[i - 1].end : line.start].strip()
            ][:3]
            title = collapse(text[together[0].start : together[-1].end])
            if 3 <= len(title) <= MAX_HEADING_CHARS and any(c.isalpha() for c in title):
                return title
    return clean_name(file_name)


def is_meaningful(title: str) -> bool:
    """Whether a metadata title says something: not empty, not a placeholder, not a file's name."""
    stripped = title.strip()
    return sum(c.isalpha() for c in stripped) >= 3 and not _PLACEHOLDER.match(stripped)


def clean_name(file_name: str) -> str:
    """A file's name as words: ``01_annual-report.pdf`` is "01 annual report"."""
    return re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", PurePath(file_name).stem).strip() or file_name


class HeadingPath:
    """Which headings rule at an offset, outermost first."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._starts = [heading.start for heading in headings]
        self._paths: list[tuple[str, ...]] = []
        stack: list[Heading] = []
        for heading in headings:
            stack = [h for h in stack if h.level < heading.level] + [heading]
            self._paths.append(tuple(h.title for h in stack))

    def at(self, offset: int) -> tuple[str, ...]:
        place = bisect_right(self._starts, offset)
        return self._paths[place - 1] if place else ()

    def starts_between(self, start: int, end: int) -> bool:
        """Whether a heading starts in ``(start, end]``."""
        return bisect_right(self._starts, end) > bisect_right(self._starts, start)
