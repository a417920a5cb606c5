"""Why a page is, or is not, among the passages of an answer: every fact, every limit that can cut it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.catalog import Catalog
from ragapp.errors import ConfigError
from ragapp.lexicon import Lexicon
from ragapp.quotes import QuoteAnswerer
from ragapp.rerankers import Limited, Reranked
from ragapp.retrievers import Dense, Hybrid, Lexical, fusion
from ragapp.stored import StoredText
from ragapp.testing import FixedTools, document_of
from ragapp.types import Chunk, Document, Passage, Query, Rank
from ragapp.vectors import VectorIndex
from ragapp.why import CUTS, Why, explain, ordinal
from tests import libraries
from tests.toolboxes import Box, Listed, Says, Sure, ranks

PAGES = (
    "The pump has a warranty of two years.",
    "A valve closes the pipe when the pressure falls.",
    "灯塔建于一八八二年，高三十米。",
    "Oil the bearing of the shaft once a month.",
    "The switchboard stands beside the door of the cellar.",
    "In winter the water is let out of all pipes.",
)
QUERY = Query("How long is the warranty?")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Chunks 1 to 6 are the pages of docs/pump.pdf, 7 is a twin of 1 in itself, then a scan and a blank page."""
    made = libraries.open_catalog(tmp_path_factory.mktemp("why"))
    libraries.put(made, document_of(*PAGES, PAGES[0], name="pump.pdf"), "docs/pump.pdf")
    libraries.put(made, scan(), "docs/scan.pdf")
    libraries.put(made, document_of("Another text.", name="x"), "a/same.pdf")
    libraries.put(made, document_of("Yet another text.", name="y"), "b/same.pdf")
    yield made
    made.close()


def scan() -> Document:
    """A picture that nobody read, one that OCR read, and a page with nothing on it."""
    made = document_of("", "Read by a machine.", "", "...", name="scan.pdf")
    image, read, blank, dots = made.pages
    pages = (
        replace(image, quality="image", label="i"),
        replace(read, quality="image", read_by="ocr", words=((0, 4, 0.0, 0.0, 9.0, 9.0),)),
        replace(blank, quality="empty"),
        dots,
    )
    return replace(made, pages=pages)


def hybrid(catalog: Catalog, dense: Sequence[int], lexical: Sequence[int] = (), depth: int = 40) -> Hybrid:
    """A retriever whose rankers find these chunks, the scores falling from 1 by tenths."""
    rankers = {
        name: Listed(*((key, round(1 - place / 10, 1)) for place, key in enumerate(keys)))
        for name, keys in (("dense", dense), ("lexical", lexical))
    }
    return Hybrid(catalog, rankers, fusion("minmax", 0.5, 0.5, 60, 40), depth)


def why(catalog: Catalog, page: int, retriever: Hybrid, document: str = "docs/pump.pdf", **tools: Any) -> Why:
    query = tools.pop("query", QUERY)
    return explain(query, document, page, catalog=catalog, retriever=retriever, tools=Box(retriever, **tools))


ALL = (2, 3, 4, 5, 6, 1)  # the page of the warranty is the last


# -- document, page, chunks --------------------------------------------------------------------------------------------


def test_a_document_that_is_not_there_has_near_names(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL), "docs/pumps.pdf")
    assert (found.document, found.chunks, found.is_given) == ("", (), False)
    assert "docs/pump.pdf" in found.near
    assert list(found.sentences()) == [
        f"There is no document docs/pumps.pdf in the library. Is it {' or '.join(found.near)}?"
    ]
    assert list(why(catalog, 1, hybrid(catalog, ALL), "zzz").sentences()) == [
        "There is no document zzz in the library."
    ]
    assert found.as_dict()["cut"] == "document"


@pytest.mark.parametrize("name", ["docs/pump.pdf", "pump.pdf", "PUMP.PDF"])
def test_a_document_is_known_by_its_name_or_the_end_of_it(catalog: Catalog, name: str) -> None:
    assert why(catalog, 1, hybrid(catalog, ALL), name).document == "docs/pump.pdf"


def test_a_document_is_known_by_its_id_and_not_by_an_end_that_two_share(catalog: Catalog) -> None:
    (entry,) = (e for e in catalog.entries() if e.document == "docs/pump.pdf")
    assert why(catalog, 1, hybrid(catalog, ALL), entry.id).document == "docs/pump.pdf"
    assert why(catalog, 1, hybrid(catalog, ALL), "same.pdf").document == ""
    assert why(catalog, 1, hybrid(catalog, ALL), "ump.pdf").document == ""


