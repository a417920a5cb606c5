"""Where the gold of a question stands in a library: the spans of its quotes, and how much there is to be found.

A quote is looked for in the whole text of its document, white space, case and hyphens at line ends aside; where it
stands several times, the places on its gold pages count, and all of them where it has no pages. One that is not there
in this way is looked for once more on its pages without any white space, as citations are.

``hit_of`` and ``cite_of`` turn what was found and cited into what records hold, compared with these places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ragapp import citations, finder
from ragapp.catalog import Catalog
from ragapp.eval.dataset import Gold, Question
from ragapp.eval.records import Cite, Hit
from ragapp.types import Citation, Page, Passage

Span = tuple[int, int]
MANY = 100  # places of one quote that are looked at
TEXTS = 8  # documents whose texts are kept at a time
SHORT = 200_000  # characters of a document that is folded letter by letter, which takes a second for a million


@dataclass(frozen=True, slots=True)
class Places:
    """The gold of one question. ``spans`` of quotes that were found are by the id of their document; ``quotes`` were
    looked for, ``missing`` are not there. ``names`` are the question's own names of documents, by id. ``relevant``
    counts what could be found: "passages" are chunks that hold gold, "pages", "documents", "quotes"; each where it is
    known. ``unsure`` are the places whose words are not known, as they have no quote or it was not found: document and
    page, 0 for a whole document. ``absent`` are gold pages, with the names of documents that do not have them.
    """

    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    relevant: Mapping[str, int] = field(default_factory=dict)
    quotes: int = 0
    missing: int = 0
    unsure: frozenset[tuple[str, int]] = frozenset()
    absent: tuple[tuple[str, int], ...] = ()

    def holds(self, document_id: str, page: int, start: int, end: int) -> bool | None:
        """Whether a span of a page overlaps a quote; None where no quote is known, or where one may stand that was
        not found.
        """
        if any(_touch((start, end), span) for span in self.spans.get(document_id, ())):
            return True
        is_unsure = not self.spans or not self.unsure.isdisjoint({(document_id, page), (document_id, 0)})
        return None if is_unsure else False


@dataclass(frozen=True, slots=True)
class _Text:
    """A document's text with the borders of its pages."""

    text: str
    pages: tuple[Page, ...]

    def around(self, numbers: Sequence[int]) -> list[Span]:
        """The spans of pages, each with the beginning of the next one, into which a quote may run."""
        places = {page.number: place for place, page in enumerate(self.pages)}
        known = [places[number] for number in numbers if number in places]
        return [(self.pages[p].start, self.pages[min(p + 1, len(self.pages) - 1)].end) for p in known]


class PlaceFinder:
    """Looks the gold of questions up in one library; a text is read once for questions that follow each other."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._text = lru_cache(TEXTS)(self._read)
        self._chunks = lru_cache(None)(self._cut)

    def find(self, question: Question) -> Places:
        """The places of a question's gold, whose documents are named as the library names them."""
        named = [(g, self._catalog.document_id(g.document)) for g in question.gold if g.relevance > 0]
        gold = [(g, key) for g, key in named if key is not None]
        quoted = [(g, key, self._spans(g, key)) for g, key in gold if g.quote.strip()]
        spans: dict[str, tuple[Span, ...]] = {}
        for _, key, found in quoted:
            if found:
                spans[key] = tuple(sorted({*spans.get(key, ()), *found}))
        lost, missing = {g for g, _, found in quoted if not found}, sum(not found for *_, found in quoted)
        # Also where a quote was not found: its document has a name of its own in the question.
        names = {key: g.document for g, key in reversed(gold)}
        unknown = ((g, key) for g, key in gold if g in lost or not g.quote.strip())
        return Places(
            spans, names, self._relevant(gold, spans, len(quoted), missing), len(quoted), missing,
            frozenset((key, page) for g, key in unknown for page in g.pages or (0,)),
            tuple(dict.fromkeys((g.document, page) for g, key in gold for page in g.pages if not self._has(key, page))),
        )  # fmt: skip

    def _has(self, document_id: str, page: int) -> bool:
        return self._catalog.page(document_id, page) is not None

    def _spans(self, gold: Gold, document_id: str) -> list[Span]:
        held = self._text(document_id)
        found = list(finder.find([held.text], gold.quote, MANY).spans)
        pages = held.around(gold.pages)
        on_pages = [span for span in found if any(_touch(span, page) for page in pages)]
        if on_pages or found:
            return on_pages or found
        for start, end in pages or [(0, min(len(held.text), SHORT))]:
            span = citations.find(gold.quote, held.text[start:end])
            if span is not None:
                return [(start + span[0], start + span[1])]
        return []

    def _relevant(
        self, gold: Sequence[tuple[Gold, str]], spans: Mapping[str, Sequence[Span]], quotes: int, missing: int
    ) -> dict[str, int]:
        if not gold:
            return {}
        counts = {"documents": len({key for _, key in gold})}
        paged = all(g.pages for g, _ in gold)
        pages = {(key, number) for g, key in gold for number in g.pages}
        if paged:
            counts["pages"] = len(pages)
        if quotes:
            counts["quotes"] = quotes - missing
        if not spans and paged:
            counts["passages"] = sum(
                (key, page) in pages for key in {k for k, _ in pages} for *_, page in self._chunks(key)
            )
        elif spans and not missing and all(g.quote.strip() for g, _ in gold):
            counts["passages"] = sum(
                any(_touch((start, end), span) for span in found)
                for key, found in spans.items()
                for start, end, _ in self._chunks(key)
            )
        return counts

    def _read(self, document_id: str) -> _Text:
        rows = self._catalog.page_texts(document_id)
        return _Text("".join(text for _, text in rows), tuple(page for page, _ in rows))

    def _cut(self, document_id: str) -> tuple[tuple[int, int, int], ...]:
        """``(start, end, page)`` of a document's chunks."""
        return tuple((chunk.start, chunk.end, chunk.page) for chunk in self._catalog.chunks_of(document_id))


def _touch(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


# -- what records hold of it -------------------------------------------------------------------------------------------


def hit_of(passage: Passage, places: Places) -> Hit:
    """A passage as records hold it."""
    chunk = passage.chunk
    return Hit(
        # A file that lies there twice has two names; the question's own is the one to compare with.
        document=places.names.get(chunk.document_id, passage.document),
        page=chunk.page,
        chunk=chunk.id,
        start=chunk.start,
        end=chunk.end,
        score=passage.score,
        text=chunk.text,
        found_by=dict(passage.found_by),
        gold=places.holds(chunk.document_id, chunk.page, chunk.start, chunk.end),
    )


def cite_of(citation: Citation, places: Places) -> Cite:
    """A citation as records hold it."""
    document_id = citation.passage.chunk.document_id
    return Cite(
        marker=citation.marker,
        document=places.names.get(document_id, citation.passage.document),
        page=citation.page,
        quote=citation.quote,
        state=citation.state,
        start=citation.start,
        end=citation.end,
        gold=places.holds(document_id, citation.page, citation.start, citation.end),
    )
