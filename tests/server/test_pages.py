"""The pages of documents over HTTP."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from ragapp import Rag
from ragapp.errors import NotFound
from ragapp.server import pages
from ragapp.server.errors import ErrorTable
from ragapp.server.pages import Pictures
from ragapp.viewer import Viewer
from tests import pdfs
from tests.server.conftest import Running

NAME = "sub folder/手册 100%.pdf"
TEXT = "The warranty of the pump lasts 24 months."


class Collection:
    def __init__(self, rag: Rag) -> None:
        self.rag = rag


class House:
    """The part of the house that this room uses."""

    def __init__(self, rag: Rag) -> None:
        self._one = Collection(rag)

    def at(self, name: str | None) -> Collection:
        if name not in (None, "", "one"):
            raise NotFound(f"There is no collection {name!r}.")
        return self._one


def app_of(rag: Rag) -> FastAPI:
    app, table = FastAPI(), ErrorTable([str(rag.folder)])
    table.install(app)
    app.include_router(pages.routes(House(rag)))  # type: ignore[arg-type]
    return app


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "docs"
    content = [pdfs.prose("pump"), TEXT, [pdfs.Picture()]]
    pdfs.write(folder / NAME, content, labels=[(0, "ROMAN_LOWER", 1)], size=(400, 600))
    (folder / "notes.txt").write_text("Notes about a valve.\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rag(docs: Path) -> Iterator[Rag]:
    with Rag.open(docs.parent / "library", embedder__name="hashing", ingest__ocr="off") as rag:
        assert not rag.add([docs]).failed
        yield rag


@pytest.fixture(scope="module")
def http(rag: Rag) -> Iterator[TestClient]:
    with TestClient(app_of(rag)) as client:
        yield client


@pytest.fixture(scope="module")
def key(rag: Rag) -> str:
    return rag.viewer.document_id(NAME)


def at(document: str, rest: str) -> str:
    return f"/v1/documents/{quote(document, safe='')}{rest}"


def test_the_list_of_pages(http: TestClient, key: str) -> None:
    listed = http.get(at(key, "/pages")).json()
    assert listed["no_pictures"] is None
    assert [page["state"] for page in listed["pages"]] == ["text", "text", "unread"]
    assert listed["pages"][1] == {
        "number": 2, "label": "ii", "state": "text", "chars": len(TEXT), "width": 400.0, "height": 600.0
    }  # fmt: skip
    assert http.get(at(NAME, "/pages")).json() == listed
    assert http.get(f"/v1/documents/{quote(NAME)}/pages?collection=one").json() == listed
    notes = http.get(at("notes.txt", "/pages")).json()
    assert notes["no_pictures"] == "notes.txt is no PDF, and has no pictures of its pages."
    assert notes["pages"][0]["width"] is None


@pytest.mark.parametrize(("width", "height"), [(50, 75), (800, 1200), (4000, 6000)])
def test_a_picture_is_as_wide_as_it_was_asked_for(http: TestClient, key: str, width: int, height: int) -> None:
    answer = http.get(at(key, f"/pages/2.png?width={width}"))
    assert answer.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    assert image.size == (width, height)


def test_a_picture_is_kept_by_its_client(http: TestClient, key: str) -> None:
    first = http.get(at(key, "/pages/2.png"))
    assert first.headers["cache-control"].startswith("private, max-age=")
    assert http.get(at(NAME, "/pages/2.png")).headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = http.get(at(key, "/pages/2.png"), headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for other in ("/pages/1.png", "/pages/2.png?width=801"):
        assert http.get(at(key, other), headers={"If-None-Match": tag}).status_code == 200
    assert http.get(at(key, "/pages/9.png"), headers={"If-None-Match": "*"}).status_code == 404


def test_words_text_boxes_and_matches_agree(http: TestClient, rag: Rag, key: str) -> None:
    whole = rag.catalog.document(key).text
    text = http.get(at(key, "/pages/2/text")).json()
    assert (text["page"], text["label"], text["headings"]) == (2, "ii", [])
    assert text["text"] == whole[text["start"] : text["end"]] == TEXT + "\n"
    words = http.get(at(key, "/pages/2/words")).json()
    assert (words["page"], words["width"], words["height"]) == (2, 400.0, 600.0)
    assert [word["text"] for word in words["words"]] == TEXT.split()
    assert all(whole[word["start"] : word["end"]] == word["text"] for word in words["words"])
    found = http.get(at(key, "/find"), params={"q": "WARRANTY of  the"}).json()
    (match,) = found["matches"]
    assert (found["total"], match["page"], match["text"]) == (1, 2, "warranty of the")
    assert (match["before"][-4:], match["after"]) == ("The ", " pump lasts 24 months. ")
    boxes = http.get(at(key, "/boxes"), params={"start": match["start"], "end": match["end"]}).json()["boxes"]
    assert boxes == match["boxes"]
    (box,) = boxes
    first, last = words["words"][1], words["words"][3]
    assert box["x0"] == pytest.approx(first["x0"], abs=2)
    assert box["x1"] == pytest.approx(last["x1"], abs=2)
    assert first["y0"] - 1 < box["y0"] < box["y1"] < first["y1"] + 1
    cited = rag.ask("How long does the warranty of the pump last?").citations[0]
    asked = http.get(at(key, "/boxes"), params={"start": cited.start, "end": cited.end}).json()["boxes"]
    assert [tuple(box.values()) for box in asked] == [(b.page, b.x0, b.y0, b.x1, b.y1) for b in cited.boxes]
    assert http.get(at(key, "/find"), params={"q": "warranty", "boxes": False}).json()["matches"][0]["boxes"] == []
    assert http.get(at("notes.txt", "/pages/1/words")).json()["words"] == []
    assert http.get(at("notes.txt", "/find"), params={"q": "VALVE"}).json()["total"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pages/0.png", 404), ("/pages/4.png", 404), ("/pages/99999999999999999999999/text", 404),
        ("/pages/4/words", 404), ("/pages/x.png", 404), ("/pages/-1.png", 404), ("/pages/1.png?width=49", 400),
        ("/pages/1.png?width=4001", 400), ("/pages/1.png?width=x", 400), ("/boxes", 400), ("/boxes?start=5&end=4", 400),
        ("/boxes?start=-1&end=4", 400), ("/boxes?start=0&end=99999999999999999999", 400),
        ("/boxes?start=0&end=900000", 400), ("/find?q=", 400), ("/find?q=%20", 400), ("/find?q=a&limit=0", 400),
        ("/find", 400), ("/pages?collection=other", 404),
    ],
)  # fmt: skip
def test_what_does_not_exist(http: TestClient, key: str, path: str, status: int) -> None:
    refused = http.get(at(key, path))
    assert refused.status_code == status
    assert refused.json()["error"]["message"]


@pytest.mark.parametrize("document", ["other.pdf", "../../etc/passwd", "%00", "a" * 64, ".", "sub folder"])
@pytest.mark.parametrize("rest", ["/pages", "/pages/1.png", "/pages/1/words", "/boxes?start=0&end=1", "/find?q=a"])
def test_documents_that_do_not_exist(http: TestClient, document: str, rest: str) -> None:
    assert http.get(at(document, rest)).status_code == 404


def test_spans_beyond_the_text_have_no_boxes(http: TestClient, key: str) -> None:
    for span in ("start=90000&end=90010", "start=3&end=3", f"start={2**53 - 1}&end={2**53}"):
        assert http.get(at(key, f"/boxes?{span}")).json() == {"boxes": []}


def test_no_path_of_the_server_is_told(tmp_path: Path) -> None:
    file = pdfs.write(tmp_path / "docs" / "a.pdf", ["The pump is blue."])
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag, TestClient(app_of(rag)) as http:
        rag.add(file.parent)
        assert http.get(at("a.pdf", "/pages/1.png")).status_code == 200
        file.write_bytes(file.read_bytes() + b"%")
        for rest in (
            "/pages",
            "/pages/1.png",
            "/pages/1/words",
            "/pages/1/text",
            "/find?q=pump",
            "/boxes?start=0&end=9",
        ):
            answer = http.get(at("a.pdf", rest))
            assert str(tmp_path) not in answer.text
            assert answer.status_code == (404 if rest.endswith("png") else 200)
        assert "has changed" in http.get(at("a.pdf", "/pages/1.png")).json()["error"]["message"]
        assert http.get(at("a.pdf", "/pages/1/text")).json()["text"] == "The pump is blue.\n"
        rag.remove("a.pdf")
        assert http.get(at("a.pdf", "/pages/1.png")).status_code == 404


# -- who waits for what ------------------------------------------------------------------------------------------------


class Slow:
    """Viewer.picture, as slow as the test says; counts how many draw at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.now = self.most = self.drawn = 0
        self._lock = threading.Lock()

    def __call__(self, viewer: Viewer, document_id: str, number: int, width: int) -> bytes:
        with self._lock:
            self.now += 1
            self.drawn += 1
            self.most = max(self.most, self.now)
        assert self.go.wait(10)
        with self._lock:
            self.now -= 1
        return b"%d" % width


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow()
    monkeypatch.setattr(Viewer, "picture", lambda *about: made(*about))  # noqa: PLW0108 - a function takes self
    yield made
    made.go.set()


