"""The page of published numbers that are not reached: gap, reason, trials, runs.

Cells come from the ledger, reasons from `book/disagreements.yml`, group by group.
"""

from html import escape
from pathlib import Path

import yaml

from saccade_lib import records

ROOT = Path(__file__).resolve().parents[1]
NOT_REACHED = ("short", "missing", "other data")


def groups(root=ROOT):
    """The groups of reasons, in order."""
    path = root / "book" / "disagreements.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def fits(group, cell):
    """Whether a group speaks for a cell of the ledger."""
    return (
        cell["paper"] == group["paper"]
        and cell["table"] in group["tables"]
        and records.verdict_kind(cell["verdict"]) in group["verdicts"]
        and cell["row"] in group.get("rows", [cell["row"]])
    )


def sorted_out(status, root=ROOT):
    """Pairs of a group and its cells; last, without a group, cells that none fits."""
    known = groups(root)
    found = [(group, []) for group in known] + [(None, [])]
    for cell in status:
        if records.verdict_kind(cell["verdict"]) in NOT_REACHED:
            at = next((i for i, g in enumerate(known) if fits(g, cell)), len(known))
            found[at][1].append(cell)
    return [(group, cells) for group, cells in found if cells]


def rows_behind(papers):
    """Row of the records that answers each cell: (paper, table, row, column) to it."""
    return {
        (cell.paper, cell.table, cell.row, cell.column): cell.record_row
        for paper in papers
        if paper in records.papers()
        for cell in records.published(paper)
    }


def gap(cell):
    """How far the recorded number is from the printed one, as a reader would say it."""
    if cell["recorded"] is None:
        return "no record"
    kind = records.verdict_kind(cell["verdict"])
    if kind == "short":
        return cell["verdict"]
    away = records.number(cell["recorded"] - cell["value"], 2)
    return f"{away} {cell['unit']}, not comparable".replace(" ,", ",")


def runs(cell, behind):
    """The recorded runs behind a cell, or the row that would answer it."""
    key = tuple(cell[k] for k in ("paper", "table", "row", "column"))
    row = behind.get(key)
    if cell["recorded"] is None:
        return f"none; row {row}" if row else "no row"
    many = "seeds" if len(cell["seeds"]) > 1 else "seed"
    seeds = ", ".join(map(str, cell["seeds"]))
    return f"{row or 'a row'}, {cell['profile']}, {many} {seeds}"


def line(cell, behind):
    """A cell as a row of the folded table."""
    what = escape(f"{cell['row_label']}: {cell['column_label']}")
    fields = (cell["printed"], gap(cell), runs(cell, behind))
    inner = "".join(f"<td>{escape(field)}</td>" for field in fields)
    return f'<tr><th scope="row">{what}</th>{inner}</tr>'


def section(group, cells, name, behind):
    """A group as HTML: its reason, what was tried, and its cells in a folded table."""
    about = group or {"reason": "No reason is noted yet.", "tried": "Nothing."}
    chapter = about.get("chapter")
    link = f'; <a href="../notebooks/{chapter}.html">chapter</a>' if chapter else ""
    where = sorted({cell["where"] for cell in cells})
    shown = ", ".join(where[:3]) + (" and others" if len(where) > 3 else "")
    paper, n = escape(name(cells[0]["paper"])), len(cells)
    many = "cells" if n > 1 else "cell"
    head = ("Row: column", "Printed", "Gap", "Runs")
    columns = "".join(f'<th scope="col">{h}</th>' for h in head)
    body = "\n".join(line(cell, behind) for cell in cells)
    return (
        f"<p><strong>{paper}</strong>, {escape(shown)} ({n} {many}{link})."
        f" {escape(about['reason'].strip())}"
        f" <em>Tried:</em> {escape(about['tried'].strip())}</p>"
        f"<details><summary>{n} {many}</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Cells of {paper}">'
        f'<table class="table"><thead><tr>{columns}</tr></thead><tbody>\n{body}\n'
        "</tbody></table></div></details>"
    )


def page(status, name, root=ROOT):
    """All groups as HTML.

    Args:
        name: a function from a paper's key to its short name.
    """
    behind = rows_behind({cell["paper"] for cell in status})
    return "\n".join(
        section(group, cells, name, behind) for group, cells in sorted_out(status, root)
    )
