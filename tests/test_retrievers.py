"""Fusion, near-duplicates, filters, and what is said about who found what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.catalog import Catalog
from ragapp.lexicon import Lexicon
from ragapp.rerankers import KeepOrder, LateInteraction, scaled
from ragapp.retrievers import (
    SAME_PAGE,
    Dense,
    Fusion,
    Hybrid,
    Lexical,
    Ranker,
    Scores,
    fusion,
    is_same,
    min_max,
    reciprocal_rank,
)  # fmt: skip
from ragapp.testing import document_of, passage_of
from ragapp.types import Chunk, Passage, Query, Rank
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
    flat = any(len(scores) and scores[0][1] == scores[-1][1] for scores in cut.values())
    assert flat or short == {key: pytest.approx(long[key]) for key in short}


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


def test_is_same() -> None:
    first, second, third = (passage_of(TEXT, page.start, page.end) for page in TEXT.pages)
    assert is_same(first, first)
    assert is_same(first, second)  # the same words on another page
    assert not is_same(first, third)
    assert not is_same(first, passage_of(COPY))  # another document is another source
    assert is_same(passage_of(TEXT, 0, 30), passage_of(TEXT, 10, 90))  # overlap of more than half of the shorter
    assert not is_same(passage_of(TEXT, 0, 30), passage_of(TEXT, 20, 90))


@given(st.integers(0, 90), st.integers(1, 20), st.integers(0, 90), st.integers(1, 20))
def test_is_same_knows_no_order(start: int, length: int, other: int, size: int) -> None:
    end = len(TEXT.text)
    one = passage_of(TEXT, start, min(end, start + length))
    two = passage_of(TEXT, other, min(end, other + size))
    assert is_same(one, two) == is_same(two, one)
    assert is_same(one, one)


# -- the hybrid --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed:
    scores: Scores

    def rank(self, text: str, k: int) -> Scores:
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


# -- rerankers ---------------------------------------------------------------------------------------------------------


def passages() -> list[Passage]:
    return [
        passage_of(document_of(text), score=score) for text, score in [("Boats float", 0.9), ("Apples are red", 0.1)]
    ]


def test_keep_order() -> None:
    assert KeepOrder().rerank("apples", passages()) == passages()


def test_late_interaction_reorders_and_says_so() -> None:
    import numpy as np

    class Letters:
        """A token a word; the vector is the word's own."""

        def embed_tokens(self, texts: list[str]) -> list[np.typing.NDArray[np.float32]]:
            return [EMBEDDER.embed_documents(text.lower().split()) for text in texts]

    late = LateInteraction(Letters(), weight=0.8)  # type: ignore[arg-type]
    first, second = late.rerank("red apples", passages())
    assert (first.chunk.text.strip(), first.score, second.score) == (
        "Apples are red",
        pytest.approx(0.8),
        pytest.approx(0.2),
    )
    assert first.found_by["late"].rank == 1
    assert late.rerank("red", []) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_scaled_is_between_0_and_1_and_keeps_the_order(values: list[float]) -> None:
    import numpy as np

    out = scaled(np.array(values))
    assert out.min() >= 0
    assert out.max() == 1
    assert all(out[i] <= out[j] for i, a in enumerate(values) for j, b in enumerate(values) if a < b)
