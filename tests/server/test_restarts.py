"""Servers that end, in good order or not: nothing that was accepted is lost, and nothing is there twice."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.libraries import child_environment
from tests.server.conftest import Running, until
from tests.server.desks import finished, ingested, job_of, library, listening, names, pdf, upload, written_by_another
from tests.server.killing import kill_again_and_again
from tests.server.slow import NAME as SLOW

SLOW_PDF = pdf("work that goes slowly", 300)


def test_jobs_go_on_with_the_next_server(tmp_path: Path) -> None:
    where = tmp_path / "library"
    with library(where, embedder__name=SLOW) as server:
        over = ingested(server, ("over.pdf", pdf("over")))
        running = upload(server, ("quick.pdf", pdf("quick")), ("slow.pdf", SLOW_PDF))
        queued = upload(server, ("queued.pdf", pdf("queued")))
        until(lambda: (job_of(server, running)["progress"] or {}).get("stage") == "embed")
        until(lambda: "quick.pdf" in names(server))
        with listening(server, f"/v1/jobs/{running}/events") as events:
            heard = events.next()[1]
        began = time.monotonic()
    assert time.monotonic() - began < 3
    with library(where) as server:  # an embedder with the same vectors, and in no hurry to be slow
        job = finished(server, running)
        assert (job["state"], job["attempt"]) == ("done", 2)
        assert [file["state"] for file in job["files"]] == ["done", "done"]
        assert finished(server, queued)["attempt"] == 1
        assert names(server) == ["over.pdf", "queued.pdf", "quick.pdf", "slow.pdf"]
        assert job_of(server, over["id"]) == over
        with listening(server, f"/v1/jobs/{running}/events", heard=heard) as events:
            told = events.all()
        assert told[-1][2]["state"] == "done"
        assert told[-1][1] > heard
        assert not list((where / "files" / ".incoming").glob("*"))


def test_open_streams_end_with_the_server(tmp_path: Path) -> None:
    ended = threading.Event()

    def listen(server: Running) -> None:
        with listening(server, "/v1/events") as events:
            events.all()
        ended.set()

    with library(tmp_path / "library") as server:
        thread = threading.Thread(target=listen, args=(server,))
        thread.start()
        until(lambda: len(server.server.config.app.state.house.default.jobs.feeds) == 1)  # type: ignore[union-attr]
        began = time.monotonic()
        server.server.should_exit = True
        assert ended.wait(5)
        assert time.monotonic() - began < 1
        thread.join()


def test_another_server_over_the_same_library_takes_no_uploads(tmp_path: Path) -> None:
    with library(tmp_path / "library") as first:
        assert ingested(first, ("a.pdf", pdf("a")))["state"] == "done"
        with library(tmp_path / "library") as second:
            refused = second.http.post("/v1/documents", files={"file": ("b.pdf", pdf("b"))})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "library_locked")
            assert names(second) == ["a.pdf"]
        assert ingested(first, ("c.pdf", pdf("c")))["state"] == "done"


def test_a_file_that_ends_the_process_is_given_up_and_no_other(tmp_path: Path) -> None:
    where = tmp_path / "library"
    code = (
        "import time\nfrom ragapp.rag import Rag\nfrom ragapp.server.errors import ErrorTable\n"
        "from ragapp.server.house import House\n"
        f"with Rag.open({str(where)!r}, embedder__name={SLOW!r}, ingest__workers=1) as rag:\n"
        "    house = House([rag], ErrorTable())\n    house.start()\n"
        "    while not all(job.is_final for job in house.default.jobs.all()):\n        time.sleep(0.05)\n"
        "    house.close()"
    )
    files = [(f"{name}.pdf", pdf(name)) for name in ("deadly", "innocent", "other")]
    # Held up by somebody who writes, so that it is not begun here.
    with library(where, embedder__name=SLOW) as server, written_by_another(where, SLOW):
        job_id = upload(server, *files)
        until(lambda: job_of(server, job_id)["state"] == "running")
        server.close()
    deaths = 0
    while subprocess.run([sys.executable, "-c", code], check=False, env=child_environment()).returncode == 9:
        deaths += 1
        assert deaths < 6
    assert deaths in (3, 4)
    with library(where) as server:
        job = job_of(server, job_id)
        states = {file["name"]: file["state"] for file in job["files"]}
        # What was in the library when the process died, and not yet in the book, is kept by the next.
        assert states["deadly.pdf"] == "failed"
        assert {states["innocent.pdf"], states["other.pdf"]} <= {"done", "kept"}
        assert "3 times" in next(file["error"] for file in job["files"] if file["state"] == "failed")
        assert names(server) == ["innocent.pdf", "other.pdf"]


def test_a_server_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The same by hand, more often: ``python -m tests.server.killing --rounds 20``."""
    ends = kill_again_and_again(tmp_path / "library", rounds=2, seed=5)
    assert ends["done"] + ends["kept"] > 0
