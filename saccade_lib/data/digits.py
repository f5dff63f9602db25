"""Handwritten digits on large canvases, made on the fly from (seed, index).

Four tasks, each a canvas with digits and clutter at random places:

=================  ======  =======  ======================================  =======
task               digits  clutter  label                                   classes
=================  ======  =======  ======================================  =======
identification     2       yes      the unordered pair                      55
sum                2       no       the sum of the two                      19
single             1       yes      the digit                               10
translated         1       no       the digit                               10
=================  ======  =======  ======================================  =======

Variational Saccading (section 4.1) uses the first two at 100 x 100 and enlarged to
2528 x 2528, and the third in appendix 7.5. Its generator was never released; this
recipe is ours: digits 28 pixels wide that do not overlap, clutter patches cut from
random digits of the same split, pixel-wise maximum.

The layout is drawn on the CPU by hashing (seed, split, index), the pixels are composed
on the device: every machine makes the same images, in any order and any batch.

`Windows` reads canvases that are too large to compose for every step: the proxy and the
windows of each, computed from the layout, and no other pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.data.door import Pack

DIGITS = {"identification": 2, "sum": 2, "single": 1, "translated": 1}
CLASSES = {"identification": 55, "sum": 19, "single": 10, "translated": 10}
CLUTTERED = ("identification", "single")
SPLITS = ("train", "validation", "test")
GLYPH = 28  # side of a digit in the pack, pixels
PATCH = 8  # side of a clutter patch in the same pixels
HIT = 0.5  # a digit is hit when a window's centre is this near, in half-widths of it
INK = 4  # width of the empty margin around a digit, pixels
CANDIDATES = 16  # places tried for the second digit: 1 in 40,000 needs the fallback


@dataclass(frozen=True)
class Canvases:
    """An endless, random-access stream of canvases.

    Attributes:
        pack: digits to draw with (`door.mnist`).
        task: a key of `DIGITS`.
        split: ``"train"``, ``"validation"`` or ``"test"``; their digits never mix:
            validation takes the last sixth of the pack's training digits.
        side: K, side of the composed canvas in pixels.
        digit: side of a digit on the canvas in pixels. A large canvas with small
            digits has detail that exists only at full resolution.
        clutter: number of clutter patches where the task has clutter.
        enlarge: side to which the finished canvas is enlarged bilinearly, or None.
            This is how the paper's code makes 2528 x 2528 images; no detail is added.
        seed: of the layout. Validation and test use 0 whatever the training seed.
    """

    pack: Pack = field(repr=False)
    task: str
    split: str = "train"
    side: int = 100
    digit: int = GLYPH
    clutter: int = 8
    enlarge: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.task not in DIGITS:
            raise ValueError(f"unknown task {self.task!r}: one of {', '.join(DIGITS)}")
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        # With three times the room a second digit always finds a free place.
        needed = (1 if DIGITS[self.task] == 1 else 3) * self.digit
        if self.side < needed:
            raise ValueError(
                f"side {self.side} is too small: {self.task!r} with digits of "
                f"{self.digit} pixels needs {needed}"
            )
        images, labels = of_split(self.pack, self.split)
        # On the class's own shelf: a frozen dataclass is not to be assigned to.
        object.__setattr__(self, "_images", {"cpu": torch.from_numpy(images)})
        object.__setattr__(self, "_labels", {"cpu": torch.from_numpy(labels)})

    @property
    def classes(self) -> int:
        return CLASSES[self.task]

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """Compose the canvases of the given indices.

        Args:
            index: ``(B,)`` integers >= 0.
            device: where the pixels are composed.

        Returns:
            ``image (B, 1, K, K)`` in [0, 1], ``label (B,)``, ``digits (B, D)`` and
            their ``centre (B, D, 2)`` as locations in [-1, 1].
        """
        layout = self.layout(index, device)
        image = self._composed(layout)  # (B, 1, K, K)
        if self.enlarge:
            image = F.interpolate(image, (self.enlarge,) * 2, mode="bilinear")
        return {"image": image} | layout.truth

    def layout(self, index: Tensor, device: str | torch.device = "cpu") -> "Layout":
        """What lies where on the canvases of the given indices."""
        D = DIGITS[self.task]
        P = self.clutter if self.task in CLUTTERED else 0
        seed = self.seed if self.split == "train" else 0
        n = D + 2 * CANDIDATES + 5 * P
        u = uniforms(seed, SPLITS.index(self.split), index, n, device)
        images = _kept(self._images, device)
        which = (u[:, :D] * len(images)).long()  # (B, D)
        corner = self._corners(u[:, D : D + 2 * CANDIDATES])  # (B, D, 2), x and y
        glyphs = _resize(images[which], self.digit)  # (B, D, g, g)
        parts = [(glyphs, corner)]
        if P:
            parts.append(self._clutter(images, u[:, -5 * P :]))
        digits = _kept(self._labels, device)[which]  # (B, D)
        centre = (corner + self.digit / 2) * 2 / self.side - 1  # (B, D, 2)
        label = self.label(digits)
        truth = {"label": label, "digits": digits, "centre": centre.float()}
        return Layout(parts, truth)

    def glyphs(self) -> Tensor:
        """The split's digits, uint8 ``(N, 28, 28)``."""
        return self._images["cpu"]

    def region(
        self, index: int, left: int, top: int, width: int, height: int
    ) -> Tensor:
        """A part of one canvas, ``(1, height, width)`` in [0, 1], composed alone.

        With the index as the image's number, a `glimpse.Reader` of canvases.
        """
        rows = torch.arange(top, top + height)[None, None]
        columns = torch.arange(left, left + width)[None, None]
        return self.pixels(self.layout(torch.tensor([index])), rows, columns)[0]

    def pixels(self, layout: "Layout", rows: Tensor, columns: Tensor) -> Tensor:
        """The pixels where rows ``(B, T, h)`` and columns ``(B, T, w)`` meet.

        Returns:
            ``(B, T, h, w)`` in [0, 1], zero outside the canvas: the same values as in
            `batch`, without the rest of the canvas.
        """
        if self.enlarge:
            across, down = (self._enlarged(k) for k in (columns, rows))  # (B, T, ., K)
            return down @ self._composed(layout) @ across.mT
        found = None
        b = torch.arange(len(rows), device=rows.device)[:, None, None, None]
        for patches, corner in layout.parts:
            p = patches.shape[-1]
            for k in range(patches.shape[1]):
                y = (
                    rows - corner[:, k, 1, None, None]
                )  # (B, T, h), from the patch's top
                x = columns - corner[:, k, 0, None, None]
                ink = patches[
                    b, k, y.clamp(0, p - 1)[..., None], x.clamp(0, p - 1)[..., None, :]
                ]  # (B, T, h, w)
                inside = ((y >= 0) & (y < p))[..., None]
                ink = ink * (inside & ((x >= 0) & (x < p))[..., None, :])
                found = ink if found is None else layout.over(found, ink)
        return found.float() / 255

    def _composed(self, layout: "Layout") -> Tensor:
        """The canvases before they are enlarged, ``(B, 1, K, K)``."""
        first = layout.parts[0][0]
        canvas = first.new_zeros(len(first), self.side**2)
        for patches, corner in layout.parts:
            self._paste(canvas, patches, corner)
        return canvas.view(-1, 1, self.side, self.side).float() / 255

    def _enlarged(self, at: Tensor) -> Tensor:
        """Weights ``(B, T, n, K)`` of the canvas's pixels in enlarged ones."""
        weights = enlarging(self.side, self.enlarge).to(at.device)  # (enlarged, K)
        inside = (at >= 0) & (at < self.enlarge)
        return weights[at.clamp(0, self.enlarge - 1)] * inside[..., None]

    def label(self, digits: Tensor) -> Tensor:
        """Class ``(B,)`` of digits ``(B, D)``."""
        if self.task == "sum":
            return digits.sum(dim=1)
        if self.task == "identification":
            a, b = digits.min(dim=1).values, digits.max(dim=1).values
            return a * 10 - a * (a - 1) // 2 + b - a  # 00, 01, ..., 09, 11, ..., 99
        return digits[:, 0]

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Which digits ``(B, D)`` some window at ``(B, T, 2)`` is centred on.

        Within a quarter of the digit's side, on both axes.
        """
        near = HIT * self.digit / self.side  # in [-1, 1] units
        away = (location[:, :, None] - batch["centre"][:, None]).abs()  # (B, T, D, 2)
        return (away.amax(dim=3) <= near).any(dim=1)

    def _corners(self, u: Tensor) -> Tensor:
        """Top left corners ``(B, D, 2)`` that keep the digits apart."""
        free = self.side - self.digit + 1  # whole-pixel places on an axis
        place = (u.unflatten(1, (CANDIDATES, 2)) * free).long()  # (B, CANDIDATES, 2)
        first = place[:, :1]  # (B, 1, 2)
        if DIGITS[self.task] == 1:
            return first
        apart = ((place - first).abs() >= self.digit).any(dim=2)  # (B, CANDIDATES)
        pick = apart.int().argmax(dim=1)  # the first candidate that is clear
        row = torch.arange(len(place), device=u.device)
        second = place[row, pick][:, None]  # (B, 1, 2)
        opposite = torch.where(first * 2 < free, free - 1, 0)  # the farthest corner
        second = torch.where(apart.any(dim=1)[:, None, None], second, opposite)
        return torch.cat((first, second), dim=1)

    def _clutter(self, images: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Patches ``(B, P, p, p)`` from random digits, and their corners."""
        u = u.unflatten(1, (-1, 5))  # (B, P, 5): digit, its x and y, canvas x and y
        which = (u[..., 0] * len(images)).long()  # (B, P)
        inside = GLYPH - PATCH - 2 * INK + 1
        at = (u[..., 1:3] * inside).long() + INK  # (B, P, 2)
        r = torch.arange(PATCH, device=u.device)
        patches = images[
            which[..., None, None],
            at[..., 1, None, None] + r[:, None],
            at[..., 0, None, None] + r,
        ]  # (B, P, 8, 8)
        size = max(1, round(PATCH * self.digit / GLYPH))
        corner = (u[..., 3:5] * (self.side - size + 1)).long()  # (B, P, 2)
        return _resize(patches, size), corner

    def _paste(self, canvas: Tensor, patches: Tensor, corner: Tensor) -> None:
        """Pixel-wise maximum of the patches ``(B, P, p, p)`` into ``(B, K * K)``."""
        r = torch.arange(patches.shape[-1], device=canvas.device)
        rows = corner[..., 1, None, None] + r[:, None]  # (B, P, p, 1)
        columns = corner[..., 0, None, None] + r  # (B, P, 1, p)
        where = rows * self.side + columns  # (B, P, p, p)
        canvas.scatter_reduce_(1, where.flatten(1), patches.flatten(1), "amax")