def test_a_page_that_is_not_there(catalog: Catalog) -> None:
    found = why(catalog, 9, hybrid(catalog, ALL))
    assert (found.pages, found.facts, found.as_dict()["cut"]) == (7, None, "page")
    assert list(found.sentences()) == ["docs/pump.pdf has 7 pages: there is no page 9."]


def test_how_a_page_was_read(catalog: Catalog) -> None:
    unread, read, blank, dots = (why(catalog, n, hybrid(catalog, ALL), "scan.pdf") for n in (1, 2, 3, 4))
    assert unread.facts is not None
    assert (unread.facts.is_unread, unread.facts.quality, unread.facts.characters) == (True, "image", 0)
    assert list(unread.sentences()) == [
        "Page 1 (i) of docs/scan.pdf could not be read: the file holds a picture of it and no text, "
        "and no OCR has read it.",
        "No chunk lies on it, so no search can find it.",
    ]
    first = next(read.sentences())
    assert first == (
        "Page 2 of docs/scan.pdf was read by OCR, as the file holds a picture of it and no text: 15 characters."
    )
    assert next(blank.sentences()) == "Page 3 of docs/scan.pdf was read from the file, and holds no text."
    assert next(dots.sentences()) == "Page 4 of docs/scan.pdf was read from the file: 3 characters."
    assert (unread.as_dict()["cut"], read.as_dict()["cut"]) == ("chunk", "search.depth")


def test_chunks_of_the_page_are_told_with_their_places(catalog: Catalog) -> None:
    found = why(catalog, 3, hybrid(catalog, ALL, [5, 3, 2]))
    (chunk,) = found.chunks
    stored = catalog.document(chunk_document(catalog, chunk.id)).text
    assert (chunk.id, chunk.page, stored[chunk.start : chunk.end]) == (3, 3, PAGES[2])
    assert chunk.words == PAGES[2]
    assert chunk.ranks == ranks(dense=(2, 0.9), lexical=(2, 0.9))
    assert (chunk.found, chunk.reranked, chunk.given) == (chunk.fused,) * 3
    assert found.is_given


def chunk_document(catalog: Catalog, key: int) -> str:
    return catalog.chunks([key])[key][0].document_id


def test_a_chunk_that_begins_on_the_page_before(tmp_path: Path) -> None:
    made = libraries.open_catalog(tmp_path)
    document = document_of("The end of the first", "and the second page, which is longer.")
    chunk = Chunk(0, document.id, document.text.rstrip(), 0, len(document.text.rstrip()), 2)
    vectors = libraries.vectors_of([chunk])
    made.put(libraries.row(document, "a.pdf"), document, [chunk], vectors, libraries.FINGERPRINT)
    first, second = (why(made, n, hybrid(made, [1]), "a.pdf") for n in (1, 2))
    assert first.chunks == second.chunks
    assert first.is_given
    assert "Chunk 1, most of it on page 2 “The end of the first and the second page" in list(first.sentences())[-1]
    assert "most of it" not in list(second.sentences())[-1]
    made.close()


def test_a_search_that_is_not_ours_is_not_explained(catalog: Catalog) -> None:
    tools = FixedTools()
    with pytest.raises(ConfigError, match="FixedTools does not say"):
        explain(QUERY, "docs/pump.pdf", 1, catalog=catalog, retriever=tools, tools=tools)


# -- limits ------------------------------------------------------------------------------------------------------------


def verdict(found: Why) -> str:
    """What cut the page, after its sentences were seen to say so."""
    text = " ".join(found.sentences())
    assert found.best is not None
    assert not found.best.cut or found.best.cut in text or found.best.cut in ("same", "where", "reranker", "gatherer")
    assert found.as_dict()["cut"] == found.best.cut
    assert found.is_given == (found.best.cut == "")
    json.dumps(found.as_dict())
    return found.best.cut


def test_a_page_that_is_given_to_the_answer(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL, [1]))
    assert verdict(found) == ""
    assert found.best is not None
    assert found.best.given == found.best.found == found.best.reranked == found.best.fused > 0
    assert "1st by words" in list(found.sentences())[1]
    assert f"It is in passage {found.best.given} of the answer." in list(found.sentences())[1]


