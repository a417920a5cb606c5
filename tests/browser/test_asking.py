"""Asking in the window: an answer that streams, its chips, the page behind them, and what is kept of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import OpenWindow, probe, settle
from tests.server.conftest import Running, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

SLOW = "tests.browser.models:slow"
WARRANTY = "How long does the warranty of the pump last?"


def ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")


def answered(page: Page, question: str = WARRANTY) -> None:
    ask(page, question)
    page.wait_for_selector(".talk-answer .talk-actions")


def test_an_answer_is_quoted_and_its_chip_boxes_the_words_on_the_page(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    chip = page.locator(".talk-text .chip").first
    assert "verified" in (chip.get_attribute("aria-label") or "")
    chip.hover()
    assert "24 months" in page.locator(".chip-card").inner_text()
    chip.click()
    page.wait_for_selector(".page-box.verified")
    settle(page, "document.querySelector('.page-sheet[data-page=\"2\"] img')?.naturalWidth > 100")
    # By the words that lie under the boxes, and by the pixels.
    assert probe(page, "words", 2) == "The warranty of the pump lasts 24 months."
    ink = probe(page, "ink", 2)
    assert ink["inside"] > 20 * ink["outside"]


def test_what_is_not_in_the_documents_is_said_with_the_nearest_passages(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page, "Who won the chess championship in 1921?")
    assert page.locator(".talk-answer.refused h3").inner_text() == "Not in your documents"
    page.locator(".talk-nearest").first.click()
    page.wait_for_selector(".page-sheet, .page-paper")


def test_tokens_come_one_after_another_and_stop_ends_them(
    window: OpenWindow, library: Path, serve: Callable[..., Running]
) -> None:
    running = serve(library, chat__model=SLOW)
    page = window(running)
    ask(page, WARRANTY)
    settle(page, "document.querySelector('.talk-answer')?.innerText.includes('warranty')")
    for _ in range(4):
        seen = len(page.locator(".talk-answer").inner_text())
        settle(page, f"document.querySelector('.talk-answer').innerText.length > {seen}")
    page.wait_for_selector(".talk-answer .chip")
    assert page.locator(".talk-answer .chip").count() == 1
    assert running.gate.taken == 1, "the citation is resolved before the end"
    page.click(".talk-send.busy")
    until(lambda: running.gate.taken == 0, 1.0)
    page.wait_for_selector(".talk-actions")
    # What was written is kept, and there again after a reload.
    page.wait_for_timeout(300)
    page.reload()
    page.wait_for_selector(".talk-answer .talk-text")
    assert "It was said 0 times" in page.locator(".talk-answer").inner_text()


def test_a_reload_in_the_middle_of_an_answer_keeps_what_was_written(
    window: OpenWindow, library: Path, serve: Callable[..., Running]
) -> None:
    running = serve(library, chat__model=SLOW)
    page = window(running)
    ask(page, WARRANTY)
    settle(page, "document.querySelector('.talk-answer')?.innerText.includes('said 3 times')")
    page.reload()
    until(lambda: running.gate.taken == 0, 2.0)
    page.wait_for_selector(".talk-question")
    page.reload()
    assert WARRANTY in page.locator(".talk-question").inner_text()
    assert "said 2 times" in page.locator(".talk-answer").inner_text()


def test_a_question_is_edited_and_an_answer_made_again(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.click(".talk-edit")
    page.fill(".talk-question textarea", "How heavy is the pump?")
    page.keyboard.press("Enter")
    settle(page, "document.querySelector('.talk-answer .talk-text')?.innerText.includes('nine kilograms')")
    assert page.locator(".talk-question").count() == 1
    page.evaluate("document.querySelector('.talk-answer').dataset.before = true")
    page.locator(".talk-actions [aria-label='Answer again']").click()
    page.wait_for_selector(".talk-answer:not([data-before]) .talk-actions")
    page.reload()
    page.wait_for_selector(".talk-answer .talk-actions")
    assert page.locator(".talk-question").count() == page.locator(".talk-answer").count() == 1


def test_conversations_are_titled_found_renamed_and_deleted(window: OpenWindow, server: Running, library: Path) -> None:
    page = window(server)
    answered(page, "How often must the hose be replaced? zanzibar")
    page.click("#new-talk")
    page.click(".talk-head [aria-label='Conversations']")
    page.fill(".dialog input[type=search]", "ZANZIBAR")
    settle(page, "document.querySelectorAll('.talks-item').length === 1")
    page.locator(".talks-item [aria-label='Rename']").click()
    page.fill(".talks-item input", "The hose")
    page.keyboard.press("Enter")
    settle(page, "document.querySelector('.talks-open')?.innerText.includes('The hose')")
    page.click(".talks-open")
    page.wait_for_selector(".talk-answer .talk-actions")
    assert page.locator(".talk-title").inner_text() == "The hose"
    page.click(".talk-title")
    page.locator(".talks-item", has_text="The hose").locator("[aria-label='Delete for good']").click()
    page.locator("dialog button.primary", has_text="Delete for good").click()
    page.wait_for_selector(".talk-start")
    until(lambda: not any(b"zanzibar" in file.read_bytes() for file in library.glob("desk.sqlite*")))


def test_thumbs_and_a_comment_are_kept(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.click("[aria-label='Good answer']")
    page.fill("dialog textarea", "exactly the page")
    page.click("dialog button.primary")
    page.wait_for_selector(".toast")
    page.reload()
    page.wait_for_selector("[aria-label='Good answer'][aria-pressed=true]")


def test_looking_inside_shows_stages_and_ranks(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.click("[aria-label='Look inside']")
    stages = page.locator(".inside-waterfall th").all_inner_texts()
    assert "search" in stages
    assert re.search(r"rank 1", page.locator(".inside-passages").inner_text())


def test_search_alone_shows_passages_with_ranks(window: OpenWindow, server: Running) -> None:
    page = window(server)
    page.click(".talk-mode[data-searching=true]")
    ask(page, "warranty")
    page.wait_for_selector(".talk-found li")
    assert "rank 1" in page.locator(".talk-found li").first.inner_text()
    page.locator(".talk-found button").first.click()
    page.wait_for_selector(".page-box")


def test_suggested_questions_are_answered(window: OpenWindow, server: Running) -> None:
    page = window(server)
    page.wait_for_selector(".talk-suggestion")
    page.locator(".talk-suggestion").first.click()
    page.wait_for_selector(".talk-answer .talk-actions")


def test_wishes_belong_to_their_conversation(window: OpenWindow, server: Running) -> None:
    page = window(server)
    answered(page)
    page.click("[aria-label='How answers are made']")
    page.select_option("dialog select[name=flow]", "looping")
    page.fill("dialog input[name=k]", "2")
    page.click("dialog button.primary")
    answered(page, "How heavy is the pump?")
    settle(page, "document.querySelectorAll('.talk-answer .talk-actions').length === 2")
    page.locator("[aria-label='Look inside']").last.click()
    assert page.locator(".inside-passages tbody tr").count() <= 2
    page.reload()
    page.wait_for_selector(".talk-answer .talk-actions")
    page.click("[aria-label='How answers are made']")
    assert page.locator("dialog select[name=flow]").input_value() == "looping"


@pytest.mark.parametrize("path", ["/web/app.js", "/web/style.css", "/"])
def test_the_window_is_served_under_a_strict_policy(server: Running, path: str) -> None:
    policy = server.http.get(path).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
