"""Photographs in ImageNet's folders, with the augmentation that TNet was trained on.

    ROOT/train/CLASS/*.JPEG    ROOT/val/CLASS/*.JPEG

is how torchvision's `ImageNet` lays ILSVRC2012 out, and how the pack of 25 classes of
Caltech-101 is laid out. `find` takes, in this order: the folder `$SACCADE_IMAGENET`,
where a reader has it; the pack; pieces of scikit-learn's two photographs. How pictures
are changed in training stands in `augmentation`.

Splits: ``"test"`` is the folder ``val``, which the papers report on. ``"validation"``,
which chooses weights, is held out of training: in each class one picture in eight in
the order of the names, but at most ten. ``"train"`` is the rest.
"""

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saccade_lib.data import door
from saccade_lib.data.augmentation import Picture, prepared
from saccade_lib.data.digits import SPLITS
from saccade_lib.data.files import CorruptData, MissingData

FOLDER = "SACCADE_IMAGENET"  # environment variable: a reader's own copy
WORKERS = "SACCADE_WORKERS"  # environment variable: processes that read pictures
PACK = "natural-caltech25"
ILSVRC = (1_000, 1_281_167, 50_000)  # classes, pictures in train and in val
HELD_OUT, AT_MOST = 8, 10  # one in eight of a class, at most ten
GREY = 0.5  # of a canvas around a picture


@dataclass(frozen=True, eq=False)
class Labelled(door.Source):
    """Pictures with a class each, apart by split.

    Attributes:
        classes: names of the classes, in the order of their numbers.
        pictures: split to a tuple of (picture, class number).
    """

    classes: tuple[str, ...]
    pictures: dict[str, tuple[tuple[Picture, int], ...]]


# --- finding --------------------------------------------------------------------------


def find(quiet: bool = False, own: bool = False) -> Labelled:
    """A reader's ImageNet, the pack, or the stand-in; says in one line which.

    Args:
        own: take nothing but the folder `$SACCADE_IMAGENET`.

    Raises MissingData where that folder lacks or holds no such layout, CorruptData
    where its two halves do not belong together.
    """
    if named := os.environ.get(FOLDER):
        return folder(named, quiet)
    if own:
        raise MissingData(
            f"this needs ImageNet: set {FOLDER} to a folder with train/CLASS/ and "
            "val/CLASS/, as torchvision.datasets.ImageNet makes it of the archives."
        )
    try:
        pack = door.find(PACK, quiet=True)
    except MissingData:
        return _announced(embedded(), quiet, " (for the pack: `make data`)")
    halves = _halves(pack.path / "natural")
    note = f"{len(halves[0])} classes of Caltech-101, {_counted(halves[1])}"
    return _announced(_labelled(PACK, pack.origin, pack.sha256, note, *halves), quiet)


def folder(path: str | Path, quiet: bool = False) -> Labelled:
    """Pictures in ``path/train/CLASS`` and ``path/val/CLASS``.

    The source is called "imagenet" where classes and pictures are as many as in
    ILSVRC2012, else "image-folder": a smaller set is not mistaken for it.
    """
    classes, halves = _halves(Path(path))
    counts = (len(classes), len(halves["train"]), len(halves["val"]))
    source = "imagenet" if counts == ILSVRC else "image-folder"
    digest = hashlib.sha256()
    for half in ("train", "val"):
        for file, label in halves[half]:
            digest.update(f"{half}/{classes[label]}/{file.name}\n".encode())
    note = f"{counts[0]:,} classes, {_counted(halves)}, from ${FOLDER} ({source})"
    sums = {"names": digest.hexdigest()}
    found = _labelled(source, "folder", sums, note, classes, halves)
    return _announced(found, quiet)


def _halves(path: Path) -> tuple[tuple[str, ...], dict[str, list]]:
    """Names of the classes, and files with their class in ``train`` and ``val``."""
    from saccade_lib._compat import torchvision

    read = {}
    for half in ("train", "val"):
        try:
            read[half] = torchvision.datasets.ImageFolder(path / half)
        except FileNotFoundError as error:
            raise MissingData(
                f"{path / half} has no folder of pictures for each class ({error}). "
                "torchvision.datasets.ImageNet sorts ILSVRC2012's archives so."
            ) from error
    train, val = read["train"], read["val"]
    if train.classes != val.classes:
        apart = sorted(set(train.classes) ^ set(val.classes))
        raise CorruptData(
            f"{path}: train and val differ in {len(apart)} classes "
            f"({', '.join(apart[:3])}, …): both need every class."
        )
    files = {k: [(Path(f), c) for f, c in v.samples] for k, v in read.items()}
    return tuple(train.classes), files


