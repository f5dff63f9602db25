"""Birds: crops to their boxes, with species, fifteen parts and attributes of species.

Caltech-UCSD Birds-200-2011 (Wah et al. 2011) has 200 species. `find` takes, in this
order: the folder `$SACCADE_CUB`, where a reader has the archive unpacked; the pack of
41 species, whose pictures are crops already; birds that are drawn (`drawn_birds`), of
which everything is known. The layout is the archive's in all but the last:

    images.txt, image_class_labels.txt, train_test_split.txt, classes.txt,
    bounding_boxes.txt    one row an image (or class), beginning with its number
    images/…              the pictures
    parts/parts.txt, parts/part_locs.txt        image, part, x, y, visible; in pixels
    attributes/class_attribute_labels_continuous.txt   per cent, a row a species of 200
    attributes/attributes.txt   names; in the archive one folder above

A crop is what the public code of PS-NOGS takes: the square around the middle of the
box, three quarters of the box's longer side to each of its sides, cut off where the
picture ends, then scaled to a square (which distorts what was cut off).

Splits: ``"test"`` is the official one, which the papers report on. Of the official
training pictures of a species, in the order of their numbers, every sixth is
``"validation"``; the others are ``"train"`` and carry a fold, 0 or 1 in turn. What is
learned on one fold judges pictures of the other only (cross-fitting).
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from saccade_lib.data import door, drawn_birds
from saccade_lib.data.digits import SPLITS
from saccade_lib.data.files import CorruptData, MissingData

FOLDER = "SACCADE_CUB"  # environment variable: a reader's own copy
PACK = "birds-cub41-crops227"
HELD_OUT = 6  # every sixth training picture of a species is for validation
FOLDS = 2
SIDES = (16, 512)  # of a crop, in pixels, that one may ask for
MARGIN = 0.75  # half a crop's side over the longer side of the box


@dataclass(frozen=True, eq=False)
class Birds(door.Source):
    """Crops by split.

    Attributes:
        species: K names, in the order of their numbers.
        parts: P names.
        attributes: A names.
        of_species: ``(K, A)`` in [0, 1], the share of annotators who saw the attribute.
        of: ``of(split, side)`` gives a `Split`; read when first asked for.
    """

    species: tuple[str, ...]
    parts: tuple[str, ...]
    attributes: tuple[str, ...]
    of_species: np.ndarray
    of: Callable[..., "Split"] = field(repr=False)

    def tasks(self, least: float = 0.25) -> list[str]:
        """Attributes that between `least` and 1 - `least` of the species have."""
        share = (self.of_species >= 0.5).mean(axis=0)  # (A,)
        fits = (share >= least) & (share <= 1 - least)
        return [name for name, fit in zip(self.attributes, fits, strict=True) if fit]

    def has(self, attribute: str) -> np.ndarray:
        """Which species have it, by at least half of the annotators; ``(K,)`` bool.

        Raises ValueError for a name that is no attribute.
        """
        if attribute not in self.attributes:
            raise ValueError(
                f"no attribute {attribute!r}; `tasks()` lists those that divide the "
                f"species, e.g. {self.tasks()[:1]}"
            )
        return self.of_species[:, self.attributes.index(attribute)] >= 0.5


@dataclass(frozen=True, eq=False)
class Split:
    """Crops of one split.

    Attributes:
        images: ``(N, 3, S, S)`` uint8.
        labels: ``(N,)`` int64, species.
        ids: ``(N,)`` int64, the data set's numbers.
        fold: ``(N,)`` int64, 0 or 1 in training; -1 elsewhere.
        places: ``(N, P, 2)``, x and y of each part in [-1, 1]; 0 where not visible.
        visible: ``(N, P)`` bool: annotated, and inside the crop.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    fold: np.ndarray
    places: np.ndarray
    visible: np.ndarray


# --- finding --------------------------------------------------------------------------


def find(quiet: bool = False) -> Birds:
    """A reader's CUB-200-2011, the pack, or drawn birds; says in one line which.

    Raises MissingData where `$SACCADE_CUB` names a folder without the layout,
    CorruptData where its tables do not belong together.
    """
    if named := os.environ.get(FOLDER):
        return _announced(folder(named), quiet)
    try:
        pack = door.find(PACK, quiet=True)
    except MissingData:
        return _announced(drawn(), quiet, " (for the pack: `make data`)")
    return _announced(_read(pack.path / "CUB_200_2011", pack), quiet)


