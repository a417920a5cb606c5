"""Traces: what they hold and never hold, files that are damaged, and how two answers are told apart."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp import config as settings
from ragapp import flows
from ragapp.answerers import ChatAnswerer
from ragapp.catalog import Catalog
from ragapp.chat import LlamaChat, ScriptedChat
from ragapp.chunks import estimated_tokens
from ragapp.config import ChatTable, Config, SearchTable
from ragapp.errors import ConfigError, ModelError, NotFound, RagappError
from ragapp.lexicon import Lexicon
from ragapp.prompts import Prompts
from ragapp.quotes import QuoteAnswerer
from ragapp.retrievers import Dense, Hybrid, Lexical, fusion
from ragapp.stored import StoredText
from ragapp.testing import check_events, document_of
from ragapp.trace import (
    Difference,
    Move,
    Recited,
    Trace,
    begin,
    changes,
    check_answered,
    check_target,
    compare,
    config_of,
    event_dict,
    plain,
    record,
    settings_of,
)
from ragapp.types import (
    Answer,
    Chunk,
    Citation,
    Done,
    Event,
    Found,
    Passage,
    Query,
    Rank,
    Step,
    Token,
    Turn,
)
from ragapp.vectors import VectorIndex
from tests import libraries
from tests.toolboxes import Box

TEXT = "Boats float. 苹果是红色的。"


def passage(start: int = 0, page: int = 1, document: str = "a.pdf") -> Passage:
    chunk = Chunk(start + 1, f"id of {document}", f"words {start}", start, start + 7, page, ("Fruit",), "Fruit")
    return Passage(chunk, document, "Fruit", 0.1 + 0.2, {"dense": Rank(1, 1 / 3)})


def cited(marker: int = 1, quote: str = "words", state: Any = "verified", page: int = 1, start: int = 0) -> Citation:
    return Citation(marker, passage(), quote, state, page, start, start + 5)


ANSWER = Answer(f"{TEXT} [1]", (cited(),), (passage(), passage(10), passage(20)), "stop", timings={"total": 0.5})
QUESTION = Query("红 apples?", (Turn("user", "Which fruit?"),), ("*.pdf",), 7, {"max_tokens": 9, "stop": ["."]})
EVENTS: tuple[Event, ...] = (
    Step("search", 0.25, {"passages": 3, "score": np.float32(0.5), "nan": float("nan")}),
    Found(ANSWER.passages),
    Step("prompt", 0.01, {"tokens": 9, "messages": [{"role": "user", "content": TEXT}]}),
    Token("Boats "),
    Token("\udc80"),
    Done(ANSWER),
)


def a_trace(**other: Any) -> Trace:
    made: list[Trace] = []
    begun = Trace(QUESTION, "linear", {"search.k": 3}, 5, "stamp", "hashing:32", "")
    list(record(iter(EVENTS), begun, made.append))
    return replace(made[0], **other)


# -- recording ---------------------------------------------------------------------------------------------------------


def test_events_pass_through_and_are_kept_in_order() -> None:
    made: list[Trace] = []
    assert list(record(iter(EVENTS), a_trace(events=(), answer=None), made.append)) == list(EVENTS)
    (trace,) = made
    assert [event["event"] for event in trace.events] == ["step", "found", "step", "token", "token", "done"]
    assert trace.events[0]["detail"] == {"passages": 3, "score": 0.5, "nan": None}
    assert trace.events[1]["passages"][0]["found_by"] == {"dense": {"rank": 1, "score": 1 / 3}}
    assert trace.events[1]["passages"][0]["score"] == 0.1 + 0.2
    assert trace.events[2]["detail"]["messages"][0]["content"] == TEXT
    assert trace.answer is not None
    assert (trace.answer["text"], trace.error) == (ANSWER.text, "")


def test_the_trace_is_there_before_the_answer_is() -> None:
    made: list[Trace] = []
    for event in record(iter(EVENTS), a_trace(), made.append):
        assert bool(made) == isinstance(event, Done)


def test_a_flow_that_fails_or_is_stopped_leaves_a_trace_without_answer() -> None:
    closed: list[bool] = []

    def failing(error: Exception | None) -> Iterator[Event]:
        try:
            yield EVENTS[0]
            if error is not None:
                raise error
            yield EVENTS[1]
        finally:
            closed.append(True)

    made: list[Trace] = []
    with pytest.raises(ModelError, match="gone"):
        list(record(failing(ModelError("The model is gone.")), a_trace(), made.append))
    stopped = record(failing(None), a_trace(), made.append)
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    list(record(failing(None), a_trace(), made.append))
    assert closed == [True] * 3
    assert [len(trace.events) for trace in made] == [1, 1, 2]
    errors = [trace.error for trace in made]
    assert "ModelError: The model is gone." in errors[0]
    assert "not read to their end" in errors[1]
    assert "without an answer" in errors[2]
    with pytest.raises(ConfigError, match="no answer: ModelError"):
        compare(replace(made[0], answer=None), ANSWER)


def test_every_event_has_a_kind() -> None:
    assert event_dict(Token("x")) == {"event": "token", "text": "x"}
    assert event_dict(Done(ANSWER)) == {"event": "done"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.integers()),
        max_leaves=9,
    )
)
def test_plain_values_are_json_and_stay_as_they_are(value: Any) -> None:
    once = plain(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert plain(once) == once


def test_plain_knows_numpy_and_strangers() -> None:
    assert plain(np.array([[1, 2]])) == [[1, 2]]
    assert plain(np.int64(3)) == 3
    assert plain(np.bool_(True)) is True
    assert plain(Path("a")) == "a"
    assert plain({2, 1}) == [1, 2]


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_trace_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "一.json"
    trace = a_trace()
    trace.save(file)
    back = Trace.load(file)
    assert back == replace(trace, events=back.events)
    assert back.as_dict() == trace.as_dict()
    assert back.question == QUESTION
    assert back.events[4]["text"] == "\udc80"
    assert "苹果" in file.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["一.json"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    trace = a_trace(error="again")
    trace.save(file)
    assert Trace.load(file).error == "again"


def test_a_moment_of_a_clock_is_not_kept() -> None:
    trace = a_trace(question=replace(QUESTION, deadline=12345.0, tokens_left=5))
    assert "12345" not in json.dumps(trace.as_dict())
    back = Trace.from_dict(trace.as_dict()).question
    assert (back.deadline, back.tokens_left) == (None, 5)


def test_what_is_no_trace_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Trace.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        Trace.load(tmp_path)
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(ConfigError, match="no trace, or it is damaged"):
            Trace.load(tmp_path / "x.json")
    for text in ("[]", "{}", '{"format": "other"}', "5"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ConfigError, match="no trace of ragapp"):
            Trace.load(tmp_path / "x.json")


def test_a_newer_trace_is_told_from_a_damaged_one() -> None:
    with pytest.raises(ConfigError, match="newer ragapp: its version is 2"):
        Trace.from_dict({**a_trace().as_dict(), "version": 2})
    for version in (0, "1", None):
        with pytest.raises(ConfigError, match="damaged"):
            Trace.from_dict({**a_trace().as_dict(), "version": version})


@given(st.data())
def test_no_change_of_a_trace_goes_unnoticed(data: st.DataObject) -> None:
    held = a_trace().as_dict()
    key = data.draw(st.sampled_from(sorted(held.keys() - {"format", "version"})))
    value = data.draw(st.none() | st.integers() | st.text(max_size=3) | st.just({"text": "x"}) | st.floats())
    if data.draw(st.booleans()):
        del held[key]
    elif held[key] == value:
        return
    else:
        held[key] = value
    with pytest.raises(ConfigError, match="damaged"):
        Trace.from_dict(held)


def test_an_answer_that_cannot_be_compared_is_damage() -> None:
    for wrong in ({}, {**plain(ANSWER), "citations": [{}]}, {**plain(ANSWER), "passages": [5]}):
        with pytest.raises(ConfigError, match="damaged"):
            Trace.from_dict(a_trace(answer=wrong).as_dict())


def test_nothing_but_a_trace_is_overwritten(tmp_path: Path) -> None:
    other = tmp_path / "ragapp.toml"
    other.write_text("[search]\nk = 5\n")
    for path in (other, tmp_path, tmp_path / "no" / "folder.json"):
        with pytest.raises(ConfigError):
            check_target(path)
        with pytest.raises(ConfigError):
            a_trace().save(path)
    assert other.read_text() == "[search]\nk = 5\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ragapp.toml"]
    check_target(tmp_path / "new.json")


def test_a_full_disk_leaves_the_old_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.json"
    a_trace().save(file)
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RagappError, match="No space left"):
        a_trace(error="another").save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_that_were_set_are_kept_and_secrets_never(in_folder: Path) -> None:
    env = {"RAGAPP_SERVER_API_KEY": "hidden-1", "RAGAPP_CHAT_API_KEY": "hidden-2"}
    flags = {
        "search.k": 3,
        "answer.quotes": 3,
        "reranker.name": "my:Part",
        "reranker.api_key": "hidden-3",
        "reranker.max_tokens": 5,
        "reranker.auth_token": "hidden-4",
        "chat.model": "https://me:hidden-5@host/v1",
    }
    config = settings.load(flags, env=env)
    kept = settings_of(config)
    assert "hidden" not in json.dumps(kept)
    assert kept == {
        "search.k": 3,
        "answer.quotes": 3,
        "reranker.name": "my:Part",
        "reranker.max_tokens": 5,
        "chat.model": "https://host/v1",
    }
    again = config_of(replace(a_trace(), settings=kept), config)
    assert again.model_dump() == config.model_dump()
    assert again.sources.keys() == config.sources.keys()


def test_settings_made_in_python_are_kept_too() -> None:
    config = Config(search=SearchTable(k=3), chat=ChatTable(api_key="hidden"))
    assert settings_of(config) == {"search.k": 3}
    assert settings_of(Config()) == {}


def test_a_replay_has_the_settings_of_then_and_not_of_now(in_folder: Path) -> None:
    now = settings.load({"search.k": 9, "search.depth": 77, "chat.api_key": "secret"}, env={})
    config = config_of(a_trace(), now)
    assert (config.search.k, config.search.depth, config.chat.api_key) == (3, 40, "secret")


def test_settings_that_no_longer_fit_are_said() -> None:
    for key, value in (("search.k", -1), ("search.gone", 1), ("gone.k", 1)):
        with pytest.raises(ConfigError, match="does not fit this ragapp"):
            config_of(a_trace(settings={key: value}), Config())


def test_a_trace_knows_which_state_of_which_library_it_saw(tmp_path: Path) -> None:
    catalog = libraries.open_catalog(tmp_path / "one")
    libraries.put(catalog, document_of("The pump."), "a.pdf")
    trace = begin(QUESTION, "linear", Config(search=SearchTable(k=3)), catalog)
    assert (trace.embedder, trace.flow, trace.model) == (libraries.FINGERPRINT, "linear", "")
    assert changes(trace, catalog) == []
    libraries.put(catalog, document_of("The valve."), "b.pdf")
    (said,) = changes(trace, catalog)
    assert f"generation {trace.generation} then, {trace.generation + 1} now" in said
    catalog.set_embedder("another")
    assert "another now" in changes(trace, catalog)[1]
    catalog.close()
    other = libraries.open_catalog(tmp_path / "two")
    (said,) = changes(trace, other)
    assert "another one" in said
    other.close()


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_the_same_answer() -> None:
    timed = replace(ANSWER, timings={"total": 99.0}, passages=tuple(replace(p, score=0) for p in ANSWER.passages))
    for one, other in ((ANSWER, ANSWER), (ANSWER, timed), (a_trace(), timed), (timed, a_trace())):
        difference = compare(one, other)
        assert difference == Difference(same=True, finish=("stop", "stop"))
        assert list(difference.sentences()) == ["The same answer."]


def test_sentences_that_differ() -> None:
    other = replace(ANSWER, text="Boats float. 苹果是绿色的。 [1]")
    difference = compare(ANSWER, other)
    assert not difference.same
    assert (difference.sentences_gone, difference.sentences_new) == (("苹果是红色的。",), ("苹果是绿色的。",))
    assert list(difference.sentences()) == ["Another answer.", "- 苹果是红色的。", "+ 苹果是绿色的。"]
    assert json.loads(json.dumps(difference.as_dict()))["sentences_new"] == ["苹果是绿色的。"]


def test_marks_behind_a_quote_are_no_sentence_of_their_own() -> None:
    before = replace(ANSWER, text="“Boats float.” [1]\n\n“Stones sink.” [2]")
    difference = compare(before, replace(before, text="“Boats float.” [1]"))
    assert (difference.sentences_gone, difference.sentences_new) == (("“Stones sink.”",), ())


def test_a_trace_without_an_answer_is_told_before_anything_is_asked() -> None:
    check_answered(a_trace(answer=plain(ANSWER)))
    with pytest.raises(ConfigError, match="has no answer: The model has gone"):
        check_answered(a_trace(answer=None, error="The model has gone."))


def test_a_trace_of_a_time_without_parts_can_be_read() -> None:
    held = a_trace(question=Query("Atlas and Orion?", parts=("Atlas?", "Orion?"))).as_dict()
    assert Trace.from_dict(held).question.parts == ("Atlas?", "Orion?")
    old = {key: value for key, value in held.items() if key != "sha256"}
    del old["question"]["parts"]
    text = json.dumps(old, ensure_ascii=True, sort_keys=True)
    assert Trace.from_dict({**old, "sha256": hashlib.sha256(text.encode()).hexdigest()}).question.parts == ()


def test_white_space_and_the_end_differ_too() -> None:
    spaced = compare(ANSWER, replace(ANSWER, text=f"{ANSWER.text}  "))
    assert (spaced.same, spaced.sentences_new) == (False, ())
    assert list(spaced.sentences())[1:] == ["Only white space, or how it ended, differs."]
    refused = compare(ANSWER, replace(ANSWER, finish_reason="length"))
    assert not refused.same
    assert "It ended with 'length' instead of 'stop'." in list(refused.sentences())


def test_citations_that_differ() -> None:
    changed = compare(ANSWER, replace(ANSWER, citations=(cited(state="elsewhere", page=3),)))
    assert not changed.same
    how = Recited("a.pdf", "words", "verified on page 1 as [1]", "elsewhere on page 3 as [1]")
    assert changed.citations == (how,)
    gone = compare(ANSWER, replace(ANSWER, citations=()))
    assert (gone.same, gone.citations) == (False, (Recited("a.pdf", "words", "verified on page 1 as [1]", ""),))
    new = compare(ANSWER, replace(ANSWER, citations=(cited(), cited(2))))
    assert (new.same, new.citations) == (False, (Recited("a.pdf", "words", "", "verified on page 1 as [2]"),))
    moved = compare(ANSWER, replace(ANSWER, citations=(cited(start=3),)))
    assert not moved.same
    assert moved.citations[0].after.endswith("at another place")
    assert any("Citation of a.pdf “words”" in line for line in gone.sentences())


def test_passages_that_differ_do_not_make_another_answer() -> None:
    one, two, three = ANSWER.passages
    difference = compare(ANSWER, replace(ANSWER, passages=(passage(30), three, one)))
    assert difference.same
    assert difference.passages_gone == ("a.pdf, page 1 (10-17)",)
    assert difference.passages_new == ("a.pdf, page 1 (30-37)",)
    assert len(difference.passages_moved) == 1
    first, *rest = difference.sentences()
    assert (first, len(rest)) == ("The same answer.", 3)
    swapped = compare(ANSWER, replace(ANSWER, passages=(two, one, three)))
    assert swapped.passages_moved in ((Move("a.pdf, page 1 (0-7)", 1, 2),), (Move("a.pdf, page 1 (10-17)", 2, 1),))


NUMBERS = st.lists(st.integers(0, 12), unique=True)


@given(NUMBERS, NUMBERS)
def test_passages_gone_new_and_moved_are_exactly_those(before: list[int], after: list[int]) -> None:
    one, other = (
        replace(ANSWER, passages=tuple(passage(10 * n) for n in numbers), citations=()) for numbers in (before, after)
    )
    found = compare(one, other)
    assert found.same
    assert found.passages_gone == tuple(f"a.pdf, page 1 ({10 * n}-{10 * n + 7})" for n in before if n not in after)
    assert found.passages_new == tuple(f"a.pdf, page 1 ({10 * n}-{10 * n + 7})" for n in after if n not in before)
    common = [n for n in before if n in after]
    assert (found.passages_moved == ()) == (common == [n for n in after if n in before])
    backward = compare(other, one)
    assert (backward.passages_gone, backward.passages_new) == (found.passages_new, found.passages_gone)


@given(st.lists(st.sampled_from(["One. ", "Two. ", "三。", "Four.\n\n"]), max_size=6), st.data())
def test_an_answer_is_the_same_as_itself_only(parts: list[str], data: st.DataObject) -> None:
    other = data.draw(st.permutations(parts))
    one, two = "".join(parts), "".join(other)
    assert compare(replace(ANSWER, text=one), replace(ANSWER, text=two)).same == (one == two)


# -- asked again -------------------------------------------------------------------------------------------------------

PAGES = (
    "The pump has a warranty of two years. It begins on the day of delivery.",
    "A valve closes the pipe when the pressure falls below two bars.",
    "灯塔建于一八八二年，高三十米。",
    "The bearing of the shaft is oiled once a month, by hand.",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    made = libraries.open_catalog(tmp_path_factory.mktemp("library"))
    libraries.put(made, document_of(*PAGES), "pump.pdf")
    yield made
    made.close()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests import tiny_llama

    return tiny_llama.make(tmp_path_factory.mktemp("llama"), window=2048)


def answerer(kind: str, catalog: Catalog, lexicon: Lexicon, llama: Path) -> Any:
    stored = StoredText(catalog)
    if kind == "quotes":
        return QuoteAnswerer(libraries.EMBEDDER, lexicon, stored, 2)
    model: Any = ScriptedChat(replies=["It lasts two years [1]. 两年。"] * 2)
    if kind.startswith("llama"):
        hot = 1.0 if kind == "llama, hot" else 0.0
        model = LlamaChat(model=str(llama), device="cpu", dtype="float32", max_new_tokens=12, temperature=hot)
    return ChatAnswerer(model, stored, lambda: 2048, estimated_tokens, 12, Prompts())


def asked(kind: str, catalog: Catalog, llama: Path, question: Query) -> Trace:
    """The trace of an answer by parts that are all made anew."""
    lexicon = Lexicon(catalog)
    vectors = VectorIndex(catalog, libraries.FINGERPRINT)
    rankers = {"dense": Dense(vectors, libraries.EMBEDDER), "lexical": Lexical(lexicon)}
    retriever = Hybrid(catalog, rankers, fusion("minmax", 0.5, 0.2, 60, 40), 40)
    box = Box(retriever, answerer(kind, catalog, lexicon, llama), k=3)
    made: list[Trace] = []
    begun = begin(question, "linear", Config(), catalog)
    check_events(record(flows.linear(box, question), begun, made.append))
    lexicon.close()
    vectors.close()
    return made[0]


@pytest.mark.parametrize("kind", ["quotes", "scripted", "llama", "llama, hot"])
def test_the_same_question_gives_the_same_answer_again(
    kind: str, library: Catalog, llama: Path, tmp_path: Path
) -> None:
    question = Query("How long is the warranty of the pump?", seed=11)
    asked(kind, library, llama, question).save(tmp_path / "t.json")
    trace = Trace.load(tmp_path / "t.json")
    again = asked(kind, library, llama, trace.question)
    ended = (trace.answer or {})["finish_reason"]
    assert compare(trace, again) == Difference(same=True, finish=(ended, ended))
    kinds = [event["event"] for event in trace.events]
    assert kinds.index("found") < kinds.index("token") < kinds.index("done") == len(kinds) - 1
    (found,) = (event for event in trace.events if event["event"] == "found")
    assert {name for p in found["passages"] for name in p["found_by"]} >= {"dense", "lexical"}
    assert [event["seconds"] for event in trace.events if event["event"] == "step"]
    prompts = [e["detail"]["messages"] for e in trace.events if e["event"] == "step" and e["name"] == "prompt"]
    assert len(prompts) == (0 if kind == "quotes" else 1)
    assert all(question.text in prompt[-1]["content"] for prompt in prompts)


def test_another_question_gives_another_answer(library: Catalog, llama: Path) -> None:
    one, other = (
        asked("quotes", library, llama, Query(text))
        for text in ("How long is the warranty of the pump?", "灯塔高多少米？")
    )
    difference = compare(one, other)
    assert not difference.same
    assert any("warranty" in line for line in difference.sentences_gone)
    assert any("灯塔" in line for line in difference.sentences_new)
