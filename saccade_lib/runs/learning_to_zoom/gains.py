"""What a way of reading gains over another, seed by seed, from the rows' records.

The brackets of Table 2 and the differences that the text quotes. Both rows of a
difference have the same seed, so the same images in the same order; means and spreads
of such differences are a table's business.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from saccade_lib import records
from saccade_lib.runs.measurement import Measured, Measurement

PAPER = "learning-to-zoom"
# Rows of a reader's own data, under the names of the published table.
WAYS = {
    "deformable": "deformable",
    "stn_affine": "affine",
    "grid_estimator": "grid",
    "stn_tps": "tps",
    "cam": "cam",
    "sampler": "sampler",
}
ACCURACIES = {"top1": "test_accuracy", "top5": "test_top5"}
LEARNED = ("deformable", "stn-tps", "stn-affine", "grid-estimator")  # on gaze
DEVICES = ("ipad", "iphone")


@dataclass(frozen=True)
class Gains:
    """Which records are read.

    Attributes:
        profile: of the records.
    """

    profile: str = "standard"


def read(config: Gains, seed: int, device: torch.device, folder: Path) -> Measured:
    """Differences in points of per cent, and in cm.

    Raises FileNotFoundError where a row has no record of this seed.
    """

    def value(row: str, metric: str) -> float:
        return metric_of(row, metric, config.profile, seed)

    found = {}
    for short, metric in ACCURACIES.items():
        plain = value("uniform-scenes", metric)
        for name, way in WAYS.items():
            gain = value(f"{way}-scenes", metric) - plain
            found[f"{short}_{name}"] = gain, "points"
    for screen in DEVICES:
        sampler = value(f"sampler-{screen}", "test_error")
        others = [value(f"{name}-{screen}", "test_error") for name in LEARNED]
        found[f"{screen}_smallest"] = min(others) - sampler, "cm"
        found[f"{screen}_largest"] = max(others) - sampler, "cm"
    sampler = value("sampler-cub", "test_accuracy")
    for name, row in (("plain", "uniform-cub"), ("dynamic", "dynamic-cub")):
        gain = sampler - value(row, "test_accuracy")
        found[f"cub_over_{name}"] = gain, "points"
    return Measured(
        metrics={k: {"value": v, "unit": unit} for k, (v, unit) in found.items()}
    )


def metric_of(row: str, metric: str, profile: str, seed: int) -> float:
    """One number of one record."""
    wanted = {"paper": PAPER, "row": row, "profile": profile, "seed": seed}
    return records.load(records.path_of(wanted))["metrics"][metric]["value"]


ROWS = {"gains": {"standard": Measurement(read, Gains())}}