def until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_two_are_drawn_at_once_and_nobody_else_waits(rag: Rag, key: str, slow: Slow) -> None:
    with TestClient(app_of(rag)) as http, ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(http.get, at(key, f"/pages/1.png?width={100 + n}")) for n in range(6)]
        until(lambda: slow.now == 2)
        started = time.monotonic()
        assert http.get(at(key, "/pages/2/words")).json()["words"]
        assert http.get(at(key, "/find?q=pump")).json()["total"]
        assert rag.search("pump")
        assert time.monotonic() - started < 4
        assert slow.now == 2
        slow.go.set()
        assert [each.result().content for each in waiting] == [b"%d" % (100 + n) for n in range(6)]
        assert (slow.most, slow.drawn) == (2, 6)


def test_the_same_picture_is_drawn_once(rag: Rag, key: str, slow: Slow) -> None:
    with TestClient(app_of(rag)) as http, ThreadPoolExecutor(8) as clients:
        others = [clients.submit(http.get, at(key, f"/pages/1.png?width={w}")) for w in (60, 61)]
        until(lambda: slow.now == 2)
        waiting = [clients.submit(http.get, at(key, "/pages/1.png?width=70")) for _ in range(4)]
        time.sleep(0.2)
        slow.go.set()
        assert {each.result().content for each in (*others, *waiting)} == {b"60", b"61", b"70"}
        assert http.get(at(key, "/pages/1.png?width=70")).content == b"70"
        assert slow.drawn <= 4