def folder(path: str | Path) -> Birds:
    """The archive, unpacked: ``path`` is `CUB_200_2011` or the folder that holds it."""
    path = Path(path)
    top = path / "CUB_200_2011" if (path / "CUB_200_2011").is_dir() else path
    if not (top / "images.txt").is_file():
        raise MissingData(
            f"{top} has no images.txt: set {FOLDER} to the folder CUB_200_2011 of the "
            "unpacked archive CUB_200_2011.tgz."
        )
    digest = hashlib.sha256((top / "images.txt").read_bytes()).hexdigest()
    count = len(_rows(top / "classes.txt"))
    source = "cub-200-2011" if count == 200 else "birds-folder"
    note = f"birds of {count} species, crops to the boxes, from ${FOLDER}"
    return _read(top, door.Source(source, "folder", {"images.txt": digest}, note))


def drawn() -> Birds:
    """Birds of the book's own drawing, in the pack's place."""
    note = "drawn birds of sixteen species: a stand-in for photographs"
    own = Path(drawn_birds.__file__).read_bytes()
    sums = {"drawn_birds.py": hashlib.sha256(own).hexdigest()}
    return Birds(
        "drawn-birds",
        "embedded",
        sums,
        note,
        drawn_birds.SPECIES,
        drawn_birds.PARTS,
        drawn_birds.ATTRIBUTES,
        drawn_birds.of_species(),
        lru_cache(maxsize=None)(_drawn),
    )


def _announced(found: Birds, quiet: bool, advice: str = "") -> Birds:
    if not quiet:
        print(f"data: {found.note}{advice}")
    return found


def _drawn(split: str, side: int) -> Split:
    check(split, side)
    images, labels, places, visible = drawn_birds.draw(split, side)
    count = np.arange(len(labels))
    fold = count // len(drawn_birds.SPECIES) % FOLDS
    fold = fold if split == "train" else np.full_like(fold, -1)
    return Split(images, labels, count, fold, places, visible)


def check(split: str, side: int) -> None:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {SPLITS}")
    if not SIDES[0] <= side <= SIDES[1]:
        raise ValueError(f"a side of {side} pixels: expected {SIDES[0]} to {SIDES[1]}")


# --- the archive's tables -------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """One picture as the tables have it; box (left, top, width, height) in pixels."""

    number: int
    path: Path
    label: int
    box: tuple[float, ...]
    fold: int


def _rows(path: Path) -> list[list[str]]:
    """Words of each line. Raises CorruptData if there is no such file."""
    if not path.is_file():
        raise CorruptData(f"{path} is missing: the folder is not whole.")
    return [line.split() for line in path.read_text().splitlines() if line.strip()]


def _table(path: Path) -> dict[int, list[str]]:
    try:
        return {int(row[0]): row[1:] for row in _rows(path)}
    except ValueError as error:
        raise CorruptData(f"{path}: each line must begin with a number.") from error


def _read(top: Path, source: door.Source) -> Birds:
    classes = _table(top / "classes.txt")
    names = tuple(row[0].split(".", 1)[-1] for row in classes.values())
    parts = tuple(" ".join(row) for row in _table(top / "parts/parts.txt").values())
    attributes, of_species = _attributes(top, list(classes))
    entries = _entries(top, list(classes))
    located = _parts(top / "parts/part_locs.txt", len(parts))
    of = lru_cache(maxsize=None)(partial(_decoded, entries, located))
    return Birds(
        source.source,
        source.origin,
        source.sha256,
        source.note if source.origin == "folder" else _note(entries, names),
        names,
        parts,
        attributes,
        of_species,
        of,
    )


def _note(entries: dict[str, list[_Entry]], names: tuple[str, ...]) -> str:
    count = sum(map(len, entries.values()))
    return f"{count:,} birds of {len(names)} species of CUB-200-2011, crops"


