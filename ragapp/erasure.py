"""Delete means gone: a document is forgotten, the files are written anew, and then searched for what was deleted.

The receipt counts what went and how many traces of it are left, which should be none. A trace is a sentence of at
least 20 bytes, a title, a file's name, a header line or a piece of a vector that stands in any file of the library and
in no document that remains. Of more than MAX_NEEDLES such texts every second, fourth, … is looked for.

Not looked at: the desk, whose conversations keep what they quoted until they are deleted themselves, and the originals
of documents that remain. Not covered: texts of less than 7 bytes, which occur by chance; words by themselves; a
sentence that SQLite has split between two pages; copies outside the library's folder (backups, another process that is
searching just now).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragapp.catalog import Catalog, Entry
from ragapp.descriptors import reading
from ragapp.desk import DESK
from ragapp.errors import LibraryError
from ragapp.originals import FILES
from ragapp.text import sentences

MAX_NEEDLES = 200_000
SENTENCE_BYTES = 20
LONGEST = 4096  # bytes of a text that are looked for: its beginning, where it is longer
PIECE_BYTES = 64  # of a vector: SQLite splits one between pages, so pieces of it are looked for
SLICE = 1 << 20  # words looked at together

_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted and what is left of it. ``needles`` texts were looked for in the library's files, ``traces`` of
    them were found; ``findings`` say what else went wrong, as sentences."""

    documents: tuple[Entry, ...]
    pages: int
    chunks: int
    vectors: int
    files_scanned: int
    bytes_scanned: int
    needles: int
    traces: int
    findings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            "removed": [entry.document for entry in self.documents],
            "pages": self.pages,
            "chunks": self.chunks,
            "vectors": self.vectors,
            "files_scanned": self.files_scanned,
            "bytes_scanned": self.bytes_scanned,
            "needles": self.needles,
            "traces": self.traces,
            "findings": list(self.findings),
        }


def erase(catalog: Catalog, uris: Sequence[str], renew_caches: Callable[[], None]) -> Receipt:
    """Forget files and the documents that no other file stands for, leaving no trace. Needs the write lock.

    ``renew_caches`` deletes the caches and makes new ones from the catalog alone. Raises LibraryError, with nothing
    changed, when the documents cannot be read.
    """
    wanted = set(uris)
    entries, rows = catalog.entries(), catalog.files()
    gone = [row for uri, row in rows.items() if uri in wanted]
    names = {row.name for row in gone}
    kept = {row.document_id for uri, row in rows.items() if uri not in wanted}
    documents = {row.document_id for row in gone} - kept
    listed = tuple(entry for entry in entries if entry.document in names)
    counted = {entry.id: entry for entry in listed if entry.id in documents}
    texts, pieces = _needles(catalog, sorted(documents), names)
    before = catalog.count_vectors()
    catalog.erase([row.uri for row in gone])
    vectors = before - catalog.count_vectors()
    findings = []
    for step in (renew_caches, catalog.rewrite):
        try:
            step()
        except (LibraryError, OSError) as error:
            findings.append(f"The library's files could not all be written anew: {error}")
    files, size, traces = _traces(catalog, texts, pieces)
    if traces:
        findings.append(
            f"{traces} traces of what was removed are left in {catalog.folder}; `ragapp doctor` tries again."
        )
    return Receipt(
        listed,
        sum(entry.pages for entry in counted.values()),
        sum(entry.chunks for entry in counted.values()),
        vectors,
        files,
        size,
        len(texts) + len(pieces),
        traces,
        tuple(findings),
    )


