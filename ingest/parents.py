"""Small to find, large to read: chunks that know the passage around them."""

from __future__ import annotations

from collections.abc import Iterator

from ragapp.errors import ConfigError
from ragapp.ingest.chunkers import SpanChunker
from ragapp.ingest.packing import Measured, Piece, joined
from ragapp.ingest.rows import row_groups, row_spans
from ragapp.ports import Tokenizer
from ragapp.types import Table


class ParentChunker(SpanChunker):
    """Chunks of whole sentences up to ``child_tokens``, neighbours of them together up to ``parent_tokens`` a parent.

    A chunk is embedded and found, its ``parent`` is the span of the passage to be read. Both end before headings and at
    the ends of pages, as the chunks of "tokens" do. A table that is not longer is the parent of its rows. Chunks are
    cut first: where an edit moves the parents behind it, nothing is embedded for that.
    """

    name = "parent-child"

    def __init__(self, tokenizer: Tokenizer, child_tokens: int = 96, parent_tokens: int = 384) -> None:
        super().__init__(tokenizer, child_tokens)
        if parent_tokens < child_tokens:
            raise ConfigError(
                f"chunker.parent_tokens = {parent_tokens} is less than chunker.child_tokens = {child_tokens}.",
                "A parent holds at least one child.",
            )
        self._parent_tokens = parent_tokens

    def _settings(self) -> dict[str, object]:
        return {"child_tokens": self._tokens, "parent_tokens": self._parent_tokens}

    def _cut(self, measured: Measured, start: int, end: int) -> Iterator[Piece]:
        for section in measured.sections(start, end):
            children = list(map(joined, measured.packed(section, self._tokens)))
            for passage in measured.packed(children, self._parent_tokens):
                yield from (measured.piece(start, end, joined(passage)) for start, end in passage)

    def _rows(self, measured: Measured, table: Table, room: int) -> Iterator[Piece]:
        headings = measured.headings.at(table.start)
        children = list(map(joined, row_groups(measured, row_spans(measured, table), room)))
        for passage in row_groups(measured, children, self._parent_tokens):
            yield from (Piece(start, end, headings, joined(passage)) for start, end in passage)
