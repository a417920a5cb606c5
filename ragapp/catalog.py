"""The library's truth: one SQLite file with documents, pages, chunks and vectors.

A document and everything made of it is written in one transaction, or not at all. Every transaction raises the
generation and gives it a random stamp; the caches (vectors, lexicon) carry the generation they were made from, so a
cache that is behind, from another library or from a restored backup is told apart from one that may be trusted.
Chunk ids are never used again. Only one process writes at a time (a lock on the file ``lock``, which the system
releases when the process dies); any number may read meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ragapp.errors import LibraryError, LibraryLocked, LibraryNewer, NotFound
from ragapp.text import join_broken
from ragapp.types import Chunk, Document, Heading, Page, PageQuality, ReadBy, Table

_T = TypeVar("_T")

FILE_NAME = "library.sqlite"
APPLICATION_ID = 0x72616761  # "raga", so that `file` and ragapp tell it from other SQLite files

MAKING_SECONDS = 10.0  # how long to wait for another process that makes the same library

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
    ALTER TABLE pages ADD COLUMN quality TEXT NOT NULL DEFAULT 'good';
    ALTER TABLE pages ADD COLUMN read_by TEXT NOT NULL DEFAULT 'text';
    ALTER TABLE pages ADD COLUMN layout BLOB;
    ALTER TABLE chunks ADD COLUMN parent_start INTEGER;
    ALTER TABLE chunks ADD COLUMN parent_end INTEGER;
    ALTER TABLE vectors ADD COLUMN crc INTEGER;
    CREATE TABLE tables (
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL, page INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
        title TEXT NOT NULL, columns TEXT NOT NULL, rows TEXT NOT NULL,
        PRIMARY KEY (document_id, ordinal)
    ) WITHOUT ROWID;
    CREATE TABLE drafts (
        document_id TEXT NOT NULL, page INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (document_id, page)
    ) WITHOUT ROWID;
    """,
)


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