def test_cut_by_the_depth_of_the_search(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL, depth=2), depth=2, k=2)
    assert verdict(found) == "search.depth"
    assert found.limits["search.depth"] == 4
    assert found.best is not None
    assert found.best.ranks == ranks(dense=(6, 0.5), lexical=None)
    assert found.best.fused == 0  # the last that is ranked at all counts nothing
    assert list(found.sentences())[1] == (
        "It has 1 chunk; it was 6th by meaning and nowhere by words, as it has none of the question's. "
        "Only 4 candidates of each ranker are weighed: cut by search.depth."
    )
    fifth = why(catalog, 6, hybrid(catalog, ALL, depth=2), depth=2, k=2)
    assert fifth.best is not None
    assert (fifth.best.fused, fifth.best.found, verdict(fifth)) == (5, 0, "search.depth")


def test_cut_as_nobody_found_it(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, [2, 3], [4]))
    assert verdict(found) == "search.depth"
    assert found.best is not None
    assert found.best.ranks == ranks(dense=None, lexical=None)


def test_cut_by_the_candidates_of_the_reranker(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL), depth=3, k=3)
    assert verdict(found) == "reranker.candidates"
    assert "Only 3 candidates go on to the reranker" in list(found.sentences())[1]


def test_the_documents_that_a_question_names(catalog: Catalog) -> None:
    class Names:
        def __init__(self, document: str) -> None:
            self.document = document

        def named(self, question: str) -> dict[str, float]:
            assert question == QUERY.text
            return {e.id: 1.0 for e in catalog.entries() if e.document == self.document}

    ours, other = (
        replace(hybrid(catalog, ALL), router=Names(name), route_weight=2.0)  # type: ignore[arg-type]
        for name in ("docs/pump.pdf", "a/same.pdf")
    )
    lifted, passed = (why(catalog, 1, retriever, k=3) for retriever in (ours, other))
    assert (lifted.named, passed.named) == (("docs/pump.pdf",), ("a/same.pdf",))
    assert lifted.best is not None
    assert lifted.best.ranks == {**ranks(dense=(6, 0.5), lexical=None), "route": Rank(6, 0.0)}
    assert "6th in the documents that the question names" in list(lifted.sentences())[1]
    assert "The question names other documents, which come first: a/same.pdf." in list(passed.sentences())
    assert not any("other documents" in line for line in lifted.sentences())


def test_a_chunk_of_a_named_document_is_weighed_however_deep_it_lies(catalog: Catalog) -> None:
    entries = {e.document: e for e in catalog.entries()}
    others = [c.id for name in ("a/same.pdf", "b/same.pdf") for c in catalog.chunks_of(entries[name].id)]

    class Names:
        def named(self, question: str) -> dict[str, float]:
            return {entries["docs/pump.pdf"].id: 1.0}

    plain = hybrid(catalog, [*others, 2, 3], [*others, 4, 5], depth=2)
    named = replace(plain, router=Names(), route_weight=0.01)  # type: ignore[arg-type]
    found = [why(catalog, 5, retriever, depth=1, k=1) for retriever in (plain, named)]
    assert [verdict(each) for each in found] == ["search.depth", "reranker.candidates"]


def test_what_lowers_a_chunk_is_told(tmp_path: Path) -> None:
    made = libraries.open_catalog(tmp_path)
    contents = "Pumps ......... 3\nValves ........ 5\nShafts ........ 9"
    document = document_of("The pump is old. The valve is new.", contents)
    at = document.pages[1].start
    chunks = [
        Chunk(0, document.id, document.text[a:b], a, b, n)
        for a, b, n in ((0, 16, 1), (17, 34, 1), (at, at + len(contents), 2))
    ]
    made.put(libraries.row(document, "a.pdf"), document, chunks, libraries.vectors_of(chunks), libraries.FINGERPRINT)
    first, second = (why(made, n, hybrid(made, [1, 2, 3]), "a.pdf") for n in (1, 2))
    assert [(c.behind, c.is_list) for c in (*first.chunks, *second.chunks)] == [(0, False), (1, False), (0, True)]
    told = list(first.sentences())
    assert "better passage" not in told[2]
    assert "It follows 1 better passage of its page, and keeps 0.7 for each." in told[3]
    assert "A list of references or contents keeps 0.5 of its score." in list(second.sentences())[2]
    made.close()


def test_cut_by_the_passages_of_the_answer(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL), k=5)
    assert verdict(found) == "answer.passages"
    assert found.best is not None
    assert (found.best.found, found.best.reranked, found.best.given) == (6, 6, 0)
    assert "6th after the reranking. Only 5 passages are given to the answer" in list(found.sentences())[1]


