"""The built pages, read as files."""

import re
from functools import cache
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import HTML, PAGES, ROOT

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
URL = CONFIG["repository"]["url"] or ""
BLOB = re.compile(r"/(?:blob|edit|tree)/" + CONFIG["repository"]["branch"] + "/(.+)")
NAMED = [
    "index.html",
    "search.html",
    "book/index.html",
    "book/how-to-use.html",
    "book/notation.html",
    "book/glossary.html",
    "book/data.html",
    "book/reproducibility.html",
    "book/disagreements.html",
    "book/where-used.html",
    "book/comparison.html",
    "book/course.html",
    "book/add-a-paper.html",
    "book/cluster.html",
    "book/bibliography.html",
    "notebooks/00-start-here.html",
    "notebooks/10-the-bound.html",
    "notebooks/11-differentiable-crops.html",
    "notebooks/12-two-digit-mnist.html",
    "notebooks/13-larger-than-memory.html",
    "notebooks/14-large-images.html",
    "notebooks/15-noise-and-variance.html",
    "notebooks/16-paper-and-code.html",
    "notebooks/17-photographs.html",
    "notebooks/18-count-the-marines.html",
    "notebooks/20-learning-without-a-gradient.html",
    "notebooks/21-ram-and-dram.html",
    "notebooks/22-wsram.html",
    "notebooks/30-traversal-learning-rule.html",
    "notebooks/31-architecture-and-cost.html",
    "notebooks/32-photographs.html",
    "notebooks/33-satellite.html",
    "notebooks/34-what-the-policy-looks-at.html",
    "notebooks/40-an-experiment-designer.html",
    "notebooks/41-a-designers-pipeline.html",
    "notebooks/42-told-where-to-look.html",
    "notebooks/43-a-better-designer.html",
    "notebooks/50-what-the-sampler-computes.html",
    "notebooks/51-a-fast-layer.html",
    "notebooks/52-gaze.html",
    "notebooks/53-fine-grained-classes.html",
    "notebooks/54-what-did-not-work.html",
    "notebooks/60-one-arena.html",
    "notebooks/61-map-of-the-ideas.html",
    "notebooks/62-your-own-images.html",
    "notebooks/70-a-fifth-paper.html",
]


@cache
def soup(page):
    return BeautifulSoup((HTML / page).read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("page", sorted({*NAMED, *PAGES}))
def test_page_exists(html, page):
    assert (html / page).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_no_traceback(html, page):
    article = soup(page).article
    assert "Traceback (most recent call last)" not in article.get_text()
    assert not article.select(".output.traceback, .output.stderr")


@pytest.mark.parametrize("page", PAGES)
def test_every_image_says_what_it_shows(html, page):
    images = soup(page).article.select("img")
    assert not [i["src"] for i in images if not i.get("alt", "").strip()]
    from_code = [i["alt"] for i in images if i.find_parent(class_="cell_output")]
    assert not [alt for alt in from_code if "_images/" in alt or alt.endswith(".png")]
    assert len(set(from_code)) == len(from_code), "two outputs share one text"


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_filled(html, page):
    for table in soup(page).article.select("table"):
        assert table.select("td"), f"a table without a cell: {table.get_text()[:80]}"
        texts = [c.get_text(strip=True) for c in table.select("td, th")]
        assert not {"", "nan", "None", "NaN", "inf"} & set(texts), texts[:12]


def target(page, link):
    """File and anchor that a relative link means."""
    parts = urlsplit(link)
    path = (HTML / page).parent / unquote(parts.path) if parts.path else HTML / page
    return path.resolve(), unquote(parts.fragment)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_the_book_resolves(html, page):
    broken = []
    for link in {a["href"] for a in soup(page).select("a[href]")}:
        if urlsplit(link).scheme:
            continue
        path, anchor = target(page, link)
        if not path.is_file():
            broken.append(link)
        elif anchor and path.suffix == ".html":
            other = soup(path.relative_to(HTML.resolve()).as_posix())
            if not other.find(id=anchor):
                broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_resolves(html, page):
    hosts = [URL, "https://colab.research.google.com/github"]
    links = [a["href"] for a in soup(page).select("a[href]")]
    mine = [link for link in links if URL and link.startswith(tuple(hosts))]
    paths = [m[1].partition("?")[0] for m in map(BLOB.search, mine) if m]
    assert not [path for path in paths if not (ROOT / unquote(path)).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_loaded_from_elsewhere(html, page):
    loaded = [tag["src"] for tag in soup(page).select("[src]")]
    loaded += [tag["href"] for tag in soup(page).select("link[href]")]
    local = [part for part in map(urlsplit, loaded) if not part.scheme]
    assert not [u for u in loaded if urlsplit(u).scheme not in ("", "data")]
    assert not [u for u in local if not target(page, u.geturl())[0].is_file()]


@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("notebooks/")])
def test_colab_is_offered_once_the_book_has_an_address(html, page):
    offered = soup(page).select('a[href*="colab.research.google.com"]')
    assert bool(offered) == URL.startswith("https://github.com/")
    assert "injected-parameters" not in (HTML / page).read_text(encoding="utf-8")


def test_ledger_shows_every_published_cell(html):
    rows = soup("book/reproducibility.html").select("#ledger tbody tr")
    published = (ROOT / "book" / "published").glob("*.yml")
    heads = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in published]
    assert len(rows) == sum(len(head["cells"]) for head in heads) > 0
