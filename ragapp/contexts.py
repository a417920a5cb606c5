"""Passages to be read, made of passages that were found: near ones joined, all widened to whole paragraphs.

What is found best is small: two hundred tokens whose first words may lean on the paragraph before. What is read best
is whole. Only the pages around what was found are read. A passage stays one stretch of one document, so its text is
the stored text at its span and every quote of it can be looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ragapp.ports import Library
from ragapp.text import CJK, sentences, trimmed
from ragapp.types import Excerpt, Passage, Query

Span = tuple[int, int]

CHARS_A_TOKEN = 4  # of English, before anything was counted; of CJK one
MOST_CHARS_A_TOKEN = 6  # two hits further apart than this are not put together, whatever they hold
CLOSE = 0.97  # what is aimed at, of the tokens there may be: guesses are a little wrong
FULL = 0.75  # a passage that has this share of its tokens is not tried any larger
HOPELESS = 1.2  # of the tokens there may be: what is guessed to have more is not counted
COUNTS = 3  # how often the tokens of one passage are counted at most: it takes longer than all the rest

MARGIN = 100  # characters looked at beyond the limit

_CJK = re.compile(f"[{CJK}]")
_GAP = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True, slots=True)
class Joined:
    """A ports.Gatherer. ``tokens`` is the most a passage may grow to, counted by ``count``; 0 leaves all as found.

    Hits of one document that overlap, touch or lie near each other become one passage where both and what is between
    fit into ``tokens``; one that lies in another goes into it at any size; of what two others share only the better
    keeps it. Then each grows, best first: to the ends of its paragraph or table, over its section, and over the
    sections around, by whole paragraphs and tables, the left and the right alike, never into another passage. A
    paragraph too long to be had whole gives whole sentences, a table whole rows. A passage is made longer than
    ``tokens`` by nothing. Parents are joined, but not widened: somebody chose their size. What lies in no library stays
    as it is.
    """

    stored: Library
    tokens: int
    count: Callable[[str], int]

    def gather(self, query: Query, passages: Sequence[Passage]) -> list[Passage]:
        """The passages in the order of their best hits; each has that hit's id, page, scores, headings and header."""
        if self.tokens <= 0:
            return list(passages)
        desk = _Desk(self.stored, self.tokens, self.count)
        by_document: dict[str, list[_Hit]] = {}
        done: list[_Hit] = []
        for rank, passage in enumerate(passages):
            hit = _Hit(passage, rank, passage.chunk.start, passage.chunk.end)
            known = desk.text(passage.chunk.document_id, hit.start, hit.end) == passage.chunk.text
            (by_document.setdefault(passage.chunk.document_id, []) if known else done).append(hit)
        for document_id, hits in by_document.items():
            done += desk.widened(document_id, desk.parted(document_id, desk.joined(document_id, hits)))
        return [desk.passage(hit) for hit in sorted(done, key=lambda hit: hit.rank)]


@dataclass(frozen=True, slots=True)
class _Hit:
    """A stretch of a document: ``passage`` and ``rank`` (from 0) are those of the best hit in it."""

    passage: Passage
    rank: int
    start: int
    end: int

    def with_(self, other: _Hit) -> _Hit:
        best = min(self, other, key=lambda hit: hit.rank)
        return _Hit(best.passage, best.rank, min(self.start, other.start), max(self.end, other.end))


