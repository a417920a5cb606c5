"""Questions made of documents: grammatical, answered where they say, worded in several ways, the same for a seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp import Rag, parts
from ragapp.citations import find
from ragapp.config import Config
from ragapp.errors import ConfigError, ModelError
from ragapp.eval import told_en, told_zh
from ragapp.eval.dataset import Dataset, Question, load, save
from ragapp.eval.facts import Fact, facts, is_sentence, titled
from ragapp.eval.rewording import defined_otherwise, dropped, paraphrased
from ragapp.eval.synth import KINDS, make
from ragapp.scripted import ScriptedChat
from ragapp.suggestions import words_of
from ragapp.text import collapse, has_cjk
from ragapp.types import Document, Heading, Page, Query, Table
from ragapp.wording import content

COMMON = frozenset({"dialysis", "circuit", "office", "leave", "employees"})  # written in small letters elsewhere

# -- what a sentence tells, in English ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("The fuel tank holds 4,200 litres.", "How many litres does the fuel tank hold?", "4,200 litres"),
        ("Employees receive up to 20 vacation days per year.", "How many vacation days do employees receive per year?",
         "up to 20 vacation days"),
        ("The deductible for Plan A is $2,000 per person, per year.", "What is the deductible for Plan A?",
         "$2,000 per person"),
        ("The number of keepers is 3 at night.", "How many keepers are there?", "3 at night"),
        ("The tower is 31 metres high and was finished in 1887.", "How high is the tower?", "31 metres"),
        ("The red pump costs $12.50 per month.", "How much does the red pump cost per month?", "$12.50"),
        ("Plan A has a yearly deductible of $500.", "What is the yearly deductible of Plan A?", "$500"),
        ("Claims must be filed within 90 days of the visit.", "Within how many days of the visit must claims be filed?",
         "90 days"),
        ("Leave requests are submitted at least 10 working days before the first day.",
         "How many working days before the first day are leave requests submitted?", "at least 10 working days"),
        ("The group gasket must be replaced every 12 months.", "How often must the group gasket be replaced?",
         "every 12 months"),
        ("The steam boiler is maintained at 1.45 bar.", "At what pressure is the steam boiler maintained?", "1.45 bar"),
        ("Dialysis services are covered at 80% of the allowed amount.",
         "At what percentage of the allowed amount are dialysis services covered?", "80%"),
        ("The brew boiler operates at a pressure of 9.2 bar during extraction.",
         "At what pressure does the brew boiler operate during extraction?", "9.2 bar"),
        ("Office visits are subject to a $35 copay.", "What copay are office visits subject to?", "$35 copay"),
        ("Three keepers are on the rock at any time.", "How many keepers are on the rock at any time?",
         "Three keepers"),
        ("There are 39 tribal governments in the state.", "How many tribal governments are there in the state?",
         "39 tribal governments"),
        ("Circuit riding was abolished in 1891.", "When was circuit riding abolished?", "1891"),
        ("Aspect published its final novel on March 1, 2004.", "When did Aspect publish its final novel?",
         "March 1, 2004"),
        ("In 2012, Platt was cast as Cunningham in Chicago.", "In which year was Platt cast as Cunningham in Chicago?",
         "2012"),
        ("The Hallow tower was designed by Josephine Arkwell in granite.", "Who designed the Hallow tower?",
         "Josephine Arkwell"),
        ("The spare lamps are stored in the blue cabinet.", "Where are the spare lamps stored?",
         "in the blue cabinet"),
    ],
)  # fmt: skip
def test_a_figure_is_asked_for(sentence: str, question: str, answer: str) -> None:
    assert is_sentence(sentence)
    assert told_en.figure(sentence, COMMON) == (question, answer)


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("The main valve is used to stop the flow of water.", "What is the main valve used for?",
         "to stop the flow of water"),
        ("The Key Phase bit allows a recipient to detect a change.", "What does the Key Phase bit allow?",
         "a recipient to detect a change"),
        ("The southern slope is closed in June because petrels breed there.",
         "Why is the southern slope closed in June?", "because petrels breed there"),
        ("If the lamp goes out, the keeper must call the coast station.",
         "What must the keeper do if the lamp goes out?", "call the coast station"),
        ("When a packet is too long, the endpoint MUST NOT answer.",
         "What must the endpoint not do when a packet is too long?", "answer"),
        ("If a payment is missed, the plan may be ended.", "What may happen to the plan if a payment is missed?",
         "be ended"),
    ],
)  # fmt: skip
def test_a_reason_or_a_case_is_asked_for(sentence: str, question: str, answer: str) -> None:
    assert told_en.reason(sentence, COMMON) == (question, answer)


@pytest.mark.parametrize(
    "sentence",
    [
        "It holds 4,200 litres of fuel oil.", "This tank holds 4,200 litres.", "Its deductible is $2,000 per person.",
        "However, the tank holds 4,200 litres.", "The team is 12 people strong today.", "Gore were 90 minutes long.",
        "The show was closed in 2013.", "The company is a leader in pumps.", "They were founded by Ada Lovelace.",
        "Thirty-nine governments are based in Oklahoma.", "Judicial pensions are based on a formula.",
        "Monitor the market and identify new chances for growth.", "Requiring a sample prevents the sender from lying.",
        "Unless a registry allows it explicitly, nothing is done.", "If this happens, the keeper must call the coast.",
        "QUIC defines an error code space for endpoints.", "The lack of measures in this text is not meant.",
        "The command takes one or more paths.",
    ],
)  # fmt: skip
def test_what_leans_on_something_else_asks_nothing(sentence: str) -> None:
    words = words_of(sentence.lower())
    assert told_en.figure(sentence, words) is None
    assert told_en.reason(sentence, words) is None


def test_a_meaning_is_asked_for() -> None:
    assert told_en.meaning("Exit code 5 means that another process is writing.") == (
        "What does exit code 5 mean?", "another process is writing",
    )  # fmt: skip
    assert told_en.meaning("This means that another process is writing.") is None
    assert told_zh.meaning("退出码 5 表示另一个进程正在写入。") == ("退出码 5 表示什么？", "另一个进程正在写入")
    assert told_zh.meaning("研究人员表示这种方法更加有效。") is None


# -- and in Chinese ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("灯塔的油箱可装 4200 升，每小时烧去一些。", "灯塔的油箱可装多少升？", "4200 升"),
        ("主四合院由六座四合院组成。", "主四合院由多少座四合院组成？", "六座"),
        ("亚马逊森林约占陆地生产力的10%。", "亚马逊森林约占陆地生产力的百分之多少？", "10%"),
        ("哈佛学院在2007年取消了提前录取计划。", "哈佛学院在哪一年取消了提前录取计划？", "2007年"),
        ("霍顿的声明发表于2013年5月。", "霍顿的声明发表于什么时候？", "2013年5月"),
        ("1891年，苏格兰化学家杜瓦制造出足够的液氧。", "哪一年苏格兰化学家杜瓦制造出足够的液氧？", "1891年"),
        ("波兰人队的主场位于华沙北部的老城。", "波兰人队的主场位于哪里？", "华沙北部的老城"),
        ("鹰岛灯塔由工程师林海设计，全部用花岗岩。", "鹰岛灯塔是由谁设计的？", "工程师林海"),
    ],
)  # fmt: skip
def test_chinese_asks_where_the_answer_stands(sentence: str, question: str, answer: str) -> None:
    assert is_sentence(sentence)
    assert told_zh.figure(sentence, frozenset()) == (question, answer)


@pytest.mark.parametrize(
    "sentence",
    [
        "它可装 4200 升燃油和水。", "该油箱可装 4200 升燃油。", "这四种方法都可以用在这里。",
        "铁木真接下来十年的生活并不清楚。", "格兰杰市场取代了建于1808年名为屠夫市场的旧市场。",
        "内阁包括一名总统和两名副总理。", "然后大约有5亿年的间断时期。",
        "当西北部在22000年前开始变暖时。", "哈佛大学 376 亿美元的捐赠最多。", "1713年夺来的新斯科舍省仍然讲法语。",
        "在七年战争中的北美战区没有名称。", "原因是 32.9% 的选民没有投票。",
    ],
)  # fmt: skip
def test_a_chinese_clause_that_leans_or_names_asks_nothing(sentence: str) -> None:
    assert told_zh.figure(sentence, frozenset()) is None


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("消炎药常用于控制炎症的影响。", "消炎药用来做什么？", "控制炎症的影响"),
        ("由于海燕在那里繁殖，南坡从四月起关闭。", "为什么南坡从四月起关闭？", "海燕在那里繁殖"),
        ("如果主灯熄灭，那么备用灯会自动点亮。", "如果主灯熄灭，会怎么样？", "备用灯会自动点亮"),
    ],
)
def test_a_chinese_reason_is_asked_for(sentence: str, question: str, answer: str) -> None:
    assert told_zh.reason(sentence, frozenset()) == (question, answer)


def test_a_cloze_leaves_out_the_only_number() -> None:
    assert told_en.cloze("The relief boat is 12 metres long.") == (
        "Which number is missing: “The relief boat is ____ metres long.”", "12",
    )  # fmt: skip
    for none in ("It is 12 metres long.", "Hall, Kermit L., ed. (2005).", "A boat of 12 metres and 3 masts is here.",
                 "The address 127.0.0.1 is local.", "Boston: Grand Press. p. 12."):  # fmt: skip
        assert told_en.cloze(none) is None
    assert told_zh.cloze("补给船的长度不到 12 米。") == ("“补给船的长度不到 ____米。”这句话里缺了哪个数？", "12")
    assert told_zh.cloze("模型的权重要核对 sha256 校验值。") is None


# -- what a document states --------------------------------------------------------------------------------------------


def document(text: str, headings: tuple[str, ...] = (), tables: tuple[Table, ...] = ()) -> Document:
    found = tuple(Heading(1, heading, text.index(heading)) for heading in headings)
    page = Page(1, 0, len(text))
    return Document("d" * 64, "", "Pump Handbook", "application/pdf", text, (page,), found, {}, tables)


def table(text: str, columns: tuple[str, ...], *rows: str) -> Table:
    spans = tuple((text.index(row), text.index(row) + len(row)) for row in rows)
    return Table(1, spans[0][0], spans[-1][1], "", columns, spans)


def asked(found: Iterator[Fact]) -> dict[str, str]:
    return {fact.question: fact.answer for fact in found}


def test_cells_are_asked_for_by_their_heads() -> None:
    rows = ("Model AC-42\t52\t9.2 bar[3]", "Model BX-7\t80\t-", "2015\t12\t8 bar")
    text = "\n".join(("Type\tMax. power\tPressure", *rows))
    made = document(text, (), (table(text, ("Type", "Power rating", "Pressure"), *rows),))
    assert asked(facts(made, title="Pump Handbook")) == {
        "What is given as “Power rating” for Model AC-42?": "52",
        "What is the pressure of Model AC-42?": "9.2 bar",
        "What is given as “Power rating” for Model BX-7?": "80",
    }


def test_a_row_without_a_name_needs_the_title_of_the_document() -> None:
    rows = ("White paint\t5 litres", "Green paint\t7 litres")
    text = "\n".join(rows)
    made = document(text, (), (table(text, ("Colour", "Amount"), *rows),))
    assert "What is the amount of White paint according to “Pump Handbook”?" in asked(
        facts(made, title="Pump Handbook")
    )
    assert asked(facts(made)) == {}


def test_ambiguous_tables_are_left_out() -> None:
    rows = ("Model AC-42\t52\t9", "Model AC-42\t80\t7")
    text = "\n".join(rows)
    assert asked(facts(document(text, (), (table(text, ("Type", "Power", "Speed"), *rows),)), title="X")) == {}
    rows = ("Model AC-42\t52\t9", "Model BX-7\t80\t7")
    text = "\n".join(rows)
    assert asked(facts(document(text, (), (table(text, ("Type", "Power", "Power"), *rows),)), title="X")) == {}


def test_headings_ask_and_name_topics() -> None:
    text = (
        "How to clean the filter\nRinse the filter under warm water and let it dry.\n\n"
        "Winter storage\nBefore winter storage the pump is emptied and dried with air.\n\n"
        "Spare parts\nEverything that we sell can be ordered by phone or by mail.\n"
    )
    made = document(text, ("How to clean the filter", "Winter storage", "Spare parts"))
    found = {fact.question: fact for fact in facts(made, title="Pump Handbook") if fact.kind == "heading"}
    assert set(found) == {
        "How do I clean the filter according to “Pump Handbook”?",
        "What does “Pump Handbook” say about winter storage?",
    }
    clean = found["How do I clean the filter according to “Pump Handbook”?"]
    assert text[clean.start : clean.end] == "Rinse the filter under warm water and let it dry."


def test_a_heading_that_comes_twice_is_not_asked_about() -> None:
    text = (
        "Winter storage\nBefore winter storage the pump is emptied and dried with air.\n\nWinter storage\nSee there.\n"
    )
    first = text.index("Winter"), text.rindex("Winter storage")
    twice = tuple(Heading(1, "Winter storage", start) for start in first)
    page = Page(1, 0, len(text))
    made = Document("d" * 64, "", "Pump Handbook", "application/pdf", text, (page,), twice)
    assert [fact.kind for fact in facts(made, title="Pump Handbook")] == []


def test_bullets_are_no_part_of_a_quote_and_unread_pages_are_not_read() -> None:
    text = "• The fuel tank holds 4,200 litres.\n"
    (fact,) = facts(document(text))
    assert (text[fact.start : fact.end], fact.page) == ("The fuel tank holds 4,200 litres.", 1)
    assert list(facts(document(text), pages=[2])) == []
    page = Page(1, 0, len(text), quality="garbled")
    assert list(facts(Document("d" * 64, "", "", "application/pdf", text, (page,)))) == []


def test_praise_is_no_definition() -> None:
    assert asked(facts(document("A heat pump is a device that moves heat.\n"))) == {
        "What is a heat pump?": "a device that moves heat"
    }
    assert asked(facts(document("A heat pump is an important part of a house.\n"))) == {}


VOCABULARY = """
    The the tank pump holds is was 12 4,200 $5 litres days in 1999 by Ada Arkwell , . If must be because to used for
    年 1891 油箱 由 位于 用于 如果 ， 。 升 两个 10% ( “ ”
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\t", "\n"])


@given(st.lists(WORDS, min_size=1, max_size=24).map(" ".join) | st.text(max_size=120))
@settings(max_examples=200)
def test_whatever_a_document_says_a_fact_stands_in_it(text: str) -> None:
    for fact in facts(document(text), title="Pump Handbook"):
        assert 0 <= fact.start < fact.end <= len(text)
        assert fact.question == fact.question.strip()
        assert "\n" not in fact.question
        assert fact.question[-1] in "?？”"
        if fact.kind != "definition":
            assert find(fact.answer.removeprefix("because ").removeprefix("because"), text) is not None


# -- other words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("How many employees does the company employ?", "How many staff members does the firm employ?"),
        ("How tall is Film City?", "How high is Film City?"),
        ("What is given as “annual cost” for the tank?", "What is given as “annual cost” for the container?"),
        ("哈佛学院在哪一年取消了计划？", "哈佛学院在几几年废除了计划？"),
        ("根据《公司费用》，员工有多少名？", "根据《公司费用》，职工有几名？"),
        ("What is a zebra?", ""),
        ("斑马吃草吗？", ""),
    ],
)
def test_a_paraphrase_has_other_words_and_the_same_names(question: str, other: str) -> None:
    assert paraphrased(question) == other


