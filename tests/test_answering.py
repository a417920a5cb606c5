"""Measures of answers: SQuAD's own cases, Chinese, citations by place and by claim, refusals, and what is absent."""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp.eval import answering
from ragapp.eval.answering import (
    bears_out,
    contains,
    exact_match,
    f1,
    holds,
    is_refused,
    length,
    normalised,
    plain,
    recall,
    scores,
    statements,
    why_not,
)
from ragapp.eval.questions import Gold, Question
from ragapp.eval.records import Cite, Record
from ragapp.text import NO_ANSWER_EN, NO_ANSWER_ZH

WEIGHT = "The pump weighs 12 kg."
PRICE = "It costs 900 dollars."


def cite(marker: int, quote: str, page: int = 1, state: str = "verified", gold: bool | None = None) -> Cite:
    return Cite(marker, "pump.pdf", page, quote, state, 0, len(quote), gold)


def said(answer: str, *cites: Cite, reason: str = "stop", timings: dict[str, float] | None = None) -> Record:
    return Record("q", "ask", answer=answer, citations=cites, finish_reason=reason, timings=timings or {})


def asked(*gold: Gold, answers: tuple[str, ...] = (), must: tuple[str, ...] = (), answerable: bool = True) -> Question:
    return Question("q", "How heavy is it?", gold, answers, must, answerable=answerable)


# -- words -------------------------------------------------------------------------------------------------------------


def squad(text: str) -> list[str]:
    """SQuAD's own normalisation, as published."""
    bare = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split()).split()


def squad_f1(answer: str, right: str) -> float:
    one, other = squad(answer), squad(right)
    if not one or not other:
        return float(one == other)
    same = sum((Counter(one) & Counter(other)).values())
    if not same:
        return 0.0
    precision, found = same / len(one), same / len(other)
    return 2 * precision * found / (precision + found)


@given(
    st.text(string.ascii_letters + string.digits + " .,'\"-$%the an\n", max_size=60), st.text(" abthe.1", max_size=30)
)
@settings(max_examples=300)
def test_in_english_the_scores_are_those_of_squad(answer: str, right: str) -> None:
    assert f1(answer, right) == pytest.approx(squad_f1(answer, right))
    assert exact_match(answer, right) == float(squad(answer) == squad(right))


def test_punctuation_articles_and_case_say_nothing() -> None:
    assert exact_match("The “Denver Broncos”.", "denver broncos") == 1
    assert exact_match("Denver", "denver broncos") == 0
    assert normalised("A  Pump, an engine; the END!") == "pump engine end"
    assert f1("the cat sat on a mat", "cat mat") == pytest.approx(2 * 2 / (4 + 2))
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)


def test_chinese_counts_by_character() -> None:
    assert exact_match("《水泵手册》", "水泵手册") == 1
    assert exact_match("重 12 千克。", "重12千克") == 1
    assert f1("重量是十二千克", "十二千克") == pytest.approx(2 * 4 / (7 + 4))
    assert f1("大水泵", "小水泵") == pytest.approx(2 / 3)
    assert recall("泵重十二千克，价格九百元", "十二千克") == 1
    assert holds("泵的重量为十二千克。", "十二千克")
    assert not holds("二十千克", "十二千克")


@given(st.text(max_size=40), st.text(max_size=40))
def test_word_scores_are_shares_and_agree(answer: str, right: str) -> None:
    exact, middle, found = exact_match(answer, right), f1(answer, right), recall(answer, right)
    assert 0 <= middle <= 1
    assert 0 <= found <= 1
    assert exact <= middle
    assert holds(answer, right) or not exact
    assert found == 1 or not holds(answer, right)
    assert f1(answer, right) == pytest.approx(f1(right, answer))


def test_a_right_answer_is_held_as_whole_words_in_order() -> None:
    assert holds("In all, it weighs 12 kg.", "12 kg")
    assert not holds("It weighs 112 kg.", "12 kg")
    assert not holds("kg 12", "12 kg")


@pytest.mark.parametrize(
    ("answer", "text", "there"),
    [
        ("The filing fee is $30,000.", "$30,000", True),
        ("the  filing\nFEE is", "Filing fee", True),
        ("It is below the mark", "low", False),
        ("in 2012", "12", False),
        ("12.5 bar", "12", False),
        ("1,200 units", "200", False),
        ("at 12 bar.", "12", True),
        ("HSR Filing Fee: $30,000 each", "HSR Filing Fee: $30,000", True),
        ("the party’s “own” notice", 'party\'s "own" notice', True),
        ("保修期为 24 个月", "24个月", True),
        ("保修期为24个月", "期为24个", True),
        ("ＡＢＣ型", "abc型", True),
        ("anything", "", False),
    ],
)
def test_must_contain(answer: str, text: str, there: bool) -> None:
    assert contains(answer, text) is there


