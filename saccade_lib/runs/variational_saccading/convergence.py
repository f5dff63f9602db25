"""How long variational saccading trains: passes over the digits, read off the records.

The paper gives 100 to 300 epochs and does not say when a run counts as converged. Here
it is the first time that a validation accuracy is within a point of the run's best.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from saccade_lib import records
from saccade_lib.runs.measurement import Measured, Measurement

PAPER = "variational-saccading"
EPOCH = 60_000  # training digits of MNIST


@dataclass(frozen=True)
class Rows:
    """Which records are read.

    Attributes:
        names: rows of Table 1.
        profile: of their records.
        within: percentage points.
    """

    names: tuple[str, ...] = ("saccading-identification", "saccading-sum")
    profile: str = "standard"
    within: float = 1.0


def read(rows: Rows, seed: int, device: torch.device, folder: Path) -> Measured:
    """Passes over the digits until a run has converged, the fewest and the most.

    Raises FileNotFoundError where a row has no record of this seed.
    """
    epochs, data = {}, {}
    for name in rows.names:
        wanted = {"paper": PAPER, "row": name, "profile": rows.profile, "seed": seed}
        run = records.load(records.path_of(wanted))
        accuracy = run["curves"]["validation_accuracy"]
        good = [value >= max(accuracy) - rows.within for value in accuracy]
        steps = run["curves"]["step"][good.index(True)]
        epochs[name] = steps * run["config"]["schedule"]["batch"] / EPOCH
        data = run["data"]
    found = {"epochs_least": min(epochs.values()), "epochs_most": max(epochs.values())}
    metrics = {k: {"value": v, "unit": "epochs"} for k, v in found.items()}
    return Measured(metrics=metrics, data=data)


ROWS = {"convergence": {"standard": Measurement(read, Rows())}}
