"""The two commands and what stands behind them, on a small book of their own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import adopt
import check
import environment
import keys
import nbformat
import pytest
import runs
import yaml

ROOT = Path(__file__).resolve().parents[1]
SITE = """
from pathlib import Path
if Path("broken").exists():
    raise SystemExit("site: a page is broken")
Path("_build/html").mkdir(parents=True, exist_ok=True)
Path("_build/html/index.html").write_text("the book")
print("site: built in 0 s")
"""
EXECUTE = """
import sys
from pathlib import Path
with open("executed.txt", "a") as file:
    print(sys.argv[1], file=file)
Path("_build/executed", sys.argv[1] + ".ipynb").write_text("done")
"""
RUNS = """
import json, os, sys
from pathlib import Path
FOLDER = Path("book/records/paper-a")
if sys.argv[1] == "list":
    keys = dict(paper="paper-a", row="row-b", profile="quick", command="")
    paths = {seed: FOLDER / f"row-b--quick--{seed}.json" for seed in range(3)}
    print(json.dumps([keys | dict(seed=s, path=str(p), recorded=p.exists())
                      for s, p in paths.items()]))
elif sys.argv[3].endswith("1"):
    raise SystemExit("the loss is not finite")
else:
    (FOLDER / f"{sys.argv[3]}.json").write_text("made")
