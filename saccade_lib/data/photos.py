"""MIT-Adobe FiveK from a reader's own copy, and its photographs read by windows.

5,000 photographs, each with a subject given by people (Bychkovsky et al. 2011). They
may be used for research and not be passed on, so nothing of them comes with this book.
The public archive and the experts' versions beside it are laid out like this:

    fivek_dataset/categories.txt       NAME,location,time,light,subject, a line an image
    fivek_dataset/filesAdobe.txt       names under one licence, and
    fivek_dataset/filesAdobeMIT.txt    under the other
    fivek_dataset/raw_photos/HQa1to700/photos/a0001-jmac_DSC1459.dng
    tiff16_c/a0001-jmac_DSC1459.tif    expert C's version: 16 bits, ProPhoto RGB

`fivek` needs two things of it: ``categories.txt``, and for each name one picture called
NAME with an ending of `ENDINGS`, in whatever folder. It does not develop raw files:
take the TIFFs of one expert, or export the raw files in any of those formats. Of 16-bit
files the upper 8 bits are read; colours stay in the file's own space.

The paper prints no split. Here it is a function of the name alone: the first 64 bits of
its SHA-256, modulo 10; 0 to 6 is training, 7 validation, 8 and 9 test.
"""

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saccade_lib import pyramid
from saccade_lib.data import door
from saccade_lib.data.composites import faded
from saccade_lib.data.digits import SPLITS
from saccade_lib.data.files import CorruptData, MissingData

CLASSES = ("abstract", "animals", "man-made", "nature", "None", "people")
SPELT = {"man_made": "man-made", "unknown": "None"}  # other spellings in use
ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp")
CATEGORIES = "categories.txt"
SHOWN = 3  # names that an error lists


@dataclass(frozen=True, eq=False)
class FiveK(door.Source):
    """Names, subjects and files of a copy of FiveK, in the order of the names.

    Attributes:
        names: base names, as in ``categories.txt``.
        labels: ``(N,)``, index into `CLASSES`.
        paths: of the pictures.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    paths: tuple[Path, ...]

    def of(self, split: str) -> np.ndarray:
        """Indices of the photographs of a split, ``(n,)``."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: one of {SPLITS}")
        return np.array([k for k, name in enumerate(self.names) if part(name) == split])


