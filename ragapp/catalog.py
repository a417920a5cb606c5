"""The library's truth: one SQLite file with documents, pages, chunks and vectors.

A document and everything made of it is written in one transaction, or not at all. Every transaction raises the
generation and gives it a random stamp; the caches (vectors, lexicon) carry the generation they were made from, so a
cache that is behind, from another library or from a restored backup is told apart from one that may be trusted.
Chunk ids are never used again. What is read is compared with its checksums, and what is read whole is counted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragapp.errors import LibraryError, LibraryLocked, NotFound
from ragapp.rows import (
    Changes,
    Entry,
    FileRow,
    Generation,
    chunk_of,
    chunk_rows,
    document_rows,
    embedded_text,
    is_whole,
    page_of,
    table_of,
    text_hash,
    vector_rows,
    with_crc,
)
from ragapp.schema import FILE_NAME, atomic, insert, insert_all, reseal, set_meta
from ragapp.store import Change, Store
from ragapp.types import Chunk, Document, Excerpt, Heading, Page

__all__ = ["FILE_NAME", "Catalog", "Changes", "Entry", "FileRow", "Generation", "embedded_text", "text_hash"]

_T = TypeVar("_T")

# Pages lie in order, so halving finds that on which a place is: the last one that begins there or before. It is done in
# the statement, as every statement lets go of Python's lock, and with many threads each has to wait for it again.
_TOUCHED = """
    WITH RECURSIVE span (nth, first, last) AS (VALUES {spans}),
    halved (place, low, high) AS (
        SELECT first, 0, (SELECT max(number) FROM pages WHERE document_id = ?1) FROM span
        UNION SELECT last, 0, (SELECT max(number) FROM pages WHERE document_id = ?1) FROM span
        UNION SELECT place, iif(start <= place, number, low), iif(start <= place, high, number - 1)
        FROM halved CROSS JOIN pages ON document_id = ?1 AND number = (low + high + 1) / 2
        WHERE low < high
    )
    SELECT nth, pages.* FROM span CROSS JOIN pages
    ON document_id = ?1 AND start <= last AND start + length(text) > first
    AND number BETWEEN (SELECT max(low) FROM halved WHERE place = first)
    AND (SELECT max(low) FROM halved WHERE place = last) ORDER BY nth, number