"""
CONFIG = (
    'title: "T"\n\n# The address.\nrepository:\n  url: ""\n  branch: main\n\nx: 1\n'
)
URL = "https://github.com/owner/name"


def write_chapter(folder, name, *cells, words="Words."):
    """A chapter with a title, a parameters cell, and these code cells."""
    parameters = nbformat.v4.new_code_cell('profile = "quick"\nseed = 0')
    parameters.metadata["tags"] = ["parameters"]
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    for number, cell in enumerate(code):
        cell["id"] = f"code-{number}"
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(f"# {name}\n\n{words}"),
            parameters,
            *code,
        ],
        metadata={
            "kernelspec": {
                "name": "python3",
                "display_name": "P",
                "language": "python",
            },
            "language_info": {"name": "python"},
        },
    )
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def book(tmp_path):
    """A small book with the real workflow; its site is a stand-in."""
    root = tmp_path / "book"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("workflow", "requirements"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copyfile(ROOT / name, root / name)
    for name in ("notebooks", "saccade_lib", "book/published", "book/records/paper-a"):
        (root / name).mkdir(parents=True)
    (root / "_config.yml").write_text(CONFIG)
    (root / "_toc.yml").write_text("root: book/index\n")
    (root / "saccade_lib/__init__.py").write_text("")
    (root / "saccade_lib/runs.py").write_text(RUNS)
    (root / "book/published/paper-a.yml").write_text("paper: paper-a\n")
    (root / "workflow/site.py").write_text(SITE)
    write_chapter(root, "00-first", "print(profile)")
    write_chapter(root, "10-second", "print(2)")
    return root


def flow(book, *words):
    """Run workflow/flow.py in a book; returns the finished process."""
    command = [sys.executable, "workflow/flow.py", *words]
    return subprocess.run(
        command, cwd=book, capture_output=True, text=True, timeout=120
    )


def test_only_changed_content_is_made_again(book):
    (book / "workflow/execute.py").write_text(EXECUTE)

    def made():
        """Chapters executed and whether the site was built by one more `make book`."""
        executed, stamp = book / "executed.txt", book / "_build/site.done"
        executed.write_text("")
        before = stamp.stat().st_mtime_ns if stamp.exists() else 0
        done = flow(book, "book")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == str(book / "_build/html/index.html")
        return sorted(executed.read_text().split()), stamp.stat().st_mtime_ns != before

    assert made() == (["00-first", "10-second"], True)
    for path in (*book.glob("notebooks/*"), *book.glob("saccade_lib/*.py")):
        path.touch()
    assert made() == ([], False)
    write_chapter(book, "00-first", "print(profile)", words="Better words.")
    assert made() == ([], True)
    write_chapter(book, "10-second", "print(3)")
    assert made() == (["10-second"], True)
    (book / "saccade_lib/__init__.py").write_text("x = 1")
    assert made() == (["00-first", "10-second"], True)
    shutil.rmtree(book / "_build/html")
    assert made() == ([], True)


def test_failed_site_is_never_taken_for_finished(book):
    (book / "workflow/execute.py").write_text(EXECUTE)
    assert flow(book, "book").returncode == 0
    (book / "broken").touch()
    write_chapter(book, "00-first", "print(profile)", words="New words.")
    for _ in range(2):
        done = flow(book, "book")
        assert done.returncode
        assert "site: a page is broken" in done.stdout
        assert "the site was not built" in done.stdout
        assert (book / "_build/html/index.html").read_text() == "the book"


def test_failures_name_chapter_cell_and_error(book):
    write_chapter(book, "00-first", "x = 1", "x / 0", "print('never')")
    write_chapter(book, "20-dies", "import os", "os.kill(os.getpid(), 9)", "x = 2")
    done = flow(book, "book")
    assert done.returncode
    assert "FAILED 00-first, cell 4" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert "FAILED 20-dies, cell 4" in done.stdout
    assert "Kernel died" in done.stdout
    assert "without a result: 00-first, 20-dies" in done.stdout
    finished = [path.name for path in (book / "_build/executed").iterdir()]
    assert finished == ["10-second.ipynb"]
    assert not (book / "_build/html").exists()
    assert "without encryption" not in (book / "_build/logs/10-second.log").read_text()


def test_chapter_over_its_limit_is_stopped(book):
    write_chapter(book, "00-first", "import time; time.sleep(600)")
    command = [sys.executable, "workflow/execute.py", "00-first", "--limit", "2"]
    done = subprocess.run(command, cwd=book, capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert "over the limit of 2" in done.stdout
    assert not (book / "_build/executed").exists()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupted_book_leaves_nothing_half_made(book):
    note = book / "kernel.pid"
    sleep = f"import os, time\nopen({str(note)!r}, 'w').write(f'{{os.getpid()}}.')"
    write_chapter(book, "00-first", sleep, "time.sleep(600)")
    command = [sys.executable, "workflow/flow.py", "book"]
    process = subprocess.Popen(command, cwd=book, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: note.exists() and note.read_text().endswith("."))
    second = flow(book, "book")
    assert second.returncode
    assert "made by another process" in second.stderr
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=60)[0]
    assert process.returncode == 130
    wait_until(lambda: not alive(int(note.read_text()[:-1])))
    assert not (book / "_build/executed/00-first.ipynb").exists()
    assert not (book / "_build/html").exists()


def test_runs_are_made_once_and_never_again(book):
    folder = book / "book/records/paper-a"
    old = folder / "row-b--quick--0.json"
    old.write_text("made long ago")
    (book / "Snakefile").touch()
    text = (book / "workflow/slurm/config.yaml").read_text()
    (book / "profile").mkdir()
    local = text.replace("executor: slurm", "executor: local")
    (book / "profile/config.yaml").write_text(local)
    words = ("row-b", "--profile", "quick", "--cluster", "profile")
    done = flow(book, "record", *words)
    assert done.returncode  # seed 1 fails, seed 2 is made all the same
    assert "the loss is not finite" in done.stdout
    assert old.read_text() == "made long ago"
    made = sorted(path.name for path in folder.iterdir())
    assert made == ["row-b--quick--0.json", "row-b--quick--2.json"]
    command = [sys.executable, "workflow/runs.py", "list"]
    listed = subprocess.run(command, cwd=book, capture_output=True, text=True).stdout
    assert "2 of 3 runs are recorded" in listed
    assert re.search("make record RUN=row-b PROFILE=quick +# seed 1\n", listed)
    wrong = flow(book, "record", "row-x", "--profile", "quick")
    assert wrong.returncode
    assert "no row is called 'row-x'. Rows: row-b" in wrong.stderr


def run(paper, row, profile="quick", seed=0):
    return {"paper": paper, "row": row, "profile": profile, "seed": seed}


def test_select_asks_when_it_cannot_know():
    known = [run("a", "r"), run("b", "r"), run("a", "s"), run("a", "s", seed=1)]
    assert runs.select(known, "s", "quick") == known[2:]
    assert runs.select(known, "s", "quick", "1") == known[3:]
    assert runs.select(known, "b/r", "quick") == [known[1]]
    with pytest.raises(runs.UnknownRun, match="say a/r or b/r"):
        runs.select(known, "r", "quick")
    with pytest.raises(runs.UnknownRun, match="PROFILE=quick SEED=1"):
        runs.select(known, "s", "paper")


def test_key_holds_the_records_of_the_papers_it_names(book, monkeypatch):
    write_chapter(book, "00-first", 'table("paper-a", "table-1")')
    first, second = (keys.chapter_key(n, "quick", book) for n in keys.chapters(book))
    record = book / "book/records/paper-a/row--quick--0.json"
    record.with_name("row.json.1.part").write_text("{")
    assert keys.chapter_key("00-first", "quick", book) == first
    record.write_text("{}")
    assert keys.chapter_key("00-first", "quick", book) != first
    assert keys.chapter_key("10-second", "quick", book) == second
    assert keys.chapter_key("10-second", "standard", book) != second
    monkeypatch.setenv("SACCADE_DATA", "elsewhere")
    assert keys.chapter_key("10-second", "quick", book) != second


@pytest.mark.parametrize(
    ("versions", "way"),
    [
        ({}, "pins"),
        ({"numpy": "2.4.6"}, "pins"),
        ({"torch": "2.13.0+cpu"}, "pins"),
        ({"torch": "2.5.1", "torchvision": "0.20.1"}, "pins"),
        ({"torch": "1.13.1", "torchvision": "0.30.0"}, "pins"),
        ({"torch": "2.6.0", "torchvision": "0.21.0"}, "host"),
        ({"torch": "2.11.0+cu128", "torchvision": "0.26.0+cu128"}, "host"),
        ({"torch": "3.0.0a0", "torchvision": "1.0"}, "host"),
    ],
)
def test_a_torch_that_is_there_is_kept(versions, way):
    assert environment.choose(versions)[0] == way


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The set-up in a folder of its own, its installations replaced by a list."""
    root = tmp_path / "house"
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    venv = root / ".venv"
    new = {"ROOT": root, "VENV": venv, "PYTHON": venv / "bin/python"}
    new |= {"STAMP": venv / "made-from.json", "LOG": root / "_build/logs/log"}
    for name, value in new.items():
        monkeypatch.setattr(environment, name, value)
    made = []
    monkeypatch.setattr(environment, "install", lambda base: made.append(base["way"]))
    return root, made


