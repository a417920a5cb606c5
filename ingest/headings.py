"""Headings and titles: from a document's outline, or from numbers, type size and weight. Pure functions over lines."""

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
SLIGHTLY_LARGER = 1.04  # enough for a line that begins with a section's number
LEVELS = 3
MAX_HEADING_CHARS = 120
MAX_BOLD_CHARS = 80  # a bold line of the body's size is a heading only if it is short
BOLD_SHARE = 0.15  # where more of the lines are bold, weight says nothing
COUNTED = 3  # so many numbered lines must count on from each other to be headings by that alone
CONTENTS = 4  # numbered lines on a page that end in a number: a table of contents
REPEATED_ON_PAGES = 3  # a line on more pages than this is a running header

_PLACEHOLDER = re.compile(
    r"^(?:untitled|unbenannt|document\s*\d*|microsoft (?:word|powerpoint|excel) - .*|powerpoint presentation"
    r"|slide \d+|title|no title|print|\(?anonymous\)?"
    r"|.*\.(?:docx?|pptx?|xlsx?|pdf|tex|dvi|rtf|indd|qxd|html?|txt|ps|tiff?))$",
    re.IGNORECASE,
)


_NUMBERED = re.compile(
    r"(?:(?:section|sec\.|§)\s*)?(?P<dotted>(?:\d{1,2}|[A-Z](?=\.\d))(?:\.\d{1,3}){0,4})[.):]?\s+(?=[^\W\d_])"
    r"|(?P<outer>(?:chapter|part|book|title|article|appendix|annex|schedule|exhibit|kapitel|anhang|artikel)\s+"
    r"(?:\d{1,3}|[ivxlc]{1,6}|[a-z])\b|附录|第[一二三四五六七八九十百零〇\d]{1,5}[章编篇部]|[一二三四五六七八九十]{1,3}、)"
    r"|(?P<middle>[IVX]{1,5}\.\s+(?=\w)|第[一二三四五六七八九十百零〇\d]{1,5}节|[（(][一二三四五六七八九十]{1,3}[）)])"
    r"|(?P<inner>第[一二三四五六七八九十百零〇\d]{1,5}条)",
    re.IGNORECASE,
)
_LEADERS = re.compile(r"(?:\.\s?){4,}|…{2,}|(?:·\s?){4,}")
_ENDS_IN_NUMBER = re.compile(r"\s\d{1,4}$")
_ITEM = re.compile(r"[•●○▪■◦‣–—*\uf0b7-]\s|\(?[a-z]\)\s|\(?\d{1,3}\)\s")
_OPEN_END = re.compile(r"[,;，；、]$|(?<![A-Z])\.$|。$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a document: its span, the height of its type in points, its page from 0.

    ``alone`` says that empty lines part it from the lines before and after it that are set otherwise.
    """

    start: int
    end: int
    size: float
    page: int
    bold: bool = False
    alone: bool = False


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


def from_type(lines: Sequence[Line], text: str) -> tuple[Heading, ...]:
    """Headings from lines in larger type than the body's, numbered lines in larger or bold type, and short bold lines
    that stand alone. Where all type is alike, numbered lines that stand alone and count on from each other.

    Numbers give their level ("2.1" is the second), else size does, the largest being the outermost.
    """
    if not lines:
        return ()
    kept = _titled(_groups(_candidates(lines, text), text), text)
    if not kept:
        kept = _titled([[line] for line in _counted(lines, text)], text)
    levels = _levels([(size, title) for size, title, _ in kept])
    return tuple(Heading(level, title, start) for level, (_, title, start) in zip(levels, kept, strict=True))


def _titled(groups: Sequence[Sequence[Line]], text: str) -> list[tuple[float, str, int]]:
    kept = []
    for group in groups:
        title = collapse(text[group[0].start : group[-1].end])
        if 2 <= len(title) <= MAX_HEADING_CHARS and any(c.isalpha() for c in title):
            kept.append((group[0].size, title, group[0].start))
    return kept


def _counted(lines: Sequence[Line], text: str) -> list[Line]:
    """Numbered lines that stand alone, each with a number that may follow the last one's."""
    found: list[Line] = []
    last: tuple[int, ...] = (0,)
    contents = _pages_of_contents(lines, text)
    for line in lines:
        words = _words(line, text)
        match = _NUMBERED.match(words)
        if not (line.alone and match and match["dotted"] and len(words) <= MAX_BOLD_CHARS):
            continue
        if (
            _OPEN_END.search(words)
            or _LEADERS.search(words)
            or (line.page in contents and _ENDS_IN_NUMBER.search(words))
        ):
            continue
        number = tuple(int(part) for part in match["dotted"].split(".") if part.isdigit())
        if (
            _may_follow(number, last)
            and words[match.end()].isupper()
            and not (_OPEN_END.search(words) or _LEADERS.search(words))
        ):
            found.append(line)
            last = number
    return found if len(found) >= COUNTED else []


def _may_follow(number: tuple[int, ...], last: tuple[int, ...]) -> bool:
    """Whether a section's number may come after another: the next one, or the one after that if one was not seen."""
    shared = 0
    while shared < min(len(number), len(last)) and number[shared] == last[shared]:
        shared += 1
    if shared == len(number):
        return False
    step = number[shared] - last[shared] if shared < len(last) else number[shared]
    return 1 <= step <= (2 if shared < len(last) else 1) and all(part == 1 for part in number[shared + 1 :])


def _candidates(lines: Sequence[Line], text: str) -> list[Line]:
    body = body_size(lines)
    weighs = sum(line.bold for line in lines) <= BOLD_SHARE * len(lines)
    on_pages: Counter[str] = Counter(words for words, _ in {(_words(line, text), line.page) for line in lines})
    contents = _pages_of_contents(lines, text)
    return [
        line
        for line in lines
        if _is_heading(line, words := _words(line, text), body, weighs=weighs)
        and on_pages[words] <= REPEATED_ON_PAGES
        and not (line.page in contents and _ENDS_IN_NUMBER.search(words))
    ]


def _pages_of_contents(lines: Sequence[Line], text: str) -> set[int]:
    """Pages on which several numbered lines end in a number, as those of a table of contents do."""
    said = ((line.page, _words(line, text)) for line in lines)
    counts = Counter(page for page, words in said if _ENDS_IN_NUMBER.search(words) and _NUMBERED.match(words))
    return {page for page, count in counts.items() if count >= CONTENTS}


def _words(line: Line, text: str) -> str:
    return text[line.start : line.end].strip()


def _is_heading(line: Line, words: str, body: float, *, weighs: bool) -> bool:
    if line.size >= body * LARGER:
        return not _LEADERS.search(words)
    if not words or _LEADERS.search(words) or _ITEM.match(words) or _OPEN_END.search(words):
        return False
    is_bold = line.bold and weighs
    if depth_of(words):
        return is_bold or (line.alone and line.size >= body * SLIGHTLY_LARGER)
    return is_bold and line.alone and line.size >= body and len(words) <= MAX_BOLD_CHARS and not words.endswith(":")


def depth_of(words: str) -> int:
    """The level that a section's number gives: "2" 1, "2.1" 2, "Appendix A" 1, "第三节" 2; 0 for lines without one."""
    match = _NUMBERED.match(words)
    if match is None:
        return 0
    if match["dotted"]:
        return match["dotted"].count(".") + 1
    return {"outer": 1, "middle": 2, "inner": 3}[match.lastgroup or "outer"]


def _groups(candidates: Sequence[Line], text: str) -> list[list[Line]]:
    """Lines that are one heading: set alike, one right after the other, no number of its own on the later ones."""
    groups: list[list[Line]] = []
    for line in candidates:
        last = groups[-1][-1] if groups else None
        if (
            last
            and (last.size, last.bold, last.page) == (line.size, line.bold, line.page)
            and not text[last.end : line.start].strip()
            and text.count("\n", last.end, line.start) < 2
            and not depth_of(_words(line, text))
        ):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _levels(headings: Sequence[tuple[float, str]]) -> list[int]:
    sizes = sorted({size for size, _ in headings}, reverse=True)
    counts = Counter(size for size, _ in headings)
    # The few largest sizes may be a cover's; levels are counted among the sizes that head more than one section.
    common = [size for size in sizes if counts[size] > 1] or sizes
    numbered: dict[float, Counter[int]] = {}
    for size, title in headings:
        if depth := depth_of(title):
            numbered.setdefault(size, Counter())[depth] += 1
    levels = []
    for size, title in headings:
        level = depth_of(title) or 1 + sum(other > size for other in common)
        if size in numbered and not depth_of(title):
            level = numbered[size].most_common(1)[0][0]
        levels.append(min(LEVELS, level))
    return levels


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
