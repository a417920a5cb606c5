"""The four flows and their steps: what is searched, what the model is asked, what it costs, and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragapp import flows, steps
from ragapp.budget import Budget
from ragapp.errors import ConfigError, ModelError
from ragapp.ports import Flow
from ragapp.testing import CountedWords, FixedTools, ScriptedWriter, check_events, check_flow, document_of, passage_of
from ragapp.text import NO_ANSWER_EN, NO_ANSWER_ZH
from ragapp.types import (
    Answer,
    Done,
    Event,
    Expansion,
    Found,
    Passage,
    Query,
    Rank,
    Step,
    Token,
    Turn,
    Usage,
    Waiting,
    Written,
)
from ragapp.wording import is_small_talk, sub_questions

FLOWS: tuple[Flow, ...] = (flows.linear, flows.conditional, flows.branching, flows.looping)
TEXTS = (
    "The pump of the Atlas needs oil every month.",
    "The valve of the Orion is made of brass.",
    "The warranty of both machines is two years.",
    "Brass is an alloy of copper and zinc.",
)
PASSAGES = tuple(
    replace(passage_of(document_of(text, name=f"{n}.pdf")), score=1 - n / 10) for n, text in enumerate(TEXTS)
)
WORDS = CountedWords(TEXTS)


@dataclass(frozen=True, slots=True)
class BySharedWords(FixedTools):
    """Finds passages that share a word with what is sought; as sure as the share of the question's words they have."""

    def retrieve(self, query: Query, k: int) -> list[Passage]:
        self.asked.append(query)
        wanted = set(self.words.words(" ".join([query.sought, *query.hypotheses])))
        shared = [len(wanted & set(self.words.words(p.chunk.text))) for p in self.passages]
        order = sorted(range(len(shared)), key=lambda i: (-shared[i], i))
        return [replace(self.passages[i], score=shared[i] / 10) for i in order][:k]

    @property
    def retriever(self) -> BySharedWords:
        return self


def run(flow: Flow, tools: FixedTools, query: Query | str) -> tuple[Answer, list[Event]]:
    events = list(flow(tools, Query(query) if isinstance(query, str) else query))
    return check_events(events), events


def details(events: Sequence[Event], name: str) -> list[dict[str, Any]]:
    return [dict(event.detail) for event in events if isinstance(event, Step) and event.name == name]


def sought(tools: FixedTools) -> list[str]:
    """What was searched, in order; the last of ``asked`` is the answered query where one was written."""
    return [query.sought for query in tools.asked if query.tokens_left is None]


def drain(generator: Generator[Event, None, Any]) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


# -- laws of all flows -------------------------------------------------------------------------------------------------

HISTORY = (Turn("user", "How long is the warranty of the Atlas?"), Turn("assistant", "Two years [1]."))
QUERIES = st.sampled_from(
    [
        Query("What does the Atlas need and what is the valve of the Orion made of?"),
        Query("Does it need oil?", HISTORY),
        Query("Hello!"),
        Query("比较甲方案和乙方案的费用"),
        Query("它需要油吗？", HISTORY),
    ]
)
REPLIES = st.lists(
    st.one_of(
        st.sampled_from(
            ["YES", "NO\nWhat is brass made of?", "NO", "", "   \n", "1. What is brass?\n2. What is oil?", "#"]
        ),
        st.text(max_size=60),
        st.just("word " * 900),
        st.just(ModelError("The model has gone.")),
    ),
    min_size=1,
    max_size=6,
)
EXPANSIONS = st.builds(
    Expansion, hyde=st.sampled_from(["auto", "on", "off"]), variants=st.integers(0, 3), step_back=st.booleans()
)


@given(
    flow=st.sampled_from(FLOWS),
    query=QUERIES,
    replies=REPLIES,
    expansion=EXPANSIONS,
    calls=st.integers(1, 9),
    tokens=st.integers(1, 600),
    seconds=st.sampled_from([0.0, 600.0]),
    sure=st.floats(0, 1),
    count=st.integers(0, 4),
)
@settings(max_examples=200)
def test_any_budget_and_any_reply_end_in_one_answer(  # noqa: PLR0917  what hypothesis varies
    flow: Flow,
    query: Query,
    replies: list[str | Exception],
    expansion: Expansion,
    calls: int,
    tokens: int,
    seconds: float,
    sure: float,
    count: int,
) -> None:
    writer = ScriptedWriter(replies)
    tools = BySharedWords(
        PASSAGES[:count],
        sure=sure,
        writer=writer,
        words=WORDS,
        expansion=expansion,
        budget=Budget(calls, tokens, seconds),
        reply="It says so there [1]." if count else "Nothing.",
    )
    answer, events = run(flow, tools, query)
    assert len(writer.asked) + 1 <= calls
    assert writer.written + max((q.tokens_left or 0 for q in tools.asked), default=0) <= tokens
    spelled = "".join(event.text for event in events if isinstance(event, Token))
    assert spelled == answer.text
    assert answer.text in (tools.reply, "Nothing.", NO_ANSWER_EN, NO_ANSWER_ZH, steps.HELLO_EN, steps.HELLO_ZH)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("sure", [0.1, 0.4, 0.9])
