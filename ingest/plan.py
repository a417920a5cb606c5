"""The difference between what is on disk and what is in the library. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from ragapp.catalog import FileRow
from ragapp.ingest.scan import Found, Source


@dataclass(frozen=True, slots=True)
class Plan:
    """``keep`` need nothing; ``read`` must be read, those in ``known`` were in the library before, and those in
    ``unchanged`` are what they were then. Both are uris."""

    keep: tuple[Source, ...]
    read: tuple[Source, ...]
    known: frozenset[str]
    unchanged: frozenset[str] = frozenset()


def plan(sources: Sequence[Source], files: Mapping[str, FileRow], again: Set[str] = frozenset()) -> Plan:
    """Keep what has the size and time stamp of the last reading, read the rest, smallest files first.

    The documents in ``again``, by id, are read again though their files are unchanged.
    Small files first: a library is of use soon, and one huge file does not hold back the others.
    """
    keep: list[Source] = []
    read: list[Source] = []
    again_uris: set[str] = set()
    for source in unique_names(sources, files):
        row = files.get(source.uri)
        unchanged = row is not None and (row.bytes, row.mtime_ns) == (source.bytes, source.mtime_ns)
        if unchanged and row is not None and row.document_id in again:
            again_uris.add(source.uri)
        (keep if unchanged and source.uri not in again_uris else read).append(source)
    read.sort(key=lambda source: (source.bytes, source.name))
    return Plan(tuple(keep), tuple(read), frozenset(s.uri for s in read if s.uri in files), frozenset(again_uris))


def gone_from(folders: Sequence[Path], found: Found, files: Mapping[str, FileRow]) -> list[str]:
    """The uris of files that the library has from these folders and that are not in them any more.

    A file below a folder that could not be looked into may still be there.
    """
    roots = tuple(f"{folder.resolve().as_uri().rstrip('/')}/" for folder in folders)
    present = {source.uri for source in found.sources}
    unseen = tuple(Path(os.path.realpath(path)).as_uri() for path, _ in found.failed)
    return sorted(
        uri
        for uri in files
        if uri.startswith(roots) and uri not in present and not any(f"{uri}/".startswith(f"{u}/") for u in unseen)
    )


def unique_names(sources: Sequence[Source], files: Mapping[str, FileRow]) -> list[Source]:
    """The sources under names that no other file has: a name that is taken gets its folder's name in front."""
    taken = {row.name: uri for uri, row in files.items()}
    named = []
    for source in sources:
        row = files.get(source.uri)
        name = row.name if row else source.name
        folders = [part for part in PurePosixPath(unquote(urlparse(source.uri).path)).parent.parts if part != "/"]
        depth = len(PurePosixPath(name).parts) - 1
        while taken.get(name, source.uri) != source.uri and depth < len(folders):
            depth += 1
            name = "/".join([*folders[-depth:], PurePosixPath(name).name])
        # Two roots may differ only above what a path can tell (two drives): a number tells them apart at last.
        stem, number = name, 2
        while taken.get(name, source.uri) != source.uri:
            name, number = f"{stem} ({number})", number + 1
        taken[name] = source.uri
        named.append(replace(source, name=name))
    return named
