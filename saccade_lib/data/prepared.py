"""A reader's images made ready to be read by windows, and batches of them.

An image that cannot be read in parts, or is not RGB of 8 bits, gets a copy that can: a
pyramid file in the cache, written whole or not at all, so that a run that was stopped
goes on where it was. A tiled TIFF with smaller levels is read in place. Copies are
lossless, but for files that were JPEG or WebP and many pixels.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from saccade_lib import pyramid
from saccade_lib.data import door, folders, headers
from saccade_lib.data.digits import SPLITS
from saccade_lib.data.folders import BadFolder, Folder, Picture
from saccade_lib.data.headers import Header

PLAIN_LIMIT = 2**30  # bytes of copies up to which they are not compressed
HELD_LIMIT = 2**29  # bytes of pixels, levels included, up to which all are held
LEVELS = 4 / 3  # of a pyramid's pixels over those of the image
QUALITY = 95  # of a copy in JPEG
VERSION = 1  # of how copies are made


def cache() -> Path:
    """Where copies lie unless another folder is named."""
    return door.cache() / "own-images"


def copied(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures that need a copy."""
    return [picture for picture in pictures if not picture.header.in_place]


def bytes_of_copies(pictures: Sequence[Picture]) -> int:
    """The most that their copies take: 3 bytes a pixel, and the smaller levels."""
    return int(sum(3 * LEVELS * p.header.pixels for p in copied(pictures)))


def compression(header: Header, total: int) -> str:
    """How a copy is packed, where all copies take ``total`` bytes unpacked."""
    if total <= PLAIN_LIMIT:
        return "none"
    return "jpeg" if header.lossy else "deflate"


def bytes_held(pictures: Sequence[Picture]) -> int:
    """Of pixels that are kept in memory: all of a small folder, or none."""
    every = sum(4 * picture.header.pixels for picture in pictures)
    return every if every <= HELD_LIMIT else 0


def target(path: Path, header: Header, folder: Path, total: int) -> Path:
    """Where the copy of an image lies, or will."""
    at = os.stat(path)
    packing = compression(header, total)
    key = f"{VERSION} {path.resolve()} {at.st_size} {at.st_mtime_ns} {packing}"
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.tif"


def copy(path: Path, header: Header, folder: Path, total: int) -> Path:
    """The pyramid file of one image, made if it is not there; or the image in place.

    Args:
        total: bytes of all copies that are to be made, which decide on their packing.

    Raises:
        PyramidError: the image does not decode.
        OSError: the disk takes no more; nothing is left behind.
    """
    if header.in_place:
        return path
    to, packing = target(path, header, folder, total), compression(header, total)
    if not to.exists():
        pyramid.write(to, headers.rgb(path), compression=packing, quality=QUALITY)
    return to


@dataclass(frozen=True, eq=False)
class Prepared(door.Source):
    """A folder whose images can all be read by windows.

    Attributes:
        folder: as scanned.
        paths: of the files that are read, in the order of its pictures.
        hold: keep all their pixels in memory.
    """

    folder: Folder = field(repr=False)
    paths: tuple[Path, ...] = field(repr=False)
    hold: bool = False

    def __post_init__(self):
        store = Held(self.paths) if self.hold else pyramid.Pyramids(self.paths)
        object.__setattr__(self, "store", store)  # frozen: not assigned to by others
        object.__setattr__(self, "_proxies", {})

    def of(self, split: str) -> np.ndarray:
        """Numbers of the pictures of a split, ``(n,)``."""
        pictures = self.folder.pictures
        return np.array([k for k, p in enumerate(pictures) if p.split == split])

    def proxies(self, side: int) -> Tensor:
        """Small copies of all images, ``(N, 3, J, J)``, kept once they are made."""
        if side not in self._proxies:
            every = torch.arange(len(self.paths))
            self._proxies[side] = self.store.proxies(every, side).clamp(0, 1)
        return self._proxies[side]


def prepare(
    folder: Folder,
    to: Path | None = None,
    say: Callable[[str], None] | None = None,
    whole: Folder | None = None,
) -> Prepared:
    """Make the copies that are needed; what is there already is left alone.

    Args:
        to: folder of the copies, `cache()` by default.
        say: is told once how many copies are made, if any.
        whole: the folder of which this is a part, to be treated as in it.

    Raises:
        BadFolder: with every image that does not decode.
        OSError: no room for the copies, which is asked before the first, or a full disk
            on the way; copies made so far stay and are used next time.
    """
    to = Path(to or cache())
    to.mkdir(parents=True, exist_ok=True)
    _sweep(to)
    whole = whole or folder
    total = bytes_of_copies(whole.pictures)
    _check_room(whole, to, total)
    need = len(copied(folder.pictures))
    if say and need:
        say(f"copies to read windows from: {need:,} of {len(folder.pictures):,} images")
    problems = []

    def one(picture: Picture) -> Path | None:
        try:
            return copy(picture.path, picture.header, to, total)
        except ValueError as error:  # PyramidError; an OSError goes through
            problems.append(folders.printable(f"{picture.path.name}: {error}"))

    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(one, folder.pictures))
    if problems:
        raise BadFolder(folder.root, sorted(problems))
    return _described(folder, paths, bytes_held(whole.pictures) > 0)


