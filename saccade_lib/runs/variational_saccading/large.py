"""Runs of Table 1, upper half: images of 2528 x 2528.

`cost-2528` measures both models in turn, in one process, against the image's side; its
metrics are those of the last side. `saccading-2528` trains on canvases of 100 x 100
enlarged to 2528, as the paper does; the rows called `true` on canvases composed at
2528, whose digit is two or three pixels wide on the proxy.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from saccade_lib import cost, glimpse
from saccade_lib.data import digits, door
from saccade_lib.models import baselines
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import Config, VariationalSaccading
from saccade_lib.runs.experiment import EPOCH, MEMORY_BATCH
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.variational_saccading.two_digits import (
    CLUTTERED_STEPS,
    LARGE,
    LARGE_STEPS,
    SMALL,
    control,
)
from saccade_lib.train import Schedule, synchronise

SIDE = 2528
CANVAS = 100  # side of a canvas before it is enlarged

# --- cost against the side of the image -----------------------------------------------


@dataclass(frozen=True)
class Costs:
    """What is measured, and at which sizes.

    Attributes:
        saccading: one model.
        naive, checkpoint: the other, by how it is trained.
        sides: K; the metrics describe the last.
        batch, naive_batch, checkpoint_batch: images a step of each.
        repeats: how often a step of saccading is timed before, between and after those
            of the baseline.
    """

    saccading: Config
    naive: baselines.CropsConfig
    checkpoint: baselines.CropsConfig
    sides: tuple[int, ...]
    batch: int = 8
    naive_batch: int = 1
    checkpoint_batch: int = 1
    repeats: int = 3


@dataclass
class Bench:
    """The models on their device, and what they are measured with.

    Attributes:
        looking: saccading again, for batches whose proxy is made and whose windows are
            cut from images in memory: what is left is to look and to classify.
    """

    config: Costs
    device: torch.device
    pack: door.Pack
    seed: int
    saccading: VariationalSaccading = field(init=False)
    looking: ByWindows = field(init=False)
    naive: baselines.OverCrops = field(init=False)
    checkpoint: baselines.OverCrops = field(init=False)

    def __post_init__(self):
        torch.manual_seed(self.seed)
        self.saccading = VariationalSaccading(self.config.saccading)
        self.looking = ByWindows(self.config.saccading)
        self.naive = baselines.OverCrops(self.config.naive)
        self.checkpoint = baselines.OverCrops(self.config.checkpoint)
        for net in (self.saccading, self.looking, self.naive, self.checkpoint):
            net.to(self.device).train()
        for net in (self.naive, self.checkpoint):
            # One image has no variance over a batch. These layers cost next to nothing.
            net.dense.eval()

    def batch(self, side: int, count: int) -> dict:
        """Canvases as the paper makes them: composed at 100 x 100, then enlarged."""
        enlarge = side if side != CANVAS else None
        of = digits.Canvases(
            self.pack, "identification", enlarge=enlarge, seed=self.seed
        )
        return of.batch(torch.arange(count), self.device)

    def seconds(self, run: Callable[[], object]) -> float:
        """Of one call: on a CPU this process's own, in which its neighbours have no
        part."""
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        synchronise(self.device)
        start = clock()
        run()
        synchronise(self.device)
        return clock() - start


def measure(config: Costs, seed: int, device: torch.device, folder: Path) -> Measured:
    """Both models at each side; ratios, memory and time an epoch at the last."""
    bench = Bench(config, device, door.mnist(quiet=True), seed)
    for net in (bench.saccading, bench.naive, bench.checkpoint):  # to warm up
        step(net, bench.batch(config.sides[0], 2))
    rows = [times(bench, side) | counts(bench, side) for side in config.sides]
    metrics, costs = summary(bench, rows[-1])
    if device.type == "cuda":
        costs |= device_memory(bench)
        share = costs["saccading_memory"][0] / costs["naive_memory"][0]
        metrics["memory_share"] = (100 * share, "%")
    return Measured(
        metrics={k: {"value": v, "unit": u} for k, (v, u) in metrics.items()},
        costs={k: {"value": v, "unit": u} for k, (v, u) in costs.items()},
        curves={name: [row[name] for row in rows] for name in rows[0]},
        data=bench.pack.record(),
    )


def step(net: nn.Module, batch: dict) -> None:
    """One forward and backward pass."""
    net.loss(batch).total.backward()
    net.zero_grad(set_to_none=True)


def times(bench: Bench, side: int) -> dict[str, float]:
    """Seconds an image of a step of each model: alone, and with making the images."""
    cfg, found = bench.config, {}
    batch = bench.batch(side, cfg.batch)
    given = windows_given(batch, cfg.saccading.proxy)
    step(bench.looking, given)  # to warm up at this side
    taken: dict[str, list[float]] = {"making": [], "looking": [], "saccading": []}
    for baseline in ("naive", "checkpoint", None):  # in turn
        for _ in range(cfg.repeats):
            for name, run in (
                ("making", lambda: bench.batch(side, cfg.batch)),
                ("looking", lambda: step(bench.looking, given)),
                (
                    "saccading",
                    lambda: step(bench.saccading, bench.batch(side, cfg.batch)),
                ),
            ):
                taken[name].append(bench.seconds(run) / cfg.batch)
        if baseline:
            count = getattr(cfg, f"{baseline}_batch")
            few, net = bench.batch(side, count), getattr(bench, baseline)
            found[baseline] = bench.seconds(lambda n=net, b=few: step(n, b)) / count
    median = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "side": side,
        "making_seconds": median["making"],
        "saccading_compute": median["looking"],
        "naive_compute": found["naive"],
        "checkpoint_compute": found["checkpoint"],
        "saccading_seconds": median["saccading"],
        "naive_seconds": found["naive"] + median["making"],
        "checkpoint_seconds": found["checkpoint"] + median["making"],
    }


def windows_given(batch: dict, proxy: int) -> dict:
    """A batch of images as `ByWindows` takes it."""
    image = batch["image"]
    c = glimpse.downsample(image, proxy)
    return batch | {"image": c, "proxy": c, "crop": partial(glimpse.crop, image)}


def counts(bench: Bench, side: int) -> dict[str, float]:
    """What is exact: MiB kept for the backward pass, the image's own among them, and
    multiplications forward, an image.

    A crop costs the same wherever it is cut: one is counted, and multiplied.
    """
    cfg, batch = bench.config, bench.batch(side, 2)
    crop = batch["image"].new_zeros(1, 1, cfg.naive.crop, cfg.naive.crop)
    N = number_of_crops(cfg.naive, side)
    of_crop = cost.saved_activations(lambda: bench.naive.features(crop), bench.naive)
    image = batch["image"][0].numel() * batch["image"].element_size()
    seen = cost.saved_activations(lambda: bench.saccading.loss(batch), bench.saccading)
    alive = min(N, cfg.checkpoint.segment or N)  # crops of one segment
    single = batch["image"][:1]
    looked = cost.multiplications(lambda: bench.saccading.predict(single))
    read = cost.multiplications(lambda: bench.naive.features(crop))
    return {
        "crops": N,
        "image_mib": image / cost.MIB,
        "saccading_mib": seen / 2 / cost.MIB,
        "naive_mib": (image + N * of_crop) / cost.MIB,
        "checkpoint_mib": (image + alive * of_crop) / cost.MIB,
        "saccading_multiplications": looked / 1e6,
        "baseline_multiplications": N * read / 1e6,
    }


def number_of_crops(config: baselines.CropsConfig, side: int) -> int:
    """N; an image smaller than a crop is enlarged to one."""
    side = max(side, config.crop)
    return len(baselines.tiles(side, side, config.crop))


Quantities = dict[str, tuple[float, str]]


def summary(bench: Bench, last: dict[str, float]) -> tuple[Quantities, Quantities]:
    """Metrics and costs at the last side; memory extrapolated to the paper's batch."""
    metrics: Quantities = {
        "crops": (last["crops"], ""),
        "speed_up_naive": (last["naive_seconds"] / last["saccading_seconds"], "x"),
        "speed_up_checkpoint": (
            last["checkpoint_seconds"] / last["saccading_seconds"],
            "x",
        ),
        "speed_up_naive_compute": (
            last["naive_compute"] / last["saccading_compute"],
            "x",
        ),
        "speed_up_checkpoint_compute": (
            last["checkpoint_compute"] / last["saccading_compute"],
            "x",
        ),
        "kept_share": (100 * last["saccading_mib"] / last["naive_mib"], "%"),
    }
    costs: Quantities = {
        "saccading_parameters": (cost.parameters(bench.saccading) / 1e6, "M"),
        "baseline_parameters": (cost.parameters(bench.naive) / 1e6, "M"),
    }
    for name in ("saccading", "naive", "checkpoint"):
        costs[f"{name}_compute"] = (last[f"{name}_compute"], "s/image")
        costs[f"{name}_epoch"] = (last[f"{name}_seconds"] * EPOCH, "s/epoch")
        costs[f"{name}_kept"] = (last[f"{name}_mib"] * MEMORY_BATCH / 1024, "GiB")
    return metrics, costs


