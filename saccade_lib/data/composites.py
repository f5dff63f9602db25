"""Large pictures with one small object, made on the fly from (seed, index).

The stand-in for the photographs of MIT-Adobe FiveK, which may not be passed on: a
canvas of 2528 x 2528 pixels whose class only its detail shows.

- Tiles of satellite pictures, turned and mirrored, cover it.
- Three round patches with soft edges lie on it, each tinted to stand out from the tiles
  by the same amount. One is a sharp picture of an object, at native size; the other two
  are blurred pictures of other classes. The class is what the sharp one shows. In the
  class "nothing" all three are blurred.

So a small proxy can show *where* something is, but neither what, nor which of the
three is sharp. Source pictures are split into training, validation and test before
anything is composed.

No canvas is ever held whole: regions of it are composed on demand, at full size or as
means of f x f pixels. Patches and tiles start at multiples of 32 pixels, so that every
level has them at whole pixels. A level is composed from the levels of its parts, which
differs from the mean of the composed canvas by rounding and by little in a patch's soft
edge.
"""

from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.data.composite_parts import LEVELS, PATCH, TILE, Parts
from saccade_lib.data.digits import SPLITS, uniforms

SIDE = 2528
STEP = LEVELS[-1]  # patches start at multiples of it
PATCHES = 3
CANDIDATES = 24  # places tried: one canvas in 10 million has patches that overlap
ROOM = 5  # least side of a canvas, in sides of a patch
EDGE = 32  # width of a patch's soft edge, pixels
BLUR = 64  # side of the means that a blurred picture is made of, pixels
STAND_OUT = 0.22  # distance of a patch's mean colour from the tiles', of 1
HIT = 0.25  # an object is hit when a window's centre is this near, in its sides


@dataclass(frozen=True)
class Layout:
    """What lies where on B canvases.

    Attributes:
        label: ``(B,)``.
        kinds, pictures: class and number of each patch's picture, ``(B, P)``.
        corner: top left corners in pixels, x and y, ``(B, P, 2)``.
        mirrored: ``(B, P)``.
        tint, ground: added to the patches' pixels, ``(B, P, 3)``, and to the tiles',
            ``(B, 3)``, of 1.
        tiles, turns: number of each tile and which of eight ways it lies,
            ``(B, n, n)``.
    """

    label: np.ndarray
    kinds: np.ndarray
    pictures: np.ndarray
    corner: np.ndarray
    mirrored: np.ndarray
    tint: np.ndarray
    ground: np.ndarray
    tiles: np.ndarray
    turns: np.ndarray


