"""Chunkers: documents cut into spans that the embedder reads whole; what all of them share, and the two plain ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ragapp.errors import ConfigError
from ragapp.ingest.headers import TEMPLATE, HeaderLine, document_name
from ragapp.ingest.packing import Measured, Piece, joined, overlapped
from ragapp.ingest.rows import areas, row_groups, row_spans
from ragapp.ingest.tables import column_line
from ragapp.ports import Chunker, Tokenizer
from ragapp.types import Chunk, Document, Table

VERSION = 2  # changes when the same settings begin to cut in another way


def chunker_fingerprint(chunker: Chunker) -> str:
    """What decides a chunker's chunks: what it says itself, or the name of its class."""
    kind = type(chunker)
    return str(getattr(chunker, "fingerprint", f"{kind.__module__}:{kind.__qualname__}"))


class SpanChunker(ABC):
    """What every chunker does: tables apart, header lines, and nothing that the embedder does not read whole.

    A kind of chunker says how an area of prose between tables is cut. A table gives whole rows up to ``tokens``, with
    its title and columns in the header line; a row is cut only where it alone is too long. Header and text together
    never exceed what the embedder reads. Every character that is not white space is in a chunk.
    """

    name = ""  # how the settings call it

    def __init__(self, tokenizer: Tokenizer, tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._headers = HeaderLine(tokenizer)

    @property
    def fingerprint(self) -> str:
        """What decides the chunks: kind, settings, versions. The tokenizer is the embedder's, which has its own."""
        settings = ":".join(f"{key}={value}" for key, value in self._settings().items())
        return f"{self.name}:{settings}:{VERSION}:{TEMPLATE}"

    def chunk(self, document: Document) -> list[Chunk]:
        """The chunks of a document in order; none for a document without text."""
        measured = Measured(document, self._tokenizer.spans(document.text))
        name = document_name(document)
        chunks: list[Chunk] = []
        for start, end, table in areas(document):
            if table is None:
                for piece in self._cut(measured, start, end):
                    chunks += self._chunks(measured, piece, self._headers.of(name, piece.headings))
            else:
                above = self._headers.of(name, measured.headings.at(start))
                header = self._headers.of_table(above, table.title, column_line(table))
                for piece in self._rows(measured, table, self._room(header)):
                    chunks += self._chunks(measured, piece, header)
        return chunks

    def _settings(self) -> dict[str, object]:
        return {"tokens": self._tokens}

    @abstractmethod
    def _cut(self, measured: Measured, start: int, end: int) -> Iterator[Piece]:
        """An area of prose in pieces, in order, that hold every character of it that is not white space."""

    def _rows(self, measured: Measured, table: Table, room: int) -> Iterator[Piece]:
        """A table in pieces, likewise: whole rows of at most ``room`` tokens, or one row that alone has more."""
        headings = measured.headings.at(table.start)
        for group in row_groups(measured, row_spans(measured, table), room):
            yield Piece(*joined(group), headings)

    def _room(self, header: str) -> int:
        """The tokens a chunk may have beside its header line."""
        return max(1, min(self._tokens, self._tokenizer.max_tokens - self._headers.count(header)))

    def _chunks(self, measured: Measured, piece: Piece, header: str) -> Iterator[Chunk]:
        """A piece as a chunk, or as several where the embedder would not read it whole."""
        document = measured.document
        for start, end in measured.cut(piece.start, piece.end, self._room(header)):
            page = measured.page_of(start, end).number
            text = document.text[start:end]
            yield Chunk(0, document.id, text, start, end, page, piece.headings, header, piece.parent)


class WithoutHeader:
    """A chunker's chunks without their header lines, but for tables: there it says what the columns mean.

    Where a chunk is cut stays: its header never counted.
    """

    def __init__(self, chunker: Chunker) -> None:
        self._chunker = chunker

    @property
    def fingerprint(self) -> str:
        return f"no-header:{chunker_fingerprint(self._chunker)}"

    def chunk(self, document: Document) -> Sequence[Chunk]:
        spans = [(start, end) for start, end, table in areas(document) if table is not None]
        starts = [start for start, _ in spans]

        def is_row(chunk: Chunk) -> bool:
            nth = bisect_right(starts, chunk.start) - 1
            return nth >= 0 and chunk.start < spans[nth][1]

        return [chunk if is_row(chunk) else replace(chunk, header="") for chunk in self._chunker.chunk(document)]


class TokenChunker(SpanChunker):
    """Whole sentences up to ``tokens`` of the embedder's own tokenizer, repeating at most ``overlap`` of the last ones.

    A chunk ends before a heading, at the end of a page unless it holds little, and sooner at a paragraph's end.
    """

    name = "tokens"

    def __init__(self, tokenizer: Tokenizer, tokens: int = 200, overlap: int = 0) -> None:
        super().__init__(tokenizer, tokens)
        if overlap * 2 > tokens:
            raise ConfigError(
                f"chunker.overlap = {overlap} is more than half of chunker.tokens = {tokens}.", "Lower the overlap."
            )
        self._overlap = overlap

    def _settings(self) -> dict[str, object]:
        return {"tokens": self._tokens, "overlap": self._overlap}

    def _cut(self, measured: Measured, start: int, end: int) -> Iterator[Piece]:
        for section in measured.sections(start, end):
            groups = measured.packed(section, self._tokens - self._overlap)
            for span in overlapped(groups, measured.count, self._overlap, self._tokens):
                yield measured.piece(*span)


class SentenceChunker(SpanChunker):
    """At most ``sentences`` whole sentences and ``tokens`` tokens; nothing is repeated."""

    name = "sentences"

    def __init__(self, tokenizer: Tokenizer, tokens: int = 200, sentences: int = 8) -> None:
        super().__init__(tokenizer, tokens)
        if sentences < 1:
            raise ConfigError(f"chunker.sentences = {sentences} is less than one.", "Set it to 1 or more.")
        self._sentences = sentences

    def _settings(self) -> dict[str, object]:
        return {"tokens": self._tokens, "sentences": self._sentences}

    def _cut(self, measured: Measured, start: int, end: int) -> Iterator[Piece]:
        for section in measured.sections(start, end):
            for group in measured.packed(section, self._tokens, self._sentences):
                yield measured.piece(*joined(group))
