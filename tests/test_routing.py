"""Which documents a question names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.lexicon import Lexicon
from ragapp.routing import MOST, NAMED, Names, Router, asked_words, names_of
from ragapp.testing import CountedWords, document_of
from tests.libraries import open_catalog, put

WORDS = CountedWords().words

FILINGS = {
    "a": ("Annual report", "3M_2018_10K.pdf"),
    "b": ("Annual report", "3M_2017_10K.pdf"),
    "c": ("Annual report", "filings/Boeing_2018_10K.pdf"),
    "d": ("RFC 9000 - A UDP-Based Transport", "rfc9000.pdf"),
    "e": ("RFC 9114 - HTTP3", "rfc9114.pdf"),
    "f": ("Northwind Health Plus", "plus.pdf"),
    "g": ("Northwind Standard", "standard.pdf"),
    "h": ("星海科技年报", "x1.pdf"),
    "i": ("长江电力年报", "x2.pdf"),
    "j": ("The Art of the Deal", "book.pdf"),
}


def named(question: str, documents: dict[str, tuple[str, ...]] | None = None) -> dict[str, float]:
    names = names_of(FILINGS if documents is None else documents, WORDS)
    return names.named(asked_words(WORDS, question))


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("What were the net sales of 3M in 2018?", "a"),
        ("capital spending of 3m, FY2017", "b"),
        ("Boeing's 10-K for 2018: who audits it?", "c"),
        ("boeing orders in 2018", "c"),
        ("What does RFC 9000 say about migration?", "d"),
        ("what does rfc9114 say", "e"),
        ("RFC-9114: settings", "e"),
        ("is acupuncture covered by northwind health plus", "f"),
        ("Deductible of Northwind Standard?", "g"),
        ("星海科技的净利润是多少?", "h"),
        ("长江电力今年的收入", "i"),
        ("Who wrote the art of the deal?", "j"),
    ],
)
def test_a_question_names_a_document(question: str, document: str) -> None:
    found = named(question)
    assert max(found, key=lambda key: found[key]) == document
    assert all(strength < found[document] for key, strength in found.items() if key != document)
    assert all(NAMED <= strength <= 1 for strength in found.values())


@pytest.mark.parametrize(
    "question", ["What were net sales?", "How is it done in the year 1999?", "of the and for", "", "净利润", "the of a"]
)
def test_a_question_that_names_none(question: str) -> None:
    assert named(question) == {}


def test_two_documents_may_be_named_together() -> None:
    assert set(named("Compare 3M 2017 10-K with Boeing 2018 10-K")) >= {"b", "c"}


def test_a_document_that_is_named_clearly_less_is_not_meant() -> None:
    others = {str(n): (f"other {n}",) for n in range(4)}
    plans = {"a": ("alpha beta",), "b": ("alpha beta gamma",)}
    assert set(named("what is alpha beta?", {**plans, **others})) == {"a"}
    assert set(named("what is alpha beta?", {"b": plans["b"], **others})) == {"b"}


def test_words_that_all_names_share_tell_nothing() -> None:
    shared = {str(n): (f"Acme Handbook {word}",) for n, word in enumerate(("apples", "boats", "cranes", "drums"))}
    assert named("the Acme Handbook", shared) == {}
    assert set(named("what does the Acme Handbook say on boats", shared)) == {"1"}


def test_a_file_name_loses_folder_and_ending() -> None:
    assert set(named("pdf of zebra", {"a": ("", "zebra/one.pdf"), "b": ("", "pdf/two.txt")})) == set()


NAME = st.lists(
    st.sampled_from(["red", "green", "blue", "one", "two", "2018", "年报", "报告"]), min_size=1, max_size=4
).map(" ".join)


@given(st.dictionaries(st.sampled_from("abcdefgh"), NAME.map(lambda name: (name,)), min_size=1), NAME)
def test_strengths_are_shares_and_order_does_not_matter(documents: dict[str, tuple[str, ...]], question: str) -> None:
    found = named(question, documents)
    assert all(NAMED <= strength <= 1 + 1e-9 for strength in found.values())
    assert found == pytest.approx(named(question, dict(reversed(list(documents.items())))))


@given(st.dictionaries(st.sampled_from("abcdefgh"), NAME.map(lambda name: (name,)), min_size=1), st.data())
def test_a_whole_name_names_its_document_fully(documents: dict[str, tuple[str, ...]], data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(sorted(documents)))
    found = named(documents[document][0], documents)
    assert found[document] == 1
    assert max(found.values()) == 1


@given(st.lists(st.sampled_from(["rfc", "9000", "10", "k", "fy", "2018", "q", "3", "annual"]), max_size=6))
def test_numbers_are_compared_joined_and_apart(parts: Sequence[str]) -> None:
    joined, apart = asked_words(WORDS, "".join(parts)), asked_words(WORDS, " ".join(parts))
    assert set(parts) <= apart
    for one, two in pairwise(parts):
        if one.isdecimal() != two.isdecimal() and max(len(one), len(two)) <= 5:
            assert one + two in apart
    if len(parts) == 2 and parts[0].isdecimal() != parts[1].isdecimal():
        assert set(parts) <= joined


def test_no_names_at_all() -> None:
    assert Names([], [], 0).named({"a"}) == {}
    assert named("anything", {"a": ("of the", "the.pdf")}) == {}


# -- in a library ------------------------------------------------------------------------------------------------------


def test_the_router_follows_the_library(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    lexicon = Lexicon(catalog)
    router = Router(catalog, lexicon)
    assert router.named("the zephyr manual") == {}
    put(catalog, document_of("one", name="zephyr_manual.pdf"), "docs/zephyr_manual.pdf")
    assert router.named("the zephyr manual") == {}, "a library of one document has nothing to choose"
    put(catalog, document_of("two", name="other.pdf"), "docs/other.pdf")
    (document,) = router.named("What do the Zephyr manuals say?")
    assert catalog.names()[document] == ("zephyr_manual", "docs/zephyr_manual.pdf")
    catalog.drop(["file:///docs/docs/zephyr_manual.pdf"])
    put(catalog, document_of("three", name="third.pdf"), "docs/third.pdf")
    assert router.named("the zephyr manual") == {}
    lexicon.close()
    catalog.close()


def test_a_name_that_fits_too_many_documents_names_none(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    lexicon = Lexicon(catalog)
    router = Router(catalog, lexicon)
    for number in range(3 * MOST):
        put(catalog, document_of(f"other {number}"), f"{number}/thing.pdf")
    for number in range(MOST):
        put(catalog, document_of(f"copy {number}"), f"{number}/zephyr.pdf")
    assert len(router.named("zephyr")) == MOST
    put(catalog, document_of("one more"), "more/zephyr.pdf")
    assert router.named("zephyr") == {}
    lexicon.close()
    catalog.close()
