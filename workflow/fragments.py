"""The parts of the site that are made from the ledger, as plain HTML.

The ledger is what `saccade_lib.records.status()` returns: one dict a published
cell. Nothing here computes a verdict; it only counts and shows them.
"""

import re
from collections import Counter
from html import escape

import disagreements
import minutes
import terms

from saccade_lib import records
from saccade_lib.records.ledger import KINDS

# Chapter tens and short name of each paper, in the order of the book.
PAPERS = {
    "variational-saccading": ("10 to 19", "Variational Saccading"),
    "recurrent-attention": ("20 to 29", "Recurrent attention"),
    "tnet": ("30 to 39", "TNet"),
    "near-optimal-glimpses": ("40 to 49", "Near-Optimal Glimpse Sequences"),
    "learning-to-zoom": ("50 to 59", "Learning to Zoom"),
    "spatial-transformers": ("70 to 79", "Spatial Transformer Networks"),
}
MEANING = {
    "reproduced": "within the tolerance",
    "better": "beyond the printed value",
    "short": "worse than the tolerance allows",
    "other data": "measured on a stand-in",
    "missing": "no record yet",
    "background": "no run could give it",
}
NONE = "—"


def kind(cell):
    """The verdict without its amount: `short by 1.2 %` is of the kind `short`."""
    return records.verdict_kind(cell["verdict"])


def name(paper):
    """The short name under which a reader knows the paper."""
    return PAPERS.get(paper, (NONE, paper))[1]


def by_paper(status):
    """The cells of each paper, papers in the order of the book."""
    groups = {paper: [] for paper in PAPERS}
    for cell in status:
        groups.setdefault(cell["paper"], []).append(cell)
    return {paper: cells for paper, cells in groups.items() if cells}


def answered(counts):
    """How many cells have a recorded number on the data that the paper asks for."""
    return counts["reproduced"] + counts["better"] + counts["short"]


def css(kind_of_cell):
    return kind_of_cell.replace(" ", "-")


def legend():
    """What the colours mean, in words."""
    items = (
        f'<li><span class="verdict {css(k)}">{k}</span>: {MEANING[k]}</li>'
        for k in KINDS
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def bar(counts, label):
    """A stacked bar of the verdicts as an inline SVG with a text alternative."""
    total, x, rects = sum(counts.values()), 0.0, []
    for k in KINDS:
        width = 100 * counts[k] / total
        rects.append(f'<rect class="{css(k)}" x="{x:.3f}" width="{width:.3f}"/>')
        x += width
    said = ", ".join(f"{counts[k]} {k}" for k in KINDS if counts[k])
    return (
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}: {said}">{"".join(rects)}</svg>'
    )


def headings(papers):
    """Title, venue and year of each paper, for a reader."""
    heads = {paper: records.heading(paper) for paper in papers}
    return {p: "{title} ({venue}, {year})".format(**h) for p, h in heads.items()}


def progress(status, headings):
    """Front page: how many published cells have a recorded run, by paper."""
    rows, total = [], Counter()
    for paper, cells in by_paper(status).items():
        counts = Counter(map(kind, cells))
        total += counts
        rows.append(
            f'<div><p><a href="reproducibility.html?paper={paper}">{name(paper)}</a> '
            f"<span>{answered(counts)} of {len(cells)} cells</span></p>"
            f"{bar(counts, name(paper))}"
            f"<p><small>{escape(headings[paper])}</small></p></div>"
        )
    caption = (
        f"{answered(total)} of {sum(total.values())} published cells have a recorded "
        f"run on the data that they ask for; {total['other data']} are recorded on "
        f"other data only, {total['missing']} not at all, and "
        f"{total['background']} no run could give."
    )
    body = "".join(rows)
    return (
        f'<figure class="regenerated">{body}'
        f"<figcaption>{caption}{legend()}</figcaption></figure>"
    )


def printed_name(table):
    """`text-section-4-1` as a reader would say it: `text section 4.1`."""
    return re.sub(r"(?<=\d)-(?=\d)", ".", table).replace("-", " ")