def test_any_or_all_of_the_texts() -> None:
    one = asked(must=("12 kg", "900 dollars"))
    assert scores(one, said(WEIGHT))["answer.contains"] == 1
    every = Question("q", "?", must_contain=("12 kg", "900 dollars"), match="all")
    assert scores(every, said(WEIGHT))["answer.contains"] == 0
    assert scores(every, said(f"{WEIGHT} {PRICE}"))["answer.contains"] == 1


def test_the_best_of_the_right_answers_counts_and_marks_do_not() -> None:
    made = scores(asked(answers=("ten", "12 kg")), said("12 [1] kg", cite(1, WEIGHT)))
    assert (made["answer.em"], made["answer.f1"], made["answer.holds"], made["answer.recall"]) == (1, 1, 1, 1)
    assert made["answer.length"] == 2
    # A bracket that is no mark is text.
    assert plain(said("array[3] [1]", cite(1, "array"))) == "array[3]"


def test_length_is_words_and_characters() -> None:
    assert length("It's 12.5 kg, well-made [1].") == 4
    assert length("水泵重 12 千克") == 6


# -- citations by place ------------------------------------------------------------------------------------------------


def test_pages_of_citations() -> None:
    question = asked(Gold("docs/pump.pdf", (1, 4)), Gold("pump.pdf", (9,), relevance=0))
    made = scores(question, said("x [1][2][3]", cite(1, "x", 1), cite(2, "y", 2), cite(3, "z", 9)))
    assert made["citation.page_precision"] == pytest.approx(1 / 3)
    assert made["citation.page_recall"] == 0.5
    without = scores(question, said("x"))
    assert without["citation.page_recall"] == 0
    assert "citation.page_precision" not in without
    assert "citation.page_recall" not in scores(asked(Gold("pump.pdf")), said("x [1]", cite(1, "x")))


def test_quotes_that_nobody_found_count_neither_for_nor_against() -> None:
    question = asked(Gold("pump.pdf", (1,), WEIGHT), Gold("other.pdf", (2,), PRICE))
    record = replace(said("x [1]", cite(1, WEIGHT, gold=True)), relevant={"quotes": 1})
    assert scores(question, record)["citation.span_recall"] == 1
    assert scores(question, replace(record, relevant={"quotes": 2}))["citation.span_recall"] == 0.5
    lost = replace(said("x"), relevant={"quotes": 0})
    assert not [name for name in scores(question, lost) if "span" in name]
    assert why_not(question, lost, "citation.span_recall") == "gold quote not found in the document"


def test_an_answer_that_cites_nothing_reaches_no_quote() -> None:
    question = asked(Gold("pump.pdf", (1,), WEIGHT))
    made = scores(question, replace(said("x"), relevant={"quotes": 1}))
    assert (made["citation.span_recall"], made["citation.page_recall"]) == (0, 0)
    assert "citation.span_precision" not in made
    assert why_not(question, replace(said("x"), relevant={"quotes": 1}), "citation.span_precision") == "no citations"


@pytest.mark.parametrize("right", ["A", "the", "…", "?!"])
def test_a_right_answer_without_words_is_none(right: str) -> None:
    for record in (said("The pump is blue."), said(NO_ANSWER_EN, reason="no_evidence")):
        made = scores(asked(answers=(right,)), record)
        assert not {"answer.em", "answer.f1", "answer.recall", "answer.holds"} & made.keys()
        assert why_not(asked(answers=(right,)), record, "answer.holds") == "no right answer with words"
    assert scores(asked(answers=(right, "12 kg")), said("It weighs 9 kg."))["answer.holds"] == 0


def test_spans_of_citations() -> None:
    question = asked(Gold("pump.pdf", (1,), WEIGHT), Gold("pump.pdf", (2,), PRICE))
    one = scores(question, said("x [1][2]", cite(1, "weighs 12 kg", 1, gold=True), cite(2, "y", 1, gold=False)))
    assert (one["citation.span_precision"], one["citation.span_recall"]) == (0.5, 0.5)
    both = said("x", cite(1, f"{WEIGHT} {PRICE}", 1, gold=True))
    assert scores(question, both)["citation.span_recall"] == 1
    # Words that only overlap a quote are told by their page.
    overlap = said("x", cite(1, "dollars. And more", 2, gold=True))
    assert scores(question, overlap)["citation.span_recall"] == 0.5
    unknown = said("x", cite(1, "x", 1))
    assert "citation.span_precision" not in scores(question, unknown)
    assert why_not(question, unknown, "citation.span_recall") == "gold quote not found in the document"


