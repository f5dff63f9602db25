"""What the library computes in one go, written as loops: the other side of each ratio.

A test holds both sides equal, so that a benchmark compares like with like.
"""

from pathlib import Path

import pyvips
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.data import digits, gaze, gaze_drawing
from saccade_lib.data.digits import CANDIDATES, DIGITS, GLYPH, INK, PATCH, Canvases


def compose(stream: Canvases, start: int, stop: int) -> Tensor:
    """The canvases ``start`` to ``stop``, one after another, patch by patch."""
    return torch.stack([_canvas(stream, index) for index in range(start, stop)])


def _canvas(stream: Canvases, index: int) -> Tensor:
    D = DIGITS[stream.task]
    P = stream.clutter if stream.task in digits.CLUTTERED else 0
    seed = stream.seed if stream.split == "train" else 0
    n = D + 2 * CANDIDATES + 5 * P
    split = digits.SPLITS.index(stream.split)
    images = stream.glyphs()
    u = digits.uniforms(seed, split, torch.tensor([index]), n)[0].tolist()
    canvas = torch.zeros(stream.side, stream.side, dtype=torch.uint8)
    places = _places(stream, u[D : D + 2 * CANDIDATES])
    for k in range(D):
        glyph = images[int(u[k] * len(images))]
        _paste(canvas, _resized(glyph, stream.digit), *places[k])
    size = max(1, round(PATCH * stream.digit / GLYPH))
    inside = GLYPH - PATCH - 2 * INK + 1
    for k in range(P):
        which, x, y, left, top = u[D + 2 * CANDIDATES + 5 * k :][:5]
        glyph = images[int(which * len(images))]
        a, b = int(y * inside) + INK, int(x * inside) + INK
        patch = _resized(glyph[a : a + PATCH, b : b + PATCH], size)
        free = stream.side - size + 1
        _paste(canvas, patch, int(left * free), int(top * free))
    return canvas[None].float() / 255


def _places(stream: Canvases, u: list[float]) -> list[tuple[int, int]]:
    """Left and top of the first digit, and of the second where it is clear of it."""
    free = stream.side - stream.digit + 1
    tried = [(int(x * free), int(y * free)) for x, y in zip(u[::2], u[1::2])]  # noqa: B905
    left, top = tried[0]
    for x, y in tried:
        if max(abs(x - left), abs(y - top)) >= stream.digit:
            return [(left, top), (x, y)]
    return [(left, top), tuple(free - 1 if 2 * v < free else 0 for v in tried[0])]


def _resized(glyph: Tensor, size: int) -> Tensor:
    if glyph.shape[-1] == size:
        return glyph
    image = glyph[None, None].float()
    image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return image[0, 0].round().to(torch.uint8)


def _paste(canvas: Tensor, patch: Tensor, left: int, top: int) -> None:
    size = patch.shape[-1]
    part = canvas[top : top + size, left : left + size]
    torch.maximum(part, patch, out=part)


def crops(image: Tensor, location: Tensor, scale: float, size: int) -> Tensor:
    """T windows of B images, one `grid_sample` each: ``(B, T, C, L, L)``."""
    found = []
    for picture, places in zip(image, location, strict=True):
        for x, y in places.tolist():
            theta = torch.tensor([[[scale, 0.0, x], [0.0, scale, y]]])
            grid = F.affine_grid(theta, (1, 1, size, size), align_corners=False)
            found.append(F.grid_sample(picture[None], grid, align_corners=False)[0])
    return torch.stack(found).unflatten(0, location.shape[:2])


def attached(image: Tensor, location: Tensor, scale: float, size: int) -> Tensor:
    """T windows of B images in one call, with a gradient into every pixel."""
    B, T, _ = location.shape
    theta = torch.zeros(B * T, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = location.flatten(0, 1)
    shape = (B * T, image.shape[1], size, size)
    grid = F.affine_grid(theta, shape, align_corners=False).reshape(
        B, T * size, size, 2
    )
    tall = F.grid_sample(image, grid, align_corners=False)  # (B, C, T*L, L)
    return tall.unflatten(2, (T, size)).transpose(1, 2)


def save(image: Tensor, path: Path) -> None:
    """Write an image ``(C, H, W)`` as the format of the path's ending says."""
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0)
    pyvips.Image.new_from_array(pixels.numpy()).write_to_file(str(path))


def from_whole_files(paths: list[Path], location, scale, size: int) -> Tensor:
    """Crops ``(B, T, C, L, L)`` of files that are decoded whole, one after another."""
    crops = []
    for path, places in zip(paths, location, strict=True):
        pixels = pyvips.Image.new_from_file(str(path), access="sequential").numpy()
        image = torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1)
        crops.append(glimpse.crop(image[None] / 255, places[None], scale, size)[0])
    return torch.stack(crops)


def faces(stream: gaze.Faces, count: int) -> Tensor:
    """The first faces, one after another, with four points for each pixel."""
    drawn = []
    for index in range(count):
        scene = stream.scene(torch.tensor([index]))
        fine = gaze_drawing.draw(scene, 2 * stream.side)
        drawn.append(F.avg_pool2d(fine, 2))
    return torch.cat(drawn)
