"""Pages in a real browser, for the tests that look at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")


@contextmanager
def browsing(width: int, height: int, **context: Any) -> Iterator[Any]:
    """A page in Chromium; fails if the page reports an error.

    Args:
        width: Of the window, in pixels.
        height: Likewise.
        context: Further options of Playwright's browser context, as `color_scheme` or `offline`.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height}, **context)
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        browser.close()
    # TensorBoard asks for its vendor's fonts; without a network that alone is missing
    assert [error for error in errors if "ERR_" not in error] == []