def test_verbatim_is_the_share_that_is_verified() -> None:
    record = said("x", cite(1, "a"), cite(2, "b", state="elsewhere"), cite(3, "c", state="not found"))
    assert scores(asked(), record)["verbatim"] == pytest.approx(1 / 3)
    assert "verbatim" not in scores(asked(), said("x"))


# -- citations by claim ------------------------------------------------------------------------------------------------


def alce(answer: str, *cites: Cite) -> tuple[float | None, float | None]:
    made = scores(asked(), said(answer, *cites))
    return made.get("citation.recall"), made.get("citation.precision")


def test_a_sentence_counts_where_what_it_cites_bears_it_out() -> None:
    assert alce(f"{WEIGHT} [1] {PRICE} [2]", cite(1, WEIGHT), cite(2, PRICE)) == (1, 1)
    assert alce(f"{WEIGHT} [1] {PRICE} [1]", cite(1, WEIGHT)) == (0.5, 0.5)
    assert alce(f"{WEIGHT} [1] {PRICE}", cite(1, WEIGHT)) == (0.5, 1)
    assert alce(WEIGHT) == (0, None)


def test_what_is_not_verified_bears_nothing_out() -> None:
    assert alce(f"{WEIGHT} [1]", cite(1, WEIGHT, state="not found")) == (0, 0)
    assert alce(f"{WEIGHT} [1]", cite(1, WEIGHT, state="elsewhere")) == (0, 0)


def test_an_idle_citation_costs_precision() -> None:
    assert alce(f"{WEIGHT} [1][2]", cite(1, WEIGHT), cite(2, PRICE)) == (1, 0.5)
    # Each bears it out alone: neither is idle.
    assert alce(f"{WEIGHT} [1][2]", cite(1, WEIGHT), cite(2, WEIGHT)) == (1, 1)
    # Each says half of it: neither can be missed.
    assert alce("The pump weighs 12 kg [1] and it costs 900 dollars [2].", cite(1, WEIGHT), cite(2, PRICE)) == (1, 1)
    # A quote cut by the border of a page is whole only together.
    assert alce(f"“{WEIGHT}” [1][2]", cite(1, "The pump weighs"), cite(2, "12 kg.", 2)) == (1, 1)


def test_other_words_are_not_borne_out() -> None:
    assert alce("The pump weighs 13 kg. [1]", cite(1, WEIGHT)) == (0, 0)
    assert alce("According to the manual, the pump weighs 12 kg [1].", cite(1, WEIGHT)) == (1, 1)
    assert not bears_out(["The pump weighs 12 kg"], [""])


def test_quoted_answers_with_heads_of_columns() -> None:
    row = "2018 Net sales 32,765"
    assert alce(f"“{row}” [1] (columns: Year | Sales (net))", cite(1, row)) == (1, 1)
    assert alce(f"“{row}” [1]（各列：年份 | 销售额）", cite(1, row)) == (1, 1)
    assert alce(f"“{row}” [1] (columns, and more)", cite(1, row)) == (0, 0)


def test_chinese_claims() -> None:
    weight, price = "水泵重十二千克。", "它的价格是九百元。"
    assert alce(f"{weight}[1]{price}[2]", cite(1, weight), cite(2, price)) == (1, 1)
    assert alce(f"“{weight}” [1]\n\n“{price}” [2]", cite(1, weight), cite(2, price)) == (1, 1)
    assert alce(f"水泵重二十千克。[1]{price}[2]", cite(1, weight), cite(2, price)) == (0.5, 0.5)


def parts(answer: str, *marks: int) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    return [(statement.claims, statement.marks) for statement in statements(answer, set(marks))]


def test_marks_belong_to_the_sentence_before_them() -> None:
    assert parts("One is. [1] Two is [2]. Three is.", 1, 2) == [
        (("One is.",), (1,)), (("Two is",), (2,)), (("Three is.",), ()),
    ]  # fmt: skip
    assert parts("One is [1][1] and two [2].", 1, 2) == [(("One is", "and two"), (1, 2))]
    assert parts("The pump [1] weighs 12 kg.", 1) == [(("The pump weighs 12 kg.",), (1,))]
    assert parts("[1] says so.", 1) == [(("says so.",), (1,))]
    assert parts("One is [7].", 1) == [(("One is [7].",), ())]


def test_a_quotation_is_one_statement_and_one_without_an_end_is_not_all() -> None:
    assert parts("“One is. Two is.” [1] Three is. [2]", 1, 2) == [
        (("“One is. Two is.”",), (1,)),
        (("Three is.",), (2,)),
    ]
    assert len(parts("“One is. Two is.\n\nThree is. Four is.", 1)) == 3


def test_what_only_introduces_is_no_statement() -> None:
    assert parts("According to the documents:\n\n“One is.” [1]", 1) == [(("“One is.”",), (1,))]
    assert parts("… [1]", 1) == []


