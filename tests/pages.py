"""Open pages in a real browser; a page may load nothing else and log nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

import browser

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--disable-sync", "--disable-component-update"),
]

# The contrast of each text with its background, as WCAG 2 defines it.
CONTRAST = """() => {
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const over = (front, back, alpha) => front.map((part, i) => alpha * part + (1 - alpha) * back[i]);
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const [r, g, b, alpha = 1] = parts(getComputedStyle(element).backgroundColor);
    return alpha === 1 ? [r, g, b] : over([r, g, b], behind(element.parentElement), alpha);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const unseen = "script, style, noscript, option";
    if (!text || !element.checkVisibility() || element.closest(unseen)) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= getComputedStyle(at).opacity;
    const [r, g, b, alpha = 1] = parts(style.color);
    const front = over([r, g, b], back, alpha * opacity);
    const [low, high] = [luminance(front), luminance(back)].sort((x, y) => x - y);
    found.push([(high + 0.05) / (low + 0.05), text]);
  }
  return found;
}"""


@contextmanager
def launched() -> Iterator[Browser]:
    """Start a headless browser."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser.required(), args=FLAGS)
        yield started
        started.close()


Opener = Callable[..., Any]


def opener(started: Browser) -> Opener:
    """A context manager that opens a page: `with opened(path, dark=True) as page`."""
    kept: dict[str, tuple[Page, list[str], list[str]]] = {}

    def page_with(options: dict[str, Any]) -> tuple[Page, list[str], list[str]]:
        """One page for all tests with the same options, since a new page is slow."""
        name = repr(sorted(options.items()))
        if name not in kept:
            context = started.new_context(offline=True, **options)
            context.set_default_timeout(20_000)
            page, told, asked = context.new_page(), [], []
            page.on("console", lambda message: told.append(message.text))
            page.on("pageerror", lambda error: told.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            kept[name] = page, told, asked
        return kept[name]

    @contextmanager
    def opened(
        path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, **options: Any
    ) -> Iterator[Page]:
        size = {"width": width, "height": height}
        scheme = "dark" if dark else "light"
        page, told, asked = page_with({"viewport": size, "color_scheme": scheme, **options})
        page.goto("about:blank")
        page.emulate_media(media="screen")
        told.clear()
        asked.clear()
        page.goto(path.as_uri())
        yield page
        assert told == []
        assert [url.partition("#")[0] for url in asked] == [path.as_uri()]

    return opened


def assert_contrast(page: Page, least: float = 4.5) -> None:
    """All visible text has enough contrast with its background."""
    found = page.evaluate(CONTRAST)
    assert found
    worst = min(found)
    assert worst[0] >= least, worst


def overflow(page: Page) -> int:
    """The number of pixels by which a page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def texts(found: Locator) -> list[str]:
    """The text of each element, visible or not."""
    return [text.strip() for text in found.all_text_contents()]


# Report pages.


def names(page: Page) -> list[str]:
    """The visible weights, from top to bottom."""
    return texts(page.locator("tbody tr[id^=w]:visible > th bdi"))


def listed(page: Page) -> list[str]:
    """All weights, including those in closed folds."""
    return texts(page.locator("tbody tr[id^=w] > th bdi"))


def lines(page: Page) -> list[str]:
    """The visible first column: titles, folds and weights."""
    return [" ".join(text.split()) for text in texts(page.locator("tbody tr:visible > th"))]


def fold(page: Page, name: str) -> Locator:
    """The row of a fold."""
    return page.locator("tr.fold", has=page.locator("bdi", has_text=re.compile(f"^{name}$")))


def row(page: Page, path: str) -> Locator:
    """The row of a weight."""
    return page.locator(
        "tbody tr[id^=w]", has=page.locator("bdi", has_text=re.compile(f"^{path}$"))
    )


def open_row(page: Page, path: str) -> Locator:
    """Open a weight, wait until its canvases are drawn, and return them."""
    row(page, path).get_by_role("button").click()
    canvases = page.locator("tr.detail:visible canvas")
    page.locator("tr.detail:visible canvas[data-drawn]").last.wait_for()
    return canvases
