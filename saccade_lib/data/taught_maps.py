"""`Taught`, with more than the place that was chosen: how good every place looked.

A designer's map of expected posterior entropies says which place is best, and also by
how much. Probabilities that fall with the entropy keep this: a nearly as good place is
nearly as right an answer.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import torch
from torch import Tensor

from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.image_sets import STREAM
from saccade_lib.data.taught import Taught


@dataclass(frozen=True, eq=False)
class TaughtMaps(Taught):
    """`Taught` whose batches bring ``soft (B, T, L)`` too, 0 where nothing is known.

    Attributes:
        find_soft: gives probabilities ``(M, T, L)``, and for each image the row that is
            its own ``(N,)``, or -1. Called when first needed.
    """

    _: KW_ONLY
    find_soft: Callable[[], tuple[Tensor, Tensor]]

    @cached_property
    def soft(self) -> tuple[Tensor, Tensor]:
        """What `find_soft` gives; ValueError if it does not fit the sequences."""
        p, row = self.find_soft()
        known, _ = self.places
        if p.shape[1:] != (known.shape[1], self.n**2) or row.shape != known.shape[:1]:
            raise ValueError(
                f"expected probabilities (M, {known.shape[1]}, {self.n**2}) and a row "
                f"for each of {len(known)} images, got {tuple(p.shape)} and "
                f"{tuple(row.shape)}"
            )
        if ((row >= 0) != (known[:, 0] >= 0)).any():
            raise ValueError("maps are of other images than the sequences")
        return p, row

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """As of `Taught.batch`, and ``soft (B, T, L)``."""
        batch = super().batch(index, device)
        p, row = self.soft
        training, N = self.split == "train", len(self.images)
        stream = STREAM + 10 + SPLITS.index(self.split)
        n = 4 + p.shape[1]  # numbers an image: the same ones as of `Taught.batch`
        u = uniforms(self.seed if training else 0, stream, index, n)
        row = row[(u[:, 0] * N).long() if training else index % N]  # (B,)
        if not len(p):
            soft = p.new_zeros(len(index), *p.shape[1:])
        else:
            soft = p[row.clamp(min=0)] * (row >= 0)[:, None, None]
        if training and self.flip:
            mirror = soft.unflatten(2, (self.n, self.n)).flip(3).flatten(2)
            soft = torch.where((u[:, 1] < 0.5)[:, None, None], mirror, soft)
        return batch | {"soft": soft.to(device)}
