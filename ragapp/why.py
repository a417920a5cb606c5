"""Why a page was not found, or was: its way from the file to the answer, one fact after the other.

Is the document there? How was the page read, which chunks lie on it, what did each ranker think of them, where did they
stand after the fusion and after the reranking, and which limit kept them from the answer?

What a Llama adds on the way (imagined passages, other wordings, follow-ups rewritten) is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from ragapp.catalog import Catalog, Entry
from ragapp.errors import ConfigError, ContextTooLong
from ragapp.ports import Retriever, Tools
from ragapp.quotes import QuoteAnswerer
from ragapp.retrievers import AT_LEAST, LISTED, SAME_PAGE, Hybrid, among, has_same_parent, is_list, is_same
from ragapp.text import collapse, has_cjk
from ragapp.types import Answer, Chunk, Page, Passage, Query, Rank, Step

FIRST_CHARS = 60  # of a chunk's text, to know it again
FIRST_CHARS_CJK = 24
NEAR = 3  # names that are offered for one that is not there
DEEP = 200  # passages of the search that a place is looked for among

# How far a chunk came: what cut it, the earliest first. Most are settings; the empty one stands for the answer.
CUTS = (
    "where",
    "search.depth",
    "same",
    "reranker.candidates",
    "reranker",
    "answer.passages",
    "gatherer",
    "answer.threshold",
    "chat.context_tokens",
    "",
)
_BY = {
    "dense": "by meaning",
    "lexical": "by words",
    "route": "in the documents that the question names",
    "late": "by late interaction",
    "cross-encoder": "by the CrossEncoder",
    "compressor": "by the compressor",
}
_SHOWN = re.compile(r"^<passage (\d+):", re.MULTILINE)  # as prompts.py puts them; no text of a document can look so
_QUALITY = {
    "garbled": "the text in the file is garbled",
    "empty": "nothing is drawn on it",
    "image": "the file holds a picture of it and no text",
}


@dataclass(frozen=True, slots=True)
class PageFacts:
    """How a page was read; ``characters`` are those that are not white space."""

    number: int
    label: str
    characters: int
    quality: str
    read_by: str
    is_unread: bool


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """One chunk that lies on the page, and how far it came.

    ``ranks`` are what each ranker thought of it, None where the ranker did not find it at all. Places count from 1, 0
    where it had none: ``fused`` among everything that was found, ``found`` in the list of the search (see DEEP),
    ``reranked`` among those that the reranker gave back, ``given`` among the passages of the answer. ``cut`` is what
    ended its way (one of CUTS), ``same_as`` the better passage that says the same. ``is_list``: of references or
    contents, which the search takes less seriously; ``behind``: how many better passages of its page it followed.
    """

    id: int
    page: int
    start: int
    end: int
    words: str
    header: str
    ranks: Mapping[str, Rank | None]
    fused: int = 0
    found: int = 0
    reranked: int = 0
    given: int = 0
    cut: str = ""
    same_as: str = ""
    is_list: bool = False
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Why:
    """Why a page is, or is not, among the passages of an answer.

    ``document`` is empty where the library has none of that name; ``near`` are names like it. ``limits`` are the
    numbers that cut, ``named`` the documents that the question names. ``confidence`` is the judge's. ``cited``: whether
    quotes were taken from the page, None where a Llama would have to be asked.
    """

    question: str
    asked: str
    document: str
    page: int
    pages: int = 0
    near: tuple[str, ...] = ()
    facts: PageFacts | None = None
    chunks: tuple[ChunkFacts, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    confidence: float | None = None  # nobody is asked about a page on which nothing lies
    warning: str = ""
    cited: bool | None = None

    @property
    def best(self) -> ChunkFacts | None:
        """The chunk that came furthest; of several the one that stood best."""
        return min(self.chunks, key=_furthest, default=None)

    @property
    def is_given(self) -> bool:
        """Whether something of the page is given to the answer."""
        return self.best is not None and not self.best.cut

    def as_dict(self) -> dict[str, Any]:
        """Everything, with ``cut``: what kept the page from the answer, empty where nothing did."""
        cut = "document" if not self.document else "page" if self.facts is None else "chunk"
        return {**asdict(self), "is_given": self.is_given, "cut": self.best.cut if self.best else cut}

    def sentences(self) -> Iterator[str]:
        """The facts in their order, for people."""
        if not self.document:
            near = f" Is it {' or '.join(self.near)}?" if self.near else ""
            yield f"There is no document {self.asked} in the library.{near}"
            return
        if self.facts is None:
            yield f"{self.document} has {_count(self.pages, 'page')}: there is no page {self.page}."
            return
        yield self._about_page(self.facts)
        best = self.best
        if best is None:
            yield "No chunk lies on it, so no search can find it."
            return
        some = f"It has {_count(len(self.chunks), 'chunk')}; the best" if len(self.chunks) > 1 else "It has 1 chunk; it"
        yield f"{some} was {_way(best)}. {self._verdict(best)}"
        if self.named and self.document not in self.named:
            yield f"The question names other documents, which come first: {', '.join(self.named)}."
        if self.warning:
            yield self.warning
        if not best.cut and self.cited is not None:
            yield ("The answer quotes it." if self.cited else "The answer quotes other sentences, which fit better.")
        for chunk in self.chunks:
            lies = "" if chunk.page == self.page else f", most of it on page {chunk.page}"
            told = f"{_way(chunk, scores=True)}. {_notes(chunk)}{self._verdict(chunk)}"
            yield f"Chunk {chunk.id}{lies} “{chunk.words}”: {told}"

    def _about_page(self, facts: PageFacts) -> str:
        name = f"Page {facts.number}{f' ({facts.label})' if facts.label else ''} of {self.document}"
        if facts.is_unread:
            return f"{name} could not be read: {_QUALITY[facts.quality]}, and no OCR has read it."
        how = "was read by OCR" if facts.read_by == "ocr" else "was read from the file"
        why = f", as {_QUALITY[facts.quality]}" if facts.read_by == "ocr" and facts.quality in _QUALITY else ""
        if not facts.characters:
            return f"{name} {how}{why}, and holds no text."
        return f"{name} {how}{why}: {_count(facts.characters, 'character')}."

    def _verdict(self, chunk: ChunkFacts) -> str:
        """What became of a chunk, and what would have to be another value."""
        limit = self.limits.get(chunk.cut, 0)
        return {
            "where": "The question asks other documents only: cut by its filter.",
            "search.depth": f"Only {limit:g} candidates of each ranker are weighed: cut by search.depth.",
            "same": f"It says the same as {chunk.same_as}, which stands before it: cut as a duplicate.",
            "reranker.candidates": f"Only {limit:g} candidates go on to the reranker: cut by reranker.candidates.",
            "reranker": "The reranker dropped it.",
            "answer.passages": f"Only {limit:g} passages are given to the answer: cut by answer.passages.",
            "gatherer": "What it says was left out when the passages were joined.",
            "answer.threshold": f"It is in passage {chunk.given}, but the library holds the answer with a probability "
            f"of {self.confidence or 0:.2f} only; from {limit:g} on a question is answered: cut by answer.threshold.",
            "chat.context_tokens": "The prompt has no room for it: cut by the model's window (chat.context_tokens).",
            "": f"It is in passage {chunk.given} of the answer.",
        }[chunk.cut]


def explain(question: Query, document: str, page: int, *, catalog: Catalog, retriever: Retriever, tools: Tools) -> Why:
    """Follow a page through a search as the flows make it. ``document`` is its name, its id, or the end of its name.

    Reads the library only. Raises ConfigError for a retriever that is not made of rankers, and what search, reranker
    and judge raise.
    """
    if not isinstance(retriever, Hybrid):
        raise ConfigError(f"A {type(retriever).__name__} does not say how it ranks.", "Only the built-in search does.")
    entries = catalog.entries()
    entry = _entry(document, entries)
    if entry is None:
        near = get_close_matches(document, [e.document for e in entries], n=NEAR, cutoff=0.4)
        return Why(question.text, document, "", page, near=tuple(near))
    stored = catalog.document(entry.id)
    there = next((p for p in stored.pages if p.number == page), None)
    if there is None:
        return Why(question.text, document, entry.document, page, len(stored.pages))
    facts = _page_facts(there, stored.text[there.start : there.end])
    chunks = [c for c in catalog.chunks_of(entry.id) if c.start < there.end and c.end > there.start]
    if not chunks:
        return Why(question.text, document, entry.document, page, len(stored.pages), facts=facts)
    run = _Run(question, catalog, retriever, tools)
    return Why(
        question.text,
        document,
        entry.document,
        page,
        len(stored.pages),
        facts=facts,
        chunks=tuple(run.follow(chunk) for chunk in chunks),
        limits=run.limits,
        named=run.named,
        confidence=run.confidence,
        warning=run.warning,
        cited=run.cites(entry.id, there),
    )


class _Run:
    """A search, and what follows it, made once for all chunks of the page."""

    def __init__(self, query: Query, catalog: Catalog, retriever: Hybrid, tools: Tools) -> None:
        self.query = query
        self.tools = tools
        self.names = {key: files[0] for key, (_, *files) in catalog.names().items() if files}
        self.within = self._within()
        self.trail = Trail.of(retriever, query, catalog, self.within, tools.depth)
        self.candidates = retriever.retrieve(query, tools.depth)
        self.reranked, self.warning = _reranked(tools, query, self.candidates)
        self.confidence = tools.judge.confidence(query, self.reranked)
        self.gathered = tools.gatherer.gather(query, self.reranked[: tools.k])
        self.is_refused = self.confidence < tools.judge.threshold
        meant = retriever.router.named(query.sought) if retriever.router is not None else {}
        self.named = tuple(sorted(self.names[key] for key in meant if key in self.names))
        self.kept, self.answer = (None, None) if self.is_refused else _asked(tools, query, self.gathered)

    @property
    def limits(self) -> dict[str, float]:
        return {
            "search.depth": self.trail.depth,
            "reranker.candidates": self.tools.depth,
            "answer.passages": self.tools.k,
            "answer.threshold": self.tools.judge.threshold,
        }

    def _within(self) -> frozenset[str] | None:
        """Ids of the documents that the question's filter lets through; None where it has none."""
        if not self.query.where:
            return None
        fits = (key for key, name in self.names.items() if any(fnmatchcase(name, p) for p in self.query.where))
        return frozenset(fits)

    def follow(self, chunk: Chunk) -> ChunkFacts:
        given = next((n for n, p in enumerate(self.gathered, 1) if _holds(p, chunk)), 0)
        cut, same_as = self._cut(chunk, given)
        size = FIRST_CHARS_CJK if has_cjk(chunk.text) else FIRST_CHARS
        words = collapse(chunk.text)
        return ChunkFacts(
            chunk.id,
            chunk.page,
            chunk.start,
            chunk.end,
            words if len(words) <= size else f"{words[:size].rstrip()}…",
            chunk.header,
            self.trail.ranks(chunk.id),
            self.trail.fused.get(chunk.id, 0),
            0 if cut == "search.depth" else _place(self.candidates, chunk) or _place(self.trail.listed, chunk),
            _place(self.reranked, chunk),
            given,
            cut,
            same_as,
            is_list(chunk),
            self.trail.behind(chunk),
        )

    def _cut(self, chunk: Chunk, given: int) -> tuple[str, str]:
        """What ended a chunk's way, and the passage that it is the same as, if that was it."""
        if given:
            if self.is_refused:
                return "answer.threshold", ""
            return ("", "") if self.kept is None or given in self.kept else ("chat.context_tokens", "")
        if self.within is not None and chunk.document_id not in self.within:
            return "where", ""
        if not _place(self.candidates, chunk):
            return self._not_a_candidate(chunk)
        place = _place(self.reranked, chunk)
        if not place:
            return "reranker", ""
        return ("answer.passages" if place > self.tools.k else "gatherer"), ""

    def _not_a_candidate(self, chunk: Chunk) -> tuple[str, str]:
        if not self.trail.is_weighed(chunk.id):
            return "search.depth", ""
        if _place(self.trail.listed, chunk):
            return "reranker.candidates", ""
        listed = self.trail.listed
        twin = next((p for p in listed if has_same_parent(chunk, p.chunk) or is_same(chunk, p.chunk)), None)
        if twin is None:
            return "reranker.candidates", ""
        return "same", f"{twin.document}, page {twin.chunk.page} (chunk {twin.chunk.id})"

    def cites(self, document_id: str, page: Page) -> bool | None:
        """Whether the quotes are taken from a page; None where nobody has quoted."""
        if self.answer is None:
            return None
        spans = [(c.start, c.end) for c in self.answer.citations if c.passage.chunk.document_id == document_id]
        return any(start < page.end and end > page.start for start, end in spans)


