"""Rows on mosaics of satellite pictures, on whole ones, and on a reader's own fMoW."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from saccade_lib.data import composite_parts, door, mosaics, satellite
from saccade_lib.models.tnet import TNet
from saccade_lib.runs.experiment import Experiment, Stream, batches_of
from saccade_lib.runs.on_traversal import OnTraversal, right
from saccade_lib.train import evaluating


@dataclass(frozen=True, kw_only=True)
class OnMosaics(OnTraversal, Experiment):
    """A row at one profile on `mosaics.Mosaics`.

    Attributes:
        side, tiles, decoys, coarse, read: of the mosaics.
        tested: for a model of three levels or more, the numbers of locations, level by
            level, that it is tested with.
    """

    side: int = 224
    tiles: int = 4
    decoys: int = 2
    coarse: int = 4
    read: str = "whole"
    tested: tuple[tuple[int, ...], ...] = ()

    code: ClassVar = (mosaics, satellite, composite_parts)

    def find(self, quiet: bool) -> door.Source:
        return satellite.find(quiet)

    def canvases(self, pack: door.Source, split: str, seed: int) -> mosaics.Mosaics:
        return mosaics.Mosaics(
            pack,
            split,
            side=self.side,
            tiles=self.tiles,
            decoys=self.decoys,
            coarse=self.coarse,
            read=self.read,
            seed=seed,
        )

    def evaluate(self, model: nn.Module, canvases: Stream, count: int, device) -> dict:
        """As `OnTraversal.evaluate`; of more than two levels, at each of ``tested``
        ``accuracy_K`` and ``hit_rate_K``, K locations in all."""
        if not self.tested:
            return super().evaluate(model, canvases, count, device)
        found: dict[str, float] = {}
        with torch.random.fork_rng(devices=[]), evaluating(model):
            torch.manual_seed(0)  # random places
            for batch in batches_of(canvases, count, device):
                for name, value in self._one_batch(model, batch).items():
                    found[name] = found.get(name, 0.0) + 100 * value / count
        trained = total(model.config.locations)
        return {"accuracy": found[f"accuracy_{trained}"]} | found

    def _one_batch(self, model: TNet, batch: dict) -> dict[str, float]:
        found = {}
        for locations in self.tested:
            seen = model.predict(batch["image"], batch=batch, locations=locations)
            K = total(locations)
            found[f"accuracy_{K}"] = right(seen.probabilities, batch["label"], 1)
            away = (seen.location - batch["centre"]).abs()  # (B, K, 2)
            inside = (away <= seen.scale[..., None]).all(dim=2)
            found[f"hit_rate_{K}"] = float(inside.any(dim=1).sum())
        return found


def total(locations: tuple[int, ...]) -> int:
    """Squares attended in all: (2, 1) is 2 and one in each of them, 4."""
    found, nodes = 0, 1
    for k in locations:
        nodes *= k
        found += nodes
    return found
