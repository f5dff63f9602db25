"""The saliency sampler: a map of what matters bends the grid on which an image is read.

Recasens et al. (2018), *Learning to Zoom*, equations 2 and 3. Every output pixel is
pulled by the saliency around it, so that it reads the image at the mean place

    u(x, y) = sum S(x', y') k((x, y), (x', y')) x' / sum S(x', y') k((x, y), (x', y'))

and likewise v for y, with a Gaussian k. Padding and a separable kernel are linear, so
that both fold into two small matrices an axis, K and D below, evaluated at the output's
own pixel centres: five products of small matrices, and no grid that is enlarged
afterwards. D weighs the *displacement* x' - x instead of x', so that a uniform map
gives the identity by construction.

Coordinates are the book's (see `glimpse`): x and y in [-1, 1], pixel borders at +-1.
Shapes: B maps of h x w cells, outputs of H x W pixels.
"""

import math
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse

PAPER_SHARE = 1 / 3  # sigma over the width of the map (section 3.2)
# The public code: 13 of 31 cells between the kernel's half heights.
CODE_CELLS = 31
CODE_SIGMA = 13 / (2 * math.sqrt(2 * math.log(2)))  # 5.52 cells
PADDINGS = ("none", "replicate", "reflect")
REACH = 8.0  # sigmas of padding that count; what lies further off weighs below 2e-14
FLOOR = 1e-30  # of the mean saliency, everywhere: no place is without any weight

Sigma = float | tuple[float, float]


def in_cells(share: float, saliency: Tensor) -> tuple[float, float]:
    """Sigma in cells along x and y for a share of the map's width and height."""
    h, w = saliency.shape[-2:]
    return share * w, share * h


def positions(
    saliency: Tensor,
    size: tuple[int, int],
    sigma: Sigma,
    padding: str = "reflect",
    reach: float | None = None,
) -> Tensor:
    """Where each output pixel reads the image (equations 2 and 3).

    Args:
        saliency: ``(B, h, w)``, not negative, of any positive sum: its scale does not
            matter. Gradients flow to it.
        size: (H, W) of the output in pixels.
        sigma: of the Gaussian, in cells of the map; a pair is (along x, along y).
        padding: what surrounds the map. ``"replicate"`` repeats its border cells, as in
            the paper; ``"reflect"`` mirrors it at the image's border, which stays where
            it is; ``"none"`` leaves nothing there.
        reach: cells around a point that weigh anything; by default the whole map and
            8 sigma beyond. With ``reach=30`` the kernel is cut off as the public
            code's 61 x 61 one.

    Returns:
        ``(B, H, W, 2)``, (x, y); beyond +-1 where replicated cells outside pull most.

    Raises:
        ValueError: a saliency of the wrong shape or kind, negative, not finite, or zero
            everywhere; a size below 1; a sigma that is not positive; other padding.
    """
    S = _prepared(saliency)  # (B, h, w)
    along_x, along_y = _axes(S, size, sigma, padding, reach)
    with _full_precision(S.device.type):
        mass, dx, dy = _means(S, along_x, along_y)  # (B, H, W) each
    x = glimpse.pixel_centres(size[1], S.device, S.dtype)  # (W,)
    y = glimpse.pixel_centres(size[0], S.device, S.dtype)[:, None]  # (H, 1)
    h, w = S.shape[-2:]
    return torch.stack((x + 2 / w * dx, y + 2 / h * dy), dim=-1)  # (B, H, W, 2)


def jacobian(
    saliency: Tensor,
    size: tuple[int, int],
    sigma: Sigma,
    padding: str = "reflect",
) -> Tensor:
    """Slopes of `positions`: the covariance of what pulls, over sigma squared.

    Returns:
        ``(B, H, W, 2, 2)``: [[du/dx, du/dy], [dv/dx, dv/dy]], all in [-1, 1] units.
    """
    S = _prepared(saliency)
    along_x, along_y = _axes(S, size, sigma, padding, None)
    with _full_precision(S.device.type):
        _, slopes = _moments(S, along_x, along_y, sigma, lambda rows, K: rows @ K.mT)
    return slopes