@dataclass(frozen=True, slots=True)
class Trail:
    """What each ranker thinks of every chunk, the order that the fusion makes of it, and the list of the search.

    ``depth`` is how many candidates of each ranker a search weighs.
    """

    by: Mapping[str, Mapping[int, Rank]]
    fused: Mapping[int, int]
    listed: Sequence[Passage]
    depth: int

    @classmethod
    def of(
        cls, retriever: Hybrid, query: Query, catalog: Catalog, within: frozenset[str] | None, candidates: int
    ) -> Trail:
        """``within`` are the documents to look at, None for all; ``candidates`` go on to the reranker."""
        everything = catalog.count_chunks()
        found = {
            name: ranker.rank(query, everything)
            if within is None
            else among(ranker, catalog, query, everything, within)
            for name, ranker in retriever.rankers.items()
        }
        by = {name: {key: Rank(n, score) for n, (key, score) in enumerate(s, 1)} for name, s in found.items()}
        order = enumerate(retriever.fuse(query.sought, found), 1)
        fused = {key: place for place, (key, score) in order if score > 0}  # without a score the place is chance
        listed = retriever.retrieve(query, max(DEEP, candidates))
        return cls(by, fused, listed, max(retriever.depth, AT_LEAST * candidates))

    def ranks(self, chunk_id: int) -> dict[str, Rank | None]:
        """What the rankers thought of a chunk, and whatever else the search has noted on it."""
        noted = next((p.found_by for p in self.listed if p.chunk.id == chunk_id), {})
        ranks = {name: ranks.get(chunk_id) for name, ranks in self.by.items()}
        return ranks | {name: rank for name, rank in noted.items() if name not in ranks}

    def is_weighed(self, chunk_id: int) -> bool:
        """Whether a ranker has a chunk among the candidates that are weighed, or the question names its document."""
        found = ((name not in self.by, rank) for name, rank in self.ranks(chunk_id).items() if rank is not None)
        return any(is_named or rank.rank <= self.depth for is_named, rank in found)

    def behind(self, chunk: Chunk) -> int:
        """How many passages of a chunk's page stand before it."""
        before = self.listed[: max(0, _place(self.listed, chunk) - 1)]
        return sum((p.chunk.document_id, p.chunk.page) == (chunk.document_id, chunk.page) for p in before)


