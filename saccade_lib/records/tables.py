"""Tables for chapters: paper | recorded | this run, from cells and records alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from saccade_lib import session
from saccade_lib.records.cells import Cell, heading, number, published, verdict_kind
from saccade_lib.records.ledger import (
    HONEST,
    Recorded,
    by_row,
    note,
    standing,
    summarise,
    verdict,
)

if TYPE_CHECKING:
    import pandas

EMPTY = "—"
ThisRun = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Table:
    """Text in rows and columns that shows itself as HTML, Markdown or a data frame.

    The first entry of a row is its heading. In HTML an entry of a column called
    "verdict" carries its kind as a class, for the style sheet to colour.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pandas.DataFrame:
        """The same as a pandas data frame of text."""
        import pandas

        return pandas.DataFrame(self.rows, columns=list(self.columns))

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in self.columns)
        body = "\n".join(f"<tr>{self._row_html(row)}</tr>" for row in self.rows)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        notes = f'\n<ol class="saccade-table-notes">{notes}</ol>' if notes else ""
        # A wide table scrolls inside its frame; tabindex lets a keyboard scroll it.
        return (
            f'<div class="saccade-table-frame" role="group" tabindex="0"'
            f' aria-label="{escape(self.caption)}">\n<table class="saccade-table">\n'
            f"<caption>{escape(self.caption)}</caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
            f"{notes}\n</div>"
        )

    def _row_html(self, row: tuple[str, ...]) -> str:
        first, *rest = row
        cells = [f'<th scope="row">{escape(first or EMPTY)}</th>']
        for column, text in zip(self.columns[1:], rest, strict=True):
            inner = escape(text or EMPTY)
            if column == "verdict":
                inner = f'<span class="verdict {verdict_class(text)}">{inner}</span>'
            cells.append(f"<td>{inner}</td>")
        return "".join(cells)

    def _repr_markdown_(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        text = "\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in lines)
        notes = "\n".join(f"{i}. {note}" for i, note in enumerate(self.notes, 1))
        return f"**{self.caption}**\n\n{text}\n" + (f"\n{notes}\n" if notes else "")

    def __str__(self) -> str:
        return self._repr_markdown_()


def _markdown(text: str) -> str:
    return (text or EMPTY).replace("|", r"\|").replace("\n", " ")


def verdict_class(text: str) -> str:
    """The CSS class of a verdict: its kind, with a hyphen for a space."""
    bare = re.sub(r" \(note \d+\)$", "", text)
    return verdict_kind(bare).replace(" ", "-")


def table(
    paper: str, table: str, this_run: ThisRun | None = None, root: Path | None = None
) -> Table:
    """A printed table of a paper beside the records, row by row as printed.

    ``this_run`` holds what the reader's own run gave, under the names of the records,
    in their units: ``{"saccading-sum": {"test_accuracy": 93.1}}``.

    Raises ValueError for an unknown paper, table or recorded row.
    """
    cells = published(paper, root)
    known = dict.fromkeys(cell.table for cell in cells)
    cells = [cell for cell in cells if cell.table == table]
    if not cells:
        raise ValueError(f"{paper} has no {table!r}: choose one of {', '.join(known)}")
    _check_rows(this_run, {c.record_row for c in cells if c.record_row}, table)
    rows, notes = [], []
    for cell, summary in zip(cells, standing(cells, root), strict=True):
        row = _published_row(cell, summary, this_run)
        text = note(cell, summary)
        if text:
            notes += [text] if text not in notes else []
            row["verdict"] += f" (note {notes.index(text) + 1})"
        rows.append(row)
    about = heading(paper, root)
    caption = f"{about['title']} ({about['year']}), {table_label(table)}"
    columns = tuple(rows[0])
    return Table(caption, columns, tuple(tuple(r.values()) for r in rows), tuple(notes))


def _published_row(
    cell: Cell, summary: Recorded | None, this_run: ThisRun | None
) -> dict[str, str]:
    bare = cell.unit and cell.printed[-1].isdigit()
    mine = (this_run or {}).get(cell.record_row, {}).get(cell.record_metric)
    return {
        "row": cell.row_label,
        "column": cell.column_label,
        "paper": f"{cell.printed} {cell.unit}" if bare else cell.printed,
        "recorded": summary.text(cell.decimals) if summary else "",
        "this run": _with_unit(mine, cell.decimals, cell.unit),
        "hardware": summary.hardware if summary else "",
        "verdict": verdict(cell, summary),
    }


def table_of_runs(
    paper: str,
    rows: dict[str, str],
    metrics: list[str],
    profile: str | None = None,
    this_run: ThisRun | None = None,
    root: Path | None = None,
) -> Table:
    """Recorded rows that no paper printed, such as controls.

    ``rows`` maps a label to the id of a recorded row; ``metrics`` are names of metrics
    or costs, one column each (two with ``this_run``). The best profile of each row is
    shown unless ``profile`` names one. What is not recorded yet shows as an em dash.

    Raises ValueError for no rows, an unknown profile, a metric that no record of these
    rows has (if any is recorded), or a row in ``this_run`` that is not shown.
    """
    if not rows:
        raise ValueError("table_of_runs needs at least one row")
    if profile:
        session.check_profile(profile)
    _check_rows(this_run, set(rows.values()), "this table")
    runs = by_row(root)
    runs = {row: runs.get((paper, row), []) for row in rows.values()}
    _check_metrics(metrics, runs)
    lines = []
    for label, row in rows.items():
        mine = None if this_run is None else this_run.get(row, {})
        lines.append({"row": label} | _run_row(runs[row], metrics, profile, mine))
    caption = f"Recorded runs beside {heading(paper, root)['title']}"
    caption += f", {profile}" if profile else ""
    return Table(caption, tuple(lines[0]), tuple(tuple(li.values()) for li in lines))


def _run_row(
    runs: list[dict],
    metrics: list[str],
    profile: str | None,
    this_run: dict[str, float] | None,
) -> dict[str, str]:
    profiles = (profile,) if profile else HONEST
    found = {metric: summarise(runs, metric, profiles) for metric in metrics}
    line = {}
    for metric, summary in found.items():
        name = metric.replace("_", " ")
        line[name] = summary.text() if summary else ""
        if this_run is not None:
            unit = summary.unit if summary else ""
            line[f"{name}, this run"] = _with_unit(this_run.get(metric), 2, unit)
    known = [summary for summary in found.values() if summary]
    line["data"] = " / ".join(dict.fromkeys(s.data_source for s in known))
    line["hardware"] = " / ".join(dict.fromkeys(s.hardware for s in known))
    return line


def _check_metrics(metrics: list[str], runs: dict[str, list[dict]]) -> None:
    known = {
        n for of in runs.values() for r in of for n in (*r["metrics"], *r["costs"])
    }
    unknown = sorted(set(metrics) - known)
    if known and unknown:
        raise ValueError(
            f"no record of these rows has {', '.join(unknown)}; they have"
            f" {', '.join(sorted(known))}"
        )


def _check_rows(this_run: ThisRun | None, known: set[str], where: str) -> None:
    unknown = sorted(set(this_run or {}) - known)
    if unknown:
        raise ValueError(
            f"this_run has {', '.join(unknown)}, which {where} does not show; its"
            f" recorded rows are {', '.join(sorted(known)) or 'none'}"
        )


def _with_unit(value: float | None, decimals: int, unit: str) -> str:
    return "" if value is None else f"{number(value, decimals)} {unit}".rstrip()


def table_label(table: str) -> str:
    """ "table-1" as "Table 1", "appendix-7-5" as "Appendix 7.5"."""
    words = re.sub(r"(?<=\d)-(?=\d)", ".", table).replace("-", " ")
    return words[0].upper() + words[1:]
