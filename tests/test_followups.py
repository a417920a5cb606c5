"""Follow-ups made to stand by themselves: what leans on a conversation, what does not, what is carried over."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.followups import MOST_WORDS, leans, standalone
from ragapp.testing import CountedWords
from ragapp.types import Turn
from ragapp.wording import tokens

# A library of its own, so that some words are common in it and some are rare.
LIBRARY = CountedWords(
    [
        "The maximum amount of the benefit is paid on the due date. The limit applies to every employee.",
        "The deadline is the last day of the month. The employee must file the form before the deadline.",
        "The fee is paid by the employee. The limit for the fee is two hundred dollars a year.",
        "The battery of the drill is charged in the dock. The charger shows a red light when it is full.",
        "The warranty covers parts and labour. The warranty does not cover damage by water.",
        "Photosynthesis turns light into sugar. Chlorophyll absorbs the light.",
        "The board approved the merger. The limit of the loan is set by the board.",
        "The lease of the office ends in March. The landlord pays for repairs of the roof.",
        "The amount is due at the deadline. The maximum limit is set by the form.",
        "保修期为两年。保修期内维修免费。费用由公司承担。金额上限为每年一千元。",
        "年假的天数由工龄决定。员工应在截止日期之前提交申请。申请由经理批准。",
        "金额和上限由公司规定。截止日期为月底。费用由员工承担。",
    ]
)

ENGLISH = [
    (["How long is the warranty of the Z200 drill?", "What does it not cover?"], ["warranty", "Z200", "drill"]),
    (["How long is the warranty of the Z200 drill?", "And in Germany?"], ["warranty", "Z200"]),
    (["How many vacation days do engineers get?", "What about contractors?"], ["vacation", "days"]),
    (["How many vacation days do engineers get?", "Do they expire?"], ["vacation", "days", "engineers"]),
    (["Who is the landlord of the Boston office?", "When does the lease end?"], []),
    (["Who founded Brightwater Foods?", "When did she leave the company?"], ["Brightwater", "Foods"]),
    (["Who founded Brightwater Foods?", "Why?"], ["founded", "Brightwater"]),
    (["What is the deductible of the Silver plan?", "How much is it for families?"], ["deductible", "Silver"]),
    (["What is the deductible of the Silver plan?", "Is that per year?"], ["deductible", "Silver"]),
    (["What is the deductible of the Silver plan?", "For children?"], ["deductible", "Silver"]),
    (["How do I reset the router?", "How long does that take?"], ["reset", "router"]),
    (["How do I reset the router?", "What happens to my settings when I do this?"], ["reset", "router"]),
    (["How do I reset the router?", "How often should I do it?"], ["reset", "router"]),
    (["What does error E45 mean?", "How do I fix it?"], ["E45"]),
    (["What does error E45 mean?", "And E46?"], ["error"]),
    (["When did the merger with Contoso close?", "Who approved it?"], ["merger", "Contoso"]),
    (["When did the merger with Contoso close?", "What were its terms?"], ["merger", "Contoso"]),
    (["When did the merger with Contoso close?", "What was the maximum amount?"], ["merger", "Contoso"]),
    (["Which algorithms does the cipher suite allow?", "Which of them are deprecated?"], ["algorithms", "cipher"]),
    (["Which port does the discovery service use?", "Does the firewall block it?"], ["port", "discovery"]),
    (["Which port does the discovery service use?", "What is the limit?"], ["port", "discovery"]),
    (["How is overtime paid?", "What about weekends?", "And holidays?"], ["overtime", "paid", "weekends"]),
    (["How is overtime paid?", "Is there a limit?", "Who decides?"], ["overtime", "paid"]),
    (["Where is the spare key of the lab kept?", "Who lives there?"], ["spare", "key", "lab"]),
    (["What are the rules for expense reports?", "What is the deadline?"], ["expense", "reports"]),
    (["Which laptops may staff choose?", "Which one is the lightest?"], ["laptops", "staff"]),
    (["What is chlorophyll?", "What does it absorb?"], ["chlorophyll"]),
    (["Does the Atlas pump need oil?", "How much?"], ["Atlas", "pump", "oil"]),
    (["Does the Atlas pump need oil?", "Which kind?"], ["Atlas", "pump", "oil"]),
    (["What penalties apply to late filings?", "Are these tax deductible?"], ["penalties", "late", "filings"]),
    (["Who wrote the safety manual?", "What else did he write?"], ["safety", "manual"]),
    (["What is the visitor policy at the Oslo site?", "Can we change their badges?"], ["visitor", "Oslo"]),
    (["Can I cancel my gym membership?", "How?"], ["cancel", "gym", "membership"]),
    (["What is the parental leave for fathers?", "What about after 2024?"], ["parental", "leave", "fathers"]),
]

CHINESE = [
    (["X200 电钻的保修期是多久？", "它包括电池吗？"], ["X200", "电钻", "保修期"]),
    (["X200 电钻的保修期是多久？", "在德国呢？"], ["X200", "电钻", "保修期"]),
    (["员工每年有多少天年假？", "实习生呢？"], ["年假"]),
    (["员工每年有多少天年假？", "那试用期员工呢？"], ["年假"]),
    (["员工每年有多少天年假？", "为什么？"], ["年假"]),
    (["谁创立了明月食品公司？", "他是什么时候离开的？"], ["创立", "明月食品公司"]),
    (["谁创立了明月食品公司？", "该公司在哪里？"], ["创立", "明月食品"]),
    (["如何重置路由器？", "这需要多长时间？"], ["重置路由器"]),
    (["如何重置路由器？", "多久？"], ["重置路由器"]),
    (["错误代码 E45 是什么意思？", "怎么解决？"], ["错误代码", "E45"]),
    (["错误代码 E45 是什么意思？", "那 E46 呢？"], ["错误代码"]),
    (["报销差旅费有什么规定？", "截止日期是什么时候？"], ["报销差旅费"]),
    (["报销差旅费有什么规定？", "谁批准？"], ["报销差旅费"]),
    (["报销差旅费有什么规定？", "还有别的要求吗？"], ["报销差旅费"]),
    (["加班费如何计算？", "周末呢？", "节假日呢？"], ["加班费", "周末"]),
    (["加班费如何计算？", "上限是多少？"], ["加班费"]),
    (["办公室的租约何时到期？", "其租金是多少？"], ["办公室", "租约"]),
]

BY_THEMSELVES = [
    "How long is the warranty of the Z300 saw?",
    "What is photosynthesis?",
    "What is COBRA?",
    "When did Nikola Tesla move to his laboratory in Colorado?",
    "What happens when a filter clogs and it leaks?",
    "If an employee resigns, do they keep their laptop?",
    "How long does it take to process a claim for dental surgery?",
    "Is it possible to cancel an order after shipping?",
    "Which company said that it would buy the Oslo plant?",
    "What did Luther say about his years in Erfurt?",
    "According to Smith, what did he find in the cellar?",
    "Is there a pharmacy on the third floor of the main building?",
    "Those who arrive late must sign which form at the gate?",
    "Which protein does the plant make that stops the fungus?",
    "expense policy overtime weekends",
    "deductible silver plan",
    "Do both parties have to sign the escrow agreement?",
    "How many sessions per year does the counselling programme pay for?",
    "光合作用是什么？",
    "什么是光合作用？",
    "明月食品公司是什么时候成立的？",
    "路德在他的著作中批评了哪些做法？",
    "员工在其他国家工作时如何缴纳社保？",
    "应该向哪个部门提交采购申请表？",
    "因此项规定而受影响的供应商有哪些类型？",
    "公司的会议室如何预订？",
    "X300 电锯的保修期是多久？",
    "哪些维他命可以在药房购买？",
]

OTHER = ("Which river runs through Lisbon and how wide is the estuary?", "里斯本的河流有多宽？")


def history(*questions: str) -> tuple[Turn, ...]:
    return tuple(Turn("user", text) for text in questions)


@pytest.mark.parametrize(("turns", "wanted"), [(t, w) for t, w in ENGLISH + CHINESE if w])
def test_a_follow_up_is_given_its_subject(turns: list[str], wanted: list[str]) -> None:
    made = standalone(turns[-1], history(*turns[:-1]), LIBRARY)
    assert made.startswith(turns[-1])
    added = made.removeprefix(turns[-1]).lower()
    assert [word for word in wanted if word.lower() not in added] == []


@pytest.mark.parametrize("turns", [t for t, w in ENGLISH if not w])
def test_a_question_with_a_subject_of_its_own_in_a_dialogue_stays(turns: list[str]) -> None:
    assert standalone(turns[-1], history(*turns[:-1]), LIBRARY) == turns[-1]


@pytest.mark.parametrize("question", BY_THEMSELVES)
@pytest.mark.parametrize("before", OTHER)
def test_a_question_that_stands_by_itself_stays(question: str, before: str) -> None:
    assert standalone(question, history(before), LIBRARY) == question


ANSWERS = [
    (
        "Who founded Brightwater Foods?",
        "It was founded by Mary Ellis in 1999 [1].",
        "When did she retire?",
        ["Mary Ellis"],
    ),
    ("Which company bought Acme?", "Globex Corporation [1].", "When was it founded?", ["Globex Corporation"]),
    ("Who approves travel?", "the team lead", "Can they refuse?", ["team", "lead"]),
    ("谁创立了明月食品公司？", "李明。", "他是哪里人？", ["李明"]),
]


@pytest.mark.parametrize(("asked", "answered", "question", "wanted"), ANSWERS)
def test_what_an_answer_named_is_carried_over_too(asked: str, answered: str, question: str, wanted: list[str]) -> None:
    made = standalone(question, (Turn("user", asked), Turn("assistant", answered)), LIBRARY)
    assert [word for word in wanted if word not in made] == []


def test_names_of_a_long_answer_are_not_taken_for_it() -> None:
    long = "“The Globex Corporation of Lisbon and the Umbra Works have many plants.” [1] " * 3
    turns = (Turn("user", "What is the fee of the Silver plan?"), Turn("assistant", long))
    assert standalone("Is it due in March?", turns, LIBRARY) == "Is it due in March? (fee Silver plan)"


def test_names_are_not_taken_from_an_answer_to_a_question_that_asks_for_none() -> None:
    turns = (Turn("user", "How long is the lease?"), Turn("assistant", "Two years, says Mary Ellis."))
    assert standalone("Is it renewed?", turns, LIBRARY) == "Is it renewed? (lease)"


def test_the_subject_of_a_chain_of_follow_ups_is_found_and_nothing_before_it() -> None:
    turns = history(
        "How is the pump oiled?", "What does the warranty of the Z200 drill cover?", "And batteries?", "Why?"
    )
    made = standalone("For how long?", turns, LIBRARY)
    assert made == "For how long? (batteries warranty Z200 drill cover)"


def test_what_is_carried_over_is_bounded_and_the_most_telling() -> None:
    before = "Which of the " + " ".join(f"limit employee deadline w{n}x" for n in range(40)) + " parts are there?"
    made = standalone("And it?", history(before), LIBRARY)
    carried = made.removeprefix("And it? (").removesuffix(")").split()
    assert len(carried) == MOST_WORDS
    assert all(word.startswith("w") for word in carried)


def test_without_a_conversation_a_question_stays() -> None:
    for turns in (
        (),
        (Turn("assistant", "Hello, Mary Ellis."),),
        (Turn("system", "Warranty of drills."),),
        history(" "),
    ):
        assert standalone("And it?", turns, LIBRARY) == "And it?"


def test_greetings_carry_nothing_and_lead_further_back() -> None:
    assert standalone("Why?", history("Hi!", "Hello"), LIBRARY) == "Why?"
    turns = history("How is the roof repaired?", "Thanks, ok.")
    assert standalone("Why is it so?", turns, LIBRARY) == "Why is it so? (roof repaired)"


@given(
    question=st.text(max_size=60),
    turns=st.lists(st.builds(Turn, st.sampled_from(["user", "assistant", "system"]), st.text(max_size=60)), max_size=5),
)
def test_a_question_only_grows_and_by_words_of_the_conversation(question: str, turns: list[Turn]) -> None:
    made = standalone(question, turns, LIBRARY)
    if made == question:
        return
    assert made.startswith(question.strip())
    carried = made[len(question.strip()) :].strip().removeprefix("(").removesuffix(")").split()
    spoken = " ".join(turn.text for turn in turns if turn.role != "system")
    assert all(word in spoken for word in carried)
    assert leans(question, LIBRARY)


@given(st.text(max_size=40))
def test_tokens_are_in_the_text_in_order(text: str) -> None:
    at = 0
    for token in tokens(text):
        at = text.index(token, at) + len(token)


def test_a_long_conversation_takes_no_long_time() -> None:
    turns = [Turn("user", "And what about it? " * 5000)] * 50
    started = time.perf_counter()
    assert standalone("And it?", turns, LIBRARY) == "And it?"
    assert standalone("And it? " * 5000, turns, LIBRARY) == "And it? " * 5000
    assert time.perf_counter() - started < 3


def test_what_the_question_says_itself_is_not_said_twice() -> None:
    turns = history("How long is the warranty of the drill?")
    assert standalone("And the warranty fee?", turns, LIBRARY) == "And the warranty fee? (drill)"


@pytest.mark.parametrize("question", ["When the pump leaks, who repairs it?", "Which houses have tenants in them?"])
def test_a_pronoun_may_stand_for_a_noun_of_its_own_sentence(question: str) -> None:
    assert not leans(question, LIBRARY)


def test_what_is_counted_is_not_what_the_subject_stands_for() -> None:
    assert leans("How many rubber wheels does it have?", LIBRARY)
