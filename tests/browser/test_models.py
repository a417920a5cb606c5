"""A model of its own for a conversation: chosen in the window, seen in the badge and at each answer, and kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import tiny_llama
from tests.browser.conftest import OpenWindow, settle
from tests.server.conftest import Running, copied

if TYPE_CHECKING:
    from playwright.sync_api import Page

WRONG = "tests.browser.models:wrong"
WARRANTY = "How long does the warranty of the pump last?"
HEAVY = "How heavy is the pump?"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.fixture
def own(library: Path, tmp_path: Path) -> Path:
    """A library of the test's own: what is chosen stays beside it."""
    return copied(library, tmp_path / "library")


def wish(page: Page, value: str) -> None:
    page.click("[aria-label='How answers are made'], [aria-label='回答方式']")
    page.select_option("dialog select[name=model]", value)
    page.click("dialog button.primary")


def answered(page: Page, question: str, count: int) -> str:
    """What stands below the answer."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    settle(page, f"document.querySelectorAll('.talk-answer .talk-actions').length === {count}")
    return page.locator(".talk-actions").last.inner_text()


def badge(page: Page) -> str:
    return page.locator(".model-badge").inner_text().strip()


def test_a_conversation_has_a_model_of_its_own(
    window: OpenWindow, own: Path, serve: Callable[..., Running], tmp_path: Path
) -> None:
    server = serve(own, chat__model=WRONG)
    llama = tiny_llama.make(tmp_path / "tiny-llama", window=4096)
    for model in (str(llama), WRONG):
        assert server.http.post("/v1/answerer", json={"model": model}).is_success
    page = window(server)
    settle(page, f"document.querySelector('.model-badge').innerText.includes('{WRONG}')")
    assert f"written by {WRONG}" in answered(page, HEAVY, 1)
    page.click("[aria-label='How answers are made']")
    page.wait_for_selector("dialog select[name=model]")
    options = page.locator("dialog select[name=model] option").all_inner_texts()
    assert options == [f"as the server has it ({WRONG})", "quotes, without a model", WRONG, "tiny-llama"]
    page.keyboard.press("Escape")
    wish(page, "=")
    assert badge(page) == "Quotes"
    assert "quotes, word for word" in answered(page, WARRANTY, 2)
    assert "lasts 24 months" in page.locator(".talk-text").last.inner_text()
    # It is the conversation's, after a reload too, and no other one's.
    page.reload()
    page.wait_for_selector(".talk-answer .talk-actions")
    settle(page, "document.querySelector('.model-badge').innerText.includes('Quotes')")
    feet = page.locator(".talk-actions").all_inner_texts()
    assert [WRONG in foot for foot in feet] == [True, False]
    page.locator("[aria-label='Look inside']").first.click()
    assert f"Model: {WRONG}" in page.locator(".inside").first.inner_text()
    page.locator("[aria-label='Look inside']").last.click()
    assert "No model: quotes" in page.locator(".inside").last.inner_text()
    page.click(".model-badge")
    assert "Quotes answers" in page.locator("dialog .talk-note").inner_text()
    page.keyboard.press("Escape")
    page.click("#new-talk")
    settle(page, f"document.querySelector('.model-badge').innerText.includes('{WRONG}')")
    # Back to what the server has.
    page.click(".talk-head [aria-label='Conversations']")
    page.locator(".talks-open").first.click()
    page.wait_for_selector(".talk-answer .talk-actions")
    wish(page, "")
    assert badge(page) == WRONG
    assert f"written by {WRONG}" in answered(page, HEAVY, 3)


def test_a_model_that_is_gone_is_said(
    window: OpenWindow, own: Path, serve: Callable[..., Running], tmp_path: Path
) -> None:
    server = serve(own)
    llama = tiny_llama.make(tmp_path / "tiny-llama", window=4096)
    for model in (str(llama), ""):
        assert server.http.post("/v1/answerer", json={"model": model}).is_success
    page = window(server)
    page.wait_for_selector(".talk-suggestion")
    assert page.locator(".talk-quotes").is_visible()
    wish(page, "=tiny-llama")
    assert badge(page) == "tiny-llama"
    assert page.locator(".talk-quotes").is_hidden(), "no Llama has to be added"
    shutil.rmtree(llama)
    page.fill("#question", WARRANTY)
    page.keyboard.press("Enter")
    settle(page, "document.querySelector('.talk-answer .talk-wrong')?.innerText.includes('cannot be used any more')")
    page.reload()
    settle(page, "document.querySelector('.model-badge').title.includes('no longer offered')")
    page.click("[aria-label='How answers are made']")
    page.wait_for_selector("dialog select[name=model]")
    chosen = page.locator("dialog select[name=model] option:checked")
    assert chosen.inner_text() == "tiny-llama (no longer offered)"
    page.keyboard.press("Escape")
    wish(page, "=")
    page.click("#new-talk")
    wish(page, "=")
    assert "word for word" in answered(page, WARRANTY, 1)


def test_models_are_chosen_again_and_taken_off_the_list(
    window: OpenWindow, own: Path, serve: Callable[..., Running], tmp_path: Path
) -> None:
    server = serve(own, chat__model=WRONG)
    for name in ("first-llama", "second-llama"):
        llama = tiny_llama.make(tmp_path / name, window=4096)
        assert server.http.post("/v1/answerer", json={"model": str(llama)}).is_success
    assert server.http.post("/v1/answerer", json={"model": ""}).is_success
    page = window(server)
    page.wait_for_selector(".talk-suggestion")
    page.click(".model-badge")
    rows = page.locator(".model-others li")
    assert [row.split("\n")[0] for row in rows.all_inner_texts()] == [WRONG, "first-llama", "second-llama"]
    assert rows.first.locator(".icon-button").count() == 0, "the settings name it"
    page.click("[aria-label='Take first-llama off this list; its files stay']")
    settle(page, "document.querySelectorAll('.model-others li').length === 2")
    settle(page, "document.activeElement.matches('dialog input')")
    page.click("[aria-label='Take second-llama off this list; its files stay']")
    settle(page, "document.querySelectorAll('.model-others li').length === 1")
    assert (tmp_path / "first-llama").is_dir()
    page.click(f"[aria-label='Use it: {WRONG}']")
    settle(page, f"document.querySelector('.model-badge').innerText.includes('{WRONG}')")
    page.click(".model-badge")
    page.wait_for_selector("dialog input")
    assert page.locator(".model-others").count() == 0
    page.keyboard.press("Escape")
    page.click("[aria-label='How answers are made']")
    page.wait_for_selector("dialog select[name=model]")
    options = page.locator("dialog select[name=model] option").all_inner_texts()
    assert options == [f"as the server has it ({WRONG})", "quotes, without a model", WRONG]


def test_on_a_phone_in_chinese(window: OpenWindow, own: Path, serve: Callable[..., Running]) -> None:
    page = window(serve(own, chat__model=WRONG), locale="zh-CN", **PHONE)
    wish(page, "=")
    settle(page, "document.querySelector('.model-badge').innerText.trim() === '原文引用'")
    assert "逐字引用原文" in answered(page, WARRANTY, 1)
    page.click("[aria-label='回答方式']")
    page.wait_for_selector("dialog select[name=model]")
    assert "原文引用，不用模型" in page.locator("dialog select[name=model]").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_conversation_of_another_client_may_say_that_it_wishes_no_model(
    window: OpenWindow, own: Path, serve: Callable[..., Running]
) -> None:
    server = serve(own, chat__model=WRONG)
    made = server.http.post("/v1/conversations", json={"title": "Pumps", "settings": {"model": None}})
    page = window(server)
    page.goto(f"{server.url}/#c={made.json()['id']}")
    settle(page, "document.querySelector('.talk-title')?.innerText.includes('Pumps')")
    settle(page, f"document.querySelector('.model-badge').innerText.includes('{WRONG}')")
    page.click("[aria-label='How answers are made']")
    page.wait_for_selector("dialog select[name=model]")
    assert page.locator("dialog select[name=model]").input_value() == ""
