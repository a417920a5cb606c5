"""Files of SQLite's that are read beside it, and must not be closed while it has them open.

POSIX takes every lock that a process holds on a file away when the process closes any descriptor of it. SQLite knows
that of its own descriptors; of ours it cannot. Without its locks, another process that closes the file believes itself
alone, deletes the write-ahead log, and what either writes afterwards is lost (sqlite.org/howtocorrupt.html, 2.2). So a
descriptor that was opened here stays open, and is used again, until nobody in this process holds the file.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_guard = threading.Lock()
_holders: Counter[str] = Counter()
_kept: defaultdict[str, list[int]] = defaultdict(list)

_COMPANIONS = ("-wal", "-shm", "-journal")


def hold(path: Path) -> str:
    """Say that connections to a file may be open from now on; the name to give to ``release``."""
    name = _name(path)
    with _guard:
        _holders[name] += 1
    return name


def release(name: str) -> None:
    """Take back one ``hold``; with the last one, what was kept open is closed."""
    with _guard:
        _holders[name] -= 1
        if _holders[name] > 0:
            return
        del _holders[name]
        for descriptor in _kept.pop(name, ()):
            os.close(descriptor)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """A file opened for reading, at its beginning. Raises OSError as ``open`` does."""
    name = _name(path)
    descriptor = _again(name, path)
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        with _guard:
            if os.name == "posix" and _holders[name] > 0:
                _kept[name].append(descriptor)
            else:
                os.close(descriptor)


def _again(name: str, path: Path) -> int:
    """A descriptor of the file: one that was kept and is of the file that has this name now, else a new one."""
    now = path.stat()
    with _guard:
        for descriptor in _kept.get(name, ()):
            if os.path.samestat(os.fstat(descriptor), now):
                _kept[name].remove(descriptor)
                os.lseek(descriptor, 0, os.SEEK_SET)
                return descriptor
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def _name(path: Path) -> str:
    """One name for a database file and those that lie beside it."""
    name = os.path.realpath(path)
    for ending in _COMPANIONS:
        name = name.removesuffix(ending)
    return name
