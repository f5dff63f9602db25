"""Whole pictures of species from a reader's own copy of iNaturalist 2017 or CUB-200.

Nothing of either comes with this book. `inaturalist` expects the competition's layout,

    ROOT/train2017.json, ROOT/val2017.json      in the form of COCO
    ROOT/train_val_images/CLASS/SPECIES/NAME.jpg

with lists ``images`` (id, file_name), ``annotations`` (image_id, category_id, and a
``bbox`` in files that have boxes) and ``categories`` (id, name). `cub` expects
`CUB_200_2011` (see `birds`), and leaves pictures whole.

Recasens et al. (2018) train on squares of 800 pixels that a network reads at 227, and
test on the middle 512 of them. How a picture becomes a square they do not say: here it
is resized, its proportions lost, as in the public code.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade_lib.data import birds, door
from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.files import CorruptData, MissingData

STREAM = 535  # of random numbers
SIDE, TESTED = 800, 512  # of training squares, and of what is tested, pixels
HELD_OUT = 20  # every twentieth training picture is for validation
LISTS = {"train": "train2017.json", "test": "val2017.json"}


@dataclass(frozen=True)
class Entry:
    """A picture: its file, class, and box (left, top, width, height) in pixels."""

    path: Path
    label: int
    box: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Species(door.Source):
    """Pictures by split, not yet read.

    Attributes:
        names: of the classes.
        of: split to entries.
    """

    names: tuple[str, ...]
    of: dict[str, list[Entry]] = field(repr=False)


def inaturalist(folder: str | Path) -> Species:
    """iNaturalist 2017. The private test set has no labels: ``"test"`` is the
    validation set, as in the paper; validation is taken from the training pictures.

    Raises MissingData where a list is not there, CorruptData where it names what it
    does not hold.
    """
    top, sums, found = Path(folder), {}, {}
    for split, name in LISTS.items():
        path = top / name
        if not path.is_file():
            raise MissingData(
                f"{path} is not there: expected {' and '.join(LISTS.values())} beside "
                "the folder train_val_images of iNaturalist 2017."
            )
        content = path.read_bytes()
        sums[name] = hashlib.sha256(content).hexdigest()
        found[split] = _listed(top, path, content)
    (names, trained), (other, tested) = found["train"], found["test"]
    if names != other:
        raise CorruptData(f"{top}: the two lists have different categories.")
    return _source("inaturalist-2017", sums, names, trained, tested)


def _listed(top: Path, path: Path, content: bytes):
    """Names of the categories, and entries in the order of the list."""
    try:
        tables = json.loads(content)
        categories = sorted(tables["categories"], key=lambda c: c["id"])
        number = {c["id"]: k for k, c in enumerate(categories)}
        file = {i["id"]: i["file_name"] for i in tables["images"]}
        entries = [
            Entry(top / file[a["image_id"]], number[a["category_id"]], _box(a))
            for a in tables["annotations"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(
            f"{path} is not in the form of COCO, or an annotation names an image or a "
            f"category that it does not list: {error!r}"
        ) from error
    return tuple(c["name"] for c in categories), entries


def _box(annotation: dict) -> tuple[float, ...] | None:
    return tuple(map(float, annotation["bbox"])) if "bbox" in annotation else None


def cub(folder: str | Path) -> Species:
    """CUB-200-2011, whole pictures with their boxes, in the official split.

    Raises as `birds.folder`.
    """
    source = birds.folder(folder)  # checks the tables
    path = Path(folder)
    top = path / "CUB_200_2011" if (path / "CUB_200_2011").is_dir() else path
    tables = {
        name: birds._table(top / f"{name}.txt")
        for name in (
            *("images", "image_class_labels"),
            *("bounding_boxes", "train_test_split"),
        )
    }
    classes = list(birds._table(top / "classes.txt"))
    split = {"1": [], "0": []}
    for number, row in sorted(tables["images"].items()):
        label = classes.index(int(tables["image_class_labels"][number][0]))
        box = tuple(map(float, tables["bounding_boxes"][number]))
        entry = Entry(top / "images" / row[0], label, box)
        split[tables["train_test_split"][number][0]].append(entry)
    return _source(source.source, source.sha256, source.species, split["1"], split["0"])


def _source(name: str, sums: dict, names: tuple[str, ...], trained, tested) -> Species:
    """Every `HELD_OUT`th training picture becomes validation."""
    last = HELD_OUT - 1
    of = {
        "train": [e for k, e in enumerate(trained) if k % HELD_OUT != last],
        "validation": trained[last::HELD_OUT],
        "test": list(tested),
    }
    note = f"{len(trained) + len(tested):,} pictures of {len(names):,} species, whole"
    return Species(name, "folder", sums, note, names, of)


@dataclass(frozen=True)
class Pictures:
    """A stream of whole pictures as squares.

    Attributes:
        species: of `inaturalist` or `cub`.
        split: of `digits.SPLITS`.
        side: to which a picture is resized, both ways.
        tested: side of the middle that is kept in validation and test; all of it if it
            is `side`.
        seed: of the order and the mirroring in training.
    """

    species: Species = field(repr=False)
    split: str = "train"
    side: int = SIDE
    tested: int = TESTED
    seed: int = 0

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        if not 1 <= self.tested <= self.side:
            raise ValueError(f"tested must be 1 to {self.side}, got {self.tested}")

    def __len__(self) -> int:
        return len(self.species.of[self.split])

    @property
    def classes(self) -> int:
        return len(self.species.names)

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, 3, K, K)`` in [0, 1], ``label (B,)``, ``index (B,)``; with boxes
        ``box (B, 4)``, left, top, right, bottom in [-1, 1] of what is kept.

        In training index k is any picture, half of them mirrored; else it is picture
        k, and K is ``tested``.
        """
        train, some = self.split == "train", self.species.of[self.split]
        u = uniforms(self.seed, STREAM, index, 2)
        which = (u[:, 0] * len(some)).long() if train else index % len(some)
        entries = [some[k] for k in which.tolist()]
        read = [self._square(e) for e in entries]
        image = torch.stack([r[0] for r in read])
        found = {"image": image, "label": torch.tensor([e.label for e in entries])}
        mirror = u[:, 1] < 0.5 if train else torch.zeros(len(index), dtype=torch.bool)
        found["image"][mirror] = image[mirror].flip(3)
        if all(e.box for e in entries):
            box = torch.stack([r[1] for r in read])
            turned = box[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1])
            found["box"] = torch.where(mirror[:, None], turned, box)
        found["index"] = index
        return {name: value.to(device) for name, value in found.items()}

    def _square(self, entry: Entry) -> tuple[Tensor, Tensor | None]:
        try:
            with Image.open(entry.path) as picture:
                W, H = picture.size
                small = picture.convert("RGB").resize((self.side, self.side))
        except OSError as error:
            raise CorruptData(
                f"{entry.path} is no picture that can be read."
            ) from error
        pixels = torch.from_numpy(np.array(small)).movedim(2, 0).float() / 255
        kept = self.side if self.split == "train" else self.tested
        cut = (self.side - kept) // 2
        pixels = pixels[:, cut : cut + kept, cut : cut + kept]
        if entry.box is None:
            return pixels, None
        left, top, wide, high = entry.box
        corners = torch.tensor([left / W, top / H, (left + wide) / W, (top + high) / H])
        return pixels, (2 * corners - 1) * self.side / kept
