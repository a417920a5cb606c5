"""Doctor: a library checked and put right, whether or not it can be opened; see checkup.py."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ragapp import checkup
from ragapp import config as settings
from ragapp.catalog import FILE_NAME, Catalog
from ragapp.checkup import Checkup
from ragapp.config import Config
from ragapp.errors import LibraryError
from ragapp.lexicon import Lexicon
from ragapp.parts import embedder_of
from ragapp.store import locked, was_lost
from ragapp.vectors import VectorIndex

DEFAULT_LIBRARY = ".ragapp"


def mend(library: str | Path | None = None, config: Config | None = None, *, check: bool = False) -> Checkup:
    """Check a library, which need not be one that can be opened, and put right what can be put right.

    ``check`` only looks. What is lost is named; see checkup.py. Raises NotFound where there is no library,
    LibraryNewer, LibraryLocked when another process is writing, and LibraryError when the disk is full or may not be
    written.
    """
    folder, config = library_folder(library), config or settings.load({})
    if not (folder / FILE_NAME).exists() and not was_lost(folder):
        Catalog(folder, create=False)  # says so
    embedder = embedder_of(config)
    if check:
        findings = _faults(folder, embedder.fingerprint, config, leftovers=_is_free(folder))
        return _told(folder, findings, checkup.Mending())
    mending = checkup.Mending()
    with locked(folder):
        findings = list(checkup.log_faults(folder))
        checkup.set_log_aside(folder, mending)
        findings += _faults(folder, embedder.fingerprint, config)
        if findings:
            checkup.mend(folder, checkup.Embedding(embedder.fingerprint, embedder.embed_documents), mending)
            findings += _mend_caches(folder, embedder.fingerprint, config, mending)
            left = _faults(folder, embedder.fingerprint, config)
            findings += [f"This could not be mended: {line}" for line in left]
    return _told(folder, findings, mending)


def _told(folder: Path, findings: Sequence[str], mending: checkup.Mending) -> Checkup:
    notes, count = checkup.notes(folder), checkup.count_documents(folder)
    return Checkup(tuple(findings), tuple(mending.done), tuple(mending.lost), tuple(notes), count)


def _faults(folder: Path, fingerprint: str, config: Config, *, leftovers: bool = True) -> list[str]:
    """What is wrong with the library's file and its caches."""
    # The log first: whoever opens the file passes over a damaged one, and deletes it.
    if findings := list(checkup.log_faults(folder)):
        return findings
    checkup.upgrade(folder)
    findings = list(checkup.look(folder, leftovers=leftovers))
    if not checkup.can_be_opened(folder):
        return findings
    try:
        with _caches(folder, fingerprint, config) as (catalog, caches):
            findings += [line for line in cache_faults(catalog, caches) if line not in findings]
    except LibraryError as error:
        # Said already, unless it is something that only opening it shows.
        findings += [] if findings else [error.message]
    return findings


def _mend_caches(folder: Path, fingerprint: str, config: Config, mending: checkup.Mending) -> list[str]:
    """Make the search caches again where something is wrong with them, or with what they were made from; gives what
    did not work."""
    try:
        with _caches(folder, fingerprint, config) as (catalog, caches):
            if not (mending.rows_changed or mending.rewrite or list(cache_faults(catalog, caches))):
                return []
            for cache in caches:
                cache.shelf.clear()
            if catalog.count_chunks():
                for cache in caches:
                    cache.publish(fresh=True)
            mending.done.append("The search caches were made again.")
            if mending.rewrite:
                catalog.rewrite()
                mending.done.append("The library's file was written anew, without what was removed.")
    except (LibraryError, OSError) as error:
        return [f"The search caches cannot be made: {error}"]
    return []


@contextmanager
def _caches(folder: Path, fingerprint: str, config: Config) -> Iterator[tuple[Catalog, tuple[VectorIndex, Lexicon]]]:
    """A library's file and its caches, whoever its embedder is. Raises LibraryError where it cannot be opened."""
    catalog = Catalog(folder, create=False)
    try:
        made_by = catalog.embedder() or fingerprint
        vectors, lexicon = VectorIndex(catalog, made_by, config.search.exact_up_to), Lexicon(catalog)
        try:
            yield catalog, (vectors, lexicon)
        finally:
            vectors.close()
            lexicon.close()
    finally:
        catalog.close()


def cache_faults(catalog: Catalog, caches: Iterable[VectorIndex | Lexicon]) -> Iterator[str]:
    for cache in caches:
        for path in cache.shelf.damaged():
            yield f"The cache {path.name} does not match its checksums; it is not used."
        newest = cache.shelf.newest()
        try:
            if newest is None and catalog.count_chunks():
                yield f"There is no {cache.shelf.name} cache; every search makes its own."
            if newest is not None and catalog.changes(newest[0]) is None:
                yield f"The cache {newest[1].name} is of another library; it is not used."
            held, stored = cache.ids(), {int(i) for i in catalog.chunk_ids()}
        except LibraryError as error:
            yield error.message
            continue
        if held != stored:
            yield f"The {cache.shelf.name} cache holds {len(held)} chunks, the library {len(stored)}."


def _is_free(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except LibraryError:
        return False


def library_folder(library: str | Path | None) -> Path:
    return Path(library or os.environ.get("RAGAPP_LIBRARY") or DEFAULT_LIBRARY).expanduser()
