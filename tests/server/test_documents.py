"""The list of documents, one of them, its file, and its end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.mending import mend
from ragapp.rag import Rag
from ragapp.server.documents import disposition
from tests.libraries import child_environment
from tests.server.conftest import Running
from tests.server.desks import ingested, library, names, pdf, written_by_another

PUMP = pdf("pump", 2)
MEMBERS = {
    "document", "id", "title", "pages", "chunks", "bytes", "pages_without_text", "added", "pages_unread",
    "media_type", "files", "original",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with library(tmp_path_factory.mktemp("documents") / "library") as running:
        ingested(
            running, ("manuals/pump.pdf", PUMP), ("说明/notes.txt", "保修期为两年，自购买之日起计算。\n".encode()),
            ("page.html", b"<!doctype html><html><body><h1>Hello</h1><script>alert(1)</script><p>A page of text.</p>"),
        )  # fmt: skip
        yield running


def folder_of(server: Running) -> Path:
    folder: Path = server.server.config.app.state.house.default.rag.folder  # type: ignore[union-attr]
    return folder


def test_the_list(server: Running) -> None:
    listed = server.http.get("/v1/documents").json()
    assert listed["object"] == "list"
    assert all(set(entry) == MEMBERS for entry in listed["data"])
    found = {entry["document"]: entry for entry in listed["data"]}
    pump = found["manuals/pump.pdf"]
    assert (pump["pages"], pump["bytes"], pump["media_type"]) == (2, len(PUMP), "application/pdf")
    assert (pump["files"], pump["original"], pump["pages_unread"]) == (["manuals/pump.pdf"], True, [])
    assert found["说明/notes.txt"]["media_type"] == "text/plain"


def test_one_document_by_name_and_by_id(server: Running) -> None:
    by_name = server.http.get("/v1/documents/manuals/pump.pdf").json()
    assert by_name == server.http.get("/v1/documents/manuals%2Fpump.pdf").json()
    assert by_name == server.http.get(f"/v1/documents/{by_name['id']}").json()
    chinese = server.http.get(f"/v1/documents/{quote('说明/notes.txt', safe='')}")
    assert chinese.json()["document"] == "说明/notes.txt"


@pytest.mark.parametrize("key", ["nothing", "manuals", "../library.sqlite", "%2e%2e%2flibrary.sqlite", "a" * 5000])
@pytest.mark.parametrize("rest", ["", "/file"])
def test_what_is_no_document(server: Running, key: str, rest: str) -> None:
    answer = server.http.get(f"/v1/documents/{key}{rest}")
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_the_original_file(server: Running) -> None:
    entry = server.http.get("/v1/documents/manuals/pump.pdf").json()
    for key in ("manuals/pump.pdf", entry["id"]):
        answer = server.http.get(f"/v1/documents/{key}/file")
        assert (answer.status_code, answer.content) == (200, PUMP)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["etag"] == f'"{entry["id"]}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == "inline; filename=\"pump.pdf\"; filename*=UTF-8''pump.pdf"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_part_of_the_file(server: Running) -> None:
    url = "/v1/documents/manuals/pump.pdf/file"
    etag = server.http.get(url).headers["etag"]
    part = server.http.get(url, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, PUMP[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{len(PUMP)}"
    assert server.http.get(url, headers={"Range": "bytes=-4"}).content == PUMP[-4:]
    assert server.http.get(url, headers={"Range": "bytes=0-3", "If-Range": etag}).content == PUMP[:4]
    assert server.http.get(url, headers={"Range": "bytes=0-3", "If-Range": '"other"'}).content == PUMP
    beyond = server.http.get(url, headers={"Range": "bytes=99999999-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(PUMP)}")
    for nonsense in ("bytes=a-b", "lines=1-2", "bytes=", "bytes"):
        whole = server.http.get(url, headers={"Range": nonsense})
        assert (whole.status_code, whole.content) == (200, PUMP)


def test_a_file_that_the_client_has(server: Running) -> None:
    url = "/v1/documents/manuals/pump.pdf/file"
    etag = server.http.get(url).headers["etag"]
    for known in (etag, f'"x", W/{etag}', "*"):
        answer = server.http.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    assert server.http.get(url, headers={"If-None-Match": '"x"'}).status_code == 200


def test_what_may_run_scripts_is_never_opened_in_place(server: Running) -> None:
    page = server.http.get("/v1/documents/page.html/file")
    assert page.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in page.headers["content-security-policy"]
    notes = server.http.get(f"/v1/documents/{quote('说明/notes.txt')}/file")
    assert notes.headers["content-disposition"] == "inline; filename=\"notes.txt\"; filename*=UTF-8''notes.txt"
    assert "sandbox" in notes.headers["content-security-policy"]


@given(st.text(max_size=60))
def test_no_name_breaks_a_header(name: str) -> None:
    header = disposition(f"folder/{name}", shown=True)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


def test_a_file_that_is_gone_or_changed(server: Running) -> None:
    ingested(server, ("vanishing.pdf", pdf("vanishing")))
    path = folder_of(server) / "files/vanishing.pdf"
    path.write_bytes(path.read_bytes() + b"%")
    assert server.http.get("/v1/documents/vanishing.pdf").json()["original"] is False
    assert server.http.get("/v1/documents/vanishing.pdf/file").status_code == 404
    path.unlink()
    assert server.http.get("/v1/documents/vanishing.pdf").json()["original"] is False
    gone = server.http.get("/v1/documents/vanishing.pdf/file")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
    assert str(folder_of(server)) not in gone.text


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_deleted_document_is_gone_with_its_file_and_its_name(server: Running, by: str) -> None:
    name = f"秘密/the-plan-by-{by}.txt"
    sentence = f"The very secret plan by {by} begins on a rainy Thursday morning."
    job = ingested(server, (name, sentence.encode()))
    key = quote(name, safe="") if by == "name" else job["files"][0]["document_id"]
    deleted = server.http.delete(f"/v1/documents/{key}")
    assert deleted.status_code == 200
    erased = deleted.json()["erased"]
    assert (erased["removed"], erased["traces"], erased["findings"]) == ([name], 0, [])
    assert name not in names(server)
    assert server.http.get(f"/v1/documents/{key}").status_code == 404
    assert not (folder_of(server) / "files/秘密").exists()
    for path in folder_of(server).rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert sentence.encode() not in held, path
            assert f"the-plan-by-{by}".encode() not in held, path
    assert name not in server.http.get("/v1/jobs").text
    assert server.http.delete(f"/v1/documents/{key}").status_code == 404


def test_bytes_that_wait_for_another_try_go_with_the_document(server: Running) -> None:
    ingested(server, ("wait.pdf", pdf("wait")))
    failed = ingested(server, ("wait.pdf", pdf("wait", 3)[:700]))
    waiting = folder_of(server) / "files" / ".incoming" / failed["id"]
    assert waiting.is_dir()
    assert server.http.delete("/v1/documents/wait.pdf").status_code == 200
    assert not waiting.exists()
    job = server.http.get(f"/v1/jobs/{failed['id']}").json()
    assert "wait.pdf" not in str(job)
    assert server.http.post(f"/v1/jobs/{failed['id']}/retry").status_code == 409


def test_one_of_two_names_is_deleted(server: Running) -> None:
    ingested(
        server,
        ("left/copy.txt", b"The same text stands here twice."),
        ("right/copy.txt", b"The same text stands here twice."),
    )
    assert server.http.delete("/v1/documents/left/copy.txt").json()["erased"]["removed"] == ["left/copy.txt"]
    assert server.http.get("/v1/documents/right/copy.txt").json()["files"] == ["right/copy.txt"]
    assert server.http.get("/v1/documents/right/copy.txt/file").status_code == 200


def test_files_from_elsewhere_are_their_owners(server: Running, tmp_path: Path) -> None:
    (tmp_path / "mine.pdf").write_bytes(pdf("mine"))
    code = f"from ragapp.rag import Rag\nwith Rag.open({str(folder_of(server))!r}, embedder__name='hashing') as rag:" \
        f" rag.add({str(tmp_path)!r})"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, env=child_environment())
    assert server.http.get("/v1/documents/mine.pdf/file").content == pdf("mine")
    assert server.http.delete("/v1/documents/mine.pdf").status_code == 200
    assert (tmp_path / "mine.pdf").is_file()


def test_nothing_is_deleted_while_another_process_writes(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragapp.server.documents.LOCKED_S", 0.2)
    ingested(server, ("busy.pdf", pdf("busy")))
    with written_by_another(folder_of(server)):
        refused = server.http.delete("/v1/documents/busy.pdf")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "library_locked")
    assert "busy.pdf" in names(server)


def test_the_other_doors_do_not_trip_over_uploads(tmp_path: Path) -> None:
    where = tmp_path / "library"
    with library(where) as server:
        ingested(server, ("a/one.pdf", pdf("one")), ("two.txt", b"The second document speaks of valves."))
        ingested(server, ("torn.pdf", pdf("torn", 3)[:700]))
    with Rag.open(where, embedder__name="hashing") as rag:
        assert list(rag.doctor()) == []
        manifest = rag.export(tmp_path / "parcel.ragapp")
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "three.txt").write_text("The third document speaks of hoses.", encoding="utf-8")
        assert rag.sync([tmp_path / "docs"]).added == 1
        assert len(rag.documents()) == 3
        # Out by another door: the file that was uploaded goes, too.
        assert rag.remove("two.txt").traces == 0
        assert not (where / "files/two.txt").exists()
        assert (where / "files/a/one.pdf").is_file()
    config = Rag.open(where, embedder__name="hashing")
    checkup = mend(where, config.config)
    config.close()
    assert checkup.findings == ()
    assert Rag.import_from(tmp_path / "parcel.ragapp", tmp_path / "copy").documents == manifest.documents