def test_every_flow_keeps_the_contract_and_can_be_closed_anywhere(flow: Flow, sure: float) -> None:
    expansion = Expansion("on", 2, True)
    query = Query("Does the Atlas need oil and what is brass made of?", HISTORY)
    helpful = {"judge": "NO\nWhat is brass?", "hyde": "Copper.", "variants": "Why brass?", "split": "Oil?\nBrass?"}
    for writer in (ScriptedWriter(helpful), None):
        tools = FixedTools(
            PASSAGES, sure=sure, writer=writer, expansion=expansion if writer else Expansion(), words=WORDS
        )
        answer = check_flow(flow, tools, query)
        assert answer.confidence == sure
        assert answer.finish_reason == ("stop" if sure >= 0.5 else "no_evidence")


@pytest.mark.parametrize("flow", FLOWS)
def test_closing_a_flow_while_the_model_helps_closes_the_model(flow: Flow) -> None:
    writer = ScriptedWriter(["What does the Atlas need?"])
    running = flow(FixedTools(PASSAGES, writer=writer), Query("Does it need oil?", HISTORY))
    assert isinstance(running, Generator)
    while not isinstance(next(running), Waiting):
        pass
    running.close()
    assert writer.closed == 1


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("expansion", "named"),
    [(Expansion("on"), "hyde"), (Expansion(variants=1), "variants"), (Expansion(step_back=True), "step_back")],
)
def test_without_a_model_what_only_a_model_can_do_is_refused(flow: Flow, expansion: Expansion, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        list(flow(FixedTools(PASSAGES, expansion=expansion), Query("What is brass?")))
    assert "--llm" in caught.value.hint


@pytest.mark.parametrize("flow", FLOWS)
def test_what_the_model_writes_on_the_way_is_no_token(flow: Flow) -> None:
    tools = FixedTools(PASSAGES, writer=ScriptedWriter(["Secret words"]), sure=0.3, words=WORDS)
    answer, events = run(flow, tools, Query("Does it need oil?", HISTORY))
    assert "Secret" not in "".join(event.text for event in events if isinstance(event, Token))
    assert answer.text == NO_ANSWER_EN


@pytest.mark.parametrize("flow", FLOWS)
def test_the_answer_is_told_when_and_how_long_it_may_write(flow: Flow) -> None:
    budget = Budget(calls=5, tokens=321, seconds=60)
    tools = FixedTools(PASSAGES, budget=budget)
    run(flow, tools, "What is brass?")
    answered = tools.asked[-1]
    assert (answered.tokens_left, answered.deadline) == (321, budget.deadline)


class Rude:
    """A writer that yields events of all kinds, and keeps what it made."""

    def __init__(self) -> None:
        self.made: list[Generator[Event, None, Written]] = []
        self.deadlines: list[float | None] = []

    def write(
        self, task: str, query: Query, values: Mapping[str, str], max_tokens: int
    ) -> Generator[Event, None, Written]:
        self.deadlines.append(query.deadline)
        self.made.append(self._talk())
        return self.made[-1]

    def _talk(self) -> Generator[Event, None, Written]:
        yield Token("Secret")
        yield Waiting(2)
        yield Found(())
        return Written("What is brass?", Usage(1, 3))


def test_of_a_writers_events_only_its_waiting_is_passed_on() -> None:
    tools = FixedTools(PASSAGES, writer=Rude())
    answer, events = run(flows.linear, tools, Query("And what is it?", HISTORY))
    assert answer.text == tools.reply
    assert [event for event in events if isinstance(event, Waiting)] == [Waiting(2)]
    assert len([event for event in events if isinstance(event, Found)]) == 1


def test_a_writer_is_closed_at_once_and_told_when_its_time_is_over() -> None:
    writer, budget = Rude(), Budget(seconds=60)
    running = flows.linear(FixedTools(PASSAGES, writer=writer, budget=budget), Query("And what is it?", HISTORY))
    assert isinstance(running, Generator)
    assert next(running) == Waiting(2)
    running.close()
    assert writer.made[0].gi_frame is None
    assert writer.deadlines == [budget.help_deadline]


# -- linear ------------------------------------------------------------------------------------------------------------


def test_linear_looks_at_depth_passages_and_cites_k() -> None:
    tools = FixedTools(PASSAGES, k=2, depth=3)
    answer, events = run(flows.linear, tools, "What is brass?")
    assert answer.passages == PASSAGES[:2]
    assert details(events, "search") == [{"passages": 3, "queries": ["What is brass?"], "hypotheses": 0}]
    assert [e.name for e in events if isinstance(e, Step)] == ["search", "rerank", "weigh", "gather", "write"]


def test_below_the_threshold_the_nearest_passages_are_shown_and_nothing_is_written() -> None:
    tools = FixedTools(PASSAGES, sure=0.49, threshold=0.5)
    answer, events = run(flows.linear, tools, "里斯本在哪里？")
    assert (answer.text, answer.finish_reason, answer.confidence) == (NO_ANSWER_ZH, "no_evidence", 0.49)
    assert answer.passages == PASSAGES
    assert details(events, "refuse") == [{"confidence": 0.49, "threshold": 0.5}]
    assert details(events, "write") == []


def test_at_the_threshold_it_is_answered() -> None:
    assert run(flows.linear, FixedTools(PASSAGES, sure=0.5), "What is brass?")[0].finish_reason == "stop"


def test_hyde_auto_searches_again_only_when_the_first_search_was_weak() -> None:
    for sure, expected in ((0.9, 0), (0.2, 1)):
        writer = ScriptedWriter(["Copper and zinc make an alloy."])
        tools = BySharedWords(PASSAGES, sure=sure, writer=writer, words=WORDS)
        _, events = run(flows.linear, tools, "What is yellow metal?")
        assert [task for task, _ in writer.asked] == ["hyde"] * expected
        assert len(details(events, "pool")) == expected
    assert tools.asked[-1].hypotheses == ("Copper and zinc make an alloy.",)
    assert details(events, "hypothesize") == [
        {"passages": ["Copper and zinc make an alloy."], "calls": 1, "tokens": 6, "prompt_tokens": 1}
    ]
    found = next(event for event in events if isinstance(event, Found))
    assert TEXTS[3] in [passage.chunk.text.strip() for passage in found.passages[:2]]


def test_at_the_threshold_nothing_is_imagined() -> None:
    writer = ScriptedWriter(["Copper."])
    run(flows.linear, FixedTools(PASSAGES, sure=0.5, writer=writer), "What is brass?")
    assert writer.asked == []


def test_hyde_off_and_on() -> None:
    for hyde, expected in (("off", 0), ("on", 1)):
        writer = ScriptedWriter(["Copper and zinc."])
        tools = FixedTools(PASSAGES, sure=0.2, writer=writer, expansion=Expansion(hyde))  # type: ignore[arg-type]
        run(flows.linear, tools, "What is brass?")
        assert len(writer.asked) == expected


def test_variants_and_the_step_back_are_searched_besides() -> None:
    writer = ScriptedWriter(
        {
            "variants": "1. Which metals are in brass?\n2. “Brass consists of what?”\n3. More?",
            "step_back": "What is an alloy?",
        }
    )
    tools = FixedTools(PASSAGES, writer=writer, expansion=Expansion(variants=2, step_back=True))
    _, events = run(flows.linear, tools, "What is brass?")
    assert sorted(sought(tools)) == sorted(
        ["What is brass?", "Which metals are in brass?", "Brass consists of what?", "What is an alloy?"]
    )
    assert len(details(events, "search")) == 1
    assert writer.asked[0] == ("variants", {"question": "What is brass?", "count": "2"})


def test_a_helping_call_that_fails_costs_a_warning_and_no_answer() -> None:
    for reply, said in ((ModelError("Out of memory."), "Out of memory"), ("???", "no passage")):
        tools = FixedTools(PASSAGES, writer=ScriptedWriter([reply]), expansion=Expansion("on"))
        answer, events = run(flows.linear, tools, "What is brass?")
        assert said in details(events, "hypothesize")[0]["warning"]
        assert answer.finish_reason == "stop"
        assert sought(tools) == ["What is brass?"]


def test_a_used_up_budget_is_told_and_is_no_warning() -> None:
    tools = FixedTools(PASSAGES, writer=ScriptedWriter(["Brass."]), expansion=Expansion("on"), budget=Budget(calls=1))
    _, events = run(flows.linear, tools, "What is brass?")
    assert details(events, "hypothesize") == [{"passages": [], "calls": 0, "skipped": "the budget is used up"}]


def test_what_helping_calls_did_not_write_is_left_for_the_answer() -> None:
    writer = ScriptedWriter(["What is brass?", "Copper and zinc."])
    tools = FixedTools(PASSAGES, writer=writer, expansion=Expansion("on"), budget=Budget(calls=9, tokens=300))
    _, events = run(flows.linear, tools, Query("And what is it?", HISTORY))
    assert [(d["calls"], d["tokens"]) for d in details(events, "rewrite") + details(events, "hypothesize")] == [
        (1, 3),
        (1, 3),
    ]
    assert tools.asked[-1].tokens_left == 300 - 6


def test_a_reranker_that_gave_up_warns() -> None:
    @dataclass(frozen=True, slots=True)
    class Noted:
        passages: list[Passage]
        warning: str | None

    class GaveUp:
        def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
            raise AssertionError("the noted form is there")

        def rerank_noted(self, question: str, passages: Sequence[Passage]) -> Noted:
            return Noted(list(passages)[::-1], "It took too long.")

    answer, events = run(flows.linear, FixedTools(PASSAGES, reranker=GaveUp()), "What is brass?")
    assert details(events, "rerank") == [{"passages": 4, "warning": "It took too long."}]
    assert answer.passages == PASSAGES[::-1]


# -- conversations -----------------------------------------------------------------------------------------------------


def test_a_follow_up_is_rewritten_by_the_model_and_answered_as_it_was_asked() -> None:
    writer = ScriptedWriter(["Question: How much oil does the Atlas need?"])
    tools = FixedTools(PASSAGES, writer=writer)
    _, events = run(flows.linear, tools, Query("And how much?", HISTORY))
    assert sought(tools) == ["How much oil does the Atlas need?"]
    answered = tools.asked[-1]
    assert (answered.text, answered.history) == ("And how much?", HISTORY)
    task, values = writer.asked[0]
    assert task == "rewrite"
    assert values == {
        "question": "And how much?",
        "history": "User: How long is the warranty of the Atlas?\nAssistant: Two years [1].",
    }
    assert details(events, "rewrite")[0] | {"by": "model", "changed": True} == details(events, "rewrite")[0]


@pytest.mark.parametrize(
    "writer", [None, ScriptedWriter([""]), ScriptedWriter([ModelError("Gone.")]), ScriptedWriter(["x" * 900])]
)
def test_without_a_rewrite_the_words_of_the_conversation_are_carried_over(writer: ScriptedWriter | None) -> None:
    tools = FixedTools(PASSAGES, writer=writer, words=WORDS)
    _, events = run(flows.linear, tools, Query("And how much oil?", HISTORY))
    assert sought(tools) == ["And how much oil? (warranty Atlas)"]
    assert details(events, "rewrite")[0]["by"] == "words"


def test_what_is_written_out_already_stays() -> None:
    tools = FixedTools(PASSAGES, writer=ScriptedWriter(["Something else"]))
    run(flows.linear, tools, Query("And how much?", HISTORY, standalone="How much oil?"))
    assert sought(tools) == ["How much oil?"]


def test_without_a_conversation_nothing_is_rewritten() -> None:
    tools = FixedTools(PASSAGES, writer=ScriptedWriter(["Something else"]))
    _, events = run(flows.linear, tools, Query("And how much?", (Turn("system", "Be brief."),)))
    assert details(events, "rewrite") == []
    assert sought(tools) == ["And how much?"]


def test_a_long_conversation_is_shown_in_part_newest_last() -> None:
    turns = tuple(Turn("user" if n % 2 == 0 else "assistant", f"turn {n} " + "x" * 2000) for n in range(9))
    writer = ScriptedWriter(["A question?"])
    drain(steps.rewrite(FixedTools(writer=writer), Query("它呢？", turns)))
    shown = writer.asked[0][1]["history"]
    assert len(shown) <= steps.HISTORY_CHARS + 10
    assert shown.splitlines()[-1].startswith("用户：turn 8 ")
    assert all(len(line) <= steps.TURN_CHARS + 10 for line in shown.splitlines())
    assert "turn 0 " not in shown


# -- conditional -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Hi!", "Hello there", "Thanks a lot!", "Who are you?", "你好！", "谢谢", "你是谁？"])
def test_small_talk_needs_no_library(text: str) -> None:
    writer = ScriptedWriter(["YES"])
    tools = FixedTools(PASSAGES, writer=writer)
    answer, _ = run(flows.conditional, tools, text)
    assert answer.text in (steps.HELLO_EN, steps.HELLO_ZH)
    assert (answer.finish_reason, answer.passages, answer.confidence) == ("stop", (), None)
    assert (writer.asked, tools.asked) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "Hi, how long is the warranty?",
        "What can the pump do?",
        "Who are the landlords?",
        "你好，保修期多久？",
        "help",
        "good",
    ],
)
def test_what_may_be_a_question_is_looked_up(text: str) -> None:
    assert not is_small_talk(text)