@pytest.mark.parametrize(
    ("question", "typed", "otherwise"),
    [
        ("What is a heat pump?", "heat pump definition", "Can you explain what a heat pump is?"),
        ("What are vacuum tubes?", "vacuum tubes definition", "Can you explain what vacuum tubes are?"),
        ("Who is Ada Lovelace?", "Ada Lovelace biography", "Can you tell me who Ada Lovelace is?"),
        ("What does exit code 5 mean?", "exit code 5 definition", "Can you explain what exit code 5 means?"),
        ("What is a copay according to “Plan A”?", "copay definition Plan A",
         "Can you explain what a copay is according to “Plan A”?"),
        ("什么是素数？", "素数 定义", "请问素数是什么？"),
        ("退出码 5 表示什么？", "退出码 5 定义", "请问退出码 5 是什么？"),
        ("How high is it?", "", ""),
    ],
)  # fmt: skip
def test_a_definition_is_asked_for_in_other_frames(question: str, typed: str, otherwise: str) -> None:
    assert defined_otherwise(question, typed=True) == typed
    assert defined_otherwise(question, typed=False) == otherwise


@pytest.mark.parametrize(
    ("question", "typed"),
    [
        ("How many litres does the fuel tank hold?", "litres fuel tank hold"),
        ("What is given as “Date of birth” for Neil Gorsuch?", "Date of birth Neil Gorsuch"),
        ("What must the server not do if data is early?", ""),
        ("Who is it?", ""),
        ("哈佛学院在哪一年取消了计划？", "哈佛学院在 年份 取消了计划"),
        ("欧洲议会一共有多少名议员？", "欧洲议会一共有 数量 议员"),
        ("关于“扫描件”，《使用手册》是怎么说的？", "扫描件 使用手册"),
        ("多少？", ""),
    ],
)
def test_what_is_typed_into_a_search_box(question: str, typed: str) -> None:
    assert dropped(question, random.Random(0)) == typed


