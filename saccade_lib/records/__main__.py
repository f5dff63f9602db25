"""The ledger at the command line: ``python -m saccade_lib.records status [--json]``."""

from __future__ import annotations

import argparse
import json
import sys

from saccade_lib.records import papers, status
from saccade_lib.records.cells import number, verdict_kind
from saccade_lib.records.ledger import KINDS


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m saccade_lib.records")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "each number that a paper prints, beside what is recorded for it"
    command = commands.add_parser("status", help=about, description=about)
    command.add_argument("--json", action="store_true", help="one object a cell")
    command.add_argument("--paper", help="this paper only")
    command.add_argument("--verdict", choices=KINDS, help="this kind of verdict only")
    wanted = parser.parse_args(words)
    try:
        ledger = _selected(wanted.paper, wanted.verdict)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if wanted.json:
        print(json.dumps(ledger, indent=1, ensure_ascii=False))
    else:
        print("\n".join(_summary(ledger, listed=wanted.verdict is not None)))
    return 0


def _selected(paper: str | None, kind: str | None) -> list[dict]:
    if paper and paper not in papers():
        known = ", ".join(papers())
        raise ValueError(f"unknown paper {paper!r}: choose one of {known}")
    ledger = [entry for entry in status() if paper in (None, entry["paper"])]
    return [e for e in ledger if kind in (None, verdict_kind(e["verdict"]))]


def _summary(ledger: list[dict], listed: bool) -> list[str]:
    """Counts a paper, then a line for each recorded cell (for each cell if listed)."""
    lines = []
    for paper in dict.fromkeys(entry["paper"] for entry in ledger):
        kinds = [verdict_kind(e["verdict"]) for e in ledger if e["paper"] == paper]
        counts = [f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds]
        lines.append(f"{paper}: {len(kinds)} cells, {', '.join(counts)}")
    shown = [e for e in ledger if listed or e["recorded"] is not None]
    return (lines or ["no cells"]) + [""] * bool(shown) + [_line(e) for e in shown]


def _line(entry: dict) -> str:
    place = f"{entry['paper']} {entry['table']} {entry['row']} {entry['column']}"
    if entry["recorded"] is None:
        return f"{place}: paper {entry['printed']}, {entry['verdict']}"
    spread = "" if entry["spread"] is None else f" ± {number(entry['spread'])}"
    value = f"{number(entry['recorded'])}{spread} {entry['unit']}".rstrip()
    seeds = ", ".join(map(str, entry["seeds"]))
    return (
        f"{place}: paper {entry['printed']}, recorded {value} (seeds {seeds};"
        f" {entry['profile']}): {entry['verdict']}"
    )


if __name__ == "__main__":
    sys.exit(main())