@dataclass(slots=True)
class _Desk:
    """The work on one list of passages: what was read and counted for one of them serves the others."""

    stored: Library
    tokens: int
    count: Callable[[str], int]
    read: dict[str, list[Excerpt]] = field(default_factory=dict)
    sizes: dict[tuple[str, int, int], int] = field(default_factory=dict)
    rate: float = 1.0  # tokens counted for each that was guessed

    def around(self, document_id: str, start: int, end: int) -> Excerpt | None:
        """Pages with a span and as much on either side as it may ever grow by."""
        reach = self.tokens * MOST_CHARS_A_TOKEN
        excerpt = self.stored.around(document_id, max(0, start - reach), end + reach)
        if excerpt is not None:
            self.read.setdefault(document_id, []).append(excerpt)
        return excerpt

    def text(self, document_id: str, start: int, end: int) -> str:
        for held in self.read.get(document_id, ()):
            if held.start <= start and end <= held.end:
                return held.text[start - held.start : end - held.start]
        excerpt = self.around(document_id, start, end)
        return "" if excerpt is None else excerpt.text[start - excerpt.start : end - excerpt.start]

    def size(self, document_id: str, start: int, end: int) -> int:
        """The tokens of a span."""
        key = (document_id, start, end)
        if key not in self.sizes:
            self.sizes[key] = self.count(self.text(document_id, start, end))
        return self.sizes[key]

    def joined(self, document_id: str, hits: Sequence[_Hit]) -> list[_Hit]:
        """The hits of a document by place, neighbours made one where they may be, those of the best hits first."""
        found = sorted(hits, key=lambda hit: (hit.start, -hit.end))
        while True:
            pairs = [
                (min(a.rank, b.rank), b.start - a.end, place)
                for place, (a, b) in enumerate(pairwise(found))
                if self._are_one(document_id, a, b)
            ]
            if not pairs:
                return found
            place = min(pairs)[2]
            found[place : place + 2] = [found[place].with_(found[place + 1])]

    def _are_one(self, document_id: str, one: _Hit, other: _Hit) -> bool:
        """Whether a hit holds the next one, or both fit into a passage with what is between them."""
        if other.end <= one.end:
            return True
        if other.end - one.start > self.tokens * MOST_CHARS_A_TOKEN:
            return False
        guess = self.rate * roughly(self.text(document_id, one.start, other.end))
        return guess <= HOPELESS * self.tokens and self.size(document_id, one.start, other.end) <= self.tokens

    def parted(self, document_id: str, hits: Sequence[_Hit]) -> list[_Hit]:
        """Hits by place without what they share: the better one keeps it."""
        kept: list[_Hit] = []
        for hit in hits:
            start = hit.start
            while kept and kept[-1].end > start:
                if kept[-1].rank < hit.rank:
                    start = kept[-1].end
                else:
                    kept[-1:] = self._cut(document_id, kept[-1], kept[-1].start, start)
            kept += self._cut(document_id, hit, start, hit.end)
        return kept

    def _cut(self, document_id: str, hit: _Hit, start: int, end: int) -> list[_Hit]:
        """A hit cut down to a span, or nothing where only white space is left of it."""
        if (start, end) == (hit.start, hit.end):
            return [hit]
        text = self.text(document_id, start, end)
        return [replace(hit, start=start + left, end=start + right) for left, right in trimmed(text, 0, len(text))]

    def widened(self, document_id: str, hits: Sequence[_Hit]) -> list[_Hit]:
        """Hits by place, none of which overlap, each grown as far as its tokens and its neighbours let it."""
        grown = list(hits)
        for place in sorted(range(len(grown)), key=lambda i: grown[i].rank):
            hit = grown[place]
            if hit.passage.chunk.parent is not None:
                continue
            left = grown[place - 1].end if place else None
            right = grown[place + 1].start if place + 1 < len(grown) else None
            grown[place] = self._grown(document_id, hit, left, right)
        return grown

    def _grown(self, document_id: str, hit: _Hit, left: int | None, right: int | None) -> _Hit:
        excerpt = self.around(document_id, hit.start, hit.end)
        if excerpt is None:
            return hit
        best = core = (hit.start, hit.end)
        neighbourhood = Neighbourhood.of(excerpt, core, left, right)
        spans: list[Span] = []
        limit = self._limit(self.text(document_id, *core))
        for _ in range(COUNTS):
            spans.append(neighbourhood.widened(core, limit))
            start, end = spans[-1]
            size = self.size(document_id, start, end)
            # What was counted says how many characters of a text like this a token has.
            self.rate = size / max(1, roughly(self.text(document_id, start, end)))
            limit = self._limit(self.text(document_id, start, end))
            if size <= self.tokens and end - start > best[1] - best[0]:
                best = start, end
            if FULL * self.tokens <= size <= self.tokens or neighbourhood.widened(core, limit) in spans:
                break
        return replace(hit, start=best[0], end=best[1])

    def _limit(self, text: str) -> int:
        """How many characters of a text like this a passage may have, as far as one knows."""
        return int(CLOSE * self.tokens * max(1, len(text)) / max(1.0, self.rate * roughly(text)))

    def passage(self, hit: _Hit) -> Passage:
        chunk = hit.passage.chunk
        if (hit.start, hit.end) == (chunk.start, chunk.end):
            return hit.passage
        text = self.text(chunk.document_id, hit.start, hit.end)
        return replace(hit.passage, chunk=replace(chunk, text=text, start=hit.start, end=hit.end))


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Where a passage may begin and end: ``lefts`` and ``rights`` are borders of paragraphs, tables and sections.

    All offsets are the document's. ``left`` and ``right`` are walls that nothing grows over: other passages, or the
    ends of what was read.
    """

    excerpt: Excerpt
    left: int
    right: int
    lefts: tuple[int, ...]
    rights: tuple[int, ...]
    sections: tuple[int, ...]

    @classmethod
    def of(cls, excerpt: Excerpt, core: Span, left: int | None, right: int | None) -> Neighbourhood:
        """What lies around a core; ``left`` and ``right`` are the ends of the passages next to it, None for none."""
        low = excerpt.start if left is None else max(left, excerpt.start)
        high = excerpt.end if right is None else min(right, excerpt.end)
        heads = sorted({h.start for h in excerpt.headings if low <= h.start < high})
        behind = _behind_headings(excerpt, heads)
        cuts = {excerpt.start + m.end() for m in _GAP.finditer(excerpt.text)} | set(heads) | {low, high}
        for table in excerpt.tables:
            cuts = {cut for cut in cuts if not table.start < cut < table.end} | {table.start, table.end}
        cuts = {cut for cut in cuts if low <= cut <= high}
        lefts = sorted((cut for cut in cuts if cut <= core[0] and (cut not in behind or cut in heads)), reverse=True)
        ends = (_without_space(excerpt, cut) for cut in sorted(cuts) if cut >= core[1] and cut not in behind)
        rights = [max(core[1], end) for end in ends]
        return cls(excerpt, low, high, tuple(lefts), tuple(rights), tuple(heads))

    def widened(self, core: Span, limit: int) -> Span:
        """The core grown to at most ``limit`` characters; the core itself where nothing fits."""
        whole = (self.lefts[0] if self.lefts else self.left, self.rights[0] if self.rights else self.right)
        if whole[1] - whole[0] > limit:
            lefts, rights = self._sentences(whole, core, limit)
            return self._trimmed(core, _grown(core, lefts, rights, limit))
        first = max((at for at in self.sections if at <= core[0]), default=self.left)
        last = min((at for at in self.sections if at >= core[1]), default=self.right)
        span = whole
        for low, high in ((first, last), (self.left, self.right)):
            lefts = [cut for cut in self.lefts if low <= cut < span[0]]
            rights = [cut for cut in self.rights if span[1] < cut <= high]
            span = _grown(span, lefts, rights, limit)
        return self._trimmed(core, span)

    def _sentences(self, whole: Span, core: Span, limit: int) -> tuple[list[int], list[int]]:
        """Where the paragraph's sentences, or rows, begin before the core and end behind it, nearest first."""
        base, text = self.excerpt.start, self.excerpt.text
        # A sentence that is cut here begins or ends too far away to fit.
        first, last = max(whole[0], core[1] - limit - MARGIN), min(whole[1], core[0] + limit + MARGIN)
        lefts = [base + start for start, _ in sentences(text, first - base, core[0] - base)]
        rights = [base + end for _, end in sentences(text, core[1] - base, last - base)]
        return lefts[::-1], rights

    def _trimmed(self, core: Span, span: Span) -> Span:
        """A span without the white space at its ends, but never less than the core."""
        base = self.excerpt.start
        for start, end in trimmed(self.excerpt.text, span[0] - base, span[1] - base):
            return min(core[0], base + start), max(core[1], base + end)
        return core