@dataclass
class Layout:
    """What lies where on B canvases, before any pixel is composed.

    Attributes:
        parts: digits, then clutter: patches ``(B, P, p, p)``, uint8, and their top left
            corners ``(B, P, 2)``, x and y in pixels.
        truth: ``label``, ``digits`` and ``centre``, as in `Canvases.batch`.
        over: what two parts give where both have ink.
    """

    parts: list[tuple[Tensor, Tensor]]
    truth: dict[str, Tensor]
    over: Callable[[Tensor, Tensor], Tensor] = torch.maximum


@dataclass(frozen=True)
class Windows(Canvases):
    """Canvases that are never composed: a proxy of each, and windows on demand.

    They are enlarged, or without clutter: clutter is laid over digits by a maximum, and
    the proxy of a maximum is no sum of proxies.

    Attributes:
        proxy: J.
        antialias: read a composed canvas from means of f x f pixels, f being the
            largest power of two that leaves a window as many of them as its crop has,
            as from a level of a pyramid. Points that are further apart than strokes are
            wide say little, and their slopes nothing, about where a digit is.
        soft: let windows fade to zero at their borders, as a cosine on each axis. A
            digit that is small in its window then gains by every step towards the
            centre; in a hard window, only by crossing the border.
    """

    proxy: int = 32
    antialias: bool = False
    soft: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.task in CLUTTERED and self.clutter and not self.enlarge:
            raise ValueError(
                f"windows of {self.task!r} need clutter=0 or enlarged canvases"
            )

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """`Canvases.batch` with the proxy in the place of the image.

        Returns:
            ``proxy (B, 1, J, J)``, once more as ``image``; ``crop``, a function of
            location ``(B, T, 2)``, scale ``(B, T)`` and size L that gives what
            `glimpse.crop` gives for the whole canvas (for its level, fading, where
            they are asked for); ``label``, ``digits``, ``centre``.
        """
        layout = self.layout(index, device)
        c = self._proxy(layout)
        crop = partial(self._crop, layout)
        return {"image": c, "proxy": c, "crop": crop} | layout.truth

    def level(self, scale: float, size: int) -> int:
        """f for windows of a scale, read at ``size`` points across."""
        factor = 1
        if self.antialias and not self.enlarge:  # an enlarged canvas is smooth already
            while (
                self.side % (2 * factor) == 0 and 2 * factor * size <= scale * self.side
            ):
                factor *= 2
        return factor

    def _proxy(self, layout: Layout) -> Tensor:
        """`glimpse.downsample` of the canvases, which is linear along each axis."""
        K = self.enlarge or self.side
        shrink = shrinking(K, self.proxy).to(layout.parts[0][0].device)  # (J, K)
        if self.enlarge:
            shrink = shrink @ enlarging(self.side, K).to(shrink)  # (J, side)
            return shrink @ self._composed(layout) @ shrink.T
        ((glyphs, corner),) = layout.parts
        at = corner[..., None] + torch.arange(self.digit, device=corner.device)
        across, down = shrink.T[at].unbind(2)  # (B, D, g, J) each
        return (down.mT @ (glyphs.float() / 255) @ across).sum(dim=1, keepdim=True)

    def _crop(self, layout, location, scale, size) -> Tensor:
        """Eq. 6 from the four pixels around each sampling point."""
        factor = self.level(float(scale.detach().min()), size)
        if factor > 1:
            layout = shrunk(layout, factor)
        K = (self.enlarge or self.side) // factor
        i = glimpse.pixel_centres(size, location.device, location.dtype)  # (L,)
        around, weights = [], []
        for axis in (0, 1):
            reading = location[..., axis, None] + scale[..., None] * i  # (B, T, L)
            u = ((reading + 1) * K - 1) / 2  # pixel m is centred at m
            first = u.detach().floor()
            share = u - first  # of the pixel to the right, or below
            around.append(torch.stack((first, first + 1), dim=-1).flatten(2).long())
            weights.append(torch.stack((1 - share, share), dim=-1))  # (B, T, L, 2)
        columns, rows = around  # (B, T, 2L)
        ink = self.pixels(layout, rows, columns)  # (B, T, 2L, 2L)
        ink = ink.unflatten(3, (size, 2)).unflatten(2, (size, 2))  # (B, T, L, 2, L, 2)
        ink = (ink * weights[0][:, :, None, None]).sum(dim=5)  # (B, T, L, 2, L)
        ink = (ink * weights[1][..., None]).sum(dim=3)  # (B, T, L, L)
        if self.soft:
            fade = torch.cos(i * torch.pi / 2)  # (L,)
            ink = ink * fade[:, None] * fade
        return ink[:, :, None]  # (B, T, 1, L, L)


