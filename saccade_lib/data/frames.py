"""A reader's own battlefields: frames and minimaps in a folder, with their counts.

    FOLDER/counts.csv           name,marines       one line a frame, a heading first
    FOLDER/frames/NAME          the screen, for example PySC2's `rgb_screen`
    FOLDER/minimaps/NAME        the minimap of the same moment, `rgb_minimap`

NAME is a picture's file name, the same in both folders. `counts.json`, an object from
NAME to count, may stand in the place of the CSV. As in the released code of Variational
Saccading, frames with more than ``most`` marines are left out, and the first four
fifths in the order of the file are for training; here the last tenth of those is for
validation. Frames that follow each other in one game look alike: order them by game.
"""

import csv
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saccade_lib import glimpse
from saccade_lib.data import door
from saccade_lib.data.digits import SPLITS
from saccade_lib.data.files import CorruptData, MissingData, sha256

LAYOUT = "expected counts.csv (name,marines) or counts.json, frames/ and minimaps/"
TABLES = ("counts.csv", "counts.json")


@dataclass(frozen=True)
class Frames:
    """Frames of one split, like `battlefield.Scenes` without what only a maker knows.

    Attributes:
        folder: see above.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        side: K; a frame is brought to K x K, antialiased.
        most: largest count.
        proxy: J, of the minimap.
        windows: put the minimap in the place of the image, and ``crop`` beside it, for
            models that read windows (`models.by_windows`).
        seed: of whoever draws from them.
    """

    folder: Path | str
    split: str = "train"
    side: int = 1024
    most: int = 22
    proxy: int = 64
    windows: bool = False
    seed: int = 0

    channels = 3

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        counts = read_counts(Path(self.folder))
        kept = [(name, n) for name, n in counts.items() if n <= self.most]
        N = len(kept)
        train, seen = int(N * 0.72), int(N * 0.8)
        starts = {"train": (0, train), "validation": (train, seen), "test": (seen, N)}
        mine = kept[slice(*starts[self.split])]
        if not mine:
            raise MissingData(
                f"{self.folder}: {len(counts)} frames, {N} of them with at most "
                f"{self.most} marines, leave none for {self.split}; 10 or more do."
            )
        object.__setattr__(self, "_names", [name for name, _ in mine])
        object.__setattr__(self, "_labels", torch.tensor([n for _, n in mine]))

    def __len__(self) -> int:
        return len(self._names)

    @property
    def classes(self) -> int:
        return self.most + 1

    def labels(self, index: Tensor) -> Tensor:
        """Number of marines ``(B,)``; a sample beyond the last is the first again."""
        return self._labels[index % len(self)]

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """Read the frames of the given indices.

        Returns:
            ``image (B, 3, K, K)``, ``proxy (B, 3, J, J)`` in [0, 1] and ``label (B,)``;
            with ``windows`` the proxy is the image, and ``crop`` cuts from the frame.
        """
        names = [self._names[i] for i in (index % len(self)).tolist()]
        folder = Path(self.folder)
        image, proxy = (
            torch.stack([read_picture(folder / kind / n, side) for n in names]).to(
                device
            )
            for kind, side in (("frames", self.side), ("minimaps", self.proxy))
        )
        batch = {"image": image, "proxy": proxy}
        if self.windows:
            batch |= {"image": proxy, "crop": partial(glimpse.crop, image)}
        return batch | {"label": self.labels(index).to(device)}


def source(folder: Path | str) -> door.Source:
    """What a record says of a reader's frames: the table's sum, and their number."""
    folder = Path(folder)
    counts = read_counts(folder)
    table = next(folder / name for name in TABLES if (folder / name).is_file())
    note = f"{len(counts):,} frames of a reader's own"
    return door.Source("own-frames", "folder", {table.name: sha256(table)}, note)


def read_counts(folder: Path) -> dict[str, int]:
    """Name and count of every frame, in the order of the table.

    Raises MissingData for a folder, table or picture that is not there, CorruptData
    for a table that cannot be read.
    """
    there = [folder / name for name in TABLES if (folder / name).is_file()]
    if not there:
        what = "has no table of counts" if folder.is_dir() else "is not a folder"
        raise MissingData(f"{folder} {what}; {LAYOUT}.")
    rows = _rows(there[0])
    counts = {}
    for name, text in rows:
        if not str(text).strip().isdecimal():
            raise CorruptData(
                f"{there[0]}: {name!r} has the count {text!r}, not a whole number."
            )
        if name in counts:
            raise CorruptData(f"{there[0]}: {name!r} stands twice.")
        counts[name] = int(text)
    for kind in ("frames", "minimaps"):
        lacks = [name for name in counts if not (folder / kind / name).is_file()]
        if lacks:
            raise MissingData(
                f"{folder / kind} lacks {lacks[0]!r} ({len(lacks)} of {len(counts)} "
                f"named in {there[0].name}); {LAYOUT}."
            )
    return counts


def _rows(table: Path) -> list[tuple[str, object]]:
    try:
        text = table.read_text(encoding="utf-8")
        if table.suffix == ".json":
            return list(json.loads(text).items())
        rows = list(csv.DictReader(text.splitlines()))
        return [(row["name"], row["marines"] or "") for row in rows]
    except (ValueError, AttributeError) as error:
        raise CorruptData(f"{table} cannot be read ({error}); {LAYOUT}.") from error
    except KeyError as error:
        raise CorruptData(f"{table} has no column {error}; {LAYOUT}.") from error


def read_picture(path: Path, side: int) -> Tensor:
    """A picture file as ``(3, side, side)`` in [0, 1], antialiased where it shrinks."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            made = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    except OSError as error:
        raise CorruptData(f"{path} is no readable picture: {error}.") from error
    return torch.from_numpy(np.array(made)).permute(2, 0, 1).float() / 255
