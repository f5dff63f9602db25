"""What the tests of the site share: its sources, its pages, a small invented ledger."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
sys.path.insert(0, str(ROOT / "workflow"))


def load_site():
    """`workflow/site.py` under another name: `site` is Python's own module."""
    spec = importlib.util.spec_from_file_location(
        "book_site", ROOT / "workflow" / "site.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


book_site = load_site()
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [f"{name}.html" for name in book_site.toc_files(TOC)]


@pytest.fixture(scope="session")
def html():
    """The folder of the built site."""
    if not (HTML / "index.html").exists():
        pytest.skip("the site is not built: run `make book`")
    return HTML


@pytest.fixture(scope="session")
def site():
    return book_site


def cell(paper="tnet", verdict="missing", **changes):
    """One object as `saccade_lib.records.status()` gives it, all values invented."""
    made = verdict != "missing"
    return {
        "paper": paper,
        "table": "table-1",
        "row": "a-row",
        "column": "a-column",
        "row_label": "a row",
        "column_label": "a column",
        "where": "Table 1",
        "value": 12.5,
        "printed": "12.5",
        "unit": "%",
        "recorded": 11.25 if made else None,
        "spread": 0.5 if made else None,
        "seeds": [0, 1, 2] if made else [],
        "profile": "standard" if made else None,
        "hardware": "a processor, 1 thread" if made else None,
        "data_source": "a set" if made else None,
        "verdict": verdict,
        "note": "",
    } | changes
