"""What a battlefield is drawn with: unit sprites in eight directions, and ground.

Two arts have the same form. The plain one ships as formulas: discs and boxes, any size.
The other is that of Bos Wars, a free real-time strategy game (GPL-2 or later); the
Debian package that holds it is fetched and unpacked into the book's cache, without
root, only when asked for (`make battlefield-art`), and never becomes part of the book.

    python -m saccade_lib.data.sprites
"""

import hashlib
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saccade_lib.data import door
from saccade_lib.data.files import DataError, MissingData, check_sum, new_folder

KINDS = ("marine", "marauder", "tank")  # the first is counted
DIRECTIONS = 8  # north first, then clockwise
TEAM = (72, 116, 232)  # of the plain art, red green blue
FINE = 4  # points an axis that are averaged to a pixel of the plain art

PACKAGE, VERSION = "boswars-data", "2.7+svn160110-5"
SHA256 = "36098b478576810a786eb9d75b54e45f4d5fa507332fa8bf3360c14814ecc016"
INSIDE = Path("usr/share/games/boswars")
# kind: (sheet, side of a frame, columns, left, top and side of the part that is used)
SHEETS = {
    "marine": ("units/assault/unit_assault.png", 64, 5, (16, 14, 32)),
    "marauder": ("units/bazoo/unit_bazoo.png", 64, 5, (16, 14, 32)),
    "tank": ("units/buggy/unit_buggy.png", 64, 8, (4, 4, 56)),
}
GROUND = "patches/grass/Grass-plain-large.png"
PLAYER = (208, 4)  # palette entries that carry a team's colour, and how many
BLUE = ((12, 72, 204), (4, 40, 160), (0, 20, 116), (0, 4, 76))


@dataclass(frozen=True, eq=False)
class Art(door.Source):
    """Sprites and ground.

    Attributes:
        draw: ``draw(size) -> (3, 8, s, s, 4)``: red, green, blue, each times opacity,
            and opacity, in [0, 1]; kinds in the order of `KINDS`.
        ground: ``(P, Q, 3)`` in [0, 1], a tile that repeats without a seam.
    """

    draw: Callable[[int], Tensor]
    ground: Tensor


def plain() -> Art:
    """The art that ships with the library."""
    digest = hashlib.sha256(draw_plain(32).numpy().tobytes()).hexdigest()
    note = "plain sprites of this library: a stand-in for StarCraft II"
    sums = {"sprites-32-float32": digest}
    return Art("battlefield-plain", "embedded", sums, note, draw_plain, plain_ground())


def find(quiet: bool = False) -> Art:
    """Bos Wars where `make battlefield-art` was run, the plain art otherwise.

    Raises CorruptData, through `read_sheet`, where the folder is damaged.
    """
    folder = door.cache() / PACKAGE / INSIDE
    if folder.is_dir():
        art = boswars(folder)
        advice = ""
    else:
        art, advice = plain(), " (for Bos Wars: `make battlefield-art`)"
    if not quiet:
        print(f"data: {art.note}{advice}")
    return art


# ---------------------------------------------------------------- plain


@cache
def draw_plain(size: int) -> Tensor:
    """Every kind in every direction, ``(3, 8, s, s, 4)``."""
    if size < 4:
        raise ValueError(f"a sprite needs 4 pixels or more, got {size}")
    i = (np.arange(size * FINE) + 0.5) * 2 / (size * FINE) - 1  # in [-1, 1]
    y, x = np.meshgrid(i, i, indexing="ij")
    made = np.zeros((len(KINDS), DIRECTIONS, size, size, 4), np.float32)
    for k, kind in enumerate(KINDS):
        for d in range(DIRECTIONS):
            turn = d * 2 * math.pi / DIRECTIONS
            u = x * math.cos(turn) + y * math.sin(turn)  # to the unit's right
            v = y * math.cos(turn) - x * math.sin(turn)  # to its back
            layer = np.zeros((*u.shape, 4), np.float32)
            for colour, inside in _parts(kind, u, v):
                layer[inside] = (*(c / 255 for c in colour), 1)
            fine = layer.reshape(size, FINE, size, FINE, 4)
            made[k, d] = fine.mean(axis=(1, 3))
    return torch.from_numpy(made)


def _parts(kind: str, u: np.ndarray, v: np.ndarray) -> list:
    """Colours and shapes of a unit that faces north, from the lowest to the topmost."""

    def disc(radius, x=0.0, y=0.0):
        return (u - x) ** 2 + (v - y) ** 2 < radius**2

    def box(left, top, right, bottom):
        return (left < u) & (u < right) & (top < v) & (v < bottom)

    if kind == "marine":  # one rifle at the right, a pale visor
        rifle = ((24, 24, 30), box(0.3, -1.0, 0.56, 0.3))
        return [(TEAM, disc(0.58)), rifle, ((240, 240, 250), disc(0.24, 0, -0.15))]
    if kind == "marauder":  # a launcher on either shoulder, an orange visor
        arms = box(-0.86, -0.5, -0.42, 0.4) | box(0.42, -0.5, 0.86, 0.4)
        dark = ((40, 52, 110), arms)
        return [(TEAM, disc(0.62)), dark, ((248, 150, 40), disc(0.24, 0, -0.1))]
    hull = ((150, 150, 142), box(-0.68, -0.72, 0.68, 0.86))
    barrel = ((30, 30, 34), box(-0.12, -1.0, 0.12, 0.1))
    return [hull, (TEAM, disc(0.42, 0, 0.12)), barrel]


