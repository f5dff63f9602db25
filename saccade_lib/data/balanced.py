"""A sampler that makes every class equally frequent, by drawing with replacement."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from saccade_lib.data.digits import SPLITS, uniforms

DRAWS = 30  # stream of random numbers, plus the split


class Labelled(Protocol):
    """Samples whose labels can be had without making their images."""

    classes: int
    channels: int
    split: str
    seed: int

    def labels(self, index: Tensor) -> Tensor:
        """Class ``(B,)`` of samples ``(B,)``."""

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """The samples themselves."""


@dataclass(frozen=True)
class Balanced:
    """Draws with replacement that make every count equally frequent.

    A weighted sampler whose weights are the reciprocal class frequencies, as the
    released code uses it on training and test scenes alike. Draw i is a function of
    (seed, i).

    Attributes:
        scenes: where the scenes come from: anything with ``labels`` and ``batch``.
        samples: N; the set that is drawn from is scenes 0 to N - 1.
    """

    scenes: "Labelled"
    samples: int

    def __post_init__(self):
        if self.samples < 1:
            raise ValueError(f"samples must be 1 or more, got {self.samples}")
        labels = self.scenes.labels(torch.arange(self.samples))  # (N,)
        object.__setattr__(self, "_order", labels.argsort(stable=True))
        count = labels.bincount(minlength=self.scenes.classes)
        present = count.nonzero()[:, 0]
        object.__setattr__(self, "_count", count[present])
        object.__setattr__(self, "_first", (count.cumsum(0) - count)[present])

    @property
    def classes(self) -> int:
        return self.scenes.classes

    @property
    def channels(self) -> int:
        return self.scenes.channels

    def draw(self, index: Tensor) -> Tensor:
        """Which scene each draw ``(B,)`` takes: first a class, then a scene of it."""
        split = SPLITS.index(self.scenes.split)
        seed = self.scenes.seed if split == 0 else 0
        u = uniforms(seed, DRAWS + split, index, 2)  # (B, 2)
        which = (u[:, 0] * len(self._count)).long()  # (B,)
        member = (u[:, 1] * self._count[which]).long()
        return self._order[self._first[which] + member]

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """The scenes of the draws ``(B,)``, as the scenes' own ``batch`` gives them."""
        return self.scenes.batch(self.draw(index), device)
