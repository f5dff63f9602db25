"""A row that is measured, not trained: costs, times, exact counts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass
class Measured:
    """What a measurement found, in the fields of a record.

    Attributes:
        metrics, costs: name to ``{"value", "unit"}``.
        curves: columns of equal length, such as a time for each image side.
        data: as `data.door.Pack.record` gives it; the default says that none is read.
    """

    metrics: dict[str, dict] = field(default_factory=dict)
    costs: dict[str, dict] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    data: dict = field(default_factory=lambda: dict(NO_DATA))


NO_DATA = {"source": "none", "sha256": {}, "note": "made by the measurement itself"}


@dataclass(frozen=True)
class Measurement:
    """A measured row at one profile.

    Attributes:
        measure: ``measure(config, seed, device, folder) -> Measured``, a function of a
            module; ``folder`` is its own, for files too large for memory.
        config: a frozen dataclass of plain numbers, strings and tuples.
        seeds: the repetitions that the tables want.
    """

    measure: Callable[[object, int, torch.device, Path], Measured]
    config: object
    seeds: tuple[int, ...] = (0, 1, 2)

    def run(self, seed: int, device: str, folder: Path) -> Measured:
        return self.measure(self.config, seed, torch.device(device), folder)