def at_points(
    saliency: Tensor, points: Tensor, sigma: Sigma, padding: str = "reflect"
) -> tuple[Tensor, Tensor]:
    """`positions` and `jacobian` of single places of the output, pixels or not.

    Args:
        points: ``(B, P, 2)``, (x, y), borders of the output at +-1.

    Returns:
        Places ``(B, P, 2)`` that are read there, and slopes ``(B, P, 2, 2)``.
    """
    S = _prepared(saliency)
    _check_padding(padding)
    if points.dim() != 3 or len(points) != len(S) or points.shape[2] != 2:
        raise ValueError(
            f"points must be (B, P, 2) with B = {len(S)}, got {tuple(points.shape)}"
        )
    along = []
    for axis, s in enumerate(_pair(sigma)):
        n = S.shape[2 - axis]
        cells = ((points[..., axis].double() + 1) * n - 1) / 2  # (B, P)
        found = _sums(cells.flatten(), n, s, padding, n + REACH * s)
        along.append([K.to(S).unflatten(0, cells.shape) for K in found])  # (B, P, n)
    with _full_precision(S.device.type):
        (dx, dy), slopes = _moments(
            S, *along, sigma, lambda rows, K: (rows * K).sum(dim=-1)
        )
    cell = S.new_tensor([2 / S.shape[2], 2 / S.shape[1]])
    return points.to(S) + torch.stack((dx, dy), dim=-1) * cell, slopes


def density(slopes: Tensor) -> Tensor:
    """Output pixels per area of the image, 1 for the identity: ``1 / det``.

    Args:
        slopes: ``(..., 2, 2)``, of `jacobian`.
    """
    return 1 / torch.linalg.det(slopes)


