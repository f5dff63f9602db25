"""Pyramid files, written whole or not at all, from images that may never be whole."""

import os
import secrets
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyvips
import torch
from torch import Tensor

from saccade_lib import glimpse
from saccade_lib.pyramid.reading import (
    PyramidError,
    errors,
    first_line,
    load,
    tiff_pages,
)

TILE = 256  # side of a tile, pixels
COMPRESSIONS = {
    "jpeg": {"compression": "jpeg"},
    "webp": {"compression": "webp"},
    "deflate": {"compression": "deflate", "predictor": "horizontal"},
    "none": {"compression": "none"},
}


def write(
    path: str | Path,
    source: "np.ndarray | Tensor | str | Path | pyvips.Image | Iterable[np.ndarray]",
    size: tuple[int, int] | None = None,
    compression: str = "jpeg",
    quality: int = 85,
) -> Path:
    """Write a tiled pyramid TIFF, whole or not at all.

    Args:
        path: of the new file; an older one is replaced at the end, at once.
        source: a tensor ``(C, H, W)``, uint8 or floats in [0, 1]; an array ``(H, W)``
            or ``(H, W, C)``, uint8; a file that libvips reads, alpha laid on black; an
            image of libvips as it is, 1 or 3 channels of 8 bits; or an iterable of such
            arrays, strips of rows or tiles, from left to right and top to bottom, which
            may be larger than memory.
        size: (H, W) of the image that an iterable gives.
        compression: "jpeg" (photographs; lossy), "webp" (smaller, slower; lossy),
            "deflate" (lossless) or "none".
        quality: of jpeg and webp, 1 to 100.

    Raises:
        ValueError: a source or setting that cannot be written.
        FileNotFoundError: no such source, or no folder to write to.
        OSError: the disk takes no more; nothing is left behind.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write to")
    save = _settings(compression, quality)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    stream = None
    try:
        if isinstance(source, np.ndarray | Tensor):
            image = _in_memory(source)
        elif isinstance(source, str | Path):
            image = _from_file(Path(source))
        elif isinstance(source, pyvips.Image):
            image = source
        else:
            stream = _Stream(source, size)
            image = stream.image()
        image.tiffsave(str(part), **save)
        if stream:
            stream.finish()
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except pyvips.Error as error:
        if stream and stream.error:
            raise stream.error from None
        _explain_write(path, source, error)
    finally:
        part.unlink(missing_ok=True)
    return path


def _settings(compression: str, quality: int) -> dict:
    if compression not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        why = " (the libvips that pip installs cannot write it)"
        why = why if compression == "zstd" else ""
        raise ValueError(f"no compression {compression!r}{why}: choose one of {known}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    lossy = {"Q": quality} if compression in ("jpeg", "webp") else {}
    tiles = {"tile": True, "tile_width": TILE, "tile_height": TILE}
    tiles |= {"pyramid": True, "bigtiff": True}
    return tiles | COMPRESSIONS[compression] | lossy


def _explain_write(path: Path, source, error: pyvips.Error) -> None:
    lazy = isinstance(source, str | Path | pyvips.Image)  # decoded while it is written
    if lazy and "write" not in str(error).lower():
        what = "the image" if isinstance(source, pyvips.Image) else source
        raise PyramidError(f"{what} cannot be read: {first_line(error)}") from error
    raise OSError(
        f"could not write {path} ({first_line(error)}); nothing was left behind. Free "
        "some disk space, also for temporary files"
    ) from error


def _in_memory(source: np.ndarray | Tensor) -> pyvips.Image:
    if isinstance(source, Tensor):
        if source.dim() != 3:
            raise ValueError(f"expected a tensor (C, H, W), got {tuple(source.shape)}")
        if source.is_floating_point():
            source = glimpse.checked(source[None], len(source))[0].mul(255).round()
            source = source.to(torch.uint8)
        source = source.detach().cpu().permute(1, 2, 0).numpy()  # (H, W, C)
    source = _checked(source)
    H, W, C = source.shape
    data = np.ascontiguousarray(source)
    return pyvips.Image.new_from_memory(data.data, W, H, C, "uchar").copy(
        interpretation="srgb" if C == 3 else "b-w"
    )


def _checked(array: np.ndarray) -> np.ndarray:
    """An array as uint8 ``(H, W, C)``."""
    array = array[..., None] if array.ndim == 2 else array
    good = array.ndim == 3 and array.shape[2] in (1, 3) and array.size
    if not good or array.dtype != np.uint8:
        raise ValueError(
            "expected uint8 pixels (H, W), (H, W, 1) or (H, W, 3), got "
            f"{array.dtype} of shape {array.shape}"
        )
    return array


def _from_file(path: Path) -> pyvips.Image:
    tiff = bool(tiff_pages(path))
    with errors(path, "reading it"):
        return load(path, tiff, flatten=True, access="sequential")


class _Stream:
    """An image that is never whole: a PNG, stored plain, made while libvips reads it.

    libvips takes streams only in formats of its own reading; of those, an uncompressed
    PNG is the simplest to write.
    """

    def __init__(self, pieces: Iterable, size: tuple[int, int] | None):
        if size is None or min(size) < 1:
            raise ValueError(f"pass the size (H, W) of the whole image, not {size}")
        self.error: Exception | None = None
        self._height, self._width = size
        self._bytes = self._png(iter(pieces))
        self._left = memoryview(b"")

    def image(self) -> pyvips.Image:
        source = pyvips.SourceCustom()
        source.on_read(self._read)
        options = {"access": "sequential", "fail_on": "truncated", "unlimited": True}
        return pyvips.Image.new_from_source(source, "", **options)

    def finish(self) -> None:
        """Raise what went wrong in making the pieces, or if some are left over."""
        while not self.error and self._read(2**16):
            pass
        if self.error:
            raise self.error

    def _read(self, n: int) -> bytes:
        try:
            if not self._left:
                self._left = memoryview(next(self._bytes, b""))
        except Exception as error:  # no exception may pass through libvips
            self.error = error
            return b""
        taken, self._left = bytes(self._left[:n]), self._left[n:]
        return taken

    def _png(self, pieces: Iterator[np.ndarray]) -> Iterator[bytes]:
        strips = self._strips(pieces)
        strip = next(strips)
        colour = 2 if strip.shape[2] == 3 else 0
        size = struct.pack(">IIBBBBB", self._width, self._height, 8, colour, 0, 0, 0)
        yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size)
        pack = zlib.compressobj(0)
        while strip is not None:
            rows = strip.reshape(len(strip), -1)
            lines = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)
            lines[:, 1:] = rows  # each line opens with its filter, 0
            yield _chunk(b"IDAT", pack.compress(lines.data))
            strip = next(strips, None)
        yield _chunk(b"IDAT", pack.flush()) + _chunk(b"IEND", b"")

    def _strips(self, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Pieces joined to full rows ``(h, W, C)``, exactly H of them."""
        beside, done, across, like = [], 0, 0, None
        for piece in map(_checked, pieces):
            if beside and len(piece) != len(beside[0]):
                raise ValueError(
                    f"a tile of {len(piece)} rows beside one of {len(beside[0])}"
                )
            like = like or piece.shape[2]
            beside, across = [*beside, piece], across + piece.shape[1]
            if across < self._width and done + len(piece) <= self._height:
                continue
            done += len(piece)
            if across > self._width or done > self._height or piece.shape[2] != like:
                raise ValueError(
                    f"pieces of {across} x {done} pixels, {piece.shape[2]} channels, "
                    f"do not fit into {self._width} x {self._height} with {like}"
                )
            yield np.concatenate(beside, axis=1)
            beside, across = [], 0
        if beside or done < self._height:
            raise ValueError(f"the pieces end after {done} of {self._height} rows")


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
    return struct.pack(">I", len(data)) + kind + data + crc
