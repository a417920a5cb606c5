"""/v1/answerer: who answers, another model while answers are written, the hub, and downloads as jobs."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_llama
from tests.hub import Hub, serving
from tests.server.conftest import Running, ServeWith, copied, served, until
from tests.server.events import asked, following, named

WARRANTY = "How long does the warranty of the pump last?"


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A library of the test's own: what is chosen stays in its desk."""
    return copied(folder, tmp_path / "library")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.make(tmp_path_factory.mktemp("models") / "tiny-llama", window=4096)


def state(server: Running) -> Any:
    return server.http.get("/v1/answerer").json()


def choose(server: Running, model: str) -> Any:
    return server.http.post("/v1/answerer", json={"model": model})


def test_quotes_say_how_a_model_is_added(real: Running) -> None:
    got = state(real)
    assert {key: got[key] for key in ("kind", "name", "local", "flow", "k", "hyde", "strict")} == {
        "kind": "quotes", "name": "quotes", "local": True, "flow": "linear", "k": 8, "hyde": "auto", "strict": False,
    }  # fmt: skip
    assert got["flows"] == ["linear", "conditional", "branching", "looping"]
    assert {"keep", "late"} == set(got["rerankers"])
    assert got["reranker"] in got["rerankers"]
    assert "hub id" in got["hint"]
    until(lambda: state(real)["ready"])


def test_the_kinds_of_models_and_what_is_local(serve_with: ServeWith) -> None:
    def of(model: str) -> tuple[Any, ...]:
        got = state(serve_with(chat__model=model))
        return got["kind"], got["name"], got["local"]

    assert of("tests.server.flows:scripted") == ("scripted", "tests.server.flows:scripted", True)
    assert of("http://127.0.0.1:9/v1") == ("remote", "http://127.0.0.1:9/v1", True)
    assert of("https://me:secret@models.example/v1") == ("remote", "https://models.example/v1", False)


def test_a_folder_is_chosen_and_kept_over_a_restart(own: Path, llama: Path) -> None:
    with served(own) as server:
        chosen = choose(server, str(llama))
        assert chosen.status_code == 200, chosen.text
        assert (chosen.json()["kind"], chosen.json()["name"], chosen.json()["local"]) == ("llama", "tiny-llama", True)
        assert str(llama.parent) not in chosen.text
        until(lambda: state(server)["ready"], 30)
        assert state(server)["hint"] == ""
        got = asked(server, WARRANTY, max_tokens=4, temperature=0)
        assert got[0].data["answerer"] == "tiny-llama"
        assert named(got, "done")[0]["answer"]["usage"]["completion_tokens"] > 0
    with served(own) as server:
        assert state(server)["name"] == "tiny-llama"
        assert choose(server, "").json()["kind"] == "quotes"
    with served(own) as server:
        assert state(server)["kind"] == "quotes"


def test_a_choice_holds_until_the_settings_name_another_model(own: Path, llama: Path) -> None:
    with served(own) as server:
        assert choose(server, str(llama)).is_success
    with served(own, chat__model="tests.server.flows:scripted") as server:
        assert state(server)["kind"] == "scripted"
    with served(own) as server:
        assert state(server)["name"] == "tiny-llama"


def test_a_choice_that_is_gone_is_said_and_does_not_stop_the_server(own: Path, llama: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(llama, tmp_path / "moved"))
    with served(own) as server:
        assert choose(server, str(moved)).is_success
    shutil.rmtree(moved)
    with served(own) as server:
        got = state(server)
        assert got["kind"] == "quotes"
        assert "moved" in got["hint"]
        assert str(tmp_path) not in got["hint"]
        assert asked(server, WARRANTY)[-1].name == "done"


@pytest.mark.parametrize(
    "model",
    [
        "tests.server.flows:scripted",
        "os:system",
        "http://127.0.0.1:9/v1",
        "openai:gpt-4o",
        "/no/such/folder",
        "../tests",
        "org/never-downloaded",
        "not a model",
        "\x00",
    ],
)
def test_what_cannot_be_chosen_changes_nothing(real: Running, model: str) -> None:
    before = state(real)
    refused = choose(real, model)
    assert refused.status_code == 400
    assert refused.json()["error"]["hint"]
    if ":" in model:
        assert "the settings" in refused.json()["error"]["hint"]
    assert {**state(real), "ready": True} == {**before, "ready": True}


