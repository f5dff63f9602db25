"""Students' copies of the assignments, and their grading, both by nbgrader.

    python workflow/assignments.py release
    python workflow/assignments.py check
    python workflow/assignments.py grade FOLDER --csv grades.csv

An assignment is written once, as its solution: notebooks/assignments/NAME.ipynb. The
student's copy is derived from it. FOLDER holds a folder a student, each with NAME.ipynb
for every assignment handed in. The CSV has a line for each student and assignment.

Every submission is graded by a process of its own, in a course folder of its own, so
that none can stop or reach another's result. This is no sandbox: the students' code
runs as you.
"""

import argparse
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import adopt
import keys
import psutil
from traitlets.config import Config

ROOT = keys.ROOT
CELL_SECONDS = 120  # a cell; $SACCADE_CELL_SECONDS overrides
SUBMISSION_SECONDS = 600  # beyond the limit of a cell: all cells and nbgrader itself
MEMORY = 4 * 2**30  # bytes a submission may take, with all that it started
LONGEST_MESSAGE = 400  # characters
STUDENT = "student"  # nbgrader's name for everybody: one course folder a submission
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "book"
c.Execute.timeout = {seconds}
c.Execute.interrupt_on_timeout = False  # a hanging cell ends the submission
c.Execute.startup_timeout = 300
c.Execute.iopub_timeout = 60
c.Execute.kernel_name = "python3"
c.OverwriteCells.add_missing_cells = True
"""
STUB = 'raise NotImplementedError("write your code in place of this line")'


class AssignmentError(Exception):
    """What is wrong, and what to do."""


@dataclass
class Row:
    """A line of the CSV."""

    student: str
    assignment: str
    score: float
    max_score: float
    message: str = ""


# ---------------------------------------------------------------- the course


def names(root=ROOT):
    """Names of the assignments."""
    return sorted(p.stem for p in (root / "notebooks" / "assignments").glob("*.ipynb"))


def cell_seconds():
    """Wall-clock limit of a cell in seconds."""
    given = os.environ.get("SACCADE_CELL_SECONDS", str(CELL_SECONDS))
    if not given.isdigit() or not int(given):
        raise AssignmentError(
            f"SACCADE_CELL_SECONDS must be a whole number of seconds, got {given!r}"
        )
    return int(given)


def search_path():
    """PATH with this environment first: nbgrader calls alembic by its bare name."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join([own, *(folder for folder in path if folder != own)])


def make_course(folder, root=ROOT):
    """A course folder with sources, students' copies and an empty gradebook.

    Returns the points of each assignment by its name.
    """
    from nbgrader.api import Gradebook
    from nbgrader.apps.api import NbGraderAPI

    os.environ["PATH"] = search_path()
    seconds = cell_seconds()
    (folder / "nbgrader_config.py").write_text(CONFIG.format(seconds=seconds))
    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.course_id = "book"
    config.ClearSolutions.code_stub = {"python": STUB}
    nbgrader = NbGraderAPI(config=config)
    for name in names(root):
        source = folder / "source" / name
        source.mkdir(parents=True)
        shutil.copy(root / "notebooks" / "assignments" / f"{name}.ipynb", source)
        done = nbgrader.generate_assignment(name)
        if not done["success"]:
            text = done.get("log") or done.get("error") or "nbgrader gave no reason"
            raise AssignmentError(f"no student's copy of {name}:\n{text}")
    with Gradebook(f"sqlite:///{folder}/gradebook.db", "book") as book:
        return {a.name: a.max_score for a in book.assignments}


def release(target, root=ROOT):
    """Write the students' copies into a folder; returns their paths.

    A copy that somebody worked on is set aside as NAME.ipynb.bak.
    """
    with tempfile.TemporaryDirectory() as folder:
        make_course(Path(folder), root)
        target.mkdir(parents=True, exist_ok=True)
        for made in Path(folder).glob("release/*/*.ipynb"):
            copy, text = target / made.name, made.read_text(encoding="utf-8")
            if copy.exists() and copy.read_text(encoding="utf-8") != text:
                os.replace(copy, copy.with_suffix(".ipynb.bak"))
            adopt.replace(copy, text)
    return [target / f"{name}.ipynb" for name in names(root)]


