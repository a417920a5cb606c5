"""Wishes for one answer: the tools of one question, made out of the shared ones."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragapp import parts, registry, trace
from ragapp.config import load
from ragapp.embedders import HashingEmbedder
from ragapp.errors import ConfigError, ModelError, Overloaded
from ragapp.parts import Wardrobe, wished
from ragapp.rag import Rag
from ragapp.rerankers import KeepOrder
from ragapp.scripted import ScriptedChat
from ragapp.types import Asked, Done, Found, Passage, Token
from tests import tiny_llama

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


class Slow:
    """Warms for as long as it is told to."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def warm(self) -> None:
        self.begun.set()
        assert self.go.wait(10)


def test_a_model_that_is_loaded_too_late_does_not_undo_another_ones_readiness(library: Path) -> None:
    with opened(library) as rag:
        slow = rag.chat = Slow()
        warming = threading.Thread(target=rag.warm)
        warming.start()
        assert slow.begun.wait(10)
        rag.use_model("")
        rag.warm()
        assert rag.is_warm
        slow.go.set()
        warming.join(10)
        assert rag.is_warm


# -- a model for one question ------------------------------------------------------------------------------------------


CHEESE, SAND, SILK, WOOL = (f"tests.test_asked:{name}" for name in ("scripted", "sand", "silk", "wool"))


def _of(name: str) -> ScriptedChat:
    MADE.append(name)
    return ScriptedChat(replies=[f"It lasts 24 months [1]. The moon is made of {name}."] * 20)


def sand() -> ScriptedChat:
    return _of("sand")


def silk() -> ScriptedChat:
    return _of("silk")


def wool() -> ScriptedChat:
    return _of("wool")


def test_each_question_is_answered_by_the_model_that_it_names(library: Path) -> None:
    MADE.clear()
    with opened(library, chat__model=CHEESE) as rag:
        rag.offer_model(SAND)
        for _ in range(2):
            assert "cheese" in rag.ask(QUESTION).text
            assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text
            quoted = rag.ask(QUESTION, asked=Asked(model=""))
            assert "moon" not in quoted.text
            assert "24 months" in quoted.text
            assert "cheese" in rag.ask(QUESTION, asked=Asked(model=CHEESE)).text
        assert MADE == ["sand"], "built once, and kept"
        assert rag.config.chat.model == CHEESE
        assert len(rag.chat.prompts) == 4


def test_quotes_are_those_of_a_library_without_a_model(library: Path) -> None:
    with opened(library) as rag:
        plain = rag.ask(QUESTION)
        rag.offer_model(SAND)
        assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text
    with opened(library, chat__model=CHEESE) as rag:
        quoted = rag.ask(QUESTION, asked=Asked(model=""))
    assert quoted.text == plain.text
    assert [c.quote for c in quoted.citations] == [c.quote for c in plain.citations]


def test_only_models_that_are_offered(library: Path) -> None:
    MADE.clear()
    with opened(library, chat__model=CHEESE) as rag:
        assert rag.models == (CHEESE, "")
        for name in (SAND, "os:system", "http://127.0.0.1:9/v1", "org/name", "/etc", "linear"):
            with pytest.raises(ConfigError, match="offers no model"):
                rag.stream(QUESTION, asked=Asked(model=name))
        assert MADE == []
        rag.offer_model(SAND)
        rag.offer_model(SAND)
        rag.use_model("")
        assert rag.models == (CHEESE, "", SAND)
        assert "cheese" in rag.ask(QUESTION, asked=Asked(model=CHEESE)).text


def test_a_model_that_was_used_before_is_offered(library: Path) -> None:
    with opened(library) as rag:
        rag.use_model(SAND)
        rag.use_model(SILK)
        assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text
        assert "silk" in rag.ask(QUESTION).text


