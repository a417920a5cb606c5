"""The end: a real process that is told to stop while it streams, reads documents and is listened to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragapp.rag import Rag
from tests.server.conftest import PLAY, copied, until

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


class Process:
    """`ragapp serve`."""

    def __init__(self, library: Path, **settings: object) -> None:
        flags = [f"--set={name.replace('__', '.')}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "ragapp.cli", "serve", "--library", str(library), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--set=embedder.name=hashing", f"--set=answer.flow={PLAY}", *flags],
            cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr
        found = re.search(r"http://[\d.:]+", self.process.stderr.readline())
        assert found
        self.http = httpx.Client(base_url=found.group(), timeout=30)

    def stop(self, seconds: float) -> str:
        """End it by SIGTERM; what it has written to standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, error = self.process.communicate(timeout=seconds)
        return error


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Path:
    return copied(folder, tmp_path / "library")


@pytest.fixture
def serve(library: Path) -> Iterator[Any]:
    made: list[Process] = []

    def start(**settings: object) -> Process:
        made.append(Process(library, **settings))
        return made[-1]

    yield start
    for each in made:
        each.http.close()
        each.process.kill()
        with suppress(ValueError):  # it was read to its end already
            each.process.communicate()


class Reader(threading.Thread):
    """Reads a stream to its end."""

    def __init__(self, process: Process, method: str, path: str, **more: Any) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.text = ""
        self._ask = (process, method, path, more)
        self.start()
        assert self.begun.wait(10)

    def run(self) -> None:
        process, method, path, more = self._ask
        with (
            suppress(httpx.RemoteProtocolError),  # who is ended at once says no good-bye
            httpx.Client(base_url=process.http.base_url, timeout=30) as http,
            http.stream(method, path, **more) as response,
        ):
            for piece in response.iter_text():
                self.text += piece
                self.begun.set()


def _ask(process: Process, question: str) -> Reader:
    return Reader(process, "POST", "/v1/ask", json={"question": question})


def test_in_the_middle_of_everything_it_ends_in_time_and_leaves_nothing(serve: Any, library: Path) -> None:
    process = serve(server__grace_seconds=1, server__seats=1)
    streaming = _ask(process, "held")
    waiting = _ask(process, "short")
    listening = Reader(process, "GET", "/v1/events")
    text = b" ".join(b"word%d is a word." % number for number in range(40_000))
    files = [("file", (f"{number}.txt", text + b"%d" % number)) for number in range(12)]
    assert process.http.post("/v1/documents", files=files).status_code == 202
    until(lambda: process.http.get("/v1/jobs").json()["data"][0]["state"] == "running", 10)
    started = time.monotonic()
    error = process.stop(25)
    assert process.process.returncode == 0, error
    assert "Traceback" not in error
    for reader in (streaming, waiting, listening):
        reader.join(5)
        assert not reader.is_alive()
    assert '"code":"shutting_down"' in streaming.text
    assert '"code":"shutting_down"' in waiting.text
    assert time.monotonic() - started < 20
    with Rag.open(library, embedder__name="hashing") as rag, rag.catalog.writing():
        pass  # nobody holds the lock


def test_an_answer_may_end_within_the_time_of_grace(serve: Any) -> None:
    process = serve(server__grace_seconds=10)
    streaming = _ask(process, "slow")  # two seconds
    assert process.stop(15) == ""
    streaming.join(5)
    assert "event: done" in streaming.text
    assert process.process.returncode == 0


def test_while_it_ends_nobody_is_let_in(serve: Any) -> None:
    process = serve(server__grace_seconds=2)
    with httpx.Client(base_url=process.http.base_url) as kept:
        kept.get("/healthz")
        streaming = _ask(process, "held")
        started = time.monotonic()
        process.stop(15)
        assert time.monotonic() - started > 1.5
        with pytest.raises(httpx.HTTPError):
            kept.get("/readyz")
    streaming.join(5)


def test_a_second_signal_ends_it_at_once(serve: Any) -> None:
    process = serve(server__grace_seconds=30)
    streaming = _ask(process, "held")
    process.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.process.poll() is None
    process.process.send_signal(signal.SIGINT)
    assert process.process.wait(10) == 0
    streaming.join(5)
    assert "event: done" not in streaming.text
