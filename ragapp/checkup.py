"""The check-up: a sentence for everything that is wrong with a library's file, and the mending of what can be mended.

Rows are compared with their checksums and documents with their seals. What a checksum proves is put right: a chunk's
text from its page, a page's text from its chunks, a vector from its text. A document that cannot be made whole is
dropped and named, so that its file can be ingested again. A file that SQLite cannot read is salvaged row by row into a
fresh one (salvage.py), and the damaged one is kept beside it.

Needs the write lock for mending; looking can be done at any time. Caches are checked by who makes them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragapp import restore, salvage, schema
from ragapp.descriptors import reading
from ragapp.errors import LibraryError, LibraryNewer
from ragapp.rows import is_whole
from ragapp.schema import APPLICATION_ID, FILE_NAME, FORMAT
from ragapp.shelf import MAKING
from ragapp.store import check_head, replace_file, sync_folder

DAMAGED = f"{FILE_NAME}.damaged-"
IMPORTING = ".import-"


@dataclass(frozen=True, slots=True)
class Embedding:
    """The embedder that a mending may use: its fingerprint, and the vectors of texts."""

    fingerprint: str
    embed: Callable[[list[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Checkup:
    """What a check-up found and what it mended, sentences; ``lost`` are the files to be ingested again, and ``notes``
    what the user should know though nothing is wrong."""

    findings: tuple[str, ...]
    mended: tuple[str, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    documents: int

    @property
    def well(self) -> bool:
        return not self.findings


@dataclass(slots=True)
class Mending:
    """What was done so far."""

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    rows_changed: bool = False
    rewrite: bool = False  # a removal was stopped before the files were written anew


def look(folder: Path, *, leftovers: bool = True) -> Iterator[str]:
    """A sentence for everything that is wrong with the library's file, and for what was left lying about.

    ``leftovers`` off passes over what an ingest that goes on just now may be using.
    """
    yield from log_faults(folder)
    yield from file_faults(folder)
    try:
        with closing(_opened(folder)) as db:
            yield from row_faults(db)
            if leftovers:
                yield from leftover_faults(db, folder)
    except sqlite3.Error:
        return  # said above
    except UnicodeError as error:
        yield f"The library file {folder / FILE_NAME} holds bytes that are no text: {error}."


def upgrade(folder: Path) -> None:
    """Bring a library of an older format up to date, as opening it does. What cannot be is found by ``look``."""
    with suppress(sqlite3.Error, UnicodeError), closing(_opened(folder)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if 0 < version <= FORMAT and application == APPLICATION_ID:
            schema.migrate(db, version)
            db.execute("PRAGMA journal_mode = WAL")


def notes(folder: Path) -> list[str]:
    """Sentences about damaged files that are kept."""
    return [
        f"{path} is kept from a repair; it still holds text of your documents. Delete it when you need it no more."
        for path in sorted(folder.glob(f"{DAMAGED}*"))
    ]


# -- the file --------------------------------------------------------------------------------------------------------


def file_faults(folder: Path) -> Iterator[str]:
    """What is wrong with the SQLite file as such. Raises LibraryNewer, and LibraryError for somebody else's file."""
    path = folder / FILE_NAME
    if not path.is_file() or not path.stat().st_size:
        yield f"The library file {path} is missing or empty."
        return
    try:
        with closing(_opened(folder)) as db:
            yield from _sqlite_faults(db, path)
    except (sqlite3.Error, UnicodeError) as error:
        yield f"The library file {path} cannot be read: {error}."


def can_be_opened(folder: Path) -> bool:
    return next(file_faults(folder), None) is None