def _needles(catalog: Catalog, documents: Sequence[str], names: Iterable[str]) -> tuple[list[bytes], list[bytes]]:
    """What will be looked for: texts, and pieces of vectors."""
    texts, pieces = _Thinned(), _Thinned()
    for name in names:
        texts.add(name)
    for key in documents:
        document = catalog.document(key)
        texts.add(document.title)
        for value in document.metadata.values():
            texts.add(value)
        for heading in document.headings:
            texts.add(heading.title)
        for page in document.pages:
            text = document.text[page.start : page.end]
            for start, end in sentences(text):
                texts.add(text[start:end], SENTENCE_BYTES)
        chunks = catalog.chunks_of(key)
        for header in {chunk.header for chunk in chunks}:
            texts.add(header)
        _, vectors = catalog.chunk_vectors(catalog.embedder() or "", [chunk.id for chunk in chunks])
        for row in vectors:
            body = row.astype("<f4").tobytes()
            for at in {0, len(body) // 2 // 4 * 4, max(0, len(body) - PIECE_BYTES)}:
                piece = body[at : at + PIECE_BYTES]
                # Some embedders leave most of a vector empty; zeros are everywhere.
                if len(set(piece)) > PIECE_BYTES // 8:
                    pieces.add(piece)
    return texts.all, pieces.all


class _Thinned:
    """Different texts, of which every second is let go whenever there are too many."""

    def __init__(self) -> None:
        self._kept: dict[bytes, None] = {}
        self._stride = 1
        self._seen = 0

    def add(self, text: str | bytes, least: int = 0) -> None:
        body = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if len(body) < max(least, Needles.SHORTEST):
            return
        self._seen += 1
        if self._seen % self._stride:
            return
        self._kept[body[:LONGEST]] = None
        if len(self._kept) > MAX_NEEDLES:
            self._kept = dict.fromkeys(list(self._kept)[::2])
            self._stride *= 2

    @property
    def all(self) -> list[bytes]:
        return list(self._kept)


def _traces(catalog: Catalog, texts: Sequence[bytes], pieces: Sequence[bytes]) -> tuple[int, int, int]:
    """Files and bytes looked at, and how many needles are in them that no remaining document accounts for."""
    needles = Needles([*texts, *pieces])
    found: set[bytes] = set()
    files = size = 0
    made = (path for path in catalog.folder.rglob("*") if _may_tell(path, catalog.folder))
    for path in sorted(path for path in made if path.is_file()):
        found |= needles.in_file(path)
        files += 1
        size += path.stat().st_size
    left = {needle for needle in found if needle in set(texts)}
    if left:
        left -= Needles(list(left)).in_texts(catalog.every_text())
    if found - set(texts):
        vectors = (row.tobytes() for _, rows in catalog.vector_batches(catalog.embedder() or "", 4096) for row in rows)
        left |= (found - set(texts)) - Needles(list(found - set(texts))).in_bytes(vectors)
    return files, size, len(left)


def _may_tell(path: Path, folder: Path) -> bool:
    """Whether a file is made of documents: the desk is people's, and originals are documents themselves."""
    first = path.relative_to(folder).parts[0]
    return not first.startswith(DESK) and first != FILES


class Needles:
    """Many byte strings looked for at once, in time that hardly depends on how many they are.

    Of a string that stands anywhere in a file, some bytes stand there as a whole aligned word. So only aligned words
    are looked up, first in a table of hashes, and for each string there are eight words, one for every way it may lie.
    Two words together are asked for where the string is long enough: they are much rarer in text than one.
    """

    SHORTEST = 7

    def __init__(self, strings: Sequence[bytes]) -> None:
        usable = [string for string in strings if len(string) >= self.SHORTEST]
        self._longest = max(map(len, usable), default=0)
        groups = ((4, 1, 7, 15), (8, 1, 15, 23), (8, 2, 23, 1 << 62))
        self._groups = [
            _Group(width, words, [string for string in usable if least <= len(string) < below])
            for width, words, least, below in groups
        ]

    def in_file(self, path: Path) -> set[bytes]:
        """Those that stand in a file; none in one that is gone. Holds some megabytes of it at once."""
        found: set[bytes] = set()
        rest = b""
        try:
            with reading(path) as file:
                while block := file.read(8 * SLICE):
                    # What lies across the border of two blocks lies in the end of the one and the next.
                    body = rest + block
                    found |= self._in(body)
                    rest = body[max(0, len(body) - self._longest) :]
        except FileNotFoundError:
            return set()
        return found

    def in_texts(self, texts: Iterable[str]) -> set[bytes]:
        return self.in_bytes(text.encode("utf-8", "surrogatepass") for text in texts)

    def in_bytes(self, bodies: Iterable[bytes]) -> set[bytes]:
        """Those that stand in any of some byte strings."""
        found: set[bytes] = set()
        for joined in _joined(bodies, 8 * SLICE):
            found |= self._in(joined)
        return found

    def _in(self, body: bytes) -> set[bytes]:
        found: set[bytes] = set()
        for group in self._groups:
            group.search(body, found)
        return found


class _Group:
    """Needles of one kind: ``words`` aligned words of ``width`` bytes are asked for together."""

    def __init__(self, width: int, words: int, needles: Sequence[bytes]) -> None:
        self._width = width
        self._words = words
        self._places: dict[int, list[tuple[bytes, int]]] = {}
        for needle in needles:
            for shift in range(width):
                at = self._rarest(needle, shift)
                key = int(self._keys(needle[at : at + width * words])[0])
                self._places.setdefault(key, []).append((needle, at))
        self._known = np.array(sorted(self._places), dtype=np.uint64)
        self._bits = min(26, max(16, (16 * len(self._known)).bit_length()))
        self._table = np.zeros(1 << self._bits, dtype=bool)
        self._table[self._slots(self._known)] = True

    def _rarest(self, needle: bytes, shift: int) -> int:
        """The place, among those of one alignment, with the most different bytes: blanks and dots are everywhere."""
        size = self._width * self._words
        places = range(shift, min(len(needle) - size, 256) + 1, self._width)
        return max(places, key=lambda at: len(set(needle[at : at + size])))

    def _keys(self, body: bytes | memoryview) -> NDArray[np.uint64]:
        words = np.frombuffer(body, dtype=f"<u{self._width}").astype(np.uint64)
        if self._words == 1:
            return words
        mixed: NDArray[np.uint64] = words[:-1] * _FACTORS[0] + words[1:] * _FACTORS[1]
        return mixed

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        slots: NDArray[np.uint64] = (keys * _FACTORS[0]) >> np.uint64(64 - self._bits)
        return slots

    def search(self, body: bytes, found: set[bytes]) -> None:
        if not self._places:
            return
        step = SLICE * self._width
        with memoryview(body) as view:
            for at in range(0, len(view) - self._width * self._words + 1, step):
                end = min(len(view), at + step + self._width * (self._words - 1))
                keys = self._keys(view[at : at + (end - at) // self._width * self._width])
                maybe = np.flatnonzero(self._table[self._slots(keys)])
                hits = maybe[np.isin(keys[maybe], self._known)]
                for place, key in zip(hits.tolist(), keys[hits].tolist(), strict=True):
                    self._compare(view, at + place * self._width, key, found)

    def _compare(self, view: memoryview, at: int, key: int, found: set[bytes]) -> None:
        for needle, offset in self._places[key]:
            start = at - offset
            if needle not in found and start >= 0 and view[start : start + len(needle)] == needle:
                found.add(needle)


def _joined(bodies: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Byte strings together, until there are so many bytes; none is cut, and none touches the next."""
    parts: list[bytes] = []
    held = 0
    for body in bodies:
        parts.append(body)
        held += len(body) + 1
        if held >= size:
            yield b"\0".join(parts)
            parts, held = [], 0
    yield b"\0".join(parts)
