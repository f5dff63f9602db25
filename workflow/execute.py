"""Execute one chapter with papermill, as a job of the workflow.

    python workflow/execute.py NAME --profile quick

Writes `_build/executed/NAME.ipynb` only after every cell ran. Prints one line: place in
the book, name, seconds; or the failed cell and its error. What a failed run left behind
stays in `_build/logs/` to be looked at.
"""

import argparse
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time

import keys

ROOT = keys.ROOT
LOGS = ROOT / "_build" / "logs"
LIMITS = {"quick": 900, "standard": 6 * 3600, "paper": 48 * 3600}  # seconds a chapter
NOISE = "Kernel is running over TCP without encryption"  # each kernel says so; harmless


def papermill(source, target, profile):
    """The command that executes a chapter."""
    words = [sys.executable, "-m", "papermill", source, target]
    words += ["--kernel", "python3", "--cwd", source.parent, "-p", "profile", profile]
    return [str(word) for word in [*words, "--no-progress-bar", "--log-output"]]


def environment():
    """One thread a chapter, the kernel of this environment, pictures inline."""
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    env["TQDM_DISABLE"] = "1"  # a page has no use for progress bars
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return env | threads | {"JUPYTER_PREFER_ENV_PATH": "1"}


def stop(process):
    """End papermill, gently first, so that it takes its kernel along."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(command, log, limit):
    """Run into a log within a limit in seconds; returns an error text, or None."""
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment()
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"stopped: over the limit of {limit} s for a chapter"
        finally:
            if process.poll() is None:
                stop(process)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line for line in lines if NOISE not in line]
    log.write_text("\n".join(lines), encoding="utf-8")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    return f"{last} (exit {code})" if code else None


def own_cells(path):
    """The cells of a half-executed notebook that stand in its source too."""
    added = {"injected-parameters", "papermill-error-cell-tag"}
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return []
    return [c for c in cells if not added & set(c["metadata"].get("tags", []))]


def failure(path):
    """Number of the cell that failed and its traceback in plain text, or its source
    where the kernel never answered (it died, or time was up); or None."""
    for number, cell in enumerate(own_cells(path), 1):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not source.strip():
            continue
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                text = "\n".join(output["traceback"])
                return number, re.sub(r"\x1b\[[0-9;]*m", "", text)
        if "shell.execute_reply" not in cell["metadata"].get("execution", {}):
            return number, source
    return None


def report_failure(name, partial, error, seconds):
    """Say which chapter, which cell, what error, and where to read more."""
    found = failure(partial)
    place = f", cell {found[0]}" if found else ""
    lines = [f"FAILED {name}{place}, after {seconds:.0f} s: {error}"]
    if found:
        lines += ["    " + line for line in found[1].splitlines()[-12:]]
    log = LOGS / f"{name}.log"
    print("\n".join([*lines, f"    log: {log.relative_to(ROOT)}"]), flush=True)


def report_success(name, partial, seconds):
    """Put the result in place and print its line; two jobs may end at once."""
    target = ROOT / "_build" / "executed" / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (LOGS / "progress.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.replace(partial, target)
        os.utime(target)
        done, total = len(keys.executed()), len(keys.chapters())
        print(f"[{done:>2}/{total}] {name:<40}{seconds:6.0f} s", flush=True)


def execute(name, profile, limit):
    """Execute one chapter; returns the exit status."""
    LOGS.mkdir(parents=True, exist_ok=True)
    source = ROOT / "notebooks" / f"{name}.ipynb"
    partial = LOGS / f"{name}.partial.ipynb"
    partial.unlink(missing_ok=True)
    start = time.monotonic()
    error = run(papermill(source, partial, profile), LOGS / f"{name}.log", limit)
    seconds = time.monotonic() - start
    if error:
        report_failure(name, partial, error, seconds)
        return 1
    report_success(name, partial, seconds)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--profile", choices=LIMITS, default="quick")
    parser.add_argument("--limit", type=float, help="seconds for the whole chapter")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(execute(args.name, args.profile, args.limit or LIMITS[args.profile]))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
