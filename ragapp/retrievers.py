"""Retrievers: by vectors, by words, and both joined.

Each ranker gives ``(chunk id, score)`` pairs on a scale of its own. Fusion brings them together: min-max puts every
ranker's scores between 0 and 1 before they are weighed (Bruch et al. 2023), reciprocal rank looks at places only
(Cormack et al. 2009).

On top of the fusion come two things that no ranker knows: documents that the question names (routing), and that lists
of references and contents hold the words of an answer and not the answer.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from heapq import heappop, heappush
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragapp.catalog import Catalog
from ragapp.lexicon import Lexicon
from ragapp.ports import Embedder
from ragapp.routing import Router
from ragapp.text import has_cjk
from ragapp.types import Chunk, Passage, Query, Rank
from ragapp.vectors import VectorIndex

Scores = Sequence[tuple[int, float]]
Fusion = Callable[[str, Mapping[str, Scores]], list[tuple[int, float]]]

_WORD = re.compile(r"\w+")
SAME_SHARE = 0.9  # two passages of a document that share this part of their words are one
SAME_PAGE = 0.7  # what a further passage of a page that is in the list already keeps of its score
AT_LEAST = 2  # candidates for each result that is wanted, as some collapse
OVERLAP_SHARE = 0.5  # two spans that share this part of the shorter one are one
LISTED_LINES = 0.4  # share of a chunk's lines that end in a page number behind dots, in a table of contents
LISTED = 0.5  # what a list of references or contents keeps of its score
READ_AHEAD = 2  # chunks that are read at once for each result that is wanted
BROAD = 4  # documents are few when there are so many times more: else what is best among all is mostly of them
DEEPER = 4  # by how much each further search for chunks of some documents goes deeper

_LISTS = re.compile(
    r"[\d.ivx\s]*(?:(?:normative |informative |selected )?references?|bibliography|works cited|literature cited|"
    r"further reading|external links|see also|(?:table of )?contents|index|参考文献|参考资料|外部链接|目录|目次|索引)",
    re.IGNORECASE,
)


class Ranker(Protocol):
    """Gives at most ``k`` ``(chunk id, score)``, best first."""

    def rank(self, query: Query, k: int) -> Scores: ...


@runtime_checkable
class Focused(Protocol):
    """A ranker that can look at some documents only, without a search of the whole library."""

    def rank_among(self, query: Query, k: int, documents: Collection[str]) -> Scores:
        """The ranking of all chunks with those of other documents (ids) left out, and then cut at ``k``."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """By cosine of the vectors. Hypothetical passages count as much as the question each (Gao et al. 2022).

    ``catalog`` tells whether some documents are few; without it every ranking among some goes through all.
    """

    index: VectorIndex
    embedder: Embedder
    catalog: Catalog | None = None
    _last: dict[tuple[str, ...], NDArray[np.float32]] = field(default_factory=dict, compare=False, repr=False)

    def rank(self, query: Query, k: int) -> Scores:
        return self.index.search(self._vector(query), k)

    def rank_among(self, query: Query, k: int, documents: Collection[str]) -> Scores:
        if self.catalog is None:
            raise ValueError("Dense was given no catalog to count documents in.")
        if len(documents) * BROAD > self.catalog.count_documents():
            return deeper(self, self.catalog, query, k, documents)
        return self.index.search(self._vector(query), k, documents)

    def _vector(self, query: Query) -> NDArray[np.float32]:
        """The mean direction of question and hypotheses; kept, as one search may need it twice."""
        texts = (query.sought, *query.hypotheses)
        vector = self._last.get(texts)
        if vector is None:
            rows = np.asarray([self.embedder.embed_query(text) for text in texts], dtype=np.float32)
            vector = unit(unit(rows).mean(axis=0)) if len(rows) > 1 else rows[0]
            self._last.clear()
            self._last[texts] = vector
        return vector


@dataclass(frozen=True, slots=True)
class Lexical:
    """By BM25 over the words of header and text."""

    lexicon: Lexicon

    def rank(self, query: Query, k: int) -> Scores:
        return self.lexicon.search(query.sought, k)

    def rank_among(self, query: Query, k: int, documents: Collection[str]) -> Scores:
        return self.lexicon.search(query.sought, k, sorted(documents))


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Several rankers, fused; overlaps and near-duplicates collapse, and pages take turns.

    A second passage of a page counts SAME_PAGE of its score, a third the square of it: what is most likely on the page
    has been found, and another page may hold what it does not. The order does not depend on ``k``.

    With a ``router``, documents that the question names are also searched by themselves, and ``route_weight`` of what
    their chunks reach there is added to what they reach among all; the passages stay one list.

    Where the chunks that are found have parents, each parent is one passage, in the place of its best chunk: with that
    chunk's id, page and scores, and the text of the parent.
    """

    catalog: Catalog
    rankers: Mapping[str, Ranker]
    fuse: Fusion
    depth: int
    router: Router | None = None
    route_weight: float = 0.2

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        """At most ``k`` passages, best first, each with the rank and score that every ranker gave it.

        ``route`` in ``found_by`` is the place among the chunks of the documents that the question names.
        """
        within = self._within(query)
        if k < 1 or (within is not None and not within):
            return []
        found = self._ranked(query, max(self.depth, AT_LEAST * k), within)
        routed = self._routed(query, within)
        ranks = {name: _places(scores) for name, scores in (*found.items(), ("route", routed))}
        total = dict(self.fuse(query.sought, found))
        for chunk_id, score in routed:
            total[chunk_id] = total.get(chunk_id, 0.0) + self.route_weight * score
        with self.catalog.snapshot():
            best = self._best(total, k)
            labels = self.catalog.labels((chunk.document_id, chunk.page) for chunk, *_ in best)
            passages = []
            for chunk, name, title, score in best:
                found_by = {ranker: places[chunk.id] for ranker, places in ranks.items() if chunk.id in places}
                label = labels.get((chunk.document_id, chunk.page), "")
                passages.append(self._to_be_read(Passage(chunk, name, title, score, found_by, label)))
            return passages

    def _best(self, total: Mapping[int, float], k: int) -> list[tuple[Chunk, str, str, float]]:
        """At most ``k`` chunks with the name and title of their document and what they keep of their score, best first.

        Chunks are read in the order of their scores, and only until none of the others can be among the best any more:
        what a list loses, or a further passage of a page, never moves it up.
        """
        unread = deque(_ordered(total.items()))
        read: list[tuple[float, int]] = []  # a heap of (-score, id)
        rows: dict[int, tuple[Chunk, str, str]] = {}
        kept: defaultdict[str, list[Chunk]] = defaultdict(list)
        found: list[tuple[float, int]] = []
        on_page: Counter[tuple[str, int]] = Counter()
        while read or unread:
            if unread and (not read or -read[0][0] <= unread[0][1]):
                part = [unread.popleft() for _ in range(min(READ_AHEAD * k, len(unread)))]
                more = self.catalog.chunks(key for key, _ in part)
                rows.update(more)
                for key, score in part:
                    if key in more:  # one that was dropped since the ranking was made has no row
                        heappush(read, (-score * (LISTED if is_list(more[key][0]) else 1.0), key))
                continue
            score, chunk_id = heappop(read)
            if len(found) >= k and found[k - 1][0] < score:
                break
            chunk = rows[chunk_id][0]
            # A chunk that says the same as a better one is no reason to read its parent either.
            others = kept[chunk.document_id]
            if not any(has_same_parent(chunk, other) or is_same(chunk, other) for other in others):
                page = (chunk.document_id, chunk.page)
                insort(found, (score * SAME_PAGE ** on_page[page], chunk_id))
                on_page[page] += 1
                others.append(chunk)
        return [(*rows[chunk_id], -score) for score, chunk_id in found[:k]]

    def _within(self, query: Query) -> frozenset[str] | None:
        """Ids of the documents whose name fits the query's filter; None where it has none."""
        if not query.where:
            return None
        names = ((key, files[0]) for key, (_, *files) in self.catalog.names().items() if files)
        return frozenset(key for key, name in names if any(fnmatchcase(name, pattern) for pattern in query.where))

    def _ranked(self, query: Query, depth: int, documents: Collection[str] | None) -> dict[str, Scores]:
        """What every ranker finds in these documents, or in all."""
        if documents is None:
            return {name: ranker.rank(query, depth) for name, ranker in self.rankers.items()}
        return {name: among(ranker, self.catalog, query, depth, documents) for name, ranker in self.rankers.items()}

    def _routed(self, query: Query, within: Collection[str] | None) -> Scores:
        """Chunks of the documents that the question names: their fused score there, by how clearly it names them."""
        if self.router is None or not self.route_weight:
            return []
        named = self.router.named(query.sought)
        if within is not None:
            named = {document: strength for document, strength in named.items() if document in within}
        if not named:
            return []
        fused = self.fuse(query.sought, self._ranked(query, self.depth, named))
        documents = self.catalog.documents_of(key for key, _ in fused)
        return _ordered((key, score * named[documents[key]]) for key, score in fused if key in documents)

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
            scaled = max(0.0, (score - low) / span) if span > 0 else float(score >= low)
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


