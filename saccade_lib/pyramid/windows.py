"""Windows cut from levels: which level, where on it, and how much of it is read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade_lib import glimpse


@dataclass(frozen=True)
class Level:
    """One size of the image: ``factor`` pixels of the original make one of its."""

    width: int
    height: int
    factor: int
    page: int


def cut(about, read, location, scale, size, outside, each) -> Tensor:
    """Windows of B files; ``read(b, level, left, top, width, height)``, uint8."""
    B, T = location.shape[:2]
    scale = torch.as_tensor(scale, dtype=torch.float64)
    scale = scale if scale.dim() == 3 else scale.expand(B, T)[..., None]
    scale = scale.expand(B, T, 2).flatten(0, 1)  # (B*T, 2)
    location = location.double().flatten(0, 1)  # (B*T, 2)
    groups: dict[tuple, list[int]] = {}  # windows that are cut together, by what at
    for n, s in enumerate(scale.tolist()):
        levels = about[n // T].levels
        k = _sufficient(levels, s, size)
        groups.setdefault((k, levels[k], about[n // T].shape), []).append(n)
    crops = []
    for (k, at, shape), windows in groups.items():

        def part(n, *box, k=k, windows=windows):
            return read(windows[n] // T, k, *box).float() / 255

        place, side = _on_level(location[windows], scale[windows], at, shape)
        level = at.height, at.width
        crops += glimpse.crop_local(
            part, place[:, None], side[:, None], size, outside, shape=level, each=each
        )  # (1, C, L, L) each
    order = torch.tensor([n for windows in groups.values() for n in windows])
    return torch.cat(crops)[order.argsort()].unflatten(0, (B, T))


def _sufficient(levels: Sequence[Level], scale: Sequence[float], size: int) -> int:
    """The coarsest level at which a window has at least as many pixels as its crop."""
    full = levels[0]
    wide = min(scale[0] * full.width, scale[1] * full.height)  # pixels
    enough = [k for k, at in enumerate(levels) if wide >= at.factor * size * (1 - 1e-6)]
    return max(enough, default=0)


def _on_level(location, scale, at: Level, shape) -> tuple[Tensor, Tensor]:
    """Windows ``(N, 2)`` of the full image in the coordinates of a level.

    A level covers ``factor`` times its size, and so lacks up to ``factor - 1`` pixels
    at the right and the lower border of an odd image; a window there moves inwards.
    """
    H, W = shape
    ratio = location.new_tensor([W / at.width, H / at.height]) / at.factor  # (2,)
    lacks = (ratio - 1).clamp(min=0)
    scale = scale * ratio
    scale = scale - (scale - 1).clamp(min=0).minimum(lacks)
    location = (location + 1) * ratio - 1
    over = (location + scale - 1).clamp(min=0).minimum(2 * lacks)
    return location - over, scale
