"""What a reading did to the image: numbers beside an accuracy, which alone hides them.

A sampler whose map stays flat classifies like the plain network and never zooms; one
that crops may drop what matters. Each function gives one number an image, ``(B,)``.

Shapes: maps ``(B, h, w)`` that sum to 1, places ``(B, H, W, 2)``; boxes ``(B, 4)``
are (left, top, right, bottom) in [-1, 1].
"""

import torch
from torch import Tensor

from saccade_lib import zoom_reading
from saccade_lib.models.readers import Reading

TINY = 0.01  # pixels: smallest side that a zoom is counted for


def measures(
    seen: Reading, shape: tuple[int, int], box: Tensor | None = None
) -> dict[str, Tensor]:
    """All of them, by name, each ``(B,)``.

    Args:
        seen: what was read.
        shape: (H, W) of the images, pixels.
        box: around the object, where there is one.

    Returns:
        ``entropy`` (nats), ``zoom``, ``covered``, ``mass_inside`` and
        ``pixels_inside`` (shares). Without a map there is neither entropy nor mass,
        without a box nothing inside it.
    """
    found = {"zoom": zoom(seen.at, shape), "covered": covered(seen.at)}
    if seen.saliency is not None:
        found["entropy"] = entropy(seen.saliency)
    if box is not None:
        found["pixels_inside"] = pixels_inside(seen.at, box)
        if seen.saliency is not None:
            found["mass_inside"] = mass_inside(seen.saliency, box)
    return found


def entropy(S: Tensor) -> Tensor:
    """Of the map, in nats: ``log(h w)`` if it is flat, 0 if one cell holds all."""
    return torch.special.entr(S.detach()).sum(dim=(1, 2))


def zoom(at: Tensor, shape: tuple[int, int]) -> Tensor:
    """Largest linear zoom against uniform reading, which has 1.

    A pixel of uniform reading stands for a square of the image; this is its side over
    the side of the square that the most magnified pixel stands for.
    """
    (H, W), (h, w) = shape, at.shape[1:3]
    even = (H / h * W / w) ** 0.5
    side = zoom_reading.footprint(at, shape).flatten(1).amin(dim=1)
    return even / side.clamp(min=TINY)


def covered(at: Tensor) -> Tensor:
    """Share of the image's area inside the grid's outline.

    The outline lies half a pixel of the output beyond the outer pixels' centres. What
    lies outside the image does not count.
    """
    if min(at.shape[1:3]) < 2:
        raise ValueError(f"a grid of {tuple(at.shape[1:3])} pixels has no outline")
    wide = _extended(_extended(at.detach(), 1), 2)
    left, right = wide[:, :, 0].flip(1), wide[:, :, -1]
    rim = (wide[:, 0], right[:, 1:], wide[:, -1].flip(1)[:, 1:], left[:, 1:])
    x, y = torch.cat(rim, dim=1).clamp(-1, 1).unbind(-1)  # around, (B, N)
    doubled = x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]
    return doubled.sum(dim=1).abs() / 2 / 4


def _extended(at: Tensor, axis: int) -> Tensor:
    """The grid with one row or column more on either side, half a pixel outside."""
    first, last = at.narrow(axis, 0, 1), at.narrow(axis, -1, 1)
    second, before = (at.narrow(axis, k, 1) for k in (1, at.shape[axis] - 2))
    outer = first + (first - second) / 2, last + (last - before) / 2
    return torch.cat((outer[0], at, outer[1]), dim=axis)


def mass_inside(S: Tensor, box: Tensor) -> Tensor:
    """Share of the saliency in a box; a cell counts by its part that is inside."""
    shares = []
    for axis, n in enumerate((S.shape[2], S.shape[1])):
        edge = torch.arange(n, device=S.device) * 2 / n - 1
        low = torch.maximum(edge, box[:, axis, None])
        high = torch.minimum(edge + 2 / n, box[:, axis + 2, None])
        shares.append((high - low).clamp(min=0) * n / 2)  # (B, n)
    across, down = (s.to(S.dtype) for s in shares)
    inside = torch.einsum("bh,bhw,bw->b", down, S.detach(), across)
    return inside / S.detach().sum(dim=(1, 2))


def pixels_inside(at: Tensor, box: Tensor) -> Tensor:
    """Share of the output's pixels whose centres read inside a box."""
    low, high = (b[:, None, None] for b in box.unflatten(1, (2, 2)).unbind(1))
    return ((at >= low) & (at <= high)).all(dim=-1).float().mean(dim=(1, 2))