def test_the_model_is_asked_whether_documents_are_wanted_only_after_a_weak_search() -> None:
    for sure, tasks in ((0.9, []), (0.2, ["route"])):
        writer = ScriptedWriter(["NO"])
        answer, _ = run(flows.conditional, FixedTools(PASSAGES, sure=sure, writer=writer), "Do you like jazz?")
        assert [task for task, _ in writer.asked] == tasks
    assert answer.text == steps.HELLO_EN


@pytest.mark.parametrize("reply", ["YES", "perhaps", "", "yes, NO"])
def test_in_doubt_documents_are_wanted(reply: str) -> None:
    answer, _ = run(
        flows.conditional, FixedTools(PASSAGES, sure=0.2, writer=ScriptedWriter({"route": reply})), "Do you like jazz?"
    )
    assert answer.text == NO_ANSWER_EN


@dataclass(frozen=True, slots=True)
class Unsure(BySharedWords):
    """As sure as ``sure`` at first, and certain from the second search on."""

    @property
    def judge(self) -> Unsure:
        return self

    def confidence(self, query: Query, passages: Sequence[Passage]) -> float:
        return self.sure if len(self.asked) < 2 else 1.0


@pytest.mark.parametrize(("sure", "kept"), [(0.1, False), (0.3, True)])
def test_a_hopeless_search_is_replaced_and_an_ambiguous_one_joined(sure: float, kept: bool) -> None:
    writer = ScriptedWriter({"route": "YES", "hyde": "Copper zinc alloy"})
    tools = Unsure(PASSAGES, sure=sure, writer=writer, words=CountedWords())
    answer, events = run(flows.conditional, tools, "valve")
    assert answer.finish_reason == "stop"
    assert (TEXTS[1] in [p.chunk.text.strip() for p in answer.passages]) is True or not kept
    assert details(events, "pool")[0]["lists"] == (2 if kept else 1)


