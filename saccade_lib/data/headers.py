"""What the header of an image file says, and its pixels as RGB of 8 bits."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyvips

from saccade_lib import pyramid
from saccade_lib.pyramid.reading import PyramidError, errors, tiff_pages

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".svs")
LARGE = 2048  # side from which a file is read in place only if it has smaller levels
PLAIN = ("srgb", "rgb", "rgb16", "b-w", "grey16", "multiband")
TURNED = "turned as its camera noted (EXIF)"
DEEP = "16 bits, of which the upper 8 are read"


@dataclass(frozen=True)
class Header:
    """What is known of an image without its pixels.

    Attributes:
        width, height: pixels, as seen: after a turn that the file asks for.
        bytes: of the file.
        changes: what becomes of it on the way to RGB of 8 bits, a text each.
        in_place: whether windows are read from the file itself: a tiled TIFF in RGB,
            small or with smaller levels. A copy is made of any other.
        lossy: whether its pixels went through JPEG or WebP already.
    """

    width: int
    height: int
    bytes: int
    changes: tuple[str, ...]
    in_place: bool
    lossy: bool

    @property
    def short(self) -> int:
        """The shorter side."""
        return min(self.width, self.height)

    @property
    def pixels(self) -> int:
        return self.width * self.height


def header(path: Path, decode: bool = False) -> Header:
    """The header of a file; with ``decode`` its pixels are decoded once too.

    Raises:
        ValueError: it is empty, cut off, no image, or of a kind that is no picture.
        OSError: it cannot be opened.
    """
    size = os.stat(path).st_size
    _check_name(path)
    image = _opened(path)
    changes = _changes(path, image)
    turned = image.get_typeof("orientation") and image.get("orientation") > 4
    width, height = image.width, image.height
    tiled = "tile-width" in image.get_fields()
    in_place = tiled and not set(changes) - {DEEP}
    if in_place:
        levels = pyramid.open(path).levels
        in_place = len(levels) > 1 or max(width, height) < LARGE
    if decode:
        _decode(path, in_place)
    return Header(
        width=height if turned else width,
        height=width if turned else height,
        bytes=size,
        changes=changes,
        in_place=in_place,
        lossy=_lossy(image),
    )


def rgb(path: Path) -> pyvips.Image:
    """The image as it should be seen, lazily: three channels of 8 bits.

    Raises PyramidError where it cannot be opened.
    """
    image = _opened(path)
    changes = _changes(path, image)
    sequential = not any(change == TURNED for change in changes)
    with errors(path, "opening it"):
        image = _opened(path, access="sequential") if sequential else image.autorot()
        if image.interpretation not in PLAIN:
            profile = image.get_typeof("icc-profile-data")
            image = (
                image.icc_transform("srgb") if profile else image.colourspace("srgb")
            )
        if image.hasalpha():
            image = image.flatten()
        if image.format == "ushort":
            image = (image >> 8).cast("uchar")
        if image.bands == 1:
            image = image.bandjoin([image, image])
        return image.copy(interpretation="srgb")


def _opened(path: Path, **options) -> pyvips.Image:
    tiff = bool(tiff_pages(path))
    load = pyvips.Image.tiffload if tiff else pyvips.Image.new_from_file
    with errors(path, "opening it"):
        return load(str(path), fail_on="warning" if tiff else "error", **options)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PyramidError("its name is not UTF-8. Rename it") from None


def _changes(path: Path, image: pyvips.Image) -> tuple[str, ...]:
    """What `rgb` will change; raises PyramidError for what is no picture."""
    found, colours = [], image.bands - bool(image.hasalpha())
    if image.format not in ("uchar", "ushort"):
        raise PyramidError(
            f"its pixels are of type {image.format}; expected 8 or 16 bits, whose "
            "range is known. Save it with 8 bits"
        )
    space = image.interpretation
    if space in PLAIN and colours not in (1, 3):
        raise PyramidError(
            f"it has {colours} channels; expected 1 (grey) or 3 (RGB). Choose three"
        )
    if space in PLAIN and colours == 1:
        found.append("grey, copied into three channels")
    if space not in PLAIN:
        found.append(f"{space.upper()}, turned into sRGB")
    if image.hasalpha():
        found.append("transparent, laid on black")
    if image.format == "ushort":
        found.append(DEEP)
    if image.get_typeof("orientation") and image.get("orientation") > 1:
        found.append(TURNED)
    if _stack(path, image):
        found.append("several pages, of which the first is read")
    return tuple(found)


def _stack(path: Path, image: pyvips.Image) -> bool:
    """Whether there are further pages of the first's size: a stack, no pyramid."""
    if not image.get_typeof("n-pages") or image.get("n-pages") < 2:
        return False
    pages = tiff_pages(path)
    wide, high = pyramid.reading.WIDTH, pyramid.reading.HEIGHT
    sizes = [(page.get(wide), page.get(high)) for page in pages]
    return not pages or sizes.count(sizes[0]) > 1


def _lossy(image: pyvips.Image) -> bool:
    loader = image.get("vips-loader") if image.get_typeof("vips-loader") else ""
    return loader.startswith(("jpeg", "webp"))


def _decode(path: Path, in_place: bool) -> None:
    """Decode a file from top to bottom, or the last tile of each level."""
    if not in_place:
        image = rgb(path)
        try:
            image.avg()
        except pyvips.Error as error:
            raise PyramidError(
                f"{path} does not decode to its end: it is cut off or damaged. Make it "
                "again"
            ) from error
        return
    file = pyramid.open(path)
    for level, at in enumerate(file.levels):
        file.region(level, at.width - 1, at.height - 1, 1, 1)
