"""What there is to ingest: the files below the paths that a user named."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes, urlparse
from urllib.request import url2pathname

from ragapp.errors import NotFound
from ragapp.ingest.readers import SUFFIXES, cannot_read


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read. ``name`` is its path below the folder that was named, with forward slashes."""

    path: Path
    uri: str
    name: str
    bytes: int
    mtime_ns: int


@dataclass(slots=True)
class Found:
    """The result of a scan: files to read, paths that cannot be used with the reason, and how many others there are."""

    sources: list[Source] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0


def scan(paths: Iterable[Path], below: Path | None = None) -> Found:
    """All files that can be read at and below the paths, sorted by name; hidden folders and files, and the
    lock files of office programs, are passed over. Files are named by their path below the folder that was named, or
    ``below`` another one, in which all of them must lie."""
    found = Found()
    seen: set[str] = set()
    for path in paths:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            found.failed.append((str(path), "does not exist"))
        except (OSError, ValueError) as error:  # a name that is too long, a folder that is closed, a null character
            found.failed.append((str(path), f"cannot be opened: {getattr(error, 'strerror', None) or error}"))
        else:
            if stat.S_ISDIR(mode):
                for file in _files(path, found):
                    _take(file, _name(file, below or path), found, seen)
            else:
                _take(path, _name(path, below or path.parent), found, seen, named=True)
    found.sources.sort(key=lambda source: (source.name, source.uri))
    return found


def nothing_found(paths: Sequence[Path], found: Found) -> NotFound:
    """The error that says why a scan has no files."""
    if found.failed:
        path, why = found.failed[0]
        return NotFound(f"{path} {why}.", "Nothing was changed.")
    names = ", ".join(str(path) for path in paths)
    return NotFound(f"There is nothing to ingest in {names}.", f"Files that can be read end in {', '.join(SUFFIXES)}.")


def path_of(uri: str) -> Path:
    """The file behind a source's uri, byte for byte: a name need not be UTF-8."""
    path = urlparse(uri).path
    return Path(url2pathname(path) if os.name == "nt" else os.fsdecode(unquote_to_bytes(path)))


def _name(path: Path, folder: Path) -> str:
    return PurePosixPath(*path.relative_to(folder).parts).as_posix()


def _files(root: Path, found: Found) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        found.failed.append((str(error.filename), f"cannot be opened: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # Office programs put a file of that name beside each one that is open.
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith((".", "~$")))


def _take(path: Path, name: str, found: Found, seen: set[str], *, named: bool = False) -> None:
    if path.suffix.lower() not in SUFFIXES:
        if named:
            found.failed.append((str(path), cannot_read(path.suffix)))
        found.others += 1
        return
    # One file has one uri, however the way to it is spelled.
    uri = Path(os.path.realpath(path)).as_uri()
    if uri in seen:
        return
    seen.add(uri)
    try:
        facts = path.stat()
    except OSError as error:
        found.failed.append((str(path), f"cannot be read: {error.strerror}"))
        return
    if not stat.S_ISREG(facts.st_mode):
        # A pipe or a device may never come to an end.
        found.failed.append((str(path), "is not a file"))
        return
    # A name that is not valid UTF-8 on disk must still be printable and storable.
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    found.sources.append(Source(path, uri, shown, facts.st_size, facts.st_mtime_ns))
