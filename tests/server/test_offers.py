"""Models for one question over HTTP: which may be named, who writes then, and what nobody may name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ragapp.desk import Desk
from ragapp.rag import Rag
from ragapp.server.app import create_app
from ragapp.server.offers import shown
from tests import tiny_llama
from tests.server.conftest import Running, copied, served, until
from tests.server.events import asked, named

WARRANTY = "How long does the warranty of the pump last?"
SCRIPTED = "tests.server.flows:scripted"
QUOTES = {"model": "", "name": "quotes", "kind": "quotes", "local": True, "fixed": True}
SHORT = {"max_tokens": 4, "temperature": 0}


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A library of the test's own: what is chosen stays in its desk."""
    return copied(folder, tmp_path / "library")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.make(tmp_path_factory.mktemp("models") / "tiny-llama", window=4096)


def state(server: Running) -> Any:
    return server.http.get("/v1/answerer").json()


def choose(server: Running, model: str | Path) -> None:
    chosen = server.http.post("/v1/answerer", json={"model": str(model)})
    assert chosen.status_code == 200, chosen.text


def offered(server: Running) -> dict[str, Any]:
    return {offer["model"]: offer for offer in state(server)["models"]}


def refused(server: Running, model: str) -> Any:
    response = server.http.post("/v1/ask", json={"question": WARRANTY, "model": model})
    assert response.status_code == 400, response.text
    return response.json()["error"]


def test_without_a_model_there_are_quotes(own: Path) -> None:
    with served(own) as server:
        assert offered(server) == {"": QUOTES}
        got = asked(server, WARRANTY, model="")
        assert got[0].data["answerer"] == "quotes"
        assert "lasts 24 months" in got[-1].data["answer"]["answer"]


def test_each_answer_says_which_model_wrote_it(own: Path, llama: Path) -> None:
    with served(own, chat__model=SCRIPTED) as server:
        assert list(offered(server).values()) == [
            QUOTES, {"model": SCRIPTED, "name": SCRIPTED, "kind": "scripted", "local": True, "fixed": True},
        ]  # fmt: skip
        choose(server, llama)
        choose(server, "")
        assert state(server)["kind"] == "quotes"
        assert list(offered(server)) == ["", SCRIPTED, "tiny-llama"]
        assert offered(server)["tiny-llama"] == {
            "model": "tiny-llama", "name": "tiny-llama", "kind": "llama", "local": True, "fixed": False,
        }  # fmt: skip
        assert str(llama.parent) not in server.http.get("/v1/answerer").text
        for model, name in ((None, "quotes"), (SCRIPTED, SCRIPTED), ("tiny-llama", "tiny-llama"), ("", "quotes")):
            got = asked(server, WARRANTY, model=model, **SHORT)
            assert got[0].data["answerer"] == name
            assert named(got, "done")[0]["answer"]["answerer"] == name
            assert str(llama.parent) not in str([event.data for event in got])
            tokens = named(got, "done")[0]["answer"]["usage"]["completion_tokens"]
            assert (tokens > 0) is (name != "quotes")
        assert state(server)["kind"] == "quotes", "a question's wish is not the library's"


@pytest.mark.parametrize(
    "model", ["tests.server.flows:play", "os:system", "http://127.0.0.1:9/v1", "openai:gpt-4o", "/etc", "org/name",
              "../tests", ".", "quotes", "\x00", "linear"],
)  # fmt: skip
def test_what_was_not_offered_cannot_be_named(real: Running, model: str) -> None:
    error = refused(real, model)
    assert "There is no model named" in error["message"]
    assert "Known: ''" in error["hint"]


def test_a_folder_is_named_by_its_name_only(own: Path, llama: Path) -> None:
    with served(own) as server:
        choose(server, llama)
        error = refused(server, str(llama))
        assert "'tiny-llama'" in error["hint"]
        assert str(llama.parent) not in str(error)


def test_what_was_chosen_once_is_offered_after_a_restart(own: Path, llama: Path) -> None:
    with served(own) as server:
        choose(server, llama)
        choose(server, "")
    with served(own, chat__model=SCRIPTED) as server:
        assert list(offered(server)) == ["", SCRIPTED, "tiny-llama"]
        assert asked(server, WARRANTY, model="tiny-llama", **SHORT)[0].data["answerer"] == "tiny-llama"
    with served(own) as server:
        assert list(offered(server)) == ["", "tiny-llama"]
        assert "tiny-llama" in refused(server, SCRIPTED)["hint"], "the settings do not name it any more"


def withdraw(server: Running, model: str) -> Any:
    return server.http.delete("/v1/answerer", params={"model": model})


