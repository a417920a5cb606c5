"""Headings and titles, from lines that are given."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.ingest.headings import (
    HeadingPath,
    Line,
    body_size,
    clean_name,
    depth_of,
    from_outline,
    from_type,
    is_meaningful,
    title_of,
)  # fmt: skip
from ragapp.types import Heading, Page


def laid_out(*pages: Sequence[tuple[str, float]]) -> tuple[str, list[Line], list[Page]]:
    """Text, lines and pages from ``(text, size)`` lines."""
    text, lines, found = "", [], []
    for number, page in enumerate(pages):
        start = len(text)
        for words, size in page:
            lines.append(Line(len(text), len(text) + len(words), size, number))
            text += f"{words}\n"
        found.append(Page(number + 1, start, len(text)))
    return text, lines, found


BODY = ("Plain words that fill a line of the body text.", 10.0)


def test_larger_lines_are_headings_and_sizes_are_levels() -> None:
    text, lines, _ = laid_out(
        [("Annual Report", 24.0), BODY, ("Results", 16.0), BODY, ("Cash flows", 12.0), BODY],
        [("Outlook", 16.0), BODY, ("Risks", 12.0), BODY],
    )
    found = from_type(lines, text)
    assert [(h.level, h.title) for h in found] == [
        (1, "Annual Report"), (1, "Results"), (2, "Cash flows"), (1, "Outlook"), (2, "Risks"),
    ]  # fmt: skip
    assert [text[h.start :].startswith(h.title) for h in found] == [True] * 5


def test_lines_of_one_heading_are_joined() -> None:
    text, lines, _ = laid_out([("A heading that", 16.0), ("goes on", 16.0), BODY])
    assert [h.title for h in from_type(lines, text)] == ["A heading that goes on"]


def test_what_is_no_heading() -> None:
    running = [("Running header", 14.0), BODY]
    text, lines, _ = laid_out(
        running, running, running, running, [("12", 20.0), BODY], [("x" * 200, 20.0), BODY], [("Slightly", 10.5), BODY]
    )
    assert from_type(lines, text) == ()
    assert from_type([], "") == ()


def test_a_line_repeated_within_a_page_or_two_is_still_a_heading() -> None:
    text, lines, _ = laid_out([("Example", 14.0), BODY, ("Example", 14.0), BODY, ("Example", 14.0), BODY] * 2)
    assert len(from_type(lines, text)) == 6


def lined(*rows: tuple[str, float, bool, bool]) -> tuple[str, list[Line]]:
    """A text of lines ``(words, size, bold, alone)`` on one page."""
    text, lines = "", []
    for words, size, bold, alone in rows:
        lines.append(Line(len(text), len(text) + len(words), size, 0, bold, alone))
        text += f"{words}\n\n" if alone else f"{words}\n"
    return text, lines


PLAIN = [("Plain words that fill a line of the body text.", 10.0, False, False)] * 8


def titles(*rows: tuple[str, float, bool, bool]) -> list[tuple[int, str]]:
    text, lines = lined(*rows)
    return [(h.level, h.title) for h in from_type(lines, text)]


def test_bold_lines_that_stand_alone_are_headings() -> None:
    assert titles(*PLAIN, ("Cash flows", 10.0, True, True), *PLAIN) == [(1, "Cash flows")]
    for words, bold, alone in [("Cash flows", False, True), ("Cash flows", True, False), ("Cash flows.", True, True),
                               ("Amount:", True, True), ("b" * 90, True, True), ("• An item", True, True)]:  # fmt: skip
        assert titles(*PLAIN, (words, 10.0, bold, alone), *PLAIN) == []


def test_where_much_is_bold_weight_says_nothing() -> None:
    assert titles(*[("Bold words that fill a line", 10.0, True, True)] * 4, *PLAIN) == []


def test_numbers_give_the_levels() -> None:
    rows = [("2 Results", 13.0, True, True), *PLAIN, ("2.1 Cash flows", 10.0, True, False), *PLAIN,
            ("2.1.1 In detail", 10.5, False, True), *PLAIN, ("Annexes", 13.0, True, True), *PLAIN,
            ("第三章 总结", 10.5, False, True), *PLAIN]  # fmt: skip
    assert titles(*rows) == [
        (1, "2 Results"), (2, "2.1 Cash flows"), (3, "2.1.1 In detail"), (1, "Annexes"), (1, "第三章总结"),
    ]  # fmt: skip


def test_numbered_lines_of_the_bodys_type_are_no_headings() -> None:
    assert titles(*PLAIN, ("1 Apples and pears", 10.0, False, False), *PLAIN) == []


def test_where_all_type_is_alike_numbers_that_count_on_are_headings() -> None:
    def alone(words: str) -> tuple[str, float, bool, bool]:
        return words, 10.0, False, True

    listed = [alone("1. Introduction . . . . . . 3"), alone("2. Terms . . . . . . . . 4")]
    sections = [alone(words) for words in ("1. Introduction", "1.1. Terms", "2. Streams", "4. Frames", "4.1. Types")]
    text = [row for section in sections for row in (section, *PLAIN)]
    assert [title for _, title in titles(*listed, *text)] == [words for words, *_ in sections]
    assert titles(*text[:18]) == []
    # An item of a list inside a section is no section.
    assert (1, "1. Open the door") not in titles(*text, alone("1. Open the door"))
    assert len(titles(*text)) == 5


@pytest.mark.parametrize(
    ("words", "depth"),
    [("1 Scope", 1), ("1.2 Scope", 2), ("A.1 Scope", 2), ("Article 5", 1), ("Appendix A", 1), ("Section 3.1 Of it", 2),
     ("第三章", 1), ("第二节 定义", 2), ("第5条", 3), ("IV. Discussion", 2), ("一、总则", 1), ("（二）范围", 2),
     ("2018 Results", 0), ("3 1/2", 0), ("Scope", 0), ("Particles 5", 0)],
)  # fmt: skip
def test_depth(words: str, depth: int) -> None:
    assert depth_of(words) == depth


def test_a_table_of_contents_is_not_taken_for_headings() -> None:
    rows = [(f"{n} Chapter of things {n * 7}", 12.0, True, True) for n in range(1, 7)]
    assert titles(*rows, *PLAIN) == []
    assert titles(("Chapter one .......... 5", 14.0, False, True), *PLAIN) == []


def test_body_size_is_what_most_characters_have() -> None:
    _, lines, _ = laid_out([("T", 30.0), ("T", 30.0), ("T", 30.0), BODY])
    assert body_size(lines) == 10


def test_outline_entries_stand_at_their_words() -> None:
    text, _, pages = laid_out([("See Cash  Flows", 10.0), BODY], [BODY, ("CASH\nFLOWS (2018)", 10.0)])
    found = from_outline(
        [(2, "Cash Flows (2018)", 1), (1, "Not there", 1), (1, "Beyond", 9), (1, "See", 0)], text, pages
    )
    assert [(h.level, h.title) for h in found] == [(1, "See"), (1, "Not there"), (2, "Cash Flows (2018)")]
    assert [h.start for h in found] == [0, pages[1].start, text.index("CASH")]


LINES = st.lists(
    st.lists(st.tuples(st.text("ab 1", min_size=1, max_size=12), st.sampled_from([8.0, 10.0, 12.0, 20.0])), max_size=6),
    max_size=4,
)


@given(LINES)
def test_headings_are_in_order_inside_the_text(pages: list[list[tuple[str, float]]]) -> None:
    text, lines, _ = laid_out(*pages)
    found = from_type(lines, text)
    starts = [h.start for h in found]
    assert starts == sorted(set(starts))
    assert all(1 <= h.level <= 3 and 2 <= len(h.title) <= 120 and 0 <= h.start < len(text) for h in found)


@pytest.mark.parametrize(
    ("metadata", "first_page", "expected"),
    [
        ("The Real Title", [("Large", 20.0), BODY], "The Real Title"),
        ("untitled", [("Large Words", 20.0), BODY], "Large Words"),
        ("Microsoft Word - draft7.doc", [("Large", 20.0), ("Words", 20.0), BODY], "Large Words"),
        ("annual_report.PDF", [BODY], "annual report 2018"),
        ("annual_report-2018", [BODY], "annual report 2018"),
        ("", [BODY], "annual report 2018"),
        ("", [("7", 30.0), BODY], "annual report 2018"),
        ("", [], "annual report 2018"),
    ],
)
def test_title(metadata: str, first_page: list[tuple[str, float]], expected: str) -> None:
    text, lines, pages = laid_out(first_page)
    assert title_of(metadata, lines, text, pages, "annual_report-2018.pdf") == expected


@pytest.mark.parametrize(
    "title", ["", "  ", "12", "untitled", "Slide 1", "x.docx", "Powerpoint Presentation", "(anonymous)"]
)
def test_titles_that_say_nothing(title: str) -> None:
    assert not is_meaningful(title)


@pytest.mark.parametrize("title", ["3M 2018 Annual Report", "年度报告", "The slide rule"])
def test_titles_that_say_something(title: str) -> None:
    assert is_meaningful(title)


def test_clean_name() -> None:
    assert clean_name("01_annual-report.pdf") == "01 annual report"
    assert clean_name("年报.pdf") == "年报"
    assert clean_name("_.pdf") == "_.pdf"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 30)), max_size=8), st.integers(0, 40))
def test_the_path_at_an_offset_is_the_latest_of_each_level(entries: list[tuple[int, int]], offset: int) -> None:
    headings = sorted(
        (Heading(level, f"h{i}", start) for i, (level, start) in enumerate(entries)), key=lambda h: h.start
    )
    before = [h for h in headings if h.start <= offset]
    expected: list[str] = []
    least = 99
    for heading in reversed(before):
        if heading.level < least:
            expected.insert(0, heading.title)
            least = heading.level
    assert HeadingPath(headings).at(offset) == tuple(expected)


@given(st.lists(st.integers(0, 20), max_size=5), st.integers(0, 20), st.integers(0, 20))
def test_starts_between(starts: list[int], one: int, other: int) -> None:
    low, high = sorted((one, other))
    path = HeadingPath([Heading(1, "h", start) for start in sorted(starts)])
    assert path.starts_between(low, high) == any(low < start <= high for start in starts)
