"""Figures: found in what an answer says, and known in what a passage says, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.figures import Known, figures


def found(text: str) -> list[str]:
    return [text[number.start : number.end] for number in figures(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It sold 1,204 units, 12 % of $4.2 million, in 2018.", ["1,204", "12 %", "4.2 million", "2018"]),
        ("See 1.2.3 and 4,2 and １２.", ["1.2.3", "4,2", "１２"]),
        ("1. First 7\n2) Second\n- 3. Third\n(4) Fourth\n5.5 litres", ["7", "5.5"]),
        ("一、甲\n二、乙有十二人", ["十二"]),
        ("Passage 2 says 5, and document 3 too.", ["5"]),
        ("第一，好。第3条写着第二，", ["3"]),
        ("三千二百元，二〇二〇年，百分之十二，3.5万，九月", ["三千二百", "二〇二〇", "百分之十二", "3.5万", "九"]),
        ("一个，两个，万一，千万不要，统一", []),
        ("H2O and 42L on 1998-03-05", ["2", "42", "1998", "03", "05"]),
        ("nothing", []),
    ],
)
def test_figures_of_a_text(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("1204", "1,204"), ("1,204", "1204"), ("12 %", "12%"), ("12%", "12 percent"), ("12 per cent", "12 %"),
        ("12%", "Share (%)\n12"), ("12%", "百分之十二"), ("12", "12%"), ("$4.2 million", "4,200,000"),
        ("4,200,000", "4.2 million"), ("4.2 million", "in millions: 4.2"), ("42000", "4.2万"),
        ("4.2万", "42,000"), ("1.2亿", "一亿二千万"), ("3200", "三千二百"), ("9千瓦", "九千瓦"), ("9", "九千瓦"),
        ("2020", "二〇二〇年"), ("24", "twenty-four hours"), ("90", "ninety days"), ("12", "twelve"),
        ("3", "the third"), ("1998-03-05", "March 5, 1998"), ("2.0", "2"), ("007", "7"), ("１２", "12"),
        ("4,2", "4,2"), ("1.2.3", "version 1.2.3"), ("三点五", "3.5"), ("5 bn", "5 billion"),
    ],
)  # fmt: skip
def test_figures_that_stand_there(said: str, text: str) -> None:
    known = Known([text])
    assert found(said)
    assert all(known.has(number) for number in figures(said))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("1204", "1205"), ("204", "1,204"), ("12%", "12 pieces"), ("4.2", "4.2 million"),
        ("4.2 million", "4.2 litres"), ("4.2 million", "4.2 billion"), ("4.3 million", "4,299,000"),
        ("42", "4.2"), ("4,2", "4.2"), ("三千二百", "3,201"), ("九千", "八千瓦"), ("2018", "2019"),
        ("25", "twenty-four"), ("6", "March"), ("1.2.3", "1.2.4"), ("5", ""),
    ],
)  # fmt: skip
def test_figures_that_do_not(said: str, text: str) -> None:
    known = Known([text])
    assert found(said)
    assert not all(known.has(number) for number in figures(said))


@given(
    st.integers(0, 10**9), st.sampled_from(["{}", "{:,}", "{} %", "${}", "{} litres", "({}).", "共{}元", "in {:,}."])
)
def test_a_number_stands_in_itself_however_it_is_spelled(number: int, spelled: str) -> None:
    text = f"It was {spelled.format(number)} then"
    for said in (f"x {number} y", f"x {number:,} y"):
        (figure,) = figures(said)
        assert Known([text]).has(figure)
        assert Known(["other", text]).has(figure)
        assert not Known([f"It was {number + 1} and {number}7 and 7{number}"]).has(figure)


@given(st.integers(1, 99_999_999))
def test_chinese_numerals_have_the_value_of_digits(number: int) -> None:
    digits, steps = "零一二三四五六七八九", ["", "十", "百", "千"]

    def section(part: int) -> str:
        text = "".join(
            digits[int(c)] + (steps[len(str(part)) - 1 - i] if c != "0" else "") for i, c in enumerate(str(part))
        )
        while "零零" in text:
            text = text.replace("零零", "零")
        return text.rstrip("零")

    high, low = divmod(number, 10_000)
    text = (
        (section(high) + "万" if high else "")
        + ("零" if high and 0 < low < 1000 else "")
        + (section(low) if low else "")
    )
    (figure,) = figures(f"x {number} y")
    assert Known([f"共{text}元"]).has(figure)


@pytest.mark.parametrize("text", ["一" * 5000, "亿" * 5000 + "点五", "一" * 5000 + "点" + "五" * 5000, "9" * 5000])
def test_an_endless_numeral_breaks_nothing(text: str) -> None:
    assert len(list(figures(f"{text} million"))) <= 1
    assert not Known([text]).has(next(iter(figures("42"))))


@given(st.text("0123456789.,%一二三十百千万亿点零 amillionMarch-", max_size=30))
def test_any_text(text: str) -> None:
    last = 0
    known = Known([text])
    for number in figures(text):
        assert last <= number.start < number.end <= len(text)
        assert known.has(number)
        last = number.start