def test_environment_is_made_again_only_for_other_pins(house, monkeypatch):
    root, made = house
    monkeypatch.setattr(environment, "host_versions", dict)
    environment.make()
    (root / "requirements/run.txt").touch()
    environment.make()
    assert made == ["pins"]
    with (root / "requirements/run.txt").open("a") as file:
        print("another==1.0", file=file)

    def fail(base):
        raise environment.SetUpError("no network")

    with monkeypatch.context() as patch, pytest.raises(environment.SetUpError):
        patch.setattr(environment, "install", fail)
        environment.make()
    environment.make()  # what failed is not taken for done
    assert made == ["pins", "pins"]
    (root / ".venv/bin/python").unlink()
    environment.make()
    assert made == ["pins", "pins", "pins"]


def test_host_packages_are_seen_and_tools_are_pinned(house, monkeypatch):
    root, made = house
    versions = {"torch": "2.7.0", "torchvision": "0.22.0"}
    monkeypatch.setattr(environment, "host_versions", lambda: versions)
    environment.make()
    assert made == ["host"]
    probe = "import sys, numpy; print(sys.prefix, numpy.__version__)"
    python = root / ".venv/bin/python"
    seen = subprocess.run([python, "-c", probe], capture_output=True, text=True)
    import numpy

    assert seen.stdout.split() == [str(root / ".venv"), numpy.__version__], seen.stderr
    tools = environment.tools()
    assert any(line.startswith("snakemake==") for line in tools)
    assert not any(line.startswith("torch") for line in tools)


