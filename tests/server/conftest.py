"""A small library, and servers over it in threads, on free ports of loopback."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.dependencies import models
from openai import OpenAI

from ragapp.rag import Rag
from ragapp.server.app import open_server
from tests.server import flows

PLAY = "tests.server.flows:play"
ServeWith = Callable[..., "Running"]
END_S = 40  # for a server to end: its answers have the time of grace, and some more to be stopped in


class Running:
    """A server in a thread."""

    def __init__(self, rag: Rag, *, aside: bool = False) -> None:
        ready: list[str] = []
        self.server, listener = open_server(rag, ready.append, aside=aside)
        self.gate = self.server.config.app.state.gate  # type: ignore[union-attr]
        self._thread = threading.Thread(target=self.server.run, args=([listener],))
        self._thread.start()
        until(lambda: ready)
        self.url = ready[0]
        self.http = httpx.Client(base_url=self.url, timeout=10)
        self.openai = OpenAI(base_url=f"{self.url}/v1", api_key=rag.config.server.api_key or "none", max_retries=0)

    def ask(self, question: str, **more: object) -> httpx.Response:
        messages = [{"role": "user", "content": question}]
        return self.http.post("/v1/chat/completions", json={"model": "ragapp", "messages": messages, **more})

    @contextmanager
    def streamed(self, question: str) -> Iterator[httpx.Response]:
        body = {"messages": [{"role": "user", "content": question}], "stream": True}
        with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            yield response

    def close(self) -> None:
        self.http.close()
        self.openai.close()
        self.server.should_exit = True
        self._thread.join(END_S)
        assert not self._thread.is_alive()
        _let_go()


def _let_go() -> None:
    """FastAPI remembers functions of thousands of routes, and with them libraries and their models: gigabytes here."""
    for remembered in vars(models).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()


def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is true, and fail when it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of one PDF of two pages."""
    from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

    where = tmp_path_factory.mktemp("served")
    (where / "docs").mkdir()
    canvas = Canvas(str(where / "docs" / "pump.pdf"))
    for line in ("The pump is blue and weighs nine kilograms.", "The warranty of the pump lasts 24 months."):
        canvas.drawString(72, 700, line)
        for row in range(30):  # so that each page is a chunk of its own
            canvas.drawString(72, 660 - 15 * row, f"Line {row} of this page speaks of bolts, seals, hoses and oil.")
        canvas.showPage()
    canvas.save()
    with Rag.open(where / "library", embedder__name="hashing") as rag:
        assert not rag.add([where / "docs"]).failed
    return where / "library"


def copied(library: Path, target: Path) -> Path:
    """A library of one's own, copied by another process: what reads the files of one that is open here, and closes
    them, takes the process's locks on them away, and with these what others believe about them."""
    program = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(library), str(target)], check=True)
    return target


@contextmanager
def served(folder: Path, **flags: Any) -> Iterator[Running]:
    with Rag.open(folder, embedder__name="hashing", server__port=0, **flags) as rag:
        running = Running(rag)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture(scope="session")
def playing(folder: Path) -> Iterator[Running]:
    """A server whose default flow plays scripts."""
    with served(folder, answer__flow=PLAY) as running:
        yield running


@pytest.fixture(scope="session")
def real(folder: Path) -> Iterator[Running]:
    """A server with the real flow and no chat model."""
    with served(folder) as running:
        yield running


@pytest.fixture
def serve_with(folder: Path) -> Iterator[ServeWith]:
    """Starts servers with settings of the test's own, and stops them."""
    with ExitStack() as stack:
        yield lambda **flags: stack.enter_context(served(folder, **flags))


@pytest.fixture(autouse=True)
def _scripts() -> Iterator[None]:
    flows.RELEASE.clear()
    flows.CLOSED.clear()
    yield
    flows.RELEASE.set()
