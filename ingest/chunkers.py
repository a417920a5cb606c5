"""Chunkers: documents cut into spans that the embedder reads whole."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlparse

from ragapp.errors import ConfigError
from ragapp.ingest.headings import HeadingPath, clean_name
from ragapp.ports import Tokenizer
from ragapp.text import sentences, trimmed
from ragapp.types import Chunk, Document

HEADER_TOKENS = 40  # a header line longer than this loses its middle
SEPARATOR = " › "

_WORD = re.compile(r"\w+")


class TokenChunker:
    """Whole sentences up to ``tokens`` of the embedder's own tokenizer, repeating at most ``overlap`` of the last ones.

    A chunk ends before a heading and, once it is half full, at a page's end. A sentence that is longer than a chunk is
    cut between words. Header and text together never exceed what the embedder reads.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: int = 200, overlap: int = 24) -> None:
        if overlap * 2 > tokens:
            raise ConfigError(
                f"chunker.overlap = {overlap} is more than half of chunker.tokens = {tokens}.", "Lower the overlap."
            )
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._overlap = overlap

    def chunk(self, document: Document) -> list[Chunk]:
        """The chunks of a document in order; none for a document without text."""
        text = document.text
        starts = [start for start, end in self._tokenizer.spans(text) if end > start]
        paths = HeadingPath(document.headings)
        name = document_name(document)
        page_starts = [page.start for page in document.pages]
        chunks = []
        for start, end in self._spans(text, starts, paths, page_starts):
            headings = paths.at(start if text[start:end].strip() else end)
            header = self._header(name, headings)
            for left, right in self._fit(text, start, end, starts, header):
                page = _page_of(document, page_starts, left, right)
                chunks.append(Chunk(0, document.id, text[left:right], left, right, page, headings, header))
        return chunks

    def _spans(
        self, text: str, starts: Sequence[int], paths: HeadingPath, page_starts: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """Spans of whole sentences, each within the limit unless one sentence alone exceeds it."""

        def count(left: int, right: int) -> int:
            return bisect_left(starts, right) - bisect_left(starts, left)

        def page(offset: int) -> int:
            return bisect_right(page_starts, offset)

        held: list[tuple[int, int]] = []
        fresh = 0  # sentences of `held` that no chunk has had yet
        for span in sentences(text):
            if held and fresh:
                full = count(held[0][0], span[1]) > self._tokens
                new_section = paths.starts_between(held[-1][0], span[0])
                new_page = page(held[-1][0]) != page(span[0]) and count(held[0][0], held[-1][1]) * 2 >= self._tokens
                if full or new_section or new_page:
                    yield held[0][0], held[-1][1]
                    held = [] if new_section else self._tail(held, span, count)
                    fresh = 0
            held.append(span)
            fresh += 1
        if fresh:
            yield held[0][0], held[-1][1]

    def _tail(self, held: list[tuple[int, int]], span: tuple[int, int], count: object) -> list[tuple[int, int]]:
        """The last whole sentences within the overlap, if they fit together with the next one."""
        assert callable(count)
        tail: list[tuple[int, int]] = []
        for sentence in reversed(held):
            if count(sentence[0], held[-1][1]) > self._overlap or count(sentence[0], span[1]) > self._tokens:
                break
            tail.insert(0, sentence)
        return tail

    def _fit(self, text: str, start: int, end: int, starts: Sequence[int], header: str) -> Iterator[tuple[int, int]]:
        """The span, or its pieces cut before a token where the embedder would not read it whole."""
        room = max(1, min(self._tokens, self._tokenizer.max_tokens - self._count(header)))
        while True:
            first, last = bisect_left(starts, start), bisect_left(starts, end)
            if last - first <= room:
                yield from trimmed(text, start, end)
                return
            # Cut before the last token that stands after white space, so that no word is torn; else before any.
            cut = next(
                (starts[i] for i in range(first + room, first + room // 2, -1) if text[starts[i] - 1].isspace()),
                starts[first + room],
            )
            yield from trimmed(text, start, cut)
            start = cut

    def _header(self, name: str, headings: Sequence[str]) -> str:
        """``name › headings``, its middle left out until it fits, and cut where even the name alone is too long."""
        # A third of a small window at the most: there must be room for text.
        limit = min(HEADER_TOKENS, self._tokenizer.max_tokens // 3)
        parts = [name, *(h for i, h in enumerate(headings) if i or h.casefold() not in name.casefold())]
        while len(parts) > 1 and self._count(SEPARATOR.join(parts)) > limit:
            parts.pop(1)
        header = SEPARATOR.join(parts)
        spans = self._tokenizer.spans(header)
        return header if len(spans) <= limit else header[: spans[limit - 1][1]] if limit else ""

    def _count(self, text: str) -> int:
        return len(self._tokenizer.spans(text))


def document_name(document: Document) -> str:
    """File name and title as one name, without saying the same twice: "2018 10 K, 3M Annual Report"."""
    name = clean_name(unquote(PurePosixPath(urlparse(document.uri).path).name))
    said, title = set(_WORD.findall(name.casefold())), set(_WORD.findall(document.title.casefold()))
    if title <= said:
        return name
    return document.title if said <= title else f"{name}, {document.title}"


def _page_of(document: Document, page_starts: Sequence[int], start: int, end: int) -> int:
    """The page that holds most of a span."""
    first, last = bisect_right(page_starts, start) - 1, bisect_right(page_starts, end - 1) - 1
    touched = document.pages[first : last + 1]
    return max(touched, key=lambda page: min(end, page.end) - max(start, page.start)).number
