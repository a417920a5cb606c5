"""The window in a real browser: Debian's Chromium, driven by Playwright, over a server on loopback."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ragapp.rag import Rag
from tests.pdfs import write
from tests.server.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 20_000
REQUIRED = bool(os.environ.get("CI_REQUIRES_BROWSER"))

PROBES = (Path(__file__).parent / "probes.js").read_text(encoding="utf-8").strip()

OpenWindow = Callable[..., "Page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    # Last of all: as long as Playwright runs, so does its event loop in this thread, and nobody else can have one.
    items[:] = [item for item in items if item not in own] + own
    if CHROMIUM or REQUIRED:
        return
    for item in own:
        item.add_marker(pytest.mark.skip(reason="there is no chromium"))


def probe(page: Page, name: str, about: object = None) -> Any:
    """What a function of probes.js finds in the window."""
    return page.evaluate(f"(about) => {PROBES}.{name}(about)", about)


def settle(page: Page, true: str, seconds: float = 20.0) -> None:
    """Wait until an expression is true. Playwright evaluates it in the page, which the window's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({true})"):
        assert time.monotonic() < end, f"not in {seconds} s: {true}"
        page.wait_for_timeout(50)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of three PDFs and a text file, one of them Chinese."""
    where = tmp_path_factory.mktemp("window")
    docs = where / "docs"
    docs.mkdir()
    write(
        docs / "pump.pdf", ["The pump is blue and weighs nine kilograms.", "The warranty of the pump lasts 24 months."]
    )
    write(docs / "valve.pdf", ["The valve opens at five bar of pressure.", "It is made of brass and steel."])
    notes = (
        "# Pump maintenance\n\nThe hose must be replaced every 18 months.\n\n## Storage in winter\n\nStore it dry.\n"
    )
    (docs / "notes.md").write_text(notes, encoding="utf-8")
    with Rag.open(where / "library") as rag:
        assert not rag.add([docs]).failed
    return where / "library"


@contextmanager
def served(folder: Path, *, aside: bool = False, **flags: Any) -> Iterator[Running]:
    with Rag.open(folder, server__port=0, **flags) as rag:
        running = Running(rag, aside=aside)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture(scope="session")
def server(library: Path) -> Iterator[Running]:
    """A server over a small library, which answers with quotes."""
    with served(library) as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Starts servers over a folder, with settings of the test's own."""
    with ExitStack() as stack:
        yield lambda folder, **flags: stack.enter_context(served(folder, **flags))


@pytest.fixture
def window(browser: Browser) -> Iterator[OpenWindow]:
    """Opens a window; at the end of the test, nothing may have been refused by the policy or gone wrong in it."""
    wrong: list[str] = []
    with ExitStack() as stack:

        def open_window(server: Running, *, path: str = "/", **context: Any) -> Page:
            made = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **context})
            stack.callback(made.close)
            page = made.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
            page.goto(server.url + path)
            page.wait_for_selector("#question")
            return page

        yield open_window
    assert wrong == []
