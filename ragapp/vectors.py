"""FAISS as a cache over the catalog: exact inner product over unit vectors, ids are chunk ids.

The index follows the catalog's generation: it applies what was added and dropped since its own, and is built anew when
its own generation is not in the library's history. Exact search takes about 13 ms for 100,000 chunks.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragapp.catalog import Catalog, Generation
from ragapp.errors import EmbedderChanged
from ragapp.shelf import Shelf

FILE_NAME = "flat.faiss"


class VectorIndex:
    """The dense ranker of one library. Safe to share between threads."""

    def __init__(self, catalog: Catalog, embedder: str) -> None:
        self._catalog = catalog
        self._embedder = embedder
        self.shelf = Shelf(catalog.folder / "cache", "vectors", f"flat-1:{embedder}")
        self._lock = threading.RLock()
        self._index: Any = None
        self._generation: Generation | None = None

    def search(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most ``k`` ``(chunk id, cosine)``, best first. Raises EmbedderChanged for another width."""
        with self._lock:
            self.follow()
            if self._index is None or self._index.ntotal == 0 or k < 1:
                return []
            if vector.shape[-1] != self._index.d:
                raise EmbedderChanged(
                    f"The library's vectors have {self._index.d} numbers, the question's {vector.shape[-1]}.",
                    "Use the embedder that the library was made with.",
                )
            scores, ids = self._index.search(vector.reshape(1, -1).astype(np.float32), min(k, self._index.ntotal))
        return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]

    def follow(self) -> None:
        """Bring the index to the catalog's generation, in memory."""
        with self._lock, self._catalog.snapshot():
            now = self._catalog.generation()
            if self._generation == now:
                return
            if self._generation is None:
                self._load()
            changes = None if self._generation is None else self._catalog.changes(self._generation)
            if changes is None:
                self._rebuild()
            else:
                self._forget(changes.dropped)
                self._learn(changes.added)
            self._generation = now

    def publish(self) -> None:
        """Follow, then write the index to disk unless it is there. Needs the write lock."""
        import faiss

        with self._lock:
            self.follow()
            newest = self.shelf.newest()
            if self._index is None or self._generation is None or (newest and newest[0] == self._generation):
                return
            data = faiss.serialize_index(self._index)
            self.shelf.publish(self._generation, lambda folder: _write(folder / FILE_NAME, data))

    def ids(self) -> set[int]:
        """The chunk ids that the index holds."""
        import faiss

        with self._lock:
            self.follow()
            return set() if self._index is None else {int(i) for i in faiss.vector_to_array(self._index.id_map)}

    def _load(self) -> None:
        import faiss

        found = self.shelf.newest()
        if found is not None:
            generation, folder = found
            try:
                data = np.frombuffer((folder / FILE_NAME).read_bytes(), dtype=np.uint8)
            except FileNotFoundError:
                return  # deleted since: another process has published a newer one
            self._index, self._generation = faiss.deserialize_index(data), generation

    def _rebuild(self) -> None:
        self._index = None
        self._add(*self._catalog.chunk_vectors(self._embedder))

    def _forget(self, ids: tuple[int, ...]) -> None:
        if ids and self._index is not None:
            self._index.remove_ids(np.array(ids, dtype=np.int64))

    def _learn(self, ids: tuple[int, ...]) -> None:
        if ids:
            self._add(*self._catalog.chunk_vectors(self._embedder, ids))

    def _add(self, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        import faiss

        if len(ids) == 0:
            return
        if self._index is None:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(rows.shape[1]))
        self._index.add_with_ids(np.ascontiguousarray(rows), ids)


def _write(path: Path, data: NDArray[np.uint8]) -> None:
    path.write_bytes(data.tobytes())
