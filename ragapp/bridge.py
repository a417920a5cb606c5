"""LangChain in and out. Its objects are recognised by what they are, and wrapped into our contracts.

In: Embeddings, BaseRetriever, BaseDocumentCompressor; a BaseChatModel needs no wrapper. Out: a BaseRetriever over a
library. LangChain's mutable ``Document`` appears here and nowhere else.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LCDocument
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from numpy.typing import NDArray
from pydantic import ConfigDict

from ragapp.errors import ModelError, RagappError
from ragapp.types import Chunk, Passage, Query, Rank

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
    """A LangChain document compressor as a reranker.

    Its order stays, and passages it drops are dropped. Metadata of the documents it is given carry ``document``,
    ``page``, ``title``, ``start``, ``end``, ``score`` and ``place`` (from 0). A text that it shortens or splits stands
    for the whole passage: what is shown and cited is always the library's own text. Its ``relevance_score`` becomes the
    score, kept as ``found_by["compressor"]`` too; unless every passage has one, the scores are 1, 1/2, 1/3, … by place.

    Raises ModelError that names the compressor for whatever it raises, and where it gives back a text that it was not
    given.
    """

    compressor: BaseDocumentCompressor

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        if not passages:
            return []
        documents = [_numbered(passage, place) for place, passage in enumerate(passages)]
        try:
            kept = list(self.compressor.compress_documents(documents, question))
        except RagappError:
            raise
        except Exception as error:  # a compressor may be anything, also a service far away
            raise ModelError(
                f"The compressor {self._name} failed: {_first_line(error)}", "See [reranker] in the settings."
            ) from error
        found: dict[int, float | None] = {}
        for document in kept:
            found.setdefault(self._place(document, passages), _relevance(document))
        given = [score for score in found.values() if score is not None]
        # Two scales do not mix: all scores are the compressor's, or none.
        scores = given if len(given) == len(found) else [1 / rank for rank in range(1, len(found) + 1)]
        return [
            replace(passages[i], score=score, found_by={**passages[i].found_by, "compressor": Rank(rank, score)})
            for rank, (i, score) in enumerate(zip(found, scores, strict=True), 1)
        ]

    @property
    def _name(self) -> str:
        return type(self.compressor).__name__

    def _place(self, document: LCDocument, passages: Sequence[Passage]) -> int:
        """Which passage a document stands for: by the number it was given, else by its text."""
        place = document.metadata.get("place")
        if isinstance(place, int) and 0 <= place < len(passages):
            return place
        texts = (i for i, passage in enumerate(passages) if passage.chunk.text == document.page_content)
        place = next(texts, None)
        if place is None:
            raise ModelError(
                f"The compressor {self._name} gave back a text that it was not given.",
                "A reranker puts passages into another order; it adds none.",
            )
        return place


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
        return [
            from_langchain_document(d, 1 / place) for place, d in enumerate(self.retriever.invoke(query.sought), 1)
        ][:k]


def _numbered(passage: Passage, place: int) -> LCDocument:
    document = to_langchain(passage)
    document.metadata["place"] = place
    return document


def _relevance(document: LCDocument) -> float | None:
    """The score a compressor gave, whatever kind of number it is; None where it gave none."""
    try:
        score = float(document.metadata["relevance_score"])
    except (KeyError, TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None


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


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return scaled
