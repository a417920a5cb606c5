"""Sentences, white space, scripts."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.text import NO_ANSWER_EN, NO_ANSWER_ZH, collapse, has_cjk, join_broken, no_answer, sentences

PIECES = st.sampled_from(
    [
        *" \n\t.!?。！？…；”\"')]-\u00ad",
        "Dr.",
        "U.S.",
        "e.g.",
        "3.14",
        "Word",
        "word",
        "[1]",
        "现金",
        "• ",
        "1. ",
        "\t",
        "\n\n",
        "\r",
        "\u3000",
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=80))


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@given(TEXTS)
def test_sentences_hold_every_character_that_is_not_space_in_order(text: str) -> None:
    spans = list(sentences(text))
    assert all(start < end for start, end in spans)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))
    covered = {i for start, end in spans for i in range(start, end)}
    assert [i for i, c in enumerate(text) if not c.isspace() and i not in covered] == []
    assert all(not text[start].isspace() and not text[end - 1].isspace() for start, end in spans)


@given(TEXTS, st.integers(0, 80), st.integers(0, 80))
def test_sentences_of_a_part_stay_inside_it(text: str, one: int, other: int) -> None:
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    spans = list(sentences(text, start, end))
    assert all(start <= left < right <= end for left, right in spans)
    covered = {i for left, right in spans for i in range(left, right)}
    assert all(i in covered for i in range(start, end) if not text[i].isspace())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met Mr. Jones of the U.S. Senate. So.", ["Dr. Smith met Mr. Jones of the U.S. Senate.", "So."]),
        ("See Fig. 3 and e.g. Eq. 4. Then stop.", ["See Fig. 3 and e.g. Eq. 4.", "Then stop."]),
        ("It rose 3.5 percent to 1.2 billion. Good.", ["It rose 3.5 percent to 1.2 billion.", "Good."]),
        ("He said “Stop.” Then he left.", ["He said “Stop.”", "Then he left."]),
        ('She asked "Why?" Nobody knew.', ['She asked "Why?"', "Nobody knew."]),
        ("This is known.[12] That is new.", ["This is known.[12]", "That is new."]),
        ("the firm etc. and others agree. Yes.", ["the firm etc. and others agree.", "Yes."]),
        ("第一句。第二句！“第三句？”第四句", ["第一句。", "第二句！", "“第三句？”", "第四句"]),
        ("A line that is\nbroken goes on. Next.", ["A line that is\nbroken goes on.", "Next."]),
        ("One paragraph\n\nAnother one", ["One paragraph", "Another one"]),
        ("Items:\n• first item\n• second item", ["Items:", "• first item", "• second item"]),
        ("Cash Flows\nThe company earned money.", ["Cash Flows", "The company earned money."]),
        ("Sales:\nNet sales\t2018. Up\t5\nCosts\t4\nIt rose. Much.",
         ["Sales:", "Net sales\t2018. Up\t5", "Costs\t4", "It rose.", "Much."]),
        ("\t2018\t2017 \nCosts\t5\t4\t\n", ["2018\t2017", "Costs\t5\t4"]),
        ("1.\tThe first point goes\non here. Next.", ["1.", "The first point goes\non here.", "Next."]),
        ("1.\tNet sales\t5. 4\n", ["1.\tNet sales\t5. 4"]),
        ("\tAn indented paragraph\ngoes on. Next.", ["An indented paragraph\ngoes on.", "Next."]),
        ("现金\t5。4\n表后。", ["现金\t5。4", "表后。"]),
        ("", []),
        (" \n\t ", []),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_a_long_run_of_spaces_takes_no_longer_than_text() -> None:
    started = time.process_time()
    assert split(f"one{' ' * 60_000}two") == [f"one{' ' * 60_000}two"]
    assert time.process_time() - started < 1


@given(TEXTS)
def test_collapse_is_one_line_and_stays_as_it_is(text: str) -> None:
    line = collapse(text)
    assert "\n" not in line
    assert "  " not in line
    assert line == line.strip()
    assert "\u00ad" not in line
    assert collapse(line) == line


@given(TEXTS)
def test_collapse_loses_no_letter(text: str) -> None:
    def letters(value: str) -> list[str]:
        return [c for c in value if not c.isspace() and c != "\u00ad"]

    assert letters(collapse(text)) == letters(text)


def test_collapse_joins_broken_words_and_leaves_no_gap_between_chinese() -> None:
    assert collapse("exam\u00ad \n ple  of\ttext\n") == "example of text"
    assert collapse("现金 流量\n表，共 3 页") == "现金流量表，共 3 页"


def test_join_broken_takes_the_hyphen_with_its_line_end_and_no_other() -> None:
    assert join_broken("co\u00adoper\u00ad\nate") == "cooperate"
    assert join_broken("well-\nknown and well-known") == "well-\nknown and well-known"


def test_scripts_and_the_sentence_that_says_no() -> None:
    assert has_cjk("ab 金")
    assert not has_cjk("naïve — “quotes”")
    assert no_answer("现金流量是多少?") == NO_ANSWER_ZH
    assert no_answer("How much cash?") == NO_ANSWER_EN