def device_memory(bench: Bench) -> Quantities:
    """Peak memory of a step at the paper's batch and the last side, on a GPU.

    The naive baseline does not fit: its memory is a straight line through two batches.
    """
    cfg, side = bench.config, bench.config.sides[-1]

    def peak(net: nn.Module, count: int) -> float:
        def run():
            step(net, bench.batch(side, count))

        return cost.peak_device_memory(run, bench.device) / 2**30

    n = cfg.naive_batch
    small, large = peak(bench.naive, n // 2), peak(bench.naive, n)
    slope = (large - small) / (n - n // 2)
    return {
        "saccading_memory": (peak(bench.saccading, MEMORY_BATCH), "GiB"),
        "checkpoint_memory": (peak(bench.checkpoint, MEMORY_BATCH), "GiB"),
        "naive_memory": (large + (MEMORY_BATCH - n) * slope, "GiB"),
    }


def costs() -> dict[str, dict[str, Measurement]]:
    """Quick: everything at a quarter of its size, so that there are 144 crops too."""
    of_paper = baselines.CropsConfig(classes=55, segment=1)
    again = replace(of_paper, checkpoint=True)
    small = replace(of_paper, width=8, hidden=32, crop=56, segment=12)
    standard = Costs(LARGE, of_paper, again, (100, 224, 448, 896, 1344, SIDE))
    return {
        "cost-2528": {
            "quick": Measurement(
                measure,
                Costs(
                    SMALL, small, replace(small, checkpoint=True), (100, 224, SIDE // 4)
                ),
                seeds=(0,),
            ),
            "standard": Measurement(measure, standard),
            "paper": Measurement(
                measure,
                replace(
                    standard,
                    naive=replace(of_paper, segment=None),
                    batch=MEMORY_BATCH,
                    naive_batch=16,
                    checkpoint_batch=MEMORY_BATCH,
                ),
            ),
        }
    }


# --- trained --------------------------------------------------------------------------

QUICK = Schedule(steps=40, batch=64, rate=3e-3, validate_every=20)

# One digit, 2.5 pixels wide on the proxy. Windows start at half of the side, where the
# digit is five points wide, and close to twice its width.
TRUE = replace(
    SMALL,
    classes=10,
    glimpses=4,
    size=32,
    scale=(0.5, 0.5),
    narrow_to=0.16,
    narrow_during=(0.25, 0.75),
    sigma=0.1,
    sigma_max=0.2,
)
TRUE_STEPS = Schedule(
    steps=4_000, batch=64, rate=6e-4, validate_every=250, choose_after=0.75
)


def enlarged() -> dict[str, dict[str, OnDigits]]:
    """Identification at 2528, enlarged from 100 as in the paper."""
    whole = OnDigits(
        "identification",
        model=replace(LARGE, glimpses=3),
        schedule=LARGE_STEPS,
        enlarge=SIDE,
    )
    read = replace(
        whole,
        model=replace(SMALL, glimpses=3),
        schedule=CLUTTERED_STEPS,
        windows="full",
    )
    over_crops = baselines.CropsConfig(classes=55, segment=12, checkpoint=True)
    two_epochs = replace(LARGE_STEPS, steps=7_500, batch=16, graph=False)
    return {
        "saccading-2528": {
            "quick": replace(read, schedule=QUICK, validation=250, test=250),
            "standard": read,
            "paper": whole,
        },
        "resnet18-144-crops": {
            "paper": replace(
                whole,
                model=over_crops,
                schedule=two_epochs,
                validation=1_000,
                test=2_000,
            )
        },
    }


def true_large() -> dict[str, dict[str, OnDigits]]:
    """One digit on a canvas that nobody composes, the controls, and hard windows."""
    saccading = OnDigits(
        "translated",
        model=TRUE,
        schedule=TRUE_STEPS,
        side=SIDE,
        digit=200,
        windows="soft",
        validation=1_000,
        test=4_000,
    )
    rows = {
        "saccading": saccading,
        "random": replace(saccading, model=control(TRUE, "random")),
        "oracle": replace(saccading, model=control(TRUE, "oracle")),
        "proxy": replace(saccading, model=baselines.ProxyConfig(10, width=16)),
        "hard": replace(saccading, windows="level"),
    }
    return {
        f"{name}-true-2528": {
            "quick": replace(run, schedule=QUICK, validation=250, test=250, seeds=(0,)),
            "standard": run,
        }
        for name, run in rows.items()
    }


ROWS = costs() | enlarged() | true_large()
