"""Glimpses of images on disk that are never loaded whole (libvips).

A *pyramid file* is a TIFF that holds an image in square tiles, compressed one by one,
and behind it copies of half, a quarter, an eighth ... of its side. To read a window,
libvips decodes only the tiles that it touches, at the level that it needs: what a
glimpse costs does not depend on the size of the image (Variational Saccading, 7.4).

    pyramid.write("large.tif", image)
    with pyramid.Pyramids(paths) as store:
        crops = store.crop(index, location, scale, size=32)  # (B, T, C, L, L)

Coordinates and shapes are those of `glimpse`. Any format that libvips reads can be
opened, but only tiled TIFF is read in parts: a PNG or JPEG is decoded whole at its
first region and kept, which is refused above `WHOLE` bytes of pixels.

Files are 8 bits deep. Of a 16-bit file the upper 8 bits are read. A file that is cut
off, or a tile that does not decode, is an error that names the file; wrong bytes inside
a tile are not noticed, for a TIFF has no sums. Reads run on the
threads that ask for them, and libvips lets go of Python's lock while it decodes; its
own threads are of use only to `write`, so set ``VIPS_CONCURRENCY=1`` where several
processes read.
"""

from saccade_lib.pyramid.batches import Pyramids, prefetch
from saccade_lib.pyramid.reading import WHOLE, Pyramid, PyramidError, open
from saccade_lib.pyramid.windows import Level
from saccade_lib.pyramid.writing import TILE, write

__all__ = ["TILE", "WHOLE", "Level", "Pyramid", "PyramidError", "Pyramids"]
__all__ += ["open", "prefetch", "write"]
