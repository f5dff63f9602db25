"""The time and memory columns of Tables 1 and 2, as appendix B.4 takes them.

All models of a table run in one process, in turn, on the same images, so that whatever
slows the machine slows all of them. A speed-up is that over the fully convolutional
baseline of the table; beside it stands the ratio of multiplications, which it can at
best approach.

On one thread of a CPU torch convolves 1x1 in another way where a call holds fewer than
16 images, at almost half the speed. So no line is timed at a smaller batch: five cells
of four images would be fast by being 20.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from saccade_lib import cost
from saccade_lib.models import bagnet, efficientnet, imagenet_dram, saccader, tnet
from saccade_lib.runs.experiment import MODELS
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.tnet.counts import Fmow, attended, shell
from saccade_lib.train import synchronise


@dataclass(frozen=True)
class Timed:
    """One line of a table.

    Attributes:
        name: in the metrics.
        model: its configuration.
        side: of the images, pixels.
        locations: of a TNet, by level.
        glimpses: T of Saccader and DRAM.
        one_by_one: read a level's cells one after the other.
    """

    name: str
    model: object
    side: int
    locations: tuple[int, ...] | None = None
    glimpses: int | None = None
    one_by_one: bool = False

    def how(self) -> dict:
        """Arguments of the prediction."""
        if self.locations is not None:
            return {"locations": self.locations, "one_by_one": self.one_by_one}
        return {} if self.glimpses is None else {"glimpses": self.glimpses}


@dataclass(frozen=True)
class Speeds:
    """A table's models and how often they run.

    Attributes:
        lines: what is timed; the first one is the baseline.
        batch: images a prediction.
        warm, rounds: predictions of each line before, and while, the clock runs.
        each: predictions in a row of one line, in each round.
    """

    lines: tuple[Timed, ...]
    batch: int = 64
    warm: int = 1
    rounds: int = 3
    each: int = 1


def measure(config: Speeds, seed: int, device: torch.device, folder: Path) -> Measured:
    """Milliseconds an image, memory, speed-ups and the ratios they stand against."""
    torch.manual_seed(seed)
    nets = built(config, device)
    images = {line.side: None for line in config.lines}
    for side in images:
        images[side] = torch.rand(config.batch, 3, side, side, device=device)

    def call(line: Timed):
        nets[line.model].predict(images[line.side], **line.how())

    for line in config.lines:
        for _ in range(config.warm):
            call(line)
    seconds: dict[str, list[float]] = {line.name: [] for line in config.lines}
    for _ in range(config.rounds):
        for line in config.lines:
            clock = seconds_of(lambda line=line: call(line), config.each, device)
            seconds[line.name].append(clock / config.each / config.batch)
    found = {
        f"time_{name}": (1e3 * statistics.median(each), "ms/image")
        for name, each in seconds.items()
    }
    found |= speed_ups(config, found) | memories(config, nets, images, device)
    # The rounds of all lines side by side: how much a time moved.
    curves = {name: [1e3 * s for s in each] for name, each in seconds.items()}
    metrics = {k: {"value": v, "unit": u} for k, (v, u) in found.items()}
    return Measured(metrics=metrics, curves=curves)


def built(config: Speeds, device: torch.device) -> dict[object, nn.Module]:
    """One model for all lines of one configuration."""
    made = {}
    for line in config.lines:
        if line.model not in made:
            net = MODELS[type(line.model)](line.model).eval().to(device)
            made[line.model] = net.to(memory_format=torch.channels_last)
    return made


def seconds_of(run, times: int, device: torch.device) -> float:
    """Of so many calls; on a CPU this process's own, in which neighbours have no part.

    The images are one constant batch: a prediction's cost does not depend on them.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronise(device)
    start = clock()
    for _ in range(times):
        run()
    synchronise(device)
    return clock() - start


