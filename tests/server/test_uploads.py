"""Uploads at the door: names that lead nowhere else, kinds by bytes, limits, and nothing left of what is refused."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragapp.server.errors import Refusal
from ragapp.server.names import MAX_PART_BYTES, clean_name
from tests import offices
from tests.server import desks
from tests.server.conftest import Running, until
from tests.server.desks import finished, ingested, library, names, pdf, post

A_PDF = pdf("upload")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("uploads") / "library"
    with library(folder, server__max_upload_bytes=3_000_000, server__max_upload_files=5) as running:
        yield running


def folder_of(server: Running) -> Path:
    folder: Path = server.server.config.app.state.house.default.rag.folder  # type: ignore[union-attr]
    return folder


def left(server: Running) -> list[str]:
    """What lies in the inbox."""
    return [path.name for path in (folder_of(server) / "files" / ".incoming").glob("*")]


def raw(
    server: Running, body: bytes, kind: str = "multipart/form-data; boundary=xyz", **headers: str
) -> httpx.Response:
    return server.http.post("/v1/documents", content=body, headers={"Content-Type": kind, **headers})


def part(filename: bytes, content: bytes = A_PDF) -> bytes:
    """A part whose file name goes over the wire byte by byte."""
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="' + filename + b'"\r\n\r\n'
    return head + content + b"\r\n"


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../a.pdf", "a/../../b.pdf", "/etc/a.pdf", "//host/a.pdf", "C:a.pdf", "c:/a.pdf", "\\\\host\\share\\a.pdf",
        "..\\a.pdf", "a\\..\\..\\b.pdf", "./a.pdf", "a//b.pdf", "a/", ".hidden.pdf", ".incoming/a.pdf", "x/.git/a.pdf",
        "a\nb.pdf", "a\x00b.pdf", "a\x7f.pdf", "\x1b[31m.pdf", "CON.pdf", "nul", "a/Aux.txt.pdf", "com1.pdf", "LPT9",
        "a.pdf ", " a.pdf", "a./b.pdf", "a.pdf.", "x" * 300 + ".pdf", "d/" * 40 + "a.pdf", "é" * 200 + ".pdf",
        "txt\u202efdp.exe", "~$open.docx", "",
    ],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        clean_name(name)
    assert (refused.value.status, refused.value.code) == (400, "invalid_name")
    assert not any(ord(char) < 32 for char in refused.value.message)


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("a.pdf", "a.pdf"), ("说明书/第一章.pdf", "说明书/第一章.pdf"), ("🧯 plan 👩‍🚒.pdf", "🧯 plan 👩‍🚒.pdf"),
        ("re\u0301sume\u0301.pdf", "résumé.pdf"), ("a\\b\\c.pdf", "a/b/c.pdf"),
        ("What is it? 5:3 \"x\" <y>|*.pdf",) * 2,
        ("a..b...c.pdf", "a..b...c.pdf"), ("-rf.pdf", "-rf.pdf"), ("console.pdf", "console.pdf"), ("עברית.pdf",) * 2,
    ],
)  # fmt: skip
def test_names_that_stay(name: str, cleaned: str) -> None:
    assert clean_name(name, windows=False) == cleaned


def test_names_that_windows_could_not_store() -> None:
    for char in '<>:"|?*':
        with pytest.raises(Refusal):
            clean_name(f"a {char} b.pdf", windows=True)


@given(st.text(st.sampled_from("ab./\\:~ \u0301é说👩\x00\n\u202eC") | st.characters(), max_size=40))
def test_a_name_stays_below_its_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        cleaned = clean_name(name, windows=False)
    except Refusal:
        return
    root = Path("/library/files")
    path = Path(os.path.normpath(root / cleaned))
    assert path.is_relative_to(root)
    assert path != root
    assert path.relative_to(root).as_posix() == cleaned
    assert not any(part.startswith(".") or len(part.encode()) > MAX_PART_BYTES for part in path.relative_to(root).parts)
    assert clean_name(cleaned, windows=False) == cleaned


@pytest.mark.parametrize("name", ["../x.pdf", "/x.pdf", "a/../../x.pdf", "..\\..\\x.pdf", ".incoming/x.pdf", "nul.pdf"])
def test_a_hostile_name_leaves_nothing_behind(server: Running, name: str) -> None:
    before = sorted(folder_of(server).parent.rglob("x.pdf"))
    refused = raw(server, part(name.encode()) + b"--xyz--\r\n")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_name")
    assert sorted(folder_of(server).parent.rglob("x.pdf")) == before
    assert left(server) == []


def test_names_of_all_scripts_are_names_of_documents(server: Running) -> None:
    wanted = ["手册/第一章 说明.pdf", "🧯 plan.pdf", "résumé.pdf", 'a "quoted" name; x=y.pdf', "100%25 [1] #2?&.pdf"]
    files = [(name, pdf(name)) for name in wanted]
    job = ingested(server, *files)
    assert [file["name"] for file in job["files"]] == wanted
    assert {file["state"] for file in job["files"]} == {"done"}
    for name in wanted:
        assert (folder_of(server) / "files" / name).is_file()
        assert name in names(server)


# -- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "status", "says"),
    [
        ("page.png", b"\x89PNG\r\n\x1a\n" + b"x" * 50, 415, "not of a kind that can be read"),
        ("page.pdf", b"\x89PNG\r\n\x1a\n" + b"x" * 50, 415, "not a PDF"),
        ("page.pdf", b"<!doctype html><html>no", 415, "web page"),
        ("tool.txt", b"\x7fELF" + b"\x00" * 90, 415, "a program"),
        ("notes.txt", bytes(range(256)) * 20, 415, "not text"),
        ("old.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, 415, "Office before 2007"),
        ("a.zip", b"PK\x03\x04" + b"\x00" * 90, 415, "not of a kind"),
        ("empty.pdf", b"", 415, "empty"),
        ("data.json", b'{"a": 1}', 415, "rename a copy to .txt"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_bytes(
    server: Running, name: str, content: bytes, status: int, says: str
) -> None:
    refused = post(server, (name, content))
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, "unreadable_file")
    assert says in refused.json()["error"]["message"]
    assert left(server) == []


@pytest.mark.parametrize(
    ("name", "stored"),
    [("letter", "letter.pdf"), ("scan.txt", "scan.txt.pdf"), ("SHOUT.PDF", "SHOUT.PDF"), ("x.bin", "x.bin.pdf")],
)
def test_a_pdf_is_known_whatever_its_name(server: Running, name: str, stored: str) -> None:
    job = ingested(server, (name, pdf(name)))
    assert [(file["name"], file["state"]) for file in job["files"]] == [(stored, "done")]


def test_office_files_and_texts(server: Running, tmp_path: Path) -> None:
    docx = offices.docx((1, "Pumps"), "The blue pump weighs nine kilograms.")
    job = ingested(
        server, ("report.docx", docx), ("report.pdf", docx), ("README", b"Read this first, says the note."),
        ("notes.md", "# 说明\n\n保修期为两年。".encode()),
        ("gb.txt", "保修期为两年，自购买之日起计算。".encode("gb18030")),
    )  # fmt: skip
    assert [(file["name"], file["state"]) for file in job["files"]] == [
        ("report.docx", "done"), ("report.pdf.docx", "done"), ("README.txt", "done"), ("notes.md", "done"),
        ("gb.txt", "done"),
    ]  # fmt: skip


def test_one_bad_file_does_not_keep_out_the_others(server: Running) -> None:
    job = ingested(server, ("good.pdf", pdf("good")), ("bad.exe", b"MZ\x90"))
    assert [(file["name"], file["state"]) for file in job["files"]] == [("good.pdf", "done"), ("bad.exe", "failed")]
    assert "bad.exe is not of a kind" in job["files"][1]["error"]
    assert job["state"] == "done"
    assert left(server) == []


# -- what a body may be -----------------------------------------------------------------------------------------------


def test_bodies_that_are_no_upload(server: Running) -> None:
    whole = part(b"a.pdf") + b"--xyz--\r\n"
    cases = [
        (raw(server, b"{}", "application/json"), 415, "invalid_content_type"),
        (raw(server, whole, "multipart/form-data"), 415, "invalid_content_type"),
        (raw(server, b"", "multipart/form-data; boundary=xyz"), 400, "invalid_multipart"),
        (raw(server, b"something else"), 400, "invalid_multipart"),
        (raw(server, part(b"a.pdf")), 400, "invalid_multipart"),
        (raw(server, whole[:-30]), 400, "invalid_multipart"),
        (raw(server, b"--xyz--\r\n"), 400, "no_file"),
        (raw(server, part(b"") + b"--xyz--\r\n"), 400, "no_file"),
        (raw(server, part(b"a.pdf").replace(b'; filename="a.pdf"', b"") + b"--xyz--\r\n"), 400, "invalid_name"),
        (raw(server, part(b"a.pdf") + part(b"a.pdf") + b"--xyz--\r\n"), 400, "invalid_name"),
        (raw(server, part(b"a.pdf") + b"--xyz\r\n" + b"A" * 9000 + b"\r\n--xyz--\r\n"), 400, "invalid_multipart"),
        (post(server, ("a.pdf", A_PDF), password="x" * 2000), 400, "invalid_value"),
        (post(server, *[(f"{n}.pdf", A_PDF) for n in range(6)]), 413, "too_many_files"),
    ]
    for answer, status, code in cases:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert left(server) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_too_large(server: Running, chunked: bool) -> None:
    body = part(b"a.pdf", A_PDF + b" " * 4_000_000) + b"--xyz--\r\n"
    content: Any = iter([body[at : at + 100_000] for at in range(0, len(body), 100_000)]) if chunked else body
    refused = raw(server, content)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "upload_too_large")
    assert left(server) == []


def test_other_requests_keep_their_own_limit(server: Running) -> None:
    for method, path in (("POST", "/v1/search"), ("PUT", "/v1/documents"), ("POST", "/v1/documents/")):
        answer = server.http.request(
            method, path, content=b" " * 2_000_000, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (404, 405, 413)
    assert server.http.post("/v1/search", json={"question": "x" * 2_000_000}).status_code == 413


def test_a_large_upload_is_not_held_in_memory(tmp_path: Path) -> None:
    size = 150_000_000
    with library(tmp_path / "library") as server:
        blocks = [part(b"big.txt", b"")[:-2], *[b"word " * 200_000] * (size // 1_000_000), b"\r\n--xyz--\r\n"]
        before = resident()
        peak: list[int] = []
        done = threading.Event()

        def measure() -> None:
            while not done.is_set():
                peak.append(resident())
                time.sleep(0.01)

        thread = threading.Thread(target=measure)
        thread.start()
        answer = raw(server, iter(blocks))  # type: ignore[arg-type]
        done.set()
        thread.join()
        assert answer.status_code == 202
        server.http.delete(f"/v1/jobs/{answer.json()['job']['id']}")
        assert max(peak) - before < 60_000_000
        (file,) = answer.json()["job"]["files"]
        assert file["bytes"] == size


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_client_that_leaves_leaves_nothing(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/documents HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 2000000\r\n" \
            "Content-Type: multipart/form-data; boundary=xyz\r\n\r\n"  # fmt: skip
        client.sendall(head.encode() + part(b"gone.pdf")[:500])
        until(lambda: left(server))
    until(lambda: not left(server))
    assert "gone.pdf" not in names(server)


# -- where it goes ----------------------------------------------------------------------------------------------------


def test_the_same_name_again_replaces_the_document(server: Running) -> None:
    first = ingested(server, ("twice/same.pdf", pdf("first")))["files"][0]
    again = ingested(server, ("twice/same.pdf", pdf("first")))["files"][0]
    assert (again["state"], again["document_id"]) == ("kept", first["document_id"])
    second = ingested(server, ("twice/same.pdf", pdf("second")))
    assert second["files"][0]["state"] == "done"
    assert second["report"]["changed"] == 1
    assert names(server).count("twice/same.pdf") == 1
    assert (folder_of(server) / "files/twice/same.pdf").read_bytes() == pdf("second")
    assert left(server) == []


def test_a_bad_file_does_not_replace_a_good_one(server: Running) -> None:
    good = ingested(server, ("stays.pdf", pdf("stays")))["files"][0]
    bad = ingested(server, ("stays.pdf", pdf("stays", 3)[:700]))
    assert bad["state"] == "failed"
    entry = server.http.get("/v1/documents/stays.pdf").json()
    assert (entry["id"], entry["original"]) == (good["document_id"], True)
    assert server.http.get("/v1/documents/stays.pdf/file").content == pdf("stays")


def test_the_same_content_under_two_names(server: Running) -> None:
    job = ingested(server, ("one/copy.pdf", pdf("copy")), ("two/copy.pdf", pdf("copy")))
    assert len({file["document_id"] for file in job["files"]}) == 1
    entry = server.http.get("/v1/documents/one/copy.pdf").json()
    assert entry["files"] == ["one/copy.pdf", "two/copy.pdf"]


def test_a_folder_in_the_place_of_a_file(server: Running) -> None:
    assert ingested(server, ("place.pdf/inner.pdf", pdf("inner")))["state"] == "done"
    job = ingested(server, ("place.pdf", pdf("outer")))
    assert (job["state"], "cannot be stored" in job["files"][0]["error"]) == ("failed", True)
    assert str(folder_of(server)) not in str(job)
    job = ingested(server, ("place.pdf/inner.pdf/x.pdf", pdf("x")))
    assert (job["state"], "cannot be stored" in job["files"][0]["error"]) == ("failed", True)


def test_a_link_out_of_the_folder_is_not_followed(server: Running, tmp_path: Path) -> None:
    (folder_of(server) / "files").mkdir(exist_ok=True)
    (folder_of(server) / "files" / "out").symlink_to(tmp_path)
    job = ingested(server, ("out/escaped.pdf", pdf("escaped")))
    assert job["state"] == "failed"
    assert list(tmp_path.iterdir()) == []


def test_what_no_job_knows_is_swept_at_the_start(tmp_path: Path) -> None:
    with library(tmp_path / "library") as server:
        failed = ingested(server, ("torn.pdf", pdf("torn", 3)[:700]))
    incoming = tmp_path / "library/files/.incoming"
    (incoming / "0123").mkdir()
    (incoming / "0123" / "0").write_bytes(b"half of a file")
    with library(tmp_path / "library") as server:
        assert [path.name for path in incoming.iterdir()] == [failed["id"]]
        assert finished(server, server.http.post(f"/v1/jobs/{failed['id']}/retry").json()["id"])["attempt"] == 2


def test_a_full_disk_is_said_and_leaves_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = left(server)
    with monkeypatch.context() as patch:
        patch.setattr("ragapp.server.uploads.os.fsync", full)
        refused = post(server, ("a.pdf", A_PDF))
    assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
    assert left(server) == before
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patch:
        patch.setattr("ragapp.server.inbox.shutil.disk_usage", lambda _: usage._replace(free=50 << 20))
        assert post(server, ("a.pdf", A_PDF)).status_code == 507
    assert left(server) == before


def test_a_library_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with library(tmp_path / "library") as server:
        access = os.access
        monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK and access(path, mode))
        refused = post(server, ("a.pdf", A_PDF))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "library_read_only")
        assert not (tmp_path / "library/files").exists()


def test_a_job_that_cannot_be_written_down_is_no_job(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragapp.errors import LibraryError
    from ragapp.jobbook import JobBook

    def full(*_: object) -> None:
        raise LibraryError("The disk is full.")

    before, jobs = left(server), len(server.http.get("/v1/jobs").json()["data"])
    with monkeypatch.context() as patch:
        patch.setattr(JobBook, "put", full)
        assert post(server, ("unwritten.pdf", A_PDF)).status_code == 500
    assert left(server) == before
    assert len(server.http.get("/v1/jobs").json()["data"]) == jobs


def test_too_many_uploads_at_once(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragapp.server.inbox.AT_ONCE", 0)
    refused = post(server, ("a.pdf", A_PDF))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")


def test_the_answer_says_where_the_job_is(server: Running) -> None:
    answer = post(server, ("where.pdf", pdf("where")))
    job = answer.json()["job"]
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["kind"], job["attempt"]) == ("queued", "ingest", 1)
    assert server.http.get(answer.headers["location"]).json()["id"] == job["id"]
    assert desks.finished(server, job["id"])["state"] == "done"