def test_without_a_model_a_weak_search_is_widened_by_words() -> None:
    tools = Unsure(PASSAGES, sure=0.3, words=WORDS)
    answer, events = run(flows.conditional, tools, "Which valve does the machine have?")
    assert details(events, "widen")[0]["by"] == "words"
    assert sought(tools)[1].startswith("valve machine")
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize(("sure", "searched"), [(0.1, "valve zinc alloy"), (0.3, "valve zinc alloy brass")])
def test_a_hopeless_search_gives_no_words_to_the_next_one(sure: float, searched: str) -> None:
    tools = Unsure(PASSAGES, sure=sure, words=WORDS)
    run(flows.conditional, tools, "Which valve and zinc alloy is it?")
    assert sought(tools)[1].lower() == searched


def test_feedback_takes_words_that_several_of_the_best_passages_share() -> None:
    texts = ["zinc alloy brass", "zinc alloy bronze", "steel", "copper"]
    passages = [passage_of(document_of(text)) for text in texts]
    tools = FixedTools(tuple(passages), words=CountedWords(texts))
    wider = drain(steps.widen(tools, Query("What is brass?"), passages))
    assert wider.sought.split()[0] == "brass"
    assert sorted(wider.sought.split()[1:]) == ["alloy", "zinc"]


