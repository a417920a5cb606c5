"""Retrievers: by vectors, by words, and both joined.

Each ranker gives ``(chunk id, score)`` pairs on a scale of its own. Fusion brings them together: min-max puts every
ranker's scores between 0 and 1 before they are weighed (Bruch et al. 2023), reciprocal rank looks at places only
(Cormack et al. 2009).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol

import numpy as np

from ragapp.catalog import Catalog
from ragapp.lexicon import Lexicon
from ragapp.ports import Embedder
from ragapp.types import Passage, Query, Rank
from ragapp.vectors import VectorIndex

Scores = Sequence[tuple[int, float]]

_WORD = re.compile(r"\w+")
SAME_SHARE = 0.9  # two passages of a document that share this part of their words are one
OVERLAP_SHARE = 0.5  # two spans that share this part of the shorter one are one


class Ranker(Protocol):
    """Gives at most ``k`` ``(chunk id, score)``, best first."""

    def rank(self, text: str, k: int) -> Scores: ...


@dataclass(frozen=True, slots=True)
class Dense:
    """By cosine of the vectors."""

    index: VectorIndex
    embedder: Embedder

    def rank(self, text: str, k: int) -> Scores:
        return self.index.search(np.asarray(self.embedder.embed_query(text), dtype=np.float32), k)


@dataclass(frozen=True, slots=True)
class Lexical:
    """By BM25 over the words of header and text."""

    lexicon: Lexicon

    def rank(self, text: str, k: int) -> Scores:
        return self.lexicon.search(text, k)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Several rankers, ``depth`` candidates each, fused; overlaps and near-duplicates collapse into the better one."""

    catalog: Catalog
    rankers: Mapping[str, Ranker]
    fuse: Callable[[Mapping[str, Scores]], list[tuple[int, float]]]
    depth: int

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        """At most ``k`` passages, best first, each with the rank and score that every ranker gave it."""
        depth = len(self.catalog.chunk_ids()) if query.where else max(self.depth, k)
        found = {name: ranker.rank(query.text, depth) for name, ranker in self.rankers.items()}
        ranks = {
            name: {chunk_id: Rank(place, score) for place, (chunk_id, score) in enumerate(scores, 1)}
            for name, scores in found.items()
        }
        fused = self.fuse(found)
        passages: list[Passage] = []
        # Twice as many as asked for are enough unless many collapse; then the rest is looked at too.
        for part in (fused[: 2 * k], fused[2 * k :]):
            rows = self.catalog.chunks(chunk_id for chunk_id, _ in part)
            for chunk_id, score in part:
                if len(passages) == k:
                    return passages
                if chunk_id not in rows:
                    continue  # dropped since the ranking was made
                chunk, name, title = rows[chunk_id]
                if query.where and not any(fnmatchcase(name, pattern) for pattern in query.where):
                    continue
                found_by = {ranker: ranks[ranker][chunk_id] for ranker in ranks if chunk_id in ranks[ranker]}
                passage = Passage(chunk, name, title, score, found_by)
                if not any(is_same(passage, other) for other in passages):
                    passages.append(passage)
        return passages


def min_max(found: Mapping[str, Scores], weights: Mapping[str, float]) -> list[tuple[int, float]]:
    """Weighted sum of scores scaled to 0..1 within each ranker; what a ranker did not find counts 0 there."""
    total: dict[int, float] = {}
    for name, scores in found.items():
        if not scores:
            continue
        values = [score for _, score in scores]
        low, span = min(values), max(values) - min(values)
        for chunk_id, score in scores:
            scaled = (score - low) / span if span > 0 else 1.0
            total[chunk_id] = total.get(chunk_id, 0.0) + weights[name] * scaled
    return _ordered(total.items())


def reciprocal_rank(found: Mapping[str, Scores], constant: int) -> list[tuple[int, float]]:
    """Sum of ``1 / (constant + place)`` over the rankers."""
    total: dict[int, float] = {}
    for scores in found.values():
        for place, (chunk_id, _) in enumerate(scores, 1):
            total[chunk_id] = total.get(chunk_id, 0.0) + 1.0 / (constant + place)
    return _ordered(total.items())


def fusion(
    method: Literal["minmax", "rrf"], dense_weight: float, constant: int
) -> Callable[[Mapping[str, Scores]], list[tuple[int, float]]]:
    """The fusion of a dense and a lexical ranker that the settings name."""
    if method == "rrf":
        return lambda found: reciprocal_rank(found, constant)
    return lambda found: min_max(found, {"dense": dense_weight, "lexical": 1 - dense_weight})


def is_same(one: Passage, other: Passage) -> bool:
    """Whether two passages of one document overlap by half, or have nearly the same words."""
    a, b = one.chunk, other.chunk
    if a.document_id != b.document_id:
        return False
    shared = min(a.end, b.end) - max(a.start, b.start)
    if shared > OVERLAP_SHARE * min(a.end - a.start, b.end - b.start):
        return True
    if not 0.8 < len(a.text) / max(1, len(b.text)) < 1.25:
        return False
    words, others = set(_WORD.findall(a.text.lower())), set(_WORD.findall(b.text.lower()))
    return len(words & others) >= SAME_SHARE * max(1, len(words | others))


def _ordered(scores: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """Best first; equal scores by id, so that a search gives the same order every time."""
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))
