"""How long the methods of Table 1 train, read off the curves of their records.

The paper counts iterations until a run has converged: until its validation accuracy is
within 1 point of its best (species), or its cross-entropy within 0.01 nats of its best
(attributes). Such a first passage depends on two things that are not speed: on how high
the run gets, since the band lies below its *own* best, and on luck, since the best of
many noisy validations is a lucky one. So three numbers stand beside it: the same of
running means; iterations and CPU seconds to a *level* that all methods of Table 1
reach; and the mean of the validation accuracy, which is the area under its curve.

Where a row is pretrained at drawn places, all counts begin after that: it is the same
for all rows of a set, and decides nothing about places.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from saccade_lib import records
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.near_optimal_glimpses.partial import TASKS

PAPER = "near-optimal-glimpses"
EPOCH = 60_000  # images that costs "an epoch" are given for
UNITS = {
    "iterations": "steps",
    "smooth": "steps",
    "best": "%",
    "area": "%",
    "accuracy": "%",
    "on_parts": "%",
    "to_level": "steps",
    "cpu_to_level": "s",
}


@dataclass(frozen=True)
class Methods:
    """Which records are read, and by which rule.

    Attributes:
        tasks: sets of images; of several the mean is taken.
        methods: those of Table 1; they set the level.
        controls: the others.
        ram: the one that stands for RAM in ratios.
        by: ``"accuracy"`` or ``"cross_entropy"``, of validation images.
        within: of the best; points, or nats.
        window: validations of a running mean, odd.
        below: points that the level lies below the lowest best of a running mean.
        images: training images, for epochs.
        profile: of the records.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...]
    by: str
    within: float
    ram: str = "ram"
    window: int = 5
    below: float = 1.0
    images: int = 0
    profile: str = "standard"

    @property
    def all(self) -> tuple[str, ...]:
        return self.methods + self.controls


@dataclass(frozen=True)
class Curve:
    """A validation curve after pretraining.

    Attributes:
        step: iterations since the end of pretraining, (N,).
        accuracy: per cent; cross_entropy: nats.
    """

    step: list[float]
    accuracy: list[float]
    cross_entropy: list[float]

    def smoothed(self, window: int) -> "Curve":
        """Means of `window` neighbouring validations, each at the middle one."""
        if window < 1 or window % 2 == 0 or window > len(self.step):
            raise ValueError(
                f"window must be odd and at most {len(self.step)}, got {window}"
            )
        half = window // 2

        def mean(v: list[float]) -> list[float]:
            return [fmean(v[k : k + window]) for k in range(len(v) - window + 1)]

        step = self.step[half : len(self.step) - half]
        return Curve(step, mean(self.accuracy), mean(self.cross_entropy))

    def converged(self, by: str, within: float) -> float:
        """The first step at which `by` is within so much of its best."""
        if by == "accuracy":
            good = [v >= max(self.accuracy) - within for v in self.accuracy]
        else:
            low = min(self.cross_entropy)
            good = [v <= low + within for v in self.cross_entropy]
        return self.step[good.index(True)]

    def reaches(self, level: float) -> float | None:
        """The first step at which the accuracy is at a level; None if it never is."""
        good = [v >= level for v in self.accuracy]
        return self.step[good.index(True)] if True in good else None


def curve_of(run: dict) -> Curve:
    """The curve of a record, counted from the end of pretraining."""
    found, config = run["curves"], run["config"]
    start = config["model"].get("drawn", 0.0) * config["schedule"]["steps"]
    kept = [k for k, step in enumerate(found["step"]) if step > start]
    names = ("step", "validation_accuracy", "validation_cross_entropy")
    step, accuracy, nats = ([found[name][k] for k in kept] for name in names)
    return Curve([s - start for s in step], accuracy, nats)


def load(config: Methods, task: str, seed: int) -> dict[str, dict]:
    """The records of a set by method; FileNotFoundError names a row without one."""
    found = {}
    for name in config.all:
        wanted = {"paper": PAPER, "row": f"{name}-{task}", "seed": seed}
        found[name] = records.load(
            records.path_of(wanted | {"profile": config.profile})
        )
    return found