def coverage(status):
    """Front page: for each paper, the parts that still lack a record."""
    rows = []
    for paper, cells in by_paper(status).items():
        tables = dict.fromkeys(cell["table"] for cell in cells)
        parts = []
        for table in tables:
            found = [kind(cell) for cell in cells if cell["table"] == table]
            lacking = found.count("missing")
            if lacking:
                parts.append(f"{printed_name(table)} ({lacking} of {len(found)})")
        rows.append(
            f'<tr><th scope="row">{name(paper)}</th>'
            f"<td>{PAPERS.get(paper, (NONE,))[0]}</td>"
            f"<td>{', '.join(parts) or 'nothing'}</td></tr>"
        )
    head = ("Paper", "Chapters", "Cells without a record yet")
    return table_html("coverage", "Cells without a record, by paper", head, rows)


def table_html(identifier, label, head, rows):
    """A table in a container of its own that scrolls sideways on a narrow screen."""
    columns = "".join(f'<th scope="col">{column}</th>' for column in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="table" id="{identifier}"><thead><tr>{columns}</tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def recorded(cell):
    """Our value with its spread; below, the seeds and conditions of the runs."""
    if cell["recorded"] is None:
        return NONE
    decimals = len(f"{cell['value']:g}".partition(".")[2])
    text = records.number(cell["recorded"], decimals)
    if cell["spread"] is not None:
        text += f" ± {records.number(cell['spread'], decimals)}"
    runs = f"{len(cell['seeds'])} seed{'s' if len(cell['seeds']) > 1 else ''}"
    made = f"{runs}, {cell['profile']}, {cell['data_source']}, {cell['hardware']}"
    text = f"{text} {cell['unit']}".rstrip()
    return f"{escape(text)}<br><small>{escape(made)}</small>"


def printed(cell):
    """The number as printed, with its unit where a bare number was printed."""
    bare = not any(c.isalpha() or c == "%" for c in cell["printed"])
    return f"{cell['printed']} {cell['unit']}".strip() if bare else cell["printed"]


def ledger_row(cell):
    """One published cell as a row, with what the filters need."""
    note = escape(cell["note"])
    more = f"<details><summary>note</summary>{note}</details>" if note else ""
    where = f"{name(cell['paper'])}<br><small>{escape(cell['where'])}</small>"
    what = f"{escape(cell['row_label'])}: {escape(cell['column_label'])}{more}"
    verdict = (
        f'<span class="verdict {css(kind(cell))}">{escape(cell["verdict"])}</span>'
    )
    fields = [where, what, escape(printed(cell)), recorded(cell), verdict]
    return (
        f'<tr data-paper="{cell["paper"]}" data-verdict="{kind(cell)}">'
        + "".join(f"<td>{field}</td>" for field in fields)
        + "</tr>"
    )


def options(label, identifier, choices):
    items = "".join(f'<option value="{v}">{text}</option>' for v, text in choices)
    return (
        f'<label>{label} <select id="{identifier}"><option value="">all</option>'
        f"{items}</select></label>"
    )


def ledger(status):
    """The whole ledger with its filters; readable without a script."""
    groups = by_paper(status)
    papers = [(paper, name(paper)) for paper in groups]
    head = ("Paper", "Row: column", "Printed", "Recorded", "Verdict")
    rows = [ledger_row(cell) for cells in groups.values() for cell in cells]
    return (
        '<form id="ledger-filters" class="filters" hidden>'
        + options("Paper", "ledger-paper", papers)
        + options("Verdict", "ledger-verdict", [(k, k) for k in KINDS])
        + '<label>Text <input type="search" id="ledger-text"></label>'
        + '<button type="reset">Show all</button></form>'
        + f'<p id="ledger-count" role="status">{len(rows)} cells</p>'
        + table_html("ledger", "The ledger", head, rows)
        + '<script defer src="../_static/ledger.js"></script>'
    )


def write(folder, status):
    """Write the fragments that the pages of `book/` include."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "progress.html": progress(status, headings(by_paper(status))),
        "coverage.html": coverage(status),
        "legend.html": legend(),
        "ledger.html": ledger(status),
        "minutes.html": minutes.table(),
        "index.html": terms.table(),
        "disagreements.html": disagreements.page(status, name),
    }
    for file, text in made.items():
        (folder / file).write_text(text + "\n", encoding="utf-8")
