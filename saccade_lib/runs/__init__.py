"""Every run that stands behind a table: what it is, how to make it, where it lies.

    python -m saccade_lib.runs list [--json]
    python -m saccade_lib.runs make PAPER ROW--PROFILE--SEED

A row is one trained network, an `Experiment`, or something measured without training,
a `Measurement`; it exists once a profile. `train` is what a notebook calls for "this
run"; `record` trains or measures and writes the record.
"""

from saccade_lib.runs.experiment import Experiment, Outcome, train
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.recorder import Run, find, record, recorded_model, runs

__all__ = [
    "Experiment",
    "Measured",
    "Measurement",
    "Outcome",
    "Run",
    "find",
    "record",
    "recorded_model",
    "runs",
    "train",
]
