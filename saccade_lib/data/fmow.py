"""A reader's own copy of fMoW-rgb, the Functional Map of the World.

Over a million satellite pictures of 62 kinds of buildings and land use, 200 GB, under a
licence of its own (Christie et al. 2018): nothing of them comes with this book. A copy
is laid out like this:

    train/airport/airport_0/airport_0_0_rgb.jpg   three channels, any size
    train/airport/airport_0/airport_0_0_rgb.json  its metadata
    val/airport/airport_0/...                     likewise
    test/0011978/0011978_0_rgb.jpg                folders are numbers: no class
    test_gt/airport/airport_0/airport_0_0_rgb.json   the metadata of the test pictures
    test_gt_mapping.json    [{"input": "test_gt/airport/airport_0",
                              "output": "test/0011978"}, ...]: which belong together

A folder is one place, seen at several times. Beside each picture may lie its twin of
the multispectral instrument, ``..._msrgb.jpg``, passed over here as in TNet's code. Of
the metadata ``bounding_boxes`` is read: a list (or one entry alone) of ``{"ID",
"category", "box": [x, y, width, height]}`` in pixels, x and y of the top left corner. A
picture's class is its folder's. An entry with the ID -1, or of another category
(``false_detection``), is not of the picture's object.

`fmow` lists a copy, `Images` makes batches of whole pictures or of their boxes.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib.data import augmentation, door
from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.files import CorruptData, MissingData

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
MAPPING, TRUTH = "test_gt_mapping.json", "test_gt"
CLASSES = 62
UNKNOWN = -1  # ID of a box that is not of the object
LEAST = 3  # pixels: smaller boxes are left out, as in the public baseline
# Margin on both sides together, over the box's side, by the least share of the picture
# that the box's side takes: what the challenge's baseline and TNet's code add.
MARGINS = ((0.5, 0.15), (0.4, 0.2), (0.3, 0.3), (0.2, 0.5), (0.1, 1.0), (0.0, 2.0))
STREAM = 220  # of random numbers

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


@dataclass(frozen=True)
class Entry:
    """One picture: its file, its metadata's file, and its class."""

    picture: Path
    metadata: Path
    label: int


@dataclass(frozen=True, eq=False)
class FMoW(door.Source):
    """A copy of fMoW.

    Attributes:
        classes: names, in the order of the alphabet.
        entries: by split, in the order of their paths.
    """

    classes: tuple[str, ...]
    entries: dict[str, tuple[Entry, ...]] = field(repr=False)


def fmow(
    folder: str | Path,
    splits: tuple[str, ...] = SPLITS,
    partial: bool = False,
    quiet: bool = False,
) -> FMoW:
    """A reader's copy of fMoW-rgb.

    Args:
        folder: holds ``train``, ``val`` and ``test``.
        splits: which to list; a copy may lack the others.
        partial: take a copy that has not all 62 classes.

    Raises:
        ValueError: an unknown split.
        MissingData: no folder, a split or its mapping that lacks, no pictures, a
            picture without metadata, or not 62 classes where ``partial`` is not said.
        CorruptData: a mapping or test class that is none.
    """
    top = Path(folder)
    for split in splits:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
    if not top.is_dir():
        raise MissingData(f"no folder {top}. Correct the path.")
    listed = {split: list(_places(top, split)) for split in splits}
    classes = sorted({name for places in listed.values() for name, *_ in places})
    if len(classes) != CLASSES and not partial:
        raise MissingData(
            f"{top}: {len(classes)} classes, fMoW has {CLASSES}. Complete the copy, or "
            "pass partial=True to take what is there."
        )
    numbers = {name: k for k, name in enumerate(classes)}
    entries = {s: tuple(_entries(places, numbers)) for s, places in listed.items()}
    for split, found in entries.items():
        if not found:
            raise MissingData(f"{top / FOLDERS[split]}: no picture ..._rgb.jpg in it.")
    names = "".join(f"{e.picture.name},{e.label}\n" for s in splits for e in entries[s])
    counts = ", ".join(f"{len(entries[s]):,} {s}" for s in splits)
    note = f"fMoW-rgb, {counts}, {len(classes)} classes, from the folder given"
    if not quiet:
        print(f"data: {note}")
    sums = {"names-and-classes": hashlib.sha256(names.encode()).hexdigest()}
    return FMoW("fmow", "folder", sums, note, tuple(classes), entries)


def _places(top: Path, split: str) -> Iterator[tuple[str, Path, Path]]:
    """Class, folder of pictures and folder of metadata of each place of a split."""
    below = top / FOLDERS[split]
    if not below.is_dir():
        raise MissingData(f"no folder {below}: expected {FOLDERS[split]}/CLASS/PLACE.")
    if split == "test" and (top / MAPPING).is_file():
        yield from _mapped(top)
        return
    classes = sorted(path for path in below.iterdir() if path.is_dir())
    if split == "test" and classes and all(path.name.isdigit() for path in classes):
        raise MissingData(
            f"{below} names no classes. Put {MAPPING} and {TRUTH}/ of fMoW's ground "
            f"truth beside it, in {top}."
        )
    for path in classes:
        for place in sorted(path.iterdir()):
            if place.is_dir():
                yield path.name, place, place