def _reranked(tools: Tools, query: Query, passages: Sequence[Passage]) -> tuple[list[Passage], str]:
    noted = getattr(tools.reranker, "rerank_noted", None)
    if noted is None:
        return tools.reranker.rerank(query.sought, passages), ""
    result = noted(query.sought, passages)
    return list(result.passages), result.warning


def _asked(tools: Tools, query: Query, passages: Sequence[Passage]) -> tuple[frozenset[int] | None, Answer | None]:
    """Which passages, by their numbers from 1, stand in the prompt, None where there is none; and the answer of quotes.

    A language model is not asked: its prompt is made and looked at.
    """
    with closing(tools.answerer.answer(query, passages)) as events:
        while True:
            try:
                event = next(events)
            except ContextTooLong:
                return frozenset(), None
            except StopIteration as end:
                return None, end.value
            if isinstance(event, Step) and event.name == "prompt":
                return _numbers(event.detail), None
            if not isinstance(tools.answerer, QuoteAnswerer):
                return None, None


def _numbers(detail: Mapping[str, Any]) -> frozenset[int] | None:
    """The numbers of the passages in a prompt: those it shows, else as many of the first as its step says."""
    shown = "\n".join(str(message["content"]) for message in detail.get("messages", ()))
    numbers = frozenset(int(number) for number in _SHOWN.findall(shown))
    count = detail.get("passages")
    if not isinstance(count, int):
        return numbers or None
    return numbers if len(numbers) == count else frozenset(range(1, count + 1))


