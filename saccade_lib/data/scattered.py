"""One digit among clutter on canvases of any side, read from a level of a pyramid.

A canvas is divided into cells a little wider than the digit. The digit lies in one of
them, each patch of clutter in another, all at random places within: nothing overlaps,
and each pixel's mean over f x f neighbours is a sum over parts. So a canvas of
2528 x 2528 can be had as the level of its pyramid that is f times smaller, exactly and
without composing the pixels that were averaged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.data.digits import (
    GLYPH,
    HIT,
    INK,
    PATCH,
    SPLITS,
    Canvases,
    Layout,
    _kept,
    _resize,
    uniforms,
)

ROOM = 1.25  # side of a cell over that of the digit, at least
STREAM = 600  # of random numbers, plus the split


@dataclass(frozen=True)
class Scattered(Canvases):
    """`digits.Canvases` of the task ``"single"`` whose parts never overlap.

    Attributes:
        level: f; images are the means of f x f pixels.
    """

    level: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.task != "single" or self.enlarge:
            raise ValueError("scattered canvases are of task 'single', not enlarged")
        if self.level < 1 or self.side % self.level:
            raise ValueError(
                f"level must divide the side of {self.side} pixels, got {self.level}"
            )
        if self.clutter >= self.cells**2:
            raise ValueError(
                f"{self.clutter} patches and a digit do not fit {self.cells} x "
                f"{self.cells} cells: use less clutter or smaller digits"
            )

    @property
    def cells(self) -> int:
        """Along an axis."""
        return max(1, int(self.side / (ROOM * self.digit)))

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """``image (B, 1, S, S)`` in [0, 1] with S = side / f, and `Layout.truth`."""
        layout = self.layout(index, device)
        if self.level == 1:
            return {"image": self._composed(layout)} | layout.truth
        return {"image": self._shrunk(layout)} | layout.truth

    def layout(self, index: Tensor, device: str | torch.device = "cpu") -> Layout:
        """What lies where on the canvases of the given indices."""
        m, P = self.cells, 1 + self.clutter
        seed = self.seed if self.split == "train" else 0
        stream = STREAM + SPLITS.index(self.split)
        sizes = (m * m, P, 2 * P, 2 * P)  # cells; digits, where in them, and in cells
        u = uniforms(seed, stream, index, sum(sizes), device).split(sizes, dim=1)
        cell = u[0].argsort(dim=1)[:, :P]  # (B, P), the digit's first
        images = _kept(self._images, device)
        which = (u[1] * len(images)).long()  # (B, P)
        at = torch.stack((cell % m, cell // m), dim=2) * (self.side // m)  # (B, P, 2)
        within = u[3].unflatten(1, (P, 2))
        digit = _resize(images[which[:, :1]], self.digit)  # (B, 1, g, g)
        corner = self._placed(at[:, :1], within[:, :1], self.digit)
        label = _kept(self._labels, device)[which[:, :1]]  # (B, 1)
        centre = (corner + self.digit / 2) * 2 / self.side - 1  # (B, 1, 2)
        truth = {"label": label[:, 0], "digits": label, "centre": centre.float()}
        parts = [(digit, corner)]
        if self.clutter:
            piece = u[2].unflatten(1, (P, 2))[:, 1:]
            patches = self._patches(images, which[:, 1:], piece)
            wide = patches.shape[-1]
            parts.append((patches, self._placed(at[:, 1:], within[:, 1:], wide)))
        return Layout(parts, truth)

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """As of `Canvases`: within a quarter of the digit's side, on both axes."""
        near = HIT * self.digit / self.side
        away = (location[:, :, None] - batch["centre"][:, None]).abs()
        return (away.amax(dim=3) <= near).any(dim=1)

    def _placed(self, cell: Tensor, u: Tensor, wide: int) -> Tensor:
        """Corners of parts somewhere in the cells with these corners ``(B, P, 2)``."""
        return cell + (u * (self.side // self.cells - wide + 1)).long()

    def _patches(self, images: Tensor, which: Tensor, u: Tensor) -> Tensor:
        """Pieces of random digits ``(B, P, p, p)``, as PATCH is to GLYPH."""
        at = (u * (GLYPH - PATCH - 2 * INK + 1)).long() + INK  # (B, P, 2)
        r = torch.arange(PATCH, device=u.device)
        pieces = images[
            which[..., None, None],
            at[..., 1, None, None] + r[:, None],
            at[..., 0, None, None] + r,
        ]  # (B, P, 8, 8)
        return _resize(pieces, max(1, round(PATCH * self.digit / GLYPH)))

    def _shrunk(self, layout: Layout) -> Tensor:
        """The canvases' means of f x f pixels, ``(B, 1, S, S)``."""
        f, S = self.level, self.side // self.level
        first = layout.parts[0][0]
        canvas = torch.zeros(len(first), (S + 1) ** 2, device=first.device)
        for patches, corner in layout.parts:
            means, at = pooled(patches, corner, f)  # (B, P, p, p), (B, P, 2)
            r = torch.arange(means.shape[-1], device=at.device)
            # A last pixel that no part reaches may lie past the border.
            rows = (at[..., 1, None, None] + r[:, None]).clamp(max=S)
            columns = (at[..., 0, None, None] + r).clamp(max=S)
            where = (rows * (S + 1) + columns).flatten(1)
            canvas.scatter_add_(1, where, means.flatten(1))
        canvas = canvas.view(-1, 1, S + 1, S + 1)[..., :S, :S]
        return F.relu(canvas / 255)


def pooled(patches: Tensor, corner: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Parts of canvases whose pixels are means of ``factor`` x ``factor``.

    Args:
        patches: ``(B, P, g, g)``.
        corner: ``(B, P, 2)``, pixels.

    Returns:
        ``(B, P, p, p)`` and their corners in the new pixels.
    """
    g = patches.shape[-1]
    p = (g + factor - 2) // factor + 1  # pixels that a part may touch
    r = torch.arange(g, device=corner.device)
    at = (corner[..., None] % factor + r) // factor  # (B, P, 2, g)
    i = torch.arange(p, device=corner.device)[:, None]
    share = (at[..., None, :] == i).float() / factor  # (B, P, 2, p, g)
    across, down = share.unbind(2)
    return down @ patches.float() @ across.mT, corner // factor
