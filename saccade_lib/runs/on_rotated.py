"""Experiments on turned digits."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from saccade_lib.data import digits, door, rotated
from saccade_lib.runs.experiment import Experiment, batches_of
from saccade_lib.train import evaluating


@dataclass(frozen=True)
class OnRotated(Experiment):
    """A row at one profile whose images are `rotated.Rotated`.

    Attributes:
        turn: largest angle, degrees.
    """

    turn: float = 90.0

    code: ClassVar = (digits, rotated)
    unit_of: ClassVar = {"spread_before": "deg", "spread_after": "deg"}

    def find(self, quiet: bool) -> door.Pack:
        return door.mnist(quiet=quiet)

    def canvases(self, pack: door.Pack, split: str, seed: int) -> rotated.Rotated:
        return rotated.Rotated(pack, split, seed, self.turn)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, canvases, count: int, device) -> dict:
        """``accuracy`` and ``error``; how far digits of one class are turned apart
        before they are read, and after (`spread`)."""
        parts: dict[str, list[Tensor]] = {"right": [], "label": [], "was": [], "is": []}
        with evaluating(model):
            for batch in batches_of(canvases, count, device):
                seen = model.read(batch["image"], batch)
                best = model.task(seen.image).argmax(dim=1)
                left = batch["angle"] - rotated.angle_of(seen.at)
                found = (best == batch["label"], batch["label"], batch["angle"], left)
                for values, each in zip(parts.values(), found, strict=True):
                    values.append(each.cpu())
        right, label, before, after = (torch.cat(v) for v in parts.values())
        accuracy = 100 * right.double().mean().item()
        return {
            "accuracy": accuracy,
            "error": 100 - accuracy,
            "spread_before": spread(before, label),
            "spread_after": spread(after, label),
        }


def spread(angle: Tensor, label: Tensor) -> float:
    """Root mean square distance of angles to their class's mean direction, degrees.

    A transformer that turns all digits of a class one way leaves 0, whichever way it
    is; one that does nothing leaves what there was, 52 where angles are uniform between
    -90 and 90.
    """
    apart = torch.zeros(len(angle), dtype=torch.float64)
    for k in label.unique():
        of_class = angle[label == k].double().deg2rad()
        mean = torch.atan2(of_class.sin().mean(), of_class.cos().mean())
        away = of_class - mean
        apart[label == k] = torch.atan2(away.sin(), away.cos()).rad2deg()
    return float(apart.square().mean().sqrt())
