"""Check everything, and say in one closing line what passed.

    python workflow/check.py [--jobs 2]

Unit tests, every chapter at `quick`, the strict site, the tests of the built site, the
assignments. A step that cannot run counts as failed; nothing is left out in silence.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter

import flow
import keys

ROOT = keys.ROOT
LOGS = ROOT / "_build" / "logs"


def announce(step):
    print(f"\n== {step}", flush=True)


def verdict(good):
    return Counter(passed=1) if good else Counter(failed=1)


def tally(report, code):
    """Passed, failed and skipped of one pytest report; a missing one is a failure."""
    try:
        suites = ElementTree.parse(report).getroot().iter("testsuite")
        counts = [{k: int(v) for k, v in s.items() if v.isdigit()} for s in suites]
    except (OSError, ElementTree.ParseError):
        return Counter(failed=1)
    total = sum((Counter(c) for c in counts), Counter())
    failed = total["failures"] + total["errors"]
    passed = total["tests"] - failed - total["skipped"]
    if code and not failed:  # collection stopped, no test found, a crash
        failed = 1
    return Counter(passed=passed, failed=failed, skipped=total["skipped"])


def pytest(name, *words):
    """Run pytest, reasons of skips printed; returns its counts."""
    LOGS.mkdir(parents=True, exist_ok=True)
    report = LOGS / f"pytest-{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *words, "-q", "--no-header", "-rfEs"]
    command += [f"--junitxml={report}"]
    return tally(report, subprocess.run(command, cwd=ROOT).returncode)


def book(jobs):
    """Execute and build; one count a chapter, one for the site."""
    try:
        flow.book("quick", jobs)
    except SystemExit as error:
        print(error)
    done, names = keys.executed(), keys.chapters()
    counts = Counter(passed=len(done), failed=len(names) - len(done))
    return counts + verdict(keys.site_built())


def site_tests(jobs):
    if not keys.site_built():
        print("not run: the site was not built")
        return Counter(failed=1)
    return pytest("site", "tests/site", "-n", str(jobs))


def assignments():
    command = [sys.executable, "workflow/assignments.py", "check"]
    return verdict(subprocess.run(command, cwd=ROOT).returncode == 0)


def check(jobs):
    """Run all steps; returns the counts over all."""
    unit = ("tests", "--ignore=tests/site", "-n", str(jobs), "--dist=loadfile")
    steps = {
        "library, workflow, hygiene": lambda: pytest("unit", *unit),
        "chapters at quick, strict site": lambda: book(jobs),
        "the built site": lambda: site_tests(jobs),
        "assignments": assignments,
    }
    total = Counter()
    for name, step in steps.items():
        announce(name)
        total += step()
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    start = time.monotonic()
    try:
        total = check(args.jobs)
    except KeyboardInterrupt:
        print("\ninterrupted")
        sys.exit(130)
    minutes = (time.monotonic() - start) / 60
    print(f"\nchecked in {minutes:.1f} minutes")
    print("{passed} passed, {failed} failed, {skipped} skipped".format_map(total))
    sys.exit(bool(total["failed"]) or not total["passed"])


if __name__ == "__main__":
    main()
