"""What the paper says of its StarCraft II data, measured on ours at the same size."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from saccade_lib.data import battlefield, sprites
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.train import synchronise


@dataclass(frozen=True)
class Config:
    """What is looked through.

    Attributes:
        scenes: number whose counts are drawn.
        side, most, sprite, squads, proxy: of `battlefield.Scenes`.
        windows, scale, size: read of each scene to measure how fast that is.
        batch, rounds: scenes read at a time, and how often.
    """

    scenes: int
    side: int = 1024
    most: int = 22
    sprite: int = 32
    squads: int = 4
    proxy: int = 64
    windows: int = 6
    scale: float = 0.1
    size: int = 64
    batch: int = 64
    rounds: int = 5


def measure(config: Config, seed: int, device: torch.device, folder: Path) -> Measured:
    """Counts of many scenes, the form of a few, and scenes read a second."""
    art = sprites.plain()
    scenes = battlefield.Windows(
        art,
        side=config.side,
        most=config.most,
        sprite=config.sprite,
        squads=config.squads,
        proxy=config.proxy,
        seed=seed,
    )
    counts = torch.cat(
        [scenes.counts(part) for part in torch.arange(config.scenes).split(50_000)]
    )  # (N, 3)
    whole = battlefield.Scenes(**{k: v for k, v in vars(scenes).items() if k[0] != "_"})
    one = whole.batch(torch.arange(1), device)
    metrics = {
        "scenes": (len(counts), ""),
        "image_side": (one["image"].shape[-1], "px"),
        "minimap_side": (one["proxy"].shape[-1], "px"),
        "kinds": (int((counts.sum(dim=0) > 0).sum()), ""),
        "most_of_a_kind": (int(counts.max()), ""),
        "zero_share": (100 * float((counts[:, 0] == 0).double().mean()), "%"),
    }
    rates = sorted(
        scenes_a_second(scenes, config, device) for _ in range(config.rounds)
    )
    costs = {"scenes_per_second": (rates[len(rates) // 2], "images/s")}
    return Measured(
        metrics={k: {"value": v, "unit": u} for k, (v, u) in metrics.items()},
        costs={k: {"value": v, "unit": u} for k, (v, u) in costs.items()},
        curves={
            "marines": list(range(scenes.classes)),
            "scenes": counts[:, 0].bincount(minlength=scenes.classes).tolist(),
        },
        data=art.record(),
    )


def scenes_a_second(scenes, config: Config, device: torch.device) -> float:
    """Scenes whose minimap and windows are made in a second.

    On a CPU of this process's own time, in which its neighbours have no part.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    shape = config.batch, config.windows
    location = (torch.rand(*shape, 2, device=device) * 2 - 1) * (1 - config.scale)
    scale = torch.full(shape, config.scale, device=device)
    synchronise(device)
    start = clock()
    batch = scenes.batch(torch.arange(config.batch), device)
    batch["crop"](location, scale, config.size)
    synchronise(device)
    return config.batch / (clock() - start)


WHOLE = Config(scenes=250_000)
ROWS = {
    "battlefield-data": {
        "quick": Measurement(
            measure, replace(WHOLE, scenes=10_000, batch=16, rounds=3), seeds=(0,)
        ),
        "standard": Measurement(measure, WHOLE),
    }
}