def _described(folder: Folder, paths: list[Path], hold: bool) -> Prepared:
    """With a digest over names, sizes, classes and splits, for a record."""
    total = hashlib.sha256()
    for p in folder.pictures:
        name = p.path.relative_to(folder.root).as_posix()
        line = f"{name} {p.header.width} {p.header.height} {p.label} {p.split}\n"
        total.update(line.encode())
    note = f"{len(paths):,} own images of {len(folder.classes)} classes"
    sums = {"names-sizes-splits": total.hexdigest()}
    return Prepared("own-images", "folder", sums, note, folder, tuple(paths), hold)


def _check_room(folder: Folder, to: Path, total: int) -> None:
    """Raise OSError unless the copies fit, packed to half at least if at all."""
    needed = total if total <= PLAIN_LIMIT else total // 2
    there = sum(path.stat().st_size for path in to.glob("*.tif"))
    free = shutil.disk_usage(to).free
    if needed > free + there:
        raise OSError(
            f"copies of {len(copied(folder.pictures)):,} images may need "
            f"{needed / 2**30:.1f} GiB in {to}, where {free / 2**30:.1f} GiB are free: "
            "make room, choose another folder for copies, or save the images as tiled "
            "TIFFs with smaller levels, which need no copy"
        )


def _sweep(to: Path) -> None:
    """Remove what killed processes left half-written."""
    for part in to.glob(".*.part"):
        process = part.name.split(".")[-2].partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            part.unlink(missing_ok=True)


class Held(pyramid.Pyramids):
    """The same for images that all fit into memory: each is decoded once.

    What is read is the same to the last bit, on the thread that asks.
    """

    map = staticmethod(map)

    def __init__(self, paths: Sequence[Path]):
        super().__init__(paths)
        self._pixels: dict[tuple[int, int], Tensor] = {}

    def file(self, index: int) -> "_HeldFile":
        return _HeldFile(self, index)

    def about(self, index: int):
        if index not in self._about:
            super().file(index)
        return self._about[index]

    def level(self, index: int, level: int) -> Tensor:
        """All pixels of a level, uint8 ``(C, h, w)``; its file is opened once."""
        if (index, level) not in self._pixels:
            file = super().file(index)
            at = file.levels[level]
            whole = file.region(level, 0, 0, at.width, at.height)
            self._pixels[index, level] = whole
        return self._pixels[index, level]

    def proxies(self, index: Tensor, side: int) -> Tensor:
        return torch.stack(
            [super(Held, self).file(i).proxy(side) for i in index.tolist()]
        )

    def __getstate__(self) -> dict:
        raise TypeError("a store in memory is not sent to other processes")


@dataclass(frozen=True)
class _HeldFile:
    """What `Pyramids.crop` asks of a file."""

    store: Held
    index: int

    def region(self, level: int, left: int, top: int, width: int, height: int):
        whole = self.store.level(self.index, level)
        return whole[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class Views:
    """A stream of prepared images that are read by windows.

    Index k of training is image k of an endless series of shuffled passes; of
    validation and test, the k-th in the order of the folder, counted round.

    Attributes:
        pack: of `prepare`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        proxy: J.
        mirror: show half of the images of training in a mirror, left to right.
        seed: of the order of training, and of mirrors.
    """

    pack: Prepared = field(repr=False)
    split: str = "train"
    proxy: int = 32
    mirror: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        labels = torch.tensor([p.label for p in self.pack.folder.pictures])
        object.__setattr__(self, "_labels", labels)
        object.__setattr__(self, "_members", self.pack.of(self.split))

    def __len__(self) -> int:
        return len(self._members)

    @property
    def classes(self) -> int:
        return len(self.pack.folder.classes)

    def numbers(self, index: Tensor) -> Tensor:
        """Which picture of the folder each index ``(B,)`` stands for."""
        n = len(self)
        if self.split == "train":
            at = [self._order(k // n)[k % n] for k in index.tolist()]
        else:
            at = (index % n).tolist()
        return torch.from_numpy(self._members[at])

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self))

    def mirrored(self, index: Tensor) -> Tensor:
        """Which are shown in a mirror, ``(B,)``."""
        if not (self.mirror and self.split == "train"):
            return torch.zeros(len(index), dtype=torch.bool)
        drawn = [
            np.random.default_rng((self.seed, 1, k)).random() for k in index.tolist()
        ]
        return torch.tensor(drawn) < 0.5

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``proxy (B, 3, J, J)``, once more as ``image``; ``label (B,)``; and ``crop``,
        a function of location ``(B, T, 2)``, scale and size that reads windows
        ``(B, T, 3, L, L)``.
        """
        k, turned = self.numbers(index), self.mirrored(index)
        c = self.pack.proxies(self.proxy)[k]  # (B, 3, J, J)
        c = torch.where(turned[:, None, None, None], c.flip(3), c).to(device)
        crop = partial(windows, self.pack.store, k, turned)
        label = self._labels[k].to(device)
        return {"image": c, "proxy": c, "label": label, "crop": crop}

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Nothing: nobody knows the places."""
        return location.new_zeros(len(location), 0, dtype=torch.bool)


def windows(
    store: pyramid.Pyramids,
    index: Tensor,
    mirrored: Tensor,
    location: Tensor,
    scale: Tensor,
    size: int,
) -> Tensor:
    """Windows ``(B, T, C, L, L)`` of images that may be seen in a mirror."""
    sign = 1 - 2 * mirrored.to(location).to(location.device)  # (B,)
    flipped = torch.stack((location[..., 0] * sign[:, None], location[..., 1]), dim=-1)
    o = store.crop(index, flipped.cpu(), scale.cpu(), size).to(location)
    turned = mirrored.to(o.device)[:, None, None, None, None]
    return torch.where(turned, o.flip(4), o)
