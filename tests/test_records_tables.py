"""Tables for chapters, read as a reader or a screen reader meets them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from toy_book import found_book, record_all

from saccade_lib import records, session

SOURCE = Path(session.__file__).parents[1]


@pytest.fixture
def book(tmp_path, monkeypatch):
    return found_book(tmp_path, monkeypatch)


class Reading(HTMLParser):
    """A table as a screen reader meets it."""

    def __init__(self, table):
        super().__init__()
        self.rows, self.scopes, self.classes, self.caption, self.tag = (
            [],
            [],
            [],
            "",
            "",
        )
        self.feed(table._repr_html_())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert "style" not in attributes
        self.tag = tag
        self.classes += attributes.get("class", "").split()
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.scopes.append(attributes.get("scope"))

    def handle_data(self, text):
        if self.tag == "caption":
            self.caption += text.strip()
        if self.tag in ("th", "td", "span") and text.strip():
            self.rows[-1][-1] += text


def test_table_reads_paper_recorded_this_run(book):
    accuracies = [89.0, 90.0, 90.7]
    record_all(*({"seed": i, "accuracy": a} for i, a in enumerate(accuracies)))
    table = records.table("tnet", "table-1", this_run={"toy": {"test_accuracy": 71.23}})
    read = Reading(table)
    heads = ["row", "column", "paper", "recorded", "this run", "hardware", "verdict"]
    assert read.rows[0] == heads
    spread = np.std(accuracies, ddof=1)
    assert read.rows[1] == [
        "the <full> model",
        "accuracy | top 1",
        "90.5 ± 0.2 %",
        f"89.9 ± {spread:.2f} % (3 seeds, standard)",
        "71.2 %",
        "A processor, 1 thread",
        "short by 0.60 %",
    ]
    assert read.rows[2][3:] == ["—", "—", "—", "missing (note 1)"]
    assert "A Title (2021), Table 1" in read.caption
    assert read.scopes[:8] == ["col"] * 7 + ["row"]
    assert {"saccade-table", "short", "missing"} <= set(read.classes)
    assert "Quoted by the paper" in table.notes[1] and table.notes[0] == "Timed."


def test_table_has_no_empty_cell_in_any_form(book):
    table = records.table("tnet", "table-1")
    assert all(text.strip() for row in Reading(table).rows for text in row)
    lines = [li for li in str(table).splitlines() if li.startswith("|")]
    assert len(lines) == 2 + 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {8}
    assert all(text.strip() for line in lines for text in line.split(" | "))
    assert table.frame.shape == (3, 7)


def test_table_names_what_it_does_not_know(book):
    with pytest.raises(
        ValueError, match="no 'table-9': choose one of table-1, figure-4"
    ):
        records.table("tnet", "table-9")
    with pytest.raises(ValueError, match=r"has toi, .*rows are toy"):
        records.table("tnet", "table-1", this_run={"toi": {"test_accuracy": 1.0}})


def test_table_of_runs_shows_controls(book):
    record_all({"row": "random-places", "accuracy": 40.0})
    rows = {"random places": "random-places", "centre only": "centre-only"}
    metrics = ["test_accuracy", "seconds_per_epoch"]
    mine = {"random-places": {"test_accuracy": 39.5}}
    table = records.table_of_runs("tnet", rows, metrics, this_run=mine)
    read = Reading(table).rows
    assert read[1][:3] == ["random places", "40.00 % (1 seed, standard)", "39.50 %"]
    assert set(read[2][1:]) == {"—"}
    assert len({len(row) for row in read}) == 1 and "data" in read[0]
    with pytest.raises(ValueError, match=r"accurracy; they have .*test_accuracy"):
        records.table_of_runs("tnet", rows, ["accurracy"])
    with pytest.raises(ValueError, match="at least one row"):
        records.table_of_runs("tnet", {}, metrics)


@pytest.mark.skipif(
    not (SOURCE / "book" / "published").is_dir(), reason="the book is not beside us"
)
def test_every_table_of_the_book_can_be_shown():
    for paper in records.papers(SOURCE):
        for table in dict.fromkeys(c.table for c in records.published(paper, SOURCE)):
            shown = records.table(paper, table, root=SOURCE)
            assert all(text for row in Reading(shown).rows for text in row)