def _attributes(top: Path, classes: list[int]) -> tuple[tuple[str, ...], np.ndarray]:
    name = "attributes.txt"
    beside = top / "attributes" / name
    file = beside if beside.is_file() else top.parent / name
    names = tuple(row[0] for row in _table(file).values())
    table = top / "attributes/class_attribute_labels_continuous.txt"
    rows = np.array([[float(v) for v in row] for row in _rows(table)]) / 100
    if rows.ndim != 2 or rows.shape[1] != len(names) or len(rows) < max(classes):
        raise CorruptData(
            f"{table}: expected a row of {len(names)} values for each class up to "
            f"{max(classes)}, found shape {rows.shape}"
        )
    return names, rows[np.array(classes) - 1]


def _entries(top: Path, classes: list[int]) -> dict[str, list[_Entry]]:
    """Entries by split, in the order of their numbers."""
    label, box, split = (
        _table(top / name)
        for name in (
            "image_class_labels.txt",
            "bounding_boxes.txt",
            "train_test_split.txt",
        )
    )
    found: dict[str, list[_Entry]] = {name: [] for name in SPLITS}
    seen = dict.fromkeys(range(len(classes)), 0)
    for number, row in sorted(_table(top / "images.txt").items()):
        missing = [t for t in (label, box, split) if number not in t]
        if missing or int(label[number][0]) not in classes:
            raise CorruptData(
                f"{top}: image {number} of images.txt lacks a class, a box or a split "
                "in the other tables: they do not belong together."
            )
        k, where, fold = classes.index(int(label[number][0])), "test", -1
        if split[number][0] == "1":
            seen[k] += 1
            held_out = seen[k] % HELD_OUT == 0
            where = "validation" if held_out else "train"
            # Species begin with either fold in turn: none has more in one than another.
            fold = -1 if held_out else (seen[k] - seen[k] // HELD_OUT + k) % FOLDS
        corners = tuple(map(float, box[number]))
        path = top / "images" / row[0]
        found[where].append(_Entry(number, path, k, corners, fold))
    return found


def _parts(path: Path, count: int) -> dict[int, np.ndarray]:
    """Image to ``(P, 3)``: x, y in pixels of the picture, and visible or not."""
    found: dict[int, np.ndarray] = {}
    for image, part, *values in _rows(path):
        rows = found.setdefault(int(image), np.zeros((count, 3)))
        rows[int(part) - 1] = [float(v) for v in values]
    return found


# --- pictures -------------------------------------------------------------------------


def _decoded(entries, located, split: str, side: int) -> Split:
    check(split, side)
    some = entries[split]
    images = np.empty((len(some), 3, side, side), np.uint8)
    parts = np.zeros((len(some), len(next(iter(located.values()))), 3))
    for i, entry in enumerate(some):
        with _opened(entry.path) as picture:
            left, top, right, bottom = window(entry.box, picture.size)
            crop = picture.convert("RGB").resize(
                (side, side), Image.Resampling.LANCZOS, (left, top, right, bottom)
            )
        images[i] = np.asarray(crop).transpose(2, 0, 1)
        parts[i] = located.get(entry.number, parts[i])
        # Pixel borders stand at -1 and 1, as everywhere in the book.
        parts[i, :, 0] = 2 * (parts[i, :, 0] - left) / (right - left) - 1
        parts[i, :, 1] = 2 * (parts[i, :, 1] - top) / (bottom - top) - 1
    visible = (parts[..., 2] > 0) & (np.abs(parts[..., :2]) <= 1).all(axis=-1)
    places = np.where(visible[..., None], parts[..., :2], 0)
    labels, ids, fold = (
        np.array([getattr(e, name) for e in some], dtype=np.int64)
        for name in ("label", "number", "fold")
    )
    return Split(images, labels, ids, fold, places.astype(np.float32), visible)


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise CorruptData(f"{path} is named in images.txt, but not there.") from error
    except OSError as error:
        raise CorruptData(f"{path} is no picture that can be read.") from error


def window(box: tuple[float, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The crop (left, top, right, bottom) in pixels around a box of a picture.

    Args:
        box: left, top, width, height.
        size: width and height of the picture.

    Raises:
        CorruptData: a box without area inside the picture.
    """
    left, top, width, height = box
    half = int(MARGIN * max(width, height))
    x, y = int(left + width / 2), int(top + height / 2)
    found = (
        max(x - half, 0),
        max(y - half, 0),
        min(x + half, size[0]),
        min(y + half, size[1]),
    )
    if found[0] >= found[2] or found[1] >= found[3]:
        raise CorruptData(f"box {box} has no pixel in a picture of {size}")
    return found
