"""Completions of a half-seen image from a database, as importance sampling.

What might the rest of an image look like? Near-Optimal Glimpse Sequences draws whole
images from a database with the weight exp(-d / v), d the squared distance to what was
seen,

    d(I') = sum_{i <= t} || y_i - f_fovea(I', l_i) ||^2 ,

a pixel that two glimpses share counting twice. That is importance sampling in a model
whose glimpses carry Gaussian noise. The paper's database are 1.5 million images of a
GAN; here it is real images, each mirrored and shifted when it is looked up. `v` is set
for each query by bisection, so that the weights are worth a given number of images.

A query must never be completed by itself: `Database.own` marks it with its mirror image
and its shifts, and their weight is exactly 0.

Shapes: M images of a database, V versions of each, N = V M candidates, B queries,
S x S pixels of a glimpse.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import design, estimators
from saccade_lib.design import Grid

LOWEST, HIGHEST = 1e-6, 1e6  # of v


@dataclass(frozen=True, eq=False)
class Database:
    """Images, and what is made of each when it is looked up.

    Candidate c is version ``c // M`` of image ``c % M``; version 0 is the image itself.

    Attributes:
        images: ``(M, C, H, W)`` in [0, 1].
        ids: ``(M,)``.
        grid: where glimpses may lie.
        flip: whether the mirror images belong to it.
        reach: shifts of up to so many strides of the grid, along both axes; pixels at
            the border are repeated.
    """

    images: Tensor = field(repr=False)
    ids: Tensor = field(repr=False)
    grid: Grid
    flip: bool = False
    reach: int = 0

    @property
    def M(self) -> int:
        return len(self.images)

    @cached_property
    def versions(self) -> list[tuple[int, int, int]]:
        """(rows down, columns right, mirrored), shifts in strides."""
        line = sorted(range(-self.reach, self.reach + 1), key=lambda s: (abs(s), s))
        return [*product(line, line, range(1 + self.flip))]

    @property
    def N(self) -> int:
        return self.M * len(self.versions)

    @cached_property
    def padded(self) -> Tensor:
        """``(1 or 2, M, C, H', W')``, mirrored or not, with a border for the shifts."""
        images = [self.images, self.images.flip(3)][: 1 + self.flip]
        border = (self.reach * self.grid.stride,) * 4
        return torch.stack([F.pad(x, border, "replicate") for x in images])

    def candidates(self, index: Tensor) -> Tensor:
        """The images of candidates ``(U,)``, as ``(U, C, H, W)``."""
        side, stride = self.grid.side, self.grid.stride
        made = []
        for c in index.tolist():
            down, right, mirrored = self.versions[c // self.M]
            top, left = ((self.reach - s) * stride for s in (down, right))
            image = self.padded[mirrored, c % self.M]
            made.append(image[:, top : top + side, left : left + side])
        return torch.stack(made)

    def own(self, ids: Tensor) -> Tensor:
        """Which candidates are made of the queries with these ids, ``(B, N)`` bool."""
        return (ids[:, None] == self.ids).repeat(1, len(self.versions))

    def distance(self, patches: Tensor, places: Tensor) -> Tensor:
        """Squared distance of each candidate's glimpse at a place, ``(B, N)``.

        Args:
            patches: ``(B, C, S, S)``, the glimpse of each query.
            places: ``(B,)``, where it was taken.
        """
        found = patches.new_empty(len(patches), len(self.versions), self.M)
        S, border = self.grid.size, self.reach * self.grid.stride
        for place in places.unique().tolist():
            which = (places == place).nonzero()[:, 0]
            y = patches[which].flatten(1)  # (b, C S S)
            row, column = (self.grid.corners[place] + border).tolist()
            for v in range(0, len(self.versions), len(self.padded)):
                down, right, _ = self.versions[v]
                top = row - down * self.grid.stride
                left = column - right * self.grid.stride
                block = self.padded[..., top : top + S, left : left + S]
                block = block.flatten(2).flatten(0, 1)  # (1 or 2 M, C S S)
                d = y.square().sum(dim=1)[:, None] + block.square().sum(dim=1)
                d = torch.addmm(d, y, block.T, alpha=-2).clamp_min(0)
                of_versions = slice(v, v + len(self.padded))
                found[which, of_versions] = d.view(len(y), -1, self.M)
        return found.flatten(1)


def tempered(distance: Tensor, own: Tensor, ess: float) -> tuple[Tensor, Tensor]:
    """Weights whose effective sample size is `ess`, and the v that gives it.

    The effective sample size, 1 over the sum of squared weights, grows with v. Where
    even the smallest v leaves more (equal distances) or the largest less, that v stays.

    Args:
        distance: ``(B, N)``.
        own: ``(B, N)`` bool; these have weight 0.

    Returns:
        weights ``(B, N)``, v ``(B,)``.

    Raises:
        ValueError: fewer candidates than `ess` for some query.
    """
    free = int((~own).sum(dim=1).min())
    if not 1 <= ess <= free:
        raise ValueError(
            f"an effective sample size of {ess} from {free} candidates: ask for at "
            "least 1 and at most as many as there are"
        )
    low = distance.new_full((len(distance),), LOWEST)
    high = distance.new_full((len(distance),), HIGHEST)
    for _ in range(40):
        v = (low * high).sqrt()
        weights = design.retrieval_weights(distance, v, own)
        small = estimators.effective_sample_size(weights.T) < ess
        low, high = torch.where(small, v, low), torch.where(small, high, v)
    return design.retrieval_weights(distance, high, own), high


def drawn(weights: Tensor, n: int, seeds: list[int]) -> tuple[Tensor, Tensor]:
    """n draws from each row by residual resampling, equal ones taken together.

    Args:
        weights: ``(B, N)``, rows that sum to 1.
        seeds: of each row: what is drawn for one does not depend on the others.

    Returns:
        candidates ``(B, n)`` and their weights ``(B, n)``, multiples of 1 / n, the
        largest first; beyond the different ones the weight is 0.
    """
    index, share = [], []
    for row, seed in zip(weights, seeds, strict=True):
        generator = torch.Generator(weights.device).manual_seed(seed)
        counts = design.residual_counts(row[None], n, generator)[0]
        most = counts.sort(descending=True, stable=True)
        index.append(most.indices[:n])
        share.append(most.values[:n] / n)
    return torch.stack(index), torch.stack(share)


# ---- Principal components, for databases too large for exact distances


@dataclass(frozen=True, eq=False)
class Components:
    """Images as mu + W z: distances over any pixels from d numbers an image.

    Over the seen pixels, ||mu + W z - y||^2 = z A z + 2 z b + c with A = W' W, d x d:
    one form for all images, and no image is put together again.

    Attributes:
        mean: ``(D,)``; basis: ``(D, d)``; z: ``(N, d)``, of the database.
    """

    mean: Tensor = field(repr=False)
    basis: Tensor = field(repr=False)
    z: Tensor = field(repr=False)

    @classmethod
    def of(cls, images: Tensor, d: int) -> "Components":
        """The d first principal components of images ``(N, C, H, W)``."""
        flat = images.flatten(1)
        if not 1 <= d <= min(flat.shape):
            raise ValueError(f"{d} components of {len(flat)} x {flat.shape[1]} numbers")
        mean = flat.mean(dim=0)
        centred = flat - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # rising
        basis = vectors[:, -d:].flip(1)
        return cls(mean, basis, centred @ basis)

    def distance(self, query: Tensor, seen: Tensor) -> Tensor:
        """Squared distance over the seen pixels, ``(N,)``.

        Args:
            query: ``(C, H, W)``; seen: ``(H, W)`` bool.
        """
        at = seen.expand_as(query).flatten()
        W, gap = self.basis[at], self.mean[at] - query.flatten()[at]  # (s, d), (s,)
        A, b = W.T @ W, W.T @ gap
        d = ((self.z @ A) * self.z).sum(dim=1) + 2 * self.z @ b + gap.square().sum()
        return d.clamp_min(0)