@given(st.text("ab.。 [1]2“”\n！", max_size=60))
@settings(max_examples=300)
def test_statements_never_lose_a_mark_that_has_words_before_it(answer: str) -> None:
    found = list(statements(answer, {1, 2}))
    assert all(statement.claims for statement in found)
    assert {mark for statement in found for mark in statement.marks} <= {1, 2}
    if re.match(r"[ab]+ ?\[1\]", answer):
        assert found[0].marks[:1] == (1,)
    record = said(answer, cite(1, "a"), cite(2, "b"))
    assert all(value >= 0 for value in scores(asked(), record).values())


# -- refusals and speed ------------------------------------------------------------------------------------------------


def test_refusals_of_both_kinds() -> None:
    refusal = said(NO_ANSWER_EN, reason="no_evidence")
    assert scores(asked(answerable=False), refusal)["refusal.right"] == 1
    assert scores(asked(answerable=False), said(WEIGHT))["refusal.right"] == 0
    assert scores(asked(), refusal)["refusal.false"] == 1
    assert scores(asked(), said(WEIGHT))["refusal.false"] == 0
    assert "refusal.right" not in scores(asked(), refusal)
    assert "refusal.false" not in scores(asked(answerable=False), refusal)


def test_a_refusal_may_be_told_by_its_words() -> None:
    assert is_refused(said(f"{NO_ANSWER_ZH} ", reason="stop"))
    assert is_refused(said(NO_ANSWER_EN.lower()))
    assert not is_refused(said(f"{NO_ANSWER_EN} But the pump weighs 12 kg."))


def test_a_refused_question_has_no_right_words_and_no_citations() -> None:
    question = asked(Gold("pump.pdf", (1,), WEIGHT), answers=("documents",), must=("documents",))
    made = scores(question, said(NO_ANSWER_EN, reason="no_evidence"))
    assert {made[f"answer.{name}"] for name in ("em", "f1", "recall", "holds", "contains")} == {0.0}
    assert not any(name.startswith(("citation", "verbatim")) for name in made)
    assert why_not(question, said(NO_ANSWER_EN, reason="no_evidence"), "citation.recall") == "refused"


def test_an_unanswerable_question_has_no_right_words() -> None:
    made = scores(asked(answers=("12",), must=("12",), answerable=False), said(f"{WEIGHT} [1]", cite(1, WEIGHT)))
    assert set(made) == {"answer.length", "refusal.right", "verbatim", "citation.recall", "citation.precision"}


def test_speed() -> None:
    record = Record(
        "q", "ask", answer="x", timings={"first_token": 0.5, "total": 2.5, "search": 0.1}, completion_tokens=41
    )
    made = scores(asked(), record)
    assert (made["latency.first_token"], made["latency.total"], made["tokens_per_s"]) == (0.5, 2.5, 20)
    quotes = scores(asked(), said("x", timings={"first_token": 0.5, "total": 0.6}))
    assert "tokens_per_s" not in quotes
    assert "latency.total" not in scores(asked(), said("x"))


def test_searches_and_errors_have_no_measures_of_answers() -> None:
    assert scores(asked(), Record("q", "search")) == {}
    assert scores(asked(), Record("q", "ask", error="The model failed.")) == {}
    assert scores(asked(), Record("q", "ask")) == {}


@pytest.mark.parametrize("answerable", [True, False])
@pytest.mark.parametrize("record", [said(WEIGHT), said(f"{WEIGHT} [1]", cite(1, WEIGHT)), said(NO_ANSWER_EN)])
def test_every_absent_measure_has_a_reason(answerable: bool, record: Record) -> None:
    for question in (asked(answerable=answerable), asked(Gold("pump.pdf", (1,), WEIGHT), answerable=answerable)):
        made = scores(question, record)
        assert set(made) <= set(answering.NAMES)
        for name in set(answering.NAMES) - set(made):
            assert why_not(question, record, name)


def test_reasons() -> None:
    quoted = asked(Gold("pump.pdf"))
    assert why_not(quoted, said("x"), "answer.f1") == "no right answer known"
    assert why_not(quoted, said("x"), "answer.contains") == "no text that must be contained"
    assert why_not(quoted, said("x"), "verbatim") == "no citations"
    assert why_not(quoted, said("x"), "citation.page_recall") == "no gold page"
    assert why_not(quoted, said("x"), "citation.span_recall") == "no gold quote"
    assert why_not(quoted, said("x"), "refusal.right") == "answerable"
    assert why_not(quoted, said("x"), "tokens_per_s") == "not measured"
    assert why_not(asked(answerable=False), said("x"), "citation.page_recall") == "unanswerable"
    assert why_not(quoted, said("…"), "citation.recall") == "no claims"