def _mapped(top: Path) -> Iterator[tuple[str, Path, Path]]:
    """Test pictures joined with the ground truth that was published after them."""
    path = top / MAPPING
    try:
        pairs = [(e["input"], e["output"]) for e in json.loads(path.read_text())]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(
            f'{path}: expected a list of {{"input": "{TRUTH}/CLASS/PLACE", "output": '
            f'"test/NUMBER"}}, got {error!r}.'
        ) from None
    for truth, picture in sorted(pairs):
        words = Path(truth).parts
        if len(words) != 3 or ".." in words or ".." in Path(picture).parts:
            raise CorruptData(f"{path}: {truth!r} is not {TRUTH}/CLASS/PLACE.")
        if words[0] == TRUTH:  # the mapping may list the sequestered set too
            yield words[1], top / picture, top / truth


def _entries(places, numbers: dict[str, int]) -> Iterator[Entry]:
    for name, pictures, metadata in places:
        for picture in sorted(pictures.glob("*_rgb.jpg")):
            number = picture.stem.removeprefix(pictures.name)  # _0_rgb
            beside = metadata / f"{metadata.name}{number}.json"
            if not beside.is_file():
                raise MissingData(
                    f"{picture} has no metadata {beside}: fetch the .json files too."
                )
            yield Entry(picture, beside, numbers[name])


def boxes(entry: Entry, name: str, width: int, height: int) -> list[Box]:
    """The boxes of a picture's object: of its class ``name``, not unknown, not tiny.

    Raises CorruptData for metadata that is none, or a box that reaches outside.
    """
    try:
        listed = json.loads(entry.metadata.read_text())["bounding_boxes"]
        listed = listed if isinstance(listed, list) else [listed]
        found = [(b["ID"], b["category"], [int(v) for v in b["box"]]) for b in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(
            f'{entry.metadata}: expected "bounding_boxes" with "ID", "category" and '
            f'"box" [x, y, width, height], got {error!r}.'
        ) from None
    kept = []
    for number, category, box in found:
        if number == UNKNOWN or category != name:
            continue
        if len(box) != 4:
            raise CorruptData(
                f"{entry.metadata}: a box is [x, y, width, height], not {box}."
            )
        x, y, w, h = box
        if min(x, y) < 0 or x + w > width or y + h > height:
            raise CorruptData(
                f"{entry.metadata}: box {box} reaches outside the picture of {width} x "
                f"{height} pixels."
            )
        if min(w, h) >= LEAST:
            kept.append((x, y, x + w, y + h))
    return kept


def with_margin(box: Box, width: int, height: int) -> Box:
    """A box with some of what surrounds it, more for a small one; never outside."""
    left, top, right, bottom = box

    def line(low: int, high: int, length: int) -> tuple[int, int]:
        share = (high - low) / length
        factor = next(factor for least, factor in MARGINS if share >= least)
        margin = int((high - low) * factor / 2)
        return max(0, low - margin), min(length, high + margin)

    (left, right), (top, bottom) = line(left, right, width), line(top, bottom, height)
    return left, top, right, bottom


@dataclass(frozen=True)
class Images:
    """A stream of fMoW's pictures, each brought to a square (`augmentation.prepared`).

    Index k of training is drawn from (seed, k) and augmented as TNet's training; of
    validation and test it is picture k in the order of the paths, counted round.

    Attributes:
        pack: of `fmow`.
        split: one that the pack lists.
        side: 224, 448 or 896 in the paper.
        boxes: read the object's first box and its margin in place of the picture. (The
            paper's files are cut out box by box, so that a picture of two counts
            twice.) A picture without a box is read whole.
        seed: of training.
    """

    pack: FMoW = field(repr=False)
    split: str = "train"
    side: int = 448
    boxes: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.split not in self.pack.entries:
            listed = ", ".join(self.pack.entries)
            raise ValueError(f"split {self.split!r} is none of those listed: {listed}")
        if self.side < 1 or self.seed < 0:
            raise ValueError(
                f"side is at least 1 and seed not negative, got {self.side} and "
                f"{self.seed}"
            )

    def __len__(self) -> int:
        return len(self.pack.entries[self.split])

    @property
    def classes(self) -> int:
        return len(self.pack.classes)

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, 3, S, S)`` in [0, 1], ``label (B,)``, and ``centre (B, 1, 2)`` of
        the first box in [-1, 1] of the whole, unaugmented picture; 0 without a box."""
        if self.split == "train":
            u = uniforms(self.seed, STREAM, index, 1)[:, 0]
            number = (u * len(self)).long()
        else:
            number = index % len(self)
        entries = [self.pack.entries[self.split][k] for k in number.tolist()]
        made = [self._one(*of) for of in zip(entries, index.tolist(), strict=True)]
        images, centres = zip(*made, strict=True)
        found = {
            "image": torch.stack(images),
            "label": torch.tensor([entry.label for entry in entries]),
            "centre": torch.tensor(centres)[:, None],
        }
        return {name: value.to(device) for name, value in found.items()}

    def _one(self, entry: Entry, index: int) -> tuple[Tensor, tuple[float, float]]:
        picture = augmentation.read(entry.picture)  # (3, H, W)
        H, W = picture.shape[1:]
        of_object = boxes(entry, self.pack.classes[entry.label], W, H)
        centre = (0.0, 0.0)
        if of_object:
            left, top, right, bottom = of_object[0]
            centre = (left + right) / W - 1, (top + bottom) / H - 1
        if of_object and self.boxes:
            left, top, right, bottom = with_margin(of_object[0], W, H)
            picture = picture[:, top:bottom, left:right]
        pixels, key = picture.permute(1, 2, 0).numpy(), (self.seed, STREAM, index)
        train = self.split == "train"
        return augmentation.prepared(pixels, key, self.side, train), centre
