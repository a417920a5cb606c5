"""Rows of the library's file: the nouns they make, how these are packed, and the checksums that cover them.

Every row ends with a crc32 over its table's name and all its other values, so a row that was changed by anything but
ragapp is told at once when it is read. A document also carries a seal, the sha256 over all its rows, which tells what
a checksum of single rows cannot: that a row is missing or one too many.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragapp.text import join_broken
from ragapp.types import Chunk, Document, Page, Table

Row = Sequence[Any]

# All columns but the last one, which is ``crc`` everywhere, in the order in which they are declared and stored.
COLUMNS: dict[str, tuple[str, ...]] = {
    "meta": ("key", "value"),
    "generations": ("number", "stamp", "documents", "files", "chunks"),
    "documents": (
        "id", "title", "media_type", "metadata", "added", "chars", "page_count", "heading_count", "table_count",
        "chunk_count", "empty_count", "unread", "seal",
    ),
    "files": ("uri", "name", "document_id", "bytes", "mtime_ns"),
    "pages": ("document_id", "number", "start", "text", "label", "quality", "read_by", "layout"),
    "headings": ("document_id", "ordinal", "level", "title", "start"),
    "tables": ("document_id", "ordinal", "page", "start", "end", "title", "columns", "rows"),
    "chunks": (
        "id", "document_id", "start", "end", "page", "text", "headings", "header", "hash", "generation",
        "parent_start", "parent_end",
    ),
    "vectors": ("hash", "embedder", "vector"),
    "drafts": ("document_id", "page", "body"),
}  # fmt: skip

PARTS = ("pages", "headings", "tables", "chunks")  # the tables that a document's seal covers beside its own row


@dataclass(frozen=True, slots=True)
class Generation:
    """A state of the library. Two libraries, or two histories of one, never share a stamp."""

    number: int
    stamp: str


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that stands for a document. ``name`` is what users call it, unique in the library."""

    uri: str
    name: str
    document_id: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of ``ragapp list``."""

    document: str
    id: str
    title: str
    pages: int
    chunks: int
    bytes: int
    pages_without_text: int
    added: str
    pages_unread: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a cache must do to follow: forget ``dropped``, learn ``added`` (chunk ids, ascending)."""

    dropped: tuple[int, ...]
    added: tuple[int, ...]


def embedded_text(chunk: Chunk) -> str:
    """What the embedder reads and the words are taken from: the header line, then the text."""
    text = join_broken(chunk.text)
    return f"{chunk.header}\n{text}" if chunk.header else text


def text_hash(chunk: Chunk) -> bytes:
    return hashlib.sha256(embedded_text(chunk).encode("utf-8", "surrogatepass")).digest()


# -- checksums -------------------------------------------------------------------------------------------------------


def packed(values: Iterable[Any]) -> bytes:
    """Values of SQLite as bytes that no other values have: each with its type and length."""
    parts: list[bytes] = []
    for value in values:
        if isinstance(value, str):
            body = value.encode("utf-8", "surrogatepass")
            parts += (b"s%d:" % len(body), body)
        elif isinstance(value, int):
            parts.append(b"i%d:" % value)
        elif isinstance(value, bytes):
            parts += (b"b%d:" % len(value), value)
        else:
            # None, or a float, which no column of ours holds: only damage brings one here.
            parts.append(f"{value!r}:".encode())
    return b"".join(parts)


def row_crc(table: str, values: Iterable[Any]) -> int:
    """The checksum of a row of a table: crc32 over its values without the checksum itself."""
    return zlib.crc32(packed(values), zlib.crc32(table.encode()))


def with_crc(table: str, values: Row) -> tuple[Any, ...]:
    return (*values, row_crc(table, values))


def is_whole(table: str, row: Row) -> bool:
    """Whether a row, checksum last, is as it was written."""
    return bool(row_crc(table, row[:-1]) == row[-1])


def seal(document: Row, parts: Iterable[tuple[str, Row]]) -> bytes:
    """The sha256 over a document's row and the rows of its parts, all without seal and checksum.

    ``parts`` are ``(table, row)`` in the order of PARTS and, inside, of their keys. What is not covered: a chunk's id
    and generation, which say when it was stored and not what it is.
    """
    digest = hashlib.sha256(packed(document[: len(COLUMNS["documents"]) - 1]))
    for table, row in parts:
        values = tuple(row[: len(COLUMNS[table])])
        digest.update(packed((table, *(values[1:9] + values[10:] if table == "chunks" else values))))
    return digest.digest()


