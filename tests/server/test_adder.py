"""Documents that are read by a process of their own: as if the server did it, and the server outlives it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ragapp.embedders import HashingEmbedder
from ragapp.errors import LibraryLocked, NotFound
from ragapp.ingest.chunkers import TokenChunker
from ragapp.ingest.report import Outcome, Progress
from ragapp.rag import Rag
from ragapp.server.adder import Adder, Died, _settings
from ragapp.server.ingesting import Closing
from tests.libraries import child_environment
from tests.server.conftest import Running, until
from tests.server.desks import finished, ingested, job_of, library, names, pdf, upload, written_by_another
from tests.server.slow import NAME as SLOW
from tests.server.slow import OWN, SlowEmbedder


def adder_of(server: Running) -> Adder:
    adder: Adder = server.server.config.app.state.house.default.adder  # type: ignore[union-attr]
    return adder


def process_of(adder: Adder) -> Any:
    assert adder._hand is not None
    return adder._hand._process


def docs(folder: Path, *subjects: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for subject in subjects:
        (folder / f"{subject}.pdf").write_bytes(pdf(subject))
    return [folder / f"{subject}.pdf" for subject in subjects]


def test_what_is_uploaded_is_read_by_another_process_and_found_by_the_server(tmp_path: Path) -> None:
    with library(tmp_path / "library", aside=True) as server:
        locked = ("locked.pdf", pdf("locked", password="wren"))
        job = ingested(server, ("一.pdf", pdf("heron")), ("broken.pdf", b"%PDF-1.7\nno"), locked, password="wren")
        assert {file["name"]: file["state"] for file in job["files"]} == {
            "一.pdf": "done",
            "broken.pdf": "failed",
            "locked.pdf": "done",
        }
        assert job["report"]["added"] == 2
        assert job["report"]["pages"] == 2
        assert str(tmp_path) not in str(job)
        process = process_of(adder_of(server))
        assert process.pid != os.getpid()
        assert process.poll() is None
        found = server.http.post("/v1/search", json={"question": "heron 0", "k": 1}).json()
        assert found["passages"][0]["document"] == "一.pdf"
        until(lambda: server.http.get("/healthz").is_success)
    assert process.poll() is not None, "it ends with the server"


def test_a_file_that_ends_the_process_is_given_up_and_the_server_lives(tmp_path: Path) -> None:
    with library(tmp_path / "library", aside=True, embedder__name=SLOW) as server:
        job = ingested(server, *((f"{name}.pdf", pdf(name)) for name in ("deadly", "innocent", "other")))
        states = {file["name"]: file["state"] for file in job["files"]}
        assert states.pop("deadly.pdf") == "failed"
        assert set(states.values()) <= {"done", "kept"}
        assert "3 times" in next(file["error"] for file in job["files"] if file["state"] == "failed")
        assert job["report"]["added"] + job["report"]["kept"] == 2
        assert names(server) == ["innocent.pdf", "other.pdf"]
        assert ingested(server, ("next.pdf", pdf("next")))["state"] == "done"


def test_a_job_is_cancelled_and_a_locked_library_waited_for(tmp_path: Path) -> None:
    where = tmp_path / "library"
    with library(where, aside=True, embedder__name=SLOW) as server:
        assert ingested(server, ("first.pdf", pdf("first")))["state"] == "done"
        with written_by_another(where, SLOW):
            waiting = upload(server, ("second.pdf", pdf("second")))
            until(lambda: (job_of(server, waiting)["progress"] or {}).get("stage") == "waiting")
        assert finished(server, waiting)["state"] == "done"
        job_id = upload(server, *((f"slowly {number}.pdf", pdf(f"slowly {number}", 3)) for number in range(20)))
        until(lambda: (job_of(server, job_id)["progress"] or {}).get("stage") == "embed", 20)
        assert server.http.delete(f"/v1/jobs/{job_id}").is_success
        assert finished(server, job_id)["state"] == "cancelled"
        process = process_of(adder_of(server))
        assert ingested(server, ("third.pdf", pdf("third")))["state"] == "done"
        assert process_of(adder_of(server)) is process, "one that was stopped in good order goes on"


def test_a_server_that_ends_takes_it_along_and_the_next_goes_on(tmp_path: Path) -> None:
    where = tmp_path / "library"
    files = [(f"slowly {number}.pdf", pdf(f"slowly {number}")) for number in range(12)]
    with library(where, aside=True, embedder__name=SLOW) as server:
        job_id = upload(server, *files)
        until(lambda: any(file["state"] == "done" for file in job_of(server, job_id)["files"]), 20)
        process = process_of(adder_of(server))
    assert process.poll() is not None
    with library(where, aside=True, embedder__name=SLOW) as server:
        job = finished(server, job_id, 30)
        assert {file["state"] for file in job["files"]} <= {"done", "kept"}
        assert len(names(server)) == 12


def test_it_ends_when_nobody_asks_and_comes_again(tmp_path: Path) -> None:
    first, second = docs(tmp_path / "docs", "first", "second")
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        adder = Adder(rag, within=False, idle=0.2)
        try:
            told: list[Progress] = []
            outcomes: list[Outcome] = []
            adder.prepare()
            report = adder.add([first], below=tmp_path / "docs", progress=told.append, on_file=outcomes.append)
            assert (report.added, report.failed) == (1, [])
            assert [outcome.state for outcome in outcomes] == ["reading", "added"]
            assert told[-1].stage == "done"
            assert told[-1].files_done == 1
            adder.publish_caches()
            before = process_of(adder)
            until(lambda: before.poll() is not None)
            assert adder.add([second]).added == 1
            assert process_of(adder) is not before
            with pytest.raises(NotFound, match="nowhere"):
                adder.add([tmp_path / "nowhere"])
            with rag.catalog.writing(), pytest.raises(LibraryLocked):
                adder.add([first])
        finally:
            adder.close()
        with pytest.raises(Died):
            adder.add([first])
        assert len(rag.search("first 0", 5)) == 2


def test_one_that_was_made_ready_for_nothing_ends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = docs(tmp_path / "docs", "one")
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        adder = Adder(rag, within=False, idle=0.2)
        try:
            adder.prepare()
            process = process_of(adder)
            until(lambda: process.poll() is not None)
            # As if it had ended a moment later: when it was just to be asked.
            with monkeypatch.context() as patch:
                patch.setattr(type(adder._hand), "is_alive", property(lambda hand: patch.undo() or True))
                assert adder.add([path]).added == 1
            assert process_of(adder) is not process, "and it was not done within"
        finally:
            adder.close()


def test_what_goes_wrong_in_who_listens_stops_it(tmp_path: Path) -> None:
    paths = docs(tmp_path / "docs", *(f"slowly {number}" for number in range(8)))
    with Rag.open(tmp_path / "library", embedder__name=SLOW) as rag:
        adder = Adder(rag, within=False)
        outcomes: list[Outcome] = []

        def cancelled() -> bool:
            if any(outcome.state == "added" for outcome in outcomes):
                raise Closing("The server is shutting down.")
            return False

        try:
            with pytest.raises(Closing):
                adder.add(paths, on_file=outcomes.append, cancelled=cancelled)
            assert 1 <= len(rag.catalog.entries()) < 8
            # Nothing of it is in the way of the next.
            assert adder.add(paths).failed == []
            assert len(rag.catalog.entries()) == 8
        finally:
            adder.close()


@pytest.mark.parametrize("kind", ["embedder", "chunker"])
def test_parts_that_only_this_process_knows_are_used_in_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unheard() -> object:
        return SlowEmbedder() if kind == "embedder" else TokenChunker(HashingEmbedder())

    monkeypatch.setattr("tests.server.slow.unheard", unheard, raising=False)
    names = {"embedder__name": "hashing", f"{kind}__name": "tests.server.slow:unheard"}
    with Rag.open(tmp_path / "library", **names) as rag:
        adder = Adder(rag, within=False)
        try:
            with caplog.at_level(logging.WARNING):
                assert adder.add(docs(tmp_path / "docs", "one")).added == 1
            assert "Documents are read by the server itself" in caplog.text
            assert "unheard" in caplog.text
            adder.publish_caches()
            assert adder.add(docs(tmp_path / "docs", "two")).added == 1
        finally:
            adder.close()


def test_a_part_of_the_users_own_has_its_settings(tmp_path: Path) -> None:
    with library(tmp_path / "library", aside=True, embedder__name=OWN, embedder__prefix="mine") as server:
        assert ingested(server, ("a.pdf", pdf("heron")))["state"] == "done"
        assert process_of(adder_of(server)).poll() is None, "it was not read within"
        found = server.http.post("/v1/search", json={"question": "heron 0", "k": 1}).json()
        assert found["passages"][0]["document"] == "a.pdf"


def test_it_ends_whatever_threads_are_left(tmp_path: Path) -> None:
    with Rag.open(tmp_path / "library", embedder__name=OWN, embedder__prefix="rude") as rag:
        adder = Adder(rag, within=False, idle=0.2)
        try:
            assert adder.add(docs(tmp_path / "docs", "one")).added == 1
            process = process_of(adder)
            until(lambda: process.poll() is not None)
            assert adder.add(docs(tmp_path / "docs", "two")).added == 1
        finally:
            adder.close()


def test_an_object_among_the_settings_is_used_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Rag.open(tmp_path / "library", embedder__name=OWN, embedder__prefix=Unsayable()) as rag:
        adder = Adder(rag, within=False)
        try:
            adder.prepare()
            process = process_of(adder)
            assert adder.add(docs(tmp_path / "docs", "one")).added == 1
            assert "Documents are read by the server itself" in caplog.text
            assert process.poll() is not None
        finally:
            adder.close()


class Unsayable:
    """A setting that cannot be told to another process."""


def test_a_process_that_dies_while_it_starts_is_followed_by_another(tmp_path: Path) -> None:
    (path,) = docs(tmp_path / "docs", "one")
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        adder = Adder(rag, within=False)
        try:
            adder.prepare()
            first = process_of(adder)
            os.kill(first.pid, signal.SIGSTOP)
            threading.Timer(0.3, first.kill).start()
            with pytest.raises(Died):
                adder.add([path])
            assert adder.add([path]).added == 1
            second = process_of(adder)
            assert second.pid != first.pid
            # Who ends all processes of a service ends the server first, and it ends with that.
            second.terminate()
            assert adder.add(docs(tmp_path / "docs", "two")).added == 1
            assert process_of(adder) is second
            adder.rest()
            assert second.poll() is not None
        finally:
            adder.close()


def test_a_start_that_hangs_holds_up_no_end(tmp_path: Path) -> None:
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        adder = Adder(rag, within=False)
        adder.prepare()
        process = process_of(adder)
        os.kill(process.pid, signal.SIGSTOP)

        def closing() -> bool:
            raise Closing("The server is shutting down.")

        try:
            with pytest.raises(Closing):
                adder.add(docs(tmp_path / "docs", "one"), cancelled=closing)
            assert process.poll() is not None
        finally:
            adder.close()


def test_nothing_that_was_deleted_stays_in_its_hands(tmp_path: Path) -> None:
    with library(tmp_path / "library", aside=True) as server:
        assert ingested(server, ("a.pdf", pdf("heron")), ("b.pdf", pdf("gull")))["state"] == "done"
        process = process_of(adder_of(server))
        assert server.http.delete("/v1/documents/a.pdf").is_success
        until(lambda: process.poll() is not None)  # at once, unless it was still at its last order
        assert ingested(server, ("c.pdf", pdf("tern")))["state"] == "done"
        assert names(server) == ["b.pdf", "c.pdf"]


def test_it_ends_after_the_order_in_the_middle_of_which_it_was_to_rest(tmp_path: Path) -> None:
    paths = docs(tmp_path / "docs", *(f"slowly {number}" for number in range(4)))
    with Rag.open(tmp_path / "library", embedder__name=SLOW) as rag:
        adder = Adder(rag, within=False)
        try:
            used: list[Any] = []

            def told(outcome: Outcome) -> None:
                used.append(process_of(adder))
                adder.rest()

            assert adder.add(paths, on_file=told).added == 4
            assert len(set(used)) == 1
            assert used[0].poll() is not None
            assert adder.add(docs(tmp_path / "docs", "next")).added == 1
            assert process_of(adder).poll() is None, "that was for the one before"
        finally:
            adder.close()


def test_it_is_told_only_what_it_needs(tmp_path: Path) -> None:
    with Rag.open(tmp_path / "library", embedder__name="hashing", server__api_key="secret", ingest__workers=2) as rag:
        told = _settings(rag.config)
        assert {key: told[key] for key in told if key != "sources"} == {
            "embedder": {"name": "hashing"},
            "ingest": {"workers": 2},
        }
        assert set(told["sources"]) == {"embedder.name", "ingest.workers"}


def test_it_does_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom ragapp.rag import Rag\nfrom ragapp.server.adder import Adder\n"
        f"rag = Rag.open({str(tmp_path / 'library')!r}, embedder__name={SLOW!r})\n"
        "adder = Adder(rag, within=False)\n"
        "def told(outcome): print(adder._hand._process.pid, flush=True)\n"
        f"adder.add([{str(tmp_path / 'docs')!r}], on_file=told)\n"
    )
    docs(tmp_path / "docs", *(f"slowly {number}" for number in range(40)))
    server = subprocess.Popen([sys.executable, "-c", code], env=child_environment(), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server.stdout:
        pid = int(server.stdout.readline())
        os.kill(server.pid, signal.SIGKILL)
        server.wait()

    def is_gone() -> bool:
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"

    with written_by_another(tmp_path / "library", SLOW):  # as soon as it does not write any more
        until(is_gone)
    with Rag.open(tmp_path / "library", embedder__name=SLOW) as rag:
        assert rag.add([tmp_path / "docs"]).failed == []
        assert len(rag.catalog.entries()) == 40


def test_time_is_for_who_waits(tmp_path: Path) -> None:
    """It has a lower priority than the server, where there are such."""
    if not hasattr(os, "getpriority"):
        pytest.skip("no priorities here")
    with Rag.open(tmp_path / "library", embedder__name="hashing") as rag:
        adder = Adder(rag, within=False)
        try:
            adder.add(docs(tmp_path / "docs", "one"))
            pid = process_of(adder).pid
            assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
            assert os.getpgid(pid) != os.getpgid(0), "Ctrl-C in a terminal is not for it"
            assert os.getsid(pid) == os.getsid(0)
        finally:
            adder.close()