def test_a_word_is_left_out_where_there_are_many_but_no_name_and_no_figure() -> None:
    question = (
        "How many sealed barrels of heavy diesel fuel does the AC-42 generator at Port Averin burn every 12 days?"
    )
    whole = content(question)
    for seed in range(30):
        typed = dropped(question, random.Random(seed))
        words = typed.split(" ")
        assert len(words) == len(whole) - 1
        assert {"AC-42", "Port", "Averin", "12"} <= set(words)
        assert set(words) < set(whole)
    assert len({dropped(question, random.Random(seed)) for seed in range(30)}) > 2


@given(st.text(max_size=60), st.integers(0, 5))
def test_rewording_takes_any_text(question: str, seed: int) -> None:
    assert paraphrased(question) != question or not question
    typed = dropped(question, random.Random(seed))
    assert typed == typed.strip()


def test_a_title_is_said_once() -> None:
    once = titled("How high is the tower?", "The Handbook")
    assert once == "How high is the tower according to “The Handbook”?"
    assert titled(once, "The Handbook") == once
    assert titled("灯塔有多高？", "值守手册") == "根据《值守手册》，灯塔有多高？"


# -- whole sets --------------------------------------------------------------------------------------------------------

TEXTS = {
    "tower.md": (
        "# Tower Handbook\n\nThe Hallow tower is 31 metres high. The fuel tank holds 4,200 litres. "
        "The steam boiler is maintained at 1.45 bar. The warranty period for Zeta pumps is 24 months.\n\n"
        "## Winter storage\n\nBefore winter storage the pump is emptied and dried with air. A heat pump is a device "
        "that moves heat. The main lamp must be replaced every 12 months. The relief boat Kittiwake brings 6 people.\n"
    ),
    "pump.md": (
        "# Pump Handbook\n\nThe warranty period for Zeta pumps is 36 months. The drain valve is used to stop "
        "the water. Claims must be filed within 90 days of the visit. The brew boiler operates at a pressure of "
        "9.2 bar.\n\n"
        "## Prices\n\n| Model | Price | Weight |\n|---|---|---|\n| Zeta AC-42 | $500 | 12 kg |\n"
        "| Zeta BX-7 | $700 | 15 kg |\n"
    ),
    "plan.md": (
        "# Benefit Plan\n\nDialysis services are covered at 80% of the allowed amount. Employees receive 20 vacation "
        "days per year. The fuel tank holds 4,200 litres. Circuit riding was abolished in 1891.\n"
    ),
    "鹰岛.md": (
        "# 鹰岛灯塔手册\n\n鹰岛灯塔由工程师林海设计，全部用花岗岩。灯塔的油箱可装 4200 升，每小时烧去一些。"
        "由于海燕在那里繁殖，南坡从四月起关闭。雾号机位于灯塔北侧的石屋。\n\n补给船海鸥号在2007年完成了首航。\n"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of four small documents."""
    docs = tmp_path_factory.mktemp("docs")
    for name, text in TEXTS.items():
        (docs / name).write_text(text, "utf-8")
    library = tmp_path_factory.mktemp("library")
    with Rag.open(library, config=Config()) as rag:
        assert rag.add(docs).added == len(TEXTS)
    return library


@pytest.fixture(scope="module")
def rag(folder: Path) -> Iterator[Rag]:
    with Rag.open(folder, config=Config(), create=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(rag: Rag) -> Dataset:
    return make(rag, count=30, seed=3)


def page_of(rag: Rag, document: str, number: int) -> str:
    key = rag.catalog.document_id(document)
    assert key is not None
    found = rag.catalog.page(key, number)
    assert found is not None
    return found[1]


def by_text(dataset: Dataset) -> dict[str, Question]:
    return {question.text: question for question in dataset.questions}


def test_every_answer_stands_where_it_says(rag: Rag, made: Dataset) -> None:
    answerable = [question for question in made.questions if question.answerable]
    assert len(answerable) > 12
    for question in answerable:
        for gold in question.gold:
            text = page_of(rag, gold.document, gold.pages[0])
            assert collapse(gold.quote) == gold.quote
            assert find(gold.quote, text) is not None
        for answer in question.answers:
            quotes = " ".join(gold.quote for gold in question.gold)
            assert find(answer.removeprefix("because "), quotes) is not None
        assert all(wanted in " ".join(question.answers) for wanted in question.must_contain)


def test_ids_kinds_languages_and_wordings_are_told(made: Dataset) -> None:
    assert [question.id for question in made.questions] == [f"made-{n:03d}" for n in range(1, len(made.questions) + 1)]
    assert {question.tags["kind"] for question in made.questions} >= {"figure", "reason", "table"}
    assert {question.tags["variant"] for question in made.questions} >= {"plain", "words"}
    assert {question.tags["language"] for question in made.questions} == {"en", "zh"}
    assert all((question.tags["language"] == "zh") == has_cjk(question.text) for question in made.questions)


def test_a_fact_is_asked_once(rag: Rag) -> None:
    plain = make(rag, count=60, seed=1, variants=False)
    counts = Counter((question.gold[0].quote, question.answers) for question in plain.questions if question.gold)
    assert {question.tags["variant"] for question in plain.questions} == {"plain"}
    assert max(counts.values()) == 1


def test_the_same_seed_gives_the_same_and_another_does_not(rag: Rag, made: Dataset) -> None:
    assert make(rag, count=30, seed=3).fingerprint == made.fingerprint
    assert make(rag, count=30, seed=4).fingerprint != made.fingerprint


def test_what_two_documents_answer_in_two_ways_names_the_document(rag: Rag) -> None:
    found = by_text(make(rag, count=60, kinds=["figure"], variants=False))
    bare = "What is the warranty period for Zeta pumps?"
    assert bare not in found
    assert found[titled(bare, "Tower Handbook")].answers == ("24 months",)
    assert found[titled(bare, "Pump Handbook")].answers == ("36 months",)


def test_what_two_documents_answer_alike_has_both_as_gold(rag: Rag) -> None:
    question = by_text(make(rag, count=60, kinds=["figure"], variants=False))[
        "How many litres does the fuel tank hold?"
    ]
    assert {gold.document for gold in question.gold} == {"tower.md", "plan.md"}


def test_an_unanswerable_question_is_asked_of_others_that_do_not_answer(rag: Rag, made: Dataset) -> None:
    apart = [question for question in made.questions if not question.answerable]
    assert 2 <= len(apart) <= 6
    names = {entry.document for entry in rag.documents()}
    for question in apart:
        own = question.tags["held_out"]
        left = {name for name in names if any(fnmatchcase(name, pattern) for pattern in question.where)}
        assert left
        assert own not in left
        assert (question.gold, question.answers, question.must_contain) == ((), (), ())
        assert {passage.document for passage in rag.search(Query(question.text, where=question.where), k=9)} <= left


def test_what_another_document_may_answer_is_not_called_unanswerable(rag: Rag) -> None:
    every = {question.text for question in make(rag, count=60, kinds=["unanswerable"]).questions}
    assert "How high is the Hallow tower?" in every
    assert not any("fuel tank" in text or "Zeta pumps" in text for text in every)


def test_only_what_is_wanted_is_made(rag: Rag) -> None:
    for kind in ("figure", "table", "reason"):
        some = make(rag, count=60, kinds=[kind])
        assert {question.tags["kind"] for question in some.questions} == {kind}
        assert all(question.answerable for question in some.questions)
    chinese = make(rag, count=60, language="zh")
    assert all(has_cjk(question.text) for question in chinese.questions)
    assert not any(has_cjk(question.text) for question in make(rag, count=60, language="en").questions)
    held = make(rag, count=3, kinds=["unanswerable"])
    assert [question.answerable for question in held.questions] == [False] * 3


def test_no_more_is_made_than_asked_for_and_what_is_missing_is_counted(rag: Rag) -> None:
    few = make(rag, count=5)
    assert (len(few.questions), few.warnings) == (5, ())
    assert sum(not question.answerable for question in few.questions) == 1
    many = make(rag, count=500)
    short = 400 - sum(question.answerable for question in many.questions)
    assert any(warning.startswith(f"{short} answerable questions fewer") for warning in many.warnings)
    assert any("unanswerable questions fewer" in warning for warning in many.warnings)


def test_progress_rises_and_cancelling_keeps_what_is_made(rag: Rag) -> None:
    told: list[tuple[int, int]] = []
    make(rag, count=10, progress=lambda done, total: told.append((done, total)))
    assert [total for _, total in told] == [10] * len(told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == 10
    seen: list[int] = []
    stopped = make(rag, count=30, progress=lambda done, _: seen.append(done), cancelled=lambda: len(seen) >= 4)
    assert 4 <= len(stopped.questions) <= 6
    assert stopped.warnings == ()
    with pytest.raises(ConfigError, match="No question could be made"):
        make(rag, count=30, cancelled=lambda: True)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"count": 0}, "0 questions"),
        ({"kinds": []}, "No kind"),
        ({"kinds": ["figure", "riddle"]}, "'riddle'"),
        ({"language": "fr"}, "'fr'"),
    ],
)
def test_wrong_wishes_are_errors(rag: Rag, wish: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        make(rag, **wish)  # type: ignore[arg-type]
    assert caught.value.hint


def test_an_empty_library_is_an_error_and_one_document_holds_nothing_out(tmp_path: Path) -> None:
    with Rag.open(tmp_path / "none", config=Config()) as empty, pytest.raises(ConfigError, match="no documents"):
        make(empty)
    (tmp_path / "tower.md").write_text(TEXTS["tower.md"], "utf-8")
    with Rag.open(tmp_path / "one", config=Config()) as alone:
        alone.add(tmp_path / "tower.md")
        dataset = make(alone, count=5)
    assert all(question.answerable for question in dataset.questions)
    assert any("two documents" in warning for warning in dataset.warnings)


def test_a_set_is_kept_as_a_file_that_people_can_edit(made: Dataset, tmp_path: Path) -> None:
    save(made, tmp_path / "made.jsonl")
    assert load(tmp_path / "made.jsonl").questions == made.questions


# -- by a model --------------------------------------------------------------------------------------------------------


def with_model(folder: Path, monkeypatch: pytest.MonkeyPatch, *replies: str) -> tuple[Rag, ScriptedChat]:
    model = ScriptedChat(replies=[*replies, *["NONE"] * 200])
    monkeypatch.setattr(parts, "chat_of", lambda config: model)
    return Rag.open(folder, config=Config(), create=False), model


GOOD = {
    "tower.md": "Question: How tall was the Hallow tower built?\nAnswer: 31 metres\n"
    "Quote: The Hallow tower is 31 metres high.",
    "pump.md": "1. **Question:** When do I have to send in a claim?\nAnswer: within 90 days\n"
    "Quote: Claims must be filed within 90 days of the visit.",
    "plan.md": "Question: How much time off is there?\nAnswer: 20 vacation days\n"
    "Quote: Employees receive 20 vacation days per year.",
    "鹰岛.md": "问题：灯塔是哪位工程师的作品？\n答案：林海\n原文：鹰岛灯塔由工程师林海设计，全部用花岗岩。",
}


def test_a_model_writes_questions_and_its_quotes_are_looked_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Author(ScriptedChat):
        """Answers with what fits the passage that it is shown."""

        def _stream(self, messages: object, *args: object, **kwargs: object) -> Iterator[object]:
            shown = str(messages[-1].text)  # type: ignore[index]
            asked.append(shown)
            reply = next((GOOD[name] for name, text in TEXTS.items() if GOOD[name].split("：")[-1].split("Quote: ")[-1]
                          in shown), "NONE")  # fmt: skip
            self.replies = [reply]
            return super()._stream(messages, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "chat_of", lambda config: Author(replies=["NONE"]))
    with Rag.open(folder, config=Config(), create=False) as rag:
        dataset = make(rag, count=20, kinds=["model"])
    assert asked
    found = {question.text: question for question in dataset.questions}
    assert set(found) == {
        "How tall was the Hallow tower built?", "When do I have to send in a claim?", "How much time off is there?",
        "灯塔是哪位工程师的作品？",
    }  # fmt: skip
    claim = found["When do I have to send in a claim?"]
    assert claim.answers == ("within 90 days",)
    assert claim.gold[0].quote == "Claims must be filed within 90 days of the visit."
    assert claim.tags["kind"] == "model"


@pytest.mark.parametrize(
    "reply",
    [
        "NONE", "", "I cannot help with that.",
        "Question: How tall is the tower?\nAnswer: 31 metres",
        "Question: How tall is the tower?\nAnswer: 31 metres\nQuote: The Hallow tower is 32 metres high.",
        "Question: How tall is the tower?\nAnswer: 32 metres\nQuote: The Hallow tower is 31 metres high.",
        "Question: How tall is it in this passage?\nAnswer: 31 metres\nQuote: The Hallow tower is 31 metres high.",
        "Question: Is the tower 31 metres tall?\nAnswer: 31 metres\nQuote: The Hallow tower is 31 metres high.",
        "Question: The tower\nAnswer: 31 metres\nQuote: The Hallow tower is 31 metres high.",
    ],
)  # fmt: skip
def test_a_reply_that_cannot_be_used_makes_no_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    rag, model = with_model(folder, monkeypatch, *[reply] * 20)
    with rag, pytest.raises(ConfigError, match="No question"):
        make(rag, count=4, kinds=["model"])
    assert model.prompts


def test_where_the_model_gives_nothing_structure_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rag, _ = with_model(folder, monkeypatch)
    with rag:
        dataset = make(rag, count=8, kinds=["model", "figure"])
    assert {question.tags["kind"] for question in dataset.questions} == {"figure"}


def test_a_model_that_fails_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedChat(replies=["Question: x"] * 9, fail_at=1)
    monkeypatch.setattr(parts, "chat_of", lambda config: model)
    with Rag.open(folder, config=Config(), create=False) as rag, pytest.raises(ModelError):
        make(rag, count=8)


def test_kinds_are_documented() -> None:
    assert len(set(KINDS)) == len(KINDS)
    assert all(re.fullmatch("[a-z]+", kind) for kind in KINDS)
