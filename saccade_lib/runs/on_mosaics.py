"""Rows on mosaics of satellite pictures, and on a reader's own fMoW."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from saccade_lib.data import (
    augmentation,
    composite_parts,
    door,
    fmow,
    mosaics,
    satellite,
)
from saccade_lib.models.tnet import TNet
from saccade_lib.runs import looks
from saccade_lib.runs.experiment import Experiment, Stream, batches_of
from saccade_lib.runs.on_traversal import OnTraversal, right
from saccade_lib.train import evaluating, read_tensors

FMOW = "SACCADE_FMOW"  # environment variable: the folder of a reader's own copy
FIRST = "SACCADE_FMOW_FIRST"  # the checkpoint of the first of two stages


@dataclass(frozen=True, kw_only=True)
class OnMosaics(OnTraversal, Experiment):
    """A row at one profile on `mosaics.Mosaics`.

    Attributes:
        side, tiles, decoys, coarse, read: of the mosaics.
        tested: for a model of three levels or more, the numbers of locations, level by
            level, that it is tested with.
    """

    side: int = 144
    tiles: int = 3
    decoys: int = 1
    coarse: int = 3
    read: str = "whole"
    tested: tuple[tuple[int, ...], ...] = ()

    code: ClassVar = (mosaics, satellite, composite_parts)
    unit_of: ClassVar = looks.UNIT_OF

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
        """As `OnTraversal.evaluate`, and of learned places as `looks.measure`; of more
        than two levels as `by_locations`."""
        if self.tested:
            return by_locations(model, canvases, self.tested, count, device)
        found = super().evaluate(model, canvases, count, device)
        if isinstance(model, TNet) and model.config.places == "learned":
            seen = looks.look(model, batches_of(canvases, count, device))
            found |= looks.measure(seen)
        return found


@dataclass(frozen=True, kw_only=True)
class OnFMoW(Experiment):
    """A row on a reader's own copy of fMoW, in the folder ``$SACCADE_FMOW``.

    Attributes:
        side, boxes: of `fmow.Images`.
        second: begin with the best weights of an earlier stage, in the checkpoint that
            ``$SACCADE_FMOW_FIRST`` names: all levels share them.
    """

    side: int
    boxes: bool = False
    second: bool = False

    code: ClassVar = (fmow, augmentation)
    own: ClassVar = True  # no data but a reader's own will do

    def find(self, quiet: bool) -> fmow.FMoW:
        return fmow.fmow(named(FMOW, "your copy of fMoW-rgb"), quiet=quiet)

    def canvases(self, pack: fmow.FMoW, split: str, seed: int) -> fmow.Images:
        seed = seed if split == "train" else 0
        return fmow.Images(pack, split, side=self.side, boxes=self.boxes, seed=seed)

    def kind(self) -> Callable[[object], nn.Module]:
        return self._begun if self.second else super().kind()

    def _begun(self, config: object) -> nn.Module:
        model = super().kind()(config)
        path = named(FIRST, "the checkpoint.safetensors of the row tnet-satellite")
        tensors, _ = read_tensors(path)
        best = {k.removeprefix("best."): v for k, v in tensors.items()}
        model.load_state_dict({k: best[k] for k in model.state_dict()})
        return model

    def evaluate(self, model: nn.Module, canvases: Stream, count: int, device) -> dict:
        """Each picture once: per cent right, and right among five; of TNet at each of
        `AT` for its levels."""
        count = min(count, len(canvases))
        if not isinstance(model, TNet):
            return whole(model, canvases, count, device)
        tested = AT[: 4 if len(model.config.locations) == 1 else None]
        return by_locations(model, canvases, tested, count, device, top=5)


# Numbers of locations, level by level, at which Table 2 has TNet.
AT = ((0,), (1,), (2,), (3,), (2, 1), (3, 1))


def named(variable: str, what: str) -> Path:
    """The file or folder that an environment variable names."""
    value = os.environ.get(variable)
    if not value:
        raise door.MissingData(f"set {variable} to {what}: this row needs it")
    return Path(value).expanduser()


def whole(model: nn.Module, canvases: Stream, count: int, device) -> dict:
    """``accuracy`` and ``top5`` of a classifier of whole images."""
    found = {"accuracy": 0.0, "top5": 0.0}
    for batch in batches_of(canvases, count, device):
        p = model.predict(batch["image"]).probabilities
        for name, k in (("accuracy", 1), ("top5", 5)):
            found[name] += 100 * right(p, batch["label"], k) / count
    return found


def by_locations(
    model: TNet,
    canvases: Stream,
    tested: tuple[tuple[int, ...], ...],
    count: int,
    device,
    top: int = 0,
) -> dict[str, float]:
    """Per cent right with each number of locations of a TNet, trained with one.

    Returns:
        ``accuracy_K`` and ``hit_rate_K``, K squares attended in all: per cent of the
        images with their centre of interest in one of them. With ``top``, ``topN_K``.
        ``accuracy`` is that at the number that is trained.
    """
    found: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]), evaluating(model):
        torch.manual_seed(0)  # random places
        for batch in batches_of(canvases, count, device):
            for locations in tested:
                seen = model.predict(batch["image"], batch=batch, locations=locations)
                away = (seen.location - batch["centre"]).abs()  # (B, K, 2)
                inside = (away <= seen.scale[..., None]).all(dim=2).any(dim=1)
                measured = {"accuracy": right(seen.probabilities, batch["label"], 1)}
                measured["hit_rate"] = int(inside.sum())
                if top:
                    n = right(seen.probabilities, batch["label"], top)
                    measured[f"top{top}"] = n
                for name, value in measured.items():
                    key = f"{name}_{total(locations)}"
                    found[key] = found.get(key, 0.0) + 100 * value / count
    return {"accuracy": found[f"accuracy_{total(model.config.locations)}"]} | found


def total(locations: tuple[int, ...]) -> int:
    """Squares attended in all: (2, 1) is 2 and one in each of them, 4."""
    found, nodes = 0, 1
    for k in locations:
        nodes *= k
        found += nodes
    return found
