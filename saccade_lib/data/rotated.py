"""Handwritten digits turned about their middle, made on the fly from (seed, index).

The set R of Jaderberg et al. (2015): one MNIST digit, 28 x 28, turned by an angle that
is uniform between -90 and 90 degrees. Ours is an endless stream, so that no two steps
see the same turned digit.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from saccade_lib import glimpse, zoom
from saccade_lib.data.digits import SPLITS, of_split, uniforms
from saccade_lib.data.door import Pack

STREAM = 2 * len(SPLITS)  # of `uniforms`: not those of the canvases and their noise


@dataclass(frozen=True)
class Rotated:
    """An endless, random-access stream of turned digits.

    Attributes:
        pack: digits to draw with (`door.mnist`).
        split: ``"train"``, ``"validation"`` or ``"test"``; their digits never mix, as
            in `digits.Canvases`.
        seed: of training; validation and test use 0 whatever the training seed.
        turn: largest angle, degrees, in [0, 180].
    """

    pack: Pack = field(repr=False)
    split: str = "train"
    seed: int = 0
    turn: float = 90.0

    classes = 10

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.turn <= 180:
            raise ValueError(f"turn is an angle from 0 to 180 degrees, got {self.turn}")
        images, labels = of_split(self.pack, self.split)
        # On the class's own shelf: a frozen dataclass is not to be assigned to.
        object.__setattr__(self, "_images", torch.from_numpy(images))
        object.__setattr__(self, "_labels", torch.from_numpy(labels))

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """The turned digits of the given indices.

        Args:
            index: ``(B,)`` integers >= 0.
            device: where they are turned.

        Returns:
            ``image (B, 1, 28, 28)`` in [0, 1], ``label (B,)``, and ``angle (B,)`` in
            degrees, counter-clockwise as one sees it.
        """
        stream = STREAM + SPLITS.index(self.split)
        seed = self.seed if self.split == "train" else 0
        u = uniforms(seed, stream, index.cpu(), 2)  # (B, 2): which digit, which angle
        which = (u[:, 0] * len(self._images)).long()
        angle = ((2 * u[:, 1] - 1) * self.turn).float().to(device)
        upright = self._images[which, None].to(device).float() / 255  # (B, 1, 28, 28)
        return {
            "image": turned(upright, angle),
            "label": self._labels[which].to(device),
            "angle": angle,
        }


def turned(images: Tensor, angle: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` turned counter-clockwise by ``angle (B,)`` degrees.

    Bilinear; what comes in from outside repeats the border, which is black on digits.
    """
    return zoom.warp(images, places(images.shape[-2:], -angle))


def places(size: tuple[int, int], angle: Tensor) -> Tensor:
    """Where each pixel of an image reads, ``(B, H, W, 2)``, on a grid that is turned.

    Args:
        size: H and W.
        angle: of the grid, ``(B,)`` degrees counter-clockwise. Reading on a turned grid
            turns what is read the other way.
    """
    y, x = (glimpse.pixel_centres(n, angle.device, angle.dtype) for n in size)
    p = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (H, W, 2)
    a = angle * (math.pi / 180)
    rows = torch.stack((a.cos(), a.sin(), -a.sin(), a.cos()), dim=1)  # y points down
    return p @ rows.view(-1, 1, 2, 2).mT


def angle_of(at: Tensor) -> Tensor:
    """By how much places ``(B, H, W, 2)`` are turned, ``(B,)`` degrees in (-180, 180].

    The angle of the turn that fits them best: for an affine grid, of its matrix. It is
    the inverse of `places`; the image that is read turns by as much the other way.
    """
    _, H, W, _ = at.shape
    even = places((H, W), at.new_zeros(1))[0]  # (H, W, 2)
    M = torch.einsum("bhwi,hwj->bij", at, even)  # (B, 2, 2)
    return torch.rad2deg(torch.atan2(M[:, 0, 1] - M[:, 1, 0], M[:, 0, 0] + M[:, 1, 1]))
