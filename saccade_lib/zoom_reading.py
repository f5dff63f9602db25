"""Read an image on a bent grid without aliasing, from memory or from a file of levels.

Where a grid is wide, an output pixel stands for many pixels of the image, and reading a
point picks up noise; where it is dense, an average over as many would blur what is
zoomed. So the image is averaged over squares of 1, 2, 4, ... pixels, and each output
pixel reads the levels that fit its own share of the image (a *mipmap*). A pyramid file
holds these levels already: of each, only the part that the grid needs is read.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import zoom
from saccade_lib.pyramid import Level, Pyramids


def footprint(at: Tensor, shape: tuple[int, int]) -> Tensor:
    """Side of the square of image pixels that each output pixel stands for.

    Args:
        at: ``(B, H, W, 2)``, of `zoom.positions` or any other grid.
        shape: (H, W) of the image, pixels.

    Returns:
        ``(B, H, W)``, without a gradient; 0 where neighbours read the same place.
    """
    return _area(at.detach(), shape).sqrt()


def shares(at: Tensor, shape: tuple[int, int]) -> Tensor:
    """How much each output pixel takes of the averages over 1, 2, 4, ... pixels.

    Bilinear reading mixes two squares a side, so that squares of half the footprint
    are right; between two powers of 2 their levels are mixed.

    Returns:
        ``(K, B, H, W)``, not negative, summing to 1 over K, with a gradient to ``at``.
        K depends on sizes alone.
    """
    (h, w), (H, W) = at.shape[1:3], shape
    ratio = max(1.0, math.sqrt(H * W / (h * w)))
    count = min(math.ceil(math.log2(ratio)), int(math.log2(min(H, W)))) + 1
    side = _area(at, shape).clamp(min=1).sqrt()  # no slope where grids collapse
    level = (side.log2() - 1).clamp(0, count - 1)  # (B, H, W)
    k = torch.arange(count, device=at.device, dtype=at.dtype).view(-1, 1, 1, 1)
    return (1 - (level - k).abs()).clamp(min=0)


def warp(image: Tensor, at: Tensor) -> Tensor:
    """As `zoom.warp`, each output pixel with the averages that fit it.

    Args:
        image: ``(B, C, H_image, W_image)``; no gradient flows to it.
        at: ``(B, H, W, 2)``. Gradients flow to it, through places and levels.

    Returns:
        ``(B, C, H, W)``.
    """
    parts = []
    weights = shares(at, image.shape[-2:])
    for k, weight in enumerate(weights):
        read = zoom.warp(image, at, prefilter=2**k)  # (B, C, H, W)
        parts.append(weight[:, None].to(read.dtype) * read)
    return sum(parts)


def warp_files(store: Pyramids, index: Tensor, at: Tensor) -> Tensor:
    """As `warp`, of images on disk, of which only `regions` are read.

    Where sides are not divisible by a level's factor, its last row or column differs
    from `warp`'s by less than one of its pixels.

    Args:
        store: pyramid files, of any sizes.
        index: ``(B,)``, which of them.
        at: ``(B, H, W, 2)``, on the CPU.

    Returns:
        ``(B, C, H, W)``, with a gradient to ``at``.

    Raises:
        ValueError: index and places do not go together, or a file is damaged
            (`pyramid.PyramidError`).
    """
    if at.dim() != 4 or at.shape[-1] != 2 or index.shape != at.shape[:1]:
        raise ValueError(
            f"expected places (B, H, W, 2) and B indices, got {tuple(at.shape)} and "
            f"{tuple(index.shape)}"
        )

    def one(b: int) -> Tensor:
        return _warp_file(store, int(index[b]), at[b : b + 1])

    return torch.cat([one(b) for b in range(len(at))])


def regions(
    levels: tuple[Level, ...], shape: tuple[int, int], at: Tensor
) -> list[tuple[int, int, int, int, int] | None]:
    """What a grid needs of one image's levels: (level, left, top, width, height).

    Args:
        levels: of the file, from full size down.
        shape: (H, W) of the full size.
        at: ``(1, H, W, 2)``.

    Returns:
        One box for each of the K `shares`, or None where no output pixel wants it. A
        file whose levels end too early gives its last one, whole.
    """
    needed = []
    for k, weight in enumerate(shares(at, shape)):
        if not (weight > 0).any():
            needed.append(None)
            continue
        number = max(i for i, at_k in enumerate(levels) if at_k.factor <= 2**k)
        level = levels[number]
        if level.factor < 2**k:
            needed.append((number, 0, 0, level.width, level.height))
            continue
        pixels = _on_level(at.detach(), shape, level)[weight > 0]  # (N, 2)
        low, high = pixels.amin(dim=0) - 1, pixels.amax(dim=0) + 2
        sides = level.width, level.height
        first = [min(max(int(v), 0), n - 1) for v, n in zip(low, sides, strict=True)]
        last = [
            min(max(int(v), f + 1), n)
            for v, f, n in zip(high, first, sides, strict=True)
        ]
        box = (*first, last[0] - first[0], last[1] - first[1])
        needed.append((number, *box))
    return needed


def _warp_file(store: Pyramids, index: int, at: Tensor) -> Tensor:
    about, file = store.about(index), store.file(index)
    shape, read = about.shape, 0.0
    weights = shares(at, shape)
    for k, box in enumerate(regions(about.levels, shape, at)):
        if box is None:
            continue
        number, left, top, width, height = box
        part = file.region(*box).to(at.dtype)[None] / 255  # (1, C, h, w)
        level = about.levels[number]
        if level.factor < 2**k:
            small = [max(1, n * level.factor // 2**k) for n in (height, width)]
            part = F.interpolate(part, small, mode="area")
            local = at
        else:
            corner, sides = at.new_tensor([left, top]), at.new_tensor([width, height])
            local = 2 * (_on_level(at, shape, level) - corner) / sides - 1
        read = read + weights[k][:, None] * zoom.warp(part, local)
    return read


def _on_level(at: Tensor, shape: tuple[int, int], level: Level) -> Tensor:
    """Places in pixels of a level, borders at 0 and its width."""
    H, W = shape
    return (at + 1) / 2 * at.new_tensor([W, H]) / level.factor


def _area(at: Tensor, shape: tuple[int, int]) -> Tensor:
    """Of the image, in pixels, between the neighbours of each output pixel."""
    half = at.new_tensor([shape[1] / 2, shape[0] / 2])
    pixels = at * half
    across = _steps(pixels, 2, 2 * half[0])  # (B, H, W, 2)
    down = _steps(pixels, 1, 2 * half[1])
    return (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]).abs()


def _steps(pixels: Tensor, axis: int, whole: Tensor) -> Tensor:
    """Differences to the next pixel along an axis, averaged with the one before."""
    if pixels.shape[axis] == 1:  # a single pixel stands for the whole side
        return torch.zeros_like(pixels).index_fill(
            -1, torch.tensor([2 - axis], device=pixels.device), float(whole)
        )
    step = pixels.diff(dim=axis)
    first, last = step.narrow(axis, 0, 1), step.narrow(axis, -1, 1)
    return (torch.cat((first, step), axis) + torch.cat((step, last), axis)) / 2