def _entry(asked: str, entries: Sequence[Entry]) -> Entry | None:
    """The document of that name or id, or the only one whose name ends so."""
    exact = [e for e in entries if asked in (e.document, e.id)]
    ends = [e for e in entries if f"/{e.document}".lower().endswith(f"/{asked}".lower())]
    return exact[0] if exact else ends[0] if len({e.id for e in ends}) == 1 else None


def _page_facts(page: Page, text: str) -> PageFacts:
    letters = sum(not c.isspace() for c in text)
    return PageFacts(page.number, page.label, letters, page.quality, page.read_by, page.is_unread)


def _holds(passage: Passage, chunk: Chunk) -> bool:
    found = passage.chunk
    return found.document_id == chunk.document_id and found.start <= chunk.start and chunk.end <= found.end


def _place(passages: Sequence[Passage], chunk: Chunk) -> int:
    """The place of a chunk among passages, by its id, from 1; 0 where it is not among them."""
    return next((n for n, passage in enumerate(passages, 1) if passage.chunk.id == chunk.id), 0)


def _furthest(chunk: ChunkFacts) -> tuple[int, ...]:
    """Sorts the chunk that came furthest first; places of 0 count as the last."""
    ranked = min((rank.rank for rank in chunk.ranks.values() if rank is not None), default=0)
    places = (chunk.given, chunk.reranked, chunk.found, chunk.fused, ranked)
    return (-CUTS.index(chunk.cut), *(place or 1 << 62 for place in places))


