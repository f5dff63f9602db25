"""The template grade book, and the grades of a class in it.

    python workflow/gradebook.py                           # renews the template
    python workflow/gradebook.py --grades grades.csv --csv class.csv

The template's columns are the assignments with their points, and it is kept in
`book/_static/gradebook.csv`. With `--grades`, what `make grade` wrote is entered.
"""

import argparse
import csv
import io
import sys
from pathlib import Path

import adopt
import keys
import nbformat

ROOT = keys.ROOT
TEMPLATE = ROOT / "book" / "_static" / "gradebook.csv"
DROPPED = 2  # assignments that a student may miss
SHARE = {"assignments": 60, "project": 40}  # per cent of the grade
NOBODY = "(points)"  # the line that says what each column is worth


class GradebookError(Exception):
    """What is wrong, and what to do."""


def points(root=ROOT):
    """Points of each assignment, by name."""
    found = {}
    for path in sorted((root / "notebooks" / "assignments").glob("*.ipynb")):
        cells = nbformat.read(path, 4).cells
        about = [c.metadata.get("nbgrader", {}) for c in cells]
        found[path.stem] = sum(each.get("points", 0) for each in about)
    return found


def of_assignments(shares):
    """Per cent: the mean of shares from 0 to 1, the lowest `DROPPED` left out.

    With fewer than twice as many nothing is left out.
    """
    kept = sorted(shares)[DROPPED:] if len(shares) >= 2 * DROPPED else list(shares)
    return 100 * sum(kept) / len(kept) if kept else 0.0


def read(path, worth):
    """Student to assignment to score, from the lines of `make grade`."""
    found = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["assignment"] not in worth:
                    raise GradebookError(
                        f"{path}: no assignment {line['assignment']!r}: one of "
                        f"{', '.join(worth)}"
                    )
                of = found.setdefault(line["student"], {})
                of[line["assignment"]] = float(line["score"])
    except (OSError, KeyError, ValueError) as error:
        raise GradebookError(
            f"{path} is not what `make grade` writes: {error!r}"
        ) from None
    return found


def lines(worth, grades, assigned=()):
    """The grade book: head, points, one line a student.

    Args:
        assigned: the assignments that were set; all that anybody handed in, if empty.
    """
    assigned = list(assigned) or sorted({a for of in grades.values() for a in of})
    yield ["student", *worth, "assignments, %", "project, %", "grade, %"]
    yield [NOBODY, *(f"{p:g}" for p in worth.values()), "100", "100", "100"]
    for student, of in sorted(grades.items()):
        total = of_assignments([of.get(a, 0) / worth[a] for a in assigned])
        scores = [f"{of[a]:g}" if a in of else "" for a in worth]
        yield [student, *scores, f"{total:.1f}", "", ""]


def text(rows):
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerows(rows)
    return made.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grades", help="written by `make grade`")
    parser.add_argument("--csv", help="where the class's grade book goes")
    args = parser.parse_args()
    worth = points()
    if bool(args.grades) != bool(args.csv):
        raise GradebookError("--grades and --csv go together")
    target = Path(args.csv) if args.csv else TEMPLATE
    adopt.replace(
        target, text(lines(worth, read(args.grades, worth) if args.grades else {}))
    )
    print(f"written: {target}")


if __name__ == "__main__":
    try:
        main()
    except GradebookError as error:
        sys.exit(f"gradebook: {error}")