def _labelled(source, origin, sums, note, classes, halves) -> Labelled:
    """Validation is held out of ``train``; ``val`` is the test."""
    seen, size = [0] * len(classes), [0] * len(classes)
    for _, label in halves["train"]:
        size[label] += 1
    parts: dict[str, list] = {"train": [], "validation": [], "test": halves["val"]}
    for picture, label in halves["train"]:
        every = max(HELD_OUT, -(-size[label] // AT_MOST))
        held_out = seen[label] % every == every - 1
        parts["validation" if held_out else "train"].append((picture, label))
        seen[label] += 1
    pictures = {split: tuple(of) for split, of in parts.items()}
    return Labelled(source, origin, sums, note, classes, pictures)


def _counted(halves: dict[str, list]) -> str:
    return f"{len(halves['train']):,} + {len(halves['val']):,} photographs"


def _announced(found: Labelled, quiet: bool, advice: str = "") -> Labelled:
    if not quiet:
        print(f"data: {found.note}{advice}")
    return found


def embedded() -> Labelled:
    """25 classes that need no file: pieces of scikit-learn's two photographs.

    A class is a tile of 128 x 142 pixels, its pictures are 16 windows of 96 x 96 in it;
    four of them are tested. They overlap, so a test says that things run, and no more.
    """
    from sklearn.datasets import load_sample_image

    halves: dict[str, list] = {"train": [], "val": []}
    names, sums = [], {}
    for photo in ("china.jpg", "flower.jpg"):
        pixels = np.ascontiguousarray(load_sample_image(photo))  # (427, 640, 3)
        sums[photo] = hashlib.sha256(pixels.tobytes()).hexdigest()
        for row, column in np.ndindex(3, 5):
            if len(names) == 25:
                break
            tile = pixels[142 * row : 142 * (row + 1), 128 * column :][:, :128]
            for i, j in np.ndindex(4, 4):
                window = tile[15 * i : 15 * i + 96, 10 * j : 10 * j + 96]
                half = "val" if (i + j) % 4 == 3 else "train"
                halves[half].append((window, len(names)))
            names.append(f"{photo.split('.')[0]}-{row}-{column}")
    note = "pieces of scikit-learn's two photographs, 25 classes: a stand-in"
    return _labelled("embedded-pieces", "embedded", sums, note, tuple(names), halves)


# --- as batches -----------------------------------------------------------------------


@dataclass(frozen=True)
class Photographs:
    """An endless, random-access stream of photographs.

    Index k of training is the k-th picture of an endless series of shuffled passes,
    augmented by draws of its own; of validation and test, the k-th in the order of the
    names, counted round. With `$SACCADE_WORKERS` set, so many processes read pictures;
    it does not change them.

    Attributes:
        pack: of `find`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        side: of the image, pixels.
        picture: side of the picture on it, at a place drawn evenly, around it grey;
            0 fills the image. A picture that is always in the middle makes always
            looking there a good policy.
        augment: whether training pictures are augmented.
        seed: of order and augmentation. Validation and test use 0 whatever it is.
    """

    pack: Labelled = field(repr=False)
    split: str = "train"
    side: int = 224
    picture: int = 0
    augment: bool = True
    seed: int = 0

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        if not 0 <= self.picture <= self.side:
            raise ValueError(f"a picture of {self.picture} pixels on {self.side}")
        if not len(self):
            raise ValueError(f"no picture is of split {self.split!r}: too few a class")

    def __len__(self) -> int:
        return len(self.pack.pictures[self.split])

    @property
    def classes(self) -> int:
        return len(self.pack.classes)

    def numbers(self, index: Tensor) -> list[int]:
        """Which picture of the split each index ``(B,)`` stands for."""
        n = len(self)
        if self.split != "train":
            return (index % n).tolist()
        return [int(_order(self.seed, k // n, n)[k % n]) for k in index.tolist()]

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """The photographs of the given indices ``(B,)``.

        Returns:
            ``image (B, 3, side, side)`` in [0, 1], ``label (B,)``, and ``centre
            (B, 1, 2)`` of the picture as a location in [-1, 1].
        """
        train = self.split == "train" and self.augment
        seed = self.seed if self.split == "train" else 0
        keys = [(seed, SPLITS.index(self.split), k) for k in index.tolist()]
        which = [self.pack.pictures[self.split][k] for k in self.numbers(index)]
        pictures, labels = zip(*which, strict=True)
        size, B = self.picture or self.side, len(pictures)
        each = map if (pool := _pool()) is None else pool.map
        made = each(prepared, pictures, keys, [size] * B, [train] * B)
        image = torch.stack(list(made))  # (B, 3, size, size)
        corner = torch.tensor([_corner(key, self.side - size) for key in keys])
        if size < self.side:
            image = self._on_canvas(image, corner)
        centre = (corner[:, None] + size / 2) * 2 / self.side - 1  # (B, 1, 2)
        found = {"image": image, "label": torch.tensor(labels), "centre": centre}
        return {name: value.to(device) for name, value in found.items()}

    def _on_canvas(self, pictures: Tensor, corner: Tensor) -> Tensor:
        canvas = pictures.new_full((len(pictures), 3, self.side, self.side), GREY)
        s = pictures.shape[-1]
        for k, (x, y) in enumerate(corner.tolist()):
            canvas[k, :, y : y + s, x : x + s] = pictures[k]
        return canvas

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Whether some window ``(B, T, 2)`` is centred on the picture, ``(B, 1)``."""
        near = (self.picture or self.side) / self.side
        away = (location[:, :, None] - batch["centre"][:, None]).abs()  # (B, T, 1, 2)
        return (away.amax(dim=3) <= near).any(dim=1)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n)


def _corner(key: tuple[int, ...], free: int) -> list[int]:
    """Top left corner, x and y, of a picture with so many pixels to spare."""
    return np.random.default_rng((*key, 1)).integers(0, free + 1, 2).tolist()


@cache
def _pool() -> ProcessPoolExecutor | None:
    """Processes that read pictures: `$SACCADE_WORKERS`, none by default."""
    count = int(os.environ.get(WORKERS, "0"))
    if count < 1:
        return None
    # Spawned: a forked process may not use CUDA, which the parent does.
    alone = {"initializer": torch.set_num_threads, "initargs": (1,)}
    return ProcessPoolExecutor(count, get_context("spawn"), **alone)
