"""The library's file, opened: connections, locks, transactions, and the comparison of what is read with its checksums.

Only one process writes at a time (a lock on the file ``lock``, which the system releases when the process dies); any
number may read meanwhile. A damaged file gives LibraryError, not another text.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ragapp import descriptors, schema
from ragapp.errors import LibraryError, LibraryLocked, LibraryNewer, NotFound
from ragapp.rows import Changes, Generation, is_whole, with_crc
from ragapp.schema import APPLICATION_ID, FILE_NAME, FORMAT, PAGE_BYTES, atomic, insert, set_meta

SQLITE_HEAD = b"SQLite format 3\0"
MAKING_SECONDS = 10.0  # how long to wait for another process that makes the same library


class Change:
    """A transaction on its way: the generation it makes, and what it does to the counts."""

    def __init__(self, db: sqlite3.Connection, before: Sequence[int]) -> None:
        self.db = db
        self.number = before[0] + 1
        self.documents, self.files, self.chunks = before[1:]


class Store:
    """The SQLite file of one library: opened, locked, read and written. Catalog says what stands in it."""

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
        if was_lost(folder):
            raise LibraryError(
                f"The library file {self.path} is gone, though its search caches are there.",
                "Put it back from a copy, or let `ragapp doctor` begin an empty library.",
            )
        if not self.path.is_file():
            if not create:
                raise NotFound(
                    f"There is no library in {folder}.", "`ragapp ingest PATH` makes one; --library DIR names another."
                )
            self._make_folder()
        # Taken back by close, or when nobody has this object any more.
        self._let_go = weakref.finalize(self, descriptors.release, descriptors.hold(self.path))
        self._writer = threading.RLock()
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)
        self._migrate()

    # -- the file ------------------------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
        except OSError as error:
            raise LibraryError(
                f"The library folder {self.folder} cannot be made: {error.strerror}.",
                "Name another with --library DIR.",
            ) from error
        if not os.access(self.folder, os.W_OK):
            raise LibraryError(f"The library folder {self.folder} is not writable.", "Name another with --library DIR.")

    def _connect(self) -> sqlite3.Connection:
        check_head(self.path)
        if self._immutable:
            # A log that is not empty holds the newest pages; only without one may the file be taken as it lies there.
            log = self.folder / f"{FILE_NAME}-wal"
            as_it_lies = "" if log.is_file() and log.stat().st_size else "&immutable=1"
            uri = f"{self.path.resolve().as_uri()}?mode=ro{as_it_lies}"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        else:
            connection = sqlite3.connect(self.path, timeout=10, check_same_thread=False, isolation_level=None)
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # heeded while the file is empty
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
            except (sqlite3.Error, UnicodeError) as error:
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
        except (sqlite3.Error, UnicodeError) as error:
            raise self._translate(error) from error
        finally:
            if connection is not None:
                self._idle.append(connection)

    def _translate(self, error: sqlite3.Error | UnicodeError) -> LibraryError:
        text = str(error)
        if isinstance(error, UnicodeEncodeError):
            raise error  # a text of ours that cannot be stored: not the file's fault
        if "locked" in text or "busy" in text:
            return LibraryLocked(f"The library {self.folder} is being written to.", "Try again when that has ended.")
        if "readonly" in text or "unable to open" in text:
            return LibraryError(f"The library {self.folder} cannot be written: {text}.", "Check its permissions.")
        if "is full" in text:
            return LibraryError(f"The disk of {self.folder} is full.", "Free some space and run the command again.")
        if "I/O error" in text:
            return LibraryError(
                f"The disk of {self.folder} is full or does not work: {text}.",
                "Free some space, or look after the disk, and run the command again.",
            )
        return self._damaged(text)

    def _damaged(self, what: str) -> LibraryError:
        return LibraryError(
            f"The library file {self.path} is damaged or not a library: {what}.",
            "`ragapp doctor` says what is wrong, and mends what can be mended.",
        )

    def _checked(self, table: str, rows: Iterable[Any]) -> Iterator[Any]:
        """Rows of a table, with all their columns, each compared with its checksum."""
        for row in rows:
            if not is_whole(table, row):
                raise self._damaged(f"a row of {table} does not match its checksum")
            yield row

    def _one(self, db: sqlite3.Connection, table: str, where: str, *values: object) -> Any:
        """The row of a table for which a condition holds, or None."""
        return next(self._checked(table, db.execute(f"SELECT * FROM {table} WHERE {where}", values).fetchall()), None)

    def _newest(self, db: sqlite3.Connection) -> Any:
        """``(number, stamp, documents, files, chunks, crc)`` of the present generation."""
        row = next(
            self._checked("generations", db.execute("SELECT * FROM generations ORDER BY number DESC LIMIT 1")), None
        )
        if row is None:
            raise self._damaged("it has lost its generations")
        return row

    def _count_is(self, db: sqlite3.Connection, what: str, found: int) -> None:
        """Raise unless as many documents, files or chunks were found as there are."""
        expected = dict(zip(("documents", "files", "chunks"), self._newest(db)[2:5], strict=True))[what]
        if found != expected:
            raise self._damaged(f"{found} {what} were found in it, and {expected} were stored")

    @contextmanager
    def _transaction(self) -> Iterator[Change]:
        """One atomic change, which makes a generation."""
        with self._reading() as db, atomic(db):
            before = self._newest(db)
            change = Change(db, (before[0], *before[2:5]))
            yield change
            row = (change.number, secrets.token_hex(8), change.documents, change.files, change.chunks)
            insert(db, "generations", with_crc("generations", row))

    def _migrate(self) -> None:
        """Bring the file to the present format; a new one is made by one process while the others wait."""
        self._immutable = self.path.exists() and not os.access(self.folder, os.W_OK)
        if self._immutable or schema.is_wal(self.path):
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
            if version > FORMAT:
                raise LibraryNewer(
                    f"The library {self.folder} was made by a newer ragapp (format {version}; "
                    f"this one knows {FORMAT}).",
                    "Upgrade ragapp.",
                )
            if version == FORMAT:
                if not (self._immutable or schema.is_wal(self.path)):
                    db.execute("PRAGMA journal_mode = WAL")  # it came by an import, or its header was damaged
                return
            if self._immutable:
                raise LibraryError(
                    f"The library {self.folder} is of an older ragapp (format {version}) and read-only, so it cannot "
                    "be brought up to date.",
                    "Make its folder writable, or copy it to one that is.",
                )
            db.execute("PRAGMA journal_mode = WAL")
            schema.migrate(db, version)

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
        self._let_go()

    def copy_to(self, target: Path) -> tuple[int, int, int]:
        """Write one state of the library to a new file, however much others write meanwhile; the counts of its
        documents, files and chunks."""
        with self._reading() as db:
            db.execute("VACUUM INTO ?", (str(target),))
        try:
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                # What was on its way belongs to nothing in the copy.
                copy.execute("DELETE FROM drafts")
                copy.execute("DELETE FROM vectors WHERE hash NOT IN (SELECT hash FROM chunks)")
                copy.execute("DELETE FROM meta WHERE key IN ('leftovers', 'reindexing', 'erasing')")
                copy.execute("VACUUM")
                _, _, documents, files, chunks, _ = self._newest(copy)
        except sqlite3.Error as error:
            raise self._translate(error) from error
        return documents, files, chunks

    # -- facts about the library ---------------------------------------------------------------------------------

    def generation(self) -> Generation:
        with self._reading() as db:
            return Generation(*self._newest(db)[:2])

    def embedder(self) -> str | None:
        """The fingerprint of the embedder whose vectors are here, or None while there are none."""
        return self._meta("embedder")

    def _meta(self, key: str) -> str | None:
        with self._reading() as db:
            row = self._one(db, "meta", "key = ?", key)
            return None if row is None else str(row[1])

    def set_embedder(self, fingerprint: str) -> None:
        with self._transaction() as change:
            set_meta(change.db, "embedder", fingerprint)

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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the write lock of a library that is not opened. Raises LibraryLocked, and LibraryError where none can be."""
    lock = FileLock(folder / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise LibraryLocked(
            f"Another process is writing to the library {folder}.", "Try again when it has finished."
        ) from None
    except OSError as error:
        raise LibraryError(
            f"The library {folder} cannot be locked: {error.strerror}.", "Check its permissions."
        ) from error
    try:
        yield
    finally:
        lock.release()


def replace_file(folder: Path, path: Path) -> None:
    """Put a file in the place of a library's, which nobody has open. Needs the write lock."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    # SQLite would play the old log into the new file: it must be gone before the new file is there.
    for ending in ("-wal", "-shm", "-journal"):
        (folder / f"{FILE_NAME}{ending}").unlink(missing_ok=True)
    os.replace(path, folder / FILE_NAME)
    sync_folder(folder)


def was_lost(folder: Path) -> bool:
    """Whether the file of a library is not there, or empty, though caches say that there was one with documents."""
    path = folder / FILE_NAME
    try:
        if path.stat().st_size:
            return False
    except OSError:
        pass
    return any((folder / "cache").glob("*/mark.json"))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut. Systems that cannot sync a folder keep them by themselves."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)


def check_head(path: Path) -> None:
    """Raise sqlite3.DatabaseError, as SQLite would, for a file that does not begin as its files do.

    SQLite itself must not be let near one: when it closes the file it may delete the log, and with it what was written
    last and could still be saved.
    """
    try:
        with descriptors.reading(path) as file:
            head = file.read(len(SQLITE_HEAD))
    except FileNotFoundError:
        return
    if head and head != SQLITE_HEAD:
        raise sqlite3.DatabaseError("file is not a database")