def test_a_model_that_was_named_is_not_built_again_for_the_library(library: Path) -> None:
    MADE.clear()
    with opened(library) as rag:
        rag.offer_model(SAND)
        rag.ask(QUESTION, asked=Asked(model=SAND))
        rag.use_model(SAND)
        assert "sand" in rag.ask(QUESTION).text
        assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text
        assert MADE == ["sand"]
        assert rag._wardrobe.chat_of(SAND) is None, "its place beside the library's own is free"


def test_a_model_that_cannot_be_used_says_so_before_anything_is_asked(library: Path) -> None:
    with opened(library) as rag:
        rag.offer_model("./no/such/folder")
        with pytest.raises(ModelError):
            rag.stream(QUESTION, asked=Asked(model="./no/such/folder"))
        assert rag.ask(QUESTION).text


def test_other_wishes_go_with_a_model(library: Path) -> None:
    with opened(library) as rag:
        rag.offer_model(CHEESE)
        strict = rag.ask(QUESTION, asked=Asked(model=CHEESE, strict=True, k=2))
        assert "cheese" not in strict.text
        assert len(strict.passages) <= 2
        assert rag.ask(QUESTION, asked=Asked(model=CHEESE, hyde="on")).text
        with pytest.raises(ConfigError, match="language model"):
            rag.stream(QUESTION, asked=Asked(model="", hyde="on"))


def test_quotes_do_not_trip_over_what_only_a_model_can_do(library: Path) -> None:
    flags = {"chat__model": CHEESE, "search__hyde": "on", "search__variants": 2, "search__step_back": True}
    with opened(library, **flags) as rag:
        assert "24 months" in rag.ask(QUESTION, asked=Asked(model="")).text
        assert not rag.chat.prompts


def test_a_trace_names_the_model_and_is_replayed_with_it(library: Path, tmp_path: Path) -> None:
    with opened(library, chat__model=CHEESE, search__hyde="on") as rag:
        rag.offer_model(SAND)
        rag.ask(QUESTION, save_trace=tmp_path / "sand.json", asked=Asked(model=SAND, hyde="off"))
        rag.ask(QUESTION, save_trace=tmp_path / "quotes.json", asked=Asked(model=""))
    for name, model in (("sand", SAND), ("quotes", "")):
        kept = trace.Trace.load(tmp_path / f"{name}.json")
        assert kept.model == model
        with Rag.open(library, config=trace.config_of(kept, load({}))) as rag:
            assert rag.config.chat.model == model
            assert trace.compare(kept, rag.ask(QUESTION)).same


def test_as_many_models_as_memory_is_meant_for(library: Path) -> None:
    """Two write beside the library's own; a third is told to come again, until one of them has ended or was left."""
    with opened(library, chat__model=CHEESE) as rag:
        for model in (SAND, SILK, WOOL):
            rag.offer_model(model)
        first = rag.stream(QUESTION, asked=Asked(model=SAND))
        second = rag.stream(QUESTION, asked=Asked(model=SILK))
        for events in (first, second):
            next(event for event in events if isinstance(event, Token))
        with pytest.raises(Overloaded):
            rag.stream(QUESTION, asked=Asked(model=WOOL))
        assert "cheese" in rag.ask(QUESTION).text
        assert rag.ask(QUESTION, asked=Asked(model="")).text
        assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text
        first.close()  # type: ignore[attr-defined]  # it is a generator
        assert "wool" in rag.ask(QUESTION, asked=Asked(model=WOOL)).text
        done = [event for event in second if isinstance(event, Done)]
        assert "silk" in done[0].answer.text
        assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text
        rag.stream(QUESTION, asked=Asked(model=SILK))  # nobody ever reads it
        gc.collect()
        assert "wool" in rag.ask(QUESTION, asked=Asked(model=WOOL)).text
        assert "sand" in rag.ask(QUESTION, asked=Asked(model=SAND)).text


