"""Call Snakemake, keep its chatter in a log, and say in a few lines what happened.

    python workflow/flow.py book [--profile quick] [--jobs 2]
    python workflow/flow.py record ROW --profile standard [--seed 0]

`--cluster FOLDER` hands Snakemake a profile folder, for example workflow/slurm.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import keys
import runs

ROOT = keys.ROOT
LOG = ROOT / "_build" / "logs" / "snakemake.log"
INDEX = ROOT / "_build" / "html" / "index.html"


@contextmanager
def alone(name):
    """Hold a lock that the kernel releases, however the process ends.

    Yields its file descriptor: Snakemake inherits it and holds it as long as it lives.
    """
    path = ROOT / "_build" / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"{name} is being made by another process: wait for it, or end it")
        yield file.fileno()


def snakemake(targets, jobs, options, locks):
    """Run the workflow in a process group of its own; returns its exit status.

    Ctrl-C reaches this process alone, which passes it on once: a second signal in the
    middle of Snakemake's own cleaning would leave half-made files behind.
    """
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(jobs)]
    command += ["--keep-going", "--nolock", "--rerun-triggers", "mtime", *options]
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=log, start_new_session=True, pass_fds=locks
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise


def cluster_options(folder):
    return ["--profile", folder] if folder else []


def log_tail():
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    return "\n".join("    " + line for line in lines)


def book_failure():
    """What stopped the book: chapters, the site, or the workflow itself."""
    undone = sorted(set(keys.chapters()) - set(keys.executed()))
    if undone:
        return f"book: not built; chapters without a result: {', '.join(undone)}"
    if not keys.site_built():
        return "book: every chapter ran, but the site was not built"
    return f"book: the workflow failed:\n{log_tail()}"


def book(profile="quick", jobs=2, cluster=""):
    """Execute what changed, build the site, print where it is; returns exit status."""
    start = time.monotonic()
    keys.refresh(profile)
    names = keys.chapters()
    if not names:
        sys.exit("book: no chapter in notebooks/")
    todo = len(names) - len(keys.executed())
    print(f"book: {len(names)} chapters, {todo} to execute at {profile}", flush=True)
    options = ["--rerun-incomplete", "--config", f"profile={profile}"]
    with alone("book") as lock:
        code = snakemake(["book"], jobs, options + cluster_options(cluster), [lock])
    if code:
        print(book_failure())
        return code
    print(f"book: done in {time.monotonic() - start:.0f} s\n{INDEX}", flush=True)
    return 0


def record(row, profile, seed="", jobs=2, cluster=""):
    """Make the runs of a row that are not recorded yet; returns exit status."""
    if not row or not profile:
        raise runs.UnknownRun("say which: make record RUN=… PROFILE=… [SEED=…]")
    chosen = runs.select(runs.wanted(), row, profile, seed)
    missing = [run for run in chosen if not run["recorded"]]
    for run in chosen:
        if run["recorded"]:
            print(f"{runs.name(run)}: recorded already, {run['path']}")
    if not missing:
        return 0
    # The library writes a record whole or not at all: what is there is complete.
    options = ["--ignore-incomplete", *cluster_options(cluster)]
    with ExitStack() as stack:
        locks = [stack.enter_context(alone(runs.name(run))) for run in missing]
        code = snakemake([run["path"] for run in missing], jobs, options, locks)
    if code:
        print("record: not all were made; the same command resumes where it stopped")
        print(f"log: {LOG.relative_to(ROOT)}")
    return code


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=["book", "record"])
    parser.add_argument("row", nargs="?", default="")
    parser.add_argument("--profile", default="")
    parser.add_argument("--seed", default="")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--cluster", default="")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        if args.target == "book":
            sys.exit(book(args.profile or "quick", args.jobs, args.cluster))
        sys.exit(record(args.row, args.profile, args.seed, args.jobs, args.cluster))
    except runs.UnknownRun as error:
        sys.exit(f"record: {error}")
    except KeyboardInterrupt:
        print("\ninterrupted: what was half-made is gone; the same command goes on")
        sys.exit(130)


if __name__ == "__main__":
    main()