@dataclass(frozen=True)
class Composites:
    """An endless, random-access stream of composites that are read by windows.

    Attributes:
        parts: what to compose from (`composite_parts.find`).
        split: ``"train"``, ``"validation"`` or ``"test"``; their pictures never mix.
        proxy: J.
        whole: side at which batches hold whole canvases in place of proxies, for models
            that read everything; 0 for proxies.
        side: K, a multiple of 32, at least 1280.
        soft: let windows fade to grey at their borders, as a cosine on each axis.
        seed: of the layout. Validation and test use 0 whatever the training seed.
    """

    parts: Parts = field(repr=False)
    split: str = "train"
    proxy: int = 32
    whole: int = 0
    side: int = SIDE
    soft: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        least = ROOM * PATCH
        if self.side % STEP or self.side < least:
            raise ValueError(
                f"side must be a multiple of {STEP}, at least {least}: {self.side}"
            )
        if self.whole and self.side not in [self.whole * f for f in LEVELS]:
            sides = [self.side // f for f in LEVELS]
            raise ValueError(f"whole must be 0 or one of {sides}, got {self.whole}")

    @property
    def classes(self) -> int:
        return len(self.parts.classes)

    def layout(self, index: Tensor) -> Layout:
        """What lies where on the canvases of the indices ``(B,)``."""
        n = -(-self.side // TILE)
        P, C = PATCHES, self.classes - 1
        seed = self.seed if self.split == "train" else 0
        sizes = (1, C, P, P, 2 * CANDIDATES, 2 * P, 3, n * n, n * n)
        stream = 100 + SPLITS.index(self.split)  # apart from the digits' streams
        u = uniforms(seed, stream, index, sum(sizes)).numpy()
        parts = np.split(u, np.cumsum(sizes)[:-1], axis=1)
        label, kinds, pictures, mirrored, places, angle, ground, tiles, turns = parts
        label = (label[:, 0] * self.classes).astype(int)  # (B,)
        first = label < C
        kinds[first, label[first]] = -1.0  # the sharp patch is of the label's class
        kinds = kinds.argsort(axis=1)[:, :P]  # (B, P), all different
        ground = 0.3 * ground - 0.15  # (B, 3), about mid-grey
        available = self.parts.objects[self.split][1].shape[1]
        textures = len(self.parts.tiles[self.split][1])
        return Layout(
            label=label,
            kinds=kinds,
            pictures=(pictures * available).astype(int),
            corner=self._corners(places.reshape(-1, CANDIDATES, 2)),
            mirrored=mirrored < 0.5,
            tint=ground[:, None] + STAND_OUT * directions(angle.reshape(-1, P, 2)),
            ground=ground,
            tiles=(tiles * textures).astype(int).reshape(-1, n, n),
            turns=(turns * 8).astype(int).reshape(-1, n, n),
        )

    def _corners(self, u: np.ndarray) -> np.ndarray:
        """The first candidates ``(B, CANDIDATES, 2)`` that keep the patches apart."""
        steps = (self.side - PATCH) // STEP + 1  # places on an axis
        place = (u * steps).astype(int) * STEP  # (B, CANDIDATES, 2)
        chosen, rows = [place[:, 0]], np.arange(len(place))
        for _ in range(PATCHES - 1):
            away = np.stack([np.abs(place - c[:, None]).max(axis=2) for c in chosen])
            chosen.append(place[rows, (away >= PATCH).all(axis=0).argmax(axis=1)])
        return np.stack(chosen, axis=1)  # (B, P, 2)

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """What a model may read of the canvases of the given indices.

        Returns:
            ``proxy (B, 3, J, J)``, once more as ``image``; ``crop``, a function of
            location ``(B, T, 2)``, scale ``(B, T)`` and size L that reads windows
            ``(B, T, 3, L, L)``; ``label (B,)``; ``centre (B, 3, 2)`` of the patches,
            the object's first. With ``whole``, ``image (B, 3, whole, whole)`` only.
        """
        layout = self.layout(index)
        centre = (torch.from_numpy(layout.corner) + PATCH / 2) * 2 / self.side - 1
        truth = {"label": torch.from_numpy(layout.label), "centre": centre.float()}
        truth = {name: value.to(device) for name, value in truth.items()}
        if self.whole:
            image = self._composed(layout, self.side // self.whole)
            return {"image": image.to(device)} | truth
        c = self._proxy(layout).to(device)
        return {"image": c, "proxy": c, "crop": partial(self._crop, layout)} | truth

    def image(self, index: int, factor: int = 1) -> Tensor:
        """One canvas ``(3, K / f, K / f)`` in [0, 1], for pictures of it."""
        return self._composed(self.layout(torch.tensor([index])), factor)[0]

    def region(
        self, index: int, left: int, top: int, width: int, height: int
    ) -> Tensor:
        """A part of one canvas at full size, ``(3, height, width)`` in [0, 1].

        With the index as the image's number, a `glimpse.Reader` of canvases.
        """
        layout = self.layout(torch.tensor([index]))
        return self.pixels(layout, 1, 0, left, top, width, height)

    def pixels(
        self, of: Layout, f: int, b: int, left: int, top: int, width: int, height: int
    ) -> Tensor:
        """A region of canvas b at level f, in the level's pixels."""
        box = left, top, width, height
        out = np.empty((3, height, width), np.float32)
        t = TILE // f
        tiles = self.parts.tiles[self.split][f]
        for row in range(top // t, (top + height - 1) // t + 1):
            for column in range(left // t, (left + width - 1) // t + 1):
                at = b, row, column
                inside, part = _overlap(*box, column * t, row * t, t)
                out[inside] = turned(tiles[of.tiles[at]], of.turns[at])[part]
        out += (of.ground[b] * 255)[:, None, None]
        for k in range(PATCHES):
            x, y = of.corner[b, k] // f
            found = _overlap(*box, x, y, PATCH // f)
            if found:
                inside, part = found
                alpha = mask(f)[part[1:]]
                patch = self._patch(of, f, b, k)[part]
                out[inside] += alpha * (patch - out[inside])
        return torch.from_numpy(np.clip(out, 0, 255, out=out)).div_(255)

    def _patch(self, of: Layout, f: int, b: int, k: int) -> np.ndarray:
        """Patch k of a canvas at level f, ``(3, PATCH / f, PATCH / f)``, 0 to 255."""
        sharp = k == 0 and of.label[b] < self.classes - 1
        pictures = self.parts.objects[self.split][f if sharp else STEP]
        patch = pictures[of.kinds[b, k], of.pictures[b, k]]
        if not sharp:
            up = blur(f)  # (PATCH / f, 8)
            patch = up @ patch.astype(np.float32) @ up.T
        patch = patch[..., ::-1] if of.mirrored[b, k] else patch
        return patch + np.float32(of.tint[b, k] * 255)[:, None, None]

    def _composed(self, layout: Layout, f: int) -> Tensor:
        K = self.side // f
        B = len(layout.label)
        whole = [self.pixels(layout, f, b, 0, 0, K, K) for b in range(B)]
        return torch.stack(whole)  # (B, 3, K, K)

    def _proxy(self, layout: Layout) -> Tensor:
        """The canvases at J x J, from the coarsest level of at least 2J pixels."""
        ample = [f for f in LEVELS if self.side // f >= 2 * self.proxy]
        if not ample:
            raise ValueError(f"side {self.side} has no proxy of {self.proxy} pixels")
        return glimpse.downsample(self._composed(layout, ample[-1]), self.proxy)

    def level(self, scale: float, size: int) -> int:
        """The coarsest level with a pixel for each of a window's ``size`` points."""
        wide = scale * self.side * (1 + 1e-6)
        return max(f for f in LEVELS if f == 1 or f * size <= wide)

    def _crop(self, layout: Layout, location, scale, size: int) -> Tensor:
        f = self.level(float(scale.detach().min()), size)
        shape = (self.side // f, self.side // f)
        read = partial(self.pixels, layout, f)
        o = glimpse.crop_local(read, location, scale, size, shape=shape)
        return faded(o) if self.soft else o

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Which objects ``(n,)`` some window at ``(B, T, 2)`` is centred on.

        Within a quarter of the patch's side, on both axes; canvases without an object
        are left out.
        """
        near = HIT * PATCH / self.side * 2 + glimpse.SLACK  # in [-1, 1] units
        away = (location - batch["centre"][:, :1]).abs()  # (B, T, 2)
        hit = (away.amax(dim=2) <= near).any(dim=1)  # (B,)
        return hit[batch["label"] < self.classes - 1]


def faded(o: Tensor) -> Tensor:
    """Crops ``(..., L, L)`` that fade to mid-grey towards their borders."""
    i = glimpse.pixel_centres(o.shape[-1], o.device, o.dtype)
    fade = torch.cos(i * torch.pi / 2)  # (L,)
    return 0.5 + (o - 0.5) * fade[:, None] * fade


def _overlap(left, top, width, height, x, y, side):
    """Where a square at (x, y) lies in a region, and which part of it that is."""
    x0, x1 = max(left, x), min(left + width, x + side)
    y0, y1 = max(top, y), min(top + height, y + side)
    if x0 >= x1 or y0 >= y1:
        return None
    every = slice(None)
    inside = every, slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    return inside, (every, slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def turned(tile: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight ways to lay a square ``(3, n, n)``, without a copy."""
    tile = tile.transpose(0, 2, 1) if turn & 4 else tile
    tile = tile[:, ::-1] if turn & 2 else tile
    return tile[:, :, ::-1] if turn & 1 else tile


def directions(u: np.ndarray) -> np.ndarray:
    """Points ``(..., 3)`` evenly on the unit sphere from uniforms ``(..., 2)``."""
    z, angle = 2 * u[..., 0] - 1, 2 * np.pi * u[..., 1]
    flat = np.sqrt(1 - z**2)
    return np.stack((flat * np.cos(angle), flat * np.sin(angle), z), axis=-1)


@cache
def mask(f: int) -> np.ndarray:
    """How much of a patch is seen, ``(PATCH / f, PATCH / f)``: a disc, soft-edged."""
    at = np.arange(PATCH) + 0.5 - PATCH / 2
    r = np.hypot(at[:, None], at)
    share = np.clip((PATCH / 2 - r) / EDGE, 0, 1)
    smooth = (1 - np.cos(np.pi * share)) / 2
    n = PATCH // f
    return smooth.reshape(n, f, n, f).mean(axis=(1, 3)).astype(np.float32)


@cache
def blur(f: int) -> np.ndarray:
    """Means of BLUR pixels, enlarged again: ``(PATCH / f, PATCH / STEP)``.

    Applied to both axes of a picture at the coarsest level.
    """
    unit = torch.eye(PATCH // STEP)[None]  # (1, 8, 8)
    coarse = F.avg_pool1d(unit, BLUR // STEP)  # (1, 8, 4)
    fine = F.interpolate(coarse, PATCH // f, mode="linear")  # (1, 8, PATCH / f)
    return fine[0].T.contiguous().numpy()
