"""Satellite pictures, and mosaics of them whose class only one tile carries.

A mosaic is a square of n x n tiles. Most are *ground*: field, forest or grass. One is
the *object*, a picture of industry, parking, a residential area or water; the label is
its class. A few more are *decoys*, pictures of other classes, and coarse: blocks of
f x f pixels of one colour, the one that a bilinear shrink by f without antialiasing
reads there. So an image shrunk by f is the same whether a tile is sharp or coarse. It
shows where the object and its D decoys are and perhaps what they are, but not which of
them is the object. From such a view alone nobody is right more often than in one case
of D + 1; the detail of one tile tells.

Source pictures are split into training, validation and test before anything is
composed. Pictures come from the pack RSSCN7 (Zou et al. 2015); without it, patterns are
laid among the photographs that the dependencies carry.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.data import composite_parts, door
from saccade_lib.data.composites import turned
from saccade_lib.data.digits import SPLITS, uniforms

PACK = "satellite-rsscn7-420"
CLASSES = ("industry", "parking", "residential", "river_lake")
GROUND = ("field", "forest", "grass")
VIEWS = {"train": 16, "validation": 4, "test": 4}  # windows of each picture
WIDTHS = (0.6, 1.0)  # of a window, over the picture's side
STREAM = 200  # of random numbers, plus the split; scenes have 210
Named = dict[str, list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Pictures(door.Source):
    """Pictures by split and class.

    Attributes:
        classes: of the pictures that a mosaic's label names.
        ground: of those it does not.
        of: ``of(split)``: class to pictures ``(H, W, 3)``, uint8. Read when first asked
            for.
    """

    classes: tuple[str, ...]
    ground: tuple[str, ...]
    of: Callable[[str], Named] = field(repr=False)


def find(quiet: bool = False, folder: str | Path | None = None) -> Pictures:
    """RSSCN7's pictures, or patterns and photographs of the dependencies.

    Args:
        folder: where the pack is; with one, there is no stand-in.

    Raises MissingData if ``folder`` lacks the pack, CorruptData if it is damaged.
    """
    try:
        pack = door.find(PACK, True, folder)
    except door.MissingData:
        if folder is not None:
            raise
        return _announced(_embedded(), quiet, " (for the pack: `make data`)")
    found = Pictures(
        "rsscn7-mosaics",
        pack.origin,
        pack.sha256,
        "satellite pictures of RSSCN7, 7 classes, 420 pictures of 400 x 400",
        CLASSES,
        GROUND,
        cache(lambda split: _read(pack.path / "satellite", split)),
    )
    return _announced(found, quiet)


def _announced(found: Pictures, quiet: bool, advice: str = "") -> Pictures:
    if not quiet:
        print(f"data: {found.note}{advice}")
    return found


def _read(top: Path, split: str) -> Named:
    """Pictures of a split; every fifth of the training folder is validation."""
    check_split(split)
    below, last = top / ("val" if split == "test" else "train"), split == "validation"
    found = {}
    for name in (*CLASSES, *GROUND):
        files = sorted((below / name).glob("*.jpg"))
        if split != "test":
            files = [f for k, f in enumerate(files) if (k % 5 == 4) is last]
        if not files:
            raise door.CorruptData(f"{below / name}: no pictures for {split}")
        found[name] = [_decoded(f) for f in files]
    return found


def _decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _embedded() -> Pictures:
    """Patterns of four kinds, and cuts of photographs, in the pack's place."""
    parts = composite_parts.find(quiet=True)  # none of its packs is whole
    kinds = tuple(composite_parts.PATTERNS)

    def of(split: str) -> Named:
        check_split(split)
        pictures = [*parts.objects[split][1][: len(kinds)], parts.tiles[split][1]]
        named = zip((*kinds, "photograph"), pictures, strict=True)
        return {name: list(some.transpose(0, 2, 3, 1)) for name, some in named}

    note = "mosaics of patterns on photographs of scikit-learn and Matplotlib"
    note += ": a stand-in for satellite pictures"
    return Pictures(
        "embedded-mosaics", "embedded", parts.sha256, note, kinds, ("photograph",), of
    )


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {SPLITS}")


# --- tiles ----------------------------------------------------------------------------


@lru_cache(maxsize=12)
def views(pictures: Pictures, split: str, names: tuple[str, ...], size: int) -> Tensor:
    """Windows of pictures at ``size`` pixels a side, ``(classes, n, V, 3, L, L)`` uint8.

    A window is 0.6 to 1 of its picture wide, at random, and shrunk with an antialiased
    filter. Classes have equally many pictures: as many as the one that has fewest.
    """
    of = pictures.of(split)
    n, V = min(len(of[name]) for name in names), VIEWS[split]
    made = [
        [
            [_window(a, size, f"{split} {name} {k} {v}") for v in range(V)]
            for k, a in some
        ]
        for name, some in ((name, list(enumerate(of[name][:n]))) for name in names)
    ]
    return torch.from_numpy(np.array(made)).movedim(-1, -3).contiguous()