def test_what_nobody_waits_for_is_not_drawn(rag: Rag, key: str, slow: Slow) -> None:
    """The app is called as a server does, which tells it that the client has left."""
    app = app_of(rag)

    async def asked(width: int, leaves: asyncio.Event) -> list[int]:
        status: list[int] = []
        path = f"/v1/documents/{key}/pages/1.png"
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
                 "raw_path": path.encode(), "query_string": b"width=%d" % width, "headers": [], "scheme": "http",
                 "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "root_path": ""}  # fmt: skip
        first = True

        async def receive() -> dict[str, Any]:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        await app(scope, receive, send)
        return status

    async def scene() -> None:
        stays, left = asyncio.Event(), asyncio.Event()
        first = [asyncio.create_task(asked(width, stays)) for width in (60, 61)]
        while slow.now < 2:
            await asyncio.sleep(0.01)
        gone = [asyncio.create_task(asked(width, left)) for width in (70, 71)]
        await asyncio.sleep(0.1)
        left.set()
        slow.go.set()
        assert [await task for task in first] == [[200], [200]]
        assert [await task for task in gone] == [[499], [499]]

    asyncio.run(scene())
    assert slow.drawn == 2


def test_too_many_are_told_to_come_back(rag: Rag, key: str, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "WAITING", 3)
    with TestClient(app_of(rag)) as http, ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(http.get, at(key, f"/pages/1.png?width={w}")) for w in (60, 61)]
        until(lambda: slow.now == 2)
        waiting.append(clients.submit(http.get, at(key, "/pages/1.png?width=62")))
        time.sleep(0.2)
        refused = http.get(at(key, "/pages/1.png?width=63"))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        slow.go.set()
        assert [each.result().status_code for each in waiting] == [200, 200, 200]
        assert http.get(at(key, "/pages/1.png?width=63")).status_code == 200


def test_the_server_has_this_room(real: Running) -> None:
    listed = real.http.get(at("pump.pdf", "/pages")).json()
    assert [page["state"] for page in listed["pages"]] == ["text", "text"]
    picture = real.http.get(at("pump.pdf", "/pages/2.png?width=300"))
    assert Image.open(io.BytesIO(picture.content)).size[0] == 300
    assert picture.headers["cache-control"] == "private, no-cache"
    cited = real.ask("How long does the warranty of the pump last?").json()["ragapp"]["citations"][0]
    span = {"start": cited["start"], "end": cited["end"]}
    assert real.http.get(at(cited["document_id"], "/boxes"), params=span).json()["boxes"] == cited["boxes"]


def test_pictures_are_kept_up_to_a_limit() -> None:
    pictures = Pictures(limit=100)
    for n in range(5):
        pictures.put("d", n, 80, b"x" * 30)
    assert [pictures.get("d", n, 80) is not None for n in range(5)] == [False, False, True, True, True]
    pictures.get("d", 2, 80)
    pictures.put("d", 2, 80, b"y" * 40)
    pictures.put("d", 9, 80, b"z" * 30)
    assert [n for n in range(10) if pictures.get("d", n, 80)] == [2, 4, 9]
    pictures.put("d", 10, 80, b"w" * 101)
    assert not any(pictures.get("d", n, 80) for n in range(11))
    assert pictures.get("d", 2, 81) is None
