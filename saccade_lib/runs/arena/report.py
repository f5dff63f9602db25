"""What the records of the arena say, side by side: tables, fronts, differences."""

import math
import statistics
from collections.abc import Mapping

from saccade_lib import records
from saccade_lib.records import Paired, Table
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
TOLD = ("oracle",)  # are told what the others must find: on no front


def by_seed(method: str, task: str, metric: str) -> dict[int, float]:
    """A metric or cost of a row, by seed; empty where nothing is recorded."""
    return records.by_seed(PAPER, f"{method}-{task}", metric, PROFILE)


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


def paired(task: str, one: str, other: str) -> Paired:
    """By how many points one method is above another, over the seeds of both."""
    rows = (f"{method}-{task}" for method in (one, other))
    return records.paired(PAPER, *rows, "test_accuracy", PROFILE)


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
    """By how many points each method is above one of them, on every task: the mean and
    half of its interval over seeds; in brackets where seeds leave it open."""
    tasks = [task for task in TASKS if by_seed(over, task, "test_accuracy")]
    rows = []
    for method in LABELS:
        found = [paired(task, method, over) for task in tasks]
        if method != over and any(gap.by_seed for gap in found):
            shown = (
                f"({gap.text()})" if gap.by_seed and not gap.decided else gap.text()
                for gap in found
            )
            rows.append((LABELS[method], *shown))
    caption = f"Points above the {LABELS[over]}, which reads as many pixels"
    return Table(caption, ("method", *tasks), tuple(rows))
