"""Fusion, near-duplicates, filters, routing, hypotheses, and what is said about who found what."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import retrievers
from ragapp.catalog import Catalog
from ragapp.lexicon import Lexicon
from ragapp.retrievers import (
    LISTED,
    SAME_PAGE,
    Dense,
    Fusion,
    Hybrid,
    Lexical,
    Ranker,
    Scores,
    fusion,
    is_list,
    is_same,
    min_max,
    reciprocal_rank,
)  # fmt: skip
from ragapp.routing import Router
from ragapp.testing import document_of, passage_of
from ragapp.types import Chunk, Document, Query, Rank
from ragapp.vectors import VectorIndex
from tests.libraries import EMBEDDER, FINGERPRINT, open_catalog, put, row, vectors_of

RANKING = st.lists(st.tuples(st.integers(1, 12), st.floats(-5, 5, width=32)), max_size=8, unique_by=lambda p: p[0]).map(
    lambda pairs: sorted(pairs, key=lambda p: (-p[1], p[0]))
)
FOUND = st.fixed_dictionaries({"dense": RANKING, "lexical": RANKING})
HALF = {"dense": 0.5, "lexical": 0.5}
METHOD = st.sampled_from(
    [fusion("minmax", 0.5, 0.2, 60, 100), fusion("minmax", 0.2, 0.2, 60, 4), fusion("rrf", 0.5, 0.2, 60, 9)]
)
QUESTION = "question"


def rrf() -> Fusion:
    return fusion("rrf", 0.5, 0.5, 60, 100)


# -- fusion ------------------------------------------------------------------------------------------------------------


@given(FOUND, METHOD)
def test_fusion_gives_everything_found_once_best_first(found: Mapping[str, Scores], fuse: Fusion) -> None:
    fused = fuse(QUESTION, found)
    assert sorted(key for key, _ in fused) == sorted({key for scores in found.values() for key, _ in scores})
    assert fused == sorted(fused, key=lambda pair: (-pair[1], pair[0]))


@given(FOUND, METHOD)
def test_the_order_of_the_rankers_makes_no_difference(found: Mapping[str, Scores], fuse: Fusion) -> None:
    other = fuse(QUESTION, dict(reversed(list(found.items()))))
    assert dict(fuse(QUESTION, found)) == pytest.approx(dict(other))


@given(FOUND, st.floats(0, 1), st.integers(1, 10))
def test_min_max_is_between_0_and_1(found: Mapping[str, Scores], weight: float, depth: int) -> None:
    fused = min_max(found, {"dense": weight, "lexical": 1 - weight}, depth)
    assert all(0 <= score <= 1 + 1e-9 for _, score in fused)


@given(FOUND, st.integers(1, 100))
def test_reciprocal_rank_is_bounded(found: Mapping[str, Scores], constant: int) -> None:
    fused = reciprocal_rank(found, HALF, constant)
    assert all(0 < score <= 1 / (constant + 1) + 1e-9 for _, score in fused)


@given(FOUND, st.floats(0.5, 3, width=32), st.floats(-5, 5, width=32))
def test_min_max_does_not_depend_on_a_rankers_scale(found: Mapping[str, Scores], factor: float, shift: float) -> None:
    moved = {**found, "lexical": [(key, score * factor + shift) for key, score in found["lexical"]]}
    spread = [score for _, score in found["lexical"]]
    if spread and 0 < max(spread) - min(spread) < 1e-3:
        return  # what a float can tell apart before and after is not the point
    assert dict(min_max(moved, HALF, 100)) == pytest.approx(dict(min_max(found, HALF, 100)), abs=1e-3)


@given(FOUND, st.integers(1, 6), st.integers(0, 6))
def test_what_lies_below_the_depth_of_min_max_changes_nothing_above(
    found: Mapping[str, Scores], depth: int, more: int
) -> None:
    """A longer list of results starts like a shorter one."""
    cut = {name: scores[:depth] for name, scores in found.items()}
    longer = {name: scores[: depth + more] for name, scores in found.items()}
    short, long = dict(min_max(cut, HALF, depth)), dict(min_max(longer, HALF, depth))
    assert short == {key: pytest.approx(long[key]) for key in short}


@given(FOUND, METHOD)
def test_better_in_both_is_better_in_all(found: Mapping[str, Scores], fuse: Fusion) -> None:
    fused = dict(fuse(QUESTION, found))
    places = [{key: place for place, (key, _) in enumerate(scores)} for scores in found.values()]
    for one, score in fused.items():
        for other, less in fused.items():
            if all(one in p and (other not in p or p[one] < p[other]) for p in places):
                assert score >= less


def test_fusion_in_numbers() -> None:
    found = {"dense": [(1, 0.9), (2, 0.5), (3, 0.1)], "lexical": [(2, 12.0), (4, 2.0)]}
    assert dict(min_max(found, HALF, 100)) == pytest.approx({1: 0.5, 2: 0.75, 3: 0, 4: 0})
    assert dict(min_max(found, HALF, 2)) == pytest.approx({1: 0.5, 2: 0.5, 3: 0, 4: 0})
    weights = {"dense": 0.75, "lexical": 0.25}
    expected = {1: 0.75 / 61, 2: 0.75 / 62 + 0.25 / 61, 3: 0.75 / 63, 4: 0.25 / 62}
    assert dict(reciprocal_rank(found, weights, 60)) == pytest.approx(expected)
    assert min_max({"dense": [(1, 0.4), (2, 0.4)]}, {"dense": 0.7}, 5) == [(1, 0.7), (2, 0.7)]
    assert min_max({"dense": [(1, 0.4), (2, 0.4), (3, 0.1)]}, {"dense": 0.7}, 2) == [(1, 0.7), (2, 0.7), (3, 0)]
    assert min_max({"dense": [], "lexical": []}, {}, 5) == reciprocal_rank({}, {}, 60) == []


def test_chinese_questions_have_a_weight_of_their_own() -> None:
    fuse = fusion("minmax", 0.5, 0.25, 60, 100)
    found = {"dense": [(1, 0.9)], "lexical": [(2, 12.0)]}
    assert dict(fuse("cash", found)) == {1: 0.5, 2: 0.5}
    assert dict(fuse("现金", found)) == {1: 0.25, 2: 0.75}


# -- near-duplicates ---------------------------------------------------------------------------------------------------

TEXT = document_of(
    "one two three four five six seven eight nine ten",
    "one two three four five six seven eight nine ten",
    "other words are here",
)
COPY = document_of("one two three four five six seven eight nine ten")


def part(document: Document, start: int, end: int) -> Chunk:
    return passage_of(document, start, end).chunk


def test_is_same() -> None:
    first, second, third = (part(TEXT, page.start, page.end) for page in TEXT.pages)
    assert is_same(first, first)
    assert is_same(first, second)  # the same words on another page
    assert not is_same(first, third)
    assert not is_same(first, part(COPY, 0, len(COPY.text)))  # another document is another source
    assert is_same(part(TEXT, 0, 30), part(TEXT, 10, 90))  # overlap of more than half of the shorter
    assert not is_same(part(TEXT, 0, 30), part(TEXT, 20, 90))


@given(st.integers(0, 90), st.integers(1, 20), st.integers(0, 90), st.integers(1, 20))
def test_is_same_knows_no_order(start: int, length: int, other: int, size: int) -> None:
    end = len(TEXT.text)
    one = part(TEXT, start, min(end, start + length))
    two = part(TEXT, other, min(end, other + size))
    assert is_same(one, two) == is_same(two, one)
    assert is_same(one, one)


# -- the hybrid --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed:
    scores: Scores

    def rank(self, query: Query, k: int) -> Scores:
        return self.scores[:k]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_catalog(tmp_path)
    for name, pages in {
        "fruit/apples.pdf": ["Apples are red.", "Pears are green.", "Apples are red."],
        "fruit/plums.pdf": ["Plums are blue.", "Apples are red."],
        "boats.pdf": ["Boats float.", "Sails are white."],
    }.items():
        put(made, document_of(*pages, name=name), name)
    yield made
    made.close()


def test_found_by_says_who_found_it_at_which_place(catalog: Catalog) -> None:
    hybrid = Hybrid(catalog, {"dense": Fixed([(2, 0.9), (4, 0.8)]), "lexical": Fixed([(4, 7.5)])}, rrf(), 10)
    first, second = hybrid.retrieve(Query("q"), 5)
    assert (first.chunk.id, first.found_by) == (4, {"dense": Rank(2, 0.8), "lexical": Rank(1, 7.5)})
    assert (second.chunk.id, second.found_by) == (2, {"dense": Rank(1, 0.9)})
    assert (first.document, first.chunk.text) == ("fruit/plums.pdf", "Plums are blue.")


def test_duplicates_of_a_document_collapse_and_others_take_their_place(catalog: Catalog) -> None:
    scores = [(1, 0.9), (3, 0.8), (5, 0.7), (2, 0.6), (6, 0.5)]
    hybrid = Hybrid(catalog, {"dense": Fixed(scores)}, rrf(), 10)
    assert [p.chunk.id for p in hybrid.retrieve(Query("q"), 10)] == [1, 5, 2, 6]
    for k in range(1, 5):
        assert [p.chunk.id for p in hybrid.retrieve(Query("q"), k)] == [1, 5, 2, 6][:k]


def test_nothing_is_found_where_nothing_is_wanted(catalog: Catalog) -> None:
    hybrid = Hybrid(catalog, {"dense": Fixed([(1, 0.9), (2, 0.8)])}, rrf(), 10)
    assert hybrid.retrieve(Query("q"), 0) == hybrid.retrieve(Query("q"), -1) == []


def test_pages_take_turns(tmp_path: Path) -> None:
    document = document_of("Apples are red here. Pears are green there. Nuts lie around.", "Boats float.")
    cuts = [(0, 20), (21, 43), (44, 60), (document.pages[1].start, document.pages[1].start + 12)]
    chunks = [Chunk(0, document.id, document.text[a:b], a, b, 1 if b <= 60 else 2) for a, b in cuts]
    catalog = open_catalog(tmp_path)
    catalog.put(row(document, "a.pdf"), document, chunks, vectors_of(chunks), FINGERPRINT)
    ranked = {"dense": Fixed([(1, 1.0), (2, 0.9), (3, 0.8), (4, 0.6)])}
    found = Hybrid(catalog, ranked, lambda question, lists: list(lists["dense"]), 10).retrieve(Query("q"), 4)
    assert [p.chunk.id for p in found] == [1, 2, 4, 3]
    assert [p.score for p in found] == pytest.approx([1.0, 0.9 * SAME_PAGE, 0.6, 0.8 * SAME_PAGE**2])
    catalog.close()


def best_of_all(catalog: Catalog, scores: Scores) -> list[tuple[int, float]]:
    """The whole order, by looking at every chunk."""
    rows = catalog.chunks(key for key, _ in scores)
    weighed = [(key, score * (LISTED if is_list(rows[key][0]) else 1.0)) for key, score in scores if key in rows]
    kept: list[tuple[int, float]] = []
    pages: Counter[tuple[str, int]] = Counter()
    for key, score in sorted(weighed, key=lambda pair: (-pair[1], pair[0])):
        chunk = rows[key][0]
        if not any(is_same(chunk, rows[other][0]) for other, _ in kept):
            kept.append((key, score * SAME_PAGE ** pages[chunk.document_id, chunk.page]))
            pages[chunk.document_id, chunk.page] += 1
    return sorted(kept, key=lambda pair: (-pair[1], pair[0]))


@given(st.lists(st.integers(0, 8), min_size=20, max_size=20), st.integers(1, 7), st.integers(1, 3))
def test_what_is_not_read_is_none_of_the_best(tenths: list[int], k: int, ahead: int) -> None:
    with tempfile.TemporaryDirectory() as folder, library(Path(folder)) as catalog:
        documents = [document_of("apples pears nuts plums", f"boats sails apples {name}", name=name) for name in "abc"]
        for name, document in zip("abc", documents, strict=True):
            spans = [(match.group(), *match.span()) for match in re.finditer(r"\w+", document.text)]
            chunks = [
                Chunk(0, document.id, word, start, end, 1 + (place > 3), ("References",) * (word == "nuts"))
                for place, (word, start, end) in enumerate(spans)
            ]
            catalog.put(row(document, name), document, chunks, vectors_of(chunks), FINGERPRINT)
        catalog.drop([row(documents[1], "b").uri])
        # Ties are many, and a chunk in three belongs to a document that has just been dropped.
        scores = sorted(((key, tenth / 10) for key, tenth in enumerate(tenths, 3)), key=lambda p: (-p[1], p[0]))
        hybrid = Hybrid(catalog, {"dense": Fixed(scores)}, lambda question, lists: list(lists["dense"]), 50)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retrievers, "READ_AHEAD", ahead)
            found = [(p.chunk.id, p.score) for p in hybrid.retrieve(Query("q"), k)]
        assert found == best_of_all(catalog, scores)[:k]


# -- parents -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Catalog]:
    """Chunks 1 and 2 under one parent that crosses a page, 3 under another, 4 without one."""
    document = document_of("Apples are red. They grow", "on trees. Pears are green.", "Boats float. Sails are white.")
    text = document.text
    spans = ["Apples are red.", "on trees.", "Pears are green.", "Sails are white."]
    places = [(text.index(words), text.index(words) + len(words)) for words in spans]
    parents = [(0, places[1][1]), (0, places[1][1]), places[2], None]
    chunks = [
        Chunk(0, document.id, text[a:b], a, b, page, ("Fruit",), "header", parent)
        for (a, b), page, parent in zip(places, (1, 2, 2, 3), parents, strict=True)
    ]
    made = open_catalog(tmp_path)
    made.put(row(document, "a.pdf"), document, chunks, vectors_of(chunks), FINGERPRINT)
    yield made
    made.close()


def test_chunks_of_one_parent_are_one_passage_with_the_parents_text(family: Catalog) -> None:
    hybrid = Hybrid(family, {"dense": Fixed([(2, 0.9), (1, 0.8), (4, 0.7), (3, 0.6)])}, rrf(), 10)
    found = hybrid.retrieve(Query("q"), 5)
    assert [p.chunk.text for p in found] == [
        "Apples are red. They grow\non trees.", "Sails are white.", "Pears are green."
    ]  # fmt: skip
    best = found[0].chunk
    assert (best.id, best.page, best.start, best.end, best.headings) == (2, 2, 0, 35, ("Fruit",))
    assert found[0].found_by == {"dense": Rank(1, 0.9)}
    assert found[0].score == pytest.approx(0.5 / 61)
    # The second parent of page 2 waits for its turn like any passage.
    assert found[2].score == pytest.approx(0.5 / 64 * SAME_PAGE)
    for k in range(1, 4):
        assert [p.chunk.id for p in hybrid.retrieve(Query("q"), k)] == [2, 4, 3][:k]


def test_a_chunk_whose_document_goes_while_it_is_looked_up_is_given_as_it_is(
    family: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "pages", lambda *span: [])
    (found,) = Hybrid(family, {"dense": Fixed([(2, 0.9)])}, rrf(), 10).retrieve(Query("q"), 5)
    assert (found.chunk.text, found.chunk.start) == ("on trees.", 26)


def test_chunks_that_were_dropped_meanwhile_are_passed_over(catalog: Catalog) -> None:
    catalog.drop(["file:///docs/boats.pdf"])
    hybrid = Hybrid(catalog, {"dense": Fixed([(6, 0.9), (4, 0.5)])}, rrf(), 10)
    assert [p.chunk.id for p in hybrid.retrieve(Query("q"), 5)] == [4]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((), {"fruit/apples.pdf", "fruit/plums.pdf", "boats.pdf"}),
        (("fruit/*",), {"fruit/apples.pdf", "fruit/plums.pdf"}),
        (("boats.pdf", "*plums*"), {"boats.pdf", "fruit/plums.pdf"}),
        (("BOATS.pdf",), set()),
        (("*/boats.pdf",), set()),
    ],
)
def test_where_keeps_only_documents_of_these_names(
    catalog: Catalog, where: tuple[str, ...], expected: set[str]
) -> None:
    lexicon = Lexicon(catalog)
    rankers: dict[str, Ranker] = {
        "dense": Dense(VectorIndex(catalog, FINGERPRINT), EMBEDDER),
        "lexical": Lexical(lexicon),
    }
    hybrid = Hybrid(
        catalog, rankers, fusion("minmax", 0.5, 0.5, 60, 100), 2
    )  # fewer candidates than the filter takes away
    found = hybrid.retrieve(Query("are boats red", where=where), 10)
    assert {passage.document for passage in found} == expected
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    lexicon.close()


def test_where_in_an_empty_library(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    lexicon = Lexicon(catalog)
    rankers: dict[str, Ranker] = {
        "dense": Dense(VectorIndex(catalog, FINGERPRINT), EMBEDDER),
        "lexical": Lexical(lexicon),
    }
    hybrid = Hybrid(catalog, rankers, fusion("minmax", 0.5, 0.5, 60, 100), 10)
    assert hybrid.retrieve(Query("anything", where=("*",)), 5) == []
    lexicon.close()
    catalog.close()


@pytest.mark.parametrize("focused", [True, False])
def test_a_filter_changes_nothing_but_what_is_left_out(tmp_path: Path, focused: bool) -> None:
    """Also where everything that fits lies far below what does not."""
    with library(tmp_path) as catalog:
        for number in range(60):
            put(catalog, document_of(f"Apples and pears number {number}.", "Apples."), f"many/{number}.pdf")
        put(catalog, document_of("Apples grow on old trees, by the wall of a garden.", "Nothing else."), "few/one.pdf")
        lexicon = Lexicon(catalog)
        dense = Dense(VectorIndex(catalog, FINGERPRINT), EMBEDDER, catalog if focused else None)
        rankers: dict[str, Ranker] = {"dense": dense, "lexical": Lexical(lexicon)}
        hybrid = Hybrid(catalog, rankers, fusion("minmax", 0.5, 0.5, 60, 100), 3)
        found = hybrid.retrieve(Query("apples", where=("few/*",)), 5)
        assert {p.document for p in found} == {"few/one.pdf"}
        assert found[0].chunk.page == 1
        both = ("lexical", "dense")
        ranks = {name: dict(ranker.rank(Query("apples"), 1000)) for name, ranker in rankers.items()}
        for passage in found:
            for name in both:
                if name in passage.found_by:
                    assert passage.found_by[name].score == pytest.approx(ranks[name][passage.chunk.id], rel=1e-5)
        assert [p.found_by["dense"].rank for p in found] == [1, 2]
        lexicon.close()


def test_a_filter_does_not_search_everything(tmp_path: Path) -> None:
    asked: list[int] = []

    class Watched:
        def rank(self, query: Query, k: int) -> Scores:
            asked.append(k)
            return [(key, 1.0 - key / 1000) for key in range(1, k + 1)]

    with library(tmp_path) as catalog:
        pages = [f"Page of words {number}" for number in range(400)]
        put(catalog, document_of(*pages[:8]), "first.pdf")
        put(catalog, document_of(*pages[8:]), "rest.pdf")
        hybrid = Hybrid(catalog, {"dense": Watched()}, rrf(), 4)
        assert [p.chunk.id for p in hybrid.retrieve(Query("q", where=("rest.pdf",)), 2)] == [9, 10]
        assert max(asked) < 400
        assert [p.chunk.id for p in hybrid.retrieve(Query("q", where=("first.pdf",)), 2)] == [1, 2]


# -- what is searched --------------------------------------------------------------------------------------------------


@contextmanager
def library(folder: Path) -> Iterator[Catalog]:
    catalog = open_catalog(folder)
    yield catalog
    catalog.close()


def store(catalog: Catalog, name: str, document: Document, header: str = "", heading: str = "") -> None:
    """A chunk for every page, with header and heading."""
    texts = [(page, document.text[page.start : page.end].rstrip()) for page in document.pages]
    headings = (heading,) if heading else ()
    chunks = [
        Chunk(0, document.id, text, page.start, page.start + len(text), page.number, headings, header)
        for page, text in texts
    ]
    catalog.put(row(document, name), document, chunks, vectors_of(chunks), FINGERPRINT)


@contextmanager
def words_only(catalog: Catalog, *, route: bool = True, depth: int = 40) -> Iterator[Hybrid]:
    lexicon = Lexicon(catalog)
    router = Router(catalog, lexicon) if route else None
    yield Hybrid(catalog, {"lexical": Lexical(lexicon)}, fusion("minmax", 0.0, 0.0, 60, depth), depth, router)
    lexicon.close()


def test_the_standalone_question_is_what_is_searched(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        put(catalog, document_of("Apples are red.", "Boats float."), "a.pdf")
        lexicon = Lexicon(catalog)
        dense = Dense(VectorIndex(catalog, FINGERPRINT), EMBEDDER)
        asked, meant = Query("and boats?", standalone="are apples red"), Query("are apples red")
        for ranker in (dense, Lexical(lexicon)):
            assert ranker.rank(asked, 5) == ranker.rank(meant, 5)
            assert ranker.rank(asked, 5)[0][0] == 1
        lexicon.close()


def test_hypotheses_are_averaged_with_the_question(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        put(catalog, document_of("apples red", "boats float", "boats red"), "a.pdf")
        dense = Dense(VectorIndex(catalog, FINGERPRINT), EMBEDDER)
        plain = dict(dense.rank(Query("apples"), 3))
        imagined = dict(dense.rank(Query("apples", hypotheses=("boats float", "boats")), 3))
        rows = EMBEDDER.embed_documents(["apples", "boats float", "boats"])
        mean = rows.mean(axis=0)
        ids, vectors = catalog.chunk_vectors(FINGERPRINT)
        expected = dict(zip(ids.tolist(), (vectors @ mean / np.linalg.norm(mean)).tolist(), strict=True))
        assert imagined == pytest.approx(expected, abs=1e-5)
        assert max(plain, key=lambda key: plain[key]) == 1
        assert max(imagined, key=lambda key: imagined[key]) == 2
        assert dict(dense.rank(Query("apples"), 3)) == plain


# -- documents that a question names -----------------------------------------------------------------------------------

REPORTS = {
    "3M_2018_10K.pdf": "Net sales were 32 billion dollars in the year.",
    "3M_2017_10K.pdf": "Net sales were 31 billion dollars in the year, and net sales rose: net sales.",
    "Boeing_2018_10K.pdf": "Net sales, net sales and again net sales were 101 billion dollars.",
    "星海科技_2023_年报.pdf": "公司的净销售额为三十亿元。",
    "长江电力_2023_年报.pdf": "净销售额,净销售额:公司的净销售额为五十亿元。",
}


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[Catalog]:
    with library(tmp_path) as catalog:
        for name, text in REPORTS.items():
            header = name.rpartition(".")[0].replace("_", " ")
            put(catalog, document_of(text, "Contents of another kind.", name=name), name, header)
        yield catalog


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("What were the net sales of 3M in 2018?", "3M_2018_10K.pdf"),
        ("net sales in 3m's FY2017 10-K", "3M_2017_10K.pdf"),
        ("What were net sales in Boeing's 10-K of 2018?", "Boeing_2018_10K.pdf"),
        ("星海科技2023年的净销售额是多少?", "星海科技_2023_年报.pdf"),
        ("长江电力的净销售额是多少?", "长江电力_2023_年报.pdf"),
    ],
)
def test_the_document_that_is_named_comes_first(reports: Catalog, question: str, document: str) -> None:
    with words_only(reports) as hybrid:
        first = hybrid.retrieve(Query(question), 3)[0]
    assert first.document == document
    assert first.chunk.page == 1
    assert first.found_by["route"].rank == 1


def test_without_the_name_nothing_is_routed(reports: Catalog) -> None:
    with words_only(reports) as hybrid:
        found = hybrid.retrieve(Query("What were net sales?"), 5)
    assert found
    assert not any("route" in passage.found_by for passage in found)
    with words_only(reports, route=False) as bare:
        assert bare.retrieve(Query("What were net sales?"), 5) == found


def test_a_named_document_is_found_however_many_others_say_the_same(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        for number in range(50):
            text = f"{'pressure ' * (number + 1)}{'and more ' * (50 - number)}{number} bar."
            put(catalog, document_of(text), f"pump {number}.pdf")
        text = "A long sentence about many other things says that pressure matters."
        put(catalog, document_of(text), "zephyr manual.pdf")
        question = Query("pressure, zephyr manual")
        with words_only(catalog, route=False, depth=5) as bare:
            assert "zephyr manual.pdf" not in {p.document for p in bare.retrieve(question, 2)}
        with words_only(catalog, depth=5) as hybrid:
            found = {k: [p.document for p in hybrid.retrieve(question, k)] for k in (1, 3, 8, 30)}
        assert "zephyr manual.pdf" in found[8]
        assert len(found[3]) == 3
        assert found[30][:3] == found[3]
        assert found[3][:1] == found[1]


def test_what_is_named_more_clearly_gains_more(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        put(catalog, document_of("The pressure is nine bar."), "zephyr compact manual.pdf")
        put(catalog, document_of("The pressure is ten bar."), "zephyr compact manual annex.pdf")
        for number in range(4):
            put(catalog, document_of(f"Other things {number}."), f"annex {number}.pdf")
        question = Query("pressure, zephyr compact manual")
        with words_only(catalog) as hybrid:
            assert hybrid.router is not None
            named = hybrid.router.named(question.sought)
            found = [p for p in hybrid.retrieve(question, 5) if "route" in p.found_by]
        gained = {p.document: p.found_by["route"].score for p in found}
        assert gained == {p.document: pytest.approx(named[p.chunk.document_id]) for p in found}
        assert gained["zephyr compact manual.pdf"] > gained["zephyr compact manual annex.pdf"] > 0


def test_a_filter_beats_a_name(reports: Catalog) -> None:
    with words_only(reports) as hybrid:
        found = hybrid.retrieve(Query("net sales of 3M in 2018", where=("Boeing*",)), 5)
    assert {p.document for p in found} == {"Boeing_2018_10K.pdf"}
    assert not any("route" in p.found_by for p in found)


def test_the_order_does_not_depend_on_k(reports: Catalog) -> None:
    with words_only(reports, depth=2) as hybrid:
        for question in ("net sales of 3M in 2018", "净销售额", "billion dollars of Boeing"):
            longest = [p.chunk.id for p in hybrid.retrieve(Query(question), 8)]
            for k in range(1, 8):
                assert [p.chunk.id for p in hybrid.retrieve(Query(question), k)] == longest[:k]


@pytest.mark.parametrize(
    ("heading", "question"),
    [("Cash flows", "What is said under Cash flows on the year?"), ("现金流量", "现金流量一节说了什么?")],
)
def test_a_section_that_is_named_comes_first(tmp_path: Path, heading: str, question: str) -> None:
    text = "The year was good. 今年情况良好。"
    with library(tmp_path) as catalog:
        for number, other in enumerate(("Risks", "Outlook", heading, "Taxes")):
            store(catalog, f"{number}.pdf", document_of(f"{text} {number}"), f"report › {other}", other)
        with words_only(catalog) as hybrid:
            assert hybrid.retrieve(Query(question), 1)[0].chunk.headings == (heading,)


# -- words side by side ------------------------------------------------------------------------------------------------


def test_words_that_stand_side_by_side_count_more(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        put(catalog, document_of("The valve of relief is a story.", "The relief valve is of a story."), "a.pdf")
        put(catalog, document_of("Other things.", "More of them.", "And more.", "And yet more."), "b.pdf")
        lexicon = Lexicon(catalog)
        (first, high), (second, low) = lexicon.search("relief valve", 2)
        assert (first, second) == (2, 1)
        assert high > low
        lexicon.close()


def test_pairs_of_cjk_characters_overlap_and_count_once(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        put(catalog, document_of("现金流量", "流量,金流,现金"), "a.pdf")
        put(catalog, document_of("其他", "更多", "内容", "文字"), "b.pdf")
        lexicon = Lexicon(catalog)
        (_, one), (_, two) = lexicon.search("现金流量", 2)
        assert one == pytest.approx(two)
        lexicon.close()


def test_header_and_text_are_not_side_by_side(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        store(catalog, "a.pdf", document_of("valve is closed"), header="about relief")
        store(catalog, "b.pdf", document_of("closed is valve"), header="about relief")
        for number in range(5):
            store(catalog, f"{number}.pdf", document_of(f"other {number}"))
        lexicon = Lexicon(catalog)
        (_, one), (_, two) = lexicon.search("relief valve", 2)
        assert one == pytest.approx(two)
        lexicon.close()


def test_the_lexicon_looks_at_some_documents_with_the_same_scores(reports: Catalog) -> None:
    lexicon = Lexicon(reports)
    everything = lexicon.search("net sales billion", 50)
    owner = reports.documents_of(key for key, _ in everything)
    for document in set(owner.values()):
        expected = [(key, pytest.approx(score)) for key, score in everything if owner[key] == document]
        assert lexicon.search("net sales billion", 50, [document]) == expected
    assert lexicon.search("net sales", 50, []) == []
    assert lexicon.search("net sales", 1, sorted(set(owner.values()))) == everything[:1] or everything
    lexicon.close()


# -- lists of references and contents ----------------------------------------------------------------------------------


def chunk(text: str, *headings: str) -> Chunk:
    return Chunk(1, "d", text, 0, len(text), 1, headings)


@pytest.mark.parametrize(
    "headings",
    [("References",), ("12. Normative References",), ("Notes", "12.1 Informative references"), ("参考文献",),
     ("Table of Contents",), ("目录",), ("Bibliography",), ("IV. Index",)],
)  # fmt: skip
def test_lists_are_known_by_their_headings(headings: tuple[str, ...]) -> None:
    assert is_list(chunk("Anything.", *headings))


@pytest.mark.parametrize("heading", ["Reference conditions", "The references of our staff", "Indexing", "Content", ""])
def test_other_headings_make_no_list(heading: str) -> None:
    assert not is_list(chunk("Anything.", heading))


def test_lists_of_contents_are_known_by_their_leaders() -> None:
    lines = ["Introduction ........ 3", "Terms . . . . . . 5", "Framing …… 11", "Security ...12"]
    assert is_list(chunk("\n".join(lines)))
    assert is_list(chunk("\n".join([*lines, "page iv", "Draft"])))
    assert not is_list(chunk("\n".join(lines[:2])))
    assert not is_list(chunk("It took 3.\nThen 5\nand so on 7...\nand 1. 2. 3"))
    assert not is_list(chunk("\n".join([*lines, *["A sentence of the text."] * 8])))


def test_a_list_comes_after_what_it_lists(tmp_path: Path) -> None:
    with library(tmp_path) as catalog:
        store(catalog, "a.pdf", document_of("Pumps: safe working pressure. Pressure of pumps."), heading="References")
        store(catalog, "b.pdf", document_of("The pressure is nine bar at all times."), heading="Operation")
        store(catalog, "c.pdf", document_of("Boats float."), heading="Boats")
        fuse = fusion("minmax", 1.0, 1.0, 60, 10)
        ranked: Mapping[str, Ranker] = {"dense": Fixed([(1, 1.0), (2, 0.6), (3, 0.0)])}
        first, second, _ = Hybrid(catalog, ranked, fuse, 10).retrieve(Query("q"), 3)
        assert (first.document, second.document) == ("b.pdf", "a.pdf")
        assert second.score == pytest.approx(LISTED)
