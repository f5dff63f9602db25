"""What the records of the arena say, side by side: tables, fronts, differences."""

import math
import statistics
from collections.abc import Mapping
from functools import lru_cache

from saccade_lib import records, session
from saccade_lib.records import Table
from saccade_lib.runs import arena
from saccade_lib.runs.on_arena import TASKS

PAPER, PROFILE = "side-by-side", "standard"
LABELS = {
    "full": "full image",
    "uniform": "shrunk image",
    "tiles": "all windows",
    "random": "random places",
    "centre": "centre",
    "oracle": "true places",
    "saccading": "saccading",
    "ram": "RAM",
    "dram": "DRAM",
    "wsram": "WSRAM",
    "tnet": "TNet",
    "saccader": "Saccader",
    "ps-nogs": "told places",
    "sampler": "saliency sampler",
    "attention-sampling": "attention sampling",
    "patch-selection": "patch selection",
}
COSTS = {
    "multiplications": ("multiplications, M", 1),
    "pixels": ("pixels that enter, thousand", 1),
    "inference_memory": ("memory, MiB", 1),
    "inference_seconds": ("time, ms", 1_000),
}  # of an image at inference, by their names in records: heading, and factor
NONE = "not recorded"
TOLD = ("oracle",)  # are told what the others must find: on no front


def by_seed(method: str, task: str, metric: str) -> dict[int, float]:
    """A metric or cost of a row, by seed; empty where nothing is recorded."""
    folder = session.root() / "book" / "records" / PAPER
    files = sorted(folder.glob(f"*--{PROFILE}--*.json"))
    runs = _loaded(tuple((f, f.stat().st_mtime_ns) for f in files))
    found = {}
    for run in runs:
        known = run["metrics"] | run["costs"]
        if run["row"] == f"{method}-{task}" and metric in known:
            found[run["seed"]] = known[metric]["value"]
    return found


@lru_cache(maxsize=2)
def _loaded(files: tuple) -> list[dict]:
    """Checked records of these files, each with the time of its last change."""
    return [records.load(path) for path, _ in files]


def recorded(task: str) -> list[str]:
    """Methods that are recorded on a task, in the order of `LABELS`."""
    return [m for m in LABELS if by_seed(m, task, "test_accuracy")]


def mean(method: str, task: str, metric: str = "test_accuracy") -> float:
    """Over seeds.

    Raises ValueError where nothing is recorded, with the command that records it.
    """
    found = by_seed(method, task, metric)
    if not found:
        raise ValueError(
            f"no record of {metric} of {method}-{task}: make one with `make record "
            f"RUN={PAPER}/{method}-{task} PROFILE={PROFILE} SEED=0`"
        )
    return statistics.fmean(found.values())


def apart(task: str, one: str, other: str) -> tuple[float, float]:
    """By how many points one method is above another, and the standard error of that.

    Over seeds that both have, seed by seed, where those are two or more; else that of
    the number of test images, which knows nothing of other seeds.
    """
    a, b = (by_seed(m, task, "test_accuracy") for m in (one, other))
    both = sorted(a.keys() & b.keys())
    if not both:
        raise ValueError(f"{one} and {other} on {task} have no recorded seed in common")
    gaps = [a[s] - b[s] for s in both]
    if len(both) > 1:
        return statistics.fmean(gaps), statistics.stdev(gaps) / math.sqrt(len(both))
    error = 0.0
    for method, found in ((one, a), (other, b)):
        p = found[both[0]] / 100
        error += p * (1 - p) / arena.ROWS[f"{method}-{task}"][PROFILE].test
    return gaps[0], 100 * math.sqrt(error)


def table(task: str, this_run: Mapping[str, float] | None = None) -> Table:
    """All methods that are recorded on a task, the most accurate first.

    Args:
        this_run: accuracy of methods that the reader trained, per cent.
    """
    mine = this_run or {}
    columns = ("method", "accuracy, %", "seed by seed", "in a window, %")
    columns += tuple(heading for heading, _ in COSTS.values())
    columns += ("memory of training, MiB", "images trained on, thousand")
    columns += ("accuracy, this run",) if mine else ()
    rows = []
    for method in sorted(recorded(task), key=lambda m: -mean(m, task)):
        rows.append(_row(task, method))
        if mine:
            rows[-1] += (f"{mine[method]:.1f}" if method in mine else "not trained",)
    return Table(f"One budget, {task}", columns, tuple(rows))


def _row(task: str, method: str) -> tuple[str, ...]:
    found = by_seed(method, task, "test_accuracy")
    right = [found[seed] for seed in sorted(found)]
    spread = f" ± {statistics.stdev(right):.1f}" if len(right) > 1 else ""
    hits = by_seed(method, task, "test_hit_rate")
    costs = [factor * mean(method, task, name) for name, (_, factor) in COSTS.items()]
    costs += [mean(method, task, name) for name in ("training_memory", "images")]
    return (
        LABELS[method],
        f"{statistics.fmean(right):.1f}{spread}",
        ", ".join(f"{value:.1f}" for value in right),
        f"{statistics.fmean(hits.values()):.1f}" if hits else "no windows",
        *(f"{cost:.3g}" for cost in costs),
    )


def points(task: str, cost: str) -> dict[str, tuple[float, list[float]]]:
    """By label: what a method costs, in the unit of `COSTS`, and accuracy by seed."""
    return {
        LABELS[m]: (
            COSTS[cost][1] * mean(m, task, cost),
            list(by_seed(m, task, "test_accuracy").values()),
        )
        for m in recorded(task)
    }


def front(found: Mapping[str, tuple[float, list[float]]]) -> list[str]:
    """Labels that no cheaper or equally dear one reaches, the cheapest first.

    Rows that are told the true places are left out.
    """
    told = {LABELS[m] for m in TOLD}
    best, kept = -math.inf, []
    order = sorted(
        found.items(), key=lambda of: (of[1][0], -statistics.fmean(of[1][1]))
    )
    for label, (_, accuracy) in order:
        if label not in told and statistics.fmean(accuracy) > best:
            best = statistics.fmean(accuracy)
            kept.append(label)
    return kept


def gains(over: str = "uniform") -> Table:
    """By how many points each method is above one of them, on every task, with the
    standard error of `apart`; in brackets where twice that reaches zero."""
    tasks = [task for task in TASKS if by_seed(over, task, "test_accuracy")]
    rows = []
    for method in LABELS:
        entries = [_gain(task, method, over) for task in tasks]
        if method != over and any(entry != NONE for entry in entries):
            rows.append((LABELS[method], *entries))
    caption = f"Points above the {LABELS[over]}, which reads as many pixels"
    return Table(caption, ("method", *tasks), tuple(rows))


def _gain(task: str, method: str, over: str) -> str:
    both = (by_seed(m, task, "test_accuracy").keys() for m in (method, over))
    if not set.intersection(*map(set, both)):
        return NONE
    gap, error = apart(task, method, over)
    text = f"{gap:+.1f} ± {error:.1f}"
    return text if abs(gap) > 2 * error else f"({text})"