# -- branching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Who founded Acme? When was it sold?", ["Who founded Acme?", "When was it sold?"]),
        ("What does the plan cover and what are its limits?", ["What does the plan cover", "what are its limits?"]),
        ("Does HTTP/2 use TCP, and does QUIC use UDP?", ["Does HTTP/2 use TCP", "does QUIC use UDP?"]),
        ("Compare the fee of Silver and Gold", ["the fee of Silver", "the fee of Gold"]),
        ("What is the difference between Silver and Gold?", ["Silver", "Gold"]),
        ("What is the difference between Silver and Gold in terms of fees?", ["fees Silver", "fees Gold"]),
        ("How does Silver differ from Gold?", ["Silver", "Gold"]),
        ("Which is cheaper, Silver or Gold?", ["Which is cheaper: Silver", "Which is cheaper: Gold"]),
        ("公司什么时候成立，以及谁是创始人？", ["公司什么时候成立", "谁是创始人？"]),
        ("标准版和高级版的保修期有什么区别？", ["标准版的保修期", "高级版的保修期"]),
        ("比较甲方案和乙方案的费用", ["甲方案的费用", "乙方案的费用"]),
        (
            "Northwind Standard和Northwind Health Plus的费用有什么区别？",
            ["Northwind Standard的费用", "Northwind Health Plus的费用"],
        ),
        ("谁创立了公司？公司何时出售？", ["谁创立了公司？", "公司何时出售？"]),
    ],
)
def test_several_questions_in_one_are_told_apart_by_their_wording(text: str, parts: list[str]) -> None:
    assert sub_questions(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "When and where was Tesla born?",
        "Which plans are covered and why?",
        "What is the cost of parts and labour?",
        "I am a contractor. How many days do I get?",
        "What can and can not be returned?",
        "Is it true? ",
        "What is the relation between how fast it runs and how hot it gets?",
        "Who wrote and who published the manual?",
        "北京和上海的人口是多少？",
        "在哪里，什么时候举行了会议？",
        "expense policy",
        "",
        "???",
    ],
)
def test_one_question_is_never_split(text: str) -> None:
    assert sub_questions(text) == [text]


