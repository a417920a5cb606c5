"""Reading order, lines and paragraphs, from words whose places are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.ingest.layout import Block, Strip, strips
from ragapp.ingest.words import Word
from tests.drawn import Put, column, sheet

LEFT = [f"left column line {n} goes on to the edge" for n in range(8)]
RIGHT = [f"right column line {n} goes to the edge" for n in range(8)]
THIRD = [f"third column line {n} goes to the edge" for n in range(8)]
X2, X3 = 320.0, 560.0


def said(text: str, found: Sequence[Strip]) -> list[str]:
    """Lines with cells parted by bars, an empty line before those that are apart."""
    lines = []
    for strip in found:
        cells = ["/".join(text[start:end] for start, end in cell) for cell in strip.cells]
        lines += [""] * strip.apart + ["|".join(cells)]
    return lines


def read(lines: Sequence[Put], tables: Sequence[Block] = ()) -> list[str]:
    text, words, bold = sheet(lines)
    return said(text, strips(text, words, bold, tables))


def words_only(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line]


# -- reading order -----------------------------------------------------------------------------------------------------


def test_one_column_stays_as_it_is() -> None:
    assert read(column(LEFT)) == LEFT


def test_columns_in_order_stay() -> None:
    found = read([*column(LEFT), *column(RIGHT, X2), *column(THIRD, X3)])
    assert words_only(found) == [*LEFT, *RIGHT, *THIRD]


def test_columns_drawn_line_by_line_are_read_one_after_the_other() -> None:
    rows = zip(column(LEFT), column(RIGHT, X2), column(THIRD, X3), strict=True)
    assert words_only(read(list(chain.from_iterable(rows)))) == [*LEFT, *RIGHT, *THIRD]


def test_one_line_of_the_file_over_two_columns_is_two_lines() -> None:
    rows = [f"{left:{52}}{right}" for left, right in zip(LEFT, RIGHT, strict=True)]
    lines = [Put(row, 72, 100 + 12 * n) for n, row in enumerate(rows)]
    assert words_only(read(lines)) == [*LEFT, *RIGHT]


def test_notes_drawn_first_are_read_below_the_columns_they_stand_under() -> None:
    columns = [(LEFT, 72.0), (RIGHT, X2), (THIRD, X3)]
    notes = [[f"a note under column {n} of three, line {k}" for k in range(4)] for n in range(3)]
    drawn = [put for n, (_, x) in enumerate(columns) for put in column(notes[n], x, 300, 8)]
    drawn += [put for texts, x in columns for put in column(texts, x)]
    found = words_only(read(drawn))
    assert found == [line for n, (texts, _) in enumerate(columns) for line in (*texts, *notes[n])] or found == [
        *LEFT, *RIGHT, *THIRD, *notes[0], *notes[1], *notes[2],
    ]  # fmt: skip


def test_a_line_across_the_columns_parts_them() -> None:
    upper = [*column(LEFT[:4]), *column(RIGHT[:4], X2)]
    across = Put("A line that runs over both columns and over the white lane between them all", 72, 160)
    lower = [*column(LEFT[4:], 72, 200), *column(RIGHT[4:], X2, 200)]
    rows = zip([*upper[:4], *lower[:4]], [*upper[4:], *lower[4:]], strict=True)
    drawn = [across, *chain.from_iterable(rows)]
    assert words_only(read(drawn)) == [*LEFT[:4], *RIGHT[:4], across.text, *LEFT[4:], *RIGHT[4:]]


def test_rows_of_short_cells_stay_rows() -> None:
    for item, cell in (("Item", "37"), ("apples and pears", "of which many")):
        rows = [[Put(f"{item} {n}", 72, 100 + 12 * n), Put(f"{cell} {n}", 320, 100 + 12 * n)] for n in range(8)]
        # A cell that reaches over the lane, as there are in tables.
        rows.append(
            [Put(f"{item} that are much longer than the others", 72, 196), Put(f"{cell} and the rest", 320, 196)]
        )
        assert read([put for row in rows for put in row]) == [put.text for row in rows for put in row]


def test_rows_of_one_line_cells_that_each_begin_anew_stay_rows() -> None:
    rows = [[Put(f"Term {n} and what it means to some", 72, 100 + 12 * n),
             Put(f"The {n} meaning that the law gives it", X2, 100 + 12 * n)] for n in range(8)]  # fmt: skip
    assert words_only(read([put for row in rows for put in row])) == [put.text for row in rows for put in row]


def test_rows_of_long_cells_stay_rows() -> None:
    """Two cells of two lines each beside each other, four times: read row by row, as they were drawn."""
    drawn: list[Put] = []
    for n in range(4):
        y = 100 + 40 * n
        drawn += column([f"What the term {n} means to those", "who use it now and then, or often"], 72, y)
        drawn += column([f"The meaning {n} that the law gives", "to it wherever it stands in the text"], X2, y)
    assert words_only(read(drawn)) == [put.text for put in drawn]


def test_a_header_drawn_last_is_read_first() -> None:
    found = read([*column(LEFT), Put("The header of the page", 72, 40)])
    assert words_only(found) == ["The header of the page", *LEFT]


def test_an_index_in_two_columns_of_short_lines_stays() -> None:
    left = column([f"Entry {n}, {n * 3}" for n in range(20)])
    right = column([f"Other {n}, {n * 5}" for n in range(20)], X2)
    assert words_only(read([Put("9 Index", 72, 60), *left, *right])) == ["9 Index", *(p.text for p in left + right)]


def test_right_to_left_text_stays() -> None:
    words = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd" * 4
    right, left = ([f"{words}{side}{n}" for n in range(8)] for side in "ab")
    assert words_only(read([*column(right, X2), *column(left)])) == [*right, *left]


def test_columns_that_no_line_end_of_the_file_parts() -> None:
    text, words, bold = sheet([*column(LEFT), *column(RIGHT, X2)])
    at = text.index(RIGHT[0])
    text = text[: at - 2] + "  " + text[at:]
    assert words_only(said(text, strips(text, words, bold))) == [*LEFT, *RIGHT]


def test_type_too_small_to_read_comes_last() -> None:
    lines = column(LEFT)
    drawn = [*lines[:3], Put("placeholder", 60, 140, 1), *lines[3:]]
    assert words_only(read(drawn)) == [*LEFT, "placeholder"]


# -- paragraphs --------------------------------------------------------------------------------------------------------


def test_more_white_than_usual_parts_paragraphs() -> None:
    found = read([*column(LEFT[:4]), *column(RIGHT[:3], 72, 160)])
    assert found == [*LEFT[:4], "", *RIGHT[:3]]


def test_wide_lines_are_one_paragraph_when_all_are_as_wide() -> None:
    assert read([Put(text, 72, 100 + 24 * n) for n, text in enumerate(LEFT)]) == LEFT


@pytest.mark.parametrize("head", [Put("A heading", 72, 88, 14), Put("A heading", 72, 88, bold=True)])
def test_a_heading_stands_apart_from_its_text(head: Put) -> None:
    below = column(LEFT, 72, 102.0)
    assert read([*column(RIGHT[:2], 72, 40), head, *below]) == [*RIGHT[:2], "", "A heading", "", *LEFT]


def test_a_sentence_that_goes_on_in_the_next_column_is_not_parted() -> None:
    left = [*LEFT[:-1], "left column ends with a sentence that has"]
    assert read([*column(left), *column(RIGHT, X2)]) == [*left, *RIGHT]
    left[-1] = "left column ends with a sentence, and so."
    assert read([*column(left), *column(RIGHT, X2)]) == [*left, "", *RIGHT]


def test_words_in_bold_within_a_paragraph_do_not_part_it() -> None:
    lines = column(LEFT)
    lines[3] = Put(lines[3].text, lines[3].x, lines[3].y, bold=True)
    assert read(lines) == LEFT


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_table_is_a_block_of_rows() -> None:
    grid = [Put(f"cell{r}{c}", 72 + 100 * c, 200 + 14 * r) for c in range(2) for r in range(3)]
    lines = [*column(LEFT[:3]), Put("Table One", 72, 180), *grid, *column(RIGHT[:3], 72, 280)]
    text, words, bold = sheet(lines)
    at = {text[word.start : word.end]: n for n, word in enumerate(words)}
    title = (at["Table"], at["One"])
    rows = tuple(tuple((at[f"cell{r}{c}"],) for c in range(2)) for r in range(3))
    table = Block(72, 180, 300, 260, title, rows[:1], (*rows[1:], ((), (at["cell20"],))))
    found = strips(text, words, bold, [table])
    assert said(text, found) == [
        *LEFT[:3], "", "Table One",
        "cell00|cell01", "cell10|cell11", "cell20|cell21", "|cell20", "", *RIGHT[:3],
    ]  # fmt: skip
    assert [strip.table for strip in found] == [-1] * 3 + [0] * 5 + [-1] * 3


def test_rules_drawn_with_characters_are_no_text() -> None:
    text, words, bold = sheet([Put("+-----+", 72, 90), Put("|", 72, 100), Put("a", 90, 100), Put("+-----+", 72, 110)])
    table = Block(72, 90, 110, 120, (), (), (((2,),),))
    assert said(text, strips(text, words, bold, [table])) == ["a"]


# -- laws --------------------------------------------------------------------------------------------------------------

PLACES = st.builds(
    Put,
    st.text("ab c", min_size=1, max_size=40).filter(str.strip),
    st.sampled_from([72.0, 150.0, 320.0, 330.0, 500.0]),
    st.integers(0, 60).map(lambda n: 12.0 * n),
    st.sampled_from([8.0, 10.0, 14.0]),
    st.booleans(),
)


@given(st.lists(PLACES, max_size=40))
def test_every_word_is_in_exactly_one_line(lines: list[Put]) -> None:
    text, words, bold = sheet(lines)
    found = strips(text, words, bold)
    spans = [span for strip in found for cell in strip.cells for span in cell]
    inside = [[w for w in words if start <= w.start and w.end <= end] for start, end in spans]
    assert sorted(w.start for group in inside for w in group) == [w.start for w in words]
    assert found == strips(text, words, bold)


@given(st.lists(PLACES, max_size=40))
def test_no_line_holds_a_line_end(lines: list[Put]) -> None:
    text, words, bold = sheet(lines)
    assert all("\n" not in text[s:e] for strip in strips(text, words, bold) for cell in strip.cells for s, e in cell)


@given(st.integers(3, 12), st.integers(3, 12))
def test_two_columns_however_drawn(many: int, few: int) -> None:
    left = column([f"left line {n} of a column of plain words" for n in range(many)])
    right = column([f"right line {n} of a column of such words" for n in range(few)], X2)
    mixed = [put for row in zip_longest(left, right) for put in row if put is not None]
    assert words_only(read(mixed)) == [put.text for put in (*left, *right)]


def test_a_page_without_words() -> None:
    assert strips("", [], frozenset()) == []
    assert strips("a", [Word(0, 1, 0, 0, 5, 10, 10)], frozenset())[0].cells == (((0, 1),),)
