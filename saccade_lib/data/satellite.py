"""Satellite pictures of seven kinds, their windows, and streams of whole ones.

Pictures come from the pack RSSCN7 (Zou et al. 2015). Without it there are patterns and
cuts of the photographs that the dependencies carry. They are split into training,
validation and test here, before anything is composed of them (`mosaics`).
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

from saccade_lib.data import composite_parts, door
from saccade_lib.data.composites import turned
from saccade_lib.data.digits import SPLITS, uniforms

PACK = "satellite-rsscn7-420"
CLASSES = ("industry", "parking", "residential", "river_lake")
GROUND = ("field", "forest", "grass")
VIEWS = {"train": 16, "validation": 4, "test": 4}  # windows of each picture
WIDTHS = (0.6, 1.0)  # of a window, over the picture's side
STREAM = 210  # of random numbers
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
    """Windows of pictures at L = ``size``, ``(classes, n, V, 3, L, L)`` uint8.

    A window is 0.6 to 1 of its picture wide, at random, and shrunk with an antialiased
    filter. Classes have equally many pictures: as many as the one that has fewest.
    """
    of = pictures.of(split)
    n, V = min(len(of[name]) for name in names), VIEWS[split]

    def windows(name: str) -> list[list[np.ndarray]]:
        return [
            [_window(a, size, f"{split} {name} {k} {v}") for v in range(V)]
            for k, a in enumerate(of[name][:n])
        ]

    made = np.array([windows(name) for name in names])
    return torch.from_numpy(made).movedim(-1, -3).contiguous()


def _window(picture: np.ndarray, size: int, name: str) -> np.ndarray:
    """A window of a picture that its name draws, ``(size, size, 3)``."""
    digest = hashlib.sha256(name.encode()).digest()[:8]
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    side = min(picture.shape[:2]) * draw.uniform(*WIDTHS)
    top, left = draw.uniform(0, np.array(picture.shape[:2]) - side)
    box = (left, top, left + side, top + side)
    how = Image.Resampling.BILINEAR  # Pillow's widens as it shrinks
    return np.asarray(Image.fromarray(picture).resize((size, size), how, box))


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
            u = uniforms(self.seed, STREAM, index, 4)
            label, k, view = (u[:, :3] * torch.tensor([C, n, V])).long().T
            image = turned_all(taken[label, k, view], (u[:, 3] * 8).long())
        else:
            label, k, view = index % C, index // C % n, index // (C * n) % V
            image = taken[label, k, view]
        return {
            "image": image.float().div(255).to(device),
            "label": label.to(device),
        }
