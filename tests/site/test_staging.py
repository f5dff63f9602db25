"""How the sources become what the renderer reads."""

import copy
import sys

import nbformat
import pytest
from conftest import ROOT, cell

V4 = nbformat.v4


def notebook(*code, text="# A chapter"):
    cells = [V4.new_markdown_cell(text), *map(V4.new_code_cell, code)]
    return V4.new_notebook(cells=cells)


def executed(source, injected=None):
    """The notebook as papermill leaves it."""
    made = copy.deepcopy(source)
    for number, code in enumerate(c for c in made.cells if c.cell_type == "code"):
        code.execution_count = number
        code.outputs = [V4.new_output("stream", text=f"output {number}")]
    if injected:
        extra = V4.new_code_cell(injected, metadata={"tags": ["injected-parameters"]})
        made.cells.insert(2, extra)
    return made


def outputs(made):
    return [c.outputs[0].text for c in made.cells if c.cell_type == "code"]


def test_committed_words_win_and_outputs_come_from_the_execution(site):
    ran = executed(notebook("a = 1", "a"), injected="a = 2")
    merged = site.merge(notebook("a = 1", "a", text="# Corrected"), ran, "x")
    assert merged.cells[0].source == "# Corrected"
    assert outputs(merged) == ["output 0", "output 1"]
    assert "a = 2" not in [c.source for c in merged.cells]


@pytest.mark.parametrize("code", [("a = 3", "a"), ("a = 1",), ("a = 1", "a", "b")])
def test_outputs_of_other_code_are_refused(site, code):
    with pytest.raises(site.SiteError, match="chapter-x: its code changed"):
        site.merge(notebook(*code), executed(notebook("a = 1", "a")), "chapter-x")


def test_a_failed_execution_is_refused(site):
    ran = executed(notebook("a"))
    ran.metadata["papermill"] = {"exception": True}
    with pytest.raises(site.SiteError, match="failed"):
        site.merge(notebook("a"), ran, "x")


def config(url):
    return {
        "html": {"use_issues_button": True, "favicon": "f.svg"},
        "repository": {"url": url, "branch": "main"},
        "launch_buttons": {"notebook_interface": "jupyterlab", "colab_url": "C"},
    }


@pytest.mark.parametrize(
    ("url", "issues", "colab"),
    [
        ("", False, False),
        (None, False, False),
        ("https://example.org/OWNER/NAME", True, False),
        ("https://github.com/OWNER/NAME", True, True),
    ],
)
def test_only_buttons_that_lead_somewhere_are_shown(site, url, issues, colab):
    staged = site.staged_config(config(url))
    assert ("use_issues_button" in staged["html"]) == issues
    assert ("colab_url" in staged["launch_buttons"]) == colab
    assert staged["html"]["favicon"] == "f.svg"


def test_toc_is_read_at_every_depth(site):
    toc = {
        "root": "a",
        "parts": [{"chapters": [{"file": "b", "sections": [{"file": "c"}]}]}],
    }
    assert site.toc_files(toc) == ["a", "b", "c"]


@pytest.fixture
def book(tmp_path):
    """A book of one page, with a site that an earlier build left."""
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("the earlier build")
    (tmp_path / "book" / "_static").mkdir(parents=True)
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    settings = "title: A book\nrepository: {url: ''}\nhtml: {}\nlaunch_buttons: {}\n"
    (tmp_path / "_config.yml").write_text(settings + "only_build_toc_files: true\n")
    return tmp_path


def test_a_warning_fails_the_build_and_leaves_the_earlier_site(site, book):
    (book / "book" / "index.md").write_text("# A book\n\n{ref}`no-such-place`\n")
    with pytest.raises(site.SiteError, match="no-such-place"):
        site.build(book, [cell()])
    built = book / "_build" / "html"
    assert (built / "index.html").read_text() == "the earlier build"
    assert not list((book / "_build").glob(".site-*"))


def test_a_good_build_replaces_the_earlier_site(site, book):
    index = site.build(book, [cell()])
    assert index == book / "_build" / "html" / "index.html"
    assert "the earlier build" not in index.read_text()
    assert (index.parent / "book" / "index.html").exists()
    assert not list((book / "_build").glob("html.old-*"))


@pytest.mark.parametrize("name", ["notebooks/10-x", "book/y"])
def test_a_page_that_is_missing_is_named(site, book, name):
    toc = f"format: jb-book\nroot: book/index\nchapters:\n- file: {name}\n"
    (book / "_toc.yml").write_text(toc)
    with pytest.raises(site.SiteError, match=f"{name}.*is missing"):
        site.build(book, [cell()])


def test_style_sheet_stays_small():
    sheet = (ROOT / "book" / "_static" / "style.css").read_text(encoding="utf-8")
    assert len(sheet.splitlines()) <= 100


def test_python_s_own_site_module_is_not_shadowed():
    assert "workflow" not in sys.modules["site"].__file__