# ---------------------------------------------------------------- one submission


def environment(course):
    """The kernel of this environment, this book's library, nobody's own settings."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_CONFIG_DIR": str(course / ".jupyter"),
        "IPYTHONDIR": str(course / ".ipython"),
        "SACCADE_BOOK": str(ROOT),
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | threads | own


def family(process):
    """A process and what it started: kernels have a session of their own."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def stop(process):
    """End a process and what it started."""
    for member in family(process):
        with suppress(psutil.Error):
            member.kill()
    process.wait()


def watch(process, limit):
    """Wait for a process; returns why it must be stopped, or None once it ended."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            return None
        with suppress(psutil.Error):  # one of them ended meanwhile
            if sum(each.memory_info().rss for each in family(process)) > MEMORY:
                return f"it took more than {MEMORY / 2**30:g} GiB of memory"
    return f"it ran longer than {limit} s"


def run(command, course, limit):
    """Run a command in the course folder.

    Raises AssignmentError if it fails, takes too much memory, or runs longer than
    `limit` seconds; nothing that it started is left running then.
    """
    log = course / "autograde.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            cwd=course,
            env=environment(course),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            stopped = watch(process, limit)
        finally:
            if process.poll() is None:
                stop(process)
    if stopped:
        raise AssignmentError(f"stopped: {stopped}")
    if process.returncode:
        raise AssignmentError(reason(log.read_text(encoding="utf-8", errors="replace")))


def find(folder, name):
    """The notebook of an assignment in a student's folder.

    Raises AssignmentError with what lies there instead.
    """
    for path in (folder / f"{name}.ipynb", folder / name / f"{name}.ipynb"):
        if path.is_file():
            return path
    others = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    )
    instead = f"; there is {', '.join(others)}" if others else ""
    raise AssignmentError(f"no {name}.ipynb in the student's folder{instead}")


def autograde(notebook, name, base):
    """Grade one notebook in a copy of the course folder `base`.

    Returns its points and a message. Raises AssignmentError where it gets none.
    """
    from nbgrader.api import Gradebook

    read(notebook)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        course = Path(folder)
        shutil.copytree(base, course, dirs_exist_ok=True)
        submitted = course / "submitted" / STUDENT / name
        submitted.mkdir(parents=True)
        shutil.copy(notebook, submitted / f"{name}.ipynb")
        command = [sys.executable, "-m", "nbgrader", "autograde", name, "--create"]
        limit = cell_seconds() + SUBMISSION_SECONDS
        run([*command, f"--student={STUDENT}"], course, limit)
        graded = read(course / "autograded" / STUDENT / name / f"{name}.ipynb")
        with Gradebook(f"sqlite:///{course}/gradebook.db", "book") as book:
            return book.find_submission(name, STUDENT).score, errors(graded)


def read(path):
    """A notebook's content, or an AssignmentError that says what the file is not."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        notebook = None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise AssignmentError(f"{path.name} is not a readable notebook")
    return notebook


def reason(log):
    """Why nbgrader gave no result, in a line."""
    if "CellTimeoutError" in log:
        preview = re.search(r"cell contents:\s*-{3,}\s*(.*)", log)
        which = f", in the cell that starts with: {preview[1]}" if preview else ""
        return f"stopped: a cell ran longer than {cell_seconds()} s{which}"
    if "DeadKernelError" in log:
        return "the kernel died while a cell ran"
    found = re.findall(r"^\s*(\w[\w.]*(?:Error|Exception)\b.*)", log, re.M)
    last = f" ({found[-1]})" if found else ""
    return f"nbgrader could not grade it{last}: start again from a fresh copy"


