"""Measures of found passages: by hand, against the ten lines that the project began with, and what is absent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.errors import ConfigError
from ragapp.eval import retrieval
from ragapp.eval.questions import Gold, Question
from ragapp.eval.records import Hit, Record
from ragapp.eval.retrieval import measured, scores, scores_of_all, why_not


def hit(document: str, page: int, gold: bool | None = None) -> Hit:
    return Hit(document, page, 1, 0, 10, 1.0, "text", gold=gold)


def asked(*gold: Gold, answerable: bool = True) -> Question:
    return Question("q", "Why?", tuple(gold), answerable=answerable)


HITS = (hit("b.pdf", 1), hit("a.pdf", 3), hit("a.pdf", 3), hit("a.pdf", 2), hit("c.pdf", 3))


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_pages_are_taken_once_where_they_first_stand() -> None:
    made = scores(asked(Gold("a.pdf", (2, 3, 9))), HITS, {})
    assert [made[f"pages.success@{k}"] for k in (1, 3, 5, 10)] == [0, 1, 1, 1]
    assert [made[f"pages.recall@{k}"] for k in (1, 3, 5, 20)] == pytest.approx([0, 2 / 3, 2 / 3, 2 / 3])
    assert made["pages.precision@5"] == pytest.approx(2 / 5)
    assert made["pages.mrr@10"] == 0.5
    # The list is b1, a3, a2, c3.
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert made["pages.ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / 2) / ideal)
    assert made["pages.map"] == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_documents_are_taken_once_whatever_the_page() -> None:
    made = scores(asked(Gold("a.pdf"), Gold("c.pdf", (7,))), HITS, {})
    assert (made["documents.success@1"], made["documents.mrr@10"]) == (0, 0.5)
    assert (made["documents.recall@1"], made["documents.recall@3"]) == (0, 1)
    assert made["documents.map"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_passages_count_one_by_one() -> None:
    made = scores(asked(Gold("a.pdf", (3,))), HITS, {"passages": 4})
    assert made["passages.precision@5"] == pytest.approx(2 / 5)
    assert (made["passages.recall@1"], made["passages.recall@3"]) == (0, 0.5)
    assert made["passages.map"] == pytest.approx((1 / 2 + 2 / 3) / 4)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, 5))
    assert made["passages.ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / 2) / ideal)


def test_grades_are_gains_and_zero_is_not_relevant() -> None:
    made = scores(asked(Gold("a.pdf", (3,), relevance=1), Gold("b.pdf", (1,), relevance=3)), HITS, {})
    assert made["pages.ndcg@10"] == 1
    other = scores(asked(Gold("a.pdf", (3,), relevance=3), Gold("b.pdf", (1,), relevance=1)), HITS, {})
    assert other["pages.ndcg@10"] == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))
    assert scores(asked(Gold("a.pdf", (3,)), Gold("b.pdf", (1,), relevance=0)), HITS, {})["pages.success@1"] == 0


def test_a_quote_decides_where_it_was_found_and_the_page_where_it_was_not() -> None:
    quoted = asked(Gold("a.pdf", (3,), "the words"))
    beside = [hit("a.pdf", 3, gold=False), hit("a.pdf", 4, gold=True)]
    assert scores(quoted, beside, {})["passages.mrr@10"] == 0.5
    unknown = [hit("a.pdf", 4), hit("a.pdf", 3)]
    assert scores(quoted, unknown, {})["passages.mrr@10"] == 0.5
    # Another place that is known by its page alone still counts.
    both = asked(Gold("a.pdf", (3,), "the words"), Gold("a.pdf", (5,)))
    assert scores(both, [hit("a.pdf", 3, gold=False), hit("a.pdf", 5, gold=False)], {})["passages.mrr@10"] == 0.5


def test_documents_have_one_name_however_they_are_spelled() -> None:
    question = asked(Gold("docs/a.pdf", (1,)), Gold("a.pdf", (2,)), Gold("a.pdf", (1,)))
    made = scores(question, [hit("work/docs/a.pdf", 2), hit("a.pdf", 1)], {})
    assert (made["documents.recall@1"], made["pages.recall@1"], made["pages.recall@3"]) == (1, 0.5, 1)
    assert scores(question, [hit("b/other_a.pdf", 2)], {})["documents.success@10"] == 0


def test_measures_stop_where_they_say() -> None:
    far = [hit("x.pdf", n) for n in range(1, 11)] + [hit("a.pdf", 1)]
    made = scores(asked(Gold("a.pdf", (1,))), far, {})
    assert (made["pages.mrr@10"], made["pages.success@10"], made["pages.ndcg@10"]) == (0, 0, 0)
    assert (made["pages.recall@20"], made["pages.map"]) == (1, pytest.approx(1 / 11))


def test_nothing_found_is_zero_and_not_absent() -> None:
    made = scores(asked(Gold("a.pdf", (1,))), [], {"passages": 2})
    assert set(made) == set(retrieval.NAMES)
    assert set(made.values()) == {0.0}


# -- what does not apply -----------------------------------------------------------------------------------------------


def test_without_gold_there_are_no_measures() -> None:
    assert scores(asked(), HITS, {}) == {}
    assert scores(asked(Gold("a.pdf", (3,)), answerable=False), HITS, {}) == {}
    assert scores(asked(Gold("a.pdf", (3,), relevance=0)), HITS, {}) == {}
    assert why_not(asked(), "pages.map") == "no gold"
    assert why_not(asked(Gold("a.pdf"), answerable=False), "pages.map") == "unanswerable"


def test_gold_without_pages_tells_of_documents_only() -> None:
    question = asked(Gold("a.pdf"))
    assert {name.partition(".")[0] for name in scores(question, HITS, {})} == {"documents"}
    assert why_not(question, "pages.map") == "no gold page"
    assert why_not(question, "passages.mrr@10") == "no gold page or quote"


def test_gold_of_which_one_place_has_no_page_leaves_the_number_of_pages_unknown() -> None:
    question = asked(Gold("a.pdf", (3,)), Gold("b.pdf"))
    made = scores(question, [hit("a.pdf", 3)], {})
    assert (made["pages.success@1"], made["documents.recall@1"]) == (1, 0.5)
    assert not [name for name in made if name.startswith(("pages.recall", "pages.ndcg", "pages.map"))]
    assert why_not(question, "pages.recall@5") == "number of right pages unknown"


def test_a_quote_without_pages_tells_of_passages() -> None:
    question = asked(Gold("a.pdf", (), "the words"))
    levels = {name.partition(".")[0] for name in scores(question, [hit("a.pdf", 1, gold=True)], {})}
    assert levels == {"passages", "documents"}
    # It is in the library and was not found: that is a zero.
    assert scores(question, [hit("b.pdf", 1)], {"passages": 1})["passages.success@10"] == 0
    assert "passages.success@10" not in scores(question, [hit("b.pdf", 1)], {})
    assert why_not(question, "passages.success@10") == "gold quote not found in the document"


def test_without_a_total_there_is_no_recall_of_passages() -> None:
    made = scores(asked(Gold("a.pdf", (3,))), HITS, {})
    there = {name.partition(".")[2] for name in made if name.startswith("passages.")}
    assert there == {"success@1", "success@3", "success@5", "success@10", "precision@5", "mrr@10"}
    assert why_not(asked(Gold("a.pdf", (3,))), "passages.recall@5") == "number of right passages unknown"


def test_a_total_that_is_too_small_does_not_make_more_than_all() -> None:
    made = scores(asked(Gold("a.pdf", (3,))), HITS, {"passages": 1})
    assert made["passages.recall@5"] == 1
    assert made["passages.ndcg@10"] < 1


# -- many questions ----------------------------------------------------------------------------------------------------


def test_together_they_are_as_alone() -> None:
    golds = [(Gold("a.pdf", (3,)),), (Gold("b.pdf", (1,)), Gold("c.pdf", (3,))), (), (Gold("c.pdf"),)]
    pairs = [
        (Question(f"q\n{n}", "Why?", gold), Record(f"q\n{n}", "search", HITS, relevant={"passages": 3}))
        for n, gold in enumerate(golds)
    ]
    together = scores_of_all(pairs)
    assert together == {question.id: scores(question, HITS, {"passages": 3}) for question, _ in pairs}
    assert together["q\n2"] == {}
    assert list(together["q\n0"]) == list(retrieval.NAMES)
    assert scores_of_all([]) == {}


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(ConfigError, match="'bleu'"):
        list(measured({"q": {"a": 1}}, {"q": ["a"]}, ["bleu"]))
    with pytest.raises(ConfigError, match="'mrr@x'"):
        list(measured({"q": {"a": 1}}, {"q": ["a"]}, ["mrr@x"]))
    assert list(measured({"q": {"a": 1}}, {"q": ["b", "a"]}, ["mrr@7"])) == [("q", "mrr@7", 0.5)]


# -- against the reference ---------------------------------------------------------------------------------------------


def reference(gold: set[tuple[str, int]], found: Sequence[tuple[str, int]]) -> dict[str, float]:
    """hit@k and the reciprocal rank as the project has counted them from its first day."""
    ranks = [rank for rank, place in enumerate(found, 1) if place in gold]
    made = {f"passages.success@{k}": float(bool(ranks) and ranks[0] <= k) for k in (1, 3, 5, 10)}
    return {**made, "passages.mrr@10": 1 / ranks[0] if ranks and ranks[0] <= 10 else 0.0}


PLACES = st.tuples(st.sampled_from(["a.pdf", "b.pdf", "c.pdf"]), st.integers(1, 6))


@given(st.sets(PLACES, min_size=1, max_size=6), st.lists(PLACES, max_size=20))
@settings(max_examples=200, deadline=None)
def test_passages_are_counted_as_page_hits_counts_them(
    gold: set[tuple[str, int]], found: list[tuple[str, int]]
) -> None:
    question = asked(*(Gold(document, (page,)) for document, page in gold))
    made = scores(question, [hit(document, page) for document, page in found], {})
    wanted = reference(gold, found)
    assert {name: made[name] for name in wanted} == pytest.approx(wanted)
    assert all(0 <= value <= 1 for value in made.values())
    # A page's first passage takes its place, so no page comes later than its passage.
    assert made["pages.mrr@10"] >= made["passages.mrr@10"]
    assert made["documents.mrr@10"] >= made["pages.mrr@10"]
