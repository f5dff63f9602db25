"""Sequences on disk: the book's own, with all that was computed, and published ones."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib.data.files import CorruptData, MissingData
from saccade_lib.design import Grid
from saccade_lib.train import read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class Annotations:
    """Where a designer would look on each of B images, and why.

    Attributes:
        id: ``(B,)``, of the images, rising.
        fold: ``(B,)``, 0 or 1; g was trained on the other one, completions come from
            this one.
        places: ``(B, T)``, numbers of places of `grid`.
        maps: ``(B, T, L)``, expected posterior entropy of each place, nats; glimpse t
            is where map t is lowest, among places that were not seen before.
        entropy: ``(B, T)``, of what g believes after each glimpse, nats.
        ess: ``(B, T - 1)``, effective sample size before each glimpse but the first.
        completion: ``(B, T - 1, N)``, ids of the images that completed it.
        version: ``(B, T - 1, N)``, which version of each, of ``about["versions"]``:
            (rows down, columns right, mirrored), in strides of the grid.
        weights: ``(B, T - 1, N)``; they sum to 1; 0 where there are fewer than N.
        about: the plan, its data and networks, as plain values.
    """

    id: Tensor
    fold: Tensor
    places: Tensor
    maps: Tensor
    entropy: Tensor
    ess: Tensor
    completion: Tensor
    version: Tensor
    weights: Tensor
    about: dict

    def __len__(self) -> int:
        return len(self.id)

    @property
    def grid(self) -> Grid:
        return Grid(**self.about["grid"])

    @property
    def locations(self) -> Tensor:
        """Centres (x, y) of the glimpses in [-1, 1], ``(B, T, 2)``."""
        return self.grid.locations[self.places]

    def of(self, id: int) -> int:
        """The row of the image with this id; ValueError if it has none."""
        found = (self.id == id).nonzero()
        if not len(found):
            raise ValueError(f"image {id} has no sequence here")
        return int(found[0, 0])


COLUMNS = tuple(Annotations.__annotations__)[:-1]


def save(path: Path, found: Annotations) -> None:
    """Write a file that is there whole, or as it was before."""
    tensors = {name: getattr(found, name) for name in COLUMNS}
    write_tensors(path, tensors, found.about)


def load(path: str | Path) -> Annotations:
    """Read what `save` wrote.

    Raises:
        MissingData: no such file; names the command that makes it.
        CorruptData: a file that is cut off, or no file of sequences.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(
            f"no sequences at {path}: make them with "
            "`python -m saccade_lib.annotation make SET --profile PROFILE`"
        )
    try:
        tensors, about = read_tensors(path)
    except ValueError as error:
        raise CorruptData(
            f"{path} is cut off or no file of sequences: delete it and make it again"
        ) from error
    if missing := set(COLUMNS) - set(tensors):
        raise CorruptData(f"{path} lacks {sorted(missing)}: it holds something else")
    return Annotations(**{name: tensors[name] for name in COLUMNS}, about=about)


def joined(parts: list[Annotations], about: dict) -> Annotations:
    """One of all, in the order of the ids."""
    columns = {name: torch.cat([getattr(p, name) for p in parts]) for name in COLUMNS}
    order = columns["id"].argsort()
    if len(columns["id"].unique()) != len(order):
        raise ValueError("an image stands in two of the parts")
    return Annotations(**{k: v[order] for k, v in columns.items()}, about=about)


# ---- Published sequences


def published(folder: str | Path, grid: Grid) -> tuple[list[str], Tensor]:
    """The authors' sequences: a text file an image, in the public repository ps-nogs.

    A line ``row, col`` a glimpse, its first pixel; the last line names the picture.

    Args:
        folder: with 0.txt, 1.txt, ...
        grid: of their images; ``Grid(128, 32, 8)`` for birds.

    Returns:
        names of the pictures, places ``(B, T)``.

    Raises:
        MissingData: no such files there.
        CorruptData: a line that is no corner of the grid, or files of unequal length.
    """
    files = sorted(Path(folder).glob("*.txt"), key=lambda f: (len(f.name), f.name))
    if not files:
        raise MissingData(f"no sequences (0.txt, 1.txt, ...) in {folder}")
    names, places = [], []
    for file in files:
        *corners, name = file.read_text(encoding="utf-8").split("\n")
        names.append(name)
        places.append([_place(file, line, grid) for line in corners])
    if len({len(row) for row in places}) > 1 or not places[0]:
        raise CorruptData(f"{folder}: sequences of unequal length, or empty")
    return names, torch.tensor(places)


def _place(file: Path, line: str, grid: Grid) -> int:
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", line)
    row, column = map(int, found.groups()) if found else (-1, -1)
    steps = row // grid.stride, column // grid.stride
    if row % grid.stride or column % grid.stride or min(steps) < 0:
        raise CorruptData(f"{file}: {line!r} is no `row, col` of a corner of the grid")
    if max(steps) >= grid.n:
        raise CorruptData(f"{file}: {line!r} lies outside of images of {grid.side}")
    return steps[0] * grid.n + steps[1]