@given(st.text(max_size=80))
def test_parts_are_never_none_and_never_empty(text: str) -> None:
    parts = sub_questions(text)
    assert parts
    assert all(parts) or parts == [text]


def test_branching_searches_the_question_and_each_part_and_reranks_once() -> None:
    tools = BySharedWords(PASSAGES, words=WORDS)
    _, events = run(flows.branching, tools, "What does the Atlas need and what is its valve made of?")
    assert sorted(sought(tools)) == sorted(
        [
            "What does the Atlas need and what is its valve made of?",
            "What does the Atlas need",
            "what is its valve made of? (Atlas need)",
        ]
    )
    assert len(details(events, "rerank")) == 1
    assert details(events, "split")[0]["by"] == "words"
    assert details(events, "pool")[0]["lists"] == 3


def test_every_part_has_its_best_passage_in_front_and_is_told_to_the_answer() -> None:
    # The whole question has more words of the one side, and the part that asks for it finds the same again.
    texts = [*(f"The Atlas pump, its oil and its work, {n}." for n in range(6)), "The Orion does its work without."]
    passages = [passage_of(document_of(text, name=f"{n}.pdf")) for n, text in enumerate(texts)]
    tools = BySharedWords(passages, words=CountedWords(texts), k=3)
    answer, _ = run(flows.branching, tools, "Compare the work of the Atlas pump oil and the Orion")
    assert "6.pdf" in [p.document for p in answer.passages[:3]]
    asked = next(query for query in tools.asked if query.tokens_left is not None)
    assert asked.parts == ("the work of the Atlas pump oil", "the work of the Orion")


@pytest.mark.parametrize("flow", FLOWS)
def test_one_question_has_no_parts(flow: Flow) -> None:
    tools = BySharedWords(PASSAGES, words=WORDS)
    run(flow, tools, "What is brass made of?")
    assert {query.parts for query in tools.asked} == {()}


def test_branching_by_the_model() -> None:
    writer = ScriptedWriter(["- What does the Atlas need?\n- What is the valve made of?"])
    tools = BySharedWords(PASSAGES, words=WORDS, writer=writer)
    run(flows.branching, tools, "Oil and brass?")
    assert sorted(sought(tools)) == ["Oil and brass?", "What does the Atlas need?", "What is the valve made of?"]


def test_one_question_is_one_search_and_keeps_its_order() -> None:
    tools = BySharedWords(PASSAGES, words=WORDS)
    answer, _ = run(flows.branching, tools, "What is brass made of?")
    assert sought(tools) == ["What is brass made of?"]
    assert (
        answer.passages == run(flows.linear, BySharedWords(PASSAGES, words=WORDS), "What is brass made of?")[0].passages
    )


