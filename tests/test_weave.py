"""From lines to the text of a page, and from every character back to where it came from."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.ingest.layout import Block, strips
from ragapp.ingest.weave import Woven, stands_for, vocabulary, weave
from tests.drawn import BROKEN, Put, column, sheet


def woven(lines: Sequence[Put], known: Collection[str] = (), left_out: Collection[int] = ()) -> tuple[str, Woven]:
    text, words, bold = sheet(lines)
    return text, weave(text, strips(text, words, bold), left_out, frozenset(known))


def back(text: str, page: Woven) -> str:
    """The page's text put together from the raw text through the runs; "·" for what is ours."""
    made = ["·"] * len(page.text)
    for offset, source, length in page.runs if page.runs is not None else ((0, 0, len(page.text)),):
        for k in range(length):
            assert stands_for(page.text[offset + k], text[source + k])
            made[offset + k] = text[source + k]
    return "".join(made)


def of(*texts: str) -> list[Put]:
    return column(texts)


def test_lines_as_they_are_need_no_runs() -> None:
    _, page = woven(of("One line of text", "and another"))
    assert page.text == "One line of text \nand another"
    assert page.runs is None
    assert page.places == {0: (0, 16), 1: (18, 29)}


def test_an_empty_line_between_paragraphs_is_ours() -> None:
    text, page = woven([*of("One", "two of it"), Put("Three", 72, 200)])
    assert page.text == "One \ntwo of it \n\nThree"
    assert back(text, page) == "One\r\ntwo of it\r\n·Three"


@pytest.mark.parametrize(
    ("lines", "known", "expected"),
    [
        ([f"exam{BROKEN}", "ple of it"], [], "example of it"),
        ([f"well{BROKEN}", "known thing"], ["well-known"], "well-known thing"),
        ([f"well{BROKEN}", "known thing"], ["well", "known"], "well-known thing"),
        ([f"every{BROKEN}", "thing is"], ["every", "thing", "everything"], "everything is"),
        ([f"non{BROKEN}", "U.S. firms"], [], "non-U.S. firms"),
        ([f"in 1990{BROKEN}", "2000 it"], [], "in 1990-2000 it"),
        (["exam-", "ple of it"], ["example"], "example of it"),
        (["well-", "known thing"], [], "well-known thing"),
        (["1990-", "2000 it"], [], "1990- \n2000 it"),
        (["a list -", "of things"], [], "a list - \nof things"),
        (["exam\u00ad", "ple of it"], [], "example of it"),
    ],
)
def test_words_broken_at_a_line_end(lines: Sequence[str], known: Sequence[str], expected: str) -> None:
    text, page = woven(of(*lines), known)
    assert page.text == expected
    back(text, page)


def test_a_word_broken_at_the_end_of_the_page_keeps_a_mark() -> None:
    assert woven(of(f"the last bro{BROKEN}"))[1].text == "the last bro\u00ad"


def test_a_hyphen_before_another_paragraph_stays() -> None:
    lines = [*of("It took off from", f"Soekarno{BROKEN}"), Put("VerDate Sep", 72, 300), Put("and more", 72, 312)]
    assert woven(lines)[1].text == "It took off from \nSoekarno-\n\nVerDate Sep \nand more"


def test_ligatures_are_spelled_out() -> None:
    text, page = woven(of("ofﬁce eﬄuent", "ﬁne"))
    assert page.text == "office effluent \nfine"
    assert back(text, page) == "ofﬁﬁce eﬄﬄﬄuent\r\nﬁﬁne"
    assert len(page.runs or ()) == 5


def test_what_is_left_out_leaves_no_line() -> None:
    _, page = woven([Put("Header", 72, 20), *column(["Text", "more"])], left_out=[0])
    assert page.text == "Text \nmore"
    assert page.places == {1: (0, 4), 2: (6, 10)}


def test_cells_are_set_apart_by_tabs_and_rows_by_lines() -> None:
    text, words, bold = sheet([Put("a b", 72, 100), Put("c", 72, 112), Put("d", 120, 112)])
    table = Block(72, 100, 200, 124, (), (), (((0,), (1,)), ((2,), (), (3,), ())))
    page = weave(text, strips(text, words, bold, [table]), (), frozenset())
    assert page.text == "a\tb\nc\t\td"
    assert back(text, page) == "a b·c··d"


def test_control_characters_are_spaces() -> None:
    assert woven(of("a\x03b"))[1].text == "a b"


def test_vocabulary_leaves_out_what_a_line_end_breaks() -> None:
    text = f"The Well-known exam{BROKEN}ple is a test-\r\ncase, isn't it"
    assert vocabulary([text]) == {"the", "well-known", "is", "a", "isn", "t", "it"}


PIECES = st.lists(
    st.tuples(st.text("abcﬁ-ﬀ \u00ad", min_size=1, max_size=12).filter(str.strip), st.booleans()),
    min_size=1,
    max_size=8,
)


def letters(text: str) -> Counter[str]:
    return Counter(c for c in unicodedata.normalize("NFKC", text) if c.isalnum())


@given(PIECES, st.sets(st.sampled_from(["abab", "a-b", "ab", "fi", "b"])), st.booleans())
def test_no_letter_is_lost_and_every_one_leads_back(
    pieces: list[tuple[str, bool]], known: set[str], spaced: bool
) -> None:
    lines = [
        Put(text + BROKEN * broken, 72, 100 + 12 * n * (1 + spaced * (n % 3)))
        for n, (text, broken) in enumerate(pieces)
    ]
    text, page = woven(lines, known)
    assert letters(page.text) == letters(text)
    assert "".join(back(text, page).split()) != "" or not letters(text)
    runs = page.runs if page.runs is not None else ((0, 0, len(page.text)),)
    assert all(first[0] + first[2] <= then[0] for first, then in pairwise(runs))
    ours = [c for c, raw in zip(page.text, back(text, page), strict=True) if raw == "·"]
    assert all(c.isspace() for c in ours)
    assert page == woven(lines, known)[1]
