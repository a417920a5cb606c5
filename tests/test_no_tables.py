"""What looks like a table to a machine and is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragapp.ingest.words import Rule, Word
from tests.sheets import Sheet, column, statement, typewritten


def test_a_frame_around_prose_and_a_rule_under_a_heading_are_no_table() -> None:
    sheet = Sheet()
    sheet.grid([50, 300], [50, 300])
    column(sheet, 60, 60, 15, width=220)
    sheet.rules.append(Rule(20, 150, 50, 150))
    assert sheet.tables() == []


def prose_in_columns() -> Sheet:
    sheet = Sheet()
    for x in (50, 310):
        column(sheet, x, 60, 30, width=230)
    return sheet


def prose_with_figures() -> Sheet:
    sheet = Sheet()
    for k in range(8):
        sheet.put(
            60, 60 + 13 * k, f"In {2010 + k} the sales were {k}7,{k}12 million and the costs fell by {k}.5% to 12"
        )
    return sheet


def lists() -> Sheet:
    sheet = Sheet()
    for k in range(8):
        sheet.put(60, 60 + 14 * k, f"{k + 1}.")
        sheet.put(85, 60 + 14 * k, ["Apples", "Bananas and pears", "Plums"][k % 3])
    return sheet


def contents(leaders: bool) -> Sheet:
    sheet = Sheet()
    for k, title in enumerate(["Introduction", "Methods", "Results", "Discussion", "Appendix", "Index", "Notes"]):
        sheet.put(60, 60 + 14 * k, title)
        if leaders:
            sheet.put(60 + sheet.width(title) + 3, 60 + 14 * k, "." * 60)
        sheet.put(500, 60 + 14 * k, str([3, 7, 12, 12, 30, 41, 55][k]), "right")
    return sheet


def addresses() -> Sheet:
    sheet = Sheet()
    rows = [
        ["Anna Berg", "Carl Dahl", "Eva Falk"],
        ["Main Street 5", "Hill Road 17", "Park Lane 3"],
        ["12345 Berlin", "54321 Bonn", "10101 Ulm"],
        ["Germany", "Germany", "Germany"],
    ]
    sheet.rows(60, [(60, "left"), (220, "left"), (380, "left")], rows)
    return sheet


def form() -> Sheet:
    sheet = Sheet()
    rows = [
        ["Name:", "Smith", "Date:", "01/02/2008"],
        ["Age:", "44", "Seats:", "4"],
        ["Height:", "180", "Engines:", "2"],
        ["Hours:", "2319", "Rated power:", "150"],
    ]
    sheet.rows(60, [(60, "left"), (150, "left"), (300, "left"), (420, "left")], rows)
    return sheet


def code() -> Sheet:
    sheet = Sheet()
    lines = ["int a   =  1;", "int bcd =  22;", "int ef  =  333;", "for (;;) {   x += 1; }", "return   a;", "}"]
    typewritten(sheet, 60, 60, lines)
    return sheet


def formula() -> Sheet:
    sheet = Sheet()
    for k in range(4):
        sheet.rows(60 + 14 * k, [(60, "left"), (150, "left"), (200, "left")], [["f(x)", "=", f"{k} x"]])
    return sheet


def indices() -> Sheet:
    sheet = Sheet()
    for k in range(6):
        sheet.rows(60 + 14 * k, [(60, "left"), (150, "left"), (200, "left")], [["x y", "3 4", "z 2"]])
        sheet.rows(66 + 14 * k, [(70, "left"), (160, "left"), (210, "left")], [["1", "2", "0"]])
    return sheet


def diagram() -> Sheet:
    sheet = Sheet()
    art = [
        "  0   1   2   3   4   5   6   7",
        "+---+---+---+---+---+---+---+---+",
        "| 1 | T |   Name Index (6+)     |",
        "+---+---+-----------------------+",
        "| H |     Value Length (7+)     |",
        "+---+---------------------------+",
        "|  Value String (Length bytes)  |",
        "+-------------------------------+",
    ]
    typewritten(sheet, 60, 60, art)
    return sheet


def chart() -> Sheet:
    sheet = Sheet()
    sheet.grid([100, 150, 200, 250, 300], [60, 100, 140, 180])
    for k in range(4):
        sheet.put(95, 55 + 40 * k, str(30 - 10 * k), "right")
        sheet.put(100 + 50 * k, 184, "abcd"[k], "middle")
    sheet.put(180, 112, "growth")
    return sheet


def turned() -> Sheet:
    sheet = Sheet()
    words = [Word(w.start, w.end, w.y0, w.x0, w.y1, w.x1, w.size) for w in statement().words]
    return replace(sheet, words=words, text=statement().text)


def boxes() -> Sheet:
    sheet = Sheet()
    art = ["+---+---+---+", "| 1 | T | N |", "+---+---+---+", "| H | Value |", "+---+-------+", "| a | b | c |"]
    typewritten(sheet, 60, 60, [*art, art[0]])
    return sheet


def words_over_lines() -> Sheet:
    sheet = Sheet()
    sheet.grid([100, 150, 200, 250, 300], [60, 100, 140, 180])
    for y in (70, 110, 150):
        for x, word in ((150, "alpha"), (200, "beta"), (250, "gamma")):
            sheet.put(x, y, word, "middle")
    return sheet


def prose_in_boxes() -> Sheet:
    sheet = Sheet()
    sheet.grid([50, 290, 530], [50, 200, 350])
    for x in (55, 295):
        for y in (55, 205):
            column(sheet, x, y, 11, width=228)
    return sheet


def contents_out_of_order() -> Sheet:
    sheet = Sheet()
    for k, page in enumerate([40, 3, 27, 12, 90]):
        sheet.put(60, 60 + 14 * k, "Part " + "abcde"[k])
        sheet.put(95, 60 + 14 * k, "." * 60)
        sheet.put(500, 60 + 14 * k, str(page), "right")
    return sheet


def chart_without_lines() -> Sheet:
    sheet = Sheet()
    for k, (axis, first, second) in enumerate([("8", "7.9", "7.8"), ("7", "7.1", "7.2"), ("6", "6.4", "6.3")]):
        sheet.put(100, 60 + 28 * k, axis)
        sheet.rows(74 + 28 * k, [(150, "left"), (220, "left")], [[first, second]])
    return sheet


def marks_on_a_line() -> Sheet:
    sheet = Sheet()
    sheet.rows(60, [(x, "left") for x in (100, 180, 260)], [["start", "middle", "end"]])
    sheet.rows(74, [(x, "left") for x in (60, 150, 230, 310)], [["0", "12", "34", "1"]])
    return sheet


NEGATIVE = {
    "boxes": boxes(),
    "words over lines": words_over_lines(),
    "prose in boxes": prose_in_boxes(),
    "contents out of order": contents_out_of_order(),
    "chart without lines": chart_without_lines(),
    "marks on a line": marks_on_a_line(),
    "prose in columns": prose_in_columns(),
    "prose with figures": prose_with_figures(),
    "list": lists(),
    "contents with dots": contents(True),
    "contents": contents(False),
    "addresses": addresses(),
    "form": form(),
    "code": code(),
    "formula": formula(),
    "indices": indices(),
    "diagram": diagram(),
    "chart": chart(),
    "turned": turned(),
    "empty": Sheet(),
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_what_is_no_table(name: str) -> None:
    sheet = NEGATIVE[name]
    assert [sheet.cells(table) for table in sheet.tables()] == []


def test_a_ruled_form_is_no_table() -> None:
    sheet = form()
    sheet.grid([55, 145, 295, 415, 520], [58, 73, 87, 101, 115])
    assert sheet.tables() == []
