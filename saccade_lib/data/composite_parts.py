"""What composites are made of: textured tiles and pictures of objects, split first.

From the packs: tiles from satellite pictures; objects from Caltech-101, birds,
satellite pictures and procedural patterns. Without packs: tiles from the photographs
that scikit-learn and Matplotlib carry, objects from patterns and scikit-learn's digits.

A network must not tell classes apart by their colour or contrast, which a small proxy
shows. So each picture's mean is brought to mid-grey, channel by channel, and its
standard deviation to one value for all.

Pictures are kept as uint8, at full size and as means of f x f pixels for each f of
`LEVELS`.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from saccade_lib.data import door

TILE = 384  # side of a tile, pixels: satellite pictures have 400
PATCH = 256  # side of an object's picture, pixels
LEVELS = (1, 2, 4, 8, 16, 32)
GREY = 128  # mean of every picture, of 255
TILE_CONTRAST, PATCH_CONTRAST = 22, 46  # standard deviations, of 255
PER_CLASS = {"train": 100, "validation": 20, "test": 36}  # pictures of objects
TILES = {"train": 100, "validation": 20, "test": 40}

SEEN = {
    "animals": "cougar_body crocodile dalmatian elephant hedgehog kangaroo llama okapi"
    " rhino",
    "man-made": "ketch schooner industry parking residential",
    "plants": "joshua_tree lotus sunflower water_lilly",
}  # class: folders of Caltech-101 and RSSCN7
TEXTURES = ("field", "forest", "grass", "river_lake")  # of RSSCN7
EMBEDDED_PHOTOS = {
    "train": "china.jpg",
    "validation": "flower.jpg",
    "test": "grace_hopper.jpg",
}

Levels = dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Parts(door.Source):
    """Tiles and objects in memory, apart by split.

    Attributes:
        classes: what the objects are; the last, "nothing", has no pictures.
        tiles: split to level to uint8 ``(N, 3, TILE / f, TILE / f)``.
        objects: split to level to uint8 ``(classes - 1, n, 3, PATCH / f, PATCH / f)``.
    """

    classes: tuple[str, ...]
    tiles: dict[str, Levels]
    objects: dict[str, Levels]


def find(quiet: bool = False, folder: str | Path | None = None) -> Parts:
    """The parts of the packs, or those that the dependencies carry in their place.

    Args:
        folder: where the packs are; with one, there is no stand-in.

    Raises MissingData if ``folder`` lacks a pack, CorruptData if one is damaged.
    """
    names = ("natural-caltech25", "birds-cub41-crops227", "satellite-rsscn7-420")
    try:
        packs = [door.find(name, True, folder) for name in names]
    except door.MissingData:
        if folder is not None:
            raise
        return _announced(_embedded(), quiet, " (for the packs: `make data`)")
    return _announced(_from_packs(*packs), quiet)


def _announced(parts: Parts, quiet: bool, advice: str = "") -> Parts:
    if not quiet:
        print(f"data: {parts.note}{advice}")
    return parts


def _from_packs(natural, birds, satellite) -> Parts:
    classes = ("animals", "birds", "man-made", "plants", "patterns", "nothing")
    both = natural.path / "natural", satellite.path / "satellite"
    tiles, objects = {}, {}
    for split, held_out in (("train", False), ("validation", False), ("test", True)):
        below = [top / ("val" if held_out else "train") for top in both]
        files = {
            name: [_listed(top / kind) for kind in kinds.split() for top in below]
            for name, kinds in SEEN.items()
        } | {"birds": _birds(birds.path / "CUB_200_2011", held_out)}
        n = PER_CLASS[split]
        pictures = [
            patterns(n, f"{split} patterns")
            if name == "patterns"
            else [_square(f, PATCH) for f in _share(files[name], n, split)]
            for name in classes[:-1]
        ]
        objects[split] = levels(pictures, PATCH_CONTRAST)
        textures = [_listed(below[1] / kind) for kind in TEXTURES]
        textures = _share(textures, TILES[split], split)
        tiles[split] = levels([_middle(f, TILE) for f in textures], TILE_CONTRAST)
    sums = natural.sha256 | birds.sha256 | satellite.sha256
    note = "composites of satellite tiles, Caltech-101, birds and patterns, 6 classes"
    return Parts(
        "photograph-composites",
        natural.origin,
        sums,
        note,
        classes,
        tiles,
        objects,
    )


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _birds(top: Path, held_out: bool) -> list[list[Path]]:
    """Official training or test pictures, a list for each species."""

    def rows(name: str) -> dict[str, str]:
        return dict(line.split() for line in (top / name).read_text().splitlines())

    species: dict[str, list[Path]] = {}
    train = rows("train_test_split.txt")
    for image, path in rows("images.txt").items():
        if (train[image] == "0") == held_out:
            species.setdefault(path.split("/")[0], []).append(top / "images" / path)
    return list(species.values())


def _share(kinds: Sequence[list[Path]], count: int, split: str) -> list[Path]:
    """``count`` files, in turn from each kind; validation has the end of each kind.

    Training and validation come from the same folders: every fifth file is held out.
    """
    if split != "test":
        last = split == "validation"
        kinds = [[f for k, f in enumerate(of) if (k % 5 == 4) is last] for of in kinds]
    kinds = [of for of in kinds if of]
    longest = max(len(of) for of in kinds)
    in_turn = [of[k] for k in range(longest) for of in kinds if k < len(of)]
    if len(in_turn) < count:
        raise door.CorruptData(
            f"{kinds[0][0].parent.parent}: {len(in_turn)} pictures for {split}, "
            f"{count} are needed"
        )
    return in_turn[:count]


# --- pictures -------------------------------------------------------------------------


def _square(path: Path, side: int) -> np.ndarray:
    """The middle square of a picture file at ``side x side``, uint8 ``(3, H, W)``."""
    with Image.open(path) as image:
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        box = (left, top, left + short, top + short)
        image = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box)
        return np.asarray(image).transpose(2, 0, 1)


def _middle(path: Path, side: int) -> np.ndarray:
    """The middle ``side x side`` pixels of a picture file."""
    with Image.open(path) as image:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(image).transpose(2, 0, 1)


def levels(pictures: Sequence, contrast: float) -> Levels:
    """Pictures of one mean and contrast at every level.

    Args:
        pictures: nested lists of ``(3, H, W)``, 0 to 255; their shape is kept.
        contrast: standard deviation over all pixels and channels, of 255.
    """
    if isinstance(pictures[0], list):
        each = [levels(of, contrast) for of in pictures]
        return {f: np.stack([of[f] for of in each]) for f in LEVELS}
    made: dict[int, list] = {f: [] for f in LEVELS}
    for picture in pictures:
        values = torch.tensor(picture, dtype=torch.float32)
        values = values - values.mean(dim=(1, 2), keepdim=True)  # of each channel
        values = GREY + values * (contrast / values.std().clamp(min=1.0))
        values = values.clamp(0, 255)
        for f in LEVELS:  # each is twice the one before
            values = F.avg_pool2d(values, 2) if f > 1 else values
            made[f].append(values.round().to(torch.uint8).numpy())
    return {f: np.stack(of) for f, of in made.items()}


def patterns(count: int, name: str, kinds: Sequence[str] = ()) -> list[np.ndarray]:
    """Procedural pictures ``(3, PATCH, PATCH)`` in two colours, 0 to 255.

    Args:
        name: what they are drawn from; another name, other pictures.
        kinds: of ``PATTERNS``; all in turn if none is given.
    """
    kinds = list(kinds or PATTERNS)
    at = (np.arange(PATCH, dtype=np.float32) + 0.5) / PATCH - 0.5
    y, x = np.meshgrid(at, at, indexing="ij")
    made = []
    for k in range(count):
        seed = hashlib.sha256(f"{name} {k}".encode()).digest()[:8]
        draw = np.random.default_rng(int.from_bytes(seed, "big"))
        angle, waves = draw.uniform(0, math.pi), draw.uniform(4, 9)
        u = x * math.cos(angle) + y * math.sin(angle)
        v = y * math.cos(angle) - x * math.sin(angle)
        ink = PATTERNS[kinds[k % len(kinds)]](u * waves, v * waves)  # [-1, 1]
        colours = draw.uniform(0, 255, (2, 3, 1, 1)).astype(np.float32)
        share = (ink + 1) / 2
        made.append(share * colours[0] + (1 - share) * colours[1])
    return made


def _wave(t: np.ndarray) -> np.ndarray:
    """A square wave of period 1 with slightly soft edges."""
    return np.clip(4 * np.sin(2 * math.pi * t), -1, 1)


PATTERNS: dict[str, Callable] = {
    "stripes": lambda u, v: _wave(u),
    "checks": lambda u, v: _wave(u) * _wave(v),
    "rings": lambda u, v: _wave(np.hypot(u, v)),
    "dots": lambda u, v: _wave(np.hypot(u % 1 - 0.5, v % 1 - 0.5) * 0.9 + 0.2),
}


# --- without packs --------------------------------------------------------------------


def _embedded() -> Parts:
    """Patterns of four kinds and digits, on tiles from photographs in the wheels."""
    from matplotlib import cbook
    from sklearn.datasets import load_digits, load_sample_image

    eight = load_digits().images  # (1797, 8, 8), 0 to 16
    tiles, objects, first, sums = {}, {}, 0, {}
    for split, name in EMBEDDED_PHOTOS.items():
        n = PER_CLASS[split] // 4
        glyphs = [_glyph(of) for of in eight[first : first + n]]
        first += n
        pictures = [patterns(n, f"{split} {kind}", [kind]) for kind in PATTERNS]
        objects[split] = levels([*pictures, glyphs], PATCH_CONTRAST)
        photo = (
            np.asarray(Image.open(cbook.get_sample_data(name)).convert("RGB"))
            if name == "grace_hopper.jpg"
            else load_sample_image(name)
        )
        sums[name] = hashlib.sha256(np.ascontiguousarray(photo).tobytes()).hexdigest()
        tiles[split] = levels(_cut(photo.transpose(2, 0, 1)), TILE_CONTRAST)
    eight = eight.astype(np.uint8)
    sums["digits-8x8"] = hashlib.sha256(eight.tobytes()).hexdigest()
    note = "composites of patterns and digits on photographs of scikit-learn and"
    classes = (*PATTERNS, "digits", "nothing")
    return Parts(
        "embedded-composites",
        "embedded",
        sums,
        f"{note} Matplotlib: a stand-in for the packs' composites",
        classes,
        tiles,
        objects,
    )


def _glyph(eight: np.ndarray) -> np.ndarray:
    grey = Image.fromarray(np.float32(eight) * (255 / 16))
    large = grey.resize((PATCH, PATCH), Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(large)[None], 3, axis=0)


def _cut(photo: np.ndarray) -> list[np.ndarray]:
    """Tiles from a photograph ``(3, H, W)``, at its left, middle and right."""
    _, H, W = photo.shape
    return [
        photo[:, top : top + TILE, left : left + TILE]
        for top in {0, H - TILE}
        for left in {0, (W - TILE) // 2, W - TILE}
    ]