def of_task(config: Methods, runs: dict[str, dict]) -> dict[str, dict[str, float]]:
    """For each method the numbers of `UNITS`; those to a level only if it got there."""
    curves = {name: curve_of(run) for name, run in runs.items()}
    smooth = {name: of.smoothed(config.window) for name, of in curves.items()}
    level = min(max(smooth[name].accuracy) for name in config.methods) - config.below
    found = {}
    for name, run in runs.items():
        metrics = run["metrics"]
        found[name] = {
            "iterations": curves[name].converged(config.by, config.within),
            "smooth": smooth[name].converged(config.by, config.within),
            "best": max(curves[name].accuracy),
            "area": fmean(curves[name].accuracy),
            "accuracy": metrics["test_accuracy"]["value"],
            "level": level,
        }
        if "test_on_parts" in metrics:
            found[name]["on_parts"] = metrics["test_on_parts"]["value"]
        if (steps := smooth[name].reaches(level)) is not None:
            found[name] |= {"to_level": steps, "cpu_to_level": steps * per_step(run)}
    return found


def per_step(run: dict) -> float:
    """CPU seconds of a training step."""
    cost = run["costs"].get("cpu_seconds_per_epoch", run["costs"]["seconds_per_epoch"])
    return cost["value"] * run["config"]["schedule"]["batch"] / EPOCH


def overtakes(config: Methods, runs: dict[str, dict]) -> float | None:
    """Epochs after which WSRAM stays at or above PS-NOGS, by running means; or None."""
    one, other = (
        curve_of(runs[name]).smoothed(config.window) for name in ("wsram", "ps-nogs")
    )
    below = [a < b for a, b in zip(one.accuracy, other.accuracy, strict=True)]
    if below[-1] or not config.images:
        return None
    last = len(below) - below[::-1].index(True) if True in below else 0
    batch = runs["wsram"]["config"]["schedule"]["batch"]
    return one.step[last] * batch / config.images


def read(config: Methods, seed: int, device: torch.device, folder: Path) -> Measured:
    """The numbers of every method, ``METHOD_NAME``, means over the tasks; and ratios.

    Raises FileNotFoundError where a row has no record of this seed.
    """
    runs = {task: load(config, task, seed) for task in config.tasks}
    found = mean_of([of_task(config, of) for of in runs.values()])
    metrics = {
        f"{name}_{what}".replace("-", "_"): {"value": of[what], "unit": unit}
        for name, of in found.items()
        for what, unit in UNITS.items()
        if what in of
    }
    ram, ps_ram, nogs = (
        found[name]["iterations"] for name in (config.ram, "ps-ram", "ps-nogs")
    )
    more = {
        "level": (found["ps-nogs"]["level"], "%"),
        "speed_up": (ram / nogs, "x"),
        "fewer_than_ps_ram": (100 * (1 - nogs / ps_ram), "%"),
    }
    first = runs[config.tasks[0]]
    if (after := overtakes(config, first)) is not None:
        more["wsram_overtakes"] = after, "epochs"
    metrics |= {name: {"value": v, "unit": unit} for name, (v, unit) in more.items()}
    return Measured(metrics=metrics, data=first["ps-nogs"]["data"])


def mean_of(tasks: list[dict[str, dict]]) -> dict[str, dict[str, float]]:
    """Of each method, means over the tasks; what one task lacks is left out."""
    found = {}
    for name in tasks[0]:
        shared = set.intersection(*(set(of[name]) for of in tasks))
        found[name] = {what: fmean(of[name][what] for of in tasks) for what in shared}
    return found


OF_BOTH = ("ram", "wsram", "ps-ram", "ps-nogs")
CONTROLS = ("ps-nogs-mean", "ps-random", "random")
DIGITS = Methods(("digits",), OF_BOTH, CONTROLS, "cross_entropy", 0.01)
BIRDS = Methods(
    ("birds",),
    ("ram-plus", "wsram", "ps-hgs", "ps-ram", "ps-nogs"),
    ("ram", "ps-nogs-even", "ps-hgs-even", *CONTROLS),
    "accuracy",
    1.0,
    ram="ram-plus",
    images=1_025,
)
ATTRIBUTES = Methods(
    tuple(f"birds-{name}" for name in TASKS),
    OF_BOTH,
    ("random",),
    "cross_entropy",
    0.01,
)
ROWS = {
    "convergence-digits": {"standard": Measurement(read, DIGITS)},
    "convergence-birds": {"standard": Measurement(read, BIRDS)},
    "convergence-attributes": {"standard": Measurement(read, ATTRIBUTES)},
}
