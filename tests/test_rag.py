"""The façade: what every door relies on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragapp
from ragapp import Rag
from ragapp.errors import ConfigError, EmbedderChanged, ModelError, NotFound, QuestionError
from ragapp.flows import linear
from ragapp.ports import Flow, Tools
from ragapp.testing import FixedTools, check_events, check_flow, document_of, passage_of
from ragapp.types import Answer, Citation, Done, Event, Found, Passage, Query, Step, Token, Turn
from tests import pdfs

pytestmark = pytest.mark.usefixtures("in_folder")

QUESTION = "Which value has the property number 3 of the subject2x0?"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return pdfs.folder(tmp_path / "docs", 4)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def rag(library: Path, docs: Path) -> Iterator[Rag]:
    with Rag.open(library, embedder__name="hashing") as opened:
        opened.add([docs])
        yield opened


# -- open --------------------------------------------------------------------------------------------------------------


def test_open_add_search_ask_remove_and_open_again(library: Path, docs: Path) -> None:
    with Rag.open(library, embedder__name="hashing") as rag:
        assert rag.documents() == []
        assert rag.search(QUESTION) == []
        assert rag.ask(QUESTION).finish_reason == "no_evidence"
        assert rag.add([docs]).added == 4
        assert rag.search(QUESTION, k=1)[0].document == "02.pdf"
    with Rag.open(library, embedder__name="hashing") as rag:
        answer = rag.ask(QUESTION)
        assert answer.citations[0].passage.document == "02.pdf"
        assert answer.citations[0].page == 1
        assert answer.citations[0].boxes
        assert [entry.document for entry in rag.remove("02.pdf").documents] == ["02.pdf"]
        assert all(passage.document != "02.pdf" for passage in rag.search(QUESTION))
        assert list(rag.doctor()) == []


def test_which_library(tmp_path: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags: dict[str, Any] = {"embedder__name": "hashing"}
    with Rag.open(**flags) as rag:
        assert (rag.folder, rag.name) == (Path(".ragapp"), "here")
    monkeypatch.setenv("RAGAPP_LIBRARY", str(tmp_path / "named"))
    with Rag.open(**flags) as rag:
        assert rag.name == "named"
    with Rag.open(tmp_path / "other", **flags) as rag:
        assert rag.name == "other"
    with pytest.raises(NotFound):
        Rag.open(tmp_path / "none", create=False, **flags)


def test_another_embedder_is_refused(library: Path, rag: Rag) -> None:
    with pytest.raises(EmbedderChanged, match="hashing:256") as caught:
        Rag.open(library)
    assert "ragapp reindex" in caught.value.hint
    with pytest.raises(EmbedderChanged):
        Rag.open(library, embedder__name="hashing", embedder__width=32)
    with Rag.open(library, embedder__name="hashing") as other:
        assert len(other.documents()) == 4


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ({"serch__k": 3}, ConfigError),
        ({"embedder__name": "no such"}, ConfigError),
        ({"embedder__name": "hashing", "embedder__depth": 3}, ConfigError),
        ({"chat__model": "/no/such/model"}, ModelError),
    ],
)
def test_wrong_settings_cost_nothing(library: Path, flags: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Rag.open(library, **flags)
    assert not library.exists()


def test_public_names() -> None:
    assert sorted(ragapp.__all__) == ragapp.__all__
    assert [name for name in ragapp.__all__ if not hasattr(ragapp, name)] == []
    with pytest.raises(AttributeError):
        ragapp.__getattr__("nothing")


# -- remove ------------------------------------------------------------------------------------------------------------


def test_remove_by_id_takes_all_names(rag: Rag, docs: Path) -> None:
    (docs / "copy.pdf").write_bytes((docs / "00.pdf").read_bytes())
    rag.add([docs])
    entry = next(entry for entry in rag.documents() if entry.document == "00.pdf")
    assert sorted(e.document for e in rag.remove(entry.id).documents) == ["00.pdf", "copy.pdf"]
    assert [e.document for e in rag.documents()] == ["01.pdf", "02.pdf", "03.pdf"]


def test_remove_suggests_what_was_meant(rag: Rag) -> None:
    with pytest.raises(NotFound, match=r"'00\.pfd'") as caught:
        rag.remove("00.pfd")
    assert "'00.pdf'" in caught.value.hint
    with pytest.raises(NotFound) as caught:
        rag.remove("zzz")
    assert "ragapp list" in caught.value.hint
    assert len(rag.documents()) == 4


# -- questions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["", " \n", "?!…", "\ud800", "🎉"])
def test_empty_questions(rag: Rag, question: str) -> None:
    for ask in (rag.search, rag.ask, rag.stream):
        with pytest.raises(QuestionError, match="empty"):
            ask(question)


def test_a_question_of_100_kilobytes(rag: Rag) -> None:
    with pytest.raises(QuestionError, match="100,000 characters") as caught:
        rag.search("a" * 100_000)
    assert "max_question_chars" in caught.value.hint
    assert rag.search("subject2x0 " + "a" * 7000)


def test_half_of_a_character_pair_does_no_harm(rag: Rag) -> None:
    assert rag.search("subject2x0 \ud83d value \udc00")[0].document == "02.pdf"
    assert rag.ask(Query("subject2x0 \ud83d value")).text


@settings(max_examples=30)
@given(st.text(max_size=60))
def test_any_question_is_answered_or_refused(question: str) -> None:
    try:
        events = list(_open_library().stream(question))
    except QuestionError:
        assert not any(c.isalnum() for c in question)
    else:
        check_events(events)


_opened: list[Rag] = []


def _open_library() -> Rag:
    return _opened[0]


@pytest.fixture(scope="module", autouse=True)
def _library_for_properties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("shared")
    pdfs.folder(root / "docs", 3)
    with Rag.open(root / "library", embedder__name="hashing") as opened:
        opened.add([root / "docs"])
        _opened[:] = [opened]
        yield


def test_where_and_k(rag: Rag) -> None:
    assert {p.document for p in rag.search(Query(QUESTION, where=("0[13].pdf",)))} == {"01.pdf", "03.pdf"}
    assert [len(rag.search(QUESTION, k=k)) for k in (1, 2, 3)] == [1, 2, 3]
    assert rag.search(Query(QUESTION, where=("none",))) == []


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", [QUESTION, "Of what are rings of planets made?", "现金流量是多少？"])
def test_the_laws_of_events(rag: Rag, question: str) -> None:
    events = list(rag.stream(question))
    answer = check_events(events)
    last = "refuse" if answer.finish_reason == "no_evidence" else "write"
    assert {"search", "rerank", "weigh", "gather", last, "first_token", "total"} <= answer.timings.keys()
    assert (answer.finish_reason == "stop") == (question == QUESTION)
    assert all(seconds >= 0 for seconds in answer.timings.values())
    assert rag.ask(question).text == answer.text


def test_a_wrong_flow_is_known_before_the_first_event(rag: Rag) -> None:
    with pytest.raises(ConfigError, match="linaer") as caught:
        rag.stream(QUESTION, flow="linaer")
    assert "'linear'" in caught.value.hint
    assert "linear" in rag.flows()


def test_closing_a_stream_closes_the_flow(rag: Rag) -> None:
    closed: list[str] = []

    def flow(tools: Tools, query: Query) -> Iterator[Event]:
        try:
            yield Found(())
            yield Token("one")
            yield Token("two")
        finally:
            closed.append("closed")

    FLOWS[:] = [flow]
    events = rag.stream(QUESTION, flow=f"{__name__}:own_flow")
    assert isinstance(next(events), Found)
    assert closed == []
    events.close()  # type: ignore[attr-defined]
    assert closed == ["closed"]


FLOWS: list[Flow] = []


def own_flow(tools: Tools, query: Query) -> Iterator[Event]:
    return FLOWS[0](tools, query)


def test_a_flow_without_an_end_is_an_error(rag: Rag) -> None:
    def flow(tools: Tools, query: Query) -> Iterator[Event]:
        yield Found(())

    FLOWS[:] = [flow]
    with pytest.raises(ragapp.errors.RagappError, match="ended without an answer"):
        rag.ask(QUESTION, flow=f"{__name__}:own_flow")


def test_the_built_in_flow_keeps_the_contract() -> None:
    check_flow(linear, FixedTools((passage_of(document_of("It says so.")),)), Query("q"))
    check_flow(linear, FixedTools(reply="Nothing is there."), Query("q"))


def broken(*events: Event) -> Iterator[Event]:
    yield from events


ONE = passage_of(document_of("It says so."))
GOOD = Answer("a", (), (), "stop")
CITING = Answer("a [1]", (Citation(1, ONE, "It says so.", "verified", 1, 0, 11),), (ONE,), "stop")


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([Found(()), Token("a")], "exactly one Done"),
        ([Found(()), Token("a"), Done(GOOD), Done(GOOD)], "exactly one Done"),
        ([Found(()), Token("a"), Done(GOOD), Step("late", 0.1)], "last event is Step"),
        ([Token("a"), Found(()), Done(GOOD)], "before the passages"),
        ([Found(()), Token("b"), Done(GOOD)], "the answer says 'a'"),
        ([Found(()), Token("a [1]"), Done(CITING)], "not in Found"),
        ([Found((ONE,)), Token("a"), Done(replace(CITING, text="a"))], r"no marker \[1\]"),
        ([Found(()), Token("a"), Done(replace(GOOD, finish_reason="tired"))], "'tired' is not known"),  # type: ignore[arg-type]
    ],
)
def test_checks_fail_for_flows_that_break_the_laws(events: list[Event], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_flow(lambda tools, query: broken(*events), FixedTools(), Query("q"))


# -- boxes -------------------------------------------------------------------------------------------------------------


def test_no_boxes_for_a_file_that_changed_or_is_gone(rag: Rag, docs: Path) -> None:
    passage = rag.search(QUESTION, k=1)[0]
    assert rag.boxes_of(passage)
    pdfs.write(docs / "02.pdf", ["Other words."])
    assert rag.boxes_of(passage) == ()
    (docs / "02.pdf").unlink()
    assert rag.boxes_of(passage) == ()


# -- many at once ------------------------------------------------------------------------------------------------------


def test_eight_threads_ask_during_an_add(rag: Rag, tmp_path: Path) -> None:
    more = pdfs.folder(tmp_path / "more", 25)
    for path in more.iterdir():
        path.rename(more / f"new{path.name}")
    wrong: list[object] = []
    asked = [0] * 8
    over = threading.Event()

    def ask(number: int) -> None:
        try:
            while not over.is_set() or asked[number] < 3:
                found: list[Passage] = rag.search(QUESTION, k=5)
                ids = [passage.chunk.id for passage in found]
                if "02.pdf" not in {passage.document for passage in found} or len(set(ids)) != len(ids):
                    wrong.append(found)
                check_events(list(rag.stream(QUESTION)))
                asked[number] += 1
        except BaseException as error:  # noqa: BLE001  shown by the assertion below
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    report = rag.add([more])
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert report.added == 25
    assert len(rag.documents()) == 29
    assert list(rag.doctor()) == []
    assert min(asked) >= 3


# -- the caches and the truth ------------------------------------------------------------------------------------------


def test_doctor_names_what_is_wrong(rag: Rag) -> None:
    assert list(rag.doctor()) == []
    path = next((rag.folder / "cache").glob("vectors-*/*.faiss"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert [line for line in rag.doctor() if "does not match its checksums" in line]
    rag.search(QUESTION)


def test_an_empty_library_may_change_its_embedder(library: Path, tmp_path: Path) -> None:
    with Rag.open(library, embedder__name="hashing") as rag, pytest.raises(NotFound):
        rag.add([tmp_path / "none"])
    with Rag.open(library, embedder__name="hashing", embedder__width=32) as rag:
        assert rag.documents() == []


def test_a_cache_that_cannot_be_written_costs_no_document(library: Path, docs: Path) -> None:
    library.mkdir()
    (library / "cache").write_text("in the way")
    with Rag.open(library, embedder__name="hashing") as rag:
        assert rag.add([docs]).added == 4
        assert rag.search(QUESTION, k=1)[0].document == "02.pdf"
        rag.remove("00.pdf")


def test_a_document_that_is_removed_while_the_answer_is_written(rag: Rag) -> None:
    from ragapp.chat import ScriptedChat

    rag.chat = ScriptedChat(replies=["The value is 7 and that is all there is to say. [1]"])
    events = rag.stream(QUESTION)
    found = next(event for event in events if isinstance(event, Found))
    next(event for event in events if isinstance(event, Token))
    for entry in rag.documents():
        rag.remove(entry.document)
    last = list(events)[-1]
    assert isinstance(last, Done)
    assert [citation.state for citation in last.answer.citations] == ["not found"]
    assert last.answer.passages == found.passages


def test_halves_of_character_pairs_reach_no_model(rag: Rag) -> None:
    from ragapp.chat import ScriptedChat

    rag.chat = chat = ScriptedChat(replies=["What value?", "The value is 7. [1]"])
    rag.ask(Query(f"\ud800 {QUESTION}", (Turn("user", "half \udc00 a pair"), Turn("assistant", "\ud83d"))))
    seen = "".join(str(message.text) for prompt in chat.prompts for message in prompt)
    assert "half ? a pair" in seen
    assert not any("\ud800" <= character <= "\udfff" for character in seen)


def test_settings_are_given_once_and_k_is_positive(rag: Rag, library: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        Rag.open(library, config=rag.config, search__k=3)
    with pytest.raises(QuestionError, match="-1 passages"):
        rag.search("value", k=-1)


def test_doctor_sees_a_vector_of_zeros(rag: Rag) -> None:
    import sqlite3

    with sqlite3.connect(rag.catalog.path) as db:
        db.execute("UPDATE vectors SET vector = zeroblob(length(vector))")
    db.close()
    assert any("vector" in line for line in rag.doctor())
