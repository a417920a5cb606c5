"""Jobs at the door: followed, cancelled, tried again, gone on with, and told of what others do."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ragapp.errors import ModelError
from ragapp.server.feeds import MOST
from tests.libraries import child_environment
from tests.server.conftest import Running, until
from tests.server.desks import (
    Events,
    finished,
    ingested,
    job_of,
    library,
    listening,
    names,
    pdf,
    upload,
    written_by_another,
)
from tests.server.slow import NAME as SLOW

SLOW_PDF = pdf("work that goes slowly", 300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with library(tmp_path_factory.mktemp("jobs") / "library", embedder__name=SLOW) as running:
        yield running


def stored(server: Running) -> Path:
    folder: Path = server.server.config.app.state.house.default.rag.folder  # type: ignore[union-attr]
    return folder / "files"


def test_a_job_is_told_from_its_beginning_to_its_end(server: Running) -> None:
    job_id = upload(server, ("told.pdf", pdf("told", 3)))
    with listening(server, f"/v1/jobs/{job_id}/events") as events:
        told = events.all()
    assert {kind for kind, _, _ in told} == {"job"}
    numbers = [number for _, number, _ in told]
    assert numbers == sorted(set(numbers))
    last = told[-1][2]
    assert (last["state"], last["attempt"], last["kind"], last["collection"]) == ("done", 1, "ingest", "library")
    assert last["report"]["added"] == 1
    assert last["report"]["pages"] == 3
    (file,) = last["files"]
    assert (file["name"], file["state"], file["error"]) == ("told.pdf", "done", None)
    assert file["document_id"] == server.http.get("/v1/documents/told.pdf").json()["id"]
    assert last["created"] <= last["started"] <= last["ended"]
    assert last == job_of(server, job_id)


def test_progress_is_told_and_no_more_than_five_times_a_second(server: Running) -> None:
    job_id = upload(server, ("progress.pdf", SLOW_PDF))
    with listening(server, f"/v1/jobs/{job_id}/events") as events:
        begin = time.monotonic()
        told = [(time.monotonic() - begin, *events.next()) for _ in range(8)]
    server.http.delete(f"/v1/jobs/{job_id}")
    finished(server, job_id)
    seen = [job["progress"] for _, _, _, job in told if job["progress"]]
    assert all(progress["file"] == "progress.pdf" for progress in seen)
    assert [each["fraction"] for each in seen] == sorted(each["fraction"] for each in seen)
    assert {"read"} <= {each["stage"] for each in seen} | {"embed"}
    assert seen[-1]["of_pages"] == 300
    assert told[-1][0] > 0.9  # seven gaps of 0.2 s, less the jitter of a busy machine


def test_who_comes_back_hears_only_what_is_new(server: Running) -> None:
    job_id = upload(server, ("again.pdf", pdf("again")))
    finished(server, job_id)
    with listening(server, f"/v1/jobs/{job_id}/events") as events:
        told = events.all()
    last = told[-1][1]
    with listening(server, f"/v1/jobs/{job_id}/events", heard=last - 1) as events:
        assert [number for _, number, _ in events.all()] == [last]
    over = server.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(last)})
    assert (over.status_code, over.content) == (204, b"")


def test_a_running_job_is_cancelled_at_once_and_leaves_nothing(server: Running) -> None:
    job_id = upload(server, ("fast.pdf", pdf("fast")), ("cancelled.pdf", SLOW_PDF))
    until(lambda: (job_of(server, job_id)["progress"] or {}).get("stage") == "embed" and "fast.pdf" in names(server))
    began = time.monotonic()
    assert server.http.delete(f"/v1/jobs/{job_id}").status_code == 202
    job = finished(server, job_id)
    assert time.monotonic() - began < 2.0  # half a second, on a machine that has nothing else to do
    assert job["state"] == "cancelled"
    assert [file["state"] for file in job["files"]] == ["done", "cancelled"]
    assert job["progress"] is None
    assert "fast.pdf" in names(server)
    assert "cancelled.pdf" not in names(server)
    assert not (stored(server) / "cancelled.pdf").exists()
    drafts = server.http.get("/v1/documents/cancelled.pdf")
    assert drafts.status_code == 404


def test_a_queued_job_is_cancelled_and_tried_again(server: Running) -> None:
    first = upload(server, ("first.pdf", SLOW_PDF))
    second = upload(server, ("second.pdf", pdf("second")))
    until(lambda: job_of(server, first)["state"] == "running")
    with listening(server, f"/v1/jobs/{second}/events") as events:
        _, heard, queued = events.next()
    assert queued["state"] == "queued"
    with listening(server, f"/v1/jobs/{second}/events", heard=heard) as events:
        cancelled = server.http.delete(f"/v1/jobs/{second}").json()
        assert [job["state"] for _, _, job in events.all()] == ["cancelled"]  # and not once more that it is queued
    assert cancelled["state"] == "cancelled"
    assert cancelled["files"][0]["state"] == "cancelled"
    again = server.http.post(f"/v1/jobs/{second}/retry")
    assert again.status_code == 202
    assert (again.json()["state"], again.json()["attempt"]) == ("queued", 2)
    assert server.http.post(f"/v1/jobs/{second}/retry").status_code == 409
    server.http.delete(f"/v1/jobs/{first}")
    assert finished(server, second)["state"] == "done"
    assert finished(server, first)["state"] == "cancelled"
    assert server.http.delete(f"/v1/jobs/{second}").json()["state"] == "done"
    assert server.http.post(f"/v1/jobs/{second}/retry").status_code == 409


def test_an_encrypted_pdf_asks_for_its_password(server: Running) -> None:
    job_id = upload(server, ("locked.pdf", pdf("locked", password="sesame")), ("open.pdf", pdf("open")))
    job = finished(server, job_id)
    locked, opened = job["files"]
    assert (job["state"], opened["state"]) == ("done", "done")
    assert (locked["state"], locked["needs_password"]) == ("failed", True)
    assert "needs a password" in locked["error"]
    wrong = finished(server, server.http.post(f"/v1/jobs/{job_id}/retry", json={"password": "x"}).json()["id"])
    assert wrong["files"][0]["needs_password"]
    assert "none of the passwords" in wrong["files"][0]["error"]
    server.http.post(f"/v1/jobs/{job_id}/retry", json={"password": "sesame"})
    right = finished(server, job_id)
    assert (right["state"], right["attempt"]) == ("done", 3)
    assert (right["files"][0]["state"], right["files"][0]["needs_password"]) == ("done", False)
    assert "locked.pdf" in names(server)


def test_a_password_can_come_with_the_upload_and_is_not_kept(server: Running) -> None:
    job = ingested(server, ("sealed.pdf", pdf("sealed", password="o-p-e-n")), password="o-p-e-n")
    assert job["files"][0]["state"] == "done"
    assert "o-p-e-n" not in str(job)
    for path in stored(server).parent.glob("desk.sqlite*"):
        assert b"o-p-e-n" not in path.read_bytes()


def test_a_damaged_file_says_why_and_stays_out(server: Running) -> None:
    torn = pdf("torn", 5)[:900]
    job = ingested(server, ("torn.pdf", torn))
    (file,) = job["files"]
    assert (job["state"], file["state"], file["needs_password"]) == ("failed", "failed", False)
    assert "damaged" in file["error"]
    assert job["error"]["message"] == file["error"]
    assert str(stored(server)) not in str(job)
    assert not (stored(server) / "torn.pdf").exists()


def test_jobs_are_listed_newest_first(server: Running) -> None:
    made = [upload(server, (f"list{n}.pdf", pdf(f"list{n}"))) for n in range(3)]
    for job_id in made:
        finished(server, job_id)
    listed = [job["id"] for job in server.http.get("/v1/jobs").json()["data"]]
    assert listed[:3] == made[::-1]
    assert server.http.get("/v1/jobs", params={"active": True}).json()["data"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/events")])
def test_an_unknown_job(server: Running, method: str, path: str) -> None:
    answer = server.http.request(method, f"/v1/jobs/nothing{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_two_uploads_at_once(server: Running) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(upload(server, (f"both{n}.pdf", pdf(f"both{n}", 20)))))
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [finished(server, job_id)["state"] for job_id in found] == ["done", "done"]
    assert {"both0.pdf", "both1.pdf"} <= set(names(server))


def test_old_jobs_are_forgotten_with_what_they_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragapp.server.jobs.KEPT", 2)
    with library(tmp_path / "library") as server:
        torn = ingested(server, ("torn.pdf", pdf("torn", 3)[:700]))["id"]
        assert (stored(server) / ".incoming" / torn).is_dir()
        more = [ingested(server, (f"{n}.pdf", pdf(f"{n}")))["id"] for n in range(3)]
        listed = [job["id"] for job in server.http.get("/v1/jobs").json()["data"]]
        assert listed == more[::-1]
        assert server.http.get(f"/v1/jobs/{torn}").status_code == 404
        assert not (stored(server) / ".incoming" / torn).exists()
    monkeypatch.setattr("ragapp.server.jobs.KEPT_DAYS", -1)
    with library(tmp_path / "library") as server:
        assert server.http.get("/v1/jobs").json()["data"] == []
        assert names(server) == ["0.pdf", "1.pdf", "2.pdf"]


# -- the whole window's stream ----------------------------------------------------------------------------------------


def next_of(events: Events, kind: str) -> tuple[int, Any]:
    while True:
        found, number, data = events.next()
        if found == kind:
            return number, data


def test_one_stream_tells_of_jobs_and_of_the_library(server: Running) -> None:
    with listening(server, "/v1/events") as events:
        kind, number, before = events.next()
        assert (kind, number) == ("library", 0)
        assert set(before) == {"generation", "documents", "pages", "chunks"}
        job_id = upload(server, ("window.pdf", pdf("window", 2)))
        number, job = next_of(events, "job")
        assert job["id"] == job_id
        while (after := next_of(events, "library")[1])["documents"] == before["documents"]:
            pass
    assert after["documents"] == before["documents"] + 1
    assert after["pages"] == before["pages"] + 2
    assert after["generation"] > before["generation"]
    finished(server, job_id)
    with listening(server, "/v1/events", heard=number) as events:
        assert next_of(events, "job")[1]["state"] == "done"


def test_a_stream_begins_with_the_jobs_at_work(server: Running) -> None:
    job_id = upload(server, ("present.pdf", SLOW_PDF))
    until(lambda: job_of(server, job_id)["state"] == "running")
    with listening(server, "/v1/events", heard=10**15) as events:
        assert next_of(events, "job")[1]["id"] == job_id
    server.http.delete(f"/v1/jobs/{job_id}")
    finished(server, job_id)


def test_an_ingest_of_another_process_is_seen(server: Running, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.pdf").write_bytes(pdf("elsewhere"))
    folder = stored(server).parent
    code = f"from ragapp.rag import Rag\nwith Rag.open({str(folder)!r}, embedder__name={SLOW!r}) as rag:" \
        f" rag.add({str(tmp_path)!r})"  # fmt: skip
    with listening(server, "/v1/events") as events:
        before = next_of(events, "library")[1]["documents"]
        subprocess.run([sys.executable, "-c", code], check=True, env=child_environment(), cwd=Path.cwd())
        while next_of(events, "library")[1]["documents"] == before:
            pass
    assert "elsewhere.pdf" in names(server)


def test_a_job_waits_for_another_process_that_writes(server: Running) -> None:
    folder = stored(server).parent
    with written_by_another(folder, SLOW):
        job_id = upload(server, ("patient.pdf", pdf("patient")))
        until(lambda: (job_of(server, job_id)["progress"] or {}).get("stage") == "waiting")
        time.sleep(0.4)
        assert job_of(server, job_id)["state"] == "running"
    assert finished(server, job_id)["state"] == "done"


def test_there_is_a_limit_to_listeners(server: Running) -> None:
    feeds = server.server.config.app.state.house.default.jobs.feeds  # type: ignore[union-attr]
    until(lambda: len(feeds) == 0)
    open_now = [server.http.send(server.http.build_request("GET", "/v1/events"), stream=True) for _ in range(MOST)]
    refused = server.http.get("/v1/events")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    for response in open_now:
        assert response.status_code == 200
        response.close()
    until(lambda: len(feeds) == 0)
    assert server.http.get("/v1/jobs").status_code == 200


# -- work of other kinds ----------------------------------------------------------------------------------------------


Work = Callable[[Callable[[Mapping[str, Any]], None], Callable[[], bool]], object]


def started(server: Running, work: Work) -> str:
    jobs = server.server.config.app.state.house.default.jobs  # type: ignore[union-attr]
    job_id: str = jobs.start("download", work)["id"]
    return job_id


def test_other_work_reports_and_ends(server: Running) -> None:
    go_on = threading.Event()

    def work(report: Callable[[Mapping[str, Any]], None], cancelled: Callable[[], bool]) -> object:
        report({"stage": "download", "fraction": 0.5, "bytes": 7})
        go_on.wait(5)
        return {"folder": "there"}

    job_id = started(server, work)
    until(lambda: job_of(server, job_id)["progress"])
    progress = job_of(server, job_id)["progress"]
    assert (progress["stage"], progress["fraction"], progress["bytes"], progress["file"]) == ("download", 0.5, 7, None)
    # It does not hold up documents.
    assert ingested(server, ("beside.pdf", pdf("beside")))["state"] == "done"
    go_on.set()
    job = finished(server, job_id)
    assert (job["state"], job["kind"], job["report"], job["files"]) == ("done", "download", {"folder": "there"}, [])


def test_other_work_is_cancelled_fails_and_is_tried_again(server: Running) -> None:
    tries = itertools.count()

    def work(report: Callable[[Mapping[str, Any]], None], cancelled: Callable[[], bool]) -> object:
        if next(tries) == 0:
            raise ModelError("The hub is away.", "Try later.")
        until(cancelled)
        return None

    job_id = started(server, work)
    failed = finished(server, job_id)
    assert (failed["state"], failed["error"]) == ("failed", {"message": "The hub is away.", "hint": "Try later."})
    assert server.http.post(f"/v1/jobs/{job_id}/retry").status_code == 202
    server.http.delete(f"/v1/jobs/{job_id}")
    assert finished(server, job_id)["state"] == "cancelled"


def test_a_bug_in_work_is_not_shown(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    def work(report: Callable[[Mapping[str, Any]], None], cancelled: Callable[[], bool]) -> object:
        raise KeyError("/secret/path")

    job = finished(server, started(server, work))
    assert job["error"] == {"message": "Internal error.", "hint": "The server's log has the details."}
    assert "secret" in caplog.text
    assert ingested(server, ("after.pdf", pdf("after")))["state"] == "done"
