"""A section a chunk: as the document's own headings cut it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragapp.ingest.chunkers import SpanChunker
from ragapp.ingest.packing import SMALL, Measured, Piece, Span, joined
from ragapp.ports import Tokenizer


@dataclass(frozen=True, slots=True)
class _Section:
    """Sentences under the heading at the end of ``path``, or of neighbours that share it, ``deepest`` headings deep."""

    path: tuple[str, ...]
    deepest: int
    sentences: Sequence[Span]


class SectionChunker(SpanChunker):
    """A section a chunk, its pages together; one of more than ``tokens`` is cut into whole sentences by size.

    A section of less than a quarter of that joins its neighbour under the same heading, as long as both fit; its
    chunk names the heading that they share, and holds their own as text. Where a document has no headings, its pages
    are cut by size.
    """

    name = "headings"

    def __init__(self, tokenizer: Tokenizer, tokens: int = 200) -> None:
        super().__init__(tokenizer, tokens)

    def _cut(self, measured: Measured, start: int, end: int) -> Iterator[Piece]:
        for section in self._joined(measured, start, end):
            if measured.size(section.sentences) <= self._tokens:
                yield Piece(*joined(section.sentences), section.path)
            else:
                for group in measured.packed(section.sentences, self._tokens):
                    yield Piece(*joined(group), section.path)

    def _joined(self, measured: Measured, start: int, end: int) -> Iterator[_Section]:
        """The sections of an area, small ones together with their neighbours."""
        held: _Section | None = None
        for sentences in measured.sections(start, end):
            path = measured.headings.at(sentences[0][0])
            section = _Section(path, len(path), sentences)
            both = self._together(measured, held, section) if held else None
            if held and not both:
                yield held
            held = both or section
        if held:
            yield held

    def _together(self, measured: Measured, one: _Section, other: _Section) -> _Section | None:
        """Two neighbours as one, or None where both are large, or do not fit, or have other headings above them."""
        small = min(measured.size(one.sentences), measured.size(other.sentences)) * SMALL < self._tokens
        both = [*one.sentences, *other.sentences]
        shared, deepest = _shared(one.path, other.path), max(one.deepest, other.deepest)
        if small and len(shared) >= deepest - 1 and measured.size(both) <= self._tokens:
            return _Section(shared, deepest, both)
        return None


def _shared(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """The headings that two paths begin with."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return tuple(one[:same])
