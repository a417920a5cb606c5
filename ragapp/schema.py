"""The formats of the library's file, and the way from an older one to the present one.

Format 1 was released with 0.1.0. Format 2 adds the quality and layout of pages, tables, drafts, parents of chunks, and
a checksum for every row.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragapp.descriptors import reading
from ragapp.rows import COLUMNS, PARTS, page_of, row_crc, seal, with_crc

FILE_NAME = "library.sqlite"
APPLICATION_ID = 0x72616761  # "raga", so that `file` and ragapp tell it from other SQLite files
PAGE_BYTES = 16384  # of SQLite: a vector fits several times into a page, where of 4096 it fills two

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE generations (number INTEGER PRIMARY KEY, stamp TEXT NOT NULL);
    CREATE TABLE documents (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, media_type TEXT NOT NULL, metadata TEXT NOT NULL, added TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE files (
        uri TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, document_id TEXT NOT NULL REFERENCES documents,
        bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX files_by_document ON files (document_id);
    CREATE TABLE pages (
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        number INTEGER NOT NULL, start INTEGER NOT NULL, text TEXT NOT NULL, label TEXT NOT NULL,
        PRIMARY KEY (document_id, number)
    ) WITHOUT ROWID;
    CREATE TABLE headings (
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL, level INTEGER NOT NULL, title TEXT NOT NULL, start INTEGER NOT NULL,
        PRIMARY KEY (document_id, ordinal)
    ) WITHOUT ROWID;
    CREATE TABLE chunks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        start INTEGER NOT NULL, end INTEGER NOT NULL, page INTEGER NOT NULL,
        text TEXT NOT NULL, headings TEXT NOT NULL, header TEXT NOT NULL,
        hash BLOB NOT NULL, generation INTEGER NOT NULL
    );
    CREATE INDEX chunks_by_document ON chunks (document_id, start);
    CREATE INDEX chunks_by_hash ON chunks (hash);
    CREATE INDEX chunks_by_generation ON chunks (generation);
    CREATE TABLE dropped (chunk_id INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
    CREATE INDEX dropped_by_generation ON dropped (generation);
    CREATE TABLE vectors (
        hash BLOB NOT NULL, embedder TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (hash, embedder)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE meta ADD COLUMN crc INTEGER;
    ALTER TABLE generations ADD COLUMN documents INTEGER;
    ALTER TABLE generations ADD COLUMN files INTEGER;
    ALTER TABLE generations ADD COLUMN chunks INTEGER;
    ALTER TABLE generations ADD COLUMN crc INTEGER;
    ALTER TABLE documents ADD COLUMN chars INTEGER;
    ALTER TABLE documents ADD COLUMN page_count INTEGER;
    ALTER TABLE documents ADD COLUMN heading_count INTEGER;
    ALTER TABLE documents ADD COLUMN table_count INTEGER;
    ALTER TABLE documents ADD COLUMN chunk_count INTEGER;
    ALTER TABLE documents ADD COLUMN empty_count INTEGER;
    ALTER TABLE documents ADD COLUMN unread TEXT;
    ALTER TABLE documents ADD COLUMN seal BLOB;
    ALTER TABLE documents ADD COLUMN crc INTEGER;
    ALTER TABLE files ADD COLUMN crc INTEGER;
    ALTER TABLE pages ADD COLUMN quality TEXT NOT NULL DEFAULT 'good';
    ALTER TABLE pages ADD COLUMN read_by TEXT NOT NULL DEFAULT 'text';
    ALTER TABLE pages ADD COLUMN layout BLOB;
    ALTER TABLE pages ADD COLUMN crc INTEGER;
    ALTER TABLE headings ADD COLUMN crc INTEGER;
    ALTER TABLE chunks ADD COLUMN parent_start INTEGER;
    ALTER TABLE chunks ADD COLUMN parent_end INTEGER;
    ALTER TABLE chunks ADD COLUMN crc INTEGER;
    ALTER TABLE vectors ADD COLUMN crc INTEGER;
    CREATE TABLE tables (
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL, page INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
        title TEXT NOT NULL, columns TEXT NOT NULL, rows TEXT NOT NULL, crc INTEGER,
        PRIMARY KEY (document_id, ordinal)
    ) WITHOUT ROWID;
    CREATE TABLE drafts (
        document_id TEXT NOT NULL, page INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER,
        PRIMARY KEY (document_id, page)
    ) WITHOUT ROWID;
    """,
)
FORMAT = len(MIGRATIONS)

_ORDER = {"pages": "number", "headings": "ordinal", "tables": "ordinal", "chunks": "id"}


@contextmanager
def atomic(db: sqlite3.Connection) -> Iterator[None]:
    """All that is executed inside, or nothing of it, whatever ends the block."""
    db.execute("BEGIN IMMEDIATE")
    done = False
    try:
        yield
        db.execute("COMMIT")
        done = True
    finally:
        if not done and db.in_transaction:
            db.execute("ROLLBACK")


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a file from a format (0 for an empty one) to the present one, a transaction for each step."""
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        # Two processes may open a new library at once: the second finds the version raised.
        with atomic(db):
            (now,) = db.execute("PRAGMA user_version").fetchone()
            if now >= number:
                continue
            for statement in script.split(";"):
                if statement.strip():
                    db.execute(statement)
            if number == 1:
                db.execute("INSERT INTO meta (key, value) VALUES ('library', ?)", (secrets.token_hex(16),))
                db.execute("INSERT INTO generations (number, stamp) VALUES (0, ?)", (secrets.token_hex(8),))
            if number == 2:
                _add_checksums(db)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number}")


def make(db: sqlite3.Connection) -> None:
    """An empty library of the present format in an empty file, without its write-ahead log."""
    migrate(db, 0)


def statements() -> dict[str, str]:
    """The statement that makes each table and index of the present format, by name, as SQLite keeps it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(db, 0)
        rows = db.execute("SELECT name, sql FROM sqlite_master").fetchall()
    finally:
        db.close()
    return {name: sql for name, sql in rows if sql is not None}