@cache
def plain_ground(side: int = 64) -> Tensor:
    """Mottled green, ``(64, 64, 3)``; smoothed around its edges, hence no seam."""
    noise = np.random.default_rng(0).standard_normal((side, side))
    for axis in (0, 1):
        noise = sum(np.roll(noise, shift, axis) for shift in (-1, 0, 1)) / 3
    mottled = 1 + 0.25 * noise / noise.std()
    colour = np.array([92, 112, 66]) / 255
    return torch.from_numpy((mottled[..., None] * colour).clip(0, 1)).float()


# ---------------------------------------------------------------- Bos Wars


def boswars(folder: Path) -> Art:
    """The art of an unpacked package, team blue."""
    draw = cache(lambda size: torch.stack([_kind(folder, k, size) for k in KINDS]))
    read_sheet(folder, GROUND)
    tile = np.asarray(read_sheet(folder, GROUND).convert("RGB"), np.float32) / 255
    tile = np.concatenate((tile, tile[::-1]))  # mirrored: no seam
    tile = np.concatenate((tile, tile[:, ::-1]), axis=1)
    note = f"art of Bos Wars ({PACKAGE} {VERSION}, GPL-2+): a stand-in for StarCraft II"
    sums = {f"{PACKAGE}_{VERSION}_all.deb": SHA256}
    return Art("battlefield-boswars", "cache", sums, note, draw, torch.from_numpy(tile))


def read_sheet(folder: Path, name: str):
    """A picture of the package. Raises CorruptData if it is not there or not whole."""
    from PIL import Image

    try:
        image = Image.open(folder / name)
        image.load()
    except OSError as error:
        raise door.CorruptData(
            f"{folder / name}: {error}. Remove {door.cache() / PACKAGE} and run "
            "`make battlefield-art` again."
        ) from error
    return image


def _kind(folder: Path, kind: str, size: int) -> Tensor:
    """One kind, standing, ``(8, s, s, 4)``; directions that lack are mirrored."""
    from PIL import Image

    sheet, frame, columns, (left, top, side) = SHEETS[kind]
    image = read_sheet(folder, sheet)
    transparent = image.info["transparency"]
    palette = np.array(image.getpalette(), np.float32).reshape(-1, 3)
    first, count = PLAYER
    palette[first : first + count] = BLUE
    index = np.asarray(image)
    made = []
    for d in range(DIRECTIONS):
        column = d if d < columns else DIRECTIONS - d
        x = column * frame + left
        cut = index[top : top + side, x : x + side]
        cut = cut[:, ::-1] if column != d else cut
        opaque = (cut != transparent)[..., None].astype(np.float32)
        layers = np.concatenate((palette[cut] / 255 * opaque, opaque), axis=2)
        made.append([_resized(layers[..., c], size, Image) for c in range(4)])
    return torch.from_numpy(np.array(made, np.float32)).permute(0, 2, 3, 1).contiguous()


def _resized(layer: np.ndarray, size: int, Image) -> np.ndarray:
    made = Image.fromarray(layer).resize((size, size), Image.Resampling.BOX)
    return np.asarray(made).clip(0, 1)


def fetch() -> Path:
    """Fetch the Debian package with apt and unpack it into the cache, without root.

    Raises MissingData where apt is not there or cannot get this very version,
    CorruptData where what came has another SHA-256. Nothing is kept then.
    """
    final = door.cache() / PACKAGE
    with new_folder(final) as partial, tempfile.TemporaryDirectory() as work:
        if partial:
            _run(["apt-get", "download", f"{PACKAGE}={VERSION}"], work)
            archives = list(Path(work).glob("*.deb"))
            if len(archives) != 1:
                raise MissingData(f"apt-get brought {len(archives)} packages, not one.")
            check_sum(archives[0], SHA256, "Nothing was unpacked.")
            _run(["dpkg", "-x", str(archives[0]), str(partial)], work)
    return final


def _run(command: list[str], folder: str) -> None:
    advice = (
        f"The art of Bos Wars comes as the Debian package {PACKAGE} {VERSION}, fetched "
        "with apt-get and dpkg (Debian 12; no root needed, but fresh package lists: "
        "`apt-get update`). Without it the plain sprites are used."
    )
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise MissingData(f"{command[0]} is not on this machine. {advice}") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()[-1:]
        raise MissingData(
            f"`{' '.join(command[:2])}` failed: {' '.join(said)}\n{advice}"
        ) from None


def main() -> int:
    """Fetch the art, and say where it lies and on what terms."""
    try:
        folder = fetch()
        art = boswars(folder / INSIDE)
        shape = tuple(art.draw(32).shape)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder}: {art.note}; sprites {shape}. It is not to be committed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
