"""What the paper prints of its settings, read off the rows that stand for them.

Nothing is trained. The geometry of birds is that of the row with the paper's network at
the paper's sizes (`posteriors`, for a GPU); counts of images, glimpses, sequences and
tasks are those of the rows that teach (`partial`). So a row that drifts from what is
written shows in the ledger.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from saccade_lib.retrieval import Database
from saccade_lib.runs.experiment import build
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.near_optimal_glimpses import convergence, partial, posteriors


@dataclass(frozen=True)
class Rows:
    """Which rows are read.

    Attributes:
        species, attribute: of `partial`, the paper's CUB and its faces.
        network: of `posteriors`, at the profile ``"paper"``.
    """

    species: str = "ps-nogs-birds"
    attribute: str = "ps-nogs-birds-wing"
    network: str = "g-densenet-birds-0"
    profile: str = "standard"


def read(rows: Rows, seed: int, device: torch.device, folder: Path) -> Measured:
    """Counts of images, places, sequences and layers; sides; margins of convergence."""
    species, attribute = (
        partial.ROWS[name][rows.profile] for name in (rows.species, rows.attribute)
    )
    pack = species.find(quiet=True)
    network = posteriors.ROWS[rows.network]["paper"].model
    found = {f"species_{k}": v for k, v in counts(species, pack).items()}
    found |= {f"attribute_{k}": v for k, v in counts(attribute, pack).items()}
    found |= {
        "species_side": (network.side, "px"),
        "species_glimpse": (network.size, "px"),
        "species_grid": (network.grid().n, ""),
        "species_spacing": (network.stride, "px"),
        "attribute_tasks": (len(partial.TASKS), ""),
        "attribute_side": (attribute.grid.side, "px"),
        "attribute_glimpse": (attribute.grid.size, "px"),
        "attribute_grid": (attribute.grid.n, ""),
        "attribute_within": (convergence.ATTRIBUTES.within, "nats"),
        "species_within": (convergence.BIRDS.within, "points"),
        "attribute_map_top": (float(attribute.designed().maps.max()), "nats"),
        "database": (database(species, pack) / 1e6, "M"),
    }
    metrics = {k: {"value": v, "unit": unit} for k, (v, unit) in found.items()}
    return Measured(metrics=metrics, data=pack.record())


def counts(run, pack) -> dict[str, tuple[float, str]]:
    """Of a row: images by split, classes, glimpses, sequences, layers, what is seen."""
    images = {split: run.part(pack, split) for split in ("train", "validation", "test")}
    layers = [m for m in build(run, 0).read.modules() if isinstance(m, nn.Conv2d)]
    seen = run.model.glimpses * run.grid.size**2 / run.grid.side**2
    return {name: (len(some), "") for name, some in images.items()} | {
        "classes": (images["train"].classes, ""),
        "glimpses": (run.model.glimpses, ""),
        "sequences": (len(run.annotated_rows(images["train"])), ""),
        "layers": (len(layers), ""),
        "seen_at_most": (100 * seen, "%"),
    }


def database(run, pack) -> int:
    """Candidates that complete a picture: one fold, shifted and mirrored."""
    from saccade_lib.annotation.job import plan_of  # a layer above

    plan = plan_of("birds", "standard")
    fold = run.part(pack, "train").of_fold(0)
    base = Database(fold.pixels(), fold.id, run.grid, plan.flip, plan.reach)
    return base.N


ROWS = {"settings": {"paper": Measurement(read, Rows())}}