def _grown(span: Span, lefts: Sequence[int], rights: Sequence[int], limit: int) -> Span:
    """A span moved out to borders, nearest first, the side that has grown less before the other, up to a length.

    A side whose next border does not fit is at its end.
    """
    start, end = span
    before, behind = list(reversed(lefts)), list(reversed(rights))
    while before or behind:
        # What follows is read on more often than what went before, so a tie is given to the right.
        if behind and (not before or end - span[1] <= span[0] - start):
            cut = behind.pop()
            end, behind = (cut, behind) if cut - start <= limit else (end, [])
        else:
            cut = before.pop()
            start, before = (cut, before) if end - cut <= limit else (start, [])
    return start, end


def _behind_headings(excerpt: Excerpt, heads: Sequence[int]) -> set[int]:
    """Starts of the paragraphs behind headings on lines of their own: no passage ends there, with a heading last."""
    found = set()
    for head in heads:
        gap = _GAP.search(excerpt.text, head - excerpt.start)
        if gap is not None and "\n" not in excerpt.text[head - excerpt.start : gap.start()].strip():
            found.add(excerpt.start + gap.end())
    return found


def _without_space(excerpt: Excerpt, end: int) -> int:
    """The end of what is written before an offset."""
    at = end - excerpt.start
    while at > 0 and excerpt.text[at - 1].isspace():
        at -= 1
    return excerpt.start + at


def roughly(text: str) -> int:
    """About how many tokens a text has, in a hundredth of the time of a tokenizer: one for a character of CJK, and one
    for four others, which errs on the high side. A ``count`` for Joined where another step counts exactly.
    """
    wide = len(_CJK.findall(text))
    return wide + -(-(len(text) - wide) // CHARS_A_TOKEN)
