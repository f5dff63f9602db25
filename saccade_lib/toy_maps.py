"""Saliency maps for checks: drawn from three families, or made for one question.

All are ``(count, side, side)`` in float64, positive, and sum to 1.
"""

import torch
from torch import Tensor

SMOOTH, CONTRAST = 1.5, 1.5  # of soft noise: cells, and the logits' standard deviation
WIDTHS = (2.0, 4.0)  # cells, of a blob
MARGIN = 0.2  # of the side, between the border and a blob's centre
BASE = 0.02  # under the blobs, of their height


def soft_noise(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Softmax of smoothed noise: many hills of many heights."""
    noise = torch.randn(count, side, side, generator=generator, dtype=torch.float64)
    at = torch.arange(side, dtype=torch.float64)
    kernel = torch.exp(-0.5 * ((at[:, None] - at) / SMOOTH).square())  # (side, side)
    smooth = kernel @ noise @ kernel
    smooth = smooth - smooth.mean(dim=(1, 2), keepdim=True)
    return _softmax(CONTRAST * smooth / smooth.std(dim=(1, 2), keepdim=True))


def blobs(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Two round blobs on a low floor: two things to look at."""
    options = {"generator": generator, "dtype": torch.float64}
    place = MARGIN + (1 - 2 * MARGIN) * torch.rand(count, 2, 2, **options)
    centre = side * place - 0.5  # (x, y) of two blobs
    width = WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * torch.rand(count, 2, **options)
    return normalised(
        BASE + sum(blob(side, centre[:, k], width[:, k]) for k in range(2))
    )


def rough(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Softmax of independent noise: nothing is smooth, and some cells hold most."""
    noise = torch.randn(count, side, side, generator=generator, dtype=torch.float64)
    return _softmax(3 * noise)


def blob(side: int, centre: Tensor, width: Tensor | float) -> Tensor:
    """Round Gaussians of height 1, ``(count, side, side)``.

    Args:
        centre: ``(count, 2)``, (x, y) in cells, the first cell centred at 0.
        width: standard deviation in cells, a number or ``(count,)``.
    """
    width = torch.as_tensor(width, dtype=torch.float64).expand(len(centre))
    at = torch.arange(side, dtype=torch.float64)
    x, y = (
        torch.exp(-0.5 * ((at - centre[:, k, None]) / width[:, None]).square())
        for k in range(2)
    )
    return y[:, :, None] * x[:, None, :]


def spike(side: int, ratio: float) -> Tensor:
    """One cell, the middle one, that is ``ratio`` times as high as all others."""
    S = torch.ones(1, side, side, dtype=torch.float64)
    S[0, side // 2, side // 2] = ratio
    return normalised(S)


def normalised(S: Tensor) -> Tensor:
    return S / S.sum(dim=(1, 2), keepdim=True)


def _softmax(logits: Tensor) -> Tensor:
    return logits.flatten(1).softmax(dim=1).view_as(logits)