"""
_ANYWHERE = "SELECT * FROM pages WHERE document_id = ? AND start < ? AND start + length(text) > ? ORDER BY number"

REWRITE_SECONDS = 10.0  # how long to wait for readers of an older state before the file is left as it is


class Catalog(Store):
    """What stands in the file of one library. Safe to share between threads: every call has a connection to itself."""

    # -- writing -------------------------------------------------------------------------------------------------

    def put(
        self,
        file: FileRow,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Mapping[bytes, NDArray[np.float32]],
        embedder: str,
        *,
        keep_freed: bool = False,
        renew: bool = False,
    ) -> None:
        """Store a document under a file's name, in place of what that file stood for, in one transaction.

        ``vectors`` holds the new vectors by text hash; those known already may be left out. With ``keep_freed`` the
        vectors that no chunk uses any more stay until ``sweep``: a document that is on its way may count on them.
        With ``renew`` a document that is stored is replaced by what was read of it now, under all its names.
        """
        others = [row for row in self.files_of(document.id) if row.uri != file.uri] if renew else []
        with self._transaction() as change:
            db = change.db
            freed = self._release(change, [file.uri, *(row.uri for row in others)])
            if not db.execute("SELECT 1 FROM documents WHERE id = ?", (document.id,)).fetchone():
                added = datetime.now(UTC).isoformat(timespec="seconds")
                rows = document_rows(document, chunks, _next_chunk(db), change.number, added)
                for table, parts in rows.items():
                    insert_all(db, table, iter(parts))
                change.documents += 1
                change.chunks += len(chunks)
            insert_all(db, "vectors", vector_rows(vectors, embedder), verb="INSERT OR IGNORE")
            for row in (file, *others):
                _insert_file(change, row)
            # Only now: what the old document shares with the new one is still needed.
            _purge(db, freed, keep=keep_freed)

    def keep_vectors(self, vectors: Mapping[bytes, NDArray[np.float32]], embedder: str) -> None:
        """Store vectors ahead of their document, so that a huge one need not be embedded again after a kill.

        They belong to no chunk until the document is put; ``sweep`` removes what was left.
        """
        with self._reading() as db, atomic(db):
            _mark_leftovers(db)
            insert_all(db, "vectors", vector_rows(vectors, embedder), verb="INSERT OR IGNORE")

    def keep_draft(self, document_id: str, page: int, body: bytes) -> None:
        """Store what was made of a page (by OCR) ahead of its document."""
        with self._reading() as db, atomic(db):
            _mark_leftovers(db)
            insert(db, "drafts", with_crc("drafts", (document_id, page, body)), verb="INSERT OR REPLACE")

    def drafts(self, document_id: str) -> dict[int, bytes]:
        """Bodies by page number; one that is damaged is left out, as it can be made again."""
        with self._reading() as db:
            rows = db.execute("SELECT * FROM drafts WHERE document_id = ?", (document_id,)).fetchall()
        return {row[1]: row[2] for row in rows if is_whole("drafts", row)}

    def sweep(self) -> None:
        """Delete drafts and vectors that no document uses: what a killed or failed ingest left behind."""
        with self._reading() as db, atomic(db):
            # The mark spares a look at every vector when nothing can have been left.
            if db.execute("DELETE FROM meta WHERE key = 'leftovers' RETURNING 1").fetchone() is None:
                return
            db.execute("DELETE FROM drafts")
            db.execute("DELETE FROM vectors WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.hash = vectors.hash)")

    def alias(self, file: FileRow, *, keep_freed: bool = False) -> None:
        """Let a file stand for a document that is stored already (a copy, or a file whose time stamp changed)."""
        with self._transaction() as change:
            query = "DELETE FROM files WHERE uri = ? AND document_id = ?"
            change.files -= change.db.execute(query, (file.uri, file.document_id)).rowcount
            freed = self._release(change, [file.uri])
            _insert_file(change, file)
            _purge(change.db, freed, keep=keep_freed)

    def drop(self, uris: Sequence[str]) -> None:
        """Forget files, and the documents that no other file stands for, with all that was made of them."""
        with self._transaction() as change:
            _purge(change.db, self._release(change, uris))

    def erase(self, uris: Sequence[str]) -> None:
        """Like ``drop``, and note that the file must be written anew, so that a kill before that is not forgotten."""
        with self._transaction() as change:
            _purge(change.db, self._release(change, uris))
            set_meta(change.db, "erasing", "1")

    def rewrite(self) -> None:
        """Write the file anew, so that nothing of what was deleted is left in it or in its log. Needs the write lock.

        Raises LibraryLocked when a reader holds on to an older state for more than ten seconds, and LibraryError when
        there is no room: it takes as much as the file again, twice.
        """
        with self._reading() as db:
            with atomic(db):
                # Whoever holds the lock has nothing on its way, so what belongs to no document is a remnant.
                db.execute("DELETE FROM drafts")
                db.execute("DELETE FROM vectors WHERE hash NOT IN (SELECT hash FROM chunks)")
                db.execute("DELETE FROM meta WHERE key = 'leftovers'")
            db.execute("VACUUM")
            self._truncate_log(db)
            # Only now: as long as the mark is there, somebody has yet to do this.
            db.execute("DELETE FROM meta WHERE key = 'erasing'")
            self._truncate_log(db)

    def _truncate_log(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA busy_timeout = {int(REWRITE_SECONDS * 1000)}")
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise LibraryLocked(
                f"Somebody still reads an older state of the library {self.folder}.", "Try again when that has ended."
            )

    def _release(self, change: Change, uris: Sequence[str]) -> list[bytes]:
        """Take files away, and documents without a file; returns the text hashes that may now be without a chunk."""
        freed: list[bytes] = []
        db = change.db
        for uri in uris:
            row = db.execute("DELETE FROM files WHERE uri = ? RETURNING document_id", (uri,)).fetchone()
            change.files -= row is not None
            if row is None or db.execute("SELECT 1 FROM files WHERE document_id = ?", row).fetchone():
                continue
            freed += [key for (key,) in db.execute("SELECT DISTINCT hash FROM chunks WHERE document_id = ?", row)]
            db.execute("INSERT INTO dropped SELECT id, ? FROM chunks WHERE document_id = ?", (change.number, *row))
            change.chunks -= db.execute("DELETE FROM chunks WHERE document_id = ?", row).rowcount
            db.execute("DELETE FROM drafts WHERE document_id = ?", row)
            change.documents -= db.execute("DELETE FROM documents WHERE id = ?", row).rowcount
        return freed

    # -- another embedder, other chunks --------------------------------------------------------------------------

    def chunked_by(self) -> str | None:
        """The fingerprint of the chunker whose chunks are here; None when nobody has said."""
        return self._meta("chunker")

    def set_chunker(self, fingerprint: str) -> None:
        with self._reading() as db, atomic(db):
            set_meta(db, "chunker", fingerprint)

    def begin_reindex(self, target: str) -> None:
        """Note that vectors and drafts of what is not yet the library's are being stored."""
        with self._reading() as db, atomic(db):
            set_meta(db, "reindexing", target)

    def end_reindex(self, embedder: str, chunker: str, replaced: Iterable[tuple[str, Sequence[Chunk]]]) -> None:
        """Make this embedder's vectors the library's, with other chunks for some documents, in one transaction.

        Vectors of other embedders are deleted. Raises LibraryError, with nothing changed, for chunks without a vector.
        """
        with self._transaction() as change:
            db = change.db
            for key, chunks in replaced:
                self._replace_chunks(change, key, chunks)
            (bare,) = db.execute(
                "SELECT count(*) FROM chunks c"
                " WHERE NOT EXISTS (SELECT 1 FROM vectors v WHERE v.hash = c.hash AND v.embedder = ?)",
                (embedder,),
            ).fetchone()
            if bare:
                raise LibraryError(f"{bare:,} chunks have no vector of {embedder}.", "Run `ragapp reindex` again.")
            set_meta(db, "embedder", embedder)
            set_meta(db, "chunker", chunker)
            _clear_reindex(db, embedder)

    def forget_reindex(self, embedder: str) -> None:
        """Delete what a reindex that was given up has stored; ``embedder`` is the library's."""
        with self._reading() as db, atomic(db):
            _clear_reindex(db, embedder)

    def _replace_chunks(self, change: Change, key: str, chunks: Sequence[Chunk]) -> None:
        db = change.db
        # The seal is made anew below, so the pages it will vouch for must be those that were stored.
        self.document(key)
        db.execute("INSERT INTO dropped SELECT id, ? FROM chunks WHERE document_id = ?", (change.number, key))
        change.chunks -= db.execute("DELETE FROM chunks WHERE document_id = ?", (key,)).rowcount
        insert_all(db, "chunks", iter(chunk_rows(chunks, _next_chunk(db), change.number)))
        change.chunks += len(chunks)
        reseal(db, key)

    def reindexing(self) -> str | None:
        """What a reindex that has not ended was going to make of the library."""
        return self._meta("reindexing")

    def document_ids(self) -> list[str]:
        with self._reading() as db:
            return [key for (key,) in db.execute("SELECT id FROM documents ORDER BY id")]

    def chunks_of(self, document_id: str) -> list[Chunk]:
        """The chunks of a document, in its order."""
        with self._reading() as db:
            query = "SELECT id FROM chunks WHERE document_id = ? ORDER BY start, end, id"
            ids = [key for (key,) in db.execute(query, (document_id,))]
        found = self.chunks(ids)
        return [found[key][0] for key in ids if key in found]

    # -- reading -------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, FileRow]:
        """All files by uri."""
        with self.snapshot(), self._reading() as db:
            rows = list(self._checked("files", db.execute("SELECT * FROM files")))
            self._count_is(db, "files", len(rows))
        return {row[0]: FileRow(*row[:5]) for row in rows}

    def files_of(self, document_id: str) -> list[FileRow]:
        with self._reading() as db:
            rows = db.execute("SELECT * FROM files WHERE document_id = ? ORDER BY name", (document_id,))
            return [FileRow(*row[:5]) for row in self._checked("files", rows)]

    def has_document(self, document_id: str) -> bool:
        with self._reading() as db:
            return db.execute("SELECT 1 FROM documents WHERE id = ?", (document_id,)).fetchone() is not None

    def entries(self) -> list[Entry]:
        """All documents by name; one that stands under two names is listed under both."""
        with self.snapshot(), self._reading() as db:
            rows = {row[0]: row for row in self._checked("documents", db.execute("SELECT * FROM documents"))}
            self._count_is(db, "documents", len(rows))
            found = []
            for file in sorted(self.files().values(), key=lambda file: file.name):
                if file.document_id not in rows:
                    raise self._damaged(f"the document of {file.name} is gone")
                _, title, _, _, added, _, pages, _, _, chunks, empty, unread, *_ = rows[file.document_id]
                found.append(
                    Entry(file.name, file.document_id, title, pages, chunks, file.bytes, empty, added,
                          tuple(json.loads(unread)))
                )  # fmt: skip
            return found

    def unread_pages(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the pages that could not be read, by document id; documents without such pages are left out."""
        with self._reading() as db:
            rows = self._checked("documents", db.execute("SELECT * FROM documents WHERE unread != '[]'"))
            return {row[0]: tuple(json.loads(row[11])) for row in rows}

    def labels(self, pages: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Labels of pages by document id and number; pages without one are left out."""
        found: dict[tuple[str, int], str] = {}
        with self.snapshot(), self._reading() as db:
            for part in _parts(sorted(set(pages))):
                wanted = ",".join(["(?, ?)"] * len(part))
                # SQLite would read every page for `(document_id, number) IN (VALUES ...)`.
                query = (
                    f"SELECT document_id, number, label FROM (VALUES {wanted})"
                    " CROSS JOIN pages ON document_id = column1 AND number = column2 WHERE label != ''"
                )
                rows = db.execute(query, tuple(chain.from_iterable(part)))
                found.update({(document_id, number): label for document_id, number, label in rows})
        return found

    def untried(self, engine: str) -> frozenset[str]:
        """Ids of the documents with unread pages on which this OCR engine has not been tried."""
        with self._reading() as db:
            rows = self._checked("documents", db.execute("SELECT * FROM documents WHERE unread != '[]'"))
            return frozenset(row[0] for row in rows if json.loads(row[3]).get("ocr") != engine)

    def document(self, document_id: str) -> Document:
        """A document as it was read. Raises NotFound."""
        with self.snapshot(), self._reading() as db:
            row = self._one(db, "documents", "id = ?", document_id)
            if row is None:
                raise NotFound(f"There is no document {document_id}.", "`ragapp list` shows what is there.")
            pages, headings, tables = (
                list(
                    self._checked(
                        table, db.execute(f"SELECT * FROM {table} WHERE document_id = ? ORDER BY 2", (document_id,))
                    )
                )
                for table in ("pages", "headings", "tables")
            )
            uri = db.execute("SELECT uri FROM files WHERE document_id = ? ORDER BY name", (document_id,)).fetchone()
        text = "".join(page[3] for page in pages)
        if (len(text), len(pages), len(headings), len(tables)) != row[5:9]:
            raise self._damaged(f"a part of the document {row[1]!r} is missing")
        return Document(
            id=document_id,
            uri=uri[0] if uri else "",
            title=row[1],
            media_type=row[2],
            text=text,
            pages=tuple(map(page_of, pages)),
            headings=tuple(Heading(*heading[2:5]) for heading in headings),
            metadata=json.loads(row[3]),
            tables=tuple(map(table_of, tables)),
        )

    def pages(self, document_id: str, start: int, end: int) -> list[tuple[Page, str]]:
        """The pages that a span touches, with their text; none for a document that is not there."""
        return self.pages_of(document_id, [(start, end)])[0]

    def pages_of(self, document_id: str, spans: Sequence[tuple[int, int]]) -> list[list[tuple[Page, str]]]:
        """The same for each of several spans."""
        with self.snapshot(), self._reading() as db:
            parts = (self._page_rows(db, document_id, part) for part in _parts(spans, 100))
            return [[(page_of(row), row[3]) for row in rows] for rows in chain.from_iterable(parts)]

    def document_id(self, document: str) -> str | None:
        """The id of a document, given that or the name of one of its files; None when there is none."""
        with self._reading() as db:
            if db.execute("SELECT 1 FROM documents WHERE id = ?", (document,)).fetchone():
                return document
            row = self._one(db, "files", "name = ?", document)
            return None if row is None else str(row[2])

    def page(self, document_id: str, number: int) -> tuple[Page, str] | None:
        """A page by its number, with its text; None where there is none."""
        with self._reading() as db:
            row = self._one(db, "pages", "document_id = ? AND number = ?", document_id, number)
            return None if row is None else (page_of(row), row[3])

    def page_texts(self, document_id: str) -> list[tuple[Page, str]]:
        """All pages of a document with their texts, without their ways back to the file, which take long to unpack."""
        with self.snapshot(), self._reading() as db:
            document = self._one(db, "documents", "id = ?", document_id)
            query = "SELECT * FROM pages WHERE document_id = ? ORDER BY number"
            rows = list(self._checked("pages", db.execute(query, (document_id,))))
            if document is not None and len(rows) != document[6]:
                raise self._damaged(f"a page of the document {document[1]!r} is missing")
        return [(page_of((*row[:7], None)), row[3]) for row in rows]

    def excerpt(self, document_id: str, start: int, end: int) -> Excerpt | None:
        """The pages that a span touches as one text, with the headings and tables there; None for a document, or a
        place in one, that does not exist. No other page is read, however long the document is."""
        with self.snapshot(), self._reading() as db:
            (pages,) = self._page_rows(db, document_id, [(start, end)])
            if not pages:
                return None
            left, text = pages[0][2], "".join(row[3] for row in pages)
            at = (document_id, left + len(text), left)
            headings = db.execute("SELECT * FROM headings WHERE document_id = ? AND start < ? AND start >= ?", at)
            tables = db.execute("SELECT * FROM tables WHERE document_id = ? AND start < ? AND end > ?", at)
            return Excerpt(
                left,
                text,
                tuple(Heading(*row[2:5]) for row in self._checked("headings", headings)),
                tuple(table_of(row) for row in self._checked("tables", tables)),
            )

    def _page_rows(self, db: sqlite3.Connection, document_id: str, spans: Sequence[tuple[int, int]]) -> list[list[Any]]:
        """Rows of the pages that each of at most 100 spans touches; raises LibraryError where one is missing."""
        document = self._one(db, "documents", "id = ?", document_id)
        if document is None:
            return [[] for _ in spans]
        # An empty span stands for the character at its place.
        meant = [(max(start, 0), min(max(end, start + 1), document[5])) for start, end in spans]
        values = ",".join(f"(?{3 * nth + 2}, ?{3 * nth + 3}, ?{3 * nth + 4})" for nth in range(len(meant)))
        wanted = [value for nth, (start, end) in enumerate(meant) for value in (nth, start, end - 1)]
        found: list[list[Any]] = [[] for _ in meant]
        for nth, *row in db.execute(_TOUCHED.format(spans=values), (document_id, *wanted)).fetchall():
            found[nth] += self._checked("pages", [row])
        for nth, (start, end) in enumerate(meant):
            if not _covers(found[nth], start, end):
                # A damaged page has misled the search for the first and last: all are looked at.
                rows = db.execute(_ANYWHERE, (document_id, end, start)).fetchall()
                found[nth] = list(self._checked("pages", rows))
                if not _covers(found[nth], start, end):
                    raise self._damaged(f"a page of the document {document[1]!r} is missing")
        return found

    def chunks(self, ids: Iterable[int]) -> dict[int, tuple[Chunk, str, str]]:
        """Chunks by id with the name and title of their document; ids that are gone are left out."""
        wanted = list(ids)
        found: dict[int, tuple[Chunk, str, str]] = {}
        with self.snapshot(), self._reading() as db:
            for part in _parts(wanted):
                chunks = []
                for row in self._chunk_rows(db, part):
                    chunks.append(chunk_of(row))
                    if text_hash(chunks[-1]) != row[8]:
                        raise self._damaged(f"chunk {chunks[-1].id} does not match its hash")
                names = self._names_and_titles(db, sorted({chunk.document_id for chunk in chunks}))
                found.update({chunk.id: (chunk, *names[chunk.document_id]) for chunk in chunks})
            missing = [key for key in wanted if key not in found]
            self._are_dropped(db, missing)
        return found

    def _chunk_rows(self, db: sqlite3.Connection, ids: Sequence[int]) -> Iterator[Any]:
        return self._checked("chunks", db.execute(f"SELECT * FROM chunks WHERE id IN ({_marks(ids)})", ids))

    def _names_and_titles(self, db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Of documents that chunks belong to, at most 500."""
        marks = _marks(ids)
        documents = db.execute(f"SELECT * FROM documents WHERE id IN ({marks})", ids)
        titles = {row[0]: row[1] for row in self._checked("documents", documents)}
        first = "name = (SELECT min(name) FROM files WHERE document_id = f.document_id)"
        files = db.execute(f"SELECT * FROM files f WHERE document_id IN ({marks}) AND {first}", ids)
        names = {row[2]: row[1] for row in self._checked("files", files)}
        if gone := next((key for key in ids if key not in titles or key not in names), None):
            raise self._damaged(f"a chunk belongs to the document {gone}, which is gone")
        return {key: (names[key], titles[key]) for key in ids}

    def _are_dropped(self, db: sqlite3.Connection, ids: Sequence[int]) -> None:
        """Raise unless all of these chunks were dropped, as those may be that a search found a moment ago."""
        for part in _parts(ids):
            (count,) = db.execute(f"SELECT count(*) FROM dropped WHERE chunk_id IN ({_marks(part)})", part).fetchone()
            if count != len(set(part)):
                raise self._damaged("a chunk is missing")

    def chunk_ids(self) -> NDArray[np.int64]:
        with self.snapshot(), self._reading() as db:
            rows = db.execute("SELECT id FROM chunks ORDER BY id").fetchall()
            self._count_is(db, "chunks", len(rows))
        return np.array([i for (i,) in rows], dtype=np.int64)

    def count_documents(self) -> int:
        with self._reading() as db:
            return int(self._newest(db)[2])

    def count_chunks(self) -> int:
        with self._reading() as db:
            return int(self._newest(db)[4])

    def names(self) -> dict[str, tuple[str, ...]]:
        """The title of every document and after it the names of its files, in their order, by document id."""
        with self.snapshot(), self._reading() as db:
            rows = list(self._checked("documents", db.execute("SELECT * FROM documents ORDER BY id")))
            self._count_is(db, "documents", len(rows))
            found = {row[0]: [row[1]] for row in rows}
            for file in self._checked("files", db.execute("SELECT * FROM files ORDER BY name")):
                if file[2] not in found:
                    raise self._damaged(f"the document of {file[1]} is gone")
                found[file[2]].append(file[1])
        return {key: tuple(names) for key, names in found.items()}

    def media_types(self) -> dict[str, str]:
        """What kind each document is of, by id."""
        with self._reading() as db:
            return {row[0]: row[2] for row in self._checked("documents", db.execute("SELECT * FROM documents"))}

    def chunk_ids_of(self, documents: Iterable[str]) -> list[int]:
        """The ids of all chunks of some documents, ascending."""
        ids: list[int] = []
        with self.snapshot(), self._reading() as db:
            for part in _parts(list(documents)):
                query = f"SELECT id FROM chunks WHERE document_id IN ({_marks(part)})"
                ids += [key for (key,) in db.execute(query, part)]
        return sorted(ids)

    def documents_of(self, ids: Iterable[int]) -> dict[int, str]:
        """The document id of each chunk; chunks that are gone are left out."""
        found: dict[int, str] = {}
        with self.snapshot(), self._reading() as db:
            for part in _parts(list(ids)):
                found.update(db.execute(f"SELECT id, document_id FROM chunks WHERE id IN ({_marks(part)})", part))
        return found

    def index_texts(self, ids: Sequence[int] | None = None) -> Iterator[tuple[int, str, str]]:
        """``(id, header, text)`` of some chunks, or of all."""
        for key, _, header, text in self.index_rows(ids):
            yield key, header, text

    def index_rows(self, ids: Sequence[int] | None = None) -> Iterator[tuple[int, str, str, str]]:
        """``(id, document id, header, text)`` of some chunks, or of all."""
        with self.snapshot(), self._reading() as db:
            found = 0
            everything = self._checked("chunks", db.execute("SELECT * FROM chunks ORDER BY id")) if ids is None else ()
            for row in everything:
                yield row[0], row[1], row[7], row[5]
                found += 1
            for part in _parts(ids or ()):
                for row in self._chunk_rows(db, part):
                    yield row[0], row[1], row[7], row[5]
                    found += 1
            if ids is None:
                self._count_is(db, "chunks", found)
            elif found != len(set(ids)):
                raise self._damaged("a chunk is missing")

    def chunk_vectors(
        self, embedder: str, ids: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and their vectors, ``(n,)`` and ``(n, width)``, for some chunks or for all."""
        keys: list[int] = []
        blobs: list[bytes] = []
        query = "SELECT c.id, v.* FROM chunks c JOIN vectors v ON v.hash = c.hash AND v.embedder = ?"
        with self.snapshot(), self._reading() as db:
            parts: Iterable[Sequence[int]] = [()] if ids is None else _parts(ids)
            for part in parts:
                where = f" WHERE c.id IN ({_marks(part)})" if ids is not None else ""
                for key, *row in db.execute(query + where, (embedder, *part)):
                    keys.append(key)
                    blobs.append(self._vector(row))
            self._have_vectors(db, embedder, len(keys), None if ids is None else len(set(ids)))
        if not keys:
            return np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float32)
        return np.array(keys, dtype=np.int64), self._matrix(blobs)

    def vector_batches(
        self, embedder: str, size: int
    ) -> Generator[tuple[NDArray[np.int64], NDArray[np.float32]], None, None]:
        """All ids and vectors like ``chunk_vectors``, at most ``size`` at once, in the order of the text hashes.

        That order is the file's own, so nothing is looked for; and it is random, so the first are a fair sample.
        """
        query = (
            "SELECT c.id, v.* FROM chunks c INDEXED BY chunks_by_hash"
            " JOIN vectors v ON v.hash = c.hash AND v.embedder = ? ORDER BY c.hash"
        )
        found = 0
        with self.snapshot(), self._reading() as db:
            rows = db.execute(query, (embedder,))
            while part := rows.fetchmany(size):
                blobs = [self._vector(row) for _, *row in part]
                found += len(part)
                yield np.array([key for key, *_ in part], dtype=np.int64), self._matrix(blobs)
            self._have_vectors(db, embedder, found, None)

    def _vector(self, row: Sequence[Any]) -> bytes:
        if not is_whole("vectors", row):
            raise self._damaged("a vector does not match its checksum")
        return bytes(row[2])

    def _matrix(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        if len({len(blob) for blob in blobs}) > 1 or len(blobs[0]) % 4:
            raise LibraryError(
                "The library's vectors are not all of one width.", "`ragapp doctor` says which are damaged."
            )
        rows = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), -1)
        return rows.astype(np.float32, copy=False)

    def _have_vectors(self, db: sqlite3.Connection, embedder: str, found: int, wanted: int | None) -> None:
        """Raise when chunks lack their vector, but not for an embedder that is not (yet) the library's."""
        if embedder == self.embedder():
            if wanted is None:
                self._count_is(db, "chunks", found)
            elif found != wanted:
                raise self._damaged("a chunk has no vector")

    def count_vectors(self) -> int:
        with self._reading() as db:
            (count,) = db.execute("SELECT count(*) FROM vectors").fetchone()
            return int(count)

    def every_text(self) -> Iterator[str]:
        """Every text that stands in the file for some document, in no order: names, titles, pages, headers and more."""
        columns = {
            "files": "uri, name",
            "documents": "title, metadata",
            "headings": "title",
            "tables": "title, columns",
            "pages": "text, label",
        }
        with self.snapshot(), self._reading() as db:
            for table, names in columns.items():
                for row in db.execute(f"SELECT {names} FROM {table}"):
                    yield from row
            for (header,) in db.execute("SELECT DISTINCT header FROM chunks"):
                yield header

    def known_hashes(self, embedder: str, hashes: Iterable[bytes]) -> set[bytes]:
        """Those texts that have a vector of this embedder."""
        known: set[bytes] = set()
        with self._reading() as db:
            for part in _parts(list(hashes)):
                query = f"SELECT hash FROM vectors WHERE embedder = ? AND hash IN ({_marks(part)})"
                known.update(key for (key,) in db.execute(query, (embedder, *part)))
        return known


