"""Conversations over HTTP: whose they are, what they take, and that they are really deleted.

Also collections, and suggestions.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from ragapp.desk import DESK, Desk
from ragapp.errors import ModelError
from ragapp.keyring import Keyring
from ragapp.rag import Rag
from ragapp.server import suggest
from ragapp.server.suggest import Suggester
from ragapp.talks import Talks
from ragapp.types import Document, Heading, Page
from tests.libraries import open_catalog, put
from tests.server.conftest import Running

ANSWER: dict[str, Any] = {
    "answer": "24 months [1].", "finish_reason": "stop", "steps": [{"name": "search", "seconds": 0.01}],
    "citations": [
        {"marker": 1, "document": "a.pdf", "page": 3, "label": "", "quote": "24 months", "state": "verified"},
    ],
}  # fmt: skip
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1))"


class Served:
    """A server over a folder of its own, with direct access to what it keeps."""

    def __init__(self, folder: Path, **flags: Any) -> None:
        open_catalog(folder).close()
        self.folder = folder
        self.rag = Rag.open(folder, embedder__name="hashing", server__port=0, **flags)
        self.running = Running(self.rag)
        self.http = self.running.http
        self.desk = Desk(folder)
        self.talks = Talks(self.desk)

    def close(self) -> None:
        self.desk.close()
        self.running.close()
        self.rag.close()

    def asked(self, question: str, answer: str = "24 months [1].", owner: str = "") -> str:
        key = self.talks.create(owner=owner).id
        self.talks.append(key, "user", question, owner=owner)
        self.talks.append(key, "assistant", answer, ANSWER, owner=owner)
        return key


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Served(tmp_path_factory.mktemp("talked") / "manuals")
    yield made
    made.close()


def test_a_conversation_from_beginning_to_end(served: Served) -> None:
    made = served.http.post("/v1/conversations", json={"settings": {"k": 3}})
    assert made.status_code == 201
    key = made.json()["id"]
    assert made.json() == {**made.json(), "title": "", "messages": 0, "collection": "manuals"}
    served.talks.append(key, "user", "How long?", owner="")
    served.talks.append(key, "assistant", "**24** months [1].", ANSWER, owner="")
    listed = served.http.get("/v1/conversations", params={"q": "MONTHS"}).json()["data"]
    assert [(row["id"], row["title"], row["messages"]) for row in listed] == [(key, "How long?", 2)]
    whole = served.http.get(f"/v1/conversations/{key}").json()
    assert whole["settings"] == {"k": 3}
    question, answer = whole["messages"]
    assert (question["role"], question["answer"], question["feedback"]) == ("user", None, None)
    assert answer["html"] == "<p><strong>24</strong> months [1].</p>\n"
    assert answer["answer"] == ANSWER
    path = f"/v1/conversations/{key}/messages/{answer['id']}/feedback"
    assert served.http.put(path, json={"rating": -1, "comment": "no"}).json() == {"rating": -1, "comment": "no"}
    again = served.http.get(f"/v1/conversations/{key}").json()
    assert again["messages"][1]["feedback"] == {"rating": -1, "comment": "no"}
    assert served.http.put(path, json={"rating": 0}).json() == {"rating": 0, "comment": ""}
    changed = served.http.patch(f"/v1/conversations/{key}", json={"title": " Pump\n1 ", "settings": {}})
    assert (changed.status_code, changed.json()["title"]) == (200, "Pump 1")
    cut = served.http.delete(f"/v1/conversations/{key}/messages/{answer['id']}")
    assert (cut.status_code, cut.content) == (204, b"")
    assert [m["id"] for m in served.http.get(f"/v1/conversations/{key}").json()["messages"]] == [question["id"]]
    assert served.http.delete(f"/v1/conversations/{key}").status_code == 204
    assert served.http.get(f"/v1/conversations/{key}").status_code == 404


def test_what_is_left_out_stays(served: Served) -> None:
    key = served.http.post("/v1/conversations", json={"title": "T", "settings": {"a": 1}}).json()["id"]
    served.http.patch(f"/v1/conversations/{key}", json={"title": "U"})
    assert served.http.get(f"/v1/conversations/{key}").json()["settings"] == {"a": 1}
    served.http.patch(f"/v1/conversations/{key}", json={"settings": {"b": 2}})
    whole = served.http.get(f"/v1/conversations/{key}").json()
    assert (whole["title"], whole["settings"]) == ("U", {"b": 2})


def test_of_a_deleted_one_no_byte_is_left(served: Served) -> None:
    key = served.asked("A SECRET question", "a SECRET answer")
    assert served.http.delete(f"/v1/conversations/{key}").status_code == 204
    left = b"".join(path.read_bytes() for path in served.folder.glob(f"{DESK}*"))
    assert b"secret" not in left.lower()


def test_nothing_in_a_conversation_is_an_element(served: Served) -> None:
    key = served.asked(HOSTILE, HOSTILE)
    served.talks.rename(key, HOSTILE, owner="")
    whole = served.http.get(f"/v1/conversations/{key}").json()
    for message in whole["messages"]:
        assert "<script" not in message["html"]
        assert "<img" not in message["html"]
        assert "javascript:" not in message["html"] or "href" not in message["html"]
        assert message["text"] == HOSTILE
    exported = served.http.get(f"/v1/conversations/{key}/export")
    assert "\n<" not in exported.text.replace("\\<", "")
    assert "\r" not in exported.headers["content-disposition"]


@pytest.mark.parametrize(
    ("title", "plain", "exact"),
    [
        ("How long?", "How long", "How long"), ("保修 / 期限", "_ _", "保修 期限"), ("../../etc", "_etc", "etc"),
        ('a"b\\c', "a b c", "a b c"), ("...", "conversation", "conversation"), ("x" * 150, "x" * 80, "x" * 80),
    ],
)  # fmt: skip
def test_an_export_is_a_download_with_a_name(served: Served, title: str, plain: str, exact: str) -> None:
    key = served.asked("How long?")
    served.talks.rename(key, title, owner="")
    for ending, kind in (("md", "text/markdown; charset=utf-8"), ("json", "application/json")):
        exported = served.http.get(f"/v1/conversations/{key}/export", params={"format": ending})
        assert exported.headers["content-type"] == kind
        assert exported.headers["x-content-type-options"] == "nosniff"
        disposition = exported.headers["content-disposition"]
        assert disposition.startswith("attachment; ")
        assert unquote(disposition.split("filename*=UTF-8''")[1]) == f"{exact}.{ending}".lstrip(
            "." if exact == "etc" else ""
        )
        assert f'filename="{plain}.{ending}"' in disposition or exact == "etc"
    whole = json.loads(exported.text)
    assert whole["messages"][1]["answer"] == ANSWER


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", {"title": "x" * 201}), ("POST", "", {"settings": {"a": "x" * 9000}}), ("POST", "", {"title": 3}),
        ("POST", "", {"settings": [1]}), ("POST", "", [1]), ("PATCH", "/{key}", {"title": ""}),
        ("PATCH", "/{key}", {"title": "x" * 201}), ("PATCH", "/{key}", {"settings": {"a": "x" * 9000}}),
        ("PUT", "/{key}/messages/{message}/feedback", {"rating": 2}),
        ("PUT", "/{key}/messages/{message}/feedback", {"rating": 1, "comment": "x" * 4001}),
        ("PUT", "/{key}/messages/{message}/feedback", {}), ("GET", "?q=" + "x" * 201, None), ("GET", "?limit=0", None),
        ("GET", "?offset=-1", None), ("GET", "/{key}/export?format=pdf", None),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(served: Served, method: str, path: str, body: Any) -> None:
    key = served.asked("How long?")
    message = served.talks.messages(key, owner="")[1].id
    where = path.replace("{key}", key).replace("{message}", message)
    answered = served.http.request(method, f"/v1/conversations{where}", json=body)
    assert answered.status_code == 400
    assert answered.json()["error"]["type"] == "invalid_request_error"
    assert served.talks.get(key, owner="").title == "How long?"


@pytest.mark.parametrize("title", [b'"\\ud800"', b'"a\\u0000b"', b'"\\u202e"', b'"\\u0007"'])
def test_odd_characters_break_nothing(served: Served, title: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    made = served.http.post("/v1/conversations", content=b'{"title":' + title + b"}", headers=headers)
    assert made.status_code in (201, 400)
    numbers = b'{"settings":{"a":NaN,"b":' + b"[" * 500 + b"]" * 500 + b"}}"
    assert served.http.post("/v1/conversations", content=numbers, headers=headers).status_code == 400
    assert served.http.get("/v1/conversations").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"), ("PATCH", "/nothing"), ("DELETE", "/nothing"), ("GET", "/nothing/export"),
        ("DELETE", "/nothing/messages/n"), ("PUT", "/nothing/messages/n/feedback"), ("DELETE", "/{key}/messages/n"),
        ("PUT", "/{key}/messages/n/feedback"), ("GET", "/%00"), ("DELETE", "/%ED%A0%80"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(served: Served, method: str, path: str) -> None:
    body = {"rating": 1} if method == "PUT" else {"title": "x"} if method == "PATCH" else None
    where = path.replace("{key}", served.asked("How long?"))
    answered = served.http.request(method, f"/v1/conversations{where}", json=body)
    assert (answered.status_code, answered.json()["error"]["code"]) == (404, "not_found")


def test_a_collection_that_is_not_there_is_not_found(served: Served) -> None:
    for path in ("/v1/conversations", "/v1/suggestions"):
        assert served.http.get(path, params={"collection": "nothing"}).status_code == 404
        assert served.http.get(path, params={"collection": "manuals"}).status_code == 200


def test_each_key_has_its_own(tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "library")), closing(Served(tmp_path / "library", server__api_key="main")) as served:
        ring = Keyring(served.desk)
        (one, first), (_, second) = ring.add("one"), ring.add("two")

        def ask(secret: str, method: str, path: str, body: Any = None) -> httpx.Response:
            headers = {"Authorization": f"Bearer {secret}"}
            return served.http.request(method, f"/v1/conversations{path}", json=body, headers=headers)

        key = ask(first, "POST", "", {"title": "mine"}).json()["id"]
        assert served.talks.get(key, owner=one.id).title == "mine"
        message = served.talks.append(key, "user", "How long?", owner=one.id).id
        for stranger in (second, "main"):
            assert ask(stranger, "GET", "").json()["data"] == []
            for method, path, body in (
                ("GET", "", None), ("GET", "/export", None), ("PATCH", "", {"title": "yours"}), ("DELETE", "", None),
                ("DELETE", f"/messages/{message}", None), ("PUT", f"/messages/{message}/feedback", {"rating": 1}),
            ):  # fmt: skip
                assert ask(stranger, method, f"/{key}{path}", body).status_code == 404
        assert [row["title"] for row in ask(first, "GET", "").json()["data"]] == ["mine"]
        assert ask(first, "DELETE", f"/{key}").status_code == 204
        # The key of the settings has those of a server without keys: both mean the one who runs it.
        owned = served.asked("before there were keys", owner="")
        assert ask("main", "GET", f"/{owned}").status_code == 200
        assert ask(first, "GET", f"/{owned}").status_code == 404


def test_collections_are_listed(real: Running, served: Served) -> None:
    assert served.http.get("/v1/collections").json() == {
        "object": "list",
        "data": [{"name": "manuals", "default": True, "documents": 0, "pages": 0, "chunks": 0, "writable": True}],
    }
    (only,) = real.http.get("/v1/collections").json()["data"]
    assert (only["name"], only["documents"], only["pages"]) == ("library", 1, 2)
    assert only["chunks"] >= 2


def test_suggestions_come_from_the_library(real: Running, served: Served) -> None:
    assert served.http.get("/v1/suggestions").json() == {"questions": []}
    found = real.http.get("/v1/suggestions", params={"n": 2}).json()["questions"]
    assert isinstance(found, list)
    assert len(found) <= 2
    for n in (0, 9, "x"):
        assert real.http.get("/v1/suggestions", params={"n": n}).status_code == 400


# -- suggestions that the judge looks at ---------------------------------------------------------------------------


class Judged:
    """A collection whose judge is sure of some questions only. ``asked`` counts what it was asked."""

    name = "judged"

    def __init__(self, folder: Path, sure: Callable[[str], float]) -> None:
        self.catalog = open_catalog(folder)
        self.rag = self.tools = self.judge = self
        self.depth, self.threshold, self.sure = 5, 0.5, sure
        self.asked: list[str] = []

    def search(self, question: str, k: int) -> list[Any]:
        assert k == self.depth
        return []

    def confidence(self, query: Any, passages: Any) -> float:
        self.asked.append(query.text)
        return self.sure(query.text)

    def fill(self, *topics: str) -> None:
        text = "\n".join([*topics, "Send the form to us, and the pump is repaired or replaced."])
        heads = tuple(Heading(1, topic, text.index(topic)) for topic in topics)
        key = f"{len(topics):064x}"
        made = Document(key, "", "Pump 300", "application/pdf", text, (Page(1, 0, len(text)),), heads)
        put(self.catalog, made, "pump.pdf")


TOPICS = ("Warranty claims", "Filter replacement", "Transport costs")


def suggested(judged: Judged, *times: int) -> list[list[str]]:
    """What is suggested when it is asked for so many questions, one time after the other."""

    async def ask() -> list[list[str]]:
        suggester = Suggester(judged)  # type: ignore[arg-type]
        return [await suggester.questions(n) for n in times]

    return asyncio.run(ask())


def test_what_the_judge_would_refuse_is_not_suggested(tmp_path: Path) -> None:
    judged = Judged(tmp_path, lambda question: 0.2 if "Filter" in question else 0.8)
    with closing(judged.catalog):
        judged.fill(*TOPICS)
        first, second, third = suggested(judged, 4, 4, 1)
        assert sorted(first) == [f"What does “Pump 300” say about {topic}?" for topic in (TOPICS[2], TOPICS[0])]
        assert (second, third) == (first, first[:1])
        assert len(judged.asked) == 3  # once for each, not for every request


def test_a_judge_that_cannot_be_asked_refuses_nothing(tmp_path: Path) -> None:
    def broken(question: str) -> float:
        raise ModelError("The model is gone.")

    judged = Judged(tmp_path, broken)
    with closing(judged.catalog):
        judged.fill(*TOPICS)
        assert len(suggested(judged, 4)[0]) == 3


def test_nobody_waits_for_a_slow_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "PATIENCE_S", 0.05)
    judged = Judged(tmp_path, lambda _: time.sleep(0.3) or 0.0)  # type: ignore[func-returns-value]
    with closing(judged.catalog):
        judged.fill(*TOPICS)
        started = time.monotonic()
        assert len(suggested(judged, 4)[0]) == 3
        assert time.monotonic() - started < 2


def test_another_state_of_the_library_has_other_suggestions(tmp_path: Path) -> None:
    judged = Judged(tmp_path, lambda _: 1.0)

    async def ask() -> tuple[list[str], list[str]]:
        suggester = Suggester(judged)  # type: ignore[arg-type]
        before = await suggester.questions(4)
        judged.fill(*TOPICS)
        return before, await suggester.questions(4)

    with closing(judged.catalog):
        before, after = asyncio.run(ask())
        assert (len(before), len(after)) == (0, 3)
