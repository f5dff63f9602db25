"""Rows of Spatial Transformer Networks: the rotated digits of Table 1.

All rows share data, steps and rate, and differ in the classifier and in how it reads
its image. Beside the paper's rows stands the grid that is told the angle: what a
transformer could win at most.
"""

from dataclasses import replace

from saccade_lib.models.spatial_transformers import Config
from saccade_lib.runs.on_rotated import OnRotated
from saccade_lib.train import Schedule

STEPS = Schedule(steps=1_000, batch=128, rate=3e-3, decay=0.6, validate_every=250)
SHORT = Schedule(steps=60, batch=64, rate=3e-3, validate_every=30)

MODELS = {
    "cnn": Config(),
    "st-cnn-affine": Config(transform="affine"),
    "st-cnn-thin-plate": Config(transform="thin-plate"),
    "told-cnn": Config(transform="told"),
    "fcn": Config("fcn"),
    "st-fcn-affine": Config("fcn", "affine"),
    "told-fcn": Config("fcn", "told"),
}


def both(model: Config) -> dict[str, OnRotated]:
    """A row at `quick` and at `standard`."""
    standard = OnRotated(model=model, schedule=STEPS)
    small = {"schedule": SHORT, "seeds": (0,), "validation": 250, "test": 250}
    return {"quick": replace(standard, **small), "standard": standard}


ROWS = {f"{name}-rotated": both(model) for name, model in MODELS.items()}
