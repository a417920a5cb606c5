"""The inbox: bytes of uploads on their way into the library, safe before a client is told that they arrived.

``files/.incoming/<job>/`` holds them, numbered by their place in the job; for ingest each is moved to its name among
the originals (a rename, so it is never there by half). The file that had the name before is kept as ``<place>.old``
until the new one is in the library, and comes back when the new one cannot be read. Files that failed return to the
inbox, where another try finds them.

Only one server may hold the inbox of a library: the lock ``jobs.lock`` says which.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path

from filelock import FileLock, Timeout

from ragapp.errors import LibraryLocked, Overloaded, ReadError
from ragapp.originals import INCOMING, Originals
from ragapp.server.errors import SERVER, Refusal
from ragapp.store import sync_folder

AT_ONCE = 8  # uploads that are received at the same time
SPARE_BYTES = 64 << 20  # left free on the disk for the library itself


@dataclass(slots=True)
class Box:
    """A folder that is being filled; ``is_kept`` as soon as it belongs to a job."""

    folder: Path
    is_kept: bool = False


class Inbox:
    """The uploads of one library; see above. ``root`` is the folder of its originals. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._library = folder
        self._lock = FileLock(folder / "jobs.lock", timeout=0, thread_local=False)
        self._turn = threading.Lock()
        self._receiving = 0
        self.root = Originals(folder).root
        self._incoming = self.root / INCOMING

    # -- who holds it --------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        return bool(self._lock.is_locked)

    def hold(self) -> bool:
        """Become the one server that works here; whether that is so now."""
        with self._turn:
            if not self.is_held and os.access(self._library, os.W_OK):
                with suppress(Timeout, OSError):
                    self._lock.acquire()
            return self.is_held

    def let_go(self) -> None:
        self._lock.release()

    # -- receiving -----------------------------------------------------------------------------------------------

    @contextmanager
    def receiving(self, job_id: str, size: int) -> Iterator[Box]:
        """A new folder to put about ``size`` bytes into. Unless it was kept, it goes when the block is left.

        Raises Refusal where nothing can be stored, LibraryLocked where another server does, and Overloaded.
        """
        self._check(size)
        with self._turn:
            if self._receiving >= AT_ONCE:
                raise Overloaded(f"{AT_ONCE} uploads are being received.", "Try again in a moment.", retry_after=2)
            self._receiving += 1
        folder = self._incoming / job_id
        try:
            with _disk_errors():
                folder.mkdir(parents=True)
            box = Box(folder)
            try:
                with _disk_errors():
                    yield box
            finally:
                if not box.is_kept:
                    shutil.rmtree(folder, ignore_errors=True)
        finally:
            with self._turn:
                self._receiving -= 1

    def seal(self, folder: Path) -> None:
        """Make what was put into a folder survive a power cut."""
        for place in (folder, self._incoming, self.root, self.root.parent):
            sync_folder(place)

    def _check(self, size: int) -> None:
        if not os.access(self._library, os.W_OK):
            raise Refusal(
                403, "library_read_only", "The library's folder is not writable.", "Documents cannot be added to it."
            )
        if not self.hold():
            raise LibraryLocked("Another server takes the uploads of this library.", "Use that one, or stop it.")
        free = shutil.disk_usage(self._library).free
        if size + SPARE_BYTES > free:
            raise _full(f"{size / 1e6:,.0f} MB do not fit on its disk, which has {free / 1e6:,.0f} MB left")

    # -- in and out of the originals -----------------------------------------------------------------------------

    def place(self, job_id: str, place: int, name: str) -> Path:
        """Put a file of a job among the originals under its name, in the place of what had the name before.

        The path, also where it was put there already, before the process was killed. Raises ReadError.
        """
        source, target = self._incoming / job_id / str(place), self.root / name
        with _as_read_error(name):
            if not source.exists():
                if target.is_file():
                    return target
                raise ReadError(f"The bytes of {name} are gone.", "Upload it again.")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not Path(os.path.realpath(target.parent)).is_relative_to(self.root) or target.is_dir():
                raise ReadError(f"{name} cannot be stored: there is a folder in its place.", "Give it another name.")
            if target.exists() and not _is_same(source, target):
                _second_name(target, source.with_suffix(".old"))
            os.replace(source, target)
            source.unlink(missing_ok=True)  # two names of one file are both left by a rename
            for folder in (source.parent, target.parent):
                sync_folder(folder)
        return target

    def keep(self, job_id: str, place: int) -> None:
        """A file is in the library: what it has replaced may go."""
        with suppress(OSError):
            (self._incoming / job_id / f"{place}.old").unlink(missing_ok=True)
            (self._incoming / job_id).rmdir()

    def take_back(self, job_id: str, place: int, name: str) -> None:
        """A file is not in the library: back into the inbox with it, and what had its name before comes back."""
        source, target = self._incoming / job_id / str(place), self.root / name
        old = source.with_suffix(".old")
        with suppress(OSError):  # then it stays where it is, and another try takes it from there
            if not source.exists() and target.is_file():
                source.parent.mkdir(parents=True, exist_ok=True)
                _second_name(target, source)
            if not (target.is_file() and _is_same(source, target)):
                old.unlink(missing_ok=True)  # it was never put there: what has the name is another file
            elif old.exists():
                os.replace(old, target)
            else:
                Originals(self._library).remove([target])

    def has(self, job_id: str, place: int) -> bool:
        """Whether the bytes of a file are in the inbox."""
        return (self._incoming / job_id / str(place)).is_file()

    def discard(self, job_id: str, place: int) -> None:
        """Delete the bytes of a file that nobody will try again."""
        with suppress(OSError):
            (self._incoming / job_id / str(place)).unlink(missing_ok=True)
            (self._incoming / job_id).rmdir()

    def sweep(self, jobs: Collection[str]) -> None:
        """Delete what belongs to none of the jobs: uploads that were never whole."""
        for folder in self._incoming.glob("*"):
            if folder.name not in jobs:
                shutil.rmtree(folder, ignore_errors=True)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names stand for one file, or for a file and its copy."""
    if not (one.exists() and other.exists()):
        return False
    first, second = one.stat(), other.stat()
    return os.path.samestat(first, second) or (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def _second_name(path: Path, other: Path) -> None:
    """Let a file be there under another name, too."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # some file systems know no links
        shutil.copy2(path, other)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == ENOSPC:
            raise _full("there is no room left on its disk") from error
        raise Refusal(
            500, "cannot_store", f"The upload cannot be stored: {error.strerror}.", "Try again.", kind=SERVER
        ) from error


def _full(why: str) -> Refusal:
    return Refusal(507, "disk_full", f"The upload cannot be stored: {why}.", "Free some space.", kind=SERVER)


@contextmanager
def _as_read_error(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReadError(f"{name} cannot be stored: {error.strerror}.", "Free some space, or give it another name.") \
            from error  # fmt: skip
