"""The saliency sampler as its public code makes it, in our words: a dense convolution.

A 31 x 31 map is padded by 30 cells on every side, its border cells repeated. A 61 x 61
Gaussian is convolved with it and with it times two coordinates, which are 0 and 1 at
the *centres* of the border cells. The ratios are clamped, and the grid of 31 x 31
places is enlarged bilinearly to the size of the output.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def kernel(cells: int, fwhm: float) -> Tensor:
    """``(1, 1, 2 cells - 1, 2 cells - 1)``; half its height at fwhm / 2 cells."""
    d = torch.arange(2 * cells - 1.0) - (cells - 1)
    squared = d.square()[:, None] + d.square()
    return torch.exp(-4 * torch.log(torch.tensor(2.0)) * squared / fwhm**2)[None, None]


def grid(saliency: Tensor, weight: Tensor) -> Tensor:
    """Places ``(B, 2, n, n)`` in [0, 1] of maps ``(B, n, n)``; channel 0 is x."""
    n = saliency.shape[-1]
    pad = n - 1
    S = F.pad(saliency[:, None], (pad,) * 4, mode="replicate")  # (B, 1, 3n - 2, ...)
    at = (torch.arange(3 * n - 2, dtype=S.dtype) - pad) / pad  # from -1 to 2
    mass = F.conv2d(S, weight)
    u, v = F.conv2d(S * at, weight) / mass, F.conv2d(S * at[:, None], weight) / mass
    return torch.cat((u, v), dim=1)


def positions(saliency: Tensor, side: int, weight: Tensor, corners=True) -> Tensor:
    """``(B, side, side, 2)`` for `grid_sample` with the same ``align_corners``."""
    places = (2 * grid(saliency, weight) - 1).clamp(-1, 1)
    places = F.interpolate(places, (side, side), mode="bilinear", align_corners=corners)
    return places.permute(0, 2, 3, 1)
