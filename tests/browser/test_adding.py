"""Adding documents in the window: by drop, with progress, through a reload, with a password, and with what fails."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import OpenWindow, probe, settle
from tests.pdfs import write
from tests.server.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Page


def drop(page: Page, *paths: Path) -> None:
    files = [{"name": path.name, "body": base64.b64encode(path.read_bytes()).decode()} for path in paths]
    probe(page, "drop", files)


@pytest.fixture
def empty(tmp_path: Path, serve: Callable[..., Running]) -> Running:
    """A server over a library without documents, which reads them as `ragapp serve` does."""
    return serve(tmp_path / "library", aside=True)


def names(page: Page) -> list[str]:
    return page.locator(".lib-name").all_inner_texts()


def test_five_pdfs_are_dropped_and_asked(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    page = window(empty)
    page.wait_for_selector(".talk-none")
    files = [tmp_path / f"part {number} 水泵.pdf" for number in range(5)]
    for number, file in enumerate(files):
        write(file, [f"Part {number} of the pump weighs {number + 3} kilograms.", "It is made of brass."])
    drop(page, *files)
    page.wait_for_selector(".job")
    settle(page, "document.querySelectorAll('.lib-item').length === 5")
    assert sorted(names(page)) == sorted(file.name for file in files)
    settle(page, "document.querySelectorAll('.job').length === 0")
    page.fill("#question", "How much does part 2 of the pump weigh?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-answer .chip.verified")
    assert "5 kilograms" in page.locator(".talk-answer").inner_text()


def test_a_reload_in_the_middle_of_an_ingest_loses_nothing(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    page = window(empty)
    file = tmp_path / "long.pdf"
    write(file, [f"Page {number} speaks of bolts, seals and hoses number {number}. " * 12 for number in range(70)])
    drop(page, file)
    settle(page, "document.querySelector('.job-parts')?.innerText.match(/page/)")
    page.reload()
    page.wait_for_selector(".job, .lib-item")
    settle(page, "document.querySelectorAll('.lib-item').length === 1", 60)
    assert names(page) == ["long.pdf"]


def test_an_ingest_is_cancelled(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    page = window(empty)
    file = tmp_path / "long.pdf"
    write(file, [f"Page {number} speaks of bolts, seals and hoses number {number}. " * 12 for number in range(400)])
    drop(page, file)
    page.wait_for_selector(".job-parts")
    page.click("[aria-label='Cancel long.pdf']")
    settle(page, "document.querySelector('.job')?.innerText.includes('cancelled') || !document.querySelector('.job')")
    assert names(page) == []


def test_an_encrypted_file_asks_for_its_password(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    plain, locked = tmp_path / "plain.pdf", tmp_path / "locked.pdf"
    write(plain, ["The secret number is 4711."])
    writer = PdfWriter(clone_from=PdfReader(plain))
    writer.encrypt("open sesame", algorithm="AES-256")
    writer.write(locked)
    page = window(empty)
    drop(page, locked)
    page.click("[aria-label='Give the password of locked.pdf']")
    page.fill("dialog input[type=password]", "wrong")
    page.click("dialog button.primary")
    page.wait_for_selector("[aria-label='Give the password of locked.pdf']")
    page.click("[aria-label='Give the password of locked.pdf']")
    page.fill("dialog input[type=password]", "open sesame")
    page.click("dialog button.primary")
    settle(page, "document.querySelectorAll('.lib-item').length === 1")


def test_a_file_that_fails_says_why_and_can_be_put_away(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nthis is all there is")
    page = window(empty)
    drop(page, broken)
    page.wait_for_selector(".job .job-error")
    assert len(page.locator(".job-error").inner_text()) > 20
    page.click("[aria-label='Put broken.pdf away']")
    settle(page, "document.querySelectorAll('.job').length === 0")
    page.reload()
    page.wait_for_timeout(500)
    assert page.locator(".job").count() == 0


def test_a_document_is_told_about_and_removed(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    write(tmp_path / "one.pdf", ["One page.", "Another page of text."])
    page = window(empty)
    drop(page, tmp_path / "one.pdf")
    page.click("[aria-label='About one.pdf']")
    page.wait_for_selector(".lib-run.text")
    page.locator(".lib-about button", has_text="Remove").click()
    page.locator("dialog button.primary").click()
    settle(page, "document.querySelectorAll('.lib-item').length === 0")


def test_hostile_names_stay_text(window: OpenWindow, empty: Running, tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='owned'>.pdf"
    write(tmp_path / "plain.pdf", ["<script>document.title='owned'</script> The seal is red."])
    page = window(empty)
    body = base64.b64encode((tmp_path / "plain.pdf").read_bytes()).decode()
    probe(page, "drop", [{"name": name, "body": body}])
    settle(page, "document.querySelectorAll('.lib-item').length === 1")
    page.fill("#question", "Which colour has the seal?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-answer .talk-actions")
    assert page.title() == "ragapp"
    assert page.locator("img[src=x]").count() == 0


def test_questions_are_limited_to_the_documents_that_are_ticked(window: OpenWindow, server: Running) -> None:
    page = window(server)
    page.click("[aria-label='Ask only valve.pdf']")
    page.fill("#question", "How long does the warranty of the pump last?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-answer .talk-actions")
    sources: list[Any] = page.locator(".talk-answer .chip").all()
    assert all("valve.pdf" in (chip.get_attribute("aria-label") or "") for chip in sources)
    assert "24 months" not in page.locator(".talk-answer").inner_text()
