"""One image on disk: its levels, its regions, and what can be wrong with its file."""

import io
import logging
import os
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips
import torch
from torch import Tensor

from saccade_lib import glimpse
from saccade_lib.pyramid.windows import Level, cut

WHOLE = 2**28  # bytes of pixels up to which an untiled file may be decoded whole

WIDTH, HEIGHT, TILE_WIDTH = 256, 257, 322  # tags of a TIFF page

# libvips would keep closed files open, and return an old image for a replaced file.
pyvips.cache_set_max(0)
# What matters of its warnings is raised as an error that names the file.
logging.getLogger("pyvips").setLevel(logging.ERROR)


class PyramidError(ValueError):
    """A file that cannot be read as asked; the message names it and says why."""


class Pyramid:
    """An image on disk, opened for reading; safe to share between threads and forks.

    Attributes:
        path: of the file.
        channels: C, 1 or 3.
        levels: from full size down; one for a file without smaller copies.
        tiled: whether parts can be read without decoding the whole.
    """

    def __init__(self, path: str | Path, whole: int = WHOLE):
        self.path = Path(path)
        self._whole = whole
        self._images: dict[int, pyvips.Image] = {}
        pages = tiff_pages(self.path)
        self._tiff = bool(pages)
        image = self._open(0)
        self.channels = image.bands
        self.tiled = "tile-width" in image.get_fields()
        self.levels = _levels(image.width, image.height, pages)
        HANDLES.add(self)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the full size."""
        return self.levels[0].height, self.levels[0].width

    def region(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> Tensor:
        """Pixels of a level as they are, uint8 ``(C, height, width)``.

        Raises:
            PyramidError: no such level, a region that leaves it, a file that cannot be
                decoded there, or an untiled one too large to be decoded whole.
        """
        if not 0 <= level < len(self.levels):
            last = len(self.levels) - 1
            raise PyramidError(f"{self.path} has the levels 0 to {last}, not {level}")
        at = self.levels[level]
        inside = 0 <= left < left + width <= at.width
        if not (inside and 0 <= top < top + height <= at.height):
            raise PyramidError(
                f"{self.path}: the region of {width} x {height} at ({left}, {top}) is "
                f"not inside level {level}, which has {at.width} x {at.height} pixels"
            )
        size = at.width * at.height * self.channels
        if not self.tiled and size > self._whole:
            raise PyramidError(
                f"{self.path} is not tiled: to read a part, all {size / 2**20:.0f} MiB "
                f"of its pixels would be decoded ({self._whole / 2**20:.0f} are "
                f"allowed). Make a pyramid, pyramid.write(NEW, {self.path.name!r}), or "
                "pass a larger `whole`"
            )
        what = f"level {level}, {width} x {height} at ({left}, {top})"
        with errors(self.path, what):
            image = self._images.get(level) or self._open(level)
            pixels = pyvips.Region.new(image).fetch(left, top, width, height)
        return _tensor(pixels, height, width, self.channels)

    def crop(
        self,
        location: Tensor,
        scale: Tensor | float,
        size: int,
        outside: str = "error",
    ) -> Tensor:
        """T windows ``(T, C, L, L)`` at ``(T, 2)``; otherwise as `Pyramids.crop`."""
        if torch.is_tensor(scale) and scale.dim():
            scale = scale[None]

        def read(_, level, *box):
            return self.region(level, *box)

        return cut([self], read, location[None], scale, size, outside, map)[0]

    def proxy(self, side: int) -> Tensor:
        """The whole image, antialiased, at ``(C, side, side)``: `glimpse.downsample`.

        Read from the smallest level that is twice as large; a file without levels is
        read once, from top to bottom, and never held whole.
        """
        if min(self.shape) < side:
            wide = f"{self.shape[1]} x {self.shape[0]}"
            raise PyramidError(f"{self.path}, {wide}, has no proxy of {side} pixels")
        ample = [k for k, at in enumerate(self.levels) if _short(at) >= 2 * side]
        level = max(ample, default=0)
        at = self.levels[level]
        factor = max(1, _short(at) // (4 * side))
        with errors(self.path, f"proxy of {side} pixels"):
            if self.tiled:
                image = self._images.get(level) or self._open(level)
            else:
                image = load(self.path, self._tiff, access="sequential")
            small = image.shrink(factor, factor) if factor > 1 else image
            box = (0, 0, small.width, small.height)
            pixels = pyvips.Region.new(small).fetch(*box)
        image = _tensor(pixels, small.height, small.width, self.channels)
        return glimpse.downsample(image[None].float() / 255, side)[0]

    def _open(self, level: int) -> pyvips.Image:
        with errors(self.path, "opening it"):
            page = {"page": self.levels[level].page} if level else {}
            self._images[level] = image = load(self.path, self._tiff, **page)
        return image

    def _start_anew(self) -> None:
        INHERITED.append(self._images)
        self._images = {}


def open(path: str | Path, whole: int = WHOLE) -> Pyramid:
    """Open an image for reading.

    Args:
        path: a pyramid, or any other file that libvips reads.
        whole: bytes of pixels up to which an untiled file may be decoded whole.

    Raises:
        FileNotFoundError: there is no such file.
        PyramidError: it is empty, cut off, no image, has an alpha channel, or neither
            one nor three channels of 8 or 16 bits.
    """
    return Pyramid(path, whole)


# --- libvips --------------------------------------------------------------------------


def load(path: Path, tiff: bool, flatten: bool = False, **options) -> pyvips.Image:
    """The file as a lazy image of 1 or 3 channels of 8 bits."""
    # In a TIFF, a tile that cannot be decoded is a warning to libvips, and black.
    strict = "warning" if tiff else "error"
    # By name, for a libvips with OpenSlide would take that for a whole-slide TIFF, and
    # know other levels and an alpha channel.
    opened = pyvips.Image.tiffload if tiff else pyvips.Image.new_from_file
    image = opened(str(path), fail_on=strict, **options)
    if image.hasalpha():
        if not flatten:
            raise PyramidError(
                f"{path} has an alpha channel: lay it on black with "
                f"pyramid.write(NEW, {path.name!r})"
            )
        image = image.flatten()
    if image.bands not in (1, 3) or image.format not in ("uchar", "ushort"):
        raise PyramidError(
            f"{path} has {image.bands} channels of type {image.format} "
            f"({image.interpretation}); expected 1 or 3 of 8 or 16 bits"
        )
    if image.format == "ushort":
        image = (image >> 8).cast("uchar")
    return image


def _tensor(pixels, height: int, width: int, channels: int) -> Tensor:
    image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
    return image.view(height, width, channels).permute(2, 0, 1).contiguous()


@contextmanager
def errors(path: Path, what: str) -> Iterator[None]:
    """Turn what libvips says into an error that names the file."""
    try:
        yield
    except pyvips.Error as error:
        raise PyramidError(
            f"{path} cannot be read ({what}): {first_line(error)}. It is cut off, "
            "damaged or no image: make it again"
        ) from error


def first_line(error: pyvips.Error) -> str:
    lines = [line.strip() for line in error.detail.splitlines() if line.strip()]
    return lines[0] if lines else error.message


def _short(level: Level) -> int:
    return min(level.width, level.height)


def _levels(width: int, height: int, pages: list[dict]) -> tuple[Level, ...]:
    """The pages that are the first at a whole fraction of its size, largest first."""
    levels = {1: Level(width, height, 1, 0)}
    for number, page in enumerate(pages[1:], start=1):
        w, h = page.get(WIDTH, 0), page.get(HEIGHT, 0)
        factor = max(1, round(width / max(w, 1)))
        off = max(abs(width / factor - w), abs(height / factor - h))  # rounding
        if factor > 1 and off < 1 and TILE_WIDTH in page:
            levels.setdefault(factor, Level(w, h, factor, number))
    return tuple(levels[factor] for factor in sorted(levels))


def tiff_pages(path: Path) -> list[dict[int, int]]:
    """Tags of each page of a TIFF; [] for another format.

    libtiff passes over pages that a cut-off file has lost, as if there had been fewer;
    so the chain of pages is followed here to its end.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise PyramidError(f"{path} is not a file")
    with path.open("rb") as file:
        head = file.read(16)
        if not head:
            raise PyramidError(f"{path} is empty")
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not order or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
            return []
        wide = b"+" in head[2:4]  # BigTIFF: 64-bit offsets
        try:
            return _chain(file, head, order, wide)
        except (struct.error, OverflowError, OSError):
            raise PyramidError(
                f"{path} is cut off or damaged: a page lies beyond its end. Make it "
                "again"
            ) from None


