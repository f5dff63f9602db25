"""The built pages in a real browser, with every request beyond this machine refused.

Uses a chromium that is installed ($CHROMIUM names another); nothing is downloaded.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PAGES

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MODES = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "narrow": ("light", 390),
}
# Findings of the pinned theme and of docutils, by rule and a mark of the element.
ALLOWED = {
    ("region", "logo__image"): "the theme's logo stands outside its landmarks",
    ("label-content-name-mismatch", "search-button"): "the theme's search button",
    ("aria-allowed-role", "citation"): "docutils marks up bibliographies so",
    ("aria-deprecated-role", "citation"): "docutils marks up bibliographies so",
    ("aria-required-children", "citation-list"): "docutils marks up bibliographies so",
}
TYPESET = """() => [...document.querySelectorAll('article .math')]
    .every(m => m.querySelector('mjx-container'))"""

# A thousand rows of one kind tell axe no more than thirty, and take it minutes.
SHORTEN = """() => document.querySelectorAll('tbody tr:nth-child(n+31)')
    .forEach(row => row.remove())"""


def browser_path():
    """An installed chromium, or None."""
    return os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), ""
    )


@pytest.fixture(scope="module")
def axe():
    package = pytest.importorskip("axe_playwright_python", reason="not in this Python")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="not in this Python")
    if not browser_path():
        pytest.skip("no chromium found: pages are not tried in a browser")
    with api.sync_playwright() as playwright:
        options = {"executable_path": browser_path(), "args": ["--no-sandbox"]}
        chromium = playwright.chromium.launch(**options)
        yield chromium
        chromium.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(html):
    """The site served on this machine."""
    handler = partial(Quiet, directory=html)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def tab(browser, address):
    """A tab that lists its failed requests and script errors in `tab.troubles`."""
    context = browser.new_context()
    context.route(
        lambda url: not url.startswith((address, "file:", "data:", "blob:")),
        lambda route: route.abort(),
    )
    tab = context.new_page()
    tab.troubles = []
    tab.on("pageerror", lambda error: tab.troubles.append(f"script: {error}"))
    tab.on("requestfailed", lambda r: tab.troubles.append(f"request: {r.url}"))
    tab.on(
        "response",
        lambda r: r.status >= 400 and tab.troubles.append(f"{r.status}: {r.url}"),
    )
    yield tab
    context.close()


def findings(tab, mode):
    """What axe objects to, apart from the allow-list; in the dark, colours alone."""
    options = {"preload": False, "resultTypes": ["violations"]}
    if mode == "dark":
        options["runOnly"] = ["color-contrast"]
    found = []
    for violation in tab.evaluate("options => axe.run(options)", options)["violations"]:
        for node in violation["nodes"]:
            rule, element = violation["id"], node["html"]
            if not any(rule == r and mark in element for r, mark in ALLOWED):
                found.append(f"{rule}: {element[:160]}")
    return found


def problems(tab, mode):
    """What is wrong with the page that is open, in one mode of viewing."""
    scheme, width = MODES[mode]
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 900})
    tab.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
    tab.wait_for_timeout(300)  # transitions of the theme's colours
    wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    tab.evaluate(SHORTEN)
    found = [f"{wide} px too wide"] if wide > 0 else []
    return [f"{mode}: {problem}" for problem in found + findings(tab, mode)]


@pytest.mark.parametrize("page", PAGES)
def test_page_in_the_browser(tab, address, axe, page):
    tab.goto(f"{address}/{page}", wait_until="load")
    tab.wait_for_function(TYPESET)
    assert not tab.locator("mjx-merror").count(), "an equation that is not TeX"
    tab.evaluate(axe)
    found = [problem for mode in MODES for problem in problems(tab, mode)]
    assert not found + tab.troubles


def test_site_works_from_a_folder(tab, html):
    """Opened as a file, where the theme's preloading of fonts is refused."""
    tab.goto((html / "index.html").as_uri(), wait_until="load")
    tab.wait_for_url("**/book/index.html")
    tab.goto((html / "book" / "notation.html").as_uri(), wait_until="load")
    tab.wait_for_function(TYPESET)
    assert tab.locator("mjx-container").count()
    assert not [t for t in tab.troubles if t.startswith("script")]


def test_search_finds_a_word_of_the_book(tab, address):
    tab.goto(f"{address}/search.html?q=saccade", wait_until="load")
    tab.locator("ul.search li a").first.wait_for()
    assert not tab.troubles


def test_ledger_filters(tab, address):
    tab.goto(f"{address}/book/reproducibility.html?paper=tnet", wait_until="load")
    rows, count = tab.locator("#ledger tbody tr"), tab.locator("#ledger-count")
    total, shown = rows.count(), tab.locator("#ledger tbody tr:visible")
    assert 0 < shown.count() < total
    assert count.inner_text() == f"{shown.count()} of {total} cells"
    tab.fill("#ledger-text", "no such words anywhere")
    assert count.inner_text() == f"0 of {total} cells"
    tab.click("text=Show all")
    tab.wait_for_function("document.querySelectorAll('#ledger tr[hidden]').length == 0")
    assert shown.count() == total


def test_ledger_is_whole_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}/book/reproducibility.html")
    assert tab.locator("#ledger tbody tr:visible").count() > 0
    assert not tab.locator("#ledger-filters").is_visible()
    context.close()
