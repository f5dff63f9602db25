"""Where an experiment designer would look: glimpses chosen by expected entropy.

Harvey, Teng and Wood (2021), in their symbols. The unknown is the label theta, an
experiment is a glimpse, its design is the place l, its outcome the patch
y = f_fovea(I, l). The next glimpse should have the lowest *expected posterior entropy*
(EPE): a mean over images that agree with what was seen, whose labels are believed as
p(theta | y, l) says (equation 5) or as a network g does (equation 6).

Images that agree come from a database: `retrieval_weights` and `residual_counts`.
`observe` is what the network is shown; a `Grid` has the places. `toy_designs` has a bed
on which all this is exact. All entropies are in nats.

Shapes: B queries, L places, N images of a database or draws from it, K labels.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.special import entr

from saccade_lib import estimators


@dataclass(frozen=True)
class Grid:
    """Where a square glimpse of a square image may lie: L = n x n top left corners.

    Attributes:
        side: of the image, pixels.
        size: S, side of a glimpse, pixels.
        stride: pixels from one corner to the next; the last glimpse ends at the border.
            The paper's 12 x 12 corners, 8 pixels apart, end before it; its published
            sequences have the 13 x 13 of ``Grid(128, 32, 8)``.
    """

    side: int
    size: int
    stride: int

    def __post_init__(self):
        rest = self.side - self.size
        if min(self.side, self.size, self.stride) < 1 or rest < 0 or rest % self.stride:
            raise ValueError(
                f"glimpses of {self.size} pixels, {self.stride} apart, do not end at "
                f"the border of {self.side}: side - size must be a multiple of stride"
            )

    @property
    def n(self) -> int:
        return (self.side - self.size) // self.stride + 1

    @property
    def L(self) -> int:
        return self.n**2

    @cached_property
    def corners(self) -> Tensor:
        """``(L, 2)``, row and column of the first pixel, row by row."""
        line = torch.arange(self.n) * self.stride
        return torch.cartesian_prod(line, line)

    @cached_property
    def views(self) -> Tensor:
        """The pixels of each place, ``(L, H, W)`` bool."""
        gap = torch.arange(self.side) - self.corners[..., None]  # (L, 2, side)
        inside = (gap >= 0) & (gap < self.size)
        return inside[:, 0, :, None] & inside[:, 1, None, :]

    @cached_property
    def locations(self) -> Tensor:
        """Centres (x, y) of the glimpses in [-1, 1], ``(L, 2)``."""
        return (2 * self.corners.flip(1) + self.size) / self.side - 1

    def patches(self, images: Tensor, places: Tensor) -> Tensor:
        """Glimpses ``(B, t, C, S, S)`` of images ``(B, C, H, W)`` at places (B, t)."""
        every = images.unfold(2, self.size, self.stride)
        every = every.unfold(3, self.size, self.stride)  # (B, C, n, n, S, S), a view
        row, column = places // self.n, places % self.n
        b = torch.arange(len(images), device=images.device)[:, None]
        return every[b, :, row, column]


def entropy(p: Tensor) -> Tensor:
    """H[p] in nats over the last axis; 0 log 0 is 0 (equation 1)."""
    return entr(p).sum(dim=-1)


def normalised(mass: Tensor) -> Tensor:
    """The last axis divided by its sum; zeros stay zeros."""
    return mass / mass.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)


def uncertainty(mass: Tensor) -> Tensor:
    """p(y) H[p(theta | y)] from p(theta, y), over the last axis: no division."""
    return entropy(mass) - entr(mass.sum(dim=-1))


def expected_posterior_entropy(weights: Tensor, posteriors: Tensor) -> Tensor:
    """EPE of every place, ``(B, L)``: the mean entropy over images (equations 5, 6).

    Exact where `weights` are p(I | y, l) and `posteriors` p(theta | f(I, l), l); an
    estimate where images are drawn or retrieved and a network g gives the posteriors.

    Args:
        weights: ``(B, N)``, of the images; each row sums to 1.
        posteriors: ``(B, L, N, K)``, what would be believed of the label after a look
            at place l of image n, added to what has been seen.

    Raises:
        ValueError: shapes that do not fit, or weights that do not sum to 1.
    """
    B, N = weights.shape if weights.dim() == 2 else (None, None)
    if posteriors.dim() != 4 or (len(posteriors), posteriors.shape[2]) != (B, N):
        raise ValueError(
            "expected weights (B, N) and posteriors (B, L, N, K), got "
            f"{tuple(weights.shape)} and {tuple(posteriors.shape)}"
        )
    if not torch.allclose(weights.sum(dim=1), weights.new_ones(()), atol=1e-4):
        raise ValueError("weights must sum to 1 over the images of each query")
    return torch.einsum("bn,bln->bl", weights, entropy(posteriors))


# ---- Images from a database


def squared_distance(images: Tensor, query: Tensor, seen: Tensor) -> Tensor:
    """Sum of squared differences over the pixels that were seen, ``(B, N)``.

    Args:
        images: ``(N, C, H, W)``, the database.
        query: ``(B, C, H, W)``; what it holds in other pixels has no influence.
        seen: ``(B, 1, H, W)`` bool.
    """
    gap = torch.where(seen[:, None], images - query[:, None], 0)  # (B, N, C, H, W)
    return gap.square().flatten(2).sum(dim=-1)


def retrieval_weights(
    distance: Tensor, v: Tensor | float, own: Tensor, log_prior: Tensor | float = 0.0
) -> Tensor:
    """The relaxed p(I | y, l) over a database, proportional to p(I) exp(-d / v).

    The point mass of equation 4 becomes a Gaussian of variance v / 2 a pixel.

    Args:
        distance: ``(B, N)``, from `squared_distance`.
        v: > 0, in squared units of a pixel; 0 is the limit of exact matches. One for
            all queries, or ``(B,)``.
        own: ``(B, N)`` bool: the query itself, its flip, anything derived from it.
            Their weight is exactly 0. An argument without a default, because a query
            that completes itself knows what it has not looked at.
        log_prior: broadcast against `distance`.

    Raises:
        ValueError: v not positive, or a query with nothing else in the database.
    """
    v = torch.as_tensor(v, dtype=distance.dtype, device=distance.device)
    if not (v > 0).all():
        raise ValueError(f"v must be positive, got {v.tolist()}: it is a temperature")
    if own.shape != distance.shape or own.dtype != torch.bool:
        raise ValueError(
            f"own must be bool of shape {tuple(distance.shape)}, got "
            f"{own.dtype} of {tuple(own.shape)}"
        )
    if own.all(dim=1).any():
        raise ValueError("a query needs an image of another origin in the database")
    log_w = (log_prior - distance / v.view(-1, 1)).masked_fill(own, -torch.inf)
    return estimators.normalised_weights(log_w.T).T


def residual_counts(p: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n draws from each row as counts ``(B, N)``, with as little chance as can be.

    floor(n p) copies are taken as they are, the others drawn from what is left of n p.
    The mean is n p exactly, the variance below that of n independent draws.

    Args:
        p: ``(B, N)``, rows that sum to 1.
    """
    certain = (n * p).floor()
    rest = (n * p - certain).clamp_min(0)
    missing = (n - certain.sum(dim=1)).round().long()  # (B,)
    most = int(missing.max())
    if most == 0:
        return certain.long()
    rest = torch.where(missing[:, None] > 0, rest, 1)  # a row to draw from; not used
    drawn = rest.multinomial(most, replacement=True, generator=generator)
    used = (torch.arange(most, device=p.device) < missing[:, None]).to(p.dtype)
    return certain.scatter_add(1, drawn, used).round().long()


def observe(images: Tensor, views: Tensor, places: Tensor) -> Tensor:
    """What the network g is shown: pixels seen, zeros elsewhere, and the mask.

    Invariant to the order of the places, and blind to what was not seen whatever
    stands there.

    Args:
        images: ``(B, C, H, W)``.
        views: ``(L, H, W)`` bool, the pixels of each place.
        places: ``(B, t)``, t may be 0.

    Returns:
        ``(B, C + 1, H, W)``, the mask last.
    """
    mask = views[places].any(dim=1)[:, None]  # (B, 1, H, W)
    return torch.cat((torch.where(mask, images, 0), mask.to(images.dtype)), dim=1)
