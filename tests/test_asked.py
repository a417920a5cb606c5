"""Wishes for one answer: the tools of one question, made out of the shared ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragapp import parts, registry, trace
from ragapp.config import load
from ragapp.embedders import HashingEmbedder
from ragapp.errors import ConfigError, ModelError
from ragapp.parts import Wardrobe, wished
from ragapp.rag import Rag
from ragapp.rerankers import KeepOrder
from ragapp.scripted import ScriptedChat
from ragapp.types import Asked, Done, Found, Passage

QUESTION = "How long does the warranty last?"
MADE: list[str] = []


class Backwards:
    """Turns the order around, and remembers how often it was made."""

    def __init__(self) -> None:
        MADE.append("backwards")

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        return list(passages)[::-1]


def scripted() -> ScriptedChat:
    return ScriptedChat(replies=["It lasts 24 months [1]. The moon is made of cheese [1]."] * 20)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(6):
        text = f"The warranty of pump {number} lasts {number + 20} months and covers all its parts."
        (docs / f"{number}.txt").write_text(text)
    (docs / "4.txt").write_text("The warranty lasts 24 months. It lasts 24 months.")
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        rag.add([docs])
    return tmp_path / "library"


def opened(library: Path, **flags: Any) -> Rag:
    return Rag.open(library, embedder__name="hashing", reranker__name="keep", **flags)


def found(rag: Rag, asked: Asked | None) -> list[str]:
    events = list(rag.stream(QUESTION, asked=asked))
    return [passage.document for event in events if isinstance(event, Found) for passage in event.passages]


def test_as_many_passages_as_are_asked_for(library: Path) -> None:
    with opened(library) as rag:
        usual = found(rag, None)
        assert len(found(rag, Asked(k=2))) == 2
        assert found(rag, Asked(k=2)) == usual[:2]
        # The settings stay what they were.
        assert found(rag, None) == usual
        assert found(rag, Asked()) == usual


def test_more_passages_than_are_looked_at_closely(library: Path) -> None:
    with opened(library, reranker__candidates=1, answer__passages=1) as rag:
        assert len(found(rag, None)) == 1
        assert len(found(rag, Asked(k=4))) == 4


def test_a_reranker_is_made_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, "reranker", {  # type: ignore[arg-type]
        **registry.BUILT_IN["reranker"], "backwards": "tests.test_asked:Backwards",
    })  # fmt: skip
    MADE.clear()
    with opened(library, answer__passages=3) as rag:
        usual = found(rag, None)
        turned = found(rag, Asked(reranker="backwards"))
        assert turned != usual
        assert found(rag, Asked(reranker="backwards")) == turned
        assert MADE == ["backwards"]
        assert found(rag, Asked(reranker="keep")) == usual


def test_the_reranker_of_the_settings_is_the_shared_one(library: Path) -> None:
    with Rag.open(library, embedder__name="hashing", reranker__name="tests.test_asked:Backwards") as rag:
        MADE.clear()
        usual = found(rag, None)
        # Its name is known, whatever it is, as nothing has to be imported for it.
        assert found(rag, Asked(reranker="tests.test_asked:Backwards")) == usual
        assert MADE == ["backwards"]
        assert found(rag, Asked(reranker="keep")) != usual


@pytest.mark.parametrize(
    ("name", "hint"),
    [("kep", "Did you mean 'keep'?"), ("tests.test_asked:Backwards", "Known"), ("os:system", "Known"), ("", "Known")],
)
def test_names_that_nobody_may_ask_for(library: Path, name: str, hint: str) -> None:
    MADE.clear()
    with opened(library) as rag, pytest.raises(ConfigError) as caught:
        rag.stream(QUESTION, asked=Asked(reranker=name))
    assert hint in caught.value.hint
    assert MADE == []


def test_late_needs_vectors_of_tokens(library: Path) -> None:
    with opened(library) as rag, pytest.raises(ConfigError, match="token vectors"):
        rag.stream(QUESTION, asked=Asked(reranker="late"))


@pytest.mark.parametrize("k", [0, -1])
def test_no_passages_cannot_be_asked_for(library: Path, k: int) -> None:
    with opened(library) as rag, pytest.raises(ConfigError):
        rag.stream(QUESTION, asked=Asked(k=k))


def test_hyde_needs_a_model(library: Path) -> None:
    with opened(library) as rag:
        with pytest.raises(ConfigError):
            rag.stream(QUESTION, asked=Asked(hyde="on"))
        assert rag.ask(QUESTION, asked=Asked(hyde="off")).text
    with opened(library, chat__model="tests.test_asked:scripted") as rag:
        rag.ask(QUESTION, asked=Asked(hyde="on"))
        rag.ask(QUESTION)
        tasks = [str(prompt[-1].text) for prompt in rag.chat.prompts]
        assert len(tasks) == 3  # a passage imagined, an answer, an answer


def test_strict_is_asked_for_by_the_question(library: Path) -> None:
    with opened(library, chat__model="tests.test_asked:scripted") as rag:
        assert "cheese" in rag.ask(QUESTION).text
        assert "cheese" not in rag.ask(QUESTION, asked=Asked(strict=True)).text
        assert "cheese" in rag.ask(QUESTION, asked=Asked(strict=False)).text
    with opened(library, chat__model="tests.test_asked:scripted", answer__strict=True) as rag:
        assert "cheese" not in rag.ask(QUESTION).text
        assert "cheese" in rag.ask(QUESTION, asked=Asked(strict=False)).text


def test_quotes_are_strict_already(library: Path) -> None:
    with opened(library) as rag:
        assert rag.ask(QUESTION, asked=Asked(strict=False)).text == rag.ask(QUESTION).text


def test_a_trace_holds_the_settings_that_were_wished_for(library: Path, tmp_path: Path) -> None:
    with opened(library) as rag:
        rag.ask(QUESTION, save_trace=tmp_path / "t.json", asked=Asked(k=2, hyde="off", strict=True))
    settings = trace.Trace.load(tmp_path / "t.json").settings
    assert settings["answer.passages"] == 2
    assert settings["search.hyde"] == "off"
    assert settings["answer.strict"] is True


def test_settings_of_one_reranker_are_not_those_of_another() -> None:
    config = load({"reranker.name": "late", "reranker.weight": 0.3, "reranker.seconds": 2})
    other = wished(config, Asked(reranker="keep"))
    assert (other.reranker.name, other.reranker.seconds, other.reranker.model_extra) == ("keep", 2, {})
    assert isinstance(parts.reranker_of(other, HashingEmbedder()), KeepOrder)
    assert wished(config, Asked(reranker="late")).reranker.model_extra == {"weight": 0.3}
    assert wished(config, Asked()) == config


def test_a_wardrobe_leaves_the_shared_tools_alone(library: Path) -> None:
    with opened(library) as rag:
        tools = rag.tools
        suited = Wardrobe(rag.config, rag.embedder).suit(tools, Asked(k=3))
        assert (tools.k, suited.k) == (8, 3)
        assert suited.retriever is tools.retriever
        assert suited.answerer is tools.answerer
        assert suited.reranker is tools.reranker


# -- another model -----------------------------------------------------------------------------------------------------


def test_another_model_answers_from_the_next_question_on(library: Path) -> None:
    with opened(library) as rag:
        assert "cheese" not in rag.ask(QUESTION).text
        first = rag.stream(QUESTION)
        rag.use_model("tests.test_asked:scripted")
        assert rag.config.chat.model == "tests.test_asked:scripted"
        assert not rag.is_warm
        assert "cheese" in rag.ask(QUESTION).text
        done = [event.answer.text for event in first if isinstance(event, Done)]
        assert "cheese" not in done[0]
        rag.use_model("")
        assert "cheese" not in rag.ask(QUESTION).text


def test_a_model_that_cannot_be_used_changes_nothing(library: Path) -> None:
    with opened(library, chat__model="tests.test_asked:scripted") as rag:
        chat, tools = rag.chat, rag.tools
        with pytest.raises(ModelError):
            rag.use_model("./no/such/folder")
        assert rag.chat is chat
        assert rag.tools is tools
        assert rag.config.chat.model == "tests.test_asked:scripted"


def test_what_a_model_does_not_change_stays(library: Path) -> None:
    with Rag.open(library, embedder__name="hashing", reranker__name="tests.test_asked:Backwards") as rag:
        reranker = rag.tools.reranker
        rag.use_model("tests.test_asked:scripted")
        assert rag.tools.reranker is reranker


def test_a_library_is_warm_when_everything_is_loaded(library: Path) -> None:
    with opened(library) as rag:
        assert not rag.is_warm
        rag.warm()
        assert rag.is_warm
