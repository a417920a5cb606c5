"""What chat models share: how texts become chunks, what a document may hold, how tokens are estimated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from ragapp.chat import ScriptedChat
from ragapp.chunks import estimated_tokens, let_through, refusals, spaced, text_tokens, turns_of
from ragapp.errors import ModelError
from ragapp.streaming import Stops

PIECES = st.lists(st.none() | st.text("abc", max_size=4), max_size=12)


@given(PIECES, st.lists(st.text("abc", min_size=1, max_size=3), max_size=3))
def test_what_gets_through_is_the_text_up_to_its_first_stop(texts: list[str | None], stops: list[str]) -> None:
    whole, at_once = "".join(text or "" for text in texts), Stops(stops)
    wanted = at_once.feed(whole) + at_once.feed("", end=True)
    one_by_one = Stops(stops)
    assert "".join(chunk.text for chunk in let_through(texts, one_by_one)) == wanted
    assert one_by_one.hit == at_once.hit


@given(PIECES)
def test_every_text_gives_its_reader_a_chunk(texts: list[str | None]) -> None:
    assert [chunk.text for chunk in let_through(texts, Stops([]))] == [text or "" for text in texts]


def test_nothing_is_asked_for_behind_a_stop() -> None:
    asked = []

    def texts() -> Iterator[str]:
        for text in ("one", " st", "op two", " three"):
            asked.append(text)
            yield text

    assert [chunk.text for chunk in let_through(texts(), Stops([" stop"]))] == ["one", ""]
    assert asked == ["one", " st", "op two"]


@given(st.lists(st.sampled_from(["<|a|>", "</s>", "text", " ", "<", "|>", "现"])))
def test_no_control_token_is_left_and_nothing_but_spaces_is_added(parts: list[str]) -> None:
    text = "".join(parts)
    left = spaced(text, {"<|a|>", "</s>", "x", "现"})
    assert "<|a|>" not in left
    assert "</s>" not in left
    assert left.replace(" ", "") == text.replace(" ", "")
    assert spaced(text, ()) == spaced(text, {"x", "现"}) == text  # a single character has no inside


def test_turns() -> None:
    said: list[BaseMessage] = [SystemMessage("a"), HumanMessage("b</s>"), AIMessage("c")]
    said.append(ChatMessage("d", role="judge"))
    turns = turns_of(said, ["</s>"])
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("system", "a"), ("user", "b< /s>"), ("assistant", "c"), ("judge", "d"),
    ]  # fmt: skip
    with pytest.raises(ModelError, match="no messages of type tool"):
        turns_of([ToolMessage("c", tool_call_id="1")])
    said_of = r"of m does not take these messages \(system, user, assistant, judge\): 'x'"
    with pytest.raises(ModelError, match=said_of), refusals("m", turns):
        raise KeyError("x")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("four", 1), ("eightlet", 2), ("a b", 2), ("2018", 4), ("现金", 2), ("é", 1), ("\n\n\n", 1), ("a  b", 3)],
)
def test_tokens_are_estimated_on_the_high_side(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens
    assert estimated_tokens([HumanMessage(text), AIMessage(text)]) == 2 * (8 + tokens)


def test_an_answer_in_one_piece_is_its_stream() -> None:
    chat = ScriptedChat(replies=["one two three"] * 3)
    whole = chat.invoke("q")
    assert whole.content == "".join(str(chunk.text) for chunk in chat.stream("q")) == "one two three"
    assert whole.usage_metadata == {"input_tokens": 1, "output_tokens": 3, "total_tokens": 4}
    assert chat.get_num_tokens_from_messages([HumanMessage("a b")]) == chat.count_tokens([HumanMessage("a b")]) == 2
    assert chat.invoke("q", stop=["two"]).usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