def has_same_parent(a: Chunk, b: Chunk) -> bool:
    """Whether two chunks would be read as one: they have one parent."""
    return a.parent is not None and (a.document_id, a.parent) == (b.document_id, b.parent)


def is_same(a: Chunk, b: Chunk) -> bool:
    """Whether two chunks of one document overlap by half, or have nearly the same words."""
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


def among(ranker: Ranker, catalog: Catalog, query: Query, k: int, documents: Collection[str]) -> Scores:
    """At most ``k`` chunks of these documents, in the ranker's order."""
    if isinstance(ranker, Focused) and not (isinstance(ranker, Dense) and ranker.catalog is None):
        return ranker.rank_among(query, k, documents)
    return deeper(ranker, catalog, query, k, documents)


def deeper(ranker: Ranker, catalog: Catalog, query: Query, k: int, documents: Collection[str]) -> Scores:
    """The same by ever deeper searches of the whole library, until enough are found or nothing is left."""
    everything = catalog.count_chunks()
    depth = k
    while True:
        depth = min(DEEPER * depth, everything)
        scores = ranker.rank(query, depth)
        owner = catalog.documents_of(key for key, _ in scores)
        kept = [(key, score) for key, score in scores if owner.get(key) in documents]
        if len(kept) >= k or depth >= everything:
            return kept[:k]


def is_list(chunk: Chunk) -> bool:
    """Whether a chunk is a list of references, links or contents: by its headings, or by leaders to page numbers."""
    if any(_LISTS.fullmatch(heading.strip()) for heading in chunk.headings):
        return True
    lines = [line.strip() for line in chunk.text.split("\n") if line.strip()]
    return len(lines) > 2 and sum(map(_leads_on, lines)) > LISTED_LINES * len(lines)


def _leads_on(line: str) -> bool:
    """Whether a line ends in dots and a page number."""
    words = line.rstrip("0123456789")
    gap = words[len(words.rstrip(" .…·")) :]
    return words != line and gap.count(".") + gap.count("·") + 3 * gap.count("…") >= 3


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length one; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.maximum(lengths, np.float32(1e-12))
    return scaled


def _places(scores: Scores) -> dict[int, Rank]:
    return {chunk_id: Rank(place, score) for place, (chunk_id, score) in enumerate(scores, 1)}


def _ordered(scores: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """Best first; equal scores by id, so that a search gives the same order every time."""
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))
