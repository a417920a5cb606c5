"""The desk: what the people at a library leave there, in a SQLite file beside the library's own.

Conversations, jobs and keys are kept in ``desk.sqlite`` in the library's folder and not in the library's file, so that
an export of the library holds nobody's questions, a conversation is really gone when it is deleted without the whole
library being written anew, and a question can be kept while an ingest holds the library's lock. Each kind of thing
makes its own tables (``Desk.make``); this file knows connections, transactions and errors, and none of the things.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ragapp.errors import LibraryError, LibraryLocked

DESK = "desk.sqlite"
BUSY_S = 10.0  # how long to wait for another process that writes

# What the desk itself has yet to do: something was deleted, and the file was not written anew since.
_OWES = "CREATE TABLE IF NOT EXISTS desk_owes (what TEXT PRIMARY KEY) WITHOUT ROWID"


class Desk:
    """The desk of a library, shared between threads: one connection that writes, and as many that read as were ever
    used at once, so that a reader never waits for a writer. Without a writable folder there is one connection to
    memory, it all lasts as long as this object does, and ``lasting`` is False."""

    def __init__(self, folder: Path) -> None:
        """Open the desk in a library's folder, making it when there is none. Raises LibraryError."""
        self.folder = folder
        self.lasting = folder.is_dir() and os.access(folder, os.W_OK)
        self._turn = threading.RLock()
        self._changing = 0  # the thread that is inside a change: it must read its own
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False
        try:
            self._db = self._connect()
            _use_log(self._db)
        except sqlite3.Error as error:
            raise self._translate(error) from error
        self.make([_OWES])
        if self.row("SELECT 1 FROM desk_owes"):
            with suppress(LibraryLocked):  # then the next one who opens it, or deletes something, does it
                self.scrub()

    def _connect(self) -> sqlite3.Connection:
        where = self.folder / DESK if self.lasting else ":memory:"
        made = sqlite3.connect(where, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
        made.row_factory = sqlite3.Row
        for setting in ("synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            made.execute(f"PRAGMA {setting}").fetchall()
        return made

    def make(self, statements: Sequence[str]) -> None:
        """Execute ``CREATE … IF NOT EXISTS`` statements, all of them or none."""
        with self.change() as db:
            for statement in statements:
                db.execute(statement)

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One atomic change, by one thread at a time; not to be nested. Raises LibraryLocked and LibraryError."""
        with self._turn:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._changing = threading.get_ident()
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                finally:
                    self._changing = 0
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._translate(error) from error

    @contextmanager
    def erasing(self, *, fully: bool = True) -> Iterator[sqlite3.Connection]:
        """A change that deletes: after it nothing of what was deleted is left on the disk; see ``scrub``.

        Where the process dies in between, or somebody else reads for too long, the next one to open the desk goes on.
        Unless ``fully``, the log is emptied and the file is not written anew, which would take a second for each 60 MB:
        SQLite has put zeros in the place of what was deleted, but does not promise that no copy lay elsewhere. Then
        that is left to the next deletion or opening.
        """
        with self.change() as db:
            yield db
            db.execute("INSERT OR IGNORE INTO desk_owes VALUES ('scrub')")
        if fully:
            self.scrub()
        else:
            with suppress(LibraryLocked):
                self._empty_log()

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a SELECT; inside a change, as that change has left them."""
        with self._reading() as db:
            try:
                return db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._translate(error) from error

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """The first row of a SELECT, or None."""
        return next(iter(self.rows(sql, *values)), None)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self.lasting or self._closed or self._changing == threading.get_ident():
            with self._turn:
                yield self._db
            return
        try:
            db = self._idle.pop()
        except IndexError:
            try:
                db = self._connect()
            except sqlite3.Error as error:
                raise self._translate(error) from error
        try:
            yield db
        finally:
            self._idle.append(db)
            if self._closed:
                self._close_idle()

    def execute(self, sql: str, *values: object) -> int:
        """One statement as a change of its own; how many rows it touched."""
        with self.change() as db:
            return db.execute(sql, values).rowcount

    def scrub(self) -> None:
        """Write the file anew and empty its log, so that nothing of what was deleted is left on the disk.

        Raises LibraryLocked while another process reads: then the deletion stands, and the log still holds its past.
        """
        with self._turn:
            try:
                self._db.execute("VACUUM")
            except sqlite3.Error as error:
                raise self._translate(error) from error
            self._empty_log()
            self.execute("DELETE FROM desk_owes")

    def _empty_log(self) -> None:
        with self._turn:
            try:
                ((busy, _, _),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                raise self._translate(error) from error
        if busy:
            raise LibraryLocked(
                "It is deleted, and its traces are on the disk while another process reads.", "Try again in a moment."
            )

    def close(self) -> None:
        with self._turn, suppress(sqlite3.Error):
            self._closed = True
            self._db.close()
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _translate(self, error: sqlite3.Error) -> LibraryError:
        text = str(error)
        if self._closed:
            return LibraryError(f"The desk of {self.folder} is closed.")
        if "locked" in text or "busy" in text:
            return LibraryLocked(f"The desk of {self.folder} is being written to.", "Try again in a moment.")
        if "is full" in text or "I/O error" in text:
            return LibraryError(f"The disk of {self.folder} is full or does not work: {text}.", "Free some space.")
        return LibraryError(
            f"The file {DESK} in {self.folder} cannot be used: {text}.",
            "It holds conversations, jobs and keys, and no documents: move it away, and a new one is made.",
        )


def _use_log(db: sqlite3.Connection) -> None:
    """Have changes written to a log first. SQLite does not wait for others when it begins one, so this does."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