def shrunk(layout: Layout, factor: int) -> Layout:
    """The layout of canvases whose pixels are means of ``factor`` x ``factor``.

    Only for parts that do not overlap: their means add up.
    """
    ((patches, corner),) = layout.parts
    g = patches.shape[-1]
    p = -(-g // factor) + 1  # pixels that a patch may touch
    r = torch.arange(g, device=corner.device)
    at = (corner[..., None] % factor + r) // factor  # (B, D, 2, g)
    i = torch.arange(p, device=corner.device)[:, None]
    pool = (at[..., None, :] == i).float() / factor  # (B, D, 2, p, g)
    across, down = pool.unbind(2)
    means = down @ patches.float() @ across.mT  # (B, D, p, p)
    return Layout([(means, corner // factor)], layout.truth, torch.add)


@cache
def enlarging(side: int, enlarged: int) -> Tensor:
    """Bilinear enlarging along one axis as a matrix, ``(enlarged, side)``."""
    unit = torch.eye(side)[None, None]
    return F.interpolate(unit, (side, enlarged), mode="bilinear")[0, 0].T.contiguous()


@cache
def shrinking(side: int, proxy: int) -> Tensor:
    """`glimpse.downsample` along one axis of a square: a matrix ``(proxy, side)``."""
    unit = torch.eye(side)[None]  # (1, K, K)
    factor = side // (4 * proxy)
    if factor > 1:
        unit = F.avg_pool1d(unit, factor)
    unit = F.interpolate(unit[None], (side, proxy), mode="bilinear", antialias=True)
    return unit[0, 0].T.contiguous()


def pairs() -> list[tuple[int, int]]:
    """The two digits of each identification class: (0, 0), (0, 1), ..., (9, 9)."""
    return [(a, b) for a in range(10) for b in range(a, 10)]


def uniforms(
    seed: int, stream: int, index: Tensor, n: int, device: str | torch.device = "cpu"
) -> Tensor:
    """``(B, n)`` float64 numbers in [0, 1), a pure function of the first four.

    SplitMix64 (Steele, Lea, Flood 2014) of a counter: the number in column k of index
    i is ``mix(key ^ mix(i n + k))``: no state is kept and order does not matter. On
    every device they are the same to the last bit.
    """
    if int(index.min()) < 0:
        raise ValueError(f"indices must not be negative, got {int(index.min())}")
    key = int(_mix(_mix(torch.tensor(seed)) + stream))
    columns = torch.arange(n, device=device)
    counter = index.to(device)[:, None] * n + columns  # (B, n)
    bits = _mix(_mix(counter) ^ key)
    return _shifted(bits, 11).double() * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    """A bijection of 64-bit integers; int64 wraps around as unsigned ones do."""
    x = x + (0x9E3779B97F4A7C15 - 2**64)
    x = (x ^ _shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, count: int) -> Tensor:
    """Shifted right, with zeros from the left: int64's own shift copies the sign."""
    return (x >> count) & (2 ** (64 - count) - 1)


def of_split(pack: Pack, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits and labels of a split, which never mix."""
    if split == "test":
        return pack.test_images, pack.test_labels
    held_out = len(pack.train_images) // 6  # MNIST: digits 50,000 to 59,999
    part = slice(-held_out, None) if split == "validation" else slice(None, -held_out)
    return pack.train_images[part], pack.train_labels[part]


def _kept(by_device: dict[str, Tensor], device: str | torch.device) -> Tensor:
    """A tensor on a device, which keeps it: the digits are too many to send again."""
    name = str(device)
    if name not in by_device:
        by_device[name] = by_device["cpu"].to(device)
    return by_device[name]


def _resize(glyphs: Tensor, size: int) -> Tensor:
    """uint8 ``(B, D, g, g)`` to ``(B, D, size, size)``, bilinear, antialiased."""
    if glyphs.shape[-1] == size:
        return glyphs
    smaller = size < glyphs.shape[-1]  # the filter that shrinks is slow, and not needed
    made = F.interpolate(
        glyphs.float(), (size, size), mode="bilinear", antialias=smaller
    )
    return made.round_().to(torch.uint8)
