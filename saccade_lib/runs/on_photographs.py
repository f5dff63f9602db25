"""Experiments on large pictures: composites, or a reader's copy of MIT-Adobe FiveK."""

import os
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from saccade_lib.data import composite_parts, composites, door, photos
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import VariationalSaccading
from saccade_lib.runs.experiment import Experiment

FIVEK = "SACCADE_FIVEK"  # environment variable: the folder of a reader's own copy


@dataclass(frozen=True, kw_only=True)
class OnPhotographs(Experiment):
    """A row at one profile whose images are read by windows.

    They are composites, or the photographs in ``$SACCADE_FIVEK`` if that is set; a
    record's data source says which.

    Attributes:
        side: of composites, in pixels.
        whole: side at which batches hold whole images, for models that read
            everything; 0 for proxies and windows.
        soft: whether windows fade at their borders.
    """

    side: int = composites.SIDE
    whole: int = 0
    soft: bool = True

    code: ClassVar = (composites, composite_parts, photos)

    def find(self, quiet: bool) -> door.Source:
        if folder := os.environ.get(FIVEK):
            return photos.fivek(folder, quiet=quiet)
        return composite_parts.find(quiet)

    def canvases(self, pack: door.Source, split: str, seed: int):
        reading = {
            "proxy": getattr(self.model, "proxy", 32),
            "whole": self.whole,
            "soft": self.soft,
            "seed": seed,
        }
        if isinstance(pack, photos.FiveK):
            return photos.Photographs(pack, split, **reading)
        return composites.Composites(pack, split, side=self.side, **reading)

    def kind(self) -> type[nn.Module]:
        kind = super().kind()
        return ByWindows if kind is VariationalSaccading else kind

    def evaluate(self, model, canvases, count: int, device) -> dict:
        """Each photograph once; no hit rate where nobody knows the places."""
        if not isinstance(canvases, photos.Photographs):
            return super().evaluate(model, canvases, count, device)
        count = min(count, len(canvases))
        found = super().evaluate(model, canvases, count, device)
        return {name: value for name, value in found.items() if name != "hit_rate"}
