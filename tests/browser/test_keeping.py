"""What the window keeps while things change around it: the focus, the place, a click, a question, the connection."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import OpenWindow, probe, settle
from tests.pdfs import write
from tests.server.conftest import Running, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

BRISK = "tests.browser.models:brisk"
SLOW = "tests.browser.models:slow"
WRONG = "tests.browser.models:wrong"
WARRANTY = "How long does the warranty of the pump last?"


def ask(page: Page, question: str = WARRANTY) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")


def answered(page: Page, question: str = WARRANTY) -> None:
    ask(page, question)
    page.wait_for_selector(".talk-answer .talk-actions")


def focused(page: Page, of: str = "outerHTML") -> str:
    return str(page.evaluate(f"document.activeElement.{of}"))


def drop(page: Page, files: dict[str, bytes]) -> None:
    probe(page, "drop", [{"name": name, "body": base64.b64encode(body).decode()} for name, body in files.items()])


def test_the_library_goes_by_arrows_and_keeps_the_focus(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(tmp_path / "library"))
    drop(page, {f"note {number}.txt": f"Note {number} is about bolts.".encode() for number in range(3)})
    settle(page, "document.querySelectorAll('.lib-item').length === 3")
    assert page.locator(".lib-list [tabindex='0']").count() == 3, "one row is one stop of the Tab key"
    page.focus("[aria-label='Ask only note 0.txt']")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert "Ask only note 1.txt" in focused(page, "ariaLabel")
    assert page.is_checked("[aria-label='Ask only note 1.txt']")
    drop(page, {"another.txt": b"Another note, about hoses."})
    settle(page, "document.querySelectorAll('.lib-item').length === 4")
    assert "Ask only note 1.txt" in focused(page, "ariaLabel")
    # What is removed gives its focus to what is beside it.
    page.click("[aria-label='About note 1.txt']")
    page.locator(".lib-about button", has_text="Remove").click()
    page.locator("dialog button.primary").click()
    settle(page, "document.querySelectorAll('.lib-item').length === 3")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement !== document.body")
    assert page.locator(".talk-scope").is_hidden()


def test_what_is_put_away_gives_its_focus_to_its_neighbour(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(tmp_path / "library"))
    drop(page, dict.fromkeys(("one.exe", f"two {'x' * 200}.exe"), b"MZ\x90\x00\x03" * 50))
    settle(page, "document.querySelectorAll('.job-error').length === 2")
    page.focus("[aria-label='Cancel one.exe']")
    page.keyboard.press("Enter")
    assert "two xxx" in focused(page, "ariaLabel")
    assert page.evaluate("(one => one.scrollWidth <= one.clientWidth)(document.querySelector('.jobs'))")


def test_only_the_document_with_that_very_name_is_asked(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(tmp_path / "library"))
    drop(page, {"plan [1].txt": b"The fence is seven metres high.", "plan 1.txt": b"The fence is two metres high."})
    settle(page, "document.querySelectorAll('.lib-item').length === 2")
    page.click("[aria-label='Ask only plan [1].txt']")
    answered(page, "How high is the fence?")
    answer = page.locator(".talk-answer").inner_text()
    assert "seven metres" in answer
    assert "two metres" not in answer


def test_a_click_that_lasts_while_progress_is_told_still_counts(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(tmp_path / "library"))
    file = tmp_path / "long.pdf"
    write(file, [f"Page {number} speaks of bolts, seals and hoses number {number}. " * 12 for number in range(400)])
    drop(page, {"long.pdf": file.read_bytes()})
    page.wait_for_selector(".job-parts")
    page.hover("[aria-label='Cancel long.pdf']")
    before = page.inner_text(".job-body")
    page.mouse.down()
    settle(page, f"document.querySelector('.job-body').innerText !== {before!r}")
    page.mouse.up()
    settle(page, "document.querySelector('.job')?.innerText.includes('cancelled') || !document.querySelector('.job')")
    assert page.locator(".lib-item").count() == 0


def test_a_folder_of_many_files_arrives_whole(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(tmp_path / "library"))
    files = {f"note {number:02}.txt": f"Note {number} is about bolts.".encode() for number in range(30)}
    drop(page, {**files, ".hidden": b"nothing", f"broken {'x' * 200}.pdf": b"%PDF-1.7\nthis is all there is"})
    page.wait_for_selector(".job .job-error")
    settle(page, "document.querySelectorAll('.lib-item').length === 30", 40)
    assert "broken" in page.inner_text(".job-error")


def test_chips_stay_while_the_answer_comes_and_so_does_the_reader(
    window: OpenWindow, library: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(library, chat__model=BRISK), viewport={"width": 1000, "height": 420})
    ask(page)
    page.wait_for_selector(".talk-answer .chip")
    page.focus(".talk-answer .chip")
    page.evaluate("document.activeElement.dataset.same = 'yes'")
    page.fill("#question", "And then?")
    page.keyboard.press("Enter")  # the next question can be written, and Enter does not stop the answer
    page.focus(".talk-answer .chip")
    settle(
        page,
        "document.querySelector('.talk-log').scrollHeight > document.querySelector('.talk-log').clientHeight + 150",
    )
    assert focused(page, "dataset.same") == "yes", "it is still the same element, so a click on it counts"
    page.evaluate("document.querySelector('.talk-log').scrollTop = 5")
    page.wait_for_selector(".talk-answer [aria-label='Look inside']")
    assert page.evaluate("document.querySelector('.talk-log').scrollTop") == 5
    assert "chip" in focused(page, "className")
    assert page.input_value("#question") == "And then?"


def test_what_is_stopped_and_asked_again_at_once_is_kept_once(
    window: OpenWindow, library: Path, serve: Callable[..., Running]
) -> None:
    running = serve(library, chat__model=SLOW)
    page = window(running)
    ask(page)
    page.wait_for_selector(".talk-answer .chip")
    page.click(".talk-send.busy")
    page.click("[aria-label='Answer again']")
    settle(page, "document.querySelector('.talk-answer')?.innerText.includes('said 1 times')")
    page.click(".talk-send.busy")
    until(lambda: running.gate.taken == 0, 2.0)
    talk = page.evaluate("location.hash.slice(3)")
    # The server keeps what was stopped just after the reader has left.
    until(lambda: len(running.http.get(f"/v1/conversations/{talk}").json()["messages"]) == 2)
    kept = running.http.get(f"/v1/conversations/{talk}").json()["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant"]


def test_a_question_that_never_arrived_is_there_after_a_reload(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.route("**/v1/ask", lambda route: None)  # the server does not answer
    page.click(".talk-edit")
    page.fill(".talk-question textarea", "How heavy is the pump?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-send.busy")
    settle(page, "document.querySelectorAll('.talk-question').length === 1")
    page.reload()
    settle(page, "document.querySelector('#question')?.value === 'How heavy is the pump?'")
    assert page.locator(".talk-question").all_inner_texts() == [WARRANTY], "and what it was to stand for as well"


def test_a_lost_connection_is_said_until_it_is_back(window: OpenWindow, server: Running) -> None:
    page = window(server)
    page.route("**/v1/events*", lambda route: route.abort())
    page.reload()
    page.wait_for_selector(".toast.error")
    page.unroute_all(behavior="ignoreErrors")
    page.wait_for_selector(".toast.error", state="detached")
    assert "answers again" in page.inner_text(".toasts")


def test_a_key_is_asked_for_and_opens_everything(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(tmp_path / "library", server__api_key="open sesame"))
    page.fill("dialog input", "wrong")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector("dialog [data-t='app.key_wrong']")
    page.fill("dialog input", "open sesame")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector(".talk-none")
    write(tmp_path / "gate.pdf", ["The gate is green and made of oak."])
    drop(page, {"gate.pdf": (tmp_path / "gate.pdf").read_bytes()})
    page.locator(".lib-name", has_text="gate.pdf").wait_for()
    answered(page, "Which colour is the gate?")
    page.locator(".talk-text .chip").first.click()
    page.wait_for_selector(".page-box")
    settle(page, "document.querySelector('.page-sheet img')?.naturalWidth > 100")


def test_wrong_claims_are_said_by_word_and_markup_stays_text(
    window: OpenWindow, library: Path, serve: Callable[..., Running]
) -> None:
    page = window(serve(library, chat__model=WRONG), viewport={"width": 390, "height": 844})
    answered(page, "How heavy is the pump?")
    chips = page.locator(".talk-text .chip").all_inner_texts()
    assert len(chips) == 2
    assert "not found" in chips[0]
    assert "not found" not in chips[1]
    assert page.title() == "ragapp"
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".talk-text table[tabindex='0']").count() == 1, "a wide table is scrolled by keyboard"
    page.locator(".talk-text .chip").first.click()
    page.wait_for_selector("[data-t='page.not_found']")
    assert page.locator(".page-box").count() == 0


def test_the_language_changes_words_and_nothing_else(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.click(".talk-mode[data-searching=true]")
    ask(page, "warranty")
    page.wait_for_selector(".talk-found li")
    page.locator(".talk-sources summary").click()
    page.locator("#bar button", has_text="中文").click()
    assert "已核实" in (page.locator(".talk-text .chip").first.get_attribute("aria-label") or "")
    assert "第 2 页" in page.locator(".talk-source-place").first.inner_text()
    assert "第 1 名" in page.locator(".talk-found li").first.inner_text()


def test_escape_ends_the_search_in_a_page_then_the_page_and_the_chip_has_the_focus(
    window: OpenWindow, server: Running
) -> None:
    page = window(server)
    answered(page)
    page.focus(".talk-text .chip")
    page.keyboard.press("Enter")
    page.wait_for_selector(".page-box")
    page.keyboard.press("Control+f")
    page.keyboard.type("PUMP")
    page.keyboard.press("Enter")
    page.wait_for_selector(".page-box.found")
    page.keyboard.press("Escape")
    assert page.locator(".page-find").is_hidden()
    assert page.locator("#page").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#page").is_hidden()
    assert "chip" in focused(page, "className")


def test_words_are_copied_as_they_are_read(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.locator(".talk-text .chip").first.click()
    page.wait_for_selector(".page-sheet[data-page='2'] .page-text span")
    assert probe(page, "selected", 2).split("\n")[0] == "The warranty of the pump lasts 24 months."


def test_what_is_touched_on_a_phone_is_large_enough(window: OpenWindow, server: Running) -> None:
    page = window(server, viewport={"width": 390, "height": 844}, has_touch=True)
    answered(page)
    small: list[Any] = probe(page, "small", 40)
    page.click("#tabs [data-place=library]")
    page.wait_for_selector(".lib-item")
    small += probe(page, "small", 40)
    page.click("#tabs [data-place=talk]")
    page.locator(".talk-text .chip").first.click()
    page.wait_for_selector(".page-box")
    small += probe(page, "small", 40)
    assert small == []


def test_a_picture_is_as_sharp_as_the_screen_and_far_pages_are_freed(
    window: OpenWindow, tmp_path: Path, serve: Callable[..., Running]
) -> None:
    write(tmp_path / "long.pdf", [f"Page {number} is about bolts." for number in range(60)])
    page = window(serve(tmp_path / "library"), device_scale_factor=2)
    drop(page, {"long.pdf": (tmp_path / "long.pdf").read_bytes()})
    page.click(".lib-open")
    sharp = "(image => image?.naturalWidth >= 2 * image?.clientWidth)(document.querySelector('.page-sheet img[src]'))"
    settle(page, sharp)
    page.click("[aria-label='Larger']")
    page.click("[aria-label='Larger']")
    settle(page, sharp)
    page.fill(".page-number", "55")
    page.keyboard.press("Enter")
    page.wait_for_selector(".page-sheet[data-page='55'] img[src]")
    settle(page, "!document.querySelector('.page-sheet[data-page=\"1\"] img')")
    assert page.locator(".page-sheet img").count() <= 5