def speed_ups(config: Speeds, times: dict) -> dict:
    """How often faster than the baseline, the ratio of multiplications, their share."""
    counted, found = {}, {}
    for line in config.lines:
        net = shell(line.model)
        image = torch.empty(1, 3, line.side, line.side, device="meta")
        counted[line.name] = cost.multiplications(
            lambda net=net, image=image, line=line: net.predict(image, **line.how())
        )
    base = config.lines[0].name
    for line in config.lines[1:]:
        name = line.name
        up = times[f"time_{base}"][0] / times[f"time_{name}"][0]
        ratio = counted[base] / counted[name]
        found[f"speed_up_{name}"] = up, "x"
        found[f"multiplication_ratio_{name}"] = ratio, "x"
        found[f"share_{name}"] = 100 * up / ratio, "%"
    return found


def memories(config: Speeds, nets: dict, images: dict, device: torch.device) -> dict:
    """Peak memory of a prediction, weights included.

    On a GPU what torch allocates. Elsewhere, and beside it, the tensors that are alive
    at once, which needs no machine: it is reckoned from their shapes.
    """
    found = {}
    for line in config.lines:
        if device.type == "cuda":
            others = [n for model, n in nets.items() if model != line.model]
            for net in others:
                net.cpu()

            def call(line=line):
                nets[line.model].predict(images[line.side], **line.how())

            peak = cost.peak_device_memory(call, device)
            found[f"memory_{line.name}"] = peak / 1e9, "GB"
            for net in others:
                net.to(device)
        net = shell(line.model)
        image = torch.empty(config.batch, 3, line.side, line.side, device="meta")
        alive = cost.peak_tensors(
            lambda net=net, image=image, line=line: net.predict(image, **line.how())
        )
        weights = sum(v.nbytes for v in (*net.parameters(), *net.buffers()))
        found[f"tensors_{line.name}"] = (alive + weights + image.nbytes) / 1e9, "GB"
    return found


# --- the two tables -------------------------------------------------------------------


def imagenet(
    locations=(0, 1, 2, 3, 5), of_saccader=(2, 6, 20, 30), of_dram=(2, 4, 8, 20)
) -> tuple[Timed, ...]:
    """The lines of Table 1, and TNet once more with its cells one by one."""
    lines = [Timed("bagnet", bagnet.Config(1000), 224)]
    lines += [Timed(f"tnet_{k}", tnet.IMAGENET, 224, (k,)) for k in locations]
    most = locations[-1]
    lines += [Timed(f"tnet_{most}_one_by_one", tnet.IMAGENET, 224, (most,), None, True)]
    peers = {"saccader": saccader.Config(1000), "dram": imagenet_dram.Config(1001)}
    for name, numbers in (("saccader", of_saccader), ("dram", of_dram)):
        for t in numbers:
            lines.append(Timed(f"{name}_{t}", peers[name], 224, glimpses=t))
    return tuple(lines)


def fmow() -> tuple[Timed, ...]:
    """The lines of Table 2; the baseline is B0 at the full 896 pixels."""
    b0 = efficientnet.Config(62)
    lines = [Timed(f"efficientnet_{side}", b0, side) for side in (896, 448, 224)]
    for side, k in Fmow().locations:
        lines.append(Timed(f"tnet_{side}_{attended(k)}", tnet.FMOW, side, k))
    return tuple(lines)


def small() -> tuple[Timed, ...]:
    """A few lines at an eighth of the width, for a smoke test."""
    tiny = tnet.mini(10, base=77)
    baseline = bagnet.Config(10, width=1 / 8, blocks="small")
    return (
        Timed("bagnet", baseline, 224),
        *(Timed(f"tnet_{k}", tiny, 224, (k,)) for k in (0, 1, 3)),
    )


def rows() -> dict[str, dict[str, Measurement]]:
    of_cpu = imagenet(of_saccader=(2, 30), of_dram=(2, 8))
    long = {"batch": 64, "warm": 10, "rounds": 5, "each": 40}  # 200 batches
    return {
        "speed-imagenet": {
            "quick": Measurement(measure, Speeds(small(), batch=16), seeds=(0,)),
            "standard": Measurement(measure, Speeds(of_cpu, batch=16, rounds=2)),
            "paper": Measurement(measure, Speeds(imagenet(), **long)),
        },
        "speed-fmow": {
            "standard": Measurement(measure, Speeds(fmow(), batch=16, rounds=2)),
            "paper": Measurement(measure, Speeds(fmow(), **long)),
        },
    }


ROWS = rows()
