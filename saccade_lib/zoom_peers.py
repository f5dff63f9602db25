"""Other ways to sample by saliency, and other kernels: what `zoom` is compared with.

`marginal`, `knothe_rosenblatt` and `by_kernel` give positions ``(B, H, W, 2)`` as
`zoom.positions` does; `balanced` gives a map that `zoom.positions` then takes in place
of the saliency. `landed` and `corner_determinants` say what came of it.

A map of h x w cells is read here as a density that is constant on each cell.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from saccade_lib import glimpse, zoom

Kernel = Callable[[Tensor, Tensor], Tensor]  # of displacements dx, dy in cells


def marginal(saliency: Tensor, size: tuple[int, int]) -> Tensor:
    """Each axis by the inverse of its own cumulative distribution.

    Exact where S is a product of its margins, S(x, y) = s_1(x) s_2(y).
    """
    H, W = size
    B = len(saliency)
    u = _quantile(saliency.sum(dim=1), _levels(W, saliency).expand(B, W))  # (B, W)
    v = _quantile(saliency.sum(dim=2), _levels(H, saliency).expand(B, H))  # (B, H)
    full = (B, H, W)
    return torch.stack((u[:, None].expand(full), v[:, :, None].expand(full)), dim=-1)


def knothe_rosenblatt(saliency: Tensor, size: tuple[int, int]) -> Tensor:
    """x by the margin's quantile, then y by the quantile in the column found there.

    Its density is S exactly; it is triangular, so that it never folds; but it jumps
    from column to column, and exchanging the axes gives another map.
    """
    H, W = size
    B, _, w = saliency.shape
    u = _quantile(saliency.sum(dim=1), _levels(W, saliency).expand(B, W))  # (B, W)
    column = ((u + 1) / 2 * w).long().clamp(0, w - 1)  # (B, W)
    given = saliency.mT.gather(1, column[..., None].expand(B, W, saliency.shape[1]))
    v = _quantile(given, _levels(H, saliency).expand(B, W, H))  # (B, W, H)
    return torch.stack((u[:, None].expand(B, H, W), v.mT), dim=-1)


def balanced(
    saliency: Tensor, sigma: float, padding: str = "reflect", rounds: int = 20
) -> Tensor:
    """Sinkhorn's rounds: the map b that spreads the output evenly over S.

    Equations 2 and 3 are the first half of a round. Here rows (output places, equal
    weights) and columns (cells, weights S) are both brought to their sums, in turn.

    Returns:
        ``(B, h, w)`` for `zoom.positions`, at the same sigma and padding.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    S = saliency / saliency.sum(dim=(1, 2), keepdim=True)
    _, h, w = S.shape
    options = {"dtype": S.dtype, "device": S.device}
    Kx, Ky = (zoom.matrices(n, n, float(sigma), padding, **options)[0] for n in (w, h))
    b = S
    for _ in range(rounds):
        a = 1 / (h * w) / (Ky @ b @ Kx.mT)  # (B, h, w)
        b = S / (Ky.mT @ a @ Kx)
    return b


def by_kernel(
    saliency: Tensor, kernel: Kernel, padding: str = "replicate", reach: int = 30
) -> Tensor:
    """Equations 2 and 3 with any kernel, one output a cell, cut off as the public code.

    Nothing is checked of the map: it may be negative.

    Args:
        kernel: weights of displacements (dx, dy) in cells, tensors of one shape.
        reach: cells in x and in y that count.

    Returns:
        ``(B, h, w, 2)``.
    """
    _, h, w = saliency.shape
    step = torch.arange(-reach, reach + 1)
    dy, dx = (d.flatten().double() for d in torch.meshgrid(step, step, indexing="ij"))
    weight = kernel(dx, dy)  # (R,)
    row, column = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    row, row_there = zoom.copied(row.reshape(-1, 1) + dy.long(), h, padding)
    column, there = zoom.copied(column.reshape(-1, 1) + dx.long(), w, padding)
    there = row_there * there  # (h*w, R)
    flat = saliency.flatten(1).double()  # (B, h*w)
    sums = []
    for of in (weight, weight * dx, weight * dy):
        matrix = torch.zeros(h * w, h * w, dtype=torch.float64)
        matrix.scatter_add_(1, row * w + column, of * there)
        sums.append((flat @ matrix.mT).view(-1, h, w))
    mass, x, y = sums
    centres_x = glimpse.pixel_centres(w, dtype=torch.float64)
    centres_y = glimpse.pixel_centres(h, dtype=torch.float64)[:, None]
    at = centres_x + 2 / w * x / mass, centres_y + 2 / h * y / mass
    return torch.stack(at, dim=-1)


def landed(at: Tensor, cells: tuple[int, int]) -> Tensor:
    """Share of the output pixels that read from each cell, ``(B, h, w)``.

    Args:
        at: ``(B, H, W, 2)``; what lies outside is read at the border.
        cells: (h, w).
    """
    h, w = cells
    pixels = glimpse.to_pixels(at.detach(), h, w).long()  # (B, H, W, 2)
    x, y = pixels[..., 0].clamp(0, w - 1), pixels[..., 1].clamp(0, h - 1)
    counts = torch.zeros(len(at), h * w, dtype=at.dtype, device=at.device)
    where = (y * w + x).flatten(1)
    counts.scatter_add_(1, where, torch.ones_like(where, dtype=at.dtype))
    return (counts / where.shape[1]).view(-1, h, w)


def variation(p: Tensor, q: Tensor) -> Tensor:
    """Total variation ``(B,)`` of distributions ``(B, h, w)``: the mass to be moved."""
    return (p - q).abs().sum(dim=(1, 2)) / 2


def corner_determinants(at: Tensor) -> Tensor:
    """Determinants of the grid's map at the corners of each of its cells.

    Between four neighbours the map is bilinear, and its determinant is linear in each
    coordinate: it is positive in the whole cell if it is at the corners.

    Returns:
        ``(B, H - 1, W - 1, 4)``, of differences between neighbours.
    """
    across = at[:, :, 1:] - at[:, :, :-1]  # (B, H, W - 1, 2)
    down = at[:, 1:] - at[:, :-1]  # (B, H - 1, W, 2)
    found = [
        a[..., 0] * d[..., 1] - a[..., 1] * d[..., 0]
        for a in (across[:, :-1], across[:, 1:])
        for d in (down[:, :, :-1], down[:, :, 1:])
    ]
    return torch.stack(found, dim=-1)


def _levels(n: int, like: Tensor) -> Tensor:
    """Shares (i + 1/2) / n, one an output pixel, ``(n,)``."""
    return (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / n


def _quantile(mass: Tensor, level: Tensor) -> Tensor:
    """Places in [-1, 1] below which a share of the mass lies, ``(..., M)``.

    Args:
        mass: ``(..., n)``, constant on each of n cells.
        level: ``(..., M)``, in (0, 1).
    """
    n = mass.shape[-1]
    upto = mass.cumsum(dim=-1)
    upto = upto / upto[..., -1:]  # (..., n)
    cell = torch.searchsorted(upto.contiguous(), level.contiguous()).clamp(max=n - 1)
    below = torch.cat((torch.zeros_like(upto[..., :1]), upto), dim=-1)  # (..., n + 1)
    low, high = below.gather(-1, cell), below.gather(-1, cell + 1)
    inside = (level - low) / (high - low).clamp_min(torch.finfo(mass.dtype).tiny)
    return (cell + inside.clamp(0, 1)) * (2 / n) - 1
