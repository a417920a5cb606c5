"""Support: a claim is borne out by its words and by nothing less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.support import Text, anchors, is_frame, is_introduction, stripped

TEXT = (
    "The tank of the model nine holds 42 litres of fuel. Its engine was built in Graz in 1998. Employees must not "
    "smoke indoors. It is not true that the moon is made of cheese. Temporary employees may park at no time. The fee "
    "is $2 million per year, or 5% of 1,204 units. It is a well-\nknown exam-\nple of eﬃcient use. Plan A costs −3 "
    "points. H2O and 10² m. Members may leave, unless they owe money. Fees apply to all. Members pay twice.\n\n"
    "最大功率为九千瓦。公司位于格拉茨，成立于1998年。员工不得在室内吸烟。他的发动机很大。"
)
HELD = Text(TEXT)


def quote(claim: str) -> str | None:
    span = HELD.find(claim)
    return None if span is None else TEXT[span[0] : span[1]]


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("The tank of the model nine holds 42 litres of fuel.", "The tank of the model nine holds 42 litres of fuel"),
        ("The tank of the model nine holds 42 litres", "The tank of the model nine holds 42 litres"),
        ("the TANK of a model nine holds 42 litres", "The tank of the model nine holds 42 litres"),
        ("- **Its engine** was built in Graz", "Its engine was built in Graz"),
        ("| Its engine | was built in Graz |", "Its engine was built in Graz"),
        ("3. Its engine was built in Graz", "Its engine was built in Graz"),
        ("According to the document, its engine was built in Graz.", "Its engine was built in Graz"),
        ("The passage states that its engine was built in Graz.", "Its engine was built in Graz"),
        ("Yes, its engine was built in Graz, as stated in the text.", "Its engine was built in Graz"),
        ("It holds 42 litres of fuel.", "holds 42 litres of fuel"),
        ("and holds 42 litres of fuel", "holds 42 litres of fuel"),
        ("The well-known example of efficient use", "a well-\nknown exam-\nple of eﬃcient use"),
        ("a wellknown example", "a well-\nknown exam-\nple"),
        ("The fee is $2 million per year", "The fee is $2 million per year"),
        ("5 % of 1204 units", "5% of 1,204 units"),
        ("Plan A costs -3 points", "Plan A costs −3 points"),
        ("10² m", "10² m"),
        ("Employees must not smoke indoors", "Employees must not smoke indoors"),
        ("Graz", "Graz"),
        ("最大功率为九千瓦", "最大功率为九千瓦"),
        ("根据文档，公司位于格拉茨。", "公司位于格拉茨"),
        ("文中提到，成立于 1998 年", "成立于1998年"),
        ("员工不得在室内吸烟", "员工不得在室内吸烟"),
        ("Fees apply to all. Members pay twice.", "Fees apply to all. Members pay twice"),
    ],
)
def test_what_stands_there(claim: str, words: str) -> None:
    assert quote(claim) == words


@pytest.mark.parametrize(
    "claim",
    [
        "The tank of the model nine holds 43 litres of fuel.",  # another number
        "The tank of the model ten holds 42 litres of fuel.",  # another name
        "The tank of the model nine holds 42 litres of water.",  # another word
        "The tank of the model nine does not hold 42 litres of fuel.",  # denied
        "The tank of the model nine held 42 litres of fuel.",  # another form
        "The tank holds 42 litres of fuel.",  # something left out
        "The fuel holds 42 litres of tank.",  # another order
        "Employees must smoke indoors.",
        "Employees may not smoke indoors.",
        "The moon is made of cheese.",  # the text denies it
        "Temporary employees may park.",  # … behind the words
        "Employees may park",  # not all of them
        "Engine was built in Graz",  # whose?
        "The fee is $2",  # of millions
        "The fee is 2 million per year",
        "5 of 1,204 units",
        "or 5",
        "Plan costs -3 points",
        "Plan A costs 3 points",
        "H2O and 10",
        "known example of efficient use",
        "Members may leave",  # unless
        "Fees apply to all members",  # over the end of a sentence
        "Fees apply to all Members pay twice",
        "According to John Smith, its engine was built in Graz.",
        "It holds 42",  # nearly any text has two words
        "最大功率为九",
        "最大功率为八千瓦",
        "功率为九千瓦",
        "员工得在室内吸烟",
        "员工可在室内吸烟",
        "它很大",
        "",
        "…",
        "the",
    ],
)
def test_what_does_not(claim: str) -> None:
    assert quote(claim) is None


SENTENCES = ["Alpha pays ten pounds", "Beta never asks for 20 pounds", "Gamma sold 3 cars to Delta", "甲公司有三千人"]
WORDS = st.sampled_from([*" ".join(SENTENCES).split(), "not", "no", "the", "7", "不"])


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4), st.data())
def test_one_word_more_less_or_other_is_not_borne_out(chosen: list[str], data: st.DataObject) -> None:
    text = Text(". ".join(chosen) + ".")
    words = data.draw(st.sampled_from(chosen)).split()
    assert text.find(" ".join(words)) is not None
    at = data.draw(st.integers(1, len(words) - 1)) if len(words) > 1 else 0
    new = data.draw(st.sampled_from(["not", "7", "Omega", "不", "pays", "20"]))
    for changed in ([*words[:at], new, *words[at:]], [*words[:at], new, *words[at + 1 :]]):
        claim = " ".join(changed)
        assert text.find(claim) is None or any(claim in sentence for sentence in chosen)


@given(st.lists(WORDS, min_size=1, max_size=12), st.lists(WORDS, min_size=1, max_size=4))
def test_what_is_found_is_the_claim(text: list[str], claim: list[str]) -> None:
    held = Text(" ".join(text))
    span = held.find(" ".join(claim))
    if span is not None:
        found = [word for word in held.text[span[0] : span[1]].split() if word != "the"]
        assert found == [word for word in claim if word != "the"]


@given(st.text(max_size=60), st.text(max_size=30))
def test_any_text_and_claim(text: str, claim: str) -> None:
    held = Text(text)
    span = held.find(claim)
    assert span is None or (0 <= span[0] < span[1] <= len(text))
    assert 0 <= held.nearest(claim) <= len(text)
    anchors(claim)


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        ("Where was the engine made in 1998?", "Its engine"),
        ("All employees can smoke", "Employees must"),
        ("公司在格拉茨", "公司位于"),
        ("Zebras", "The tank"),
    ],
)
def test_the_nearest_sentence(claim: str, sentence: str) -> None:
    assert TEXT[HELD.nearest(claim) :].startswith(sentence)


def test_introductions_and_frames() -> None:
    assert stripped("However, according to the report, it is so.") == "it is so."
    assert all(map(is_introduction, ("According to ", " - ", "")))
    assert not is_introduction("According to John")
    assert all(map(is_frame, ("The manual says: ", "文中写道：", "It was")))
    assert not any(map(is_frame, ("The manual never says ", "Miller says", "In 1998 it said")))


def test_anchors_are_the_most_telling_words() -> None:
    assert anchors("According to the text, the engine was built in 1998 in Graz")[:3] == ["1998", "engine", "built"]
    assert anchors("公司成立于1998年")[0] == "1998"
