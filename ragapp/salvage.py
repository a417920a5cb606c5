"""What can be read of a damaged library file, taken page by page and row by row.

SQLite gives up at the first page that does not make sense. Here every page of the file, with what its write-ahead log
holds of it, is read for itself (https://www.sqlite.org/fileformat2.html), and every row that fits its checksum is
taken: a lost root, a damaged header or schema cost nothing but the rows on that very page. Which documents are whole
among these rows is asked afterwards (checkup.py).

Not covered: files of format 1, whose rows carry no checksums.
"""

from __future__ import annotations

import secrets
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ragapp import schema
from ragapp.rows import COLUMNS, is_whole, with_crc
from ragapp.schema import FILE_NAME, PAGE_BYTES, insert

MAKING = f"{FILE_NAME}.making-"

_LOG_MAGIC = (0x377F0682, 0x377F0683)
_INDEX_INTERIOR, _INDEX_LEAF, _TABLE_LEAF = 2, 10, 13
_ROWIDS = {"chunks", "generations"}  # tables whose first column is not in the record: it is the number of the row
_BY_WIDTH: dict[int, list[str]] = {}
for _table, _names in COLUMNS.items():
    _BY_WIDTH.setdefault(len(_names) + 1, []).append(_table)


def salvage(damaged: Path, finish: Callable[[sqlite3.Connection], None]) -> tuple[Path, int]:
    """A fresh library file beside a damaged one, with every row that fits its checksum; and how many rows there are.

    ``finish(db)`` completes it before it is closed. The file is on the disk when this returns, under a name that
    begins with MAKING; putting it in its place is the caller's.
    """
    path = damaged.with_name(f"{MAKING}{secrets.token_hex(4)}")
    count = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA synchronous = OFF")
        schema.make(db)
        with schema.atomic(db):
            # Its own two rows stand in the way of those that will be found.
            db.execute("DELETE FROM meta")
            db.execute("DELETE FROM generations")
            for table, row in rows_of(damaged):
                insert(db, table, row, verb="INSERT OR IGNORE")
                count += 1
            (newest,) = db.execute("SELECT coalesce(max(number), 0) FROM generations").fetchone()
            db.execute("DELETE FROM generations")
            row = (newest + 1, secrets.token_hex(8), *schema.tally(db))
            insert(db, "generations", with_crc("generations", row))
        finish(db)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_mode = WAL")
    return path, count