def test_a_model_is_taken_off_the_list(own: Path, llama: Path) -> None:
    with served(own, chat__model=SCRIPTED) as server:
        choose(server, llama)
        assert asked(server, WARRANTY, model="tiny-llama", **SHORT)[0].data["answerer"] == "tiny-llama"
        stays = withdraw(server, "tiny-llama")
        assert (stays.status_code, "chosen" in stays.json()["error"]["message"]) == (400, True)
        choose(server, SCRIPTED)
        asked(server, WARRANTY, model="tiny-llama", **SHORT)
        gone = withdraw(server, "tiny-llama")
        assert gone.status_code == 200, gone.text
        assert [offer["model"] for offer in gone.json()["models"]] == ["", SCRIPTED]
        assert "no model named 'tiny-llama'" in refused(server, "tiny-llama")["message"]
        rag = server.server.config.app.state.house.default.rag  # type: ignore[union-attr]
        assert rag.models == (SCRIPTED, "")
        assert rag._wardrobe.chat_of(str(llama)) is None, "its memory is given back"
        assert withdraw(server, "tiny-llama").status_code == 404
        for name in (SCRIPTED, ""):
            assert withdraw(server, name).status_code == 400
        assert list(offered(server)) == ["", SCRIPTED]
        assert llama.is_dir()
    with served(own) as server:
        assert list(offered(server)) == [""]
        choose(server, llama)
        assert list(offered(server)) == ["", "tiny-llama"]


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_choice_that_the_settings_have_overruled_does_not_bring_it_back(
    own: Path, llama: Path, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(llama.parent)
    named = {} if is_whole else {"chat__model": "./tiny-llama"}
    with served(own, **named) as server:
        choose(server, llama if is_whole else "./tiny-llama")
    with served(own, chat__model=SCRIPTED) as server:
        assert withdraw(server, "tiny-llama").status_code == 200
    with served(own, chat__model=SCRIPTED) as server:
        assert list(offered(server)) == ["", SCRIPTED]


def test_a_name_that_is_listed_means_what_is_listed(
    own: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_llama.make(tmp_path / "here" / "tiny-llama", window=4096)
    monkeypatch.chdir(other.parent)
    with served(own) as server:
        choose(server, llama)
        choose(server, "")
        choose(server, "tiny-llama")
        assert state(server)["name"] == "tiny-llama"
        choose(server, "./tiny-llama")
        assert state(server)["name"] == "tiny-llama-2"


def test_one_whose_files_are_gone_is_taken_off_too(own: Path, tmp_path: Path) -> None:
    folder = tiny_llama.make(tmp_path / "short-lived", window=4096)
    with served(own) as server:
        choose(server, folder)
        choose(server, "")
        shutil.rmtree(folder)
        assert withdraw(server, "short-lived").status_code == 200
        assert withdraw(server, "short-lived").status_code == 404


def test_a_choice_holds_wherever_the_server_is_started(
    own: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(llama.parent)
    with served(own) as server:
        choose(server, "tiny-llama")
    monkeypatch.chdir(tmp_path)
    with served(own) as server:
        assert state(server)["name"] == "tiny-llama"
        assert "neither a folder" not in state(server)["hint"]


def test_a_choice_of_an_earlier_version_is_offered(own: Path, llama: Path) -> None:
    desk = Desk(own)
    columns = "(name TEXT PRIMARY KEY, value TEXT NOT NULL, instead_of TEXT NOT NULL)"
    desk.make(["DROP TABLE IF EXISTS offered", f"CREATE TABLE IF NOT EXISTS chosen {columns}"])
    desk.execute("INSERT OR REPLACE INTO chosen VALUES ('model', ?, 'another')", str(llama))
    desk.close()
    with served(own) as server:
        assert state(server)["kind"] == "quotes"
        assert list(offered(server)) == ["", "tiny-llama"]


def test_the_model_that_answers_is_not_loaded_twice(own: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(llama.parent)
    with served(own, chat__model="tiny-llama/") as server:
        assert list(offered(server)) == ["", "tiny-llama"]
        choose(server, llama)  # the same one by its whole path
        assert list(offered(server)) == ["", "tiny-llama"]
        rag = server.server.config.app.state.house.default.rag  # type: ignore[union-attr]
        chat = rag.chat
        for model in (None, "tiny-llama"):
            assert asked(server, WARRANTY, model=model, **SHORT)[0].data["answerer"] == "tiny-llama"
        assert rag.chat is chat
        assert rag._wardrobe.chat_of(rag.config.chat.model) is None
        assert rag.models == ("tiny-llama/", "")
    with served(own) as server:
        assert list(offered(server)) == ["", "tiny-llama"], "it was chosen, so it stays"


def test_two_folders_of_one_name_keep_their_names(own: Path, llama: Path, tmp_path: Path) -> None:
    other = tiny_llama.make(tmp_path / "other" / "tiny-llama", window=2048)
    with served(own) as server:
        choose(server, llama)
        choose(server, other)
        assert list(offered(server)) == ["", "tiny-llama", "tiny-llama-2"]
        assert state(server)["name"] == "tiny-llama-2"
    shutil.rmtree(other)
    with served(own, chat__model=str(llama)) as server:
        assert list(offered(server)) == ["", "tiny-llama"]
        error = refused(server, "tiny-llama-2")
        assert "cannot be used any more" in error["message"]
        assert str(tmp_path) not in str(error)


def test_the_model_of_the_settings_can_be_chosen_again(own: Path) -> None:
    with served(own, chat__model=SCRIPTED) as server:
        choose(server, "")
        assert state(server)["kind"] == "quotes"
        choose(server, SCRIPTED)
        assert state(server)["kind"] == "scripted"
    with served(own) as server:
        assert list(offered(server)) == [""]
        assert "There is no model named" in refused(server, SCRIPTED)["message"]


def test_a_file_that_is_gone_does_not_stop_the_server(own: Path, tmp_path: Path) -> None:
    desk = Desk(own)
    columns = "(name TEXT PRIMARY KEY, value TEXT NOT NULL, instead_of TEXT NOT NULL)"
    desk.make(["DROP TABLE IF EXISTS offered", f"CREATE TABLE IF NOT EXISTS chosen {columns}"])
    desk.execute("INSERT OR REPLACE INTO chosen VALUES ('model', ?, '')", str(tmp_path / "gone.gguf"))
    desk.close()
    with served(own) as server:
        assert offered(server) == {"": QUOTES}
        assert "cannot be used any more" in refused(server, "gone.gguf")["message"]


@pytest.mark.parametrize("login", ["me:secret", "me:p@secret", "me@home:secret", "secret"])
def test_no_part_of_a_login_is_shown(login: str) -> None:
    assert shown(f"https://{login}@models.example:8000/v1") == "https://models.example:8000/v1"
    assert shown("https://models.example/@team/v1") == "https://models.example/@team/v1"


def test_a_login_is_not_shown(own: Path) -> None:
    with served(own, chat__model="https://me:secret@models.example/v1") as server:
        (offer,) = [each for name, each in offered(server).items() if name]
        assert offer == {
            "model": "https://models.example/v1", "name": "https://models.example/v1", "kind": "remote", "local": False,
            "fixed": True,
        }  # fmt: skip
        assert "secret" not in refused(server, "another")["hint"]


def test_a_conversation_keeps_its_model_and_who_wrote_what(own: Path, llama: Path) -> None:
    with served(own) as server:
        choose(server, llama)
        choose(server, "")
        talk = server.http.post("/v1/conversations", json={"settings": {"model": "tiny-llama"}}).json()["id"]
        until(lambda: state(server)["ready"], 30)
        asked(server, WARRANTY, conversation=talk, model="tiny-llama", **SHORT)
        asked(server, WARRANTY, conversation=talk, model="")
        before = server.http.get(f"/v1/conversations/{talk}").json()["messages"]
        assert refused(server, "another")
        refusal = server.http.post("/v1/ask", json={"question": "x", "conversation": talk, "model": "another"})
        assert refusal.status_code == 400
    with served(own) as server:
        kept = server.http.get(f"/v1/conversations/{talk}").json()
    assert kept["settings"] == {"model": "tiny-llama"}
    assert kept["messages"] == before, "a question that could not be asked is not kept"
    answers = [message["answer"]["answerer"] for message in kept["messages"] if message["answer"]]
    assert answers == ["tiny-llama", "quotes"]


def test_each_collection_offers_its_own(own: Path, llama: Path, tmp_path: Path) -> None:
    other = copied(own, tmp_path / "second")
    with (
        Rag.open(own, embedder__name="hashing") as first,
        Rag.open(other, embedder__name="hashing") as second,
        TestClient(create_app(first, second), base_url="http://127.0.0.1") as client,
    ):
        assert client.post("/v1/answerer", json={"model": str(llama)}).status_code == 200
        for name, models in (("library", ["", "tiny-llama"]), ("second", [""])):
            listed = client.get("/v1/answerer", params={"collection": name}).json()["models"]
            assert [offer["model"] for offer in listed] == models
        body = {"question": WARRANTY, "model": "tiny-llama", "collection": "second"}
        assert client.post("/v1/ask", json=body).status_code == 400
