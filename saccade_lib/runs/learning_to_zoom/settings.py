"""The settings that the paper prints, read off what trains, and the sampler's kernel.

Nothing is trained: widths of kernels are measured on the matrices that do the sampling,
all else is read off the rows' networks at the profile `paper`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from saccade_lib import zoom
from saccade_lib.deformable import DeformConv2d
from saccade_lib.models.gaze import Gaze
from saccade_lib.models.itracker import ITracker
from saccade_lib.models.zoom_classifier import ZoomClassifier
from saccade_lib.runs.learning_to_zoom import classes, gaze
from saccade_lib.runs.measurement import Measured, Measurement


@dataclass(frozen=True)
class Settings:
    """Both kernels, on the public code's map.

    Attributes:
        cells: a side of the map.
        share: sigma over the side, as printed.
        code: sigma in cells, from the public code's width at half height.
    """

    cells: int = zoom.CODE_CELLS
    share: float = zoom.PAPER_SHARE
    code: float = zoom.CODE_SIGMA


def read(config: Settings, seed: int, device: torch.device, folder: Path) -> Measured:
    """Standard deviations of what pulls an output pixel over an even map, and the
    numbers of `of_gaze` and `of_classes`."""
    found = {
        "sigma": width(config.share * config.cells) / config.cells,
        "sigma_code": width(config.code) / config.cells,
        "sigma_code_cells": width(config.code),
    }
    found |= of_gaze() | of_classes()
    return Measured(
        metrics={
            name: {"value": round(value, 6), "unit": "px" if is_side(name) else ""}
            for name, value in found.items()
        }
    )


def is_side(name: str) -> bool:
    """Whether a number is a side in pixels, by its name."""
    return name.endswith(("input_side", "task_input", "inception", "_train", "_test"))


def width(sigma: float, n: int = 31) -> float:
    """The kernel's standard deviation in cells, from its matrices."""
    K, D, E = zoom.matrices(n, n, sigma, "replicate")
    mass, mean, square = (m[n // 2].sum() for m in (K, D, E))
    return float(square / mass - (mean / mass).square()) ** 0.5


def of_gaze() -> dict[str, float]:
    """Section 4.1, on an empty image."""
    rows = {k: gaze.ROWS[f"{k}-iphone"]["paper"].model for k in gaze.READERS}
    with torch.device("meta"):
        sampler, bent = (Gaze(rows[k]) for k in ("sampler", "deformable"))
    peer = ITracker(gaze.ROWS["itracker-iphone"]["paper"].model).eval()
    last = [m for m in sampler.task.modules() if isinstance(m, nn.Linear)][-1]
    return {
        "gaze_task_input": rows["sampler"].size[0],
        "gaze_outputs": last.out_features,
        "gaze_saliency_layers": layers_of(sampler.reader.saliency),
        "gaze_deformable_layers": sum(
            isinstance(m, DeformConv2d) for m in bent.task.modules()
        ),
        "itracker_inputs": inputs_of(peer),
        "itracker_input_side": peer.config.size,
    }


@torch.no_grad()
def inputs_of(peer: ITracker) -> int:
    """How many pictures and grids its first layers are given for one answer."""
    seen = []
    for part in (peer.eye, peer.face, peer.grid):
        part.register_forward_hook(lambda *_: seen.append(1))
    detected = torch.tensor([[[-0.3, -0.2, 0.1], [0.3, -0.2, 0.1], [0.0, 0.0, 0.5]]])
    peer.answer({"image": torch.rand(1, 3, 256, 256), "detected": detected})
    return len(seen)


def of_classes() -> dict[str, float]:
    """Sections 4.2 and 4.3."""
    own, bird = (classes.ROWS[f"sampler-{k}"]["paper"] for k in ("scenes", "cub"))
    second = classes.ROWS["residual-sampler-scenes"]["paper"].model
    with torch.device("meta"):
        made = {k: ZoomClassifier(r.model) for k, r in (("own", own), ("cub", bird))}
    return {
        "inaturalist_classes": made["own"].task.fc.out_features,
        "inaturalist_task_input": own.model.size[0],
        "inaturalist_task_input_inception": second.size[0],
        "inaturalist_source_train": own.side,
        "inaturalist_source_test": own.tested,
        "inaturalist_saliency_layers": layers_of(made["own"].reader.saliency),
        "cub_saliency_layers": layers_of(made["cub"].reader.saliency),
        "cub_task_input": bird.model.size[0],
    }


def layers_of(looking: nn.Module) -> int:
    """Convolutions of f_s as the paper counts them: without those of shortcuts."""
    return sum(
        isinstance(m, nn.Conv2d) and "downsample" not in name
        for name, m in looking.named_modules()
    )


ROWS = {"settings": {"paper": Measurement(read, Settings())}}