# -- nouns to rows and back ------------------------------------------------------------------------------------------


def document_rows(
    document: Document, chunks: Sequence[Chunk], first_id: int, generation: int, added: str
) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a document by table, with their checksums and the seal; its chunks get ids from ``first_id`` on."""
    found: dict[str, list[tuple[Any, ...]]] = {
        "pages": [_page_row(document, page) for page in document.pages],
        "headings": [(document.id, i, h.level, h.title, h.start) for i, h in enumerate(document.headings)],
        "tables": [_table_row(document.id, i, table) for i, table in enumerate(document.tables)],
        "chunks": [_chunk_row(first_id + i, chunk, generation) for i, chunk in enumerate(chunks)],
    }
    row = (
        document.id, document.title, document.media_type, _json(dict(document.metadata)), added, len(document.text),
        len(document.pages), len(document.headings), len(document.tables), len(chunks),
        len(document.pages_without_text), _json(document.pages_unread),
    )  # fmt: skip
    sealed = (*row, seal(row, ((table, part) for table in PARTS for part in found[table])))
    with_sums = {table: [with_crc(table, part) for part in parts] for table, parts in found.items()}
    return {"documents": [with_crc("documents", sealed)], **with_sums}


def chunk_rows(chunks: Sequence[Chunk], first_id: int, generation: int) -> list[tuple[Any, ...]]:
    """Rows of chunks with their checksums."""
    return [with_crc("chunks", _chunk_row(first_id + i, chunk, generation)) for i, chunk in enumerate(chunks)]


def _page_row(document: Document, page: Page) -> tuple[Any, ...]:
    text = document.text[page.start : page.end]
    return document.id, page.number, page.start, text, page.label, page.quality, page.read_by, _packed_layout(page)


def _table_row(document_id: str, ordinal: int, table: Table) -> tuple[Any, ...]:
    return (
        document_id, ordinal, table.page, table.start, table.end, table.title, _json(table.columns), _json(table.rows)
    )  # fmt: skip


def _chunk_row(key: int, chunk: Chunk, generation: int) -> tuple[Any, ...]:
    return (
        key, chunk.document_id, chunk.start, chunk.end, chunk.page, chunk.text, _json(chunk.headings), chunk.header,
        text_hash(chunk), generation, *(chunk.parent or (None, None)),
    )  # fmt: skip


def vector_rows(vectors: Mapping[bytes, NDArray[np.float32]], embedder: str) -> Iterator[tuple[Any, ...]]:
    """Rows of vectors, little-endian 32-bit floats."""
    for key, row in vectors.items():
        yield with_crc("vectors", (key, embedder, row.astype("<f4").tobytes()))


def page_of(row: Row) -> Page:
    """A page from its row."""
    _, number, start, text, label, quality, read_by, layout = row[:8]
    if layout is None:
        return Page(number, start, start + len(text), label, quality, read_by)
    unpacked = json.loads(zlib.decompress(layout))
    runs = None if unpacked["runs"] is None else tuple((at, source, n) for at, source, n in unpacked["runs"])
    words = tuple((left, right, x0, y0, x1, y1) for left, right, x0, y0, x1, y1 in unpacked["words"])
    return Page(number, start, start + len(text), label, quality, read_by, runs, words)


def table_of(row: Row) -> Table:
    _, _, page, start, end, title, columns, rows = row[:8]
    return Table(page, start, end, title, tuple(json.loads(columns)), tuple((a, b) for a, b in json.loads(rows)))


def chunk_of(row: Row) -> Chunk:
    key, document_id, start, end, page, text, headings, header, _, _, left, right = row[:12]
    parent = None if left is None else (left, right)
    return Chunk(key, document_id, text, start, end, page, tuple(json.loads(headings)), header, parent)


def _packed_layout(page: Page) -> bytes | None:
    if page.runs is None and not page.words:
        return None
    return zlib.compress(json.dumps({"runs": page.runs, "words": page.words}, separators=(",", ":")).encode())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