def _covers(pages: Sequence[Any], start: int, end: int) -> bool:
    """Whether rows of pages, in order, hold all of a span."""
    for page in pages:
        if page[2] > start:
            break
        start = page[2] + len(page[3])
    return bool(start >= end)


def _next_chunk(db: sqlite3.Connection) -> int:
    """The first chunk id that was never used."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
    (largest,) = db.execute("SELECT max(id) FROM chunks").fetchone()
    return max(row[0] if row else 0, largest or 0) + 1


def _insert_file(change: Change, file: FileRow) -> None:
    row = (file.uri, file.name, file.document_id, file.bytes, file.mtime_ns)
    insert(change.db, "files", with_crc("files", row))
    change.files += 1


def _clear_reindex(db: sqlite3.Connection, embedder: str) -> None:
    db.execute("DELETE FROM meta WHERE key = 'reindexing'")
    unused = "NOT EXISTS (SELECT 1 FROM chunks c WHERE c.hash = vectors.hash)"
    db.execute(f"DELETE FROM vectors WHERE embedder != ? OR {unused}", (embedder,))
    # Those of documents that are not stored yet are OCR's.
    db.execute("DELETE FROM drafts WHERE document_id IN (SELECT id FROM documents)")


def _mark_leftovers(db: sqlite3.Connection) -> None:
    set_meta(db, "leftovers", "1", verb="INSERT OR IGNORE")


def _purge(db: sqlite3.Connection, hashes: Sequence[bytes], *, keep: bool = False) -> None:
    """Delete those of the vectors that no chunk uses any more, or only note that there may be some."""
    if keep and hashes:
        _mark_leftovers(db)
        return
    unused = "DELETE FROM vectors WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM chunks WHERE hash = ?1)"
    db.executemany(unused, [(key,) for key in hashes])


def _parts(values: Sequence[_T], size: int = 500) -> Iterator[Sequence[_T]]:
    yield from (values[at : at + size] for at in range(0, len(values), size))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
