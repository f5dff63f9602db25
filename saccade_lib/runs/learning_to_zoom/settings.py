"""The kernel of the sampler as the paper says it, and as its public code has it.

Nothing is trained: the widths are measured on the matrices that do the sampling.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from saccade_lib import zoom
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
    """Standard deviations of what pulls an output pixel over an even map."""
    found = {
        "sigma": width(config.share * config.cells) / config.cells,
        "sigma_code": width(config.code) / config.cells,
        "sigma_code_cells": width(config.code),
    }
    return Measured(
        metrics={k: {"value": round(v, 6), "unit": ""} for k, v in found.items()}
    )


def width(sigma: float, n: int = 31) -> float:
    """The kernel's standard deviation in cells, from its matrices."""
    K, D, E = zoom.matrices(n, n, sigma, "replicate")
    mass, mean, square = (m[n // 2].sum() for m in (K, D, E))
    return float(square / mass - (mean / mass).square()) ** 0.5


ROWS = {"settings": {"paper": Measurement(read, Settings())}}