def warp(image: Tensor, at: Tensor, prefilter: int = 1) -> Tensor:
    """Read an image at `positions`, bilinearly; beyond its border the border is read.

    Args:
        image: ``(B, C, H_image, W_image)``; no gradient flows to it.
        at: ``(B, H, W, 2)``. Gradients flow to it.
        prefilter: pixels a side over which the image is averaged first. Reading single
            points of an image that is much larger than the output picks up noise.

    Returns:
        ``(B, C, H, W)``.

    Raises:
        ValueError: wrong shapes, or a prefilter that leaves no pixel.
    """
    if image.dim() != 4 or not image.is_floating_point():
        raise ValueError(
            f"image must be a float tensor (B, C, H, W), got {image.dtype} of shape "
            f"{tuple(image.shape)}"
        )
    if at.dim() != 4 or len(at) != len(image) or at.shape[-1] != 2:
        raise ValueError(
            f"positions must be (B, H, W, 2) with B = {len(image)}, got "
            f"{tuple(at.shape)}"
        )
    small = [n // prefilter if prefilter >= 1 else 0 for n in image.shape[-2:]]
    if min(small) < 1:
        raise ValueError(
            f"prefilter must be from 1 to {min(image.shape[-2:])}, got {prefilter}"
        )
    image = image.detach()
    if prefilter > 1:
        image = F.interpolate(image, small, mode="area")
    return F.grid_sample(
        image, at.to(image.dtype), padding_mode="border", align_corners=False
    )


def _means(S: Tensor, along_x, along_y) -> tuple[Tensor, Tensor, Tensor]:
    """Mass around each output pixel, and its mean displacement in cells."""
    (Kx, Dx, _), (Ky, Dy, _) = along_x, along_y
    rows = Ky @ S  # (B, H, w)
    mass = rows @ Kx.mT  # (B, H, W)
    return mass, rows @ Dx.mT / mass, Dy @ S @ Kx.mT / mass


def _moments(S: Tensor, along_x, along_y, sigma: Sigma, meet):
    """Mean displacement in cells, and slopes ``(..., 2, 2)``.

    ``meet(rows, K)`` brings sums along y and weights along x together, on a grid or
    point by point.
    """
    (Kx, Dx, Ex), (Ky, Dy, Ey) = along_x, along_y
    rows, moved = Ky @ S, Dy @ S  # (B, H or P, w)
    mass = meet(rows, Kx)
    dx, dy = meet(rows, Dx) / mass, meet(moved, Kx) / mass
    xx = meet(rows, Ex) / mass - dx.square()  # squared cells
    yy = meet(Ey @ S, Kx) / mass - dy.square()
    xy = meet(moved, Dx) / mass - dx * dy
    sx, sy = _pair(sigma)
    aspect = S.shape[-2] / S.shape[-1]  # a cell's width over its height
    first = torch.stack((xx / sx**2, xy / sy**2 * aspect), dim=-1)
    second = torch.stack((xy / sx**2 / aspect, yy / sy**2), dim=-1)
    return (dx, dy), torch.stack((first, second), dim=-2)


def _axes(S, size, sigma, padding, reach):
    """The matrices of both axes, each ``(M, n)``, on the map's device."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (H, W), at least one pixel a side, got {size}")
    _check_padding(padding)
    if reach is not None and not reach >= 0.5:
        raise ValueError(f"reach must be at least half a cell, got {reach}")
    return [
        matrices(n, out, float(s), padding, reach, S.dtype, S.device)
        for n, out, s in zip(S.shape[:-3:-1], size[::-1], _pair(sigma), strict=True)
    ]


def _check_padding(padding: str) -> None:
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}: {padding!r}")


@lru_cache(maxsize=64)
def matrices(
    n: int,
    out: int,
    sigma: float,
    padding: str,
    reach: float | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """One axis: weights, displacements and squared displacements of n cells.

    ``K[i, c]`` is the sum of ``k(m - x_i)`` over all places m, cells and padding, that
    hold a copy of cell c; in D each is weighed by ``m - x_i``, in E by its square. Cell
    m is centred at m, output pixel i of ``out`` at ``x_i = (i + 1/2) n / out - 1/2``.

    Returns:
        K, D, E, each ``(out, n)``.
    """
    reach = n + REACH * sigma if reach is None else float(reach)
    with torch.inference_mode(False):  # what is kept serves training, too
        x = (torch.arange(out, dtype=torch.float64) + 0.5) * (n / out) - 0.5  # (M,)
        found = _sums(x, n, sigma, padding, reach)
        return tuple(matrix.to(device=device, dtype=dtype) for matrix in found)


def _sums(x: Tensor, n: int, sigma: float, padding: str, reach: float) -> list[Tensor]:
    """K, D and E, each ``(M, n)``, of places x ``(M,)`` in cells."""
    offsets = torch.arange(-math.floor(reach) - 1, math.floor(reach) + 3).to(x.device)
    m = x.floor().long()[:, None] + offsets  # (M, R)
    away = m - x[:, None]
    weight = torch.exp(-0.5 * (away / sigma).square()) * (away.abs() <= reach)
    cell, there = copied(m, n, padding)
    weight = weight * there
    found = []
    for power in range(3):
        matrix = weight.new_zeros(len(x), n)
        found.append(matrix.scatter_add_(1, cell, weight * away**power))
    return found


def copied(m: Tensor, n: int, padding: str) -> tuple[Tensor, Tensor]:
    """Which cell place m holds a copy of, and whether it holds any."""
    if padding == "reflect":  # at the image's border, half a cell beyond its last cell
        turn = m.remainder(2 * n)
        return torch.where(turn < n, turn, 2 * n - 1 - turn), torch.ones_like(m)
    there = ((m >= 0) & (m < n)).long() if padding == "none" else torch.ones_like(m)
    return m.clamp(0, n - 1), there


def _full_precision(device: str):
    """No autocast in here: places need their digits. (``meta`` knows none.)"""
    known = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()


def _pair(sigma: Sigma) -> tuple[float, float]:
    pair = tuple(sigma) if isinstance(sigma, tuple | list) else (sigma, sigma)
    if len(pair) != 2 or not all(0 < s < math.inf for s in pair):
        raise ValueError(
            f"sigma must be a positive number of cells, or one for x and one for y; "
            f"got {sigma}"
        )
    return pair


def _prepared(saliency: Tensor) -> Tensor:
    """The map over its mean, plus `FLOOR`; or a ValueError that says what is wrong."""
    if saliency.dim() != 3 or not saliency.numel():
        raise ValueError(f"saliency must be (B, h, w), got {tuple(saliency.shape)}")
    if not saliency.is_floating_point():
        raise ValueError(f"saliency must be floating point, got {saliency.dtype}")
    S = saliency.float() if saliency.dtype.itemsize < 4 else saliency
    total = S.sum(dim=(1, 2), keepdim=True)
    if glimpse.may_look(S):
        low = float(S.detach().min())
        if not (low >= 0 and math.isfinite(float(total.detach().sum()))):
            raise ValueError(
                f"saliency must be finite and not negative, its lowest value is {low}: "
                "apply a softmax over all cells first"
            )
        if not (total > 0).all():
            raise ValueError("a saliency map is zero everywhere: it says nothing")
    return S * (S.shape[1] * S.shape[2] / total) + FLOOR
