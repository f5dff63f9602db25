"""TNet's modules but for its feature extraction: where, with what position, which grid.

Papadopoulos et al. (2021), section 3.2 and appendix B.1. Each module comes in the form
of the ImageNet model and in that of the satellite model (fMoW). Sizes are given at
width 1.

Letters: N nodes (crops of any level), n x n cells, K = n^2, F features of the vector.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.models.bagnet import SLOPE, scaled
from saccade_lib.models.efficientnet import SqueezeExcite


class Grid(NamedTuple):
    """n x n square cells over a square of whole pixels (the geometry of the code).

    Attributes:
        patch: side of a cell, pixels.
        stride: from one cell to the next.
        first: column, and row, of the first cell: negative where the last one would
            end outside otherwise. 224 pixels hold 5 cells of 77 at a stride of 37 when
            one row above and one column to the left is added: -1, 36, 73, 110, 147.
    """

    patch: int
    stride: int
    first: int

    def origins(self, n: int) -> list[int]:
        """The first column, or row, of each of n cells."""
        return [self.first + i * self.stride for i in range(n)]


def grid_over(side: int, n: int, cell: float) -> Grid:
    """The grid of n x n cells, each ``cell`` of the side, over ``side`` pixels."""
    patch = round(side * cell)
    stride = math.ceil((side - patch) / (n - 1)) if n > 1 else 0
    beyond = patch + (n - 1) * stride - side  # pixels that are lacking
    return Grid(patch, stride, -((beyond + 1) // 2))


def positions(places: Tensor, scale: int, length: int) -> Tensor:
    """Sines and cosines of where a crop comes from (appendix B.1.2), ``(..., N)``.

    With m = floor(N / 6) frequencies 100^(-t / (m - 1)): sines and cosines of the row,
    of the column, and of the level. 6 m numbers are filled up to N with zeros, as the
    code does; the lengths that the paper prints do not fit its N.

    Args:
        places: ``(..., 2)``, row and column among all cells of the level.
        scale: level, 0 for the whole image.
        length: N, at least 12.
    """
    m = length // 6
    if m < 2:
        raise ValueError(f"a position needs a length of 12 or more, got {length}")
    t = torch.arange(m, device=places.device)
    frequency = 100.0 ** (-t / (m - 1))  # (m,)
    level = torch.full_like(places[..., :1], scale)
    angle = torch.cat((places, level), dim=-1)[..., None] * frequency  # (..., 3, m)
    code = torch.cat((angle.sin(), angle.cos()), dim=-1).flatten(-2)  # (..., 6 m)
    return F.pad(code, (0, length - 6 * m))


class Joined(nn.Module):
    """f' = W [f, p]: feature and position side by side (ImageNet)."""

    def __init__(self, features: int, width: float):
        super().__init__()
        self.length = scaled(512, width)
        self.dense = nn.Linear(features + self.length, features)

    def forward(self, f: Tensor, p: Tensor) -> Tensor:
        return self.dense(torch.cat((f, p), dim=-1))


class Added(nn.Module):
    """f' = SiLU(f + W p): the position as an offset (fMoW)."""

    def __init__(self, features: int, width: float):
        super().__init__()
        self.length = scaled(320, width)
        self.dense = nn.Linear(self.length, features)

    def forward(self, f: Tensor, p: Tensor) -> Tensor:
        return F.silu(f + self.dense(p))


class Coordinates(nn.Module):
    """Row and column of each cell in [-1, 1], each through a scalar line a + b x."""

    def __init__(self, n: int):
        super().__init__()
        line = torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("at", torch.stack((rows, columns)), persistent=False)
        self.slope = nn.Parameter(torch.ones(2))
        self.offset = nn.Parameter(torch.zeros(2))

    def forward(self, maps: Tensor) -> Tensor:
        """The map ``(N, M, n, n)`` with two channels more."""
        at = self.slope[:, None, None] * self.at + self.offset[:, None, None]
        at = at.to(maps.dtype).expand(len(maps), -1, -1, -1)  # (N, 2, n, n)
        return torch.cat((maps, at), dim=1)


class WithVector(nn.Module):
    """Cells scored from the map, the vector beside each place, and its coordinates.

    1x1 convolutions only, so that what is learned of one cell serves all: 1538 -> 512
    -> 1 in the ImageNet model.
    """

    def __init__(self, channels: int, features: int, n: int, width: float):
        super().__init__()
        hidden = scaled(512, width)
        self.coordinates = Coordinates(n)
        self.conv1 = nn.Conv2d(channels + features + 2, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, 1, 1)

    def forward(self, maps: Tensor, vectors: Tensor) -> Tensor:
        """Scores ``(N, K)``, row by row."""
        tiled = vectors[..., None, None].expand(-1, -1, *maps.shape[-2:])
        x = self.coordinates(torch.cat((maps, tiled), dim=1))  # (N, M + F + 2, n, n)
        x = F.leaky_relu(self.conv1(x), SLOPE, inplace=True)
        return self.conv2(x).flatten(1)


class WithSqueeze(nn.Module):
    """Cells scored from the map alone; its mean over the cells is the context (fMoW).

    1x1, squeeze and excitation, coordinates, 1x1, 1x1; no normalisation. The vector of
    1280 would cost more than the rest.
    """

    def __init__(self, channels: int, features: int, n: int, width: float):
        super().__init__()
        del features  # the same arguments as `WithVector`
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.rescale = SqueezeExcite(channels, channels // 2)
        self.coordinates = Coordinates(n)
        self.conv2 = nn.Conv2d(channels + 2, channels, 1)
        self.conv3 = nn.Conv2d(channels, 1, 1)

    def forward(self, maps: Tensor, vectors: Tensor) -> Tensor:
        """Scores ``(N, K)``, row by row."""
        x = F.silu(self.conv1(maps))  # (N, M, n, n)
        x = self.coordinates(self.rescale(x))  # (N, M + 2, n, n)
        return self.conv3(F.silu(self.conv2(x))).flatten(1)


def log_probabilities(scores: Tensor, normalise: bool, temperature: float) -> Tensor:
    """log p of the cells ``(..., K)``, from scores of unit length (appendix B.1.1).

    Scores of length 1 keep all p close to 1 / K: 0.0148 to 0.1036 for 25 cells.
    """
    scores = glimpse.precise(scores)
    if normalise:
        scores = F.normalize(scores, dim=-1, eps=1e-12)
    return (scores / temperature).log_softmax(dim=-1)