def insert(db: sqlite3.Connection, table: str, row: tuple[Any, ...], *, verb: str = "INSERT") -> None:
    """A row with its checksum into a table."""
    db.execute(f"{verb} INTO {table} VALUES ({','.join('?' * len(row))})", row)


def insert_all(db: sqlite3.Connection, table: str, rows: Iterator[tuple[Any, ...]], *, verb: str = "INSERT") -> None:
    marks = ",".join("?" * (len(COLUMNS[table]) + 1))
    db.executemany(f"{verb} INTO {table} VALUES ({marks})", rows)


def set_meta(db: sqlite3.Connection, key: str, value: str, *, verb: str = "INSERT OR REPLACE") -> None:
    """What the library says about itself."""
    insert(db, "meta", with_crc("meta", (key, value)), verb=verb)


_SANE = "typeof({0}) = 'integer' AND {0} BETWEEN 0 AND 1 << 53"  # more than any library will ever have


def begin_history(db: sqlite3.Connection) -> None:
    """A generation that follows from no other, so that no cache is believed; the counts are made anew."""
    (newest,) = db.execute(
        f"SELECT coalesce(max(number), 0) FROM generations WHERE {_SANE.format('number')}"
    ).fetchone()
    last = 0
    for table, column in (("chunks", "id"), ("dropped", "chunk_id"), ("sqlite_sequence", "seq")):
        (found,) = db.execute(f"SELECT max({column}) FROM {table} WHERE {_SANE.format(column)}").fetchone()
        last = max(last, found or 0)
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'chunks'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('chunks', ?)", (last,))
    db.execute("DELETE FROM dropped")
    db.execute("DELETE FROM generations")
    insert(db, "generations", with_crc("generations", (newest + 1, secrets.token_hex(8), *tally(db))))


def parts(db: sqlite3.Connection, document_id: str) -> Iterator[tuple[str, Any]]:
    """``(table, row)`` of everything a document's seal covers beside its own row, in the order it wants."""
    for table in PARTS:
        query = f"SELECT * FROM {table} WHERE document_id = ? ORDER BY {_ORDER[table]}"
        for row in db.execute(query, (document_id,)):
            yield table, row


def seal_of(db: sqlite3.Connection, document: Any) -> bytes:
    """The seal that a document's row and parts have as they lie there."""
    return seal(document, parts(db, document[0]))


def reseal(db: sqlite3.Connection, key: str) -> None:
    """Count and seal a document whose chunks were exchanged."""
    (row,) = db.execute("SELECT * FROM documents WHERE id = ?", (key,)).fetchall()
    (count,) = db.execute("SELECT count(*) FROM chunks WHERE document_id = ?", (key,)).fetchone()
    place = COLUMNS["documents"].index("chunk_count")
    row = (*row[:place], count, *row[place + 1 : -2])
    _update_document(db, (*row, seal_of(db, row)))


def _update_document(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    names = (*COLUMNS["documents"], "crc")
    row = with_crc("documents", row)
    db.execute(f"UPDATE documents SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?", (*row, row[0]))


def tally(db: sqlite3.Connection) -> tuple[int, int, int]:
    """How many documents, files and chunks there are, counted."""
    counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("documents", "files", "chunks")]
    return counts[0], counts[1], counts[2]


def is_wal(path: Path) -> bool:
    """Whether a file is an SQLite database with a write-ahead log: bytes 18 and 19 of its header are 2."""
    try:
        with reading(path) as file:
            return file.read(20)[18:] == b"\2\2"
    except OSError:
        return False


def _add_checksums(db: sqlite3.Connection) -> None:
    """Give every row of a library of format 1 its checksum, and every document its seal."""
    db.create_function("row_crc", -1, lambda table, *values: row_crc(table, values), deterministic=True)
    for (key,) in db.execute("SELECT id FROM documents").fetchall():
        _seal(db, key)
    counts = tally(db)
    db.execute("UPDATE generations SET documents = ?, files = ?, chunks = ?", counts)
    for table in ("meta", "generations", "files", "pages", "headings", "chunks", "vectors"):
        db.execute(f"UPDATE {table} SET crc = row_crc('{table}', {', '.join(COLUMNS[table])})")


def _seal(db: sqlite3.Connection, key: str) -> None:
    found = list(parts(db, key))
    pages = [page_of(row) for table, row in found if table == "pages"]
    text = "".join(row[3] for table, row in found if table == "pages")
    chunks = sum(table == "chunks" for table, _ in found)
    headings = sum(table == "headings" for table, _ in found)
    empty = sum(not any(c.isalnum() for c in text[page.start : page.end]) for page in pages)
    base = db.execute("SELECT id, title, media_type, metadata, added FROM documents WHERE id = ?", (key,)).fetchone()
    row = (*base, len(text), len(pages), headings, 0, chunks, empty, json.dumps([]))
    # What was damaged before there were seals is sealed as it lies there: a check-up still sees that it does not fit.
    _update_document(db, (*row, seal(row, iter(found))))