def test_searches_run_at_the_same_time_and_none_is_left_when_the_flow_is_closed() -> None:
    met = threading.Barrier(2, timeout=10)

    @dataclass(frozen=True, slots=True)
    class Meeting(FixedTools):
        @property
        def retriever(self) -> Meeting:
            return self

        def retrieve(self, query: Query, k: int) -> list[Passage]:
            if len(query.sought) < 30:
                met.wait()  # breaks unless another search is under way
            return list(self.passages[:k])

    before = threading.active_count()
    running = flows.branching(Meeting(PASSAGES), Query("Who founded Acme, and who founded Bolt?"))
    assert isinstance(running, Generator)
    for event in running:
        if isinstance(event, Step) and len(event.detail.get("queries", ())) == 2:  # type: ignore[arg-type]
            break
    running.close()
    assert threading.active_count() == before


def test_a_search_that_fails_in_a_thread_fails_the_flow() -> None:
    class Broken(FixedTools):
        @property
        def retriever(self) -> Any:
            return self

        def retrieve(self, query: Query, k: int) -> list[Passage]:
            raise ModelError("No index.")

    with pytest.raises(ModelError, match="No index"):
        list(flows.branching(Broken(), Query("Who founded Acme? Who founded Bolt?")))


# -- pooling -----------------------------------------------------------------------------------------------------------


def pooled(*lists: Sequence[Passage], depth: int = 40, ahead: int = 0, in_turns: bool = False) -> list[Passage]:
    result: list[Passage] = drain(steps.pool(FixedTools(depth=depth), lists, ahead, in_turns=in_turns))
    return result


def test_what_two_lists_found_comes_first() -> None:
    a, b, c, d = PASSAGES
    assert [p.document for p in pooled([a, b, c], [d, c])] == [p.document for p in (c, a, d, b)]


def test_a_further_search_may_be_told_to_add_and_not_to_displace() -> None:
    a, b, c, d = PASSAGES
    assert [p.document for p in pooled([a, b, c], [d, c], ahead=2)] == [p.document for p in (a, b, c, d)]
    assert [p.document for p in pooled([a], [d, c], ahead=9)] == [p.document for p in (a, d, c)]


def test_lists_may_take_turns() -> None:
    a, b, c, d = PASSAGES
    assert [p.document for p in pooled([a, b], [b, a], [c, d])] == [p.document for p in (a, b, c, d)]
    assert [p.document for p in pooled([a, b], [a, b], [c, d])] == [p.document for p in (a, b, c, d)]
    assert [p.document for p in pooled([a, b], [a, b], [c, d], in_turns=True)] == [p.document for p in (a, c, b, d)]
    # What a later list has in front is in front, and of the equally placed ones what two lists found.
    assert [p.document for p in pooled([a, b, c], [d, c], [b], in_turns=True)] == [p.document for p in (b, a, d, c)]


def test_pooled_scores_fall_and_the_first_list_keeps_what_its_rankers_said() -> None:
    a, b, c, _ = PASSAGES
    first = replace(b, found_by={"dense": Rank(2, 0.5)}, score=0.4)
    again = replace(b, found_by={"dense": Rank(1, 0.9)}, score=0.95)
    result = pooled([a, first], [again, c])
    assert [p.document for p in result] == ["1.pdf", "0.pdf", "2.pdf"]
    assert result[0].found_by == {"dense": Rank(2, 0.5)}
    assert [p.score for p in result] == sorted([1.0, 0.4, 0.8], reverse=True)


@given(st.lists(st.lists(st.sampled_from(range(4)), unique=True), min_size=1, max_size=4), st.integers(1, 5))
def test_pooling_holds_each_passage_once(lists: list[list[int]], depth: int) -> None:
    result = pooled(*([PASSAGES[i] for i in found] for found in lists), depth=depth)
    wanted = {PASSAGES[i].document for found in lists for i in found}
    assert len(result) == min(depth, len(wanted))
    assert len({p.document for p in result}) == len(result)
    assert [p.score for p in result] == sorted((p.score for p in result), reverse=True)


# -- looping -----------------------------------------------------------------------------------------------------------


def test_looping_searches_for_the_words_that_no_passage_has() -> None:
    tools = BySharedWords(PASSAGES, k=1, words=WORDS)
    answer, events = run(flows.looping, tools, "Which oil does the Atlas need, and of what alloy is the copper valve?")
    assert details(events, "missing")[0]["by"] == "words"
    assert sought(tools)[1] == "oil Atlas valve"
    assert details(events, "missing")[-1]["enough"] or len(sought(tools)) <= 1 + flows.ROUNDS
    assert answer.finish_reason == "stop"


