"""Mosaics of satellite pictures: one tile carries the class.

A mosaic is a square of n x n tiles. Most are *ground*: field, forest or grass. One is
the *object*, a picture of industry, parking, a residential area or water; the label is
its class. A few more are *decoys*, pictures of other classes, and coarse: blocks of
f x f pixels of one colour, the one that a bilinear shrink by f without antialiasing
reads there. So an image shrunk by f is the same whether a tile is sharp or coarse. It
shows where the object and its D decoys are and perhaps what they are, but not which of
them is the object. From such a view alone nobody is right more often than in one case
of D + 1; the detail of one tile tells.

The pictures are `satellite.Pictures`, split before anything is composed.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.satellite import Pictures, check_split, turned_all, views

STREAM = 200  # of random numbers, plus the split
READ = ("whole", "half", "small", "object")


def coarse(tile: Tensor, f: int) -> Tensor:
    """Blocks of the colours that a bilinear shrink by f reads of ``(B, 3, L, L)``."""
    small = F.interpolate(tile.float(), scale_factor=1 / f, mode="bilinear")
    return small.repeat_interleave(f, 2).repeat_interleave(f, 3)


@dataclass(frozen=True)
class Mosaics:
    """An endless, random-access stream of mosaics.

    Attributes:
        pictures: what they are made of (`find`).
        split: ``"train"``, ``"validation"`` or ``"test"``; their pictures never mix.
        side: K, pixels; a multiple of ``tiles * coarse``.
        tiles: n, tiles a side.
        decoys: D.
        coarse: f.
        read: what batches hold as images: ``"whole"`` mosaics; the same shrunk to
            ``"half"`` of the side, or by f to the ``"small"`` view, bilinear and not
            antialiased, as TNet's code resizes; or the ``"object"`` alone, as if its
            box were known.
        seed: of the layout. Validation and test use 0 whatever the training seed.
    """

    pictures: Pictures = field(repr=False)
    split: str = "train"
    side: int = 144
    tiles: int = 3
    decoys: int = 1
    coarse: int = 3
    read: str = "whole"
    seed: int = 0

    def __post_init__(self):
        check_split(self.split)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.side % (self.tiles * self.coarse):
            raise ValueError(
                f"side must be a multiple of tiles x coarse = {self.tiles} x "
                f"{self.coarse}, got {self.side}"
            )
        if not 0 <= self.decoys < min(self.classes, self.tiles**2):
            raise ValueError(
                f"decoys are of classes of their own: 0 to {self.classes - 1} of them, "
                f"on {self.tiles} x {self.tiles} tiles, got {self.decoys}"
            )
        if self.read not in READ:
            raise ValueError(f"read must be one of {', '.join(READ)}, got {self.read}")

    @property
    def classes(self) -> int:
        return len(self.pictures.classes)

    @property
    def tile(self) -> int:
        """L, pixels."""
        return self.side // self.tiles

    def layout(self, index: Tensor) -> "Layout":
        """What lies where on the mosaics of the indices ``(B,)``."""
        N, C, P = self.tiles**2, self.classes, 1 + self.decoys
        seed = self.seed if self.split == "train" else 0
        stream = STREAM + SPLITS.index(self.split)
        sizes = (C, N, *([P] * 3), *([N] * 4))
        u = uniforms(seed, stream, index, sum(sizes)).split(sizes, dim=1)
        n, V = self._objects().shape[1:3]
        kinds, m = self._ground().shape[:2]
        return Layout(
            kind=u[0].argsort(dim=1)[:, :P],  # the object's first
            place=u[1].argsort(dim=1)[:, :P],
            picture=(u[2] * n).long(),
            view=(u[3] * V).long(),
            turn=(u[4] * 8).long(),
            ground=torch.stack([(u[5] * kinds).long(), (u[6] * m).long()], dim=2),
            ground_view=(u[7] * V).long(),
            ground_turn=(u[8] * 8).long(),
        )

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """Mosaics of the indices ``(B,)``.

        Returns:
            ``image (B, 3, K, K)`` in [0, 1], or smaller as ``read`` says; ``label
            (B,)``; in [-1, 1] ``centre (B, 1, 2)`` of the object and ``odd
            (B, 1 + D, 2)``, the centres of the object and its decoys.
        """
        layout = self.layout(index)
        n = self.tiles
        at = torch.stack([layout.place % n, layout.place // n], dim=2)  # (B, 1 + D, 2)
        odd = (at + 0.5) * 2 / n - 1
        image = (
            (
                self._odd_tiles(layout, sharp=True)[:, 0]
                if self.read == "object"
                else self._composed(layout)
            )
            .float()
            .div_(255)
        )
        factor = {"half": 2, "small": self.coarse}.get(self.read, 1)
        if factor > 1:
            size = (self.side // factor,) * 2
            image = F.interpolate(image, size, mode="bilinear")
        found = {"image": image, "label": layout.kind[:, 0]}
        found |= {"centre": odd[:, :1].float(), "odd": odd.float()}
        return {name: value.to(device) for name, value in found.items()}

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Which objects ``(B,)`` some window ``(B, T, 2)`` is centred on, within half a
        tile on both axes."""
        away = (location - batch["centre"]).abs().amax(dim=2)  # (B, T)
        return (away < 1 / self.tiles).any(dim=1)

    def _objects(self) -> Tensor:
        return views(self.pictures, self.split, self.pictures.classes, self.tile)

    def _ground(self) -> Tensor:
        return views(self.pictures, self.split, self.pictures.ground, self.tile)

    def _odd_tiles(self, layout: "Layout", sharp: bool = False) -> Tensor:
        """The object and its decoys, ``(B, 1 + D, 3, L, L)`` uint8."""
        taken = self._objects()[layout.kind, layout.picture, layout.view]
        taken = turned_all(taken.flatten(0, 1), layout.turn.flatten())
        taken = taken.unflatten(0, layout.kind.shape)
        if self.decoys and not sharp:
            blocks = coarse(taken[:, 1:].flatten(0, 1), self.coarse).round()
            taken[:, 1:] = blocks.to(torch.uint8).unflatten(0, (-1, self.decoys))
        return taken

    def _composed(self, layout: "Layout") -> Tensor:
        """``(B, 3, K, K)`` uint8."""
        kind, picture = layout.ground.unbind(dim=2)  # (B, N) each
        tiles = self._ground()[kind, picture, layout.ground_view]
        tiles = turned_all(tiles.flatten(0, 1), layout.ground_turn.flatten())
        tiles = tiles.unflatten(0, kind.shape)  # (B, N, 3, L, L)
        b = torch.arange(len(kind))[:, None]
        tiles[b, layout.place] = self._odd_tiles(layout)
        n = self.tiles
        grid = tiles.unflatten(1, (n, n)).permute(
            0, 3, 1, 4, 2, 5
        )  # (B, 3, n, L, n, L)
        return grid.reshape(len(kind), 3, self.side, self.side)


@dataclass(frozen=True)
class Layout:
    """What lies where on B mosaics of N tiles.

    Attributes:
        kind, place, picture, view, turn: of the object and its D decoys,
            ``(B, 1 + D)``: class, number of the tile row by row, number of the picture
            within its class, of its window, and which of eight ways it lies.
        ground: class and number of each tile's picture, ``(B, N, 2)``.
        ground_view, ground_turn: ``(B, N)``.
    """

    kind: Tensor
    place: Tensor
    picture: Tensor
    view: Tensor
    turn: Tensor
    ground: Tensor
    ground_view: Tensor
    ground_turn: Tensor
