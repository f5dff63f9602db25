"""The index: the glossary's terms, and the chapters and pages that use them."""

import re
from functools import cache
from html import escape
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
APART = ("glossary", "where-used")  # pages that only list terms
SAID = {  # terms that the text words otherwise
    "Coarse-to-fine search": "coarse.to.fine",
    "Foveation": "fovea",
    "Location policy": r"\bpolic(y|ies)\b",
    "Published value": "(printed|published) (value|number)",
    "Rate ratio": "learning rates of|`ratio`",
    "Shuffled policy": "shuffled|another image",
}


def glossary(root=ROOT):
    """Terms in the order of the page, each with its definition."""
    text = (root / "book" / "glossary.md").read_text(encoding="utf-8")
    body = re.search(r"```\{glossary\}\n(.*?)```", text, re.DOTALL)[1]
    found, term = {}, None
    for line in body.splitlines():
        if line and not line.startswith(" "):
            term = line.strip()
            found[term] = ""
        elif term:
            found[term] += f" {line.strip()}"
    return {term: about.strip() for term, about in found.items()}


def pages(root=ROOT):
    """Names of the pages in the order of the book, as in the table of contents."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    named = [toc["root"]]
    named += [c["file"] for part in toc.get("parts", []) for c in part["chapters"]]
    return [name for name in named if Path(name).name not in APART]


@cache
def words(path):
    """A page's prose on one line, lower case, without formulas and code."""
    if path.suffix == ".md":
        text = path.read_text(encoding="utf-8")
    else:
        cells = nbformat.read(path, 4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    text = re.sub(r"```.*?```|\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    return re.sub(r"[\s*]+", " ", text).lower()


def source(name, root=ROOT):
    """The file behind a page of the table of contents."""
    notebook = root / f"{name}.ipynb"
    return notebook if notebook.exists() else root / f"{name}.md"


def title(name, root=ROOT):
    """A page's first heading."""
    path = source(name, root)
    if path.suffix == ".ipynb":
        text = nbformat.read(path, 4).cells[0].source
    else:
        text = path.read_text(encoding="utf-8")
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1].strip()


def pattern(term):
    """What counts as a use: the term before any comma, in the singular or plural."""
    if term in SAID:
        return re.compile(SAID[term])
    stem = re.escape(term.partition(",")[0].lower())
    stem = re.sub(r"\\[ -]", "[ -]", stem)
    stem = re.sub(r"y$", "(y|ies)", stem)
    return re.compile(rf"\b{stem}(s|es)?\b")


def uses(root=ROOT):
    """Each term with the pages that use it."""
    texts = {name: words(source(name, root)) for name in pages(root)}
    return {
        term: [name for name, text in texts.items() if pattern(term).search(text)]
        for term in glossary(root)
    }


def anchor(term):
    """The id that Sphinx gives a term of the glossary."""
    from sphinx.util.nodes import _make_id

    return _make_id(f"term-{term}")


def table(root=ROOT):
    """The index as HTML, by letter."""
    names = {name: escape(title(name, root)) for name in pages(root)}
    rows = []
    for term, found in sorted(uses(root).items(), key=lambda item: item[0].lower()):
        links = [f'<a href="../{name}.html">{names[name]}</a>' for name in found]
        rows.append(
            f'<tr><th scope="row"><a href="glossary.html#{anchor(term)}">'
            f"{escape(term)}</a></th><td>{'; '.join(links)}</td></tr>"
        )
    return (
        '<table class="table" id="index"><thead><tr><th scope="col">Term</th>'
        '<th scope="col">Where</th></tr></thead><tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table>"
    )