def _window(picture: np.ndarray, size: int, name: str) -> np.ndarray:
    """A window of a picture that its name draws, ``(size, size, 3)``."""
    digest = hashlib.sha256(name.encode()).digest()[:8]
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    side = min(picture.shape[:2]) * draw.uniform(*WIDTHS)
    top, left = draw.uniform(0, np.array(picture.shape[:2]) - side)
    box = (left, top, left + side, top + side)
    how = Image.Resampling.BILINEAR  # Pillow's widens as it shrinks
    return np.asarray(Image.fromarray(picture).resize((size, size), how, box))


def coarse(tile: Tensor, f: int) -> Tensor:
    """Blocks of the colours that a bilinear shrink by f reads of ``(B, 3, L, L)``."""
    small = F.interpolate(tile.float(), scale_factor=1 / f, mode="bilinear")
    return small.repeat_interleave(f, 2).repeat_interleave(f, 3)


# --- mosaics --------------------------------------------------------------------------


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
            ``"half"`` or a ``"quarter"`` of the side, bilinear and not antialiased, as
            TNet's code resizes; or the ``"object"`` alone, as if its box were known.
        seed: of the layout. Validation and test use 0 whatever the training seed.
    """

    pictures: Pictures = field(repr=False)
    split: str = "train"
    side: int = 224
    tiles: int = 4
    decoys: int = 2
    coarse: int = 4
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
            (B,)``; ``centre (B, 1, 2)`` of the object in [-1, 1]; ``odd (B, 1 + D, 2)``,
            the centres of the object and its decoys.
        """
        layout = self.layout(index)
        row_column = torch.stack(
            [layout.place % self.tiles, layout.place // self.tiles]
        )
        odd = ((row_column + 0.5) * 2 / self.tiles - 1).permute(
            1, 2, 0
        )  # (B, 1 + D, 2)
        image = (
            (
                self._odd_tiles(layout, sharp=True)[:, 0]
                if self.read == "object"
                else self._composed(layout)
            )
            .float()
            .div_(255)
        )
        if READ[self.read] > 1:
            size = self.side // READ[self.read]
            image = F.interpolate(image, (size, size), mode="bilinear")
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


READ = {"whole": 1, "half": 2, "quarter": 4, "object": 1}  # by what images are shrunk


@dataclass(frozen=True)
class Layout:
    """What lies where on B mosaics of N tiles.

    Attributes:
        kind, place, picture, view, turn: of the object and its D decoys, ``(B, 1 + D)``:
            class, number of the tile row by row, number of the picture within its class,
            of its window, and which of eight ways it lies.
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


def turned_all(tiles: Tensor, turns: Tensor) -> Tensor:
    """Squares ``(N, 3, L, L)``, each laid in its one of eight ways ``(N,)``."""
    made = tiles.clone()
    for turn in range(1, 8):
        which = (turns == turn).nonzero()[:, 0]
        some = tiles[which].numpy()
        laid = [turned(tile, turn) for tile in some]
        if laid:
            made[which] = torch.from_numpy(np.stack(laid))
    return made


# --- whole scenes ---------------------------------------------------------------------


@dataclass(frozen=True)
class Scenes:
    """Satellite pictures as they are, one class of seven each: nothing is composed.

    Attributes:
        pictures, split, seed: as of `Mosaics`.
        side: K, pixels, to which a picture is brought.
    """

    pictures: Pictures = field(repr=False)
    split: str = "train"
    side: int = 224
    seed: int = 0

    def __post_init__(self):
        check_split(self.split)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.pictures.classes, *self.pictures.ground)

    @property
    def classes(self) -> int:
        return len(self.names)

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, 3, K, K)`` in [0, 1] and ``label (B,)``.

        In training a picture, a window of it and one of its eight turns are drawn; of
        validation and test, index k is window k of all, class after class.
        """
        taken = views(self.pictures, self.split, self.names, self.side)
        C, n, V = taken.shape[:3]
        if self.split == "train":
            u = uniforms(self.seed, STREAM + 10, index, 4)
            label, k, view = (
                (u[:, i] * size).long() for i, size in enumerate((C, n, V))
            )
            image = turned_all(taken[label, k, view], (u[:, 3] * 8).long())
        else:
            label, k, view = index % C, index // C % n, index // (C * n) % V
            image = taken[label, k, view]
        return {
            "image": image.float().div(255).to(device),
            "label": label.to(device),
        }