def test_a_wish_that_cannot_be_fulfilled_holds_no_model(library: Path, tmp_path: Path) -> None:
    with opened(library, chat__model=CHEESE) as rag:
        for model in (SAND, SILK, WOOL):
            rag.offer_model(model)
        refusals = []
        for model in (SAND, SILK):
            with pytest.raises(ConfigError, match="reranker") as caught:
                rag.stream(QUESTION, asked=Asked(model=model, reranker="nosuch"))
            refusals.append(caught)
            with pytest.raises(ConfigError, match="no folder") as caught:
                rag.stream(QUESTION, save_trace=tmp_path / "no" / "folder.json", asked=Asked(model=model))
            refusals.append(caught)
        assert "wool" in rag.ask(QUESTION, asked=Asked(model=WOOL)).text
        assert all(refusal.tb for refusal in refusals), "somebody keeps the errors, with the frames of the questions"


def test_a_model_that_becomes_the_librarys_own_meanwhile_is_not_built_twice(library: Path) -> None:
    MADE.clear()
    with opened(library) as rag:
        before = rag._tools_for_one()
        rag.use_model(SAND)
        late = rag._wardrobe.suit(before, Asked(model=SAND))
        assert late.model == SAND
        assert late.loan is not None
        assert late.loan.voice.chat is rag.chat
        assert MADE == ["sand"]


def test_what_is_offered_can_be_withdrawn(library: Path) -> None:
    with opened(library, chat__model=CHEESE) as rag:
        for model in (SAND, SILK):
            rag.offer_model(model)
        writing = rag.stream(QUESTION, asked=Asked(model=SAND))
        next(event for event in writing if isinstance(event, Token))
        rag.withdraw_model(SAND)
        assert rag.models == (CHEESE, "", SILK)
        with pytest.raises(ConfigError, match="offers no model"):
            rag.ask(QUESTION, asked=Asked(model=SAND))
        done = [event for event in writing if isinstance(event, Done)]
        assert "sand" in done[0].answer.text, "who writes comes to the end"
        rag.use_model(SILK)
        for model in (SILK, CHEESE, ""):
            with pytest.raises(ConfigError, match="stays"):
                rag.withdraw_model(model)
        rag.withdraw_model("nobody has offered it")


def test_an_answer_that_fails_gives_its_model_back(library: Path) -> None:
    with opened(library) as rag:
        for model in (SAND, SILK, WOOL):
            rag.offer_model(model)
        failing = rag.stream(QUESTION, asked=Asked(model=SAND))
        held = [rag.stream(QUESTION, asked=Asked(model=SILK)), failing]
        rag._wardrobe.chat_of(SAND).replies.clear()
        with pytest.raises(ModelError, match="no reply left") as caught:
            list(failing)
        assert "wool" in rag.ask(QUESTION, asked=Asked(model=WOOL)).text
        assert len(held) == 2
        assert caught.tb, "an error that somebody keeps holds the frames of the answer, and not its model's place"


def test_llamas_write_side_by_side_and_the_oldest_is_let_go(library: Path, tmp_path: Path) -> None:
    made = [tiny_llama.make(tmp_path / f"llama-{number}", window=1024 * number) for number in (2, 3, 4)]
    names = [str(folder) for folder in made]
    with opened(library, answer__context_tokens=300) as rag:
        for name in names:
            rag.offer_model(name)
        texts: dict[str, str] = {}

        def ask(name: str) -> None:
            texts[name] = rag.ask(QUESTION, asked=Asked(model=name)).text

        threads = [threading.Thread(target=ask, args=(name,)) for name in names[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts.keys() == set(names[:2])
        rag.ask(QUESTION, asked=Asked(model=names[0]))
        networks = [weakref.ref(rag._wardrobe.chat_of(name)._network) for name in names[:2]]
        rag.ask(QUESTION, asked=Asked(model=names[2]))
        gc.collect()
        assert [network() is None for network in networks] == [False, True]
        windows = [rag._wardrobe.chat_of(name).window() for name in (names[0], names[2])]
        assert windows == [2048, 4096]
