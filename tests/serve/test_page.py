from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from moderation.settings import ApiSettings
from serve.model import Model
from tests.browser import LAUNCH_ARGS, chromium
from tests.serve.keyed import make, served_with_keys
from tests.serve.server import Server, settings_in


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    executable = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(LAUNCH_ARGS))
        yield browser.new_page()
        browser.close()


def test_a_comment_is_tried_by_keyboard_by_example_and_in_vain(page: Page, server: Server) -> None:
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(server.url)
    expect(page.locator("#version")).to_contain_text(server.model.served.version[:12])
    result = page.get_by_role("region")

    page.get_by_label("Comment").fill("You are disgusting.")
    page.keyboard.press("Control+Enter")
    expect(result.get_by_role("heading")).to_have_text("Remove")
    expect(result).to_contain_text("Because of: toxic.")
    toxic = result.get_by_role("meter", name="toxic", exact=True)
    expect(toxic).to_have_attribute("aria-valuenow", "0.953")
    expect(toxic).to_have_attribute("aria-valuetext", "0.953, reviewed from 0.500, removed from 0.950")
    assert page.locator("#scores .mark").count() == 12
    assert page.locator("#scores .fill").first.bounding_box()["width"] > 100  # type: ignore[index]

    page.get_by_role("button", name="Thank you").click()
    expect(result.get_by_role("heading")).to_have_text("Allow")
    assert faults == []

    page.get_by_label("Comment").fill(" ")
    page.get_by_role("button", name="Score").click()
    expect(page.get_by_role("alert")).to_contain_text("is empty")
    expect(result).to_be_hidden()


def test_a_key_is_asked_for_where_it_is_wanted_and_kept_in_the_tab(
    page: Page, tmp_path: Path, settings: ApiSettings, model: Model
) -> None:
    with served_with_keys(settings_in(tmp_path), model) as server:
        key = make(server.engine, "page")
        page.goto(server.url)
        expect(page.locator("#version")).to_have_text("This server wants an API key.")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Thank you").click()
        expect(page.get_by_role("alert")).to_have_text("The server does not know this key.")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Thank you").click()
        expect(page.get_by_role("region").get_by_role("heading")).to_have_text("Allow")
        page.reload()
        expect(page.locator("#version")).to_contain_text(server.model.served.version[:12])
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
