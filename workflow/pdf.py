"""Print the built site into one file, page after page in the order of the book.

    python workflow/pdf.py

Reads `_build/html/`, which `make book` made, and writes `_build/book.pdf`: bookmarks by
part and chapter, page numbers, and links between chapters that stay inside the file. It
takes a chromium that is installed ($CHROMIUM names another); nothing is downloaded.
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MARGIN = {"top": "16mm", "bottom": "18mm", "left": "15mm", "right": "15mm"}
TYPESET = """() => [...document.querySelectorAll('article .math')]
    .every(m => m.querySelector('mjx-container'))"""
# Folded tables and notes open: paper has no fold to click. Folded code stays away.
UNFOLD = """() => document.querySelectorAll('article details:not(.hide)')
    .forEach(fold => { fold.open = true; })"""
PATIENCE = 120_000  # milliseconds for the formulas of one page


class PdfError(Exception):
    """What is wrong, and what to do."""


def parts(toc):
    """Pairs of a part's caption and its pages; the root stands alone, without one."""
    first = [(None, [toc["root"]])]
    return first + [
        (part["caption"], [chapter["file"] for chapter in part["chapters"]])
        for part in toc["parts"]
    ]


def browser_path():
    """An installed chromium; raises PdfError without one."""
    found = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if not found:
        raise PdfError("no chromium found: install one, or name it in $CHROMIUM")
    return found


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        """Nothing: a request is no news."""


@contextmanager
def served(folder):
    """The address of a folder, served on this machine alone."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Silent, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def printer():
    """A function from an address, or HTML text, to the bytes of a PDF and its title."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": browser_path(), "args": ["--no-sandbox"]}
        chromium = playwright.chromium.launch(**options)
        page = chromium.new_page(color_scheme="light")
        page.emulate_media(media="print", color_scheme="light")

        def printed(address, margin=MARGIN):
            if address.startswith("http"):
                page.goto(address, wait_until="load", timeout=PATIENCE)
                page.evaluate("document.documentElement.dataset.theme = 'light'")
                page.evaluate(UNFOLD)
                page.wait_for_function(TYPESET, timeout=PATIENCE)
            else:
                page.set_content(address)
            heading = page.query_selector("h1")
            text = heading.inner_text().strip("# \n") if heading else ""
            return page.pdf(format="A4", margin=margin, print_background=True), text

        try:
            yield printed
        finally:
            chromium.close()


def numbers(count):
    """HTML of so many empty pages, each with its number at the foot."""
    style = "@page { size: A4; margin: 0 } body { margin: 0 }"
    style += " div { height: 297mm; position: relative; break-after: page }"
    style += " p { position: absolute; bottom: 6mm; width: 100%; margin: 0;"
    style += " text-align: center; font: 9pt sans-serif; color: #555 }"
    pages = "".join(f"<div><p>{k}</p></div>" for k in range(1, count + 1))
    return f"<style>{style}</style>{pages}"


def relink(writer, base, first):
    """Links to pages of the book lead into the file; the rest stay as they are.

    Args:
        first: a page's path in the site to the number of its first sheet.
    """
    for sheet in writer.pages:
        for link in sheet.get("/Annots") or []:
            action = link.get_object().get("/A", {})
            address = str(action.get("/URI", ""))
            if not address.startswith(base):
                continue
            target = first.get(urlsplit(address).path.lstrip("/"))
            if target is None:
                continue
            place = ArrayObject([writer.pages[target].indirect_reference])
            place.append(NameObject("/Fit"))
            inside = {NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): place}
            link.get_object()[NameObject("/A")] = DictionaryObject(inside)


def join(printed, toc, base, say=print):
    """One writer of all pages, with bookmarks and links but no numbers yet."""
    writer, first = PdfWriter(), {}
    for caption, names in parts(toc):
        parent = None
        for name in names:
            content, title = printed(f"{base}{name}.html")
            start = len(writer.pages)
            writer.append(io.BytesIO(content), import_outline=False)
            first[f"{name}.html"] = start
            if caption and parent is None:
                parent = writer.add_outline_item(title=caption, page_number=start)
            writer.add_outline_item(
                title=title or name, page_number=start, parent=parent
            )
            say(f"{name:<45}{len(writer.pages) - start:5} pages")
    relink(writer, base, first)
    return writer


def make(root=ROOT, say=print):
    """Write `_build/book.pdf` whole or not at all; returns its path and its pages."""
    html, target = root / "_build" / "html", root / "_build" / "book.pdf"
    if not (html / "index.html").exists():
        raise PdfError("the site is not built: run `make book` first")
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    lacking = [
        n for _, names in parts(toc) for n in names if not (html / f"{n}.html").exists()
    ]
    if lacking:
        raise PdfError(f"the site lacks {', '.join(lacking)}: run `make book`")
    with served(html) as base, printer() as printed:
        writer = join(printed, toc, base, say)
        none = dict.fromkeys(MARGIN, "0")
        sheets = PdfReader(
            io.BytesIO(printed(numbers(len(writer.pages)), none)[0])
        ).pages
        for page, number in zip(writer.pages, sheets, strict=False):
            page.merge_page(number)
    writer.compress_identical_objects()
    writer.add_metadata({"/Title": "Learning where to look"})
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        writer.write(file)
    os.replace(file.name, target)
    return target, len(writer.pages)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    start = time.monotonic()
    try:
        target, pages = make()
    except PdfError as error:
        sys.exit(f"pdf: {error}")
    size = target.stat().st_size / 2**20
    print(f"{pages} pages, {size:.1f} MiB, {time.monotonic() - start:.0f} s")
    print(target)


if __name__ == "__main__":
    main()
