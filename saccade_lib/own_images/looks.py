"""One image seen by a trained classifier: what it read, where, and what it said."""

import csv
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib import glimpse, pyramid
from saccade_lib.data import prepared
from saccade_lib.data.folders import printable
from saccade_lib.data.headers import Header, header

THUMBNAIL = 400  # pixels of the shorter side, at least where the image has them
COLUMNS = ("image", "glimpse", "x", "y", "scale", "x0", "y0", "x1", "y1")
COLUMNS += ("predicted", "probability")


@dataclass(frozen=True)
class Look:
    """What a classifier made of one image.

    Attributes:
        path: of the image.
        classes: names.
        after: probabilities after 0, 1, ..., T glimpses, ``(1 + T, N)``.
        location: ``(T, 2)`` in [-1, 1].
        scale: side of a window over side of the image.
        boxes: ``(T, 4)``, left, top, right, bottom in pixels of the image as seen.
        crops: ``(T, 3, L, L)``, as read.
    """

    path: Path
    classes: tuple[str, ...]
    after: Tensor
    location: Tensor
    scale: float
    boxes: Tensor
    crops: Tensor

    @property
    def probabilities(self) -> dict[str, float]:
        """Of the classes, after all glimpses."""
        return dict(zip(self.classes, self.after[-1].tolist(), strict=True))

    @property
    def predicted(self) -> str:
        return self.classes[int(self.after[-1].argmax())]


@contextmanager
def readable(path: str | Path, cache: Path | None = None) -> Iterator[Path]:
    """The file itself, or a copy whose windows can be read, which goes afterwards.

    Raises:
        PyramidError: it does not decode.
        OSError: it cannot be opened, or there is no room for a copy.
    """
    path = Path(path)
    about = header(path)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        yield prepared.copy(path, about, Path(folder), 4 * about.pixels)


def look(model, classes, path: str | Path, cache: Path | None = None) -> Look:
    """Look at one image, which is never held whole unless it is small."""
    cfg = model.config
    least = max(cfg.proxy, cfg.size)
    about = header(Path(path))
    if about.short < least:
        raise ValueError(
            f"{printable(path)} has {about.width} x {about.height} pixels; this "
            f"classifier needs {least} a side or more"
        )
    with readable(path, cache) as file, pyramid.Pyramids([file]) as store:
        seen = _seen(model, store)
    return _described(Path(path), classes, about, seen)


@torch.no_grad()
def _seen(model, store: pyramid.Pyramids):
    one, unturned = torch.tensor([0]), torch.tensor([False])
    c = store.proxies(one, model.config.proxy).clamp(0, 1)

    def crop(location: Tensor, scale: Tensor, size: int) -> Tensor:
        return prepared.windows(store, one, unturned, location, scale, size)

    return model.predict(c, batch={"crop": crop})


def _described(path: Path, classes, about: Header, seen) -> Look:
    height, width = about.height, about.width
    corners = glimpse.boxes(seen.location[0], seen.scale[0], height, width)
    most = torch.tensor([width, height, width, height])
    return Look(
        path=path,
        classes=tuple(classes),
        after=seen.after[0],
        location=seen.location[0],
        scale=float(seen.scale[0, 0]),
        boxes=corners.round().long().clamp(min=0).minimum(most),
        crops=seen.crops[0],
    )


def thumbnail(path: str | Path, cache: Path | None = None) -> Tensor:
    """A small copy of an image in its own aspect, ``(3, h, w)`` in [0, 1]."""
    with readable(path, cache) as file:
        opened = pyramid.open(file)
        short = [min(at.width, at.height) for at in opened.levels]
        ample = [k for k, side in enumerate(short) if side >= THUMBNAIL]
        level = max(ample, default=0)
        at = opened.levels[level]
        step = max(1, short[level] // THUMBNAIL)
        pixels = opened.region(level, 0, 0, at.width, at.height)
    return pixels[:, ::step, ::step].float() / 255


def write_log(looks: Iterable[Look], path: str | Path) -> Path:
    """A line a glimpse, and a line 0 an image for the proxy, as CSV.

    Columns: image; number of the glimpse; x, y, scale as everywhere in this book; its
    box in pixels of the image as seen; the class that is most probable after it, and
    how probable. Of the proxy, the place is the whole image. The file is whole or not
    there.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(COLUMNS)
            for of in looks:
                lines.writerows(_lines(of))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _lines(of: Look) -> Iterator[tuple]:
    for t, p in enumerate(of.after):
        place = "", "", 1, "", "", "", ""
        if t:
            x, y = of.location[t - 1].tolist()
            place = round(x, 6), round(y, 6), round(of.scale, 6)
            place += tuple(of.boxes[t - 1].tolist())
        k = int(p.argmax())
        yield str(of.path), t, *place, of.classes[k], round(float(p[k]), 6)