def errors(notebook):
    """Errors of an executed notebook, each with the names of its cells, in a line."""
    found = {}
    for number, cell in enumerate(notebook["cells"], 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                place = cell["metadata"].get("nbgrader", {}).get("grade_id")
                text = f"{output['ename']}: {output['evalue']}".rstrip(": ")
                found.setdefault(text, []).append(place or f"cell {number}")
    return "; ".join(f"{', '.join(cells)}: {text}" for text, cells in found.items())


def one_line(text):
    """Text that fits a cell of the CSV and that every terminal can show."""
    text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = " ".join(text.replace("\0", "").split())
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


# ---------------------------------------------------------------- a folder of them


def grade_one(folder, name, base, points):
    """The row of one student and assignment; whatever happens, there is one."""
    try:
        score, message = autograde(find(folder, name), name, base)
    except AssignmentError as error:
        score, message = 0.0, str(error)
    except Exception as error:  # one student's file must not cost the others theirs
        score, message = 0.0, f"not graded: {type(error).__name__}: {error}"
    row = Row(one_line(folder.name), name, score, points, one_line(message))
    print(f"{row.student}  {name}  {score:g} / {points:g}  {row.message}", flush=True)
    return row


def grade(submissions, root=ROOT, jobs=1):
    """Grade a folder of students' folders; returns the rows."""
    students = [p for p in sorted(submissions.iterdir()) if p.is_dir()]
    students = [p for p in students if not p.name.startswith(".")]
    if not students:
        raise AssignmentError(
            f"no student's folder in {submissions}: expected STUDENT/NAME.ipynb with "
            f"NAME one of {', '.join(names(root))}"
        )
    for stray in sorted(submissions.glob("*.ipynb")):
        print(f"left out: {stray.name} lies in no student's folder", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        points = make_course(base, root)
        work = [(s, name, base, points[name]) for s in students for name in points]
        with ThreadPoolExecutor(jobs) as pool:
            rows = [pool.submit(grade_one, *each) for each in work]
            try:
                return [row.result() for row in rows]
            except BaseException:  # Ctrl-C: start no more of them
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def write(rows, path):
    """Write the CSV whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(Row))
    table.writerows(astuple(row) for row in rows)
    adopt.replace(path, text.getvalue())


def check(root=ROOT, jobs=1):
    """Rows that are wrong: a solution below full marks, an untouched copy above 0."""
    os.environ.setdefault("SACCADE_CELL_SECONDS", "600")  # nothing here hangs
    with tempfile.TemporaryDirectory() as folder:
        release(Path(folder) / "untouched copy", root)
        sources = root / "notebooks" / "assignments"
        hidden = shutil.ignore_patterns(".*")
        shutil.copytree(sources, Path(folder) / "solution", ignore=hidden)
        rows = grade(Path(folder), root, jobs)
    expected = {"solution": 1, "untouched copy": 0}
    return [row for row in rows if row.score != expected[row.student] * row.max_score]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("release", help="write the students' copies")
    actions.add_parser("check", help="full marks for solutions, none for copies")
    grading = actions.add_parser("grade", help="grade a folder of submissions")
    grading.add_argument("folder", help="holds a folder a student")
    grading.add_argument("--csv", required=True, help="where to write the result")
    for action in actions.choices.values():
        action.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args()


def act(args):
    """Do what was asked for; returns the exit status."""
    if args.action == "release":
        for path in release(ROOT / "_build" / "assignments" / "release"):
            print(path.relative_to(ROOT))
    elif args.action == "check":
        wrong = check(jobs=args.jobs)
        print(f"assignments: {len(names())} checked, {len(wrong)} rows are wrong")
        return bool(wrong) or not names()
    else:
        folder, target = Path(args.folder), Path(args.csv)
        if not args.folder or not folder.is_dir():
            raise AssignmentError(
                f"no folder {args.folder!r}: make grade FOLDER=submissions"
            )
        if target.is_dir() or not target.absolute().parent.is_dir():
            raise AssignmentError(f"{target} cannot be written: correct --csv")
        write(grade(folder, jobs=args.jobs), target)
        print(f"written: {target}")
    return 0


def main():
    try:
        sys.exit(act(parse()))
    except AssignmentError as error:
        sys.exit(f"assignments: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
