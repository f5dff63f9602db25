"""How long each chapter takes: to read, and to execute.

    python workflow/minutes.py

Reading time is counted: words, lines of code, pictures. The seconds of execution are
what papermill noted in `_build/executed/`, and are kept with the machine's name in
`book/minutes.json`; a chapter that is not executed there keeps what was noted before.
"""

import json
import os
import re
import sys
from html import escape
from pathlib import Path

import keys
import nbformat

ROOT = keys.ROOT
WORDS, LINES, PICTURE = 200, 60, 0.5  # words and lines a minute, minutes a picture


def reading(path):
    """Minutes that a reader of a chapter or a page needs, a whole number."""
    if path.suffix == ".md":
        cells = [("markdown", path.read_text(encoding="utf-8"), {})]
    else:
        found = nbformat.read(path, 4).cells
        cells = [(c.cell_type, c.source, c.metadata) for c in found]
    words = lines = pictures = 0
    for kind, source, metadata in cells:
        if kind == "markdown":
            words += len(re.sub(r"\$[^$]*\$", " x ", source).split())
        else:
            lines += len(source.splitlines())
        pictures += "mystnb" in metadata
    return max(1, round(words / WORDS + lines / LINES + PICTURE * pictures))


def title(path):
    """The first heading of a chapter."""
    text = nbformat.read(path, 4).cells[0].source
    return text.splitlines()[0].removeprefix("# ").strip()


def processor():
    """The processor's name, as far as the system tells it."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return re.search(r"model name\s*:\s*(.+)", info)[1].strip()
    except (OSError, TypeError):
        return "unknown processor"


def measured(root=ROOT):
    """Seconds of each chapter that was executed at `quick`, with where and when."""
    found = {}
    for name in keys.chapters(root):
        path = root / "_build" / "executed" / f"{name}.ipynb"
        if not path.exists():
            continue
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]
        if about["parameters"].get("profile", "quick") != "quick":
            continue
        found[name] = {
            "seconds": round(about["duration"]),
            "hardware": f"{processor()}, {os.cpu_count()} cores, 1 thread a chapter",
            "when": about["end_time"][:10],
        }
    return found


def load(root=ROOT):
    """What `book/minutes.json` holds: chapter to seconds, hardware, when."""
    path = root / "book" / "minutes.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def table(root=ROOT):
    """The table of the page *How to use this book*, as HTML."""
    noted, rows = load(root), []
    for name in keys.chapters(root):
        path = root / "notebooks" / f"{name}.ipynb"
        ran = noted.get(name)
        seconds = f"{ran['seconds']} s" if ran else "not measured yet"
        rows.append(
            f'<tr><th scope="row"><a href="../notebooks/{name}.html">'
            f"{escape(title(path))}</a></th><td>{reading(path)} min</td>"
            f"<td>{seconds}</td></tr>"
        )
    machines = sorted({ran["hardware"] for ran in noted.values()})
    head = ("Chapter", "Reading", "Execution at quick")
    columns = "".join(f'<th scope="col">{column}</th>' for column in head)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Minutes">'
        f'<table class="table" id="minutes"><thead><tr>{columns}</tr></thead><tbody>\n'
        + "\n".join(rows)
        + f"\n</tbody></table></div><p>Measured on: {escape('; '.join(machines))}.</p>"
    )


def main():
    noted = load() | measured()
    known = {name: noted[name] for name in keys.chapters() if name in noted}
    target = ROOT / "book" / "minutes.json"
    target.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    missing = sorted(set(keys.chapters()) - set(known))
    print(f"{target.relative_to(ROOT)}: {len(known)} chapters", end="")
    print(f"; not executed yet: {', '.join(missing)}" if missing else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