def _sqlite_faults(db: sqlite3.Connection, path: Path) -> Iterator[str]:
    with reading(path) as file:
        journal = file.read(20)[18:]
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    made = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    wanted = schema.statements()
    if made and not set(made) & {"documents", "chunks", "pages"}:
        raise LibraryError(f"{path} is an SQLite file, but not a ragapp library.")
    if version > FORMAT and made != wanted:
        raise LibraryNewer(f"The library {path.parent} was made by a newer ragapp (format {version}).", "Upgrade.")
    if application != APPLICATION_ID or version != FORMAT or journal not in (b"\1\1", b"\2\2"):
        yield f"The library file {path} has a damaged header."
    for name in sorted(set(made) | set(wanted)):
        if made.get(name) != wanted.get(name):
            yield f"The table or index {name} is not as ragapp made it."
    for (line,) in db.execute("PRAGMA integrity_check(5)"):
        if line != "ok":
            yield f"SQLite finds damage: {' '.join(str(line).split())}."


def log_faults(folder: Path) -> Iterator[str]:
    """Whether the write-ahead log is one. To be asked before anybody opens the file: SQLite passes over such a log."""
    log = folder / f"{FILE_NAME}-wal"
    if not log.is_file() or not log.stat().st_size:
        return
    with reading(log) as file:
        if not salvage.is_log(file.read(32)):
            yield f"The write-ahead log {log} is damaged, and with it perhaps what was written last."


def _opened(folder: Path) -> sqlite3.Connection:
    check_head(folder / FILE_NAME)
    writable = os.access(folder, os.W_OK)
    uri = f"{(folder / FILE_NAME).resolve().as_uri()}?mode={'rw' if writable else 'ro&immutable=1'}"
    db = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
    # A byte that is no text must not end the check-up: it becomes a character that fits no checksum.
    db.text_factory = lambda body: body.decode("utf-8", "surrogateescape")
    if writable:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
    return db


# -- the rows --------------------------------------------------------------------------------------------------------


