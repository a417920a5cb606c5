"""The line in front of a chunk: which document, which section, for a table also its title and its columns.

The line is embedded and indexed with the chunk and never shown as its text; see ``types.Chunk``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlparse

from ragapp.ingest.headings import clean_name
from ragapp.ports import Tokenizer
from ragapp.types import Document

HEADER_TOKENS = 40  # a header line longer than this loses its middle
TABLE_TOKENS = 60  # what the title and the columns of a table may add to it
SEPARATOR = " › "
TEMPLATE = "header-2"  # changes when the line is spelled in another way, so that chunks are known to be old

_WORD = re.compile(r"\w+")


class HeaderLine:
    """Writes header lines that leave room for text: never more than a third of what the embedder reads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of(self, name: str, headings: Sequence[str]) -> str:
        """``name › headings``, its middle left out until it fits, and cut where even the name alone is too long."""
        limit = min(HEADER_TOKENS, self._tokenizer.max_tokens // 3)
        parts = [name, *(h for i, h in enumerate(headings) if i or h.casefold() not in name.casefold())]
        while len(parts) > 1 and self.count(SEPARATOR.join(parts)) > limit:
            parts.pop(1)
        return self._cut(SEPARATOR.join(parts), limit)

    def of_table(self, header: str, title: str, columns: str) -> str:
        """A header line with a table's title and the heads of its columns behind it, as far as they fit.

        The title has half of what is added at most: what a figure means is said by its column.
        """
        limit = min(HEADER_TOKENS + TABLE_TOKENS, self._tokenizer.max_tokens // 3)
        title = self._cut(title, TABLE_TOKENS // 2)
        more = [part for part in (title, columns) if part.strip() and part.casefold() not in header.casefold()]
        return self._cut(SEPARATOR.join([part for part in (header, *more) if part]), limit)

    def count(self, text: str) -> int:
        return len(self._tokenizer.spans(text))

    def _cut(self, line: str, limit: int) -> str:
        spans = self._tokenizer.spans(line)
        return line if len(spans) <= limit else line[: spans[limit - 1][1]] if limit else ""


def document_name(document: Document) -> str:
    """File name and title as one name, without saying the same twice: "2018 10 K, 3M Annual Report"."""
    name = clean_name(unquote(PurePosixPath(urlparse(document.uri).path).name))
    said, title = set(_WORD.findall(name.casefold())), set(_WORD.findall(document.title.casefold()))
    if title <= said:
        return name
    return document.title if said <= title else f"{name}, {document.title}"