def test_answers_in_the_making_end_with_their_model_which_is_then_let_go(own: Path) -> None:
    with served(own, chat__model="tests.server.flows:leisurely") as server:
        rag = server.server.config.app.state.house.default.rag  # type: ignore[union-attr]
        old = weakref.ref(rag.chat)
        texts: list[str] = []
        first = threading.Event()

        def ask() -> None:
            with server.http.stream("POST", "/v1/ask", json={"question": WARRANTY}) as response:
                for event in following(response):
                    if event.name == "token":
                        texts.append(event.data["text"])
                        first.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert first.wait(5)
        assert choose(server, "").json()["kind"] == "quotes"
        assert asked(server, WARRANTY)[0].data["answerer"] == "quotes"
        assert asking.is_alive()
        asking.join(10)
        assert "".join(texts).endswith("It ends.")

        def is_gone() -> bool:
            gc.collect()
            return old() is None

        until(is_gone)


# -- the hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(llama: Path, tmp_path: Path) -> Iterator[Hub]:
    with serving(llama, tmp_path / "hub") as made:
        yield made


def job_of(server: Running, job: str) -> Any:
    return server.http.get(f"/v1/jobs/{job}").json()


def test_the_hub_is_asked_only_on_request(own: Path, hub: Hub) -> None:
    with served(own) as server:
        state(server)
        asked(server, WARRANTY)
        assert choose(server, "org/tiny").status_code == 400
        assert hub.asked == []
        size = server.http.get("/v1/answerer/size", params={"model": "org/tiny"}).json()
        assert size["model"] == "org/tiny"
        assert size["bytes"] > 100_000
        assert size["files"] >= 3
        assert len(hub.asked) == 1


def test_a_download_is_a_job_and_its_model_then_answers_without_the_hub(own: Path, hub: Hub) -> None:
    with served(own) as server:
        begun = server.http.post("/v1/answerer/download", json={"model": "org/tiny"})
        assert begun.status_code == 202
        job = begun.json()["job"]
        assert begun.headers["location"] == f"/v1/jobs/{job['id']}"
        assert job["kind"] == "download"
        until(lambda: job_of(server, job["id"])["state"] == "done", 20)
        assert job_of(server, job["id"])["report"]["model"] == "org/tiny"
        hub.asked.clear()
        chosen = choose(server, "org/tiny")
        assert chosen.status_code == 200, chosen.text
        assert (chosen.json()["kind"], chosen.json()["name"]) == ("llama", "org/tiny")
        got = asked(server, WARRANTY, max_tokens=3)
        assert named(got, "done")
    with served(own) as server:
        assert state(server)["name"] == "org/tiny"
    assert hub.asked == []


def test_a_download_tells_bytes_and_can_be_cancelled(own: Path, hub: Hub) -> None:
    hub.delay_s = 0.02
    with served(own) as server:
        job = server.http.post("/v1/answerer/download", json={"model": "org/tiny"}).json()["job"]["id"]
        until(lambda: (job_of(server, job)["progress"] or {}).get("bytes", 0) > 2000, 10)
        progress = job_of(server, job)["progress"]
        assert progress["stage"] == "download"
        assert progress["bytes"] < progress["of_bytes"]
        assert 0 < progress["fraction"] < 1
        assert server.http.delete(f"/v1/jobs/{job}").status_code == 202
        told = time.monotonic()
        until(lambda: job_of(server, job)["state"] == "cancelled", 5)
        assert time.monotonic() - told < 2
        sent = hub.sent
        time.sleep(0.2)
        assert hub.sent <= sent + 5000
        assert choose(server, "org/tiny").status_code == 400


@pytest.mark.parametrize("model", ["", "../x", "/etc", "a b/c", "http://127.0.0.1/x"])
def test_only_names_of_the_hub(real: Running, model: str) -> None:
    assert real.http.get("/v1/answerer/size", params={"model": model}).status_code == 400
    assert real.http.post("/v1/answerer/download", json={"model": model}).status_code == 400


def test_a_model_that_the_hub_does_not_have(own: Path, hub: Hub) -> None:
    with served(own) as server:
        refused = server.http.get("/v1/answerer/size", params={"model": "org/other"})
        assert refused.status_code == 502
        assert "org/other" in refused.json()["error"]["message"]
        job = server.http.post("/v1/answerer/download", json={"model": "org/other"}).json()["job"]["id"]
        until(lambda: job_of(server, job)["state"] == "failed", 10)
        assert "org/other" in job_of(server, job)["error"]["message"]