def row_faults(db: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with rows, documents and vectors."""
    db.execute("BEGIN")  # all that is compared belongs to one state
    try:
        yield from _book_faults(db)
        for table in ("files", "drafts"):
            count = sum(not is_whole(table, row) for row in db.execute(f"SELECT * FROM {table}"))
            if count:
                yield f"{count} rows of {table} do not match their checksums."
        for table in ("files", "pages", "headings", "tables", "chunks"):
            for (key,) in db.execute(_ORPHANS.format(table=table)):
                yield f"A row of {table} belongs to the document {key}, which is gone."
        for key, title in db.execute("SELECT id, title FROM documents ORDER BY id").fetchall():
            (name,) = db.execute("SELECT min(name) FROM files WHERE document_id = ?", (key,)).fetchone()
            if name is None:
                yield f"The document {title!r} belongs to no file."
            for fault in restore.document_faults(db, key):
                yield f"{name or title}: {fault}."
        yield from vector_faults(db)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


_ORPHANS = "SELECT DISTINCT document_id FROM {table} WHERE document_id NOT IN (SELECT id FROM documents)"


def _book_faults(db: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with what the library says about itself."""
    meta = db.execute("SELECT * FROM meta").fetchall()
    known = {row[0] for row in meta}
    (chunks,) = db.execute("SELECT count(*) FROM chunks").fetchone()
    if not all(is_whole("meta", row) for row in meta):
        yield "What the library says about itself (meta) does not match its checksums."
    if "library" not in known or (chunks and "embedder" not in known):
        yield "The library has lost what it says about itself (meta)."
    rows = db.execute("SELECT * FROM generations ORDER BY number DESC").fetchall()
    if not rows or not all(is_whole("generations", row) for row in rows):
        yield "The history of the library (generations) is damaged."
    elif tuple(rows[0][2:5]) != schema.tally(db):
        what = ("documents", "files", "chunks")
        told = ", ".join(f"{n} {name}" for n, name in zip(rows[0][2:5], what, strict=True))
        held = ", ".join(f"{n} {name}" for n, name in zip(schema.tally(db), what, strict=True))
        yield f"The library should hold {told}, and holds {held}."
    (largest,) = db.execute(_LARGEST).fetchone()
    row = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
    if largest > (row[0] or 0):
        yield "The number of the last chunk is damaged; a number might be used twice."


_LARGEST = "SELECT max((SELECT coalesce(max(id), 0) FROM chunks), (SELECT coalesce(max(chunk_id), 0) FROM dropped))"


def vector_faults(db: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the vectors that the chunks need."""
    fingerprint = _embedder(db)
    bad = _bad_vectors(db, fingerprint)
    if bad:
        yield f"{len(bad)} vectors are damaged."
    query = (
        "SELECT c.id, (SELECT min(name) FROM files f WHERE f.document_id = c.document_id) FROM chunks c"
        " WHERE NOT EXISTS (SELECT 1 FROM vectors v WHERE v.hash = c.hash AND v.embedder = ?) ORDER BY c.id"
    )
    for key, name in db.execute(query, (fingerprint,)):
        yield f"{name}: chunk {key} has no vector."


def _bad_vectors(db: sqlite3.Connection, fingerprint: str | None) -> list[tuple[bytes, str]]:
    """Keys of the vectors that do not fit their checksum, have another width than most, or not the length one."""
    width = db.execute(
        "SELECT length(vector) FROM vectors WHERE embedder = ? GROUP BY 1 ORDER BY count(*) DESC, 1 DESC LIMIT 1",
        (fingerprint,),
    ).fetchone()
    found = []
    for row in db.execute("SELECT * FROM vectors"):
        if not is_whole("vectors", row) or (row[1] == fingerprint and not _is_vector(row[2], width[0])):
            found.append((row[0], row[1]))
    return found


def _is_vector(body: bytes, width: int) -> bool:
    if len(body) != width or len(body) % 4:
        return False
    length = float(np.linalg.norm(np.frombuffer(body, dtype="<f4")))
    return abs(length - 1) < 0.01 or length == 0


def _embedder(db: sqlite3.Connection) -> str | None:
    row = db.execute("SELECT * FROM meta WHERE key = 'embedder'").fetchone()
    return str(row[1]) if row is not None and is_whole("meta", row) else None


# -- what was left lying about ---------------------------------------------------------------------------------------


def leftover_faults(db: sqlite3.Connection, folder: Path) -> Iterator[str]:
    """What a killed process has left, and nobody will use."""
    for path in _stray(folder):
        yield f"{path.name} was left behind by a process that was stopped."
    if _is_erasing(db):
        yield "A removal was stopped before the files were written anew; they may still hold what was removed."
    if db.execute("SELECT 1 FROM meta WHERE key = 'reindexing'").fetchone():
        return  # the drafts and vectors of a reindex that will go on
    (drafts,) = db.execute("SELECT count(*) FROM drafts").fetchone()
    if drafts:
        yield f"{drafts} drafts of pages were left behind by an ingest that was stopped."
    (orphans,) = db.execute(f"SELECT count(*) FROM vectors WHERE {_UNUSED}").fetchone()
    if orphans:
        yield f"{orphans} vectors belong to no chunk."


_UNUSED = "NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.hash = vectors.hash)"


def _is_erasing(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM meta WHERE key = 'erasing'").fetchone() is not None


def _stray(folder: Path) -> list[Path]:
    patterns = (f"cache/{MAKING}*", f"{salvage.MAKING}*", f"{IMPORTING}*")
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def sweep_files(folder: Path) -> None:
    """Remove the files that a killed process has left. Needs the write lock."""
    for path in _stray(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    sweep_files(folder)
    with closing(_opened(folder)) as db, schema.atomic(db):
        if not db.execute("SELECT 1 FROM meta WHERE key = 'reindexing'").fetchone():
            db.execute("DELETE FROM drafts")
            db.execute(f"DELETE FROM vectors WHERE {_UNUSED}")
            db.execute("DELETE FROM meta WHERE key = 'leftovers'")


# -- mending ---------------------------------------------------------------------------------------------------------


def set_log_aside(folder: Path, mending: Mending) -> None:
    """Keep a damaged log under another name: SQLite would delete it."""
    if list(log_faults(folder)):
        kept = _free_name(folder / FILE_NAME, "-wal")
        os.replace(folder / f"{FILE_NAME}-wal", kept)
        sync_folder(folder)
        mending.done.append(f"The damaged log is kept as {kept.name}.")


def mend(folder: Path, embedding: Embedding | None, mending: Mending) -> None:
    """Put right what is wrong with the library's file. Needs the write lock, and nobody else in this process."""
    try:
        if list(file_faults(folder)) or not _rows_mended(folder, embedding, mending):
            _salvage(folder, embedding, mending)
        with closing(_opened(folder)) as db:
            left = list(leftover_faults(db, folder))
            mending.rewrite = _is_erasing(db)
        if left:
            _sweep(folder)
            mending.done.append("What was left behind was removed.")
    except sqlite3.Error as error:
        raise LibraryError(
            f"The library {folder} cannot be mended: {error}.",
            "Is there room on the disk, and may the folder be written?",
        ) from error


def _rows_mended(folder: Path, embedding: Embedding | None, mending: Mending) -> bool:
    """Mend the rows of a file that SQLite can read; False when there is that in it which cannot even be asked for."""
    rows = Mending()
    try:
        with closing(_opened(folder)) as db:
            if next(row_faults(db), None) is not None:
                _mend_rows(db, embedding, rows)
    except UnicodeError:
        return False
    mending.done += rows.done
    mending.lost += rows.lost
    mending.rows_changed = rows.rows_changed
    return True


def _salvage(folder: Path, embedding: Embedding | None, mending: Mending) -> None:
    """Put a fresh file with all that could be read in the place of a damaged one, which is kept."""
    path = folder / FILE_NAME
    if not path.is_file():
        path.touch()
    rows = Mending()
    made, count = salvage.salvage(path, lambda db: _mend_rows(db, embedding, rows))
    kept = _keep(path)
    replace_file(folder, made)
    mending.done.append(f"A fresh library file was made of the {count:,} rows that could be read.")
    mending.done += rows.done
    mending.lost += rows.lost
    mending.rows_changed = True
    if kept is not None:
        mending.done.append(f"The damaged file is kept as {kept.name}; it still holds text of your documents.")


def _keep(path: Path) -> Path | None:
    """Give a damaged file a second name, with its log; None for an empty one."""
    if not path.stat().st_size:
        return None
    kept = _free_name(path)
    for ending in ("", "-wal"):
        source = path.with_name(f"{FILE_NAME}{ending}")
        if source.is_file() and source.stat().st_size:
            target = kept.with_name(f"{kept.name}{ending}")
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
    sync_folder(path.parent)
    return kept


def _free_name(path: Path, ending: str = "") -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    names = (path.with_name(f"{DAMAGED}{stamp}{f'.{n}' if n else ''}{ending}") for n in range(1_000_000))
    return next(name for name in names if not name.exists())


def _mend_rows(db: sqlite3.Connection, embedding: Embedding | None, mending: Mending) -> None:
    """Restore rows, drop documents that stay broken, remake vectors, and begin a new history."""
    with schema.atomic(db):
        db.execute("PRAGMA defer_foreign_keys = ON")
        restored, broken = restore.files(db)
        before = {**_names(db), **broken}
        for key in _all_documents(db):
            if list(restore.document_faults(db, key)):
                if restore.document(db, key) and not list(restore.document_faults(db, key)):
                    restored += 1
                else:
                    _drop(db, key)
        _drop_strays(db)
        if restored:
            mending.done.append(f"{restored} documents or files were restored from what their checksums prove.")
        lost = sorted({before[key] for key in before.keys() - _names(db).keys()})
        if lost:
            mending.lost += lost
            mending.done.append(f"What could not be mended was dropped; ingest these again: {', '.join(lost)}.")
        _mend_meta(db)
        made = _mend_vectors(db, embedding)
        if made:
            mending.done.append(f"{made} vectors were made again from the stored text.")
        schema.begin_history(db)
    mending.rows_changed = True
    mending.done.append("The counts and the history of the library were written anew.")


def _names(db: sqlite3.Connection) -> dict[str, str]:
    """What users call the documents, by id: the name of a file, or the title where there is none."""
    titles = {str(key): str(title) for key, title in db.execute("SELECT id, title FROM documents")}
    names = {str(key): str(name) for key, name in db.execute("SELECT document_id, name FROM files ORDER BY 2 DESC")}
    return {**titles, **names}


def _all_documents(db: sqlite3.Connection) -> list[Any]:
    return [key for (key,) in db.execute("SELECT id FROM documents UNION SELECT document_id FROM files").fetchall()]


def _drop(db: sqlite3.Connection, key: str) -> None:
    for table in ("chunks", "tables", "headings", "pages", "files"):
        db.execute(f"DELETE FROM {table} WHERE document_id = ?", (key,))
    db.execute("DELETE FROM documents WHERE id = ?", (key,))


def _drop_strays(db: sqlite3.Connection) -> None:
    """Documents that no file stands for cannot be listed or removed; rows of no document cannot be found."""
    for (key,) in db.execute("SELECT id FROM documents WHERE id NOT IN (SELECT document_id FROM files)").fetchall():
        _drop(db, key)
    for table in ("files", "chunks", "tables", "headings", "pages"):
        db.execute(f"DELETE FROM {table} WHERE document_id NOT IN (SELECT id FROM documents)")
    for row in db.execute("SELECT * FROM drafts").fetchall():
        if not is_whole("drafts", row):
            db.execute("DELETE FROM drafts WHERE document_id = ? AND page = ?", row[:2])


def _mend_meta(db: sqlite3.Connection) -> None:
    """What the library says about itself: its embedder is that of most vectors that are whole."""
    for row in db.execute("SELECT * FROM meta").fetchall():
        if not is_whole("meta", row):
            db.execute("DELETE FROM meta WHERE key = ?", row[:1])
    known = {key for (key,) in db.execute("SELECT key FROM meta")}
    if "library" not in known:
        schema.set_meta(db, "library", os.urandom(16).hex())
    if "embedder" not in known:
        made_by = Counter(row[1] for row in db.execute("SELECT * FROM vectors") if is_whole("vectors", row))
        if made_by:
            schema.set_meta(db, "embedder", made_by.most_common(1)[0][0])


def _mend_vectors(db: sqlite3.Connection, embedding: Embedding | None, at_once: int = 256) -> int:
    """Delete damaged vectors, and make those that are missing when the library's embedder is at hand."""
    for key in _bad_vectors(db, _embedder(db)):
        db.execute("DELETE FROM vectors WHERE hash = ? AND embedder = ?", key)
    if embedding is None or embedding.fingerprint != _embedder(db):
        return 0
    query = (
        "SELECT * FROM chunks c WHERE NOT EXISTS"
        " (SELECT 1 FROM vectors v WHERE v.hash = c.hash AND v.embedder = ?) GROUP BY c.hash"
    )
    missing = db.execute(query, (embedding.fingerprint,)).fetchall()
    for at in range(0, len(missing), at_once):
        restore.vectors(db, missing[at : at + at_once], embedding.fingerprint, embedding.embed)
    return len(missing)


def count_documents(folder: Path) -> int:
    """How many documents there are; 0 for a file that cannot be read."""
    with suppress(sqlite3.Error, UnicodeError), closing(_opened(folder)) as db:
        return int(db.execute("SELECT count(*) FROM files").fetchone()[0])
    return 0
