"""A small site becomes one file: order, bookmarks, numbers, links, no navigation."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

import pdf  # noqa: E402

PAGE = """<!doctype html><html data-theme="dark"><head>
<link rel="stylesheet" href="print.css"></head><body>
<header class="bd-header">navigation</header>
<article class="bd-article"><h1>{title}<a class="headerlink">#</a></h1>
{body}<p>see <a href="{other}.html">the other</a></p></article></body></html>"""
TOC = {
    "root": "index",
    "parts": [
        {"caption": "First", "chapters": [{"file": "a"}, {"file": "b"}]},
        {"caption": "Last", "chapters": [{"file": "c"}]},
    ],
}
FOLDED = """<details><summary>2 cells</summary><table><tr><td>folded row</td></tr>
</table></details><details class="hide"><summary>code</summary>folded code</details>"""
LONG = "<p>a line of the middle chapter</p>" * 120


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A made file of four pages of HTML, and what was said on the way."""
    if not (os.environ.get("CHROMIUM") or any(map(shutil.which, pdf.NAMES))):
        pytest.skip("no chromium found: nothing is printed")
    root = tmp_path_factory.mktemp("site")
    html = root / "_build" / "html"
    html.mkdir(parents=True)
    shutil.copyfile(ROOT / "book" / "_static" / "print.css", html / "print.css")
    (root / "_toc.yml").write_text(yaml.safe_dump(TOC), encoding="utf-8")
    for name, other in (("index", "a"), ("a", "b"), ("b", "c"), ("c", "index")):
        body = {"a": FOLDED, "b": LONG}.get(name, "")
        text = PAGE.format(title=f"Title {name}", other=other, body=body)
        (html / f"{name}.html").write_text(text, encoding="utf-8")
    said = []
    path, count = pdf.make(root, said.append)
    return PdfReader(path), count, said


def test_pages_follow_the_contents_and_carry_their_numbers(book):
    reader, count, said = book
    assert len(reader.pages) == count > 5  # the middle chapter fills several
    assert [line.split()[0] for line in said] == ["index", "a", "b", "c"]
    text = [page.extract_text() for page in reader.pages]
    found = ["".join(text).index(f"Title {name}") for name in ("index", "a", "b", "c")]
    assert found == sorted(found)
    for number, page in enumerate(text, 1):
        assert str(number) in page.split()


def test_navigation_stays_off_the_paper(book):
    text = "".join(page.extract_text() for page in book[0].pages)
    assert "navigation" not in text and "Title a#" not in text


def test_folded_tables_open_and_folded_code_does_not(book):
    text = "".join(page.extract_text() for page in book[0].pages)
    assert "folded row" in text and "folded code" not in text


def test_bookmarks_are_parts_and_chapters(book):
    first, *rest = book[0].outline
    assert first.title == "Title index"
    assert [rest[0].title, rest[2].title] == ["First", "Last"]
    assert [item.title for item in rest[1]] == ["Title a", "Title b"]
    assert book[0].get_destination_page_number(rest[3][0]) == len(book[0].pages) - 1


def test_links_between_chapters_stay_inside(book):
    reader = book[0]
    links = [
        link.get_object()["/A"]
        for page in reader.pages
        for link in page.get("/Annots") or []
    ]
    assert len(links) == 4
    assert all(action["/S"] == "/GoTo" for action in links)
    target = links[0]["/D"][0].get_object()
    assert "Title a" in reader.pages[reader.get_page_number(target)].extract_text()


def test_a_site_that_is_not_built_is_named(tmp_path):
    with pytest.raises(pdf.PdfError, match="run `make book` first"):
        pdf.make(tmp_path)
    html = tmp_path / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").touch()
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(TOC), encoding="utf-8")
    with pytest.raises(pdf.PdfError, match="the site lacks a, b, c"):
        pdf.make(tmp_path)
