"""Tables found from words and rules; their columns as one line."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.ingest.segments import cut_lines
from ragapp.ingest.tables import FoundTable, column_line, continued, find_tables, same_columns
from ragapp.ingest.words import Rule
from ragapp.types import Table
from tests.sheets import FIGURES, LABELS, Sheet, column, ruled, statement, typewritten


def test_a_statement_has_rows_and_heads_and_a_title() -> None:
    sheet = statement()
    table = sheet.only()
    assert sheet.cells(table) == FIGURES
    assert table.columns == (
        "(Millions)",
        "Years ended December 31 2018",
        "Years ended December 31 2017",
        "Years ended December 31 2016",
    )
    assert sheet.say(table.title_words) == "Consolidated Statement of Income"
    assert len(table.head) == 2
    assert [sheet.say(cell) for cell in table.head[0]].count("Years ended December 31") == 1
    assert table.sure
    assert 60 < table.y0 <= 80
    assert table.x1 == pytest.approx(460)


def test_a_sign_in_a_column_of_its_own_goes_into_the_figures_cell() -> None:
    sheet = Sheet()
    sheet.rows(80, LABELS, FIGURES[:1])
    for x in (262, 332, 402):
        sheet.put(x, 80, "$")
    sheet.put(471, 108, ")")
    sheet.rows(94, LABELS, [["Cost of sales", "(16,682)", "(16,055)", "(15,118)"], ["Loss", "1", "2", "(3"]])
    assert sheet.cells(sheet.only()) == [
        ["Net sales", "$ 32,765", "$ 31,657", "$ 30,109"],
        FIGURES[1],
        ["Loss", "1", "2", "(3 )"],
    ]


def test_section_labels_stay_rows_and_are_the_context_of_the_rows_below() -> None:
    sheet = Sheet()
    lines = [
        (72, ["Current assets:"]),
        (82, ["Cash", "1", "2", "3"]),
        (82, ["Receivables", "4", "5", "6"]),
        (72, ["Total current assets", "5", "7", "9"]),
        (72, ["Equity:"]),
        (82, ["Common stock", "1", "1", "1"]),
    ]
    for k, (x, row) in enumerate(lines):
        sheet.rows(80 + 14 * k, [(x, "left"), *LABELS[1:]], [row])
    table = sheet.only()
    assert [row[0] for row in sheet.cells(table)] == [row[0] for _, row in lines]
    assert table.row_context == ("", "Current assets:", "Current assets:", "", "", "Equity:")


def test_a_label_that_wraps_is_one_cell() -> None:
    sheet = Sheet()
    sheet.rows(
        80,
        LABELS,
        [
            ["Net income", "1", "2", "3"],
            ["Net cash provided by"],
            ["operating activities", "6,439", "6,240", "6,662"],
            ["Purchases of property,", "7", "8", "9"],
            ["plant and equipment"],
            ["Other", "1", "1", "1"],
        ],
        step=12.5,
    )
    table = sheet.only()
    assert sheet.cells(table) == [
        ["Net income", "1", "2", "3"],
        ["Net cash provided by operating activities", "6,439", "6,240", "6,662"],
        ["Purchases of property, plant and equipment", "7", "8", "9"],
        ["Other", "1", "1", "1"],
    ]


def test_cells_of_words_that_wrap_go_on_with_their_row() -> None:
    sheet = Sheet()
    columns = [(72.0, "left"), (200.0, "right"), (230.0, "left")]
    sheet.rows(80, columns, [["Item", "Price", "Remark"]])
    sheet.rows(94, columns, [["Bolt", "12.50", "made of"], ["", "", "hard steel"]], step=12)
    sheet.rows(125, columns, [["Nut", "3.20", "brass"], ["Screw", "4.10", "steel"], ["Nail", "0.10", "iron"]])
    table = sheet.only()
    assert sheet.cells(table)[0] == ["Bolt", "12.50", "made of hard steel"]
    assert len(table.rows) == 4


def test_blank_cells_are_empty_and_a_row_without_a_label_is_a_row() -> None:
    sheet = Sheet()
    rows = [["A", "1", "", "3"], ["B", "", "5", "6"], ["", "1", "5", "9"], ["C", "2", "2", "2"]]
    sheet.rows(80, LABELS, rows)
    assert sheet.cells(sheet.only()) == rows


def test_dots_that_lead_to_figures_are_in_no_cell() -> None:
    sheet = Sheet()
    for k, row in enumerate(FIGURES):
        sheet.rows(80 + 14 * k, LABELS, [row])
        sheet.put(72 + sheet.width(row[0]) + 3, 80 + 14 * k, "." * 20)
    assert sheet.cells(sheet.only()) == FIGURES


def test_chinese_tables() -> None:
    sheet = Sheet()
    rows = [["营业收入", "3,276", "3,165"], ["营业成本", "1,668", "1,605"], ["净利润", "536", "486"]]
    sheet.put(72, 60, "表1 主要财务数据")
    sheet.rows(80, LABELS, [["项目", "2018年", "2017年"], *rows])
    table = sheet.only()
    assert sheet.cells(table) == rows
    assert table.columns == ("项目", "2018年", "2017年")
    assert sheet.say(table.title_words) == "表1 主要财务数据"


def test_two_tables_side_by_side_are_two() -> None:
    sheet = Sheet()
    left = [["Coal", "10", "11"], ["Oil", "20", "21"], ["Gas", "30", "31"]]
    right = [["Paris", "5", "6"], ["Rome", "7", "8"], ["Oslo", "9", "10"]]
    sheet.rows(80, [(60, "left"), (140, "right"), (180, "right")], left)
    sheet.rows(80, [(300, "left"), (400, "right"), (440, "right")], right)
    found = sheet.tables()
    assert [sheet.cells(table) for table in found] == [left, right]


def test_two_tables_side_by_side_with_lines_of_their_own() -> None:
    sheet = Sheet()
    left = [["Coal", "10", "11"], ["Oil", "20", "21"], ["Gas", "30", "31"], ["Wind", "1", "2"]]
    sheet.rows(80, [(60, "left"), (140, "right"), (180, "right")], left, step=15)
    sheet.rows(87, [(300, "left"), (400, "right"), (440, "right")], left, step=15)
    assert [sheet.cells(table) for table in sheet.tables()] == [left, left]


def test_a_table_beside_a_column_of_prose_is_seen_alone() -> None:
    sheet = Sheet()
    column(sheet, 50, 60, 14, width=220)
    rows = [["SB-onto", "59.0", "35.6"], ["SB-fine", "76.8", "68.8"], ["T5", "73.0", "75.8"]]
    sheet.rows(88, [(310, "left"), (420, "right"), (470, "right")], [["", "P", "R"], *rows])
    table = sheet.only()
    assert sheet.cells(table) == rows
    assert table.x0 >= 310


def test_a_ruled_table_with_cells_of_several_lines() -> None:
    sheet = ruled()
    table = sheet.only()
    assert table.columns == ("Type", "All of the students", "Some")
    assert sheet.cells(table) == [
        ["Content", "Students who need other ways", "Grade level"],
        ["Achievement", "", "Modified"],
    ]
    assert (table.x0, table.y0, table.x1, table.y1) == (60, 80, 360, 175)
    assert sheet.say(table.title_words) == "Exhibit 9. Types of assessments"


def test_a_head_over_several_ruled_columns_is_given_to_each() -> None:
    sheet = Sheet()
    sheet.grid([60, 160, 260, 360], [80, 100, 120, 140, 160])
    # The wall between the last two columns begins below the head, and the first head goes on into the second row.
    sheet.rules = [r for r in sheet.rules if r.x0 != 260 or r.x1 != 260] + [Rule(260, 100, 260, 160)]
    sheet.rules = [r for r in sheet.rules if r.y0 != 100 or r.y1 != 100] + [Rule(160, 100, 360, 100)]
    sheet.put(65, 92, "Season")
    sheet.put(260, 83, "Release dates", "middle")
    sheet.rows(103, [(165, "left"), (265, "left")], [["Region 1", "Region 2"]])
    sheet.rows(
        123, [(65, "left"), (165, "left"), (265, "left")], [["1st", "2003", "2004"], ["2nd", "2005", "2006"]], 20
    )
    table = sheet.only()
    assert table.columns == ("Season", "Release dates Region 1", "Release dates Region 2")
    assert sheet.cells(table) == [["1st", "2003", "2004"], ["2nd", "2005", "2006"]]


def test_only_the_outside_is_ruled() -> None:
    sheet = Sheet()
    sheet.grid([60, 160, 260, 360], [78, 94, 140])
    sheet.rows(80, [(65, "left"), (255, "right"), (355, "right")], [["City", "Jan", "Feb"]])
    rows = [["Tulsa", "48", "53"], ["Lawton", "50", "56"], ["Enid", "47", "51"]]
    sheet.rows(96, [(65, "left"), (255, "right"), (355, "right")], rows)
    table = sheet.only()
    assert sheet.cells(table) == rows
    assert table.columns == ("City", "Jan", "Feb")
    assert (table.x0, table.x1) == (60, 360)


def test_a_rule_that_hangs_on_a_table_by_one_end_does_not_widen_it() -> None:
    sheet = ruled()
    sheet.rules.append(Rule(360, 130, 560, 130))
    sheet.put(400, 150, "A heading beside")
    assert sheet.only().x1 == 360


def test_a_table_drawn_with_characters() -> None:
    sheet = Sheet()
    art = [
        "+======+==========+",
        "| Bits | Type     |",
        "+======+==========+",
        "| 0x00 | Client   |",
        "+------+----------+",
        "| 0x01 | Server   |",
        "+------+----------+",
    ]
    typewritten(sheet, 60, 60, art)
    table = sheet.only()
    assert table.columns == ("Bits", "Type")
    assert sheet.cells(table) == [["0x00", "Client"], ["0x01", "Server"]]


def test_level_rules_make_a_table_of_words() -> None:
    sheet = Sheet()
    rows = [["u", "Urgency", "Section 4"], ["i", "Incremental", "Section 5"], ["q", "Quality", "Section 6"]]
    sheet.rows(80, [(60, "left"), (150, "left"), (280, "left")], [["Name", "Meaning", "Reference"], *rows])
    assert sheet.tables() == []
    sheet.rules = [Rule(58, y, 340, y) for y in (78, 93, 136)]
    assert sheet.cells(sheet.only())[-3:] == rows


def test_prose_around_a_table_is_left_out() -> None:
    sheet = Sheet()
    column(sheet, 72, 60, 4, width=420)
    sheet.rows(130, LABELS, [["", "2018", "2017", "2016"], *FIGURES])
    column(sheet, 72, 215, 4, width=420)
    table = sheet.only()
    assert sheet.cells(table) == FIGURES
    assert table.title_words == ()


def test_lines_set_close_stay_apart() -> None:
    sheet = Sheet()
    sheet.rows(80, LABELS, FIGURES, step=9.5)
    assert sheet.cells(sheet.only()) == FIGURES


def pieces(sheet: Sheet) -> list[list[str]]:
    lines = cut_lines(sheet.words, sheet.text, range(len(sheet.words)), 11.5)
    return [[piece.text for piece in line.pieces] for line in lines]


def test_two_spaces_after_a_sentence_are_no_gap_in_typewriter_text() -> None:
    sheet = Sheet()
    typewritten(sheet, 60, 60, ["It is one.  So are two of them.", "A line  and     a gap"])
    assert pieces(sheet) == [["It is one. So are two of them."], ["A line and", "a gap"]]


def test_a_stretched_line_is_one_piece_and_a_row_of_figures_is_not() -> None:
    sheet = Sheet()
    sheet.put(60, 60, "These words are stretched", space=1.1)
    sheet.put(60, 80, "1,2 3,4 5,6 7,8", space=1.1)
    assert pieces(sheet) == [["These words are stretched"], ["1,2", "3,4", "5,6", "7,8"]]


def test_a_row_across_a_ruled_table_is_its_title() -> None:
    sheet = ruled()
    sheet.rules += [Rule(60, 55, 360, 55), Rule(60, 55, 60, 80), Rule(360, 55, 360, 80)]
    table = sheet.only()
    assert sheet.say(table.title_words) == "Exhibit 9. Types of assessments"
    assert table.columns == ("Type", "All of the students", "Some")
    assert table.y0 == 80


def test_a_ruled_cell_over_two_rows_stands_in_the_first() -> None:
    sheet = Sheet()
    sheet.grid([60, 160, 260], [80, 100, 120, 140])
    sheet.rules = [r for r in sheet.rules if r.y0 != 120 or r.y1 != 120] + [Rule(160, 120, 260, 120)]
    sheet.put(60, 60, "Values by year")
    sheet.rows(83, [(65, "left"), (165, "left")], [["Year", "Value"], ["", "7"], ["2001", "9"]], 20)
    table = sheet.only()
    assert sheet.cells(table) == [["2001", "7"], ["", "9"]]


def test_a_table_inside_a_cell_of_another_keeps_its_words() -> None:
    sheet = ruled()
    sheet.grid([40, 420, 520], [40, 300, 340])
    sheet.put(50, 310, "Sum")
    sheet.put(430, 310, "Total")
    sheet.put(430, 200, "Right")
    used = [i for t in sheet.tables() for row in (*t.head, *t.rows) for cell in row for i in cell]
    assert len(used) == len(set(used)) > 10


def test_a_drawn_column_without_words_is_a_column() -> None:
    first, second = ruled(), Sheet()
    second.grid([60, 160, 260, 360], [80, 110, 150])
    second.rows(82, [(165, "left"), (265, "left")], [["4 May 1990", "7 June"], ["5 May 1991", "8 June"]], 32)
    assert len(second.only().columns) == 3
    assert same_columns(first.only(), second.only())


def test_columns_between_the_lines_that_are_drawn() -> None:
    sheet = Sheet()
    rows = [["Alpha", "59.0", "35.6", "44.4"], ["Beta", "76.8", "68.8", "72.6"], ["Gamma", "73.0", "75.8", "74.4"]]
    sheet.rules = [Rule(60, y, 300, y) for y in (78, 94, 138)] + [Rule(120, 78, 120, 138)]
    sheet.rows(80, [(65, "left"), (170, "right"), (220, "right"), (270, "right")], [["", "P", "R", "F"], *rows])
    table = sheet.only()
    assert sheet.cells(table) == rows
    assert table.columns == ("", "P", "R", "F")


def test_the_end_of_a_paragraph_beside_a_table_is_left_out() -> None:
    sheet = Sheet()
    column(sheet, 50, 60, 4, width=220)
    sheet.put(50, 110, "of the year.")
    column(sheet, 50, 122.5, 6, width=220)
    rows = [["Alpha", "59.0", "35.6"], ["Beta", "76.8", "68.8"], ["Gamma", "73.0", "75.8"], ["Delta", "1.0", "2.0"]]
    sheet.rows(85, [(310, "left"), (420, "right"), (470, "right")], rows, step=12.5)
    assert sheet.cells(sheet.only()) == rows


def test_a_heading_beside_a_table_is_left_out() -> None:
    sheet = statement()
    sheet.put(500, 122, "Rater Study")
    assert sheet.cells(sheet.only()) == FIGURES


def test_a_table_beside_a_list_with_lines_of_its_own() -> None:
    sheet = Sheet()
    rows = [["Coal", "10", "11"], ["Oil", "20", "21"], ["Gas", "30", "31"], ["Wind", "1", "2"]]
    sheet.rows(80, [(60, "left"), (140, "right"), (180, "right")], rows, step=16)
    sheet.rows(88, [(300, "left")], [["apples"], ["pears"], ["plums"]], step=16)
    assert [sheet.cells(table) for table in sheet.tables()] == [rows]


def test_tables_below_each_other_are_two() -> None:
    far = Sheet()
    for y in (80, 180):
        far.rows(y, LABELS, FIGURES)
    assert [far.cells(table) for table in far.tables()] == [FIGURES, FIGURES]


def test_a_narrow_head_over_a_head_stands_over_it_alone() -> None:
    sheet = Sheet()
    sheet.put(370, 80, "Net", "middle")
    rows = [["Coal", "10", "1,234,567", "12"], ["Oil", "20", "2,345,678", "22"], ["Gas", "30", "3,456,789", "32"]]
    columns = [(72.0, "left"), (300.0, "right"), (370.0, "middle"), (440.0, "right")]
    sheet.rows(94, columns, [["", "gross", "sales", "other"], *rows])
    assert sheet.only().columns == ("", "gross", "Net sales", "other")


def test_a_numbered_caption_is_the_whole_title() -> None:
    sheet = Sheet()
    sheet.put(72, 48, "Results of the study")
    sheet.put(72, 61, "Table 3: Sales by year")
    sheet.rows(80, LABELS, FIGURES)
    assert sheet.say(sheet.only().title_words) == "Table 3: Sales by year"


def test_columns_that_only_overlap_are_other_columns() -> None:
    sheet = Sheet()
    sheet.rows(
        80, [(72, "left"), *((x + 15, "right") for x, _ in LABELS[1:])], [row[:1] + ["11,111"] * 3 for row in FIGURES]
    )
    assert not same_columns(statement().only(), sheet.only())


def test_a_table_goes_on_without_heads_on_the_next_page() -> None:
    first, second = statement(), Sheet()
    more = [["Research", "1,821", "1,870", "1,764"], ["Gain", "(547)", "(586)", "(111)"], ["Income", "7", "7", "6"]]
    second.rows(60, LABELS, more)
    before, after = first.only(), second.only()
    assert after.columns == ("", "", "", "")
    assert same_columns(before, after)
    joined = continued(before, after)
    assert joined.columns == before.columns
    assert joined.rows == after.rows
    assert joined.head == ()


def test_the_context_goes_on_on_the_next_page() -> None:
    first, second = Sheet(), Sheet()
    first.rows(80, LABELS, [["Assets:"]])
    first.rows(
        94, [(82, "left"), *LABELS[1:]], [["Cash", "1", "2", "3"], ["Land", "4", "5", "6"], ["Oil", "1", "1", "1"]]
    )
    second.rows(
        60, [(82, "left"), *LABELS[1:]], [["Ships", "1", "2", "3"], ["Other", "4", "5", "6"], ["X", "1", "1", "1"]]
    )
    first.put(72, 66, "Balance")
    joined = continued(first.only(), second.only())
    assert joined.row_context == ("Assets:",) * 3


def test_a_first_row_that_was_taken_for_a_head_is_given_back() -> None:
    first, second = ruled(), Sheet()
    second.grid([60, 160, 260, 360], [80, 110, 150])
    second.rows(
        82, [(65, "left"), (165, "left"), (265, "left")], [["Scope", "State", "Local"], ["Form", "Oral", "Paper"]], 32
    )
    before, after = first.only(), second.only()
    assert after.columns == ("Scope", "State", "Local")
    joined = continued(before, after)
    assert joined.columns == before.columns
    assert second.cells(joined) == [["Scope", "State", "Local"], ["Form", "Oral", "Paper"]]
    assert len(joined.row_context) == 2


def test_a_table_with_heads_of_its_own_or_other_columns_is_not_continued() -> None:
    before, other = statement().only(), statement()
    other.put(530, 94, "2015", "right")
    for k in range(4):
        other.put(530, 108 + 14 * k, "1", "right")
    wider = other.only()
    assert not same_columns(before, wider)
    assert continued(before, wider) is wider
    shifted = Sheet()
    shifted.rows(60, [(72, "left"), (250, "right"), (310, "right"), (540, "right")], FIGURES)
    assert not same_columns(before, shifted.only())
    again = statement().only()
    assert continued(before, again) is again


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (("", "Years ended December 31 2018", "Years ended December 31 2017"), "Years ended December 31: 2018 | 2017"),
        (("Item", "2018", "2017"), "Item | 2018 | 2017"),
        (("", "2018", "2018", "2017"), "2018 | 2017"),
        (
            ("", "Sales 2018", "Sales 2017", "Income 2018", "Income 2017"),
            "Sales: 2018 | 2017; Income: 2018 | 2017",
        ),
        (("Name", "Sales 2018", "Sales 2017", "Note"), "Name; Sales: 2018 | 2017; Note"),
        (("", "A", "", "B", ""), "A | – | B"),
        (("", "Total", "Total net"), "Total: – | net"),
        (("", "", ""), ""),
        ((), ""),
    ],
)
def test_column_line(columns: tuple[str, ...], line: str) -> None:
    assert column_line(Table(1, 0, 0, "", columns, ())) == line


@given(st.lists(st.text("ab ", max_size=6), max_size=6))
def test_column_line_keeps_every_word_and_adds_none(columns: list[str]) -> None:
    line = column_line(Table(1, 0, 0, "", tuple(columns), ()))
    said = {word.strip(":;|–") for word in line.split()} - {""}
    assert said == {word for column in columns for word in column.split()}
    assert "\n" not in line


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    """Pages with some tables, ruled or not, some prose and some stray words."""
    sheet = Sheet(size=draw(st.sampled_from([7.0, 10.0, 14.0])))
    y = 40.0
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["figures", "grid", "prose", "strays"]))
        wide = draw(st.integers(2, 5))
        high = draw(st.integers(2, 6))
        cell = st.sampled_from(["", "12", "3,400", "(7)", "—", "$ 5", "Cash", "Net sales", "2018", "甲乙", "a b c"])
        rows = [[draw(cell) for _ in range(wide)] for _ in range(high)]
        step = draw(st.sampled_from([1.3, 1.6, 2.0])) * sheet.size
        if kind == "prose":
            column(sheet, 50, y, high + 2, width=draw(st.sampled_from([200, 400])), step=1.3 * sheet.size)
            y += 1.3 * sheet.size * (high + 2)
        elif kind == "strays":
            for row in rows:
                sheet.put(draw(st.integers(40, 400)), y, row[0] or "x")
                y += draw(st.integers(3, 30))
        else:
            align = draw(st.sampled_from(["left", "right", "middle"]))
            columns = [(60.0, "left"), *((60 + 90.0 * (k + 1), align) for k in range(1, wide))]
            sheet.rows(y, columns, rows, step)
            if kind == "grid":
                xs = [55 + 90.0 * k + (45 if k else 0) for k in range(wide + 1)]
                sheet.grid(xs, [y - 1 + step * k for k in range(high + 1)])
            y += step * high
        y += draw(st.sampled_from([1.0, 20.0, 60.0]))
    return sheet


def shape(table: FoundTable) -> tuple[object, ...]:
    return table.columns, table.title_words, table.head, table.rows, table.row_context, table.sure


@settings(max_examples=150, deadline=None)
@given(sheets())
def test_cells_are_sound(sheet: Sheet) -> None:
    used: list[int] = []
    for table in sheet.tables():
        wide = len(table.columns)
        assert wide >= 2
        assert len(table.spans) == wide
        assert len(table.row_context) == len(table.rows) > 0
        assert all(len(row) == wide for row in (*table.head, *table.rows))
        assert all(a[1] <= b[0] for a, b in zip(table.spans, table.spans[1:], strict=False))
        cells = [cell for row in (*table.head, *table.rows) for cell in row]
        used += [i for cell in cells for i in cell] + list(table.title_words)
        for cell in cells:
            for i in cell:
                word = sheet.words[i]
                assert table.x0 - 1 <= (word.x0 + word.x1) / 2 <= table.x1 + 1
                assert table.y0 - 1 <= (word.y0 + word.y1) / 2 <= table.y1 + 1
        tops = [min(sheet.words[i].y0 for cell in row for i in cell) for row in table.rows if any(row)]
        assert tops == sorted(tops)
        for row in table.rows:
            lefts = [min(sheet.words[i].x0 for i in cell) for cell in row if cell]
            assert lefts == sorted(lefts)
    assert len(used) == len(set(used))
    assert all(0 <= i < len(sheet.words) for i in used)


@settings(max_examples=60, deadline=None)
@given(sheets(), st.sampled_from([0.5, 2.0, 4.0]), st.sampled_from([-32.0, 0.0, 256.0]))
def test_moving_and_scaling_a_page_changes_nothing(sheet: Sheet, scale: float, shift: float) -> None:
    def at(value: float) -> float:
        return value * scale + shift

    words = [replace(w, x0=at(w.x0), y0=at(w.y0), x1=at(w.x1), y1=at(w.y1)) for w in sheet.words]
    rules = [Rule(at(r.x0), at(r.y0), at(r.x1), at(r.y1)) for r in sheet.rules]
    moved = find_tables(words, sheet.text, rules)
    assert [shape(table) for table in moved] == [shape(table) for table in sheet.tables()]


@settings(max_examples=60, deadline=None)
@given(sheets(), st.randoms(use_true_random=False))
def test_the_order_of_words_and_rules_does_not_matter(sheet: Sheet, chance: random.Random) -> None:
    order = list(range(len(sheet.words)))
    chance.shuffle(order)
    rules = list(sheet.rules)
    chance.shuffle(rules)
    mixed = find_tables([sheet.words[i] for i in order], sheet.text, rules)

    def back(cell: Sequence[int]) -> tuple[int, ...]:
        return tuple(order[i] for i in cell)

    found = [
        (t.columns, [[back(cell) for cell in row] for row in t.rows], back(t.title_words), t.row_context) for t in mixed
    ]
    expected = [
        (t.columns, [[tuple(cell) for cell in row] for row in t.rows], t.title_words, t.row_context)
        for t in sheet.tables()
    ]
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 7).flatmap(
        lambda high: st.lists(
            st.lists(st.integers(-99999, 99999), min_size=high, max_size=high), min_size=2, max_size=5
        )
    )
)
def test_every_figure_of_a_plain_table_is_found_in_its_row_and_column(figures: list[list[int]]) -> None:
    sheet = Sheet()
    high = len(figures[0])
    columns = [(60.0, "left"), *((200 + 70.0 * k, "right") for k in range(len(figures)))]
    rows = [[f"Item {'abcdefg'[r]}", *(f"{column[r]:,}" for column in figures)] for r in range(high)]
    heads = ["", *(f"Head {'vwxyz'[k]}" for k in range(len(figures)))]
    sheet.rows(80, columns, [heads, *rows])
    table = sheet.only()
    assert sheet.cells(table) == rows
    assert table.columns == tuple(heads)
