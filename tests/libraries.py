"""Small libraries for tests, filled without any PDF or model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragapp.catalog import Catalog, FileRow, embedded_text, text_hash
from ragapp.testing import HashingEmbedder
from ragapp.types import Chunk, Document

EMBEDDER = HashingEmbedder(width=32)
FINGERPRINT = EMBEDDER.fingerprint


def row(document: Document, name: str) -> FileRow:
    return FileRow(f"file:///docs/{name}", name, document.id, len(document.text), 1)


def chunks_of(document: Document, header: str = "") -> list[Chunk]:
    """A chunk for every page."""
    found = []
    for page in document.pages:
        text = document.text[page.start : page.end].rstrip()
        if text:
            found.append(Chunk(0, document.id, text, page.start, page.start + len(text), page.number, (), header))
    return found


def vectors_of(chunks: Sequence[Chunk]) -> dict[bytes, NDArray[np.float32]]:
    rows = EMBEDDER.embed_documents([embedded_text(chunk) for chunk in chunks])
    return dict(zip(map(text_hash, chunks), rows, strict=True))


def put(catalog: Catalog, document: Document, name: str, header: str = "") -> None:
    """Store a document as the pipeline does: vectors that are known already are left out."""
    chunks = chunks_of(document, header)
    vectors = vectors_of(chunks)
    known = catalog.known_hashes(FINGERPRINT, vectors)
    new = {key: vector for key, vector in vectors.items() if key not in known}
    catalog.put(row(document, name), document, chunks, new, FINGERPRINT)


def open_catalog(folder: Path) -> Catalog:
    """A catalog that has its embedder."""
    catalog = Catalog(folder)
    if catalog.embedder() is None:
        catalog.set_embedder(FINGERPRINT)
    return catalog


def contents(catalog: Catalog) -> dict[str, Any]:
    """What a library holds, without what differs between two ways to the same state (ids, dates, places)."""
    held: dict[str, Any] = {}
    ids, rows = catalog.chunk_vectors(catalog.embedder() or "")
    vectors = dict(zip(ids.tolist(), rows.tolist(), strict=True))
    by_document: dict[str, list[Any]] = {}
    for key, (chunk, _, _) in sorted(catalog.chunks(catalog.chunk_ids().tolist()).items()):
        facts = (chunk.start, chunk.end, chunk.page, chunk.text, chunk.headings, chunk.header, vectors[key])
        by_document.setdefault(chunk.document_id, []).append(facts)
    for file in catalog.files().values():
        document = catalog.document(file.document_id)
        held[file.name] = (
            document.title, document.text, document.pages, document.headings, dict(document.metadata),
            by_document.get(document.id, []),
        )  # fmt: skip
    return held


def child_environment() -> dict[str, str]:
    """The environment for a Python that imports this checkout's ragapp."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