def _chain(file: io.BufferedReader, head: bytes, order: str, wide: bool) -> list[dict]:
    count, entry, offset = ("Q", "HHQ8s", "Q") if wide else ("H", "HHI4s", "I")
    integers = {3: "H", 4: "I", 16: "Q"}  # SHORT, LONG, LONG8

    def take(form: str) -> tuple:
        form = order + form
        return struct.unpack(form, file.read(struct.calcsize(form)))

    at = struct.unpack_from(order + offset, head, 8 if wide else 4)[0]
    seen, pages = set(), []
    while at:
        if at in seen:
            raise struct.error("the chain of pages is a ring")
        seen.add(at)
        file.seek(at)
        page, tags = {}, take(count)[0]
        if not tags:
            raise struct.error("zeros in place of a page")
        for _ in range(tags):
            tag, kind, _, value = take(entry)
            if kind in integers:
                page[tag] = struct.unpack_from(order + integers[kind], value)[0]
        pages.append(page)
        at = take(offset)[0]
    return pages


# A forked child shares its parent's open files, threads and locks in name only. It
# lets go of them without closing them, and opens its own.
HANDLES: weakref.WeakSet = weakref.WeakSet()
INHERITED: list = []


def _after_fork() -> None:
    for handle in list(HANDLES):
        handle._start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
