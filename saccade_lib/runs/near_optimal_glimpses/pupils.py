"""A better pupil: whole maps as targets, and other pupils than recurrent attention.

``ps-soft-IMAGES`` is ``ps-nogs-IMAGES`` of `partial` with the designer's maps in place
of the places it chose. ``told-tnet`` and ``told-saccading`` are ``tnet-digits`` and
``saccading-single`` of their papers, with places for a tenth of the canvases and all
else as it was: steps, rate, and the other nine tenths.
"""

from dataclasses import dataclass, replace

from torch import nn

from saccade_lib.models.told_places import (
    SaccadingConfig,
    TNetConfig,
    ToldSaccading,
    ToldTNet,
)
from saccade_lib.runs.experiment import as_kind
from saccade_lib.runs.near_optimal_glimpses import partial
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.on_maps import OnMaps
from saccade_lib.runs.on_traversal import OnDigitCells
from saccade_lib.runs.tnet import digits as tnet_digits
from saccade_lib.runs.variational_saccading import two_digits
from saccade_lib.train import Schedule

QUICK = Schedule(steps=24, batch=32, validate_every=12)


@dataclass(frozen=True)
class ToldCells(OnDigitCells):
    """`OnDigitCells` for a TNet that is told cells."""

    def kind(self) -> type[nn.Module]:
        return ToldTNet


@dataclass(frozen=True)
class ToldDigits(OnDigits):
    """`OnDigits` for Variational Saccading that is told a place."""

    def kind(self) -> type[nn.Module]:
        return ToldSaccading


def soft(images: str) -> dict[str, OnMaps]:
    """The row of soft targets beside ``ps-nogs-IMAGES``, by profile."""
    by_profile = partial.ROWS[f"ps-nogs-{images}"]
    return {profile: as_kind(OnMaps, run) for profile, run in by_profile.items()}


def rows() -> dict[str, dict]:
    found = {f"ps-soft-{images}": soft(images) for images in ("digits", "birds")}
    tnet = tnet_digits.ROWS["tnet-digits"]["standard"]
    single = two_digits.ROWS["saccading-single"]["standard"]
    told = {
        "told-tnet": as_kind(ToldCells, tnet, model=as_kind(TNetConfig, tnet.model)),
        "told-saccading": as_kind(
            ToldDigits, single, model=as_kind(SaccadingConfig, single.model)
        ),
    }
    for name, run in told.items():
        quick = replace(run, schedule=QUICK, seeds=(0,), validation=100, test=200)
        found[name] = {"quick": quick, "standard": run}
    return found


ROWS = rows()
