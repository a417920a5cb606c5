"""A page's own text is judged by its characters: a broken one is noticed, a good one of any kind is left alone."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.ingest.quality import SAMPLE, PageFacts, quality_of

PLAIN = PageFacts(objects=3)
SCAN = PageFacts(objects=1, images=1, image_share=1.0)

ENGLISH = """The lighthouse keeper wrote the weather down every four hours. In winter the wind turned to the north, and
the lamp was trimmed before midnight; strengths of the current are given in knots. Nothing else was asked of him."""
POLISH = """W Szczebrzeszynie chrząszcz brzmi w trzcinie i Szczebrzeszyn z tego słynie. Wół go pyta: panie chrząszczu,
po co pan tak brzęczy w gąszczu? Bezwzględny źdźbło wstrząsnął, a wszystko przez deszcz i wiatr nad Bałtykiem."""
GERMAN = """Das Angstschweißtuch der Rechtschreibprüfung: Nachtschicht, Wirtschaftsprüfer und Borschtschschüssel stehen
im Abschlussbericht. Die Durchschnittstemperatur betrug zwölf Grad, der Marschschritt war schwer genug."""
CHINESE = """灯塔看守人每四个小时记录一次天气。冬天风转向北方，午夜之前要修剪灯芯。水流的速度以节为单位。
其余的事情没有人问他。本公司二零一八年的净销售额为三亿元，比上一年增长百分之五。"""
TRADITIONAL = """燈塔看守人每四個小時記錄一次天氣。冬天風轉向北方，午夜之前要修剪燈芯。
水流的速度以節為單位，其餘的事情沒有人問他。"""
JAPANESE = """灯台守は四時間ごとに天気を記録した。冬には風が北に変わり、真夜中の前にランプの芯を切る。
Tシャツのサイズはエルです。
日本語の文章には漢字とひらがなとカタカナが混ざっている。"""
KOREAN = "등대지기는 네 시간마다 날씨를 적었다. 겨울에는 바람이 북쪽으로 바뀌었고 자정 전에 등불의 심지를 다듬었다."
RUSSIAN = "Смотритель маяка записывал погоду каждые четыре часа. Зимой ветер менялся на северный, взбзднуть и всплеск."
ARABIC = (
    "كان حارس المنارة يكتب حالة الطقس كل أربع ساعات. في الشتاء تتحول الريح إلى الشمال وتقلم الفتيلة قبل منتصف الليل."
)
TABLE = "\n".join(f"{n}\t$ ({n * 7 % 90}.{n % 10})\t{n * 37 % 101}.5 %\t—\t1,2{n:02}*†" for n in range(40))
CODE = """def _bands(width: int, slope: float) -> list[tuple[int, int, int]]:
    return {k: v[::-1] for (k, v) in zip(a, b) if k != "x" and not (v % 2)}  # odd
for (int i = 0; i < n; ++i) { if (buf[i] == '\\\\') { *p++ = ~mask & 0xff; } else { p += strncpy(p, &s[i], 1); } }
$x =~ s/^\\s+|\\s+$//g; @list = map { $_->[0] } sort { $a->[1] <=> $b->[1] } @{$ref->{list}};"""
BASE64 = "\n".join("MIIBrzCCAVWgAwIBAgIUZ8kqPvNcXb3rTlmKsdfJhGwq" + str(n) + "YtZKxvBNhgfWdsQ" for n in range(20))
DNA = "GATTACACCGTGCA TTGCCGGTACCTAG CCGTTGGACCATTG " * 12
FORMULA = "∑ᵢ αᵢ·xᵢ² ≤ ‖β‖₂ ⇒ ∃ε>0 ∀δ: |f(x)−f(y)| < ε·|x−y|\n∇×E = −∂B/∂t,  ∮ E·dl = −dΦ/dt\n(∪ ((X \\ A) ∩ A)) ⊆ ℝⁿ"
RULES = "+-------+-------+\n| Type  | Value |\n+=======+=======+\n|  0x01 |  ...  |\n+-------+-------+\n" * 5
CONTENTS = "\n".join(f"{n}. Chapter {'.' * 60} {n * 7}" for n in range(20))
CHECKBOXES = "\uf0a8 yes \uf0a8 no \uf0fe maybe: tick what is right for you, and give the form to the office in time"
DOTTED = "1.1.1 A-1/B-2 (c) [d] e.g. i.e. U.S.A. O'Neil & Co. #5 @home 100% a/b $5.00"

