"""LangChain in and out. Its objects are recognised by what they are, and wrapped into our contracts.

In: Embeddings, BaseRetriever, BaseDocumentCompressor; a BaseChatModel needs no wrapper. Out: a BaseRetriever over a
library. LangChain's mutable ``Document`` appears here and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LCDocument
from langchain_core.embeddings import Embeddings
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from numpy.typing import NDArray
from pydantic import ConfigDict

from ragapp.types import Chunk, Passage, Query

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af]|\w{1,4}|[^\w\s]")


@dataclass(frozen=True, slots=True)
class EmbeddingsMachine:
    """LangChain Embeddings as an embedder of ours; tokens are counted by an estimate that errs on the high side."""

    embeddings: Embeddings
    max_tokens: int = 254

    @property
    def fingerprint(self) -> str:
        """The class and what it says of itself: models behind an interface cannot be looked into."""
        kind = type(self.embeddings)
        about = repr(getattr(self.embeddings, "model_name", getattr(self.embeddings, "model", "")))
        digest = hashlib.sha256(about.encode()).hexdigest()[:16]
        return f"{kind.__module__}.{kind.__qualname__}:{digest}"

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _PIECE.finditer(text)]

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        return _unit(np.asarray(self.embeddings.embed_documents(texts), dtype=np.float32))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return _unit(np.asarray(self.embeddings.embed_query(text), dtype=np.float32))


@dataclass(frozen=True, slots=True)
class CompressorReranker:
    """A LangChain document compressor as a reranker; passages it drops are dropped."""

    compressor: BaseDocumentCompressor

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        documents = [
            LCDocument(page_content=passage.chunk.text, metadata={"place": place})
            for place, passage in enumerate(passages)
        ]
        kept = self.compressor.compress_documents(documents, question)
        return [
            replace(passages[document.metadata["place"]], score=document.metadata.get("relevance_score", 0.0))
            for document in kept
        ]


class LibraryRetriever(BaseRetriever):
    """A library as a LangChain retriever; metadata carry document, page, start, end and score."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    search: Callable[[str, int], Sequence[Passage]]
    k: int = 10

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[LCDocument]:
        return [to_langchain(passage) for passage in self.search(query, self.k)]


@dataclass(frozen=True, slots=True)
class LangChainRetriever:
    """A LangChain retriever as one of ours. Its documents lie in no library: nothing is verified."""

    retriever: BaseRetriever

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        return [from_langchain_document(d, 1 / place) for place, d in enumerate(self.retriever.invoke(query.text), 1)][
            :k
        ]


def to_langchain(passage: Passage) -> LCDocument:
    chunk = passage.chunk
    place = {"document": passage.document, "page": chunk.page, "start": chunk.start, "end": chunk.end}
    return LCDocument(page_content=chunk.text, metadata={**place, "title": passage.title, "score": passage.score})


def from_langchain_document(document: LCDocument, score: float) -> Passage:
    source = str(document.metadata.get("source", document.metadata.get("document", "")))
    page = int(document.metadata.get("page", 0) or 0)
    text = document.page_content
    chunk = Chunk(0, hashlib.sha256(text.encode()).hexdigest(), text, 0, len(text), page)
    return Passage(chunk, source, source, score)


def from_langchain(part: Any) -> Any:
    """The part itself, or, for a LangChain object, a part of ours around it."""
    wrappers: Iterable[tuple[type, Callable[[Any], Any]]] = (
        (Embeddings, EmbeddingsMachine),
        (BaseRetriever, LangChainRetriever),
        (BaseDocumentCompressor, CompressorReranker),
    )
    return next((wrap(part) for kind, wrap in wrappers if isinstance(part, kind)), part)


def estimated_tokens(messages: Sequence[BaseMessage]) -> int:
    """Tokens of messages for a model whose tokenizer is not at hand, erring on the high side."""
    return sum(8 + sum(1 for _ in _PIECE.finditer(str(message.text))) for message in messages)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return scaled
