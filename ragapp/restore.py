"""Documents made whole again from what their checksums prove: nothing is guessed that a checksum does not confirm."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from ragapp import schema
from ragapp.rows import (
    chunk_of,
    embedded_text,
    is_whole,
    page_of,
    row_crc,
    text_hash,
    vector_rows,
    with_crc,
)

_DOCUMENT_COUNTS = {"pages": 6, "headings": 7, "tables": 8, "chunks": 9}  # where a document's row counts its parts


def document_faults(db: sqlite3.Connection, key: str) -> Iterator[str]:
    """What is wrong with a document and its parts, as ends of sentences."""
    row = db.execute("SELECT * FROM documents WHERE id = ?", (key,)).fetchone()
    if row is None:
        yield "its document is gone"
        return
    if not is_whole("documents", row):
        yield "what is stored about it does not match its checksum"
        return
    found = list(schema.parts(db, key))
    faults = [*_broken_rows(found), *_missing_rows(row, found)]
    if not faults:
        faults = list(_misfits(found))
    if not faults and schema.seal_of(db, row) != row[12]:
        faults = ["it does not match its seal"]
    yield from faults


def _broken_rows(found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    nouns = {"pages": "page", "headings": "heading", "tables": "table", "chunks": "chunk"}
    for table, row in found:
        if not is_whole(table, row):
            yield f"{nouns[table]} {row[0 if table == 'chunks' else 1]} does not match its checksum"


def _missing_rows(document: Any, found: Sequence[tuple[str, Any]]) -> Iterator[str]:
    for table, place in _DOCUMENT_COUNTS.items():
        count = sum(name == table for name, _ in found)
        if count != document[place]:
            yield f"it has {count} {table} instead of {document[place]}"


def _misfits(found: Sequence[tuple[str, Any]]) -> Iterator[str]:
    """Rows that are as they were written, and do not fit together."""
    pages = [page_of(row) for table, row in found if table == "pages"]
    text = "".join(row[3] for table, row in found if table == "pages")
    if [page.start for page in pages] != [0, *(page.end for page in pages)][:-1]:
        yield "its pages do not join"
        return
    for table, row in found:
        if table == "chunks":
            chunk = chunk_of(row)
            if text[chunk.start : chunk.end] != chunk.text:
                yield f"chunk {chunk.id} is not the text at its place"
            elif text_hash(chunk) != row[8]:
                yield f"chunk {chunk.id} does not match its hash"


def document(db: sqlite3.Connection, key: str) -> bool:
    """Put pages and chunks right whose text another row proves; whether anything was changed."""
    row = db.execute("SELECT * FROM documents WHERE id = ?", (key,)).fetchone()
    if row is None or not is_whole("documents", row):
        return False
    changed = _restore_pages(db, key, row[5])
    return _restore_chunks(db, key) or changed


def _restore_pages(db: sqlite3.Connection, key: str, chars: int) -> bool:
    pages = db.execute("SELECT * FROM pages WHERE document_id = ? ORDER BY number", (key,)).fetchall()
    chunks = db.execute("SELECT * FROM chunks WHERE document_id = ? ORDER BY start", (key,)).fetchall()
    good = [row for row in chunks if is_whole("chunks", row)]
    changed = False
    for place, row in enumerate(pages):
        if is_whole("pages", row) or not isinstance(row[2], int) or not isinstance(row[3], str):
            continue
        end = pages[place + 1][2] if place + 1 < len(pages) else chars
        if not isinstance(end, int) or end - row[2] != len(row[3]):
            continue
        text = _overlaid(row[3], row[2], good)
        if row_crc("pages", (*row[:3], text, *row[4:8])) == row[8]:
            db.execute("UPDATE pages SET text = ? WHERE document_id = ? AND number = ?", (text, key, row[1]))
            changed = True
    return changed


def _overlaid(text: str, start: int, chunks: Iterable[Any]) -> str:
    """A page's text with that of the chunks that stand on it."""
    letters = list(text)
    for row in chunks:
        left, right = max(row[2], start), min(row[3], start + len(text))
        if left < right:
            letters[left - start : right - start] = row[5][left - row[2] : right - row[2]]
    return "".join(letters)


def _restore_chunks(db: sqlite3.Connection, key: str) -> bool:
    pages = db.execute("SELECT * FROM pages WHERE document_id = ? ORDER BY number", (key,)).fetchall()
    if not all(is_whole("pages", row) for row in pages):
        return False
    text = "".join(row[3] for row in pages)
    changed = False
    for row in db.execute("SELECT * FROM chunks WHERE document_id = ?", (key,)).fetchall():
        if is_whole("chunks", row) or not isinstance(row[2], int) or not isinstance(row[3], int):
            continue
        right = text[row[2] : row[3]]
        if row_crc("chunks", (*row[:5], right, *row[6:12])) == row[12]:
            db.execute("UPDATE chunks SET text = ? WHERE id = ?", (right, row[0]))
            changed = True
    return changed


def files(db: sqlite3.Connection) -> tuple[int, dict[str, str]]:
    """Put the names of files right where a checksum proves them, and delete the rows of files that stay broken: how
    many were put right, and the others as ``{document: name}``. A file whose size or time stamp is lost gets none, so
    that it is looked at again."""
    rows = db.execute("SELECT * FROM files").fetchall()
    taken = {row[2] for row in rows if is_whole("files", row)}
    free = [key for (key,) in db.execute("SELECT id FROM documents") if key not in taken]
    restored = 0
    broken: dict[str, str] = {}
    for row in rows:
        if is_whole("files", row):
            continue
        db.execute("DELETE FROM files WHERE uri = ?", (row[0],))
        values = next(_proven(row, [row[2], *free]), None)
        if values is not None:
            schema.insert(db, "files", with_crc("files", values), verb="INSERT OR IGNORE")
            restored += 1
        else:
            broken[str(row[2])] = str(row[1])
    return restored, broken


def _proven(row: Any, documents: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """What the row of a file may have been: with another name or document that its checksum confirms, or without its
    size and time where address, name and a document that no other file stands for agree."""
    uri, name, key, size, mtime, crc = row
    steps = unquote(str(uri)).split("/")
    names = [name, *("/".join(steps[at:]) for at in range(len(steps)))]
    for document_id in documents:
        for candidate in names:
            values = (uri, candidate, document_id, size, mtime)
            if row_crc("files", values) == crc:
                yield values
    if name in names[1:] and key in documents[1:]:
        yield (uri, name, key, 0, 0)


def vectors(
    db: sqlite3.Connection,
    chunks: Sequence[Any],
    fingerprint: str,
    embed: Callable[[list[str]], NDArray[np.float32]],
) -> None:
    """Make and store the vectors of chunks (rows)."""
    texts = [embedded_text(chunk_of(row)) for row in chunks]
    made = np.asarray(embed(texts), dtype=np.float32)
    rows = vector_rows({row[8]: vector for row, vector in zip(chunks, made, strict=True)}, fingerprint)
    schema.insert_all(db, "vectors", rows, verb="INSERT OR REPLACE")
