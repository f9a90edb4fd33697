"""Pictures of a page, as tall as what stands on it."""

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

WIDTHS = {"desktop": 1280, "phone": 390}


def open_tab(browser: Browser, width: int) -> Page:
    """Return a new tab of that width, patient with a busy machine."""
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.set_default_timeout(120_000)
    return tab


def take(tab: Page, path: Path) -> None:
    """Write a picture of the whole page once it has settled."""
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=60_000)
    tab.wait_for_timeout(1_500)  # charts and canvases are drawn a moment later
    # Streamlit scrolls inside the window, so the window is made as tall as what is in it.
    size = tab.viewport_size
    assert size is not None
    height = tab.get_by_test_id("stMain").evaluate("main => main.scrollHeight")
    tab.set_viewport_size({"width": size["width"], "height": int(height)})
    tab.wait_for_timeout(700)
    tab.screenshot(path=path)
    tab.set_viewport_size(size)
