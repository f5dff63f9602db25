"""Grading on a toy assignment, and the real exercises' tests against wrong answers."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import assignments
import nbformat
import psutil
import pytest
from wrong_answers import WRONG

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "notebooks" / "assignments").glob("*.ipynb"))
CELL_SECONDS = 10

# A class of eleven is graded before the first of these tests can say anything.
pytestmark = pytest.mark.timeout(900)


# ---------------------------------------------------------------- a toy assignment


def cell(source, name="", points=None):
    """A solution cell, or with points a test cell."""
    tests = points is not None
    keys = {"schema_version": 3, "grade_id": name, "task": False}
    keys |= {"grade": tests, "locked": tests, "solution": not tests}
    keys |= {"points": points} if tests else {}
    made = nbformat.v4.new_code_cell(
        source, metadata={"nbgrader": keys} if name else {}
    )
    made["id"] = name or "set-up"
    return made


def solution(name, body):
    source = f"def {name}(x):\n    # Return it.\n    ### BEGIN SOLUTION\n    {body}\n"
    return cell(source + "    ### END SOLUTION", name)


def checked(name, true, hidden, points):
    source = f"print('yours', {name}(3), 'true', {true})\n### BEGIN HIDDEN TESTS\n"
    return cell(f"{source}{hidden}\n### END HIDDEN TESTS", f"{name}-tests", points)


def toy():
    """Twice of x for 2 points, its square for 1."""
    cells = [
        cell("import os\nimport signal\nimport time"),
        solution("twice", "return 2 * x"),
        checked("twice", 6, "assert twice(5) == 10", 2),
        solution("square", "return x * x"),
        checked("square", 9, "assert square(5) == 25", 1),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    (folder / "notebooks" / "assignments").mkdir(parents=True)
    nbformat.write(toy(), folder / "notebooks" / "assignments" / "toy.ipynb")
    return folder


@pytest.fixture(scope="module")
def copy(root):
    """The student's copy, as made."""
    (path,) = assignments.release(root / "release", root)
    return nbformat.read(path, 4)


def answered(copy, twice="", square=""):
    """A student's copy with these bodies in the two functions."""
    made = nbformat.from_dict(json.loads(json.dumps(copy)))
    for at, body in ((1, twice), (3, square)):
        if body:
            name = made.cells[at].metadata.nbgrader.grade_id
            made.cells[at].source = f"def {name}(x):\n    {body}"
    return made


def tampered(copy):
    """Wrong answers, one test emptied and worth more, the other deleted."""
    made = answered(copy, "return 0", "return 0")
    made.cells[2].source = "pass"
    made.cells[2].metadata.nbgrader.points = 100
    del made.cells[4]
    return made


@pytest.fixture(scope="module")
def rows(root, copy, tmp_path_factory):
    """The CSV of a class in which everything goes wrong, by student."""
    right = ("return 2 * x", "return x * x")
    deaf = "while True:\n        try:\n            time.sleep(1)\n"
    deaf += "        except BaseException:\n            pass"
    submissions = {
        "solution": toy(),
        "untouched": copy,
        "half right": answered(copy, right[0], "return 9"),
        "crash": answered(copy, "return 1 / 0", "return undefined"),
        "hangs": answered(copy, deaf, right[1]),
        "kernel killed": answered(
            copy, right[0], "os.kill(os.getpid(), signal.SIGKILL)"
        ),
        "tampered": tampered(copy),
        "no metadata": nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c.source) for c in copy.cells]
        ),
    }
    folder = tmp_path_factory.mktemp("class")
    for student, notebook in submissions.items():
        (folder / student).mkdir()
        nbformat.write(notebook, folder / student / "toy.ipynb")
    for student in ("empty", "misnamed", "damaged"):
        (folder / student).mkdir()
    nbformat.write(toy(), folder / "misnamed" / "toy (1).ipynb")
    (folder / "damaged" / "toy.ipynb").write_text('{"cells": [')
    (folder / "notes.txt").write_text("no student")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACCADE_CELL_SECONDS", str(CELL_SECONDS))
        graded = assignments.grade(folder, root, jobs=2)
    assignments.write(graded, folder / "grades.csv")
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("student", "score", "message"),
    [
        ("solution", 3, ""),
        ("untouched", 0, "NotImplementedError"),
        ("half right", 2, "square-tests: AssertionError"),
        ("crash", 0, "twice-tests: ZeroDivisionError: division by zero"),
        ("hangs", 0, f"a cell ran longer than {CELL_SECONDS} s"),
        ("kernel killed", 0, "the kernel died"),
        ("tampered", 0, "AssertionError"),
        ("no metadata", 0, "start again from a fresh copy"),
        ("empty", 0, "no toy.ipynb in the student's folder"),
        ("misnamed", 0, "there is toy (1).ipynb"),
        ("damaged", 0, "toy.ipynb is not a readable notebook"),
    ],
)
def test_each_submission_gets_its_points_and_a_message(rows, student, score, message):
    row = rows[student]
    assert (float(row["score"]), float(row["max_score"])) == (score, 3), row["message"]
    assert message in row["message"] if message else row["message"] == ""


def test_there_is_a_row_for_each_student_and_no_other(rows):
    assert len(rows) == 11
    columns = ["student", "assignment", "score", "max_score", "message"]
    assert all(list(row) == columns for row in rows.values())
    assert {row["assignment"] for row in rows.values()} == {"toy"}


def test_copy_says_what_to_do_and_gives_nothing_away(copy):
    text = "\n".join(c.source for c in copy.cells)
    assert text.count("raise NotImplementedError(") == 2
    assert "# Return it." in text and "'true', 9" in text
    for secret in ("SOLUTION", "HIDDEN", "x * x", "25"):
        assert secret not in text


