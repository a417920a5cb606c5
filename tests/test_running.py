"""Running headers, footers and page numbers: what goes, and above all what stays."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.ingest.layout import Strip, strips
from ragapp.ingest.running import page_number, running_lines, words_of
from tests.drawn import Put, column, sheet

HEIGHT = 800.0


def body(n: int) -> list[Put]:
    return column([f"text {n} {chr(97 + n % 26)} line {k} of a page of its own" for k in range(20)], 72, 150)


def page(lines: Sequence[Put]) -> tuple[list[Strip], str, float]:
    text, words, bold = sheet(lines)
    return strips(text, words, bold), text, HEIGHT


def removed(pages: Sequence[Sequence[Put]]) -> list[list[str]]:
    made = [page(lines) for lines in pages]
    return [
        [words_of(found[n], text) for n in sorted(gone)]
        for (found, text, _), gone in zip(made, running_lines(made), strict=True)
    ]


def header(text: str, x: float = 72) -> Put:
    return Put(text, x, 40)


def footer(text: str, x: float = 300) -> Put:
    return Put(text, x, 760)


def test_headers_and_page_numbers_go() -> None:
    pages = [[header("Annual Report 2018"), *body(n), footer(str(n + 1))] for n in range(4)]
    assert removed(pages) == [["Annual Report 2018", str(n + 1)] for n in range(4)]


def test_numbers_and_dates_in_them_may_differ() -> None:
    pages = [[header(f"Case 21-50498 Page {n} Filed 0{n}/07/2021"), *body(n)] for n in range(3)]
    assert [len(gone) for gone in removed(pages)] == [1, 1, 1]


def test_left_and_right_pages_take_turns() -> None:
    pages = [[header("Chapter One", 72) if n % 2 else header("The Book", 400), *body(n)] for n in range(6)]
    assert removed(pages) == [["Chapter One"] if n % 2 else ["The Book"] for n in range(6)]


def test_what_runs_through_two_pages_only_stays() -> None:
    pages = [[header("Annual Report"), *body(n), footer(str(n + 1))] for n in range(2)]
    assert removed(pages) == [[], []]
    pages.append([*body(2)])
    assert removed(pages) == [[], [], []]


def test_a_title_on_the_first_page_stays() -> None:
    title = Put("Annual Report", 72, 80, 24)
    pages = [[title, *body(0)], *([header("Annual Report"), *body(n)] for n in range(1, 5))]
    assert removed(pages) == [[], *[["Annual Report"]] * 4]


def test_a_title_in_larger_type_at_the_headers_place_stays() -> None:
    title = Put("Annual Report", 72, 40, 24)
    pages = [[title, *body(0)], *([header("Annual Report"), *body(n)] for n in range(1, 5))]
    assert removed(pages) == [[], *[["Annual Report"]] * 4]


def close(n: int) -> list[str]:
    return [f"{chr(97 + n)} line {k} of the text" for k in range(12)]


def test_lines_close_to_the_text_stay() -> None:
    pages = [[Put("Item Amount", 72, 98), *column(close(n), 72, 110)] for n in range(5)]
    assert removed(pages) == [[]] * 5
    pages = [[Put("Item Amount", 72, 70), *column(close(n), 72, 110)] for n in range(5)]
    assert removed(pages) == [["Item Amount"]] * 5


def test_a_first_sentence_that_is_spaced_like_the_text_stays() -> None:
    texts = [[f"Log, page {n}.", *close(n)] for n in range(5)]
    pages = [[Put(text, 72, 40 + 22 * k) for k, text in enumerate(own)] for own in texts]
    assert removed(pages) == [[]] * 5


def test_lines_in_the_middle_of_the_page_stay() -> None:
    pages = [[*body(n), Put("Signed by the board", 72, 500), *column([f"end {n}"], 72, 620)] for n in range(5)]
    assert removed(pages) == [[]] * 5


def test_a_heading_that_begins_some_pages_stays() -> None:
    """Where the header stands on these pages, most others have text of their own."""
    pages = [[header("Exceptions" if n % 4 == 0 else f"Rule {chr(97 + n)} of the plan"), *body(n)] for n in range(16)]
    assert removed(pages) == [[]] * 16


def test_numbers_that_do_not_count_with_the_pages_stay() -> None:
    pages = [[*body(n), footer(str(number))] for n, number in enumerate([7, 3, 12, 5])]
    assert removed(pages) == [[]] * 4


def test_a_page_with_nothing_else_keeps_its_line() -> None:
    pages = [[header("habibi")] for _ in range(4)]
    assert removed(pages) == [[]] * 4


def test_a_stamp_along_the_side_goes() -> None:
    def stamped(n: int) -> tuple[list[Strip], str, float]:
        found, text, height = page(body(n))
        start = len(text)
        side = Strip((((start, start + 7),),), 10, 300, 18, 500, 8)
        return [*found, side], f"{text}SIDEWAY", height

    made = [stamped(n) for n in range(4)]
    assert [sorted(gone) for gone in running_lines(made)] == [[20]] * 4


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("- 12 -", 12),
        ("Page 3 of 9", 3),
        ("iv", 4),
        ("xlii", 42),
        ("F-7", 7),
        ("[Page 5]", 5),
        ("第 3 页", 3),
    ],
)
def test_page_numbers(text: str, number: int) -> None:
    assert page_number(text) == number


@pytest.mark.parametrize("text", ["", "12 apples", "Page", "2018 Report", "3.5", "mixed", "(1) a"])
def test_no_page_numbers(text: str) -> None:
    assert page_number(text) is None


LINES = st.builds(
    Put,
    st.sampled_from(["Header", "1", "2", "3", "Page 4", "words of the text", "b c"]),
    st.sampled_from([72.0, 300.0]),
    st.sampled_from([40.0, 60.0, 72.0, 300.0, 312.0, 740.0, 760.0]),
)


@given(st.lists(st.lists(LINES, max_size=8), max_size=6))
def test_what_goes_stands_on_three_pages_or_counts(pages: list[list[Put]]) -> None:
    made = [page(lines) for lines in pages]
    said = [{words_of(strip, text) for strip in found} for found, text, _ in made]
    for (found, text, _), gone in zip(made, running_lines(made), strict=True):
        assert len(gone) < len(found) or not gone
        for n in gone:
            words = words_of(found[n], text)
            assert page_number(words) is not None or sum(words in own for own in said) >= 3
