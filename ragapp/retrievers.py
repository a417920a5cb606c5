"""Retrievers: by vectors, by words, and both joined.

Each ranker gives ``(chunk id, score)`` pairs on a scale of its own. Fusion brings them together: min-max puts every
ranker's scores between 0 and 1 before they are weighed (Bruch et al. 2023), reciprocal rank looks at places only
(Cormack et al. 2009).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

from ragapp.catalog import Catalog
from ragapp.lexicon import Lexicon
from ragapp.ports import Embedder
from ragapp.text import has_cjk
from ragapp.types import Passage, Query, Rank
from ragapp.vectors import VectorIndex

Scores = Sequence[tuple[int, float]]
Fusion = Callable[[str, Mapping[str, Scores]], list[tuple[int, float]]]

_WORD = re.compile(r"\w+")
SAME_SHARE = 0.9  # two passages of a document that share this part of their words are one
SAME_PAGE = 0.7  # what a further passage of a page that is in the list already keeps of its score
AT_LEAST = 2  # candidates for each result that is wanted, as some collapse
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
    """Several rankers, fused; overlaps and near-duplicates collapse, and pages take turns.

    A second passage of a page counts SAME_PAGE of its score, a third the square of it: what is most likely on the page
    has been found, and another page may hold what it does not. The order does not depend on ``k``.

    Where the chunks that are found have parents, each parent is one passage, in the place of its best chunk: with that
    chunk's id, page and scores, and the text of the parent.
    """

    catalog: Catalog
    rankers: Mapping[str, Ranker]
    fuse: Fusion
    depth: int

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        """At most ``k`` passages, best first, each with the rank and score that every ranker gave it."""
        depth = len(self.catalog.chunk_ids()) if query.where else max(self.depth, AT_LEAST * k)
        found = {name: ranker.rank(query.text, depth) for name, ranker in self.rankers.items()}
        ranks = {
            name: {chunk_id: Rank(place, score) for place, (chunk_id, score) in enumerate(scores, 1)}
            for name, scores in found.items()
        }
        fused = self.fuse(query.text, found)
        rows = self.catalog.chunks(chunk_id for chunk_id, _ in fused)
        labels = self.catalog.labels((chunk.document_id, chunk.page) for chunk, _, _ in rows.values())
        passages: list[Passage] = []
        on_page: Counter[tuple[str, int]] = Counter()
        for chunk_id, score in fused:
            if chunk_id not in rows:
                continue  # dropped since the ranking was made
            chunk, name, title = rows[chunk_id]
            if query.where and not any(fnmatchcase(name, pattern) for pattern in query.where):
                continue
            found_by = {ranker: ranks[ranker][chunk_id] for ranker in ranks if chunk_id in ranks[ranker]}
            page = (chunk.document_id, chunk.page)
            label = labels.get((chunk.document_id, chunk.page), "")
            passage = Passage(chunk, name, title, score * SAME_PAGE ** on_page[page], found_by, label)
            # A chunk that says the same as a better one is no reason to read its parent either.
            if not any(has_same_parent(passage, other) or is_same(passage, other) for other in passages):
                on_page[page] += 1
                passages.append(passage)
        best = sorted(passages, key=lambda passage: (-passage.score, passage.chunk.id))[:k]
        return [self._to_be_read(passage) for passage in best]

    def _to_be_read(self, passage: Passage) -> Passage:
        """The passage with its parent's text; as it is where it has none, or its document was removed meanwhile."""
        chunk = passage.chunk
        if chunk.parent is None:
            return passage
        start, end = chunk.parent
        pages = self.catalog.pages(chunk.document_id, start, end)
        text = "".join(text[max(0, start - page.start) : end - page.start] for page, text in pages)
        if len(text) != end - start:
            return passage
        return replace(passage, chunk=replace(chunk, text=text, start=start, end=end))


def min_max(found: Mapping[str, Scores], weights: Mapping[str, float], depth: int) -> list[tuple[int, float]]:
    """Weighted sum of each ranker's scores, scaled so that its best is 1 and its ``depth``-th is 0.

    What lies deeper, or was not found, counts 0 there; so a longer list of results starts like a shorter one.
    """
    total: dict[int, float] = {}
    for name, scores in found.items():
        if not scores:
            continue
        low = scores[min(depth, len(scores)) - 1][1]
        span = scores[0][1] - low
        for chunk_id, score in scores:
            scaled = max(0.0, (score - low) / span) if span > 0 else 1.0
            total[chunk_id] = total.get(chunk_id, 0.0) + weights[name] * scaled
    return _ordered(total.items())


def reciprocal_rank(
    found: Mapping[str, Scores], weights: Mapping[str, float], constant: int
) -> list[tuple[int, float]]:
    """Weighted sum of ``1 / (constant + place)`` over the rankers."""
    total: dict[int, float] = {}
    for name, scores in found.items():
        for place, (chunk_id, _) in enumerate(scores, 1):
            total[chunk_id] = total.get(chunk_id, 0.0) + weights[name] / (constant + place)
    return _ordered(total.items())


def fusion(
    method: Literal["minmax", "rrf"], dense_weight: float, dense_weight_cjk: float, constant: int, depth: int
) -> Fusion:
    """The fusion of a dense and a lexical ranker that the settings name."""

    def fuse(question: str, found: Mapping[str, Scores]) -> list[tuple[int, float]]:
        dense = dense_weight_cjk if has_cjk(question) else dense_weight
        weights = {"dense": dense, "lexical": 1 - dense}
        if method == "rrf":
            return reciprocal_rank(found, weights, constant)
        return min_max(found, weights, depth)

    return fuse


def has_same_parent(one: Passage, other: Passage) -> bool:
    """Whether two passages would be read as one: they were found by chunks of one parent."""
    a, b = one.chunk, other.chunk
    return a.parent is not None and (a.document_id, a.parent) == (b.document_id, b.parent)


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
    words, others = _words(a.text), _words(b.text)
    return len(words & others) >= SAME_SHARE * max(1, len(words | others))


@lru_cache(maxsize=256)
def _words(text: str) -> frozenset[str]:
    """The words of a text; kept, as every candidate of a search is compared with those before it."""
    return frozenset(_WORD.findall(text.lower()))


def _ordered(scores: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """Best first; equal scores by id, so that a search gives the same order every time."""
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))
