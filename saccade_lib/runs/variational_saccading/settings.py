"""Sizes and settings that the paper prints, read off the rows that stand for them.

Nothing is trained. An image is composed and measured, a model is built and counted: so
a row that drifts from the paper's setting shows in the ledger.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from saccade_lib import cost
from saccade_lib.data import door
from saccade_lib.models import baselines
from saccade_lib.runs.experiment import build
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.variational_saccading import (
    ablations,
    battlefield,
    large,
    photographs,
    two_digits,
)


@dataclass(frozen=True)
class Rows:
    """Which rows are read, at the profile that has the paper's sizes.

    Attributes:
        lower, upper: of the two halves of Table 1.
        whole, crops: ResNet-18 over whole images, and over crops.
        photographs, battlefield: of the paper's other two data sets.
    """

    lower: str = "saccading-identification"
    upper: str = "saccading-2528"
    whole: str = "resnet18-identification"
    crops: str = "resnet18-144-crops"
    photographs: str = "saccading-photographs"
    battlefield: str = "saccading-marines"
    profile: str = "paper"


def read(rows: Rows, seed: int, device: torch.device, folder: Path) -> Measured:
    """Sides, batches, crops, the numbers in a latent, variances and repeats."""
    pack = door.mnist(quiet=True)
    halves = {
        "lower": two_digits.ROWS[rows.lower][rows.profile],
        "upper": large.ROWS[rows.upper][rows.profile],
    }
    found = {}
    for half, run in halves.items():
        one = run.canvases(pack, "train", seed).batch(torch.tensor([0]), device)
        found[f"image_side_{half}"] = (one["image"].shape[-1], "px")
        found[f"batch_{half}"] = (run.schedule.batch, "")
    model = build(halves["lower"], seed)
    whole = build(two_digits.ROWS[rows.whole][rows.profile], seed)
    found["parameters_whole"] = (cost.parameters(whole) / 1e6, "M")
    found["proxy_side"] = (halves["lower"].model.proxy, "px")
    # The posterior gives a mean and a variance for each number of z.
    found["latent_size"] = (model.posterior[-1].out_features // 2, "")
    crop = large.ROWS[rows.crops][rows.profile].model.crop
    side = found["image_side_upper"][0]
    found["crops"] = (len(baselines.tiles(side, side, crop)), "")
    found["crop_side"] = (crop, "px")
    for variance in ablations.VARIANCES:
        name = ablations.named(variance)
        run = ablations.ROWS[f"ablation-variance-{name}"]["standard"]
        in_theirs = run.model.fixed_variance / ablations.in_our_z(1.0)
        found[f"variance_{name.replace('-', '_')}"] = (in_theirs, "")
    found["variance_repeats"] = (len(run.seeds), "")
    found |= elsewhere(rows, halves["lower"])
    metrics = {k: {"value": float(v), "unit": u} for k, (v, u) in found.items()}
    return Measured(metrics=metrics, data=pack.record())


def elsewhere(rows: Rows, digits: object) -> dict[str, tuple[float, str]]:
    """Of photographs and of the battlefield."""
    photos = photographs.ROWS[rows.photographs][rows.profile]
    field = battlefield.ROWS[rows.battlefield][rows.profile]
    return {
        "photograph_classes": (photos.model.classes, ""),
        "photograph_channels": (photos.model.channels, ""),
        "photograph_side": (photos.side, "px"),
        "photograph_proxy_side": (photos.model.proxy, "px"),
        "battlefield_glimpses": (field.model.glimpses, ""),
        "data_sets": (len({type(digits), type(photos), type(field)}), ""),
    }


ROWS = {"settings": {"standard": Measurement(read, Rows())}}
