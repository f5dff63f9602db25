"""Small images some of which come with a sequence of places, for partial supervision.

Sequences are cells of a grid of n x n, row by row; they may be designed
(`annotation`), made by hand from the parts of a bird (`sequences.by_hand`), or drawn
from a trained policy. Half of the training images may be mirrored, and their places
with them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.image_sets import STREAM, ImageSet, varied

UNKNOWN = -1  # in place of a cell: this image has no sequence


@dataclass(frozen=True, eq=False)
class Taught:
    """Batches by random access: the same index, the same images.

    Attributes:
        images: what to draw from.
        split: images are drawn at random in training; in validation and test index k is
            image k modulo their number.
        find: gives ``known (N, T)``, cells of each image, or `UNKNOWN` throughout its
            row; and ``spread (L,)``, probabilities of the places drawn for pretraining.
            Called when first needed, since designed sequences may have to be made.
        n: cells along a side of the grid.
        flip: mirror half of the training images.
        seed: of training.
    """

    images: ImageSet
    split: str
    find: Callable[[], tuple[Tensor, Tensor]]
    n: int
    flip: bool = False
    seed: int = 0

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """``known`` and ``spread``; ValueError if they do not fit the images."""
        known, spread = self.find()
        N, L = len(self.images), self.n**2
        if known.shape[0] != N or spread.shape != (L,):
            raise ValueError(
                f"expected sequences of {N} images and {L} probabilities, got "
                f"{tuple(known.shape)} and {tuple(spread.shape)}"
            )
        if int(known.max()) >= L or int(known.min()) < UNKNOWN:
            raise ValueError(f"a cell is a number below {L}, or {UNKNOWN} for none")
        if ((known < 0).any(dim=1) != (known < 0).all(dim=1)).any():
            raise ValueError("a sequence is known whole or not at all")
        return known, spread

    @property
    def classes(self) -> int:
        return self.images.classes

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, C, H, W)`` in [0, 1], ``label (B,)``, ``places (B, T)``, ``drawn
        (B, T)``; of birds ``parts (B, P, 2)`` and ``visible (B, P)``, not mirrored."""
        known, spread = self.places
        T, training = known.shape[1], self.split == "train"
        stream = STREAM + 10 + SPLITS.index(self.split)
        u = uniforms(self.seed if training else 0, stream, index, 4 + T)
        N = len(self.images)
        chosen = (u[:, 0] * N).long() if training else index % N
        some, places = self.images.take(chosen), known[chosen]
        image = some.image
        if training and self.flip:
            image = varied(image, u[:, 1:4], flip=True, shift=0)
            places = torch.where(
                (u[:, 1] < 0.5)[:, None], self.mirrored(places), places
            )
        drawn = torch.searchsorted(spread.cumsum(0), u[:, 4:].contiguous())
        batch = {
            "image": image.to(device).float() / 255,
            "label": some.label.to(device),
            "places": places.to(device),
            "drawn": drawn.clamp(max=self.n**2 - 1).to(device),
        }
        if some.parts.shape[1]:
            batch |= {
                "parts": some.parts.to(device),
                "visible": some.visible.to(device),
            }
        return batch

    def mirrored(self, places: Tensor) -> Tensor:
        """The same places in the mirror image; `UNKNOWN` stays."""
        row, column = places // self.n, places % self.n
        found = row * self.n + self.n - 1 - column
        return torch.where(places == UNKNOWN, UNKNOWN, found)
