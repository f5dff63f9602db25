"""python -m saccade_lib.runs list [--json] | make PAPER ROW--PROFILE--SEED"""

import argparse
import json
import sys
from pathlib import Path

from saccade_lib import session
from saccade_lib.runs import find, record, runs


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m saccade_lib.runs")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="runs that the tables want")
    listing.add_argument("--json", action="store_true")
    making = commands.add_parser("make", help="train one run and write its record")
    making.add_argument("paper")
    making.add_argument("run", metavar="ROW--PROFILE--SEED")
    making.add_argument("--device", choices=("cpu", "cuda"))
    given = parser.parse_args(arguments)
    if given.command == "list":
        return _list(given.json)
    try:
        run = find(given.paper, given.run)
    except ValueError as error:
        parser.error(str(error))
    record(run, session.root() / "_build" / "runs", given.device)
    return 0


def _list(as_json: bool) -> int:
    book = session.root()
    rows = [
        {
            "paper": run.paper,
            "row": run.row,
            "profile": run.profile,
            "seed": run.seed,
            "path": str(Path(run.path).relative_to(book)),
            "recorded": run.path.exists(),
            "command": run.command,
        }
        for run in runs()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return 0
    missing = [row for row in rows if not row["recorded"]]
    for row in missing:
        print(row["command"])
    print(f"{len(rows) - len(missing)} of {len(rows)} runs are recorded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
