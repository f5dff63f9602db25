"""What is committed: clean notebooks, one style, no traces of one machine."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import adopt
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = sorted(
    path
    for path in (ROOT / "notebooks").rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
COLAB = "https://colab.research.google.com/github/"
LONGEST_CELL = 25  # lines; what is longer belongs into the library
LARGEST_FILE = 2_500_000  # bytes


def name(path):
    return path.relative_to(ROOT / "notebooks").as_posix()


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


def committed():
    """Files that are in the repository or would be added to it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:  # no clone, but a folder of files
        made = {".venv", "_build", ".snakemake", "__pycache__"}
        files = [
            p for p in ROOT.rglob("*") if not made & set(p.relative_to(ROOT).parts)
        ]
    else:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in files if path.is_file()]


def texts():
    """Committed text files with their content."""
    for path in committed():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def run(module, *words):
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_there_are_chapters():
    assert CHAPTERS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_names_its_kernel_and_is_valid(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info.name == "python"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_has_no_outputs_and_short_cells(path):
    for number, cell in enumerate(code_cells(path), 1):
        lines = len(cell.source.splitlines())
        assert not cell.outputs, f"code cell {number} has outputs"
        assert cell.execution_count is None, f"code cell {number} has a count"
        assert lines <= LONGEST_CELL, f"code cell {number} has {lines} lines"


def test_nothing_is_left_to_strip():
    done = run("nbstripout", "--verify", "--keep-id", *NOTEBOOKS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_chapter_opens_with_set_up_parameters_and_session(path):
    cells = code_cells(path)
    tagged = [
        i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", [])
    ]
    assert len(tagged) == 1, "one code cell carries the tag `parameters`"
    at = tagged[0]
    assigned = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(cells[at].source).body
        if isinstance(node, ast.Assign)
    }
    assert assigned == {"profile": "quick", "seed": 0}
    assert "colab" in "".join(c.source for c in cells[:at]).lower(), "no set-up cell"
    assert "session.start(" in cells[at + 1].source


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_badge_is_the_one_of_the_address(path):
    cells = nbformat.read(path, 4).cells
    expected = adopt.badge(path.stem, *adopt.repository(ROOT))
    found = [cell.source for cell in cells if COLAB in cell.source]
    assert found == ([expected] if expected else []), "run `make adopt URL=…`"


def test_address_stands_in_the_configuration_alone():
    url, _ = adopt.repository(ROOT)
    elsewhere = [
        path.relative_to(ROOT).as_posix()
        for path, text in texts()
        if url and url in text and path.name != "_config.yml"
    ]
    assert not elsewhere


def test_no_path_of_one_machine_is_committed():
    own = "|".join(re.escape(str(path)) for path in (ROOT, Path.home()))
    pattern = re.compile(rf"(?<![\w.:/-])({own}|/home/\w+|/Users/\w+|C:\\Users\\\w+)/")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts()
        if path != Path(__file__)
        for match in pattern.finditer(text)
    ]
    assert not found


def test_no_large_file_is_committed():
    large = [path for path in committed() if path.stat().st_size > LARGEST_FILE]
    assert not large


def test_style_is_one():
    for words in (("check",), ("format", "--check")):
        done = run("ruff", *words, ".")
        assert done.returncode == 0, done.stdout + done.stderr


def test_exact_versions_stand_in_requirements_only():
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = [s.partition("#")[0].strip() for s in path.read_text().splitlines()]
        loose = [s for s in lines if s and not s.startswith("-r ") and "==" not in s]
        assert not loose, f"{path.name} leaves open: {loose}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
    exact = [floor for floor in floors if ">=" not in floor or "==" in floor]
    assert not exact