def test_cut_as_a_duplicate(catalog: Catalog) -> None:
    found = why(catalog, 7, hybrid(catalog, [1, 2, 7, 3]))
    assert verdict(found) == "same"
    assert found.best is not None
    assert found.best.same_as == "docs/pump.pdf, page 1 (chunk 1)"
    assert "It says the same as docs/pump.pdf, page 1 (chunk 1)" in list(found.sentences())[1]


def test_cut_by_the_filter_of_the_question(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL), query=Query("warranty", where=("a/*",)))
    assert verdict(found) == "where"
    (other,) = (c.id for e in catalog.entries() if e.document == "a/same.pdf" for c in catalog.chunks_of(e.id))
    inside = why(catalog, 1, hybrid(catalog, [other, 2, 1]), query=Query("warranty", where=("docs/*",)))
    assert verdict(inside) == ""
    # Ranks are those among what the filter lets through.
    assert inside.best is not None
    assert inside.best.ranks["dense"] == Rank(2, 0.8)


class Drops:
    """A reranker that drops the first passage and turns the others round."""

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        assert question == QUERY.text
        return list(passages[:0:-1])


def test_cut_or_raised_by_the_reranker(catalog: Catalog) -> None:
    dropped = why(catalog, 2, hybrid(catalog, ALL), reranker=Drops())
    assert verdict(dropped) == "reranker"
    assert "The reranker dropped it." in list(dropped.sentences())[1]
    raised = why(catalog, 1, hybrid(catalog, ALL), reranker=Drops(), k=1)
    assert verdict(raised) == ""
    assert raised.best is not None
    assert (raised.best.found, raised.best.reranked, raised.best.given) == (6, 1, 1)


def test_the_warning_of_a_reranker_is_told(catalog: Catalog) -> None:
    class Slow(Limited):
        def rerank_noted(self, question: str, passages: Sequence[Passage]) -> Reranked:
            return Reranked(tuple(passages), "The reranker X did not finish in 5 s.")

    found = why(catalog, 1, hybrid(catalog, ALL), reranker=Slow(Drops(), 1), k=3)
    assert verdict(found) == "answer.passages"
    assert "The reranker X did not finish in 5 s." in list(found.sentences())


def test_cut_by_the_judge(catalog: Catalog) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL), judge=Sure(0.31, 0.5))
    assert verdict(found) == "answer.threshold"
    assert (found.confidence, found.limits["answer.threshold"]) == (0.31, 0.5)
    assert "a probability of 0.31 only; from 0.5 on" in list(found.sentences())[1]
    assert verdict(why(catalog, 1, hybrid(catalog, ALL), judge=Sure(0.5, 0.5))) == ""
    # What had not come so far was cut before that.
    assert verdict(why(catalog, 1, hybrid(catalog, ALL), judge=Sure(0.1), k=2)) == "answer.passages"


@pytest.mark.parametrize("answerer", [Says(room=5), Says(numbers=[1, 2, 3, 4, 5, 7]), Says(numbers=[])])
def test_cut_by_the_window_of_the_model_which_is_not_asked(catalog: Catalog, answerer: Says) -> None:
    found = why(catalog, 1, hybrid(catalog, ALL), answerer=answerer)
    assert verdict(found) == "chat.context_tokens"
    assert not answerer.is_asked
    assert verdict(why(catalog, 2, hybrid(catalog, ALL), answerer=Says(room=1))) == ""


class Joins:
    """Joins the passages of a document into one, from the first's begin to the last's end, or gives nothing."""

    def __init__(self, nothing: bool = False) -> None:
        self.nothing = nothing

    def gather(self, query: Query, passages: Sequence[Passage]) -> list[Passage]:
        if self.nothing:
            return []
        start, end = min(p.chunk.start for p in passages), max(p.chunk.end for p in passages)
        return [replace(passages[0], chunk=replace(passages[0].chunk, start=start, end=end))]


def test_what_a_neighbour_brought_along_is_given(catalog: Catalog) -> None:
    found = why(catalog, 3, hybrid(catalog, [1, 5, 3]), gatherer=Joins(), k=2)
    assert verdict(found) == ""
    assert found.best is not None
    assert (found.best.reranked, found.best.given) == (3, 1)
    left_out = why(catalog, 1, hybrid(catalog, [1, 5, 3]), gatherer=Joins(nothing=True), k=2)
    assert verdict(left_out) == "gatherer"