class Catalog:
    """The SQLite file of one library. Safe to share between threads: every call has a connection to itself."""

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        """Open the library in ``folder``, making it when ``create``.

        Raises NotFound when there is none, LibraryNewer, and LibraryError for a file that is not a library.
        """
        self.folder = folder
        self.path = folder / FILE_NAME
        # Open connections that nobody uses just now: as many as were ever used at once. A deque is safe to share.
        self._idle: deque[sqlite3.Connection] = deque()
        self._snapshots = threading.local()
        self._immutable = False
        if not self.path.is_file():
            if not create:
                raise NotFound(
                    f"There is no library in {folder}.", "`ragapp ingest PATH` makes one; --library DIR names another."
                )
            self._make_folder()
        self._writer = threading.RLock()
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)
        self._migrate()

    # -- the file ------------------------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"The library folder {self.folder} cannot be made: {error.strerror}.",
                "Name another with --library DIR.",
            ) from error
        if not os.access(self.folder, os.W_OK):
            raise LibraryError(f"The library folder {self.folder} is not writable.", "Name another with --library DIR.")

    def _connect(self) -> sqlite3.Connection:
        if self._immutable:
            uri = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        else:
            connection = sqlite3.connect(self.path, timeout=10, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for the length of the block, whose errors are ours; that of ``snapshot`` in one."""
        held: sqlite3.Connection | None = getattr(self._snapshots, "connection", None)
        if held is not None:
            try:
                yield held
            except sqlite3.Error as error:
                raise self._translate(error) from error
            return
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = None
        try:
            if connection is None:
                connection = self._connect()
            yield connection
        except sqlite3.Error as error:
            raise self._translate(error) from error
        finally:
            if connection is not None:
                self._idle.append(connection)

    def _translate(self, error: sqlite3.Error) -> LibraryError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return LibraryLocked(f"The library {self.folder} is being written to.", "Try again when that has ended.")
        if "readonly" in text or "unable to open" in text:
            return LibraryError(f"The library {self.folder} cannot be written: {text}.", "Check its permissions.")
        if "full" in text:
            return LibraryError(f"The disk of {self.folder} is full.", "Free some space and run the command again.")
        return LibraryError(
            f"The library file {self.path} is damaged or not a library: {text}.", "`ragapp doctor` says what is wrong."
        )

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """One atomic change: yields the connection and the number of the generation it makes."""
        with self._reading() as db, _atomic(db):
            (number,) = db.execute("SELECT max(number) + 1 FROM generations").fetchone()
            db.execute("INSERT INTO generations VALUES (?, ?)", (number, secrets.token_hex(8)))
            yield db, number

    def _migrate(self) -> None:
        """Bring the file to the present format; a new one is made by one process while the others wait."""
        self._immutable = self.path.exists() and not os.access(self.folder, os.W_OK)
        if self._immutable or _is_wal(self.path):
            self._migrate_unlocked()
            return
        try:
            # SQLite does not wait for others when it changes the journal: it fails at once if anybody reads.
            with self._lock.acquire(timeout=MAKING_SECONDS):
                self._migrate_unlocked()
        except Timeout:
            raise LibraryLocked(
                f"Another process is making the library {self.folder}.", "Try again when it has finished."
            ) from None
        except OSError as error:
            raise LibraryError(
                f"The library {self.folder} cannot be locked: {error.strerror}.", "Check its permissions."
            ) from error

    def _migrate_unlocked(self) -> None:
        with self._reading() as db:
            # Tables first: another process may be making the library, and its mark comes together with its tables.
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (application,) = db.execute("PRAGMA application_id").fetchone()
            if tables and application != APPLICATION_ID:
                raise LibraryError(f"{self.path} is an SQLite file, but not a ragapp library.")
            if version > len(MIGRATIONS):
                raise LibraryNewer(
                    f"The library {self.folder} was made by a newer ragapp (format {version}; "
                    f"this one knows {len(MIGRATIONS)}).",
                    "Upgrade ragapp.",
                )
            if version == len(MIGRATIONS) or self._immutable:
                return
            db.execute("PRAGMA journal_mode = WAL")
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                first = (
                    f"INSERT INTO meta VALUES ('library', '{secrets.token_hex(16)}');"
                    f"INSERT INTO generations VALUES (0, '{secrets.token_hex(8)}');"
                    if number == 1
                    else ""
                )
                # Two processes may open a new library at once: the second finds the version raised.
                with _atomic(db):
                    (now,) = db.execute("PRAGMA user_version").fetchone()
                    if now < number:
                        for statement in _statements(script + first):
                            db.execute(statement)
                        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                        db.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock; raises LibraryLocked at once when somebody else has it. May be nested."""
        if self._immutable:
            raise LibraryError(f"The library {self.folder} is read-only.", "Check its permissions.")
        taken = LibraryLocked(
            f"Another process is writing to the library {self.folder}.", "Try again when it has finished."
        )
        # The file's lock belongs to the process, so its threads must keep each other out by themselves.
        if not self._writer.acquire(blocking=False):
            raise taken
        try:
            self._lock.acquire()
        except Timeout:
            self._writer.release()
            raise taken from None
        except OSError as error:
            self._writer.release()
            raise LibraryError(
                f"The library {self.folder} cannot be locked: {error.strerror}.", "Check its permissions."
            ) from error
        try:
            yield
        finally:
            self._lock.release()
            self._writer.release()

    @property
    def writable(self) -> bool:
        return not self._immutable

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # -- facts about the library ---------------------------------------------------------------------------------

    def generation(self) -> Generation:
        with self._reading() as db:
            return Generation(
                *db.execute("SELECT number, stamp FROM generations ORDER BY number DESC LIMIT 1").fetchone()
            )

    def embedder(self) -> str | None:
        """The fingerprint of the embedder whose vectors are here, or None while there are none."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'embedder'").fetchone()
            return None if row is None else str(row[0])

    def set_embedder(self, fingerprint: str) -> None:
        with self._transaction() as (db, _):
            db.execute("INSERT OR REPLACE INTO meta VALUES ('embedder', ?)", (fingerprint,))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Whatever this thread reads inside belongs to one generation, though others may write meanwhile.

        May be nested; nothing can be written inside.
        """
        with self._reading() as db:
            if db.in_transaction:
                yield
                return
            db.execute("BEGIN")
            self._snapshots.connection = db
            try:
                yield
            finally:
                self._snapshots.connection = None
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def changes(self, since: Generation) -> Changes | None:
        """What has changed since a generation; None when that one is not in this library's history."""
        with self._reading() as db:
            row = db.execute("SELECT 1 FROM generations WHERE number = ? AND stamp = ?", (since.number, since.stamp))
            if row.fetchone() is None:
                return None
            dropped = db.execute(
                "SELECT chunk_id FROM dropped WHERE generation > ? ORDER BY chunk_id", (since.number,)
            ).fetchall()
            added = db.execute("SELECT id FROM chunks WHERE generation > ? ORDER BY id", (since.number,)).fetchall()
        return Changes(tuple(i for (i,) in dropped), tuple(i for (i,) in added))

    # -- writing -------------------------------------------------------------------------------------------------

    def put(
        self,
        file: FileRow,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Mapping[bytes, NDArray[np.float32]],
        embedder: str,
    ) -> None:
        """Store a document under a file's name, in place of what that file stood for, in one transaction.

        ``vectors`` holds the new vectors by text hash; those known already may be left out.
        """
        with self._transaction() as (db, generation):
            freed = self._release(db, generation, [file.uri])
            if not db.execute("SELECT 1 FROM documents WHERE id = ?", (document.id,)).fetchone():
                self._insert(db, generation, document, chunks)
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?)", _vector_rows(vectors, embedder))
            db.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?)",
                (file.uri, file.name, document.id, file.bytes, file.mtime_ns),
            )
            # Only now: what the old document shares with the new one is still needed.
            self._purge(db, freed)

    def _insert(self, db: sqlite3.Connection, generation: int, document: Document, chunks: Sequence[Chunk]) -> None:
        added = datetime.now(UTC).isoformat(timespec="seconds")
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
        db.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
            (document.id, document.title, document.media_type, metadata, added),
        )
        db.executemany(
            "INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    document.id,
                    p.number,
                    p.start,
                    document.text[p.start : p.end],
                    p.label,
                    p.quality,
                    p.read_by,
                    _packed_layout(p),
                )
                for p in document.pages
            ],
        )
        db.executemany(
            "INSERT INTO tables VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    document.id,
                    i,
                    t.page,
                    t.start,
                    t.end,
                    t.title,
                    json.dumps(t.columns, ensure_ascii=False),
                    json.dumps(t.rows),
                )
                for i, t in enumerate(document.tables)
            ],
        )
        db.executemany(
            "INSERT INTO headings VALUES (?, ?, ?, ?, ?)",
            [(document.id, i, h.level, h.title, h.start) for i, h in enumerate(document.headings)],
        )
        db.executemany(
            "INSERT INTO chunks (document_id, start, end, page, text, headings, header, hash, generation,"
            " parent_start, parent_end) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (document.id, c.start, c.end, c.page, c.text, json.dumps(c.headings, ensure_ascii=False), c.header,
                 text_hash(c), generation, *(c.parent or (None, None)))
                for c in chunks
            ],
        )  # fmt: skip

    def keep_vectors(self, vectors: Mapping[bytes, NDArray[np.float32]], embedder: str) -> None:
        """Store vectors ahead of their document, so that a huge one need not be embedded again after a kill.

        They belong to no chunk until the document is put; ``sweep`` removes what was left.
        """
        with self._reading() as db, _atomic(db):
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?)", _vector_rows(vectors, embedder))

    def keep_draft(self, document_id: str, page: int, body: bytes) -> None:
        """Store what was made of a page (by OCR) ahead of its document."""
        with self._reading() as db, _atomic(db):
            db.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?, ?)", (document_id, page, body))

    def drafts(self, document_id: str) -> dict[int, bytes]:
        """Bodies by page number."""
        with self._reading() as db:
            return dict(db.execute("SELECT page, body FROM drafts WHERE document_id = ?", (document_id,)).fetchall())

    def sweep(self) -> None:
        """Delete drafts and vectors that no document uses: what a killed or failed ingest left behind."""
        with self._reading() as db, _atomic(db):
            db.execute("DELETE FROM drafts")
            db.execute("DELETE FROM vectors WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.hash = vectors.hash)")

    def alias(self, file: FileRow) -> None:
        """Let a file stand for a document that is stored already (a copy, or a file whose time stamp changed)."""
        with self._transaction() as (db, generation):
            db.execute("DELETE FROM files WHERE uri = ? AND document_id = ?", (file.uri, file.document_id))
            freed = self._release(db, generation, [file.uri])
            db.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?)",
                (file.uri, file.name, file.document_id, file.bytes, file.mtime_ns),
            )
            self._purge(db, freed)

    def drop(self, uris: Sequence[str]) -> None:
        """Forget files, and the documents that no other file stands for, with all that was made of them."""
        with self._transaction() as (db, generation):
            self._purge(db, self._release(db, generation, uris))

    def _release(self, db: sqlite3.Connection, generation: int, uris: Sequence[str]) -> list[bytes]:
        """Take files away, and documents without a file; returns the text hashes that may now be without a chunk."""
        freed: list[bytes] = []
        for uri in uris:
            row = db.execute("DELETE FROM files WHERE uri = ? RETURNING document_id", (uri,)).fetchone()
            if row is None or db.execute("SELECT 1 FROM files WHERE document_id = ?", row).fetchone():
                continue
            freed += [key for (key,) in db.execute("SELECT DISTINCT hash FROM chunks WHERE document_id = ?", row)]
            db.execute("INSERT INTO dropped SELECT id, ? FROM chunks WHERE document_id = ?", (generation, *row))
            db.execute("DELETE FROM chunks WHERE document_id = ?", row)
            db.execute("DELETE FROM documents WHERE id = ?", row)
        return freed

    def _purge(self, db: sqlite3.Connection, hashes: Iterable[bytes]) -> None:
        """Delete those of the vectors that no chunk uses any more."""
        unused = "DELETE FROM vectors WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM chunks WHERE hash = ?1)"
        db.executemany(unused, [(key,) for key in hashes])

    # -- reading -------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, FileRow]:
        """All files by uri."""
        with self._reading() as db:
            rows = db.execute("SELECT uri, name, document_id, bytes, mtime_ns FROM files").fetchall()
        return {row[0]: FileRow(*row) for row in rows}

    def files_of(self, document_id: str) -> list[FileRow]:
        with self._reading() as db:
            query = "SELECT uri, name, document_id, bytes, mtime_ns FROM files WHERE document_id = ? ORDER BY name"
            return [FileRow(*row) for row in db.execute(query, (document_id,))]

    def has_document(self, document_id: str) -> bool:
        with self._reading() as db:
            return db.execute("SELECT 1 FROM documents WHERE id = ?", (document_id,)).fetchone() is not None

    def entries(self) -> list[Entry]:
        """All documents by name; one that stands under two names is listed under both."""
        empty = _pages_without_text
        with self._reading() as db:
            rows = db.execute(
                "SELECT f.name, d.id, d.title, f.bytes, d.added,"
                " (SELECT count(*) FROM pages p WHERE p.document_id = d.id),"
                " (SELECT count(*) FROM chunks c WHERE c.document_id = d.id)"
                " FROM files f JOIN documents d ON d.id = f.document_id ORDER BY f.name"
            ).fetchall()
            return [
                Entry(name, key, title, pages, chunks, size, empty(db, key), added)
                for name, key, title, size, added, pages, chunks in rows
            ]

    def document(self, document_id: str) -> Document:
        """A document as it was read. Raises NotFound."""
        with self._reading() as db:
            row = db.execute(
                "SELECT title, media_type, metadata FROM documents WHERE id = ?", (document_id,)
            ).fetchone()
            if row is None:
                raise NotFound(f"There is no document {document_id}.", "`ragapp list` shows what is there.")
            pages = db.execute(
                f"SELECT {_PAGE_COLUMNS} FROM pages WHERE document_id = ? ORDER BY number", (document_id,)
            ).fetchall()
            tables = db.execute(
                "SELECT page, start, end, title, columns, rows FROM tables WHERE document_id = ? ORDER BY ordinal",
                (document_id,),
            ).fetchall()
            headings = db.execute(
                "SELECT level, title, start FROM headings WHERE document_id = ? ORDER BY ordinal", (document_id,)
            ).fetchall()
            uri = db.execute("SELECT uri FROM files WHERE document_id = ? ORDER BY name", (document_id,)).fetchone()
        title, media_type, metadata = row
        return Document(
            id=document_id,
            uri=uri[0] if uri else "",
            title=title,
            media_type=media_type,
            text="".join(row[2] for row in pages),
            pages=tuple(_page(row) for row in pages),
            headings=tuple(Heading(*heading) for heading in headings),
            metadata=json.loads(metadata),
            tables=tuple(_table(row) for row in tables),
        )

    def pages(self, document_id: str, start: int, end: int) -> list[tuple[Page, str]]:
        """The pages that a span touches, with their text."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT {_PAGE_COLUMNS} FROM pages"
                " WHERE document_id = ? AND start < ? AND start + length(text) > ? ORDER BY number",
                (document_id, max(end, start + 1), start),
            ).fetchall()
        return [(_page(row), row[2]) for row in rows]

    def chunks(self, ids: Iterable[int]) -> dict[int, tuple[Chunk, str, str]]:
        """Chunks by id with the name and title of their document; ids that are gone are left out."""
        wanted = list(ids)
        found: dict[int, tuple[Chunk, str, str]] = {}
        with self._reading() as db:
            for part in _parts(wanted):
                rows = db.execute(
                    "SELECT c.id, c.document_id, c.text, c.start, c.end, c.page, c.headings, c.header, c.parent_start,"
                    " c.parent_end, d.title,"
                    " (SELECT min(name) FROM files f WHERE f.document_id = c.document_id)"
                    f" FROM chunks c JOIN documents d ON d.id = c.document_id WHERE c.id IN ({_marks(part)})",
                    part,
                )
                for key, document_id, text, start, end, page, headings, header, left, right, title, name in rows:
                    parent = None if left is None else (left, right)
                    path = tuple(json.loads(headings))
                    found[key] = (Chunk(key, document_id, text, start, end, page, path, header, parent), name, title)
        return found

    def chunk_ids(self) -> NDArray[np.int64]:
        with self._reading() as db:
            rows = db.execute("SELECT id FROM chunks ORDER BY id").fetchall()
        return np.array([i for (i,) in rows], dtype=np.int64)

    def index_texts(self, ids: Sequence[int] | None = None) -> Iterator[tuple[int, str, str]]:
        """``(id, header, text)`` of some chunks, or of all."""
        with self._reading() as db:
            if ids is None:
                yield from db.execute("SELECT id, header, text FROM chunks ORDER BY id")
                return
            for part in _parts(ids):
                yield from db.execute(f"SELECT id, header, text FROM chunks WHERE id IN ({_marks(part)})", part)

    def chunk_vectors(
        self, embedder: str, ids: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and their vectors, ``(n,)`` and ``(n, width)``, for some chunks or for all."""
        keys: list[int] = []
        blobs: list[bytes] = []
        query = "SELECT c.id, v.vector FROM chunks c JOIN vectors v ON v.hash = c.hash AND v.embedder = ?"
        with self._reading() as db:
            parts: Iterable[Sequence[int]] = [()] if ids is None else _parts(ids)
            for part in parts:
                where = f" WHERE c.id IN ({_marks(part)})" if ids is not None else ""
                for key, blob in db.execute(query + where, (embedder, *part)):
                    keys.append(key)
                    blobs.append(blob)
        if not keys:
            return np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float32)
        if len({len(blob) for blob in blobs}) > 1 or len(blobs[0]) % 4:
            raise LibraryError(
                "The library's vectors are not all of one width.", "`ragapp doctor` says which are damaged."
            )
        rows = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(keys), -1)
        return np.array(keys, dtype=np.int64), rows.astype(np.float32, copy=False)

    def known_hashes(self, embedder: str, hashes: Iterable[bytes]) -> set[bytes]:
        """Those texts that have a vector of this embedder."""
        known: set[bytes] = set()
        with self._reading() as db:
            for part in _parts(list(hashes)):
                query = f"SELECT hash FROM vectors WHERE embedder = ? AND hash IN ({_marks(part)})"
                known.update(key for (key,) in db.execute(query, (embedder, *part)))
        return known

    # -- the check-up --------------------------------------------------------------------------------------------

    def check(self) -> Iterator[str]:
        """A sentence for everything that is wrong with the file; none when all is well."""
        with self._reading() as db:
            for (line,) in db.execute("PRAGMA integrity_check"):
                if line != "ok":
                    yield f"SQLite finds damage: {line}."
            for table, *_ in db.execute("PRAGMA foreign_key_check"):
                yield f"A row of {table} refers to something that is gone."
            documents = [key for (key,) in db.execute("SELECT id FROM documents")]
            # The width that most vectors have is the right one.
            width = db.execute(
                "SELECT length(vector) FROM vectors GROUP BY length(vector) ORDER BY count(*) DESC, 1 DESC LIMIT 1"
            ).fetchone()
        fingerprint = self.embedder()
        for key in documents:
            yield from self._check_document(key, fingerprint, width[0] if width else 0)

    def _check_document(self, key: str, fingerprint: str | None, width: int) -> Iterator[str]:
        document = self.document(key)
        name = document.uri or key
        if not document.uri:
            yield f"Document {key} belongs to no file."
        if [page.start for page in document.pages] != [0, *(page.end for page in document.pages)][:-1]:
            yield f"{name}: its pages do not join."
        with self._reading() as db:
            rows = db.execute(
                "SELECT c.id, c.start, c.end, c.text, c.header, c.hash, v.vector FROM chunks c"
                " LEFT JOIN vectors v ON v.hash = c.hash AND v.embedder = ? WHERE c.document_id = ?",
                (fingerprint, key),
            ).fetchall()
        for chunk_id, start, end, text, header, digest, vector in rows:
            if document.text[start:end] != text:
                yield f"{name}: chunk {chunk_id} is not the text at its place."
            elif text_hash(Chunk(chunk_id, key, text, start, end, 0, (), header)) != digest:
                yield f"{name}: chunk {chunk_id} does not match its checksum."
            if vector is None:
                yield f"{name}: chunk {chunk_id} has no vector."
            elif len(vector) != width or len(vector) % 4 or not _is_unit(np.frombuffer(vector, dtype="<f4")):
                yield f"{name}: the vector of chunk {chunk_id} is damaged."