GOOD = {name: value for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_people_write_is_good(name: str) -> None:
    assert quality_of(GOOD[name], PLAIN) == "good"


@pytest.mark.parametrize("text", ["7", "iv", "***", "— 12 —", "?", "§ 3", "x² + y²", "Page 1 of 2", "©", "+/-", "A-1."])
def test_short_pages_are_good(text: str) -> None:
    assert quality_of(text, PLAIN) == "good"


def shifted(by: int) -> str:
    """What a font without a map to Unicode gives whose glyphs are numbered in the order of the alphabet."""
    return "".join(char if char.isspace() else chr(ord(char) + by) for char in ENGLISH * 3)


def numbered() -> str:
    """What a font gives that numbers its glyphs from the exclamation mark in the order in which they are used."""
    order: dict[str, str] = {}
    return "".join(c if c.isspace() else order.setdefault(c, chr(33 + len(order))) for c in ENGLISH.upper() * 3)


def any_of(first: int, last: int) -> str:
    chance = random.Random(5)
    return "".join(char if char.isspace() else chr(chance.randrange(first, last)) for char in ENGLISH)


def across_scripts() -> str:
    chance = random.Random(5)
    parts = [
        (0x61, 0x7B),
        (0xC0, 0x24F),
        (0x3B1, 0x3C9),
        (0x430, 0x44F),
        (0x561, 0x586),
        (0x5D0, 0x5EA),
        (0x905, 0x939),
    ]
    return "".join(char if char.isspace() else chr(chance.randrange(*chance.choice(parts))) for char in ENGLISH)


BROKEN = {
    "glyph numbers": shifted(-29),
    "one further": shifted(1),
    "three further": shifted(3),
    "in order of use": numbered(),
    "private use": any_of(0xE000, 0xF8FF),
    "controls": any_of(0x0E, 0x1B),
    "high controls": any_of(0x80, 0x9F),
    "replacement": "".join(char if char.isspace() else "\ufffd" for char in ENGLISH),
    "boxes": "".join(char if char.isspace() else "□" for char in ENGLISH),
    "question marks": "".join(char if char.isspace() else "?" for char in ENGLISH),
    "cid": " ".join(f"(cid:{n})" for n in range(60)),
    "half cid": ENGLISH + " ".join(f"(cid:{n})" for n in range(60)),
    "rare characters": any_of(0x4E00, 0x9FA5),
    "many scripts": across_scripts(),
    "a few signs": '"7+%-',
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_text_is_garbled(name: str) -> None:
    assert quality_of(BROKEN[name], PLAIN) == "garbled"


def test_a_font_that_knows_no_characters_is_garbled_whatever_it_says() -> None:
    assert quality_of(ENGLISH, PageFacts(unmapped=40, sampled=60)) == "garbled"
    assert quality_of(ENGLISH, PageFacts(unmapped=12, sampled=60)) == "good"
    assert quality_of("Fig. 3", PageFacts(unmapped=2, sampled=3)) == "good"


def test_a_garbled_passage_in_a_good_page_does_not_make_the_page_garbled() -> None:
    assert quality_of(ENGLISH * 20 + shifted(3)[:300], PLAIN) == "good"


def test_a_page_without_anything_is_empty_and_one_with_a_picture_is_not() -> None:
    assert quality_of("", PLAIN) == "empty"
    assert quality_of(" \r\n\u200b\n", PLAIN) == "empty"
    assert quality_of("\n", PageFacts(objects=1, images=1, image_share=0.01)) == "image"
    assert quality_of("\n", PageFacts(objects=1, drawn=1)) == "image"
    assert quality_of(".", PageFacts(objects=2, images=1, image_share=0.3)) == "image"


def test_a_stamp_on_a_scan_is_no_text() -> None:
    assert quality_of("Page 3 of 12\n", SCAN) == "image"
    assert quality_of("Downloaded from example.org on 12 March 2020 by the library of a university", SCAN) == "image"
    assert quality_of("Bates 000123", PageFacts(images=2, image_share=0.6)) == "image"


def test_a_page_with_text_beside_or_over_its_picture_keeps_its_text() -> None:
    assert quality_of(ENGLISH, SCAN) == "good"
    assert (
        quality_of("Figure 3. The lamp, seen from the north in the winter of 1871.", PageFacts(image_share=0.6))
        == "good"
    )
    assert quality_of("Page 3 of 12\n", PageFacts(images=1, image_share=0.3)) == "good"


@given(st.text(max_size=400), st.floats(0, 1), st.integers(0, 3), st.integers(0, 3))
def test_any_text_has_a_quality(text: str, share: float, images: int, drawn: int) -> None:
    facts = PageFacts(images=images, image_share=share, drawn=drawn)
    assert quality_of(text, facts) in ("good", "garbled", "empty", "image")
    assert quality_of(text + "\n", facts) == quality_of(text, facts)


@given(st.lists(st.sampled_from(ENGLISH.split() + POLISH.split() + list(string.digits)), min_size=1, max_size=80))
def test_no_choice_of_good_words_is_garbled(words: list[str]) -> None:
    assert quality_of(" ".join(words), PLAIN) == "good"


def test_only_the_start_of_an_endless_page_is_looked_at() -> None:
    assert quality_of(ENGLISH * (SAMPLE // len(ENGLISH) + 1) + BROKEN["controls"] * 400, PLAIN) == "good"
