"""Short texts by a chat model: within the window and the time, closed when asked to, and what their replies mean."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage

from ragapp import flows
from ragapp.budget import Budget
from ragapp.chat import ScriptedChat
from ragapp.errors import ContextTooLong, ModelError
from ragapp.ports import Flow, Writer
from ragapp.prompts import Prompts
from ragapp.testing import FixedTools, check_events, check_flow, document_of, passage_of
from ragapp.types import Event, Expansion, Query, Step, Turn, Usage, Waiting, Written
from ragapp.writers import MAX_LINE, ChatWriter, lines, paragraphs, verdict

QUERY = Query("What is brass?")


@dataclass
class FixedPrompts:
    """The values of a task, one a line."""

    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def task(self, task: str, query: Query, values: Mapping[str, str]) -> list[BaseMessage]:
        self.seen.append((task, dict(values)))
        return [HumanMessage("\n".join([task, *values.values()]))]


def writer_of(chat: Any, prompts: FixedPrompts | None = None) -> ChatWriter:
    return ChatWriter(chat, prompts or FixedPrompts(), ScriptedChat(replies=[]).count_tokens, lambda: 100)


def written(generator: Generator[Event, None, Written]) -> tuple[Written, list[Event]]:
    events: list[Event] = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return end.value, events


@dataclass
class Pieces:
    """A chat model that streams these chunks, whatever it is asked, and keeps the options it was asked with."""

    chunks: list[Any]
    options: dict[str, Any] = field(default_factory=dict)
    closed: bool = False
    delay: float = 0.0

    def stream(self, messages: list[BaseMessage], **options: Any) -> Iterator[AIMessageChunk]:
        self.options = options
        try:
            for chunk in self.chunks:
                time.sleep(self.delay)
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk if isinstance(chunk, AIMessageChunk) else AIMessageChunk(chunk)
        finally:
            self.closed = True


def waiting(position: int) -> AIMessageChunk:
    return AIMessageChunk("", response_metadata={"queue_position": position})


def test_the_model_writes_what_was_asked_for_and_its_tokens_are_counted() -> None:
    prompts = FixedPrompts()
    chat = ScriptedChat(replies=["An alloy of copper and zinc."])
    result, events = written(writer_of(chat, prompts).write("hyde", QUERY, {"question": "What is brass?"}, 50))
    assert result == Written("An alloy of copper and zinc.", Usage(4, 6))
    assert prompts.seen == [("hyde", {"question": "What is brass?"})]
    assert all(isinstance(event, Waiting) for event in events)


def test_it_is_a_writer() -> None:
    writer: Writer = writer_of(ScriptedChat(replies=["x"]))
    assert written(writer.write("hyde", QUERY, {}, 9))[0].text == "x"


def test_it_asks_for_the_likeliest_words_and_no_more_than_granted() -> None:
    chat = Pieces(["a ", "b "])
    result, _ = written(writer_of(chat).write("hyde", QUERY, {"question": "q"}, 7))
    assert chat.options == {"temperature": 0.0, "max_tokens": 7}
    assert result == Written("a b ", Usage(2, 2))  # counted here, as the model does not tell


def test_a_model_that_does_not_heed_the_limit_is_stopped() -> None:
    chat = Pieces(["word "] * 1000)
    result, _ = written(writer_of(chat).write("hyde", QUERY, {}, 5))
    assert len(result.text.split()) == 6
    assert chat.closed


def test_places_in_the_queue_are_passed_on_and_words_are_not() -> None:
    chat = Pieces([waiting(3), waiting(1), "Yes", " it is"])
    _, events = written(writer_of(chat).write("judge", QUERY, {}, 9))
    assert [event.position for event in events if isinstance(event, Waiting)] == [3, 1]
    assert len(events) == 2


def test_it_gives_signs_of_life_so_that_it_can_be_closed_while_the_model_writes() -> None:
    chat = Pieces(["word "] * 50, delay=0.01)
    running = writer_of(chat).write("hyde", QUERY, {}, 50)
    assert next(running) == Waiting(0)
    running.close()
    assert chat.closed


def test_past_the_deadline_it_gives_up_and_stops_the_model() -> None:
    chat = Pieces(["word "] * 500, delay=0.01)
    late = Query("What is brass?", deadline=time.monotonic() + 0.05)
    with pytest.raises(ModelError, match="time was over"):
        written(writer_of(chat).write("hyde", late, {}, 400))
    assert chat.closed


@pytest.mark.parametrize("error", [ValueError("Bad gateway"), ModelError("The server is gone.")])
def test_whatever_a_chat_model_raises_is_a_model_error(error: Exception) -> None:
    with pytest.raises(ModelError, match=r"gateway|gone"):
        written(writer_of(Pieces(["a", error])).write("hyde", QUERY, {}, 9))


def test_a_prompt_that_is_too_long_is_made_of_shorter_values() -> None:
    prompts = FixedPrompts()
    values = {"question": "q", "passages": " ".join(f"p{n}" for n in range(300)), "history": "h " * 20}
    result, _ = written(writer_of(ScriptedChat(replies=["NO"]), prompts).write("judge", QUERY, values, 30))
    assert result.text == "NO"
    shown = prompts.seen[-1][1]
    assert shown["passages"]
    assert values["passages"].startswith(shown["passages"])
    assert (shown["question"], shown["history"]) == ("q", values["history"])
    assert result.usage.prompt_tokens <= 70


def test_of_a_history_it_is_the_end_that_stays() -> None:
    prompts = FixedPrompts()
    values = {"question": "q", "history": " ".join(f"h{n}" for n in range(300))}
    written(writer_of(ScriptedChat(replies=["q?"]), prompts).write("rewrite", QUERY, values, 30))
    assert prompts.seen[-1][1]["history"].endswith("h299")


def test_a_question_that_does_not_fit_is_never_cut() -> None:
    with pytest.raises(ContextTooLong, match="rewrite"):
        written(
            writer_of(ScriptedChat(replies=["q?"])).write("rewrite", QUERY, {"question": "w " * 200, "history": "x"}, 9)
        )


def test_with_a_whole_flow() -> None:
    chat = ScriptedChat(replies=["How old is brass?", "Brass is an old alloy."] * 90)
    passages = tuple(passage_of(document_of(text)) for text in ("Brass is old.", "Iron is older."))
    tools = FixedTools(passages, writer=writer_of(chat), expansion=Expansion("on"))
    answer = check_flow(flows.linear, tools, Query("How old is it?", (Turn("user", "What is brass?"),)))
    assert answer.finish_reason == "stop"
    assert tools.asked[0].standalone == "How old is brass?"


def test_closing_a_flow_closes_the_stream_of_the_model_that_helps() -> None:
    chat = ScriptedChat(replies=["How old is brass, which is an old alloy?"])
    tools = FixedTools(writer=writer_of(chat))
    running = flows.linear(tools, Query("How old is it?", (Turn("user", "What is brass?"),)))
    assert isinstance(running, Generator)
    assert next(running) == Waiting(0)
    running.close()
    assert chat.closed == 1


@pytest.mark.parametrize("flow", [flows.linear, flows.conditional, flows.branching, flows.looping])
@pytest.mark.parametrize("text", ["How old is it?", "它有多旧？"])
def test_every_task_has_its_prompt(flow: Flow, text: str) -> None:
    chat = ScriptedChat(replies=["A reply."] * 20, context_tokens=9000)
    writer = ChatWriter(chat, Prompts(), chat.count_tokens, chat.window)
    passages = (passage_of(document_of("Brass is old.")),)
    expansion = Expansion("on", 1, True)
    tools = FixedTools(passages, writer=writer, expansion=expansion, sure=0.4, budget=Budget(calls=20, tokens=9000))
    events = list(flow(tools, Query(text, (Turn("user", "What is brass?"),))))
    check_events(events)
    warnings = [str(event.detail.get("warning", "")) for event in events if isinstance(event, Step)]
    assert not [warning for warning in warnings if "failed" in warning]
    assert len(chat.prompts) >= 4


# -- what a reply means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "most", "wanted"),
    [
        ("1. What is brass?\n2) What is zinc?\n- What is tin?", 9, ["What is brass?", "What is zinc?", "What is tin?"]),
        ("Standalone question: What is brass?", 1, ["What is brass?"]),
        ('"What is brass?"', 1, ["What is brass?"]),
        ("Here are two questions:\n\nWhat is brass?\nWhat is brass?\n", 9, ["What is brass?"]),
        ("<think>Hm. What is it?</think>\nWhat is brass?", 1, ["What is brass?"]),
        ("<think>Hm. What is it?", 1, []),
        ("问题：黄铜是什么？", 1, ["黄铜是什么？"]),
        ("1、黄铜是什么？\n2、锌是什么？", 9, ["黄铜是什么？", "锌是什么？"]),
        ("“黄铜是什么？”", 1, ["黄铜是什么？"]),
        ("a" * (MAX_LINE + 1), 1, []),
        ("...\n???", 9, []),
        ("", 9, []),
        ("2018 sales of 3M?", 1, ["2018 sales of 3M?"]),
        ("one\ntwo\nthree", 2, ["one", "two"]),
        ("U.S. taxes on 10-K forms?\ne.g. brass?", 2, ["U.S. taxes on 10-K forms?", "e.g. brass?"]),
        (
            "3.5 percent of what?\n10:30 departures?\n-5 degrees?",
            9,
            ["3.5 percent of what?", "10:30 departures?", "-5 degrees?"],
        ),
        (
            "1.What is tin?\n2、锌？\na) Zinc?\nb. Brass?\nC) Gold?\n(3) Lead?",
            9,
            ["What is tin?", "锌？", "Zinc?", "Brass?", "Gold?", "Lead?"],
        ),
        ("<think>See [1].</think>How heavy is it?\nIs it blue?", 2, ["How heavy is it?", "Is it blue?"]),
        ("The pump is blue [1].\n\n| part | weight |", 2, []),
        ("水泵重九公斤【2】。", 1, []),
        ("Which of the parts [a] to [c] is heavy?", 1, ["Which of the parts [a] to [c] is heavy?"]),
    ],
)
def test_lines_are_taken_out_of_what_small_models_put_around_them(reply: str, most: int, wanted: list[str]) -> None:
    assert lines(reply, most) == wanted


@pytest.mark.parametrize(
    ("reply", "said", "rest"),
    [
        ("YES", True, ""),
        ("Yes.", True, ""),
        ("**NO**\nWhat is zinc?", False, "What is zinc?"),
        ("No, search: What is zinc?", False, "What is zinc?"),
        ("No. Next question: What is zinc?", False, "What is zinc?"),
        ("是", True, ""),
        ("否\n锌是什么？", False, "锌是什么？"),
        ("不需要", False, ""),
        ("是否", None, ""),
        ("Perhaps", None, ""),
        ("Nothing is there", None, ""),
        ("Yesterday", None, ""),
        ("", None, ""),
    ],
)
def test_verdicts(reply: str, said: bool | None, rest: str) -> None:
    assert verdict(reply) == (said, rest)


def test_paragraphs() -> None:
    reply = "Here is one:\n\n1. Brass is\nan alloy.\n\nZinc is a metal.\n\n…"
    assert paragraphs(reply, 5) == ["Brass is an alloy.", "Zinc is a metal."]
    assert paragraphs(reply, 1) == ["Brass is an alloy."]


@given(st.text(), st.integers(1, 5))
def test_no_reply_breaks_the_readers(reply: str, most: int) -> None:
    for found in (lines(reply, most), paragraphs(reply, most)):
        assert len(found) <= most
        assert all(any(c.isalnum() for c in text) and text == text.strip() for text in found)
    assert all(len(line) <= MAX_LINE and len(line.splitlines()) == 1 for line in lines(reply, most))
    verdict(reply)
