"""Power cuts, replayed: the states in which a disk may be after any prefix of what was recorded (record.c).

The model is the one that POSIX gives: what a file held at its last fsync is there; of later writes any blocks may be
there or not; names that were made, moved or deleted since the last fsync of their folder may be or not, in the order
in which it was done (journals keep that order).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 512


@dataclass(frozen=True)
class Op:
    """C create, D make a folder, W write, T truncate, S sync, R rename, L link, U unlink."""

    kind: str
    inode: int
    offset: int
    path: str
    other: str
    data: bytes = b""


@dataclass
class File:
    """What is on the disk for certain, and what was written since: ``(offset, bytes)``, or ``(size, None)``."""

    durable: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)


def read_log(path: Path) -> list[Op]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        kind, inode, offset, length, one, two = data[at:end].decode().split("\t")
        at = end + 1
        body = b""
        if kind == "W":
            body = data[at : at + int(length)]
            at += int(length)
        found.append(Op(kind, int(inode), int(offset), one, two, body))
    return found


class Disk:
    """The files under a folder as they were synced and as they were changed since. Begins empty."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: dict[int, File] = {}
        self._current: dict[int, int] = {}  # which file an inode number means now: numbers are used again
        self._names: dict[str, int | None] = {}  # as processes see them; None is a folder
        self._durable: dict[str, int | None] = {}
        self._pending: list[Op] = []
        self._next = 0

    def do(self, op: Op) -> None:
        if op.kind == "C":
            self._next += 1
            self._current[op.inode] = self._next
            self._files[self._next] = File()
            op = Op("C", self._next, 0, op.path, "")
        if op.kind == "W":
            self._file(op).since.append((op.offset, op.data))
        elif op.kind == "T":
            self._file(op).since.append((op.offset, None))
        elif op.kind == "S":
            self._sync(op)
        else:
            _apply(self._names, op)
            self._pending.append(op)

    def _file(self, op: Op) -> File:
        return self._files[self._current[op.inode]]

    def _sync(self, op: Op) -> None:
        if op.path == self._root or self._names.get(op.path, 0) is None:
            # A folder: the names in it, with all that was done before them.
            concerned = [
                n for n, p in enumerate(self._pending) if _parent(p.path) == op.path or _parent(p.other) == op.path
            ]
            upto = max(concerned, default=-1) + 1
            for pending in self._pending[:upto]:
                _apply(self._durable, pending)
            del self._pending[:upto]
        elif op.inode in self._current:
            file = self._file(op)
            file.durable, file.since = _written(file.durable, file.since), []

    def after_a_cut(self, how: str, chance: random.Random) -> dict[str, bytes | None]:
        """Files and folders (None) by path below the root. ``how``: "lost" everything that was not synced, "names"
        only the data, "torn" any blocks and the first names, "kept" nothing."""
        names = dict(self._durable)
        keep = {"lost": 0, "names": len(self._pending), "kept": len(self._pending)}.get(how)
        for op in self._pending[: chance.randint(0, len(self._pending)) if keep is None else keep]:
            _apply(names, op)
        return {
            path: None if key is None else self._content(self._files[key], how, chance) for path, key in names.items()
        }

    def _content(self, file: File, how: str, chance: random.Random) -> bytes:
        if how == "kept":
            return _written(file.durable, file.since)
        if how != "torn":
            return file.durable
        torn: list[tuple[int, bytes | None]] = []
        for offset, data in file.since:
            if data is None:
                torn += [(offset, None)] * chance.randint(0, 1)
                continue
            for at in range(0, len(data), BLOCK):
                if chance.random() < 0.5:
                    torn.append((offset + at, data[at : at + BLOCK]))
        return _written(file.durable, torn)


def _apply(names: dict[str, int | None], op: Op) -> None:
    if op.kind == "C":
        names[op.path] = op.inode
    elif op.kind == "D":
        names[op.path] = None
    elif op.kind == "U":
        names.pop(op.path, None)
    elif op.kind == "L" and op.path in names:
        names[op.other] = names[op.path]
    elif op.kind == "R" and op.path in names:
        # What lies in a folder goes with it.
        for path in [p for p in names if p == op.path or p.startswith(f"{op.path}/")]:
            names[op.other + path[len(op.path) :]] = names.pop(path)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _written(base: bytes, writes: list[tuple[int, bytes | None]]) -> bytes:
    body = bytearray(base)
    for offset, data in writes:
        if data is None:
            del body[offset:]
            body.extend(b"\0" * (offset - len(body)))
            continue
        body.extend(b"\0" * (offset - len(body)))
        body[offset : offset + len(data)] = data
    return bytes(body)


def states(
    ops: list[Op], root: str, marker: str, seed: int = 0
) -> Iterator[tuple[int, str, int, dict[str, bytes | None]]]:
    """``(length of the prefix, how, steps that had ended, files)`` for every prefix; those alike come once."""
    disk, ended = Disk(root), 0
    chance = random.Random(seed)
    seen: set[int] = set()
    for number, op in enumerate(ops, 1):
        if op.path == marker:
            ended += op.data.count(b"\n")
            continue
        disk.do(op)
        for how in ("lost", "names", "torn", "kept"):
            found = disk.after_a_cut(how, chance)
            mark = hash((ended, tuple(sorted(found.items(), key=lambda item: item[0]))))
            if mark not in seen:
                seen.add(mark)
                yield number, how, ended, found


def lay_out(files: dict[str, bytes | None], root: str, target: Path) -> None:
    """Make these files in a folder."""
    for path, body in sorted(files.items()):
        place = target / path[len(root) :].lstrip("/")
        if body is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