def rows_of(path: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """``(table, row)`` of all that fits its checksum in a file and its log; a row may come twice."""
    with path.open("rb") as file:
        pages = _Pages(file, path)
        for number in pages.numbers():
            for record, row_number in _records(pages, number):
                found = _identified(record, row_number)
                if found is not None:
                    yield found


def _identified(record: tuple[Any, ...], row_number: int | None) -> tuple[str, tuple[Any, ...]] | None:
    for table in _BY_WIDTH.get(len(record), ()):
        if (table in _ROWIDS) != (row_number is not None):
            continue
        row = (row_number, *record[1:]) if table in _ROWIDS else record
        if is_whole(table, row):
            return table, row
    return None


class _Pages:
    """The pages of a file as its newest transaction left them: those of the log before those of the file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        head = file.read(100)
        (size,) = struct.unpack(">H", head[16:18].ljust(2, b"\0"))
        size = 65536 if size == 1 else size
        self.size = size if 512 <= size <= 65536 and size & (size - 1) == 0 else PAGE_BYTES
        self.count = (path.stat().st_size + self.size - 1) // self.size
        self._log = path.with_name(f"{path.name}-wal")
        self._logged = dict(frames(self._log, self.size))

    def numbers(self) -> Iterator[int]:
        yield from range(1, max(self.count, max(self._logged, default=0)) + 1)

    def __getitem__(self, number: int) -> bytes:
        if number in self._logged:
            with self._log.open("rb") as log:
                log.seek(self._logged[number])
                return log.read(self.size).ljust(self.size, b"\0")
        self._file.seek((number - 1) * self.size)
        return self._file.read(self.size).ljust(self.size, b"\0")


def frames(log: Path, page_size: int) -> list[tuple[int, int]]:
    """``(page, place in the log)`` of the frames up to the last one that ends a transaction, oldest first."""
    found: list[tuple[int, int]] = []
    whole = 0
    try:
        with log.open("rb") as file:
            head = file.read(32)
            if len(head) < 32 or not is_log(head):
                return []
            at = 32
            while len(frame := file.read(24)) == 24 and frame[8:16] == head[16:24]:
                number, commits = struct.unpack(">II", frame[:8])
                found.append((number, at + 24))
                at += 24 + page_size
                file.seek(at)
                whole = len(found) if commits else whole
    except OSError:
        return []
    return found[:whole]


def is_log(head: bytes) -> bool:
    """Whether the first 32 bytes of a log are what SQLite wrote."""
    if len(head) < 32 or struct.unpack(">I", head[:4])[0] not in _LOG_MAGIC:
        return False
    words = struct.unpack(f"{'>' if head[3] & 1 else '<'}6I", head[:24])
    one = two = 0
    for left, right in zip(words[::2], words[1::2], strict=True):
        one = (one + left + two) & 0xFFFFFFFF
        two = (two + right + one) & 0xFFFFFFFF
    return (one, two) == struct.unpack(">II", head[24:32])


def _records(pages: _Pages, number: int) -> Iterator[tuple[tuple[Any, ...], int | None]]:
    """The records on a page, each with the number of its row where it has one; what makes no sense is left out."""
    page = pages[number]
    head = 100 if number == 1 else 0
    kind = page[head]
    if kind not in (_INDEX_INTERIOR, _INDEX_LEAF, _TABLE_LEAF):
        return
    first = head + (12 if kind == _INDEX_INTERIOR else 8)
    # The count of cells may be what is damaged, so the pointers are followed until there are none.
    for at in range(first, len(page) - 1, 2):
        (cell,) = struct.unpack_from(">H", page, at)
        if cell == 0:
            return
        with suppress(ValueError, IndexError, struct.error, OSError, OverflowError):
            yield _record(pages, page, cell, kind)


def _record(pages: _Pages, page: bytes, at: int, kind: int) -> tuple[tuple[Any, ...], int | None]:
    if kind == _INDEX_INTERIOR:
        at += 4
    length, at = _varint(page, at)
    row_number = None
    if kind == _TABLE_LEAF:
        row_number, at = _varint(page, at)
    return _values(_payload(pages, page, at, length, kind)), row_number


def _payload(pages: _Pages, page: bytes, at: int, length: int, kind: int) -> bytes:
    """The bytes of a record, with those of the pages it overflows to."""
    usable = pages.size
    if length > pages.count * usable + (1 << 30):
        raise ValueError("longer than the file")
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    if length <= most:
        return page[at : at + length]
    least = (usable - 12) * 32 // 255 - 23
    here = least + (length - least) % (usable - 4)
    here = here if here <= most else least
    body = bytearray(page[at : at + here])
    (following,) = struct.unpack_from(">I", page, at + here)
    for _ in range((length - here + usable - 5) // (usable - 4)):
        if not 1 <= following <= 2 * pages.count + (1 << 20):
            raise ValueError("a chain of pages that leads nowhere")
        part = pages[following]
        (following,) = struct.unpack_from(">I", part, 0)
        body += part[4:]
    return bytes(body[:length])


def _values(record: bytes) -> tuple[Any, ...]:
    size, at = _varint(record, 0)
    kinds = []
    while at < size:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values: list[Any] = []
    at = size
    for kind in kinds:
        value, at = _value(record, at, kind)
        values.append(value)
    return tuple(values)


def _value(record: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind <= 6:
        width = (1, 2, 3, 4, 6, 8)[kind - 1]
        return int.from_bytes(record[at : at + width], "big", signed=True), at + width
    if kind in (8, 9):
        return kind - 8, at
    if kind < 12:
        raise ValueError("no column of a library is of this kind")
    width = (kind - 12) // 2
    body = record[at : at + width]
    if len(body) != width:
        raise ValueError("shorter than it says")
    return (body if kind % 2 == 0 else body.decode("utf-8")), at + width


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(9):
        byte = data[at + place]
        if place == 8:
            value = (value << 8) | byte
            break
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            break
    return (value - (1 << 64) if value >= 1 << 63 else value), at + place + 1