def test_foreign_folder_is_not_deleted(house):
    root, _ = house
    (root / ".venv").mkdir()
    (root / ".venv/precious").touch()
    with pytest.raises(environment.SetUpError, match="move it away"):
        environment.make()
    assert (root / ".venv/precious").exists()


def make(*words):
    """Call the Makefile as from a shell, also from within `make test`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def test_make_without_a_python_says_so():
    done = make("environment", "PYTHON=")
    assert done.returncode == 2
    assert "No Python 3.11 or newer was found" in done.stderr


def test_help_names_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = next(line for line in text.splitlines() if line.startswith(".PHONY"))
    named = {line.split()[1] for line in make("help").stdout.splitlines()}
    assert named == set(phony.split()[1:])


def test_tally_counts_reports_and_crashes(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/>'
        "</testsuites>"
    )
    assert check.tally(report, 1) == Counter(passed=3, failed=3, skipped=3)
    report.write_text('<testsuites><testsuite tests="2" failures="0"/></testsuites>')
    assert check.tally(report, 0) == Counter(passed=2)
    assert check.tally(report, 3)["failed"] == 1
    report.write_text("<testsuites><tests")
    assert check.tally(report, 0)["failed"] == 1
    assert check.tally(tmp_path / "absent.xml", 0)["failed"] == 1


def test_adopt_writes_address_and_badges_and_takes_them_away(book):
    pages = [book / "_config.yml", *sorted(book.glob("notebooks/*.ipynb"))]
    adopt.adopt("", book)
    before = [page.read_text() for page in pages]
    for url in (URL, f"{URL}.git", f"{URL}/"):
        adopt.adopt(url, book)
        assert adopt.repository(book) == (URL, "main")
    assert "# The address." in pages[0].read_text()
    cell = nbformat.read(pages[1], 4).cells[1]
    nbformat.validate(nbformat.read(pages[1], 4))
    assert cell.source.endswith(
        "(https://colab.research.google.com/github/owner/name/blob/main"
        "/notebooks/00-first.ipynb)"
    )
    adopt.adopt("https://gitlab.com/owner/name", book)  # Colab cannot open it
    assert "colab" not in pages[1].read_text()
    adopt.adopt("", book)
    assert [page.read_text() for page in pages] == before


@pytest.mark.parametrize(
    "url", ["owner/name", "https://github.com/owner", "https://a b/c/d"]
)
def test_adopt_refuses_what_is_no_address(book, url):
    before = {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
    with pytest.raises(adopt.AdoptError, match="is no address like"):
        adopt.adopt(url, book)
    assert before == {p: p.read_bytes() for p in book.rglob("*") if p.is_file()}


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, "workflow")
import adopt
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
adopt.replace(Path(sys.argv[1]), "x" * 5000)
"""


def test_a_full_disk_leaves_the_page_as_it_was(tmp_path):
    page = tmp_path / "page.ipynb"
    page.write_text("old")
    command = [sys.executable, "-c", FULL_DISK, str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["page.ipynb"]
    assert page.read_text() == "old"


def test_automation_runs_the_same_command_and_stays_below_jupyter_book_2():
    flows = {p.stem: p.read_text() for p in (ROOT / ".github/workflows").glob("*.yml")}
    assert set(flows) == {"check", "colab", "gpu"}
    assert all(yaml.safe_load(text)["jobs"] for text in flows.values())
    assert "cache" not in json.dumps(yaml.safe_load(flows["colab"]))
    bot = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
    ignored = [rule for entry in bot["updates"] for rule in entry.get("ignore", [])]
    assert {"dependency-name": "jupyter-book", "versions": [">=2"]} in ignored
