"""The syllabus names what there is, in order; the grade book has its points."""

import csv
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

import gradebook  # noqa: E402
import minutes  # noqa: E402

PAGE = (ROOT / "book" / "course.md").read_text(encoding="utf-8")
POINTS = gradebook.points()
CLOSE = 6  # minutes by which a typed reading time may be off


def lines(heading):
    """The cells of each row of the tables under a heading of the second level."""
    text = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    cells = [[c.strip() for c in row.strip("|").split("|")] for row in rows]
    return [row for row in cells[1:] if set(row[0]) - set("- ")]


def pages(cell):
    return re.findall(r"\{doc\}`([^`]+)`", cell)


def file_of(page):
    name = page.removeprefix("../notebooks/")
    return ROOT / (f"notebooks/{name}.ipynb" if name != page else f"book/{page}.md")


def test_every_chapter_is_read_once_in_the_order_of_the_book():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    chapters = [f.removeprefix("notebooks/") for f in files if "notebooks/" in f]
    read = [p for row in lines("Ten weeks") for p in pages(row[2])]
    read = [p.removeprefix("../notebooks/") for p in read if "notebooks/" in p]
    assert read == chapters


def test_every_chapter_has_its_question():
    asked = [p for row in lines("The question of each chapter") for p in pages(row[2])]
    assert {file_of(p).stem for p in asked} >= set(minutes.keys.chapters())
    numbers = [int(row[0]) for row in lines("The question of each chapter")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_reading_minutes_are_those_of_the_pages():
    for row in lines("Ten weeks"):
        counted = sum(minutes.reading(file_of(page)) for page in pages(row[2]))
        assert abs(counted - int(row[3])) <= CLOSE, (row[2], counted)


def test_every_chapter_has_its_minutes():
    made = minutes.table()
    assert made.count("<tr>") == 1 + len(minutes.keys.chapters())
    assert not re.search(r"<td>\s*</td>", made)
    noted = minutes.load()
    assert set(noted) <= set(minutes.keys.chapters())
    assert all(each["seconds"] > 0 and each["hardware"] for each in noted.values())


def test_each_assignment_is_due_once_and_after_its_chapter():
    due, read = [], []
    for row in lines("Ten weeks"):
        names = re.findall(r"`(\d\d-[a-z-]+)`", row[4])
        last = row[0] == "after"
        read += pages(row[2]) if last else []
        stems = {file_of(p).stem[:2] for p in read}
        assert all(n[:2] in stems for n in names if n[:2] != "90"), row
        read += [] if last else pages(row[2])
        due += names
    assert sorted(due) == sorted(POINTS)


def test_the_table_of_assignments_has_their_points():
    rows = {row[0].strip("`"): float(row[3]) for row in lines("Assignments")}
    assert rows == POINTS


def test_the_template_has_the_assignments_and_their_points():
    made = gradebook.text(gradebook.lines(POINTS, {}))
    assert gradebook.TEMPLATE.read_text(encoding="utf-8") == made, "run make gradebook"


def test_grades_are_entered_and_the_lowest_left_out(tmp_path):
    worth = {"a": 2, "b": 10, "c": 5, "d": 1}
    path = tmp_path / "grades.csv"
    scores = {"ada": (2, 5, 5, 0), "bo": (1, 0, 0, 0)}
    text = "student,assignment,score,max_score,message\n"
    for student, of in scores.items():
        for name, score in zip(worth, of, strict=True):
            text += f"{student},{name},{score},{worth[name]},\n"
    path.write_text(text, encoding="utf-8")
    found = gradebook.text(gradebook.lines(worth, gradebook.read(path, worth)))
    rows = list(csv.reader(found.splitlines()))
    assert rows[2] == ["ada", "2", "5", "5", "0", "100.0", "", ""]  # of 1, 0.5, 1, 0
    assert rows[3] == ["bo", "1", "0", "0", "0", "25.0", "", ""]


@pytest.mark.parametrize(
    "text, message",
    [
        ("student,assignment,score\nada,no-such,1\n", "no assignment 'no-such'"),
        ("student,score\nada,1\n", "is not what `make grade` writes"),
        ("student,assignment,score\nada,a,much\n", "is not what `make grade` writes"),
    ],
)
def test_grades_that_are_no_grades_are_named(tmp_path, text, message):
    path = tmp_path / "grades.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(gradebook.GradebookError, match=message):
        gradebook.read(path, {"a": 2})