def test_what_looping_finds_later_comes_behind_what_was_found_first() -> None:
    tools = FixedTools(PASSAGES, k=4, writer=ScriptedWriter(["NO\nWhat is zinc?", "YES"]))
    second = [PASSAGES[3], PASSAGES[2]]

    @dataclass(frozen=True, slots=True)
    class Two(FixedTools):
        @property
        def retriever(self) -> Two:
            return self

        def retrieve(self, query: Query, k: int) -> list[Passage]:
            return second if query.sought == "What is zinc?" else list(PASSAGES[:3])

    answer, _ = run(flows.looping, Two(k=4, writer=tools.writer), "What is brass?")
    assert [p.document for p in answer.passages] == ["0.pdf", "1.pdf", "2.pdf", "3.pdf"]


@pytest.mark.parametrize(
    ("text", "further"),
    [("Is the valve of the Orion made with zinc?", []), ("Is the valve made of brass like the Atlas?", ["Atlas"])],
)
def test_one_lacking_word_is_little_and_a_lacking_name_is_much(text: str, further: list[str]) -> None:
    tools = BySharedWords(PASSAGES, k=1, words=WORDS)
    run(flows.looping, tools, text)
    assert sought(tools)[1:] == further


def test_words_that_the_library_does_not_know_are_not_searched_for() -> None:
    tools = BySharedWords(PASSAGES, words=WORDS)
    _, events = run(flows.looping, tools, "Which brass does the flibbertigibbet need?")
    assert sought(tools) == ["Which brass does the flibbertigibbet need?"]
    assert details(events, "missing") == [{"by": "words", "enough": True, "next": ""}]


def test_looping_ends_when_the_model_says_yes() -> None:
    writer = ScriptedWriter(["NO\nWhat is brass made of?", "YES"])
    tools = FixedTools(PASSAGES, writer=writer)
    _, events = run(flows.looping, tools, "What is the valve of the Orion made of in the end?")
    assert sought(tools)[1:] == ["What is brass made of?"]
    assert len(details(events, "missing")) == 2
    assert TEXTS[0] in writer.asked[0][1]["passages"]


def test_looping_ends_after_some_rounds_and_when_it_asks_the_same_again() -> None:
    writer = ScriptedWriter([f"NO\nWhat is part {n}?" for n in range(9)])
    tools = FixedTools(PASSAGES, writer=writer, budget=Budget(calls=20))
    run(flows.looping, tools, "What is brass?")
    assert len(sought(tools)) == 1 + flows.ROUNDS
    tools = FixedTools(PASSAGES, writer=ScriptedWriter(["NO\nWhat is zinc?"]), budget=Budget(calls=20))
    run(flows.looping, tools, "What is brass?")
    assert sought(tools) == ["What is brass?", "What is zinc?"]


def test_looping_ends_when_its_time_is_over() -> None:
    tools = BySharedWords(PASSAGES, k=1, words=WORDS, budget=Budget(seconds=0))
    run(flows.looping, tools, "Which oil does the Atlas need, and of what alloy is the copper valve?")
    assert len(sought(tools)) == 1


def test_a_judge_that_talks_nonsense_leaves_it_to_the_words() -> None:
    tools = FixedTools(PASSAGES, writer=ScriptedWriter(["Well, maybe."]), words=WORDS)
    _, events = run(flows.looping, tools, "What is brass?")
    assert details(events, "missing")[0]["by"] == "words"
    assert "no verdict" in details(events, "missing")[0]["warning"]


# -- a flow of one's own -----------------------------------------------------------------------------------------------


def careful(tools: Any, query: Query) -> Iterator[Event]:
    """A user's flow out of the same verbs."""
    query = yield from steps.rewrite(tools, query)
    parts = yield from steps.split(tools, query)
    lists = yield from steps.search_all(tools, [query, *parts], 3)
    passages = yield from steps.pool(tools, lists)
    passages = yield from steps.rerank(tools, query, passages)
    yield Found(tuple(passages))
    yield Done((yield from steps.write(tools, query, passages)))


def test_a_users_own_flow_is_made_of_the_same_steps() -> None:
    answer = check_flow(careful, FixedTools(PASSAGES), Query("Who founded Acme? Who founded Bolt?"))
    assert answer.confidence is None