@contextmanager
def _atomic(db: sqlite3.Connection) -> Iterator[None]:
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


def _is_wal(path: Path) -> bool:
    """Whether a file is an SQLite database with a write-ahead log: bytes 18 and 19 of its header are 2."""
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\2\2"
    except OSError:
        return False


def _is_unit(vector: NDArray[np.float32]) -> bool:
    """Whether a vector is of length one, as all embedders give them; what is not a number is not."""
    return bool(abs(float(np.linalg.norm(vector)) - 1) < 0.01)


_PAGE_COLUMNS = "number, start, text, label, quality, read_by, layout"


def _page(row: tuple[int, int, str, str, PageQuality, ReadBy, bytes | None]) -> Page:
    number, start, text, label, quality, read_by, layout = row
    if layout is None:
        return Page(number, start, start + len(text), label, quality, read_by)
    packed = json.loads(zlib.decompress(layout))
    runs = None if packed["runs"] is None else tuple((at, source, length) for at, source, length in packed["runs"])
    words = tuple((left, right, x0, y0, x1, y1) for left, right, x0, y0, x1, y1 in packed["words"])
    return Page(number, start, start + len(text), label, quality, read_by, runs, words)


def _packed_layout(page: Page) -> bytes | None:
    if page.runs is None and not page.words:
        return None
    return zlib.compress(json.dumps({"runs": page.runs, "words": page.words}, separators=(",", ":")).encode())


def _table(row: tuple[int, int, int, str, str, str]) -> Table:
    page, start, end, title, columns, rows = row
    spans = tuple((left, right) for left, right in json.loads(rows))
    return Table(page, start, end, title, tuple(json.loads(columns)), spans)


def _vector_rows(
    vectors: Mapping[bytes, NDArray[np.float32]], embedder: str
) -> Iterator[tuple[bytes, str, bytes, int]]:
    for key, row in vectors.items():
        body = row.astype("<f4").tobytes()
        yield key, embedder, body, zlib.crc32(body)


def _pages_without_text(db: sqlite3.Connection, document_id: str) -> int:
    rows = db.execute("SELECT text FROM pages WHERE document_id = ?", (document_id,))
    return sum(not any(c.isalnum() for c in text) for (text,) in rows)


def _statements(script: str) -> Iterator[str]:
    yield from (statement for statement in script.split(";") if statement.strip())


def _parts(values: Sequence[_T], size: int = 500) -> Iterator[Sequence[_T]]:
    yield from (values[at : at + size] for at in range(0, len(values), size))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
