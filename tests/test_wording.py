"""Content words and names, told by rules; several questions in one and small talk are in test_flows.py."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.wording import content, is_small_talk, names, sub_questions, tokens


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("How long is the Z200's warranty?", ["Z200", "warranty"]),
        ("What is the warranty, and the WARRANTY of the drill?", ["warranty", "drill"]),
        ("Why?", []),
        ("Compare A-12 with B-7.", ["A-12", "B-7"]),
        ("the on-call policy of R&D", ["on-call", "policy", "R&D"]),
        ("员工每年有多少天年假？", ["员工每年", "天年假"]),
        ("公司的会议室如何预订？", ["公司", "会议室", "预订"]),
        ("为什么？", []),
        ("X200 电钻的保修期是多久？", ["X200", "电钻", "保修期"]),
        ("在职员工需要什么？", ["在职员工"]),
    ],
)
def test_content_words(text: str, wanted: list[str]) -> None:
    assert content(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("When did Nikola Tesla leave AC-42?", ["Nikola Tesla", "AC-42"]),
        ("Tesla left.", []),
        ("Globex Corporation bought it.", ["Globex Corporation"]),
        ("It ends. Then Mary, Bob's aunt, left HTTP/2 alone.", ["Mary", "Bob", "HTTP/2"]),
        ("What is COBRA?", ["COBRA"]),
        ("COBRA is what?", ["COBRA"]),
        ("Does it work?", []),
        ("谁写了《红楼梦》？", ["红楼梦"]),
        ("“明月食品”的总部在哪里？", ["明月食品"]),
    ],
)
def test_names(text: str, wanted: list[str]) -> None:
    assert names(text) == wanted


@given(st.text(max_size=120))
def test_what_is_found_stands_in_the_text(text: str) -> None:
    assert all(word in text for word in [*content(text), *tokens(text)])
    assert all(part in text for name in names(text) for part in name.split())


def test_small_talk_that_can_be_read_in_many_ways_takes_no_long_time() -> None:
    started = time.perf_counter()
    assert not is_small_talk("你好吗" * 26 + "谁")
    assert time.perf_counter() - started < 1
    assert is_small_talk("你好你好！你好吗？谢谢！再见")


@pytest.mark.parametrize("unit", ["and what ", "hi ", "和什么", "A. ", "compare x and ", "?", "《", "“", "which is, "])
def test_long_texts_take_no_long_time(unit: str) -> None:
    text = unit * 2000
    started = time.perf_counter()
    for look in (content, names, sub_questions, is_small_talk):
        look(text)
    assert time.perf_counter() - started < 3
