"""Recorded runs as targets: which are missing, and make some of them.

    python workflow/runs.py list                    what the tables still lack
    python workflow/runs.py make PAPER RUN          one run, as a job of the workflow

RUN is row--profile--seed. The runs themselves live in `saccade_lib.runs`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "_build" / "logs"


class UnknownRun(Exception):
    """What was asked for is no run of this book; says which there are."""


def wanted():
    """Every run that the tables ask for: objects with paper, row, profile, seed, path,
    recorded and command; `path` is made relative to the repository."""
    command = [sys.executable, "-m", "saccade_lib.runs", "list", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UnknownRun(f"the list of runs cannot be read:\n{done.stderr.strip()}")
    found = json.loads(done.stdout)
    return [r | {"path": os.path.relpath(ROOT / r["path"], ROOT)} for r in found]


def name(run):
    return f"{run['row']}--{run['profile']}--{run['seed']}"


def select(runs, row, profile, seed=None):
    """The runs of one row and profile, of one seed or of all.

    `row` may carry its paper in front, "paper/row", where two papers share a row.

    Raises:
        UnknownRun: there is none; the message names the nearest that exist.
    """
    paper, _, row = row.rpartition("/")
    rows = [r for r in runs if r["row"] == row and paper in ("", r["paper"])]
    if not rows:
        known = ", ".join(sorted({r["row"] for r in runs})) or "none"
        raise UnknownRun(f"no row is called {row!r}. Rows: {known}")
    if len({r["paper"] for r in rows}) > 1:
        papers = " or ".join(sorted({f"{r['paper']}/{row}" for r in rows}))
        raise UnknownRun(f"two papers have a row {row!r}: say {papers}")
    chosen = [r for r in rows if r["profile"] == profile]
    chosen = [r for r in chosen if seed in (None, "") or str(r["seed"]) == str(seed)]
    if not chosen:
        known = ", ".join(f"PROFILE={r['profile']} SEED={r['seed']}" for r in rows)
        raise UnknownRun(f"{row!r} is not asked for like that. There are: {known}")
    return chosen


def show_missing():
    """Print what the tables still lack, one line a row, with the command."""
    runs = wanted()
    missing = [run for run in runs if not run["recorded"]]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are recorded.")
    for paper, of_paper in groupby(missing, lambda run: run["paper"]):
        print(f"\n{paper}")
        for (row, profile), group in groupby(
            of_paper, lambda run: (run["row"], run["profile"])
        ):
            seeds = ", ".join(str(run["seed"]) for run in group)
            command = f"make record RUN={row} PROFILE={profile}"
            print(f"  {command:<60}  # seed {seeds}")


def make(paper, run):
    """Make one run with its output in a log; returns the exit status."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{paper}--{run}.log"
    print(f"{run}: started; its progress: {log.relative_to(ROOT)}", flush=True)
    start = time.monotonic()
    command = [sys.executable, "-m", "saccade_lib.runs", "make", paper, run]
    with log.open("a", encoding="utf-8") as file:
        code = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file).returncode
    seconds = time.monotonic() - start
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        print(f"FAILED {run}, after {seconds:.0f} s (exit {code})")
        print("\n".join("    " + line for line in tail), flush=True)
    else:
        print(f"{run}: recorded after {seconds:.0f} s", flush=True)
    return code


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    one = commands.add_parser("make")
    one.add_argument("paper")
    one.add_argument("run")
    args = parser.parse_args()
    try:
        sys.exit(
            make(args.paper, args.run) if args.command == "make" else show_missing()
        )
    except UnknownRun as error:
        sys.exit(f"runs: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
