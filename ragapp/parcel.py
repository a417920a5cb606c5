"""A library as one file that can be moved: a zip with the SQLite file and a manifest that holds its checksum.

The copy is one state of the library though others may be writing, and packs documents, pages, chunks and vectors; the
search caches are made again where it is unpacked. Documents keep the addresses of their files (``file:`` URIs): where
those files are not at hand, quotes have no boxes.

Not covered: settings (``ragapp.toml``), the files themselves, encryption.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ragapp.catalog import Catalog
from ragapp.errors import ConfigError, LibraryError, LibraryLocked, LibraryNewer, NotFound
from ragapp.schema import FILE_NAME, FORMAT
from ragapp.store import locked, replace_file, sync_folder, was_lost

KIND = "ragapp library"
VERSION = 1
MANIFEST = "manifest.json"
PACKING = ".ragapp-export-"
UNPACKING = ".import-"
BLOCK = 1 << 20
MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a parcel says about itself. ``bytes`` and ``sha256`` are those of the SQLite file in it."""

    kind: str
    version: int
    library_format: int
    made: str
    documents: int
    files: int
    chunks: int
    bytes: int
    sha256: str


def pack(catalog: Catalog, target: Path, *, force: bool = False) -> Manifest:
    """Write a library to a file, which appears whole or not at all.

    Raises ConfigError when the file is there and not to be overwritten, and LibraryError when it cannot be written.
    """
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already.", "Name another file, or overwrite it with --force.")
    with _translated(f"{target} cannot be written"), _scratch(target.absolute().parent, PACKING) as scratch:
        copy = scratch / FILE_NAME
        counts = catalog.copy_to(copy)
        manifest = Manifest(
            KIND, VERSION, FORMAT, datetime.now(UTC).isoformat(timespec="seconds"), *counts, *_measured(copy)
        )
        made = scratch / "parcel"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as parcel:
            parcel.writestr(MANIFEST, json.dumps(asdict(manifest), indent=1))
            parcel.write(copy, FILE_NAME)
        _sync(made)
        _put(made, target, force=force)
    return manifest


def unpack(source: Path, folder: Path) -> Manifest:
    """Make a parcel the library in a folder that holds none, or an empty one; all of it or nothing.

    Raises NotFound when there is no such file, LibraryNewer, and LibraryError for a file that is damaged or no parcel,
    a library that is not empty, or a disk that is full.
    """
    if not source.is_file():
        raise NotFound(f"There is no file {source}.", "`ragapp export FILE` makes one.")
    is_new = not folder.exists()
    try:
        with _opened(source) as parcel, _translated(f"The library {folder} cannot be written"):
            manifest = _manifest(parcel, source)
            folder.mkdir(parents=True, exist_ok=True)
            with _empty(folder), _scratch(folder, UNPACKING) as scratch:
                _take(parcel, manifest, scratch / FILE_NAME, source)
                _check(scratch, manifest, source)
                replace_file(folder, scratch / FILE_NAME)
    except LibraryError:
        if is_new:
            _remove_empty(folder)
        raise
    return manifest


@contextmanager
def _empty(folder: Path) -> Iterator[None]:
    """Hold the write lock of a folder without a library, or with one that holds nothing. Raises LibraryError."""
    catalog = Catalog(folder, create=False) if (folder / FILE_NAME).exists() or was_lost(folder) else None
    try:
        with locked(folder):
            if catalog is None and (folder / FILE_NAME).exists():
                raise LibraryLocked(f"Another process is making the library {folder}.", "Try again later.")
            if catalog is not None and (catalog.files() or catalog.count_chunks()):
                raise LibraryError(
                    f"The library {folder} is not empty, so nothing was imported into it.",
                    "Name another folder with --library DIR.",
                )
            if catalog is not None:
                catalog.close()
            yield
    finally:
        if catalog is not None:
            catalog.close()


def _remove_empty(folder: Path) -> None:
    """Take away the folder that was made for nothing, with its lock."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] in ([], ["lock"]):
            (folder / "lock").unlink(missing_ok=True)
            folder.rmdir()


# -- writing ---------------------------------------------------------------------------------------------------------


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _put(made: Path, target: Path, *, force: bool) -> None:
    """Give a finished file its name; where one of that name has appeared meanwhile, that one stays."""
    if force:
        os.replace(made, target)
    else:
        try:
            os.link(made, target)
        except FileExistsError:
            raise ConfigError(f"{target} exists already.", "Name another file, or overwrite it with --force.") from None
        except OSError:
            os.rename(made, target)  # a file system without links
    sync_folder(target.absolute().parent)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _scratch(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder for the time of the work, beside what is being made: a name can then be given to it at once."""
    path = folder / f"{prefix}{secrets.token_hex(6)}"
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryError(f"{what}: {error.strerror or error}.", "Is there room, and may it be written?") from error


# -- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(source) as parcel:
            yield parcel
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError, ValueError) as error:
        raise _damaged(source, str(error)) from error
    except PermissionError as error:
        raise LibraryError(f"{source} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _damaged(source: Path, why: str) -> LibraryError:
    return LibraryError(
        f"{source} is damaged or not made by `ragapp export`: {why}.",
        "Nothing was changed. Export the library again, and compare the sizes after copying.",
    )


def _manifest(parcel: zipfile.ZipFile, source: Path) -> Manifest:
    """The manifest of a parcel that holds what it should and nothing else."""
    names = parcel.namelist()
    if MANIFEST not in names:
        raise _damaged(source, "it has no manifest")
    if parcel.getinfo(MANIFEST).file_size > MANIFEST_BYTES:
        raise _damaged(source, "its manifest is too large")
    found: Any = json.loads(parcel.read(MANIFEST))
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise _damaged(source, "it is something else")
    if not isinstance(found.get("version"), int) or not isinstance(found.get("library_format"), int):
        raise _damaged(source, "its manifest is not complete")
    if found["version"] > VERSION or found["library_format"] > FORMAT:
        raise LibraryNewer(f"{source} was made by a newer ragapp.", "Upgrade ragapp.")
    if sorted(names) != sorted((MANIFEST, FILE_NAME)):
        raise _damaged(source, "it holds files that do not belong there")
    try:
        manifest = Manifest(**found)
    except TypeError as error:
        raise _damaged(source, "its manifest is not complete") from error
    if parcel.getinfo(FILE_NAME).file_size != manifest.bytes:
        raise _damaged(source, "the library in it has another size than its manifest says")
    return manifest


def _take(parcel: zipfile.ZipFile, manifest: Manifest, target: Path, source: Path) -> None:
    """Unpack the SQLite file, and compare it with its checksum. It is on the disk when this returns."""
    digest = hashlib.sha256()
    with parcel.open(FILE_NAME) as packed, target.open("xb") as file:
        for block in _blocks(packed, manifest.bytes):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != manifest.sha256:
        raise _damaged(source, "the library in it does not match its checksum")


def _blocks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """At most so many bytes: a file that unpacks to more than it says is not followed."""
    left = size
    while left and (block := file.read(min(BLOCK, left))):
        left -= len(block)
        yield block


def _check(folder: Path, manifest: Manifest, source: Path) -> None:
    """Open what was unpacked, which brings an older format up to date, and see whether it is what the manifest says."""
    with suppress(NotFound):
        unpacked = Catalog(folder, create=False)
        try:
            found = (len(unpacked.document_ids()), len(unpacked.files()), unpacked.count_chunks())
            unpacked.rewrite()
        finally:
            unpacked.close()
        if found == (manifest.documents, manifest.files, manifest.chunks):
            return
    raise _damaged(source, "the library in it is not what its manifest says")