def part(name: str) -> str:
    """The split of a photograph, from its name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 10
    return "train" if place < 7 else "validation" if place == 7 else "test"


def fivek(
    folder: str | Path,
    images: str | Path | None = None,
    partial: bool = False,
    quiet: bool = False,
) -> FiveK:
    """A reader's copy of FiveK.

    Args:
        folder: holds ``categories.txt``, itself or in ``fivek_dataset/``.
        images: where the pictures are, at any depth; ``folder`` if not given. Point it
            at one expert's folder where there are several.
        partial: take the photographs that are there. Without it a photograph that
            lacks is an error.

    Raises:
        MissingData: no folder, no ``categories.txt``, no picture, or some that lack.
        CorruptData: a line or subject that is none, a picture without a line, two files
            of one name, or pictures of a single class.
    """
    folder = Path(folder)
    images = Path(images) if images else folder
    for path in (folder, images):
        if not path.is_dir():
            raise MissingData(f"no folder {path}. Correct the path.")
    subjects = _subjects(folder)
    files = _pictures(images)
    if strays := sorted(set(files) - set(subjects)):
        raise CorruptData(
            f"{images}: {_some(strays)} not in {CATEGORIES}, so without a class. Point "
            "`images` at a folder that holds FiveK alone."
        )
    lacking = sorted(set(subjects) - set(files))
    if lacking and not partial:
        raise MissingData(
            f"{images}: no picture for {_some(lacking)} of the {len(subjects):,} in "
            f"{CATEGORIES}. Complete it, or pass partial=True to take what is there."
        )
    names = sorted(files)
    labels = np.array([CLASSES.index(subjects[name]) for name in names])
    if len(set(labels.tolist())) == 1:
        raise CorruptData(
            f"{images}: all {len(names):,} pictures are {CLASSES[labels[0]]!r}. There "
            "is nothing to tell apart: add pictures of another class."
        )
    lines = "".join(f"{name},{subjects[name]}\n" for name in names)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    note = f"MIT-Adobe FiveK, {len(names):,} photographs, from the folder given"
    if not quiet:
        print(f"data: {note}")
    paths = tuple(files[name] for name in names)
    sums = {"names-and-subjects": digest}
    return FiveK("mit-adobe-5k", "folder", sums, note, tuple(names), labels, paths)


def _subjects(folder: Path) -> dict[str, str]:
    """Class by name, from ``categories.txt``."""
    places = (folder / CATEGORIES, folder / "fivek_dataset" / CATEGORIES)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise MissingData(
            f"no {CATEGORIES} in {folder} or {folder / 'fivek_dataset'}. It comes with "
            "the archive fivek_dataset.tar; a line is NAME,location,time,light,subject."
        )
    found = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        fields = [word.strip() for word in line.split(",")]
        if fields == [""]:
            continue
        if len(fields) != 5:
            raise CorruptData(
                f"{path}, line {number}: {len(fields)} fields in {line!r}; expected "
                "NAME,location,time,light,subject."
            )
        subject = SPELT.get(fields[4], fields[4])
        if subject not in CLASSES:
            raise CorruptData(
                f"{path}, line {number}: subject {fields[4]!r} is none of "
                f"{', '.join(CLASSES)}."
            )
        found[fields[0]] = subject
    return found


def _pictures(images: Path) -> dict[str, Path]:
    """Picture files below a folder by their base name."""
    found: dict[str, Path] = {}
    raw = 0
    for path in sorted(images.rglob("*")):
        raw += path.suffix.lower() == ".dng"
        if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            continue
        if path.stem in found:
            raise CorruptData(
                f"{images} has two pictures of {path.stem}: {found[path.stem]} and "
                f"{path}. Point `images` at the folder of one expert."
            )
        found[path.stem] = path
    if not found:
        why = f"; {raw:,} raw .dng files are there, export them first" if raw else ""
        raise MissingData(f"no picture ({', '.join(ENDINGS)}) in {images}{why}.")
    return found


def _some(names: list[str]) -> str:
    listed = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return f"{len(names):,} ({listed})"


# --- as batches -----------------------------------------------------------------------


@dataclass(frozen=True)
class Photographs:
    """A stream of photographs that are read by windows and never loaded whole.

    Location and scale refer to each side of a photograph by itself, as in
    `glimpse.crop`, so that a window has the photograph's own aspect. Index k of
    training is photograph k of an endless series of shuffled passes; of validation and
    test, the k-th in the order of the names, counted round.

    Attributes:
        pack: of `fivek`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        proxy: J.
        whole: side at which batches hold whole photographs in place of proxies, or 0.
        soft: let windows fade to grey at their borders.
        seed: of the order of training.
    """

    pack: FiveK = field(repr=False)
    split: str = "train"
    proxy: int = 32
    whole: int = 0
    soft: bool = False
    seed: int = 0

    def __post_init__(self):
        members = self.pack.of(self.split)
        if not len(members):
            raise ValueError(
                f"none of {len(self.pack.names):,} photographs is of split "
                f"{self.split!r}: too few for a split by name"
            )
        store = pyramid.Pyramids([self.pack.paths[k] for k in members])
        # On the class's own shelf: a frozen dataclass is not to be assigned to.
        object.__setattr__(self, "_labels", torch.from_numpy(self.pack.labels[members]))
        object.__setattr__(self, "_store", store)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def classes(self) -> int:
        return len(CLASSES)

    def numbers(self, index: Tensor) -> Tensor:
        """Which photograph of the split each index ``(B,)`` stands for."""
        n = len(self)
        if self.split != "train":
            return index % n
        return torch.tensor([self._order(k // n)[k % n] for k in index.tolist()])

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self))

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """As `composites.Composites.batch`, without ``centre``: nobody knows it."""
        k = self.numbers(index)
        label = self._labels[k].to(device)
        if self.whole:
            everything = torch.zeros(len(k), 1, 2), 1.0, self.whole
            image = self._store.crop(k, *everything)[:, 0]
            return {"image": image.to(device), "label": label}
        c = self._store.proxies(k, self.proxy).to(device)
        return {"image": c, "proxy": c, "label": label, "crop": partial(self._crop, k)}

    def _crop(self, k: Tensor, location: Tensor, scale: Tensor, size: int) -> Tensor:
        o = self._store.crop(k, location.cpu(), scale.cpu(), size).to(location)
        return faded(o) if self.soft else o

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Nothing: FiveK has no places."""
        return location.new_zeros(len(location), 0, dtype=torch.bool)


def convert(pack: FiveK, folder: str | Path) -> FiveK:
    """Every photograph as a pyramid file in ``folder``, whose windows are read fast.

    What is there already is left alone. A TIFF or JPEG is decoded whole whenever a
    window of it is read; of a pyramid only the tiles that the window touches are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, path in zip(pack.names, pack.paths, strict=True):
        target = folder / f"{name}.tif"
        paths.append(target if target.is_file() else pyramid.write(target, path))
    return replace(pack, paths=tuple(paths))
