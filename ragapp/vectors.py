"""FAISS as a cache over the catalog: which kind of index suits the library, and how it follows.

Up to ``exact_up_to`` chunks the index is exact (about 5 ms for 100,000 chunks). A larger library is searched in a
clustered one (see indexes), whose best candidates are scored again with the vectors of the catalog, so scores are
cosines whatever the kind. Every kind follows the catalog's generation: it applies what was added and dropped since its
own, and is made anew when its own generation is not in the library's history.

Clustering takes a minute for a million chunks. An ingest does it at its end. A process that searches and finds the
index outgrown (more chunks than exact search is for, or half as many changes as it was made from) goes on with it,
exactly following, while a thread makes the new one; one process a library does so, the others take up what it has
published. It is made from one snapshot, and what changed meanwhile is applied when it is taken into use.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ragapp import indexes
from ragapp.catalog import Catalog, Generation
from ragapp.errors import EmbedderChanged, LibraryError, LibraryLocked
from ragapp.indexes import Abandoned, Index, Kind
from ragapp.shelf import Shelf

FILE_NAME = "index.faiss"
ABOUT = "about.json"
BUILDING = ".building"  # the lock of the one process that clusters in the background

EXACT_UP_TO = 200_000
DRIFT = 0.5  # changes, as a share of what a clustered index was made from, after which it is made anew
SHRUNK = 0.5  # share of ``exact_up_to`` below which a clustered index becomes an exact one again
PATIENCE = 2.0  # seconds before a background build begins: a command that is over by then has no use for it
AGAIN = 1.0  # seconds between two looks at what other processes have made, or whether they still write
REST = 600.0  # seconds after a background build that failed


@dataclass(slots=True)
class _Held:
    """An index with the generation it stands at, and for clustered ones what they were made from and changes since."""

    index: Index
    generation: Generation
    made_from: int = 0
    changed: int = 0


class VectorIndex:
    """The dense ranker of one library. Safe to share between threads."""

    def __init__(
        self, catalog: Catalog, embedder: str, exact_up_to: int = EXACT_UP_TO, patience: float = PATIENCE
    ) -> None:
        self._catalog = catalog
        self._embedder = embedder
        self._exact_up_to = exact_up_to
        self._patience = patience
        self.shelf = Shelf(catalog.folder / "cache", "vectors", f"vectors-2:{embedder}")
        self._lock = threading.RLock()
        self._held: _Held | None = None
        self._published: tuple[Generation, Kind] | None = None
        self._builder: threading.Thread | None = None
        self._stop = threading.Event()

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind | None:
        """What kind of index is in use; None before the first question and for an empty library."""
        with self._lock:
            return None if self._held is None or len(self._held.index) == 0 else self._held.index.kind

    def search(
        self, vector: NDArray[np.float32], k: int, documents: Collection[str] | None = None
    ) -> list[tuple[int, float]]:
        """At most ``k`` ``(chunk id, cosine)``, best first; of some ``documents`` only, where their ids are given.

        Exact for the flat kind; a clustered index may miss one or two of a hundred. From indexes.MANY results on, the
        scores of both compressed kinds are those of compressed vectors. Raises EmbedderChanged for another width.
        """
        # The snapshot holds what the index holds, also where scores are computed again.
        with self._lock, self._catalog.snapshot():
            self.follow()
            if self._held is None or len(self._held.index) == 0:
                return []
            index = self._held.index
            if vector.shape[-1] != index.width:
                raise EmbedderChanged(
                    f"The library's vectors have {index.width} numbers, the question's {vector.shape[-1]}.",
                    "Use the embedder that the library was made with.",
                )
            if self._is_outgrown():
                self._build_in_background()
            # Here and not by who asks: in a snapshot that is older than the index it would be made anew.
            chunks = None if documents is None else self._catalog.chunk_ids_of(documents)
            ids = None if chunks is None else np.asarray(chunks, dtype=np.int64)
            if index.kind == "flat" or k >= indexes.MANY:
                return index.search(vector, k, ids)
            found = index.search(vector, k * indexes.RERANK, ids)
            return self._scored_again(vector, [key for key, _ in found], k)

    def _scored_again(self, vector: NDArray[np.float32], ids: list[int], k: int) -> list[tuple[int, float]]:
        """The best of some candidates by their exact cosines."""
        if not ids:
            return []
        keys, rows = self._catalog.chunk_vectors(self._embedder, ids)
        scores = rows @ vector.reshape(-1).astype(np.float32)
        best = np.lexsort((keys, -scores))[:k]
        return [(int(keys[i]), float(scores[i])) for i in best]

    def ids(self) -> set[int]:
        """The chunk ids that the index holds."""
        with self._lock:
            self.follow()
            return set() if self._held is None else self._held.index.ids()

    # -- following -----------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Bring the index to the catalog's generation, in memory.

        Raises EmbedderChanged when the library has been given vectors of another embedder meanwhile.
        """
        with self._lock, self._catalog.snapshot():
            now = self._catalog.generation()
            if self._held is not None and self._held.generation == now:
                return
            self._check_embedder()
            if self._held is None:
                self._held = self._loaded()
            if self._held is not None and not self._apply(self._held, now):
                self._held = None
            if self._held is None:
                self._held = self._made(now)

    def _check_embedder(self) -> None:
        made_by = self._catalog.embedder()
        if made_by not in (None, self._embedder) and self._catalog.count_chunks():
            raise EmbedderChanged(
                f"The library {self._catalog.folder} has vectors of {made_by}, and this index is of {self._embedder}.",
                "Open the library again with the embedder that it has now, or run `ragapp reindex`.",
            )

    def _apply(self, held: _Held, now: Generation) -> bool:
        """Bring an index to a generation; False, with nothing done, when its own is not in the library's history."""
        changes = self._catalog.changes(held.generation)
        if changes is None:
            return False
        held.index.remove(np.array(changes.dropped, dtype=np.int64))
        for at in range(0, len(changes.added), indexes.SLICE):
            held.index.add(*self._catalog.chunk_vectors(self._embedder, changes.added[at : at + indexes.SLICE]))
        held.changed += len(changes.dropped) + len(changes.added)
        held.generation = now
        return True

    def _loaded(self) -> _Held | None:
        """The newest published index, of whatever generation."""
        found = self.shelf.newest()
        if found is None:
            return None
        generation, folder = found
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            index = Index.read(about["kind"], folder / FILE_NAME)
        except (OSError, ValueError):
            return None  # deleted since: another process has published a newer one
        self._published = generation, index.kind
        return _Held(index, generation, about["made_from"], about["changed"])

    def _make(self) -> None:
        with self._catalog.snapshot():
            self._check_embedder()
            self._held = self._made(self._catalog.generation())

    def _made(self, now: Generation) -> _Held | None:
        """An index of the snapshot that is quickly made; None for a library without vectors."""
        index: Index | None = None
        is_small = self._catalog.count_chunks() <= self._exact_up_to
        for ids, rows in self._catalog.vector_batches(self._embedder, indexes.SLICE):
            if index is None:
                index = indexes.flat(rows.shape[1]) if is_small else indexes.plain(rows)
            index.add(ids, rows)
        return None if index is None else _Held(index, now)

    def _is_outgrown(self) -> bool:
        """Whether a clustered index should be made, or made anew."""
        held = self._held
        if held is None or len(held.index) <= self._exact_up_to:
            return False
        return held.index.kind != "clustered" or held.changed > DRIFT * held.made_from

    def _is_oversized(self) -> bool:
        """Whether an index of bytes holds so little by now that an exact one suits it."""
        held = self._held
        return held is not None and held.index.kind != "flat" and len(held.index) <= SHRUNK * self._exact_up_to

    # -- writing -------------------------------------------------------------------------------------------------

    def publish(
        self, *, fresh: bool = False, train: bool = True, tell: Callable[[float], None] = lambda _: None
    ) -> None:
        """Follow, then write the index to disk unless it is there. Needs the write lock.

        ``fresh`` makes it from the catalog alone: nothing of what was dropped is in any file of the new cache. With
        ``train`` an outgrown index is replaced here and now, and ``tell`` hears the share of that work that is done.
        Raises OSError where the files cannot be written.
        """
        with self._lock:
            if fresh:
                self._held = self._published = None
            elif self._held is None:
                self._held = self._loaded()
            starts_large = self._held is None and self._catalog.count_chunks() > self._exact_up_to
            if not (train and starts_large):
                if not fresh:
                    self.follow()
                if fresh or self._is_oversized():
                    self._make()
        if train and (starts_large or self._is_outgrown()):
            # Not under the lock: searches of other threads go on with what there is.
            with self._building():
                self._take(self._clustered(0, tell))
        with self._lock:
            self.follow()
            if self._held is not None:
                self._put_on_shelf(self._held, fresh=fresh)

    def _put_on_shelf(self, held: _Held, *, fresh: bool) -> None:
        this = held.generation, held.index.kind
        if not fresh:
            # What was loaded from the shelf or put there is not read again, as long as its folder is there.
            folder = self.shelf.folder / f"{self.shelf.name}-{held.generation.number}-{held.generation.stamp}"
            if self._published == this and folder.is_dir():
                return
            newest = self.shelf.newest()
            if newest is not None and newest[0] == held.generation and self._kind_at(newest[1]) == held.index.kind:
                return
        about = {"kind": held.index.kind, "made_from": held.made_from, "changed": held.changed}

        def fill(folder: Path) -> None:
            held.index.write(folder / FILE_NAME)
            (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")

        self.shelf.publish(held.generation, fill)
        self._published = this

    def _kind_at(self, folder: Path) -> object:
        try:
            return json.loads((folder / ABOUT).read_text(encoding="utf-8"))["kind"]
        except (OSError, ValueError):
            return None

    # -- clustering ----------------------------------------------------------------------------------------------

    def _clustered(self, threads: int, tell: Callable[[float], None]) -> _Held | None:
        """A clustered index of one snapshot of the library; None when there is too little for one by now."""

        def batches() -> Generator[tuple[NDArray[np.int64], NDArray[np.float32]], None, None]:
            return self._catalog.vector_batches(self._embedder, indexes.SLICE)

        with self._catalog.snapshot():
            self._check_embedder()
            generation = self._catalog.generation()
            count = self._catalog.count_chunks()
            with closing(batches()) as some:
                has_vectors = next(some, None) is not None
            if count <= self._exact_up_to or not has_vectors:
                return None
            return _Held(indexes.clustered(count, batches, threads, tell), generation, count)

    def _take(self, made: _Held | None) -> None:
        """Use an index from now on, brought to the present generation."""
        if made is None:
            return
        with self._lock, self._catalog.snapshot():
            if self._apply(made, self._catalog.generation()):
                self._held = made

    def _build_in_background(self) -> None:
        if self._stop.is_set() or (self._builder is not None and self._builder.is_alive()):
            return
        self._builder = threading.Thread(target=self._background, name="ragapp-cluster", daemon=True)
        self._builder.start()

    def _background(self) -> None:
        try:
            self._stop.wait(self._patience)
            self._only_here(self._replace)
        except Abandoned:
            return
        except (LibraryError, OSError, MemoryError, RuntimeError):
            # The old index goes on answering; what is wrong may pass (a full disk, no memory).
            self._stop.wait(REST)

    @contextmanager
    def _building(self) -> Iterator[bool]:
        """Tell other processes that a clustered index is being made; gives False when one of them does so already."""
        lock = FileLock(self.shelf.folder / BUILDING, timeout=0, thread_local=False)
        try:
            self.shelf.folder.mkdir(exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError:
            pass  # a library that cannot be written: what is made serves this process only
        try:
            yield True
        finally:
            lock.release()

    def _only_here(self, work: Callable[[], None]) -> None:
        """Do it when no other process of this library does."""
        while True:
            self._stop_if_told()
            with self._building() as is_free:
                if is_free:
                    work()
                    return
            self._stop.wait(AGAIN)

    def _replace(self) -> None:
        """Take up the clustered index of another process, or make and publish one."""
        theirs = self._loaded()
        if theirs is not None and theirs.index.kind == "clustered" and theirs.changed <= DRIFT * theirs.made_from:
            self._take(theirs)
        with self._lock:
            if not self._is_outgrown():
                return
        half = max(1, (os.cpu_count() or 1) // 2)  # the other half answers
        self._take(self._clustered(half, self._stop_if_told))
        while self._catalog.writable:
            self._stop_if_told()
            try:
                with self._catalog.writing():
                    self.publish(train=False)
                return
            except LibraryLocked:
                self._stop.wait(AGAIN)  # somebody writes; searches here use the new one already

    def _stop_if_told(self, _: float = 0.0) -> None:
        if self._stop.is_set():
            raise Abandoned

    def close(self) -> None:
        """End a background build; what it has made is lost, and the next process begins anew."""
        self._stop.set()
        if self._builder is not None:
            self._builder.join()
