"""The book as a whole: terms, reasons for what was not reached, and its size."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from saccade_lib import records

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

import disagreements  # noqa: E402
import terms  # noqa: E402

LARGEST = 40_000_000  # bytes of all files under version control
# Terms that a reader of any chapter will look for.
WANTED = (
    *("Baseline", "Cell", "Centre only", "Control variate", "Crop", "Data source"),
    *("Distractor", "Effective sample size", "ELBO", "Expected posterior entropy"),
    *("Fold-over", "Glimpse", "Hard attention", "Hit rate", "Image pyramid"),
    *("Importance weight", "Information gain", "Oracle places", "Pathwise gradient"),
    *("Permutation test", "Profile", "Proposal", "Proxy", "Proxy only"),
    *("Random places", "Record", "Reward to go", "Saccade", "Saliency map"),
    *("Saliency sampler", "Score-function estimator", "Soft attention"),
    *("Spatial transformer", "Surrogate loss", "Temperature", "Verdict"),
)


def test_every_term_is_defined_and_used():
    defined = terms.glossary()
    assert not [term for term, about in defined.items() if len(about) < 20]
    assert not [term for term, found in terms.uses().items() if not found]


def test_the_glossary_has_what_readers_look_for_and_no_term_twice():
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    assert set(WANTED) <= set(terms.glossary())
    heads = [line for line in text.splitlines() if line in terms.glossary()]
    assert len(heads) == len(set(heads)) == len(terms.glossary())


def test_every_reference_to_a_term_is_defined():
    known = {term.lower() for term in terms.glossary()}
    for path in [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]:
        for found in re.findall(r"\{term\}`([^`]+)`", path.read_text("utf-8")):
            term = re.sub(r"\s+", " ", found.replace("\\n", " "))
            term = re.sub(r".*<(.+)>", r"\1", term)
            assert term.lower() in known, (path.name, term)


@pytest.mark.parametrize(
    "term, text, used",
    [
        ("Decoy", "two decoys stand", True),
        ("Fold-over", "a fold over the edge", True),
        ("Proxy", "their proxies", True),
        ("Base", "a baseline", False),
        ("Convergence, iterations to", "convergence is slow", True),
    ],
)
def test_a_use_is_a_whole_word_in_either_number(term, text, used):
    assert bool(terms.pattern(term).search(text)) == used


def test_the_index_lists_each_term_once():
    made = terms.table()
    assert made.count("<tr>") == 1 + len(terms.glossary())
    assert "<td></td>" not in made


def test_every_number_that_is_not_reached_has_its_reason():
    status = records.status()
    without = [
        f"{cell['paper']} {cell['table']} {cell['row']}: {cell['verdict']}"
        for group, cells in disagreements.sorted_out(status)
        if group is None
        for cell in cells
    ]
    assert not without, "add them to book/disagreements.yml"
    made = disagreements.page(status, str)
    kinds = [records.verdict_kind(cell["verdict"]) for cell in status]
    wanted = sum(kind in disagreements.NOT_REACHED for kind in kinds)
    assert made.count('<tr><th scope="row">') == wanted
    assert not re.search(r"<td>\s*</td>", made)


def test_reasons_are_whole_and_name_chapters_that_exist():
    chapters = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    text = (ROOT / "book" / "disagreements.yml").read_text(encoding="utf-8")
    for group in yaml.safe_load(text):
        needed = {"paper", "tables", "verdicts", "chapter", "reason", "tried"}
        assert needed <= set(group) <= needed | {"rows"}
        assert group["paper"] in records.papers() and group["chapter"] in chapters
        assert set(group["verdicts"]) <= set(disagreements.NOT_REACHED)
        tables = {cell.table for cell in records.published(group["paper"])}
        rows = {cell.row for cell in records.published(group["paper"])}
        assert set(group["tables"]) <= tables and set(group.get("rows", [])) <= rows


def test_the_repository_is_small():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git repository: nothing says which files belong to it")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    size = sum(path.stat().st_size for path in files if path.is_file())
    assert size < LARGEST, f"{size / 1e6:.1f} MB are committed"
