"""A small folder of made images whose class only their detail shows.

Each is a textured sheet with round spots. One spot carries a fine grain, whose
direction is the class; the others are plain, of the same mean. A small copy of the
sheet shows where the spots are, and at most a trace of which has a grain, but not which
way it runs. Sizes
differ, and so do the formats: PNG, JPEG, tiled pyramidal TIFF, and a TIFF laid out like
a whole-slide scan (SVS). Images are functions of (seed, number).
"""

from pathlib import Path

import numpy as np
import pyvips

from saccade_lib import pyramid

CLASSES = ("across", "down", "rising", "falling")
VERSION = 1  # of the pictures
SPOT = 56  # diameter, pixels
PERIOD = 5  # of the grain, pixels
FORMATS = (".png", ".jpg", ".tif", ".svs")
APERIO = "Aperio Image Library\r\n{} x {} (256x256) |AppMag = 20|MPP = 0.5"


def image(label: int, number: int, side: int = 384, spots: int = 3, seed: int = 0):
    """A sheet ``(H, W, 3)``, uint8, and the centre (x, y) of its grain, pixels."""
    draw = np.random.default_rng((seed, number))
    H, W = (side + 32 * draw.integers(-2, 3, 2)).tolist()
    coarse = draw.random((H // 32 + 2, W // 32 + 2), dtype=np.float32)
    ground = coarse.repeat(32, axis=0).repeat(32, axis=1)[:H, :W]
    ground = 0.62 + 0.08 * ground + 0.05 * draw.standard_normal((H, W), np.float32)
    sheet = ground[..., None] * np.array([1.0, 0.92, 0.97], np.float32)
    colour = np.array([0.62, 0.36, 0.60]) + 0.06 * draw.random(3)
    centres = _apart(draw, H, W, spots)
    for k, (left, top) in enumerate(centres):
        y, x = np.mgrid[top : top + SPOT, left : left + SPOT]
        round_ = np.hypot(x - left - SPOT / 2, y - top - SPOT / 2) < SPOT / 2
        tone = 0.05 * draw.standard_normal((SPOT, SPOT))
        if k == 0:
            tone = tone + 0.3 * _grain(label, x, y, draw.random())
        here = sheet[top : top + SPOT, left : left + SPOT]
        here[round_] = (colour + tone[..., None])[round_]
    centre = centres[0][0] + SPOT / 2, centres[0][1] + SPOT / 2
    return (255 * sheet.clip(0, 1)).round().astype(np.uint8), centre


def _grain(label: int, x, y, phase: float):
    """Stripes of mean 0 that run in the direction of the class."""
    along = (y, x, x + y, x - y)[label] / (1 if label < 2 else 2**0.5)
    return np.sign(np.sin(2 * np.pi * (along / PERIOD + phase)))


def _apart(draw, H: int, W: int, count: int) -> list[tuple[int, int]]:
    """Left and top of spots that lie inside and do not overlap."""
    found: list[tuple[int, int]] = []
    while len(found) < count:
        x, y = (int(draw.integers(0, n - SPOT)) for n in (W, H))
        if all(np.hypot(x - a, y - b) > 1.2 * SPOT for a, b in found):
            found.append((x, y))
    return found


def write(
    folder: str | Path,
    count: int = 60,
    side: int = 384,
    classes: int = 4,
    formats: tuple[str, ...] = FORMATS,
    seed: int = 0,
) -> Path:
    """``count`` images a class in ``folder/CLASS/sheetNNN.*``, formats in turn."""
    folder = Path(folder)
    for label, name in enumerate(CLASSES[:classes]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            number = label * count + k
            pixels, _ = image(label, number, side, seed=seed)
            end = formats[k % len(formats)]
            save(folder / name / f"sheet{number:03}{end}", pixels)
    return folder


def save(path: Path, pixels: np.ndarray) -> None:
    """An array ``(H, W, 3)`` in the format that the ending names; lossless but JPEG."""
    if path.suffix == ".tif":
        pyramid.write(path, pixels, compression="deflate")
        return
    H, W, _ = pixels.shape
    data = np.ascontiguousarray(pixels)
    image = pyvips.Image.new_from_memory(data.data, W, H, 3, "uchar")
    image = image.copy(interpretation="srgb")
    if path.suffix == ".svs":
        save_slide(path, image)
    elif path.suffix == ".png":
        image.pngsave(str(path), compression=1)
    else:
        image.jpegsave(str(path), Q=95)


def save_slide(path: Path, image: pyvips.Image) -> None:
    """A file laid out like Aperio's SVS: a tiled page, a thumbnail in strips, and tiled
    pages of a quarter, a sixteenth ... of the side.

    libvips writes pages of one kind only, so that the file is put together by tifffile.
    """
    import tifffile

    full = image.numpy()
    words = APERIO.format(image.width, image.height)
    levels = [full]
    while min(levels[-1].shape[:2]) >= 256:
        h, w = (n // 4 * 4 for n in levels[-1].shape[:2])
        blocks = levels[-1][:h, :w].reshape(h // 4, 4, w // 4, 4, 3)
        levels.append(blocks.mean(axis=(1, 3)).round().astype(np.uint8))
    thumbnail = full[:: max(2, len(full) // 256), :: max(2, full.shape[1] // 256)]
    tiles = {"photometric": "rgb", "tile": (256, 256), "compression": "zlib"}
    with tifffile.TiffWriter(path) as file:
        file.write(full, description=words, **tiles)
        file.write(
            np.ascontiguousarray(thumbnail),
            photometric="rgb",
            description=words,
            compression="zlib",
        )
        for level in levels[1:]:
            file.write(level, description=words, **tiles)
