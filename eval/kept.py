"""What rankers and rerankers said once, kept: trials that join the same rankings in other ways do not search again.

A ranking is kept by question and depth, a question's vector by its text, a MaxSim by question and passage. What is
found is what would be found without all this; only times mean nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragapp.catalog import Catalog
from ragapp.config import Config
from ragapp.parts import Toolbox, reranker_of
from ragapp.ports import Embedder, TokenEmbedder
from ragapp.rerankers import Reranked, max_sim
from ragapp.retrievers import Dense, Hybrid, Ranker, Scores, among
from ragapp.types import Chunk, Passage, Query

_Asked = tuple[str, str, tuple[str, ...], frozenset[str] | None, int]
_Read = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept for one index and one embedder; a library that changes needs a new one.

    ``lists`` are rankings by ranker, question, documents and depth: a shorter list is not always the beginning of a
    longer one, where scores are equal. ``vectors`` are those of questions, ``scores`` MaxSim by question and passage;
    ``orders`` are what other rerankers made of passages, ``rows`` chunks by id.
    """

    lists: dict[_Asked, Scores] = field(default_factory=dict)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    scores: dict[_Read, float] = field(default_factory=dict)
    orders: dict[tuple[str, str, tuple[int, ...]], Reranked] = field(default_factory=dict)
    rows: dict[int, tuple[Chunk, str, str]] = field(default_factory=dict)

    def furnish(self, tools: Toolbox, config: Config, catalog: Catalog, embedder: Any) -> Toolbox:
        """The tools with rankers and a reranker that remember; parts of a kind we do not know stay as they are."""
        found = tools.retriever
        if isinstance(found, Hybrid):
            rankers = {
                name: KeptRanker(name, self._remembering(ranker), catalog, self)
                for name, ranker in found.rankers.items()
            }
            tools = replace(tools, retriever=replace(found, rankers=rankers, catalog=KeptCatalog(catalog, self.rows)))
        name = config.reranker.name
        if name == "late" and isinstance(embedder, TokenEmbedder):
            return replace(tools, reranker=KeptLate(config, embedder, self))
        if name not in ("late", "keep"):
            return replace(tools, reranker=KeptOrder(f"{config.reranker!r}", tools.reranker, self))
        return tools

    def _remembering(self, ranker: Ranker) -> Ranker:
        if isinstance(ranker, Dense):
            return replace(ranker, embedder=KeptVectors(ranker.embedder, self.vectors), _last={})
        return ranker


class KeptCatalog(Catalog):
    """An open library that reads, and checks, each chunk once."""

    def __init__(self, catalog: Catalog, rows: dict[int, tuple[Chunk, str, str]]) -> None:
        # It is the same library with the same connections, and nothing is opened.
        vars(self).update(vars(catalog))
        self._rows = rows

    def chunks(self, ids: Iterable[int]) -> dict[int, tuple[Chunk, str, str]]:
        wanted = list(ids)
        missing = [key for key in wanted if key not in self._rows]
        if missing:
            self._rows.update(super().chunks(missing))
        return {key: self._rows[key] for key in wanted if key in self._rows}


@dataclass(frozen=True, slots=True)
class KeptVectors:
    """An embedder that makes a question's vector once."""

    embedder: Embedder
    vectors: dict[str, NDArray[np.float32]]

    def embed_documents(self, texts: list[str]) -> ArrayLike:
        return self.embedder.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        if text not in self.vectors:
            self.vectors[text] = np.asarray(self.embedder.embed_query(text), dtype=np.float32)
        return self.vectors[text]


@dataclass(frozen=True, slots=True)
class KeptRanker:
    """A ranker whose lists are kept."""

    name: str
    ranker: Ranker
    catalog: Catalog
    memory: Memory

    def rank(self, query: Query, k: int) -> Scores:
        return self._kept(query, k, None)

    def rank_among(self, query: Query, k: int, documents: Collection[str]) -> Scores:
        return self._kept(query, k, frozenset(documents))

    def _kept(self, query: Query, k: int, documents: frozenset[str] | None) -> Scores:
        key = self.name, query.sought, query.hypotheses, documents, k
        if key not in self.memory.lists:
            self.memory.lists[key] = (
                self.ranker.rank(query, k)
                if documents is None
                else among(self.ranker, self.catalog, query, k, documents)
            )
        return self.memory.lists[key]


@dataclass(frozen=True, slots=True)
class KeptLate:
    """Late interaction as the settings want it, over MaxSims that are kept."""

    config: Config
    embedder: TokenEmbedder
    memory: Memory

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        numbers = _OneNumber(self.embedder, question, self.memory.scores)
        return reranker_of(self.config, numbers).rerank(question, passages)


@dataclass(frozen=True, slots=True)
class _OneNumber:
    """A token embedder for one question, whose MaxSim with a text is the kept one.

    The question is one vector of one number, 1, and every text one of its MaxSim with the question, so what late
    interaction computes of the two is that number. The real vectors are a million times larger.
    """

    embedder: TokenEmbedder
    question: str
    scores: dict[_Read, float]

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        return self.embedder.spans(text)

    def embed_tokens(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        wanted = [text for text in texts if text != self.question and (self.question, text) not in self.scores]
        if wanted:
            found = max_sim(self.embedder, self.question, wanted)
            self.scores.update(((self.question, text), float(score)) for text, score in zip(wanted, found, strict=True))
        return [
            np.array([[1.0 if text == self.question else self.scores[self.question, text]]], dtype=np.float64)
            for text in texts
        ]


@dataclass(frozen=True, slots=True)
class KeptOrder:
    """Any other reranker, whose order of the same passages is kept; one that gave up is asked again."""

    settings: str
    reranker: Any
    memory: Memory

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return list(self.rerank_noted(question, passages).passages)

    def rerank_noted(self, question: str, passages: Sequence[Passage]) -> Reranked:
        key = (self.settings, question, tuple(passage.chunk.id for passage in passages))
        kept = self.memory.orders.get(key)
        if kept is None:
            noted = getattr(self.reranker, "rerank_noted", None)
            kept = (
                Reranked(tuple(self.reranker.rerank(question, passages)))
                if noted is None
                else noted(question, passages)
            )
            if not kept.warning:
                self.memory.orders[key] = kept
        return kept
