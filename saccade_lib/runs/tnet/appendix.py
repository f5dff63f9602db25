"""What section 5 and appendices A and B print of training, read off what trains.

Nothing is trained. Epochs, rates and batches are those of the rows at `paper`, the
baseline's step is taken by a network, the example of figure 4 is traversed: so a row
that drifts from the paper's setting shows in the ledger.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from saccade_lib.data.augmentation import AREA, ASPECT, augmentation
from saccade_lib.models import efficientnet, tnet, tnet_parts
from saccade_lib.runs.experiment import MODELS
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.tnet import counts, photographs, satellite, speed
from saccade_lib.train import Schedule


@dataclass(frozen=True)
class Rows:
    """Which rows are read.

    Attributes:
        photographs, satellite: by the name that their numbers get.
        example: of figure 4.
    """

    photographs: tuple[tuple[str, str], ...] = (
        ("imagenet", "tnet-imagenet"),
        ("bagnet", "bagnet-imagenet"),
    )
    satellite: tuple[tuple[str, str], ...] = (
        ("stage_1", "tnet-satellite"),
        ("stage_2", "levels-satellite"),
        ("b0_object", "b0-object-satellite"),
        ("b0_small", "b0-small-satellite"),
        ("b0_half", "b0-half-satellite"),
        ("b0_whole", "b0-whole-satellite"),
    )
    example: counts.Settings = counts.Settings()
    profile: str = "paper"


def read(rows: Rows, seed: int, device: torch.device, folder: Path) -> Measured:
    """Sides, epochs, batches, rates, shares, the baseline's step, figure 4's draws."""
    found = {}
    tables = (
        (rows.photographs, photographs.ROWS, photographs.TRAINED),
        (rows.satellite, satellite.ROWS, satellite.TRAINED),
    )
    for names, table, pictures in tables:
        for name, row in names:
            run = table[row][rows.profile]
            one = recipe(run.schedule, pictures) | model(run)
            one["image_side"] = run.side, "px"
            found |= {f"{name}_{k}": v for k, v in one.items()}
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(()))]).defaults
    found["adam_beta_1"], found["adam_beta_2"] = ((b, "") for b in optimiser["betas"])
    found["adam_epsilon"] = optimiser["eps"], ""
    found["crop_area"] = 100 * AREA[0], "%"
    found["aspect_least"], found["aspect_most"] = ((a, "") for a in ASPECT)
    resized = augmentation(32).transforms[0]  # one of these is drawn
    found["resize_methods"] = len(resized.transforms), ""
    clock = speed.ROWS["speed-imagenet"][rows.profile].config
    found["timed_batches"] = clock.rounds * clock.each, ""
    found["timed_batch"] = clock.batch, ""
    found["encoding_base"] = encoding_base(), ""
    return counts.measured(found | baseline() | example(rows.example))


def recipe(schedule: Schedule, pictures: int) -> dict[str, tuple[float, str]]:
    """Epochs and batches of a schedule, and its last rate over its first."""
    last = schedule.factor(schedule.steps - 2) / schedule.factor(1)
    return {
        "epochs": (round(schedule.steps * schedule.batch / pictures, 1), "epochs"),
        "batch": (schedule.batch, ""),
        "rate": (schedule.rate, ""),
        "drop": (last, ""),
        "weight_decay": (schedule.weight_decay, ""),
    }


def model(run) -> dict[str, tuple[float, str]]:
    """Shares that are dropped; of a TNet how many traversals an image trains."""
    config = run.model
    found = {"kept": (1 - config.dropout, ""), "dropout": (config.dropout, "")}
    if isinstance(config, efficientnet.Config):
        found["depth_drop"] = config.depth_drop, ""
    if isinstance(config, tnet.Config):
        image = counts.shape_of(run.side)
        seen = counts.shell(config).traverse(image)
        found["samples"] = len(seen.levels[0].crops) / len(image), ""
    return found


def encoding_base() -> float:
    """From the angles themselves: the last frequency of a row is one over the base."""
    length = 24  # four frequencies
    one = tnet_parts.positions(torch.tensor([1.0, 0.0]), 0, length)
    return round(1 / float(one[length // 6 - 1].asin()), 3)


def baseline() -> dict[str, tuple[float, str]]:
    """b of eq. 7 at the start, and after batches whose rewards are all 0 and all 1."""
    config = tnet.mini(4)
    net = MODELS[tnet.Config](config).train()
    seen = net.traverse(torch.zeros(2, 3, 132, 132))
    start, each = float(net.baseline), torch.zeros(2, seen.log_prob.shape[1])
    net._of_places(seen, each[:, :1], each)
    decay = float(net.baseline) / start
    net.baseline.zero_()
    net._of_places(seen, each[:, :1] + 1, each + 1)
    gain = float(net.baseline)
    found = {"start": start, "decay": decay, "gain": gain}
    return {f"baseline_{k}": (round(v, 6), "") for k, v in found.items()}


def example(config: counts.Settings) -> dict[str, tuple[float, str]]:
    """Figure 4 in appendix A: a distribution a node that is looked into, its draws."""
    net = counts.shell(config.example)
    levels = net.traverse(counts.shape_of(config.example_side)).levels
    draws = [
        level.chosen.shape[-1]
        for level in levels
        if level.chosen is not None
        for _ in range(level.chosen.shape[1])
    ]
    found = {f"draws_{i}": (k, "") for i, k in enumerate(draws, start=1)}
    cells = levels[0].log_p.shape[-1]
    return found | {"distributions": (len(draws), ""), "candidates": (cells, "")}


ROWS = {"appendix": {"paper": Measurement(read, Rows())}}
