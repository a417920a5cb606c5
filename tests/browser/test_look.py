"""How the window looks and is used: by keyboard alone, with a screen reader, dark, on a phone, in Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import OpenWindow, probe
from tests.server.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "device_scale_factor": 2}
WARRANTY = "How long does the warranty of the pump last?"


def answer_and_open(page: Page) -> None:
    page.fill("#question", WARRANTY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-answer .talk-actions")
    page.locator(".talk-text .chip").first.click()
    page.wait_for_selector(".page-box")
    page.wait_for_timeout(200)


def serious(page: Page) -> list[str]:
    """What axe calls serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(window: OpenWindow, server: Running, scheme: str) -> None:
    page = window(server, color_scheme=scheme, bypass_csp=True)
    page.wait_for_selector(".talk-suggestion")
    assert serious(page) == []
    answer_and_open(page)
    page.click("[aria-label='Look inside']")
    page.locator(".talk-sources summary").click()
    page.locator("[aria-label^='About']").first.click()
    assert serious(page) == []
    page.click("[aria-label='How answers are made']")
    assert serious(page) == []


def test_everything_goes_by_keyboard_alone(window: OpenWindow, server: Running) -> None:
    page = window(server)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.type(WARRANTY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".talk-answer .talk-actions")
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        if "chip" in str(page.evaluate("document.activeElement.className")):
            break
    assert page.locator(".chip-card").count() == 1, "focus shows the quote"
    page.keyboard.press("Enter")
    page.wait_for_selector(".page-box")
    assert page.evaluate("document.activeElement.className") == "page-body"
    page.keyboard.press("Escape")
    page.wait_for_selector("#page", state="hidden")
    before = page.locator("#library").bounding_box()
    page.focus("#split-library")
    page.keyboard.press("ArrowRight")
    after = page.locator("#library").bounding_box()
    assert before
    assert after
    assert after["width"] > before["width"]
    page.reload()
    page.wait_for_selector("#question")
    again = page.locator("#library").bounding_box()
    assert again
    assert again["width"] == after["width"]


def test_on_a_phone_one_place_is_shown_at_a_time(window: OpenWindow, server: Running) -> None:
    page = window(server, **PHONE)
    assert page.locator("#library").is_hidden()
    page.click("#tabs [data-place=library]")
    assert page.locator("#library").is_visible()
    assert page.locator("#talk").is_hidden()
    page.click("#tabs [data-place=talk]")
    answer_and_open(page)
    assert page.locator("#talk").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#close-page")
    assert page.locator("#talk").is_visible()


def test_the_dark_theme_is_dark_and_stays_chosen(window: OpenWindow, server: Running) -> None:
    page = window(server)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    page.click("#theme")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, dark[4:-1].split(","))) < 150 < sum(map(int, light[4:-1].split(",")))
    page.reload()
    page.wait_for_selector("#question")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_the_window_speaks_chinese(window: OpenWindow, server: Running) -> None:
    page = window(server, locale="zh-CN")
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert page.locator("#library h2").inner_text() == "文档库"
    answer_and_open(page)
    assert "已核实" in (page.locator(".talk-text .chip").first.get_attribute("aria-label") or "")
    page.locator("#bar button", has_text="English").click()
    assert page.locator("#library h2").inner_text() == "Library"
    page.wait_for_selector(".talk-answer .talk-actions")


def test_both_languages_have_all_the_words(window: OpenWindow, server: Running) -> None:
    page = window(server)
    assert page.evaluate("import('/web/i18n.js').then((words) => words.missing())") == []
    assert probe(page, "untranslated") == []
