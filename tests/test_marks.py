"""Marks: found in a stream of text however it is cut, and nothing else is taken for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.marks import LONGEST, Marks


def read(*pieces: str, known: range = range(1, 4)) -> str:
    """The text with ‹n› for marks."""
    marks = Marks(known)
    items = [item for piece in pieces for item in marks.feed(piece)] + marks.end()
    return "".join(item if isinstance(item, str) else f"‹{item}›" for item in items)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So it is [1].", "So it is ‹1›."),
        ("So it is. [1][2] Then", "So it is. ‹1›‹2› Then"),
        ("a [1, 2] b", "a ‹1›‹2› b"),
        ("a [1，2、3] b", "a ‹1›‹2›‹3› b"),
        ("a [1-3] b", "a ‹1›‹2›‹3› b"),
        ("a [1–2; 3] b", "a ‹1›‹2›‹3› b"),
        ("a [1, 1] b", "a ‹1› b"),
        ("a [[1]] b", "a ‹1› b"),
        ("a [^2] b", "a ‹2› b"),
        ("a [ 2 ] b", "a ‹2› b"),
        ("a [Passage 2] b [source 1, 3]", "a ‹2› b ‹1›‹3›"),
        ("功率【1】。［2］", "功率‹1›。‹2›"),
        ("【1†source】", "‹1›"),
        ("[段落 1]。", "‹1›。"),
        ("🎉[1]🎉", "🎉‹1›🎉"),
    ],
)
def test_spellings_of_a_mark(text: str, expected: str) -> None:
    assert read(text) == read(*text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [9] b", "a b"),
        ("a [9].", "a."),
        ("a [0]\nb", "a\nb"),
        ("a [999]", "a"),
        ("[9] Then", "Then"),
        ("a\n[9] b", "a\nb"),
        ("a [9] [1] b", "a ‹1› b"),
        ("a [1] [9] b", "a ‹1› b"),
        ("a [9][8] b", "a b"),
        ("a [[9]] b", "a b"),
        ("a [1, 9] b", "a ‹1› b"),
        ("a [1-999] b", "a ‹1›‹2›‹3› b"),
        ("a  b [9]  c", "a  b c"),
        ("功率[9]，", "功率，"),
    ],
)
def test_marks_that_name_no_passage_are_left_out(text: str, expected: str) -> None:
    assert read(text) == read(*text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a [text](url) b", "a [x] b", "a [] b", "a [2018] b", "a [1", "a [1, ", "[", "a ] b", "a [[x]] b",
        "a [source] b", "a [1\n] b", "a[i] [1.5x]", "[1 2018]", "`list[1]` and",
        "```\nlist[1]\n``` and", "“``list[1]``”",
        "(1) {1} <1>", f"[{'1,' * LONGEST}1]", "trailing  \n ",
    ],
)  # fmt: skip
def test_everything_else_is_text(text: str) -> None:
    assert read(text) == read(*text) == text


def test_brackets_inside_brackets() -> None:
    assert read("[see [1]") == "[see ‹1›"
    assert read("[1 [2] 3]") == "[1 ‹2› 3]"
    assert read("[[[1]]]") == "[‹1›]"


def test_code_ends() -> None:
    assert read("`x[1]` is [1]. ```y[2]``` is [2]\n`open [1]\nnext [3]") == (
        "`x[1]` is ‹1›. ```y[2]``` is ‹2›\n`open [1]\nnext ‹3›"
    )


def test_text_is_held_back_only_from_a_bracket_on() -> None:
    marks = Marks({1})
    assert marks.feed("It is so") == ["It is so"]
    assert marks.feed(" [") == []
    assert marks.feed("1") == []
    assert marks.feed("]") == [" ", 1]
    assert marks.feed(" [x") == [" [x"]


PIECES = st.lists(
    st.sampled_from(["[[", "]]", *"[]129,-【】`(†🎉a。 \n", "passage"]),
    max_size=30,
)


@given(PIECES, st.data())
def test_any_cut_gives_the_same(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*parts) == read(text)


@given(PIECES)
def test_only_brackets_digits_and_space_can_be_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    kept = re.sub(r"‹\d›", "", read(text))
    remaining = iter(text)
    assert all(character in remaining for character in kept)
    assert kept.count("a") + kept.count("passage") <= text.count("a") + text.count("passage")
    assert kept.count("。") == text.count("。")
    assert "passage" in text or "†" in text or kept.count("a") == text.count("a")