def test_copy_that_was_worked_on_is_set_aside(root, copy):
    path = root / "release" / "toy.ipynb"
    fresh = path.read_text(encoding="utf-8")
    path.write_text("hours of work", encoding="utf-8")
    for _ in range(2):
        assert assignments.release(path.parent, root) == [path]
        assert path.read_text(encoding="utf-8") == fresh
        aside = path.with_name("toy.ipynb.bak")
        assert aside.read_text(encoding="utf-8") == "hours of work"


# ---------------------------------------------------------------- bad input


def test_command_names_what_is_wrong(tmp_path):
    script = [sys.executable, str(ROOT / "workflow" / "assignments.py"), "grade"]
    (tmp_path / "class").mkdir()
    for folder, target, message in [
        ("", "grades.csv", "no folder ''"),
        ("absent", "grades.csv", "no folder 'absent'"),
        ("class", "absent/grades.csv", "absent/grades.csv cannot be written"),
        ("class", "grades.csv", "no student's folder in class"),
    ]:
        words = [*script, folder, "--csv", target]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1 and message in done.stderr, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["class"]


@pytest.mark.parametrize("seconds", ["0", "-1", "1.5", "soon"])
def test_limit_must_be_whole_seconds(monkeypatch, seconds):
    monkeypatch.setenv("SACCADE_CELL_SECONDS", seconds)
    with pytest.raises(assignments.AssignmentError, match="whole number"):
        assignments.cell_seconds()


def test_full_disk_leaves_the_last_grades(tmp_path, monkeypatch):
    target = tmp_path / "grades.csv"
    target.write_text("earlier")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        assignments.write([assignments.Row("a", "toy", 1, 3)], target)
    assert target.read_text() == "earlier"


def test_messages_stay_in_their_column(tmp_path):
    odd = '\x1b[31mred\x1b[0m, "quoted"\nsecond line \ud800' + "x" * 1000
    row = assignments.Row("a,b", "toy", 0, 3, assignments.one_line(odd))
    assignments.write([row], tmp_path / "grades.csv")
    text = (tmp_path / "grades.csv").read_text(encoding="utf-8")
    (read,) = csv.DictReader(text.splitlines())
    assert read["student"] == "a,b"
    assert read["message"].startswith('red, "quoted" second line')
    assert len(read["message"]) < 500


def test_what_runs_too_long_is_ended_with_all_it_started(tmp_path):
    child = "import subprocess, sys, time; from pathlib import Path; "
    child += "p = subprocess.Popen(['sleep', '600'], start_new_session=True); "
    child += "Path('pid.part').write_text(str(p.pid)); "
    child += "Path('pid.part').rename('pid'); time.sleep(600)"
    with pytest.raises(assignments.AssignmentError, match="longer than 5 s"):
        assignments.run([sys.executable, "-S", "-c", child], tmp_path, limit=5)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
        assert time.monotonic() < deadline, "the grandchild lives on"
        time.sleep(0.1)


def test_what_takes_too_much_memory_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(assignments, "MEMORY", 2**27)
    child = "import time; full = b'x' * 2**28; time.sleep(600)"
    with pytest.raises(assignments.AssignmentError, match=r"more than 0\.125 GiB"):
        assignments.run([sys.executable, "-S", "-c", child], tmp_path, limit=300)


# ---------------------------------------------------------------- the real exercises


def code(path):
    """Sources of the code cells by id."""
    cells = nbformat.read(path, 4).cells
    return {c.id: c.source for c in cells if c.cell_type == "code"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_exercise_has_a_stub_a_check_and_hidden_tests(path):
    cells = [c for c in nbformat.read(path, 4).cells if "nbgrader" in c.metadata]
    ids = [c.metadata.nbgrader.grade_id for c in cells]
    assert len(set(ids)) == len(ids) and len(cells) % 2 == 0
    for asked, tests in zip(cells[::2], cells[1::2], strict=True):
        assert tests.id == f"{asked.id}-tests"
        assert asked.metadata.nbgrader.solution and tests.metadata.nbgrader.locked
        assert tests.metadata.nbgrader.points > 0
        shown, _, hidden = tests.source.partition("### BEGIN HIDDEN TESTS")
        assert "yours" in shown and "true" in shown and "assert" in hidden
        assert '"""' in asked.source.partition("### BEGIN SOLUTION")[0]


@pytest.fixture(scope="module")
def solved():
    """Names defined by each assignment when its solution is run."""
    spaces = {}
    for path in SOURCES:
        spaces[path.stem] = space = {}
        for source in code(path).values():
            exec(source, space)
    return spaces


MUTANTS = [(name, *change) for name, changes in WRONG.items() for change in changes]


@pytest.mark.parametrize(("name", "old", "new"), MUTANTS)
def test_a_wrong_answer_gets_no_points(solved, name, old, new):
    (path,) = [path for path in SOURCES if name in code(path)]
    cells = code(path)
    assert old in cells[name]
    space = dict(solved[path.stem])
    exec(cells[name], space)
    exec(cells[f"{name}-tests"], space)
    exec(cells[name].replace(old, new), space)
    with pytest.raises((AssertionError, RuntimeError, IndexError)):
        exec(cells[f"{name}-tests"], space)


def test_each_exercise_has_wrong_answers_to_it():
    asked = {name.removesuffix("-tests") for path in SOURCES for name in code(path)}
    assert set(WRONG) == asked - {"set-up", "imports"}
