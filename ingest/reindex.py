"""Another embedder or another chunker for a library that is filled: everything from the stored text, no file is read.

New chunks are made document by document and kept as drafts; new vectors are stored as they are made, some hundred a
commit, beside those in use. Nothing that is searched changes meanwhile, whoever asks, and a kill costs what was not
yet stored. One transaction at the end puts all of it in the place of the old.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ragapp.catalog import Catalog, embedded_text, text_hash
from ragapp.ingest.chunkers import chunker_fingerprint
from ragapp.ingest.report import Progress
from ragapp.ports import Chunker, Embedder
from ragapp.types import Chunk, Document

EMBED_AT_ONCE = 384  # chunks a commit; long enough that sorting by length pays
MIXED = "several"  # what a library says of its chunker when there was more than one
DRAFT = 0  # the page under which a document's new chunks are kept: pages count from 1


@dataclass(slots=True)
class Reindexed:
    """The receipt. ``embedded`` chunks had no vector yet, ``reused`` ones had; ``rechunked`` counts documents whose
    chunks are other ones now. All zeros when there was nothing to do."""

    documents: int = 0
    rechunked: int = 0
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reindex:
    """What a reindex needs; ``fingerprint`` names the embedder's vectors."""

    catalog: Catalog
    chunker: Chunker
    embedder: Embedder
    fingerprint: str

    def run(self, progress: Callable[[Progress], None] = lambda _: None) -> Reindexed:
        """Do what is to be done. Needs the write lock; may be stopped at any moment, and goes on when run again."""
        started = time.perf_counter()
        receipt = Reindexed()
        if not self.is_needed():
            if self.catalog.reindexing() is not None:
                # Somebody began one with other settings, and came back to those of the library.
                self.catalog.forget_reindex(self.fingerprint)
            return receipt
        self.catalog.begin_reindex(self._target())
        _Run(self, receipt, progress).go()
        self.catalog.end_reindex(self.fingerprint, chunker_fingerprint(self.chunker), self._replaced())
        receipt.seconds = round(time.perf_counter() - started, 3)
        return receipt

    def is_needed(self) -> bool:
        """Whether the library was made with another embedder or chunker, as far as it says so."""
        made_with = self.catalog.embedder(), self.catalog.chunked_by()
        return made_with != (self.fingerprint, chunker_fingerprint(self.chunker)) and self.catalog.count_chunks() > 0

    def _target(self) -> str:
        return f"{self.fingerprint} {chunker_fingerprint(self.chunker)}"

    def _replaced(self) -> Iterator[tuple[str, Sequence[Chunk]]]:
        """The documents that get other chunks, with them."""
        for key in self.catalog.document_ids():
            chunks = self.new_chunks(key)
            if chunks is not None:
                yield key, chunks

    def new_chunks(self, document_id: str) -> list[Chunk] | None:
        """What the chunker makes of a document, from its draft if there is one; None when that is what it has.

        The tokens that a chunker counts are the embedder's, so another embedder may mean other chunks, too.
        """
        body = self.catalog.drafts(document_id).get(DRAFT)
        if body is not None:
            draft = json.loads(zlib.decompress(body))
            if draft["target"] == self._target():
                return None if draft["chunks"] is None else [_from_row(document_id, row) for row in draft["chunks"]]
        document = self.catalog.document(document_id)
        chunks = list(self.chunker.chunk(document))
        is_same = chunks == [replace(chunk, id=0) for chunk in self.catalog.chunks_of(document_id)]
        draft = {"target": self._target(), "chunks": None if is_same else [_to_row(chunk) for chunk in chunks]}
        self.catalog.keep_draft(document_id, DRAFT, zlib.compress(json.dumps(draft).encode("ascii")))
        return None if is_same else chunks


class _Run:
    """One reindex under way: texts wait until there are enough for the embedder, across documents."""

    def __init__(self, work: Reindex, receipt: Reindexed, progress: Callable[[Progress], None]) -> None:
        self._work = work
        self._catalog = work.catalog
        self._receipt = receipt
        self._progress = progress
        self._waiting: dict[bytes, str] = {}
        self._started = time.perf_counter()
        files = self._catalog.files().values()
        # A document that lies under two names is named by one of them.
        self._files = {file.document_id: file for file in sorted(files, key=lambda file: file.name, reverse=True)}
        self._pages_done = self._bytes_done = 0

    def go(self) -> None:
        for key in self._catalog.document_ids():
            document = self._catalog.document(key)
            self._tell(document, 0)
            self._take(document)
            self._receipt.documents += 1
            self._pages_done += len(document.pages)
            self._bytes_done += self._files[key].bytes if key in self._files else 0
            self._tell(document, 0, "done")
        self._embed()

    def _take(self, document: Document) -> None:
        chunks = self._work.new_chunks(document.id)
        self._receipt.rechunked += chunks is not None
        if chunks is None:
            chunks = self._catalog.chunks_of(document.id)
        texts = {text_hash(chunk): embedded_text(chunk) for chunk in chunks}
        known = self._catalog.known_hashes(self._work.fingerprint, texts)
        self._receipt.chunks += len(chunks)
        wanted = [key for key in texts if key not in known and key not in self._waiting]
        self._receipt.embedded += len(wanted)
        self._receipt.reused += len(chunks) - len(wanted)
        for done, key in enumerate(wanted):
            self._waiting[key] = texts[key]
            if len(self._waiting) >= EMBED_AT_ONCE:
                self._embed()
                self._tell(document, len(document.pages) * done // len(wanted))

    def _embed(self) -> None:
        """Give the waiting texts their vectors, in one commit."""
        if not self._waiting:
            return
        rows = np.asarray(self._work.embedder.embed_documents(list(self._waiting.values())), dtype=np.float32)
        self._catalog.keep_vectors(dict(zip(self._waiting, rows, strict=True)), self._work.fingerprint)
        self._waiting.clear()

    def _tell(self, document: Document, pages: int, stage: str = "embed") -> None:
        name = self._files[document.id].name if document.id in self._files else document.title
        self._progress(
            Progress(
                name,
                stage,
                self._receipt.documents,
                len(self._files),
                pages,
                0 if stage == "done" else len(document.pages),
                self._pages_done,
                self._bytes_done,
                sum(file.bytes for file in self._files.values()),
                time.perf_counter() - self._started,
            )
        )


def _to_row(chunk: Chunk) -> list[object]:
    return [chunk.text, chunk.start, chunk.end, chunk.page, chunk.headings, chunk.header, chunk.parent]


def _from_row(document_id: str, row: list[object]) -> Chunk:
    text, start, end, page, headings, header, parent = row
    return Chunk(0, document_id, text, start, end, page, tuple(headings), header, parent and tuple(parent))  # type: ignore[arg-type]