def test_the_best_of_several_chunks_is_the_one_that_came_furthest(tmp_path: Path) -> None:
    made = libraries.open_catalog(tmp_path)
    document = document_of("The pump is old. The valve is new. The shaft is long.")
    spans = [(0, 16), (17, 34), (35, 53)]
    chunks = [Chunk(0, document.id, document.text[a:b], a, b, 1) for a, b in spans]
    vectors = libraries.vectors_of(chunks)
    made.put(libraries.row(document, "a.pdf"), document, chunks, vectors, libraries.FINGERPRINT)
    found = why(made, 1, hybrid(made, [2, 3, 1]), "a.pdf", k=1)
    assert found.best is not None
    assert (found.best.id, [c.cut for c in found.chunks]) == (2, ["answer.passages", "", "answer.passages"])
    said = list(found.sentences())
    assert said[1].startswith("It has 3 chunks; the best was 1st by meaning")
    assert [line.split("“")[1].split("”")[0] for line in said[2:]] == [chunk.text for chunk in chunks]
    assert "3rd by meaning (0.8)" in said[2]
    crowded = why(made, 1, hybrid(made, [2, 3, 1]), "a.pdf", answerer=Says(numbers=[2]))
    assert crowded.best is not None
    assert (crowded.best.id, crowded.best.given, crowded.is_given) == (3, 2, True)
    lost = why(made, 1, hybrid(made, [2, 3]), "a.pdf", k=1, judge=Sure(0))
    assert lost.best is not None
    assert (lost.best.id, lost.best.cut) == (2, "answer.threshold")
    made.close()


@pytest.mark.parametrize(("asked", "page"), [("How long is the warranty of the pump?", 1), ("灯塔建于哪一年？", 3)])
def test_the_whole_way_with_the_real_rankers(catalog: Catalog, asked: str, page: int) -> None:
    lexicon, vectors = Lexicon(catalog), VectorIndex(catalog, libraries.FINGERPRINT)
    rankers = {"dense": Dense(vectors, libraries.EMBEDDER, catalog), "lexical": Lexical(lexicon)}
    retriever = Hybrid(catalog, rankers, fusion("minmax", 0.5, 0.2, 60, 40), 40)
    quotes = QuoteAnswerer(libraries.EMBEDDER, lexicon, StoredText(catalog), 1)
    query = Query(asked)
    found = why(catalog, page, retriever, query=query, answerer=quotes, k=4)
    others = [why(catalog, n, retriever, query=query, answerer=quotes, k=4) for n in range(1, 7) if n != page]
    assert found.best is not None
    assert found.best.ranks["lexical"] is not None
    assert (found.best.ranks["lexical"].rank, found.best.given, found.cited) == (1, 1, True)
    assert "The answer quotes it." in list(found.sentences())
    assert not any(other.cited for other in others)
    assert {other.best.ranks["lexical"] for other in others if other.best} >= {None}
    inside = why(catalog, page, retriever, query=replace(query, where=("docs/*",)), answerer=quotes)
    assert verdict(inside) == ""
    lexicon.close()
    vectors.close()


@given(st.permutations(range(1, 8)), st.permutations(range(1, 8)), st.data())
def test_what_is_said_is_what_happens(
    catalog: Catalog, dense: list[int], lexical: list[int], data: st.DataObject
) -> None:
    lexical = lexical[: data.draw(st.integers(0, 7))]
    k, depth, weighed = (data.draw(st.integers(1, 8)) for _ in range(3))
    retriever = hybrid(catalog, dense, lexical, weighed)
    given = [p.chunk.id for p in retriever.retrieve(QUERY, depth)[:k]]
    for page in range(1, 8):
        found = why(catalog, page, retriever, k=k, depth=depth)
        (chunk,) = found.chunks
        assert (verdict(found) == "") == (page in given)
        assert chunk.cut in CUTS
        assert chunk.given == (given.index(page) + 1 if page in given else 0)
        assert chunk.ranks["dense"] == Rank(dense.index(page) + 1, round(1 - dense.index(page) / 10, 1))
        assert not any("unknown" in line or "None" in line for line in found.sentences())


@given(st.integers(1, 10**6))
def test_ordinals(number: int) -> None:
    said = ordinal(number)
    assert int(said[:-2].replace(",", "")) == number
    assert said.endswith({1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number // 10 % 10 != 1 else "th")