def _way(chunk: ChunkFacts, *, scores: bool = False) -> str:
    """Where a chunk stood: "57th by meaning and 3rd by words, 14th after the fusion, 12th after the reranking"."""
    by = " and ".join(_thought(name, rank, scores) for name, rank in chunk.ranks.items())
    after = [
        f"{ordinal(place)} {what}"
        for place, what in (
            (chunk.fused, "after the fusion"),
            (chunk.found, "in the list of the search"),
            (chunk.reranked, "after the reranking"),
        )
        if place
    ]
    return ", ".join([by, *after])


def _notes(chunk: ChunkFacts) -> str:
    """What lowered a chunk between the fusion and the list of the search."""
    if not chunk.found:
        return ""
    notes = f"A list of references or contents keeps {LISTED:g} of its score. " if chunk.is_list else ""
    if chunk.behind:
        notes += f"It follows {_count(chunk.behind, 'better passage')} of its page, and keeps {SAME_PAGE:g} for each. "
    return notes


def _thought(name: str, rank: Rank | None, scores: bool) -> str:
    by = _BY.get(name, f"by {name}")
    if rank is None:
        return "nowhere by words, as it has none of the question's" if name == "lexical" else f"nowhere {by}"
    return f"{ordinal(rank.rank)} {by}{f' ({rank.score:.3g})' if scores else ''}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, …"""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
