"""A glimpse moved by hand: a piece of a page that needs no kernel and no network."""

import io
from base64 import b64encode
from dataclasses import dataclass, field
from importlib import resources
from string import Template

import torch
from PIL import Image
from torch import Tensor

from saccade_lib import glimpse, zoom

LARGEST = 1024  # pixels a side
PAINTED = 400  # pixels a side
SMALLEST_SCALE = 0.05  # where the slider ends
ROUNDING = 1e-3  # resampled images stand out of [0, 1] by less


@dataclass(frozen=True)
class Explorer:
    """What `explorer` returns; a notebook shows it as HTML."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def explorer(
    image: Tensor,
    start: tuple[float, float] = (0.0, 0.0),
    scale: float = 0.4,
    size: int = 24,
) -> Explorer:
    """Move a window over an image with three sliders, in the page or in a notebook.

    The browser cuts the crop by the rule of `glimpse.crop`, from the image rounded to
    8 bits. Put a static `plots.fixation_strip` below it for readers without JavaScript.

    Args:
        image: ``(C, H, W)``, C = 1 or 3, values in [0, 1], at most 1024 pixels a side.
        start: first centre (x, y) of the window; the sliders move in steps of 0.01.
        scale: first side of the window over side of the image, 0.05 to 1.
        size: L, side of the crop in pixels.

    Raises:
        ValueError: a wrong image, or a window that leaves it.
    """
    check_picture(image)
    if max(image.shape) > LARGEST:
        raise ValueError(
            f"image must have at most {LARGEST} pixels a side, got "
            f"{tuple(image.shape)}; the page carries all of it"
        )
    if scale < SMALLEST_SCALE:
        raise ValueError(f"scale must be at least {SMALLEST_SCALE}, got {scale}")
    image = image.detach().cpu()
    place = torch.tensor([[start]], dtype=torch.float32)  # (1, 1, 2)
    glimpse.crop(image[None], place, scale, size)  # refuses what is left to refuse
    values = {"x": start[0], "y": start[1], "s": scale, "size": size}
    return _widget("explorer.html", image, values)


def painter(
    image: Tensor,
    start: tuple[float, float] = (0.0, 0.0),
    cells: int = zoom.CODE_CELLS,
    sigma: float = zoom.CODE_SIGMA,
) -> Explorer:
    """Paint a saliency map over an image, and see what the sampler then reads.

    The browser computes `zoom.positions` with reflected borders, and reads points. Put
    a static figure near it for readers without JavaScript.

    Args:
        image: ``(C, H, W)``, C = 1 or 3, values in [0, 1], at most `PAINTED` pixels a
            side: every stroke reads all of it anew.
        start: (x, y) of the first stroke.
        cells: side of the map.
        sigma: of the kernel, in cells.
    """
    check_picture(image)
    if max(image.shape) > PAINTED:
        raise ValueError(
            f"image must have at most {PAINTED} pixels a side, got {tuple(image.shape)}"
        )
    values = {"x": start[0], "y": start[1], "cells": cells, "sigma": sigma}
    return _widget("painter.html", image.detach().cpu(), values)


def check_picture(image: Tensor, name: str = "image") -> None:
    """Raise a ValueError unless the image is (C, H, W), C = 1 or 3, in [0, 1]."""
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ValueError(
            f"{name} must be (C, H, W) with 1 or 3 channels, got "
            f"{tuple(image.shape)}; of a batch pass one image, as in images[0]"
        )
    if not (image.min() >= -ROUNDING and image.max() <= 1 + ROUNDING):
        raise ValueError(
            f"values of {name} must lie in [0, 1], got {image.min():.4g} to "
            f"{image.max():.4g}; divide bytes by 255"
        )


def _widget(page: str, image: Tensor, values: dict) -> Explorer:
    """A page of this package with its values, the image and the shared script in it."""
    files = resources.files("saccade_lib")
    text, shared = (
        files.joinpath(name).read_text("utf-8") for name in (page, "widget.js")
    )
    filled = Template(text).substitute(values, png=_png(image), shared=shared)
    return Explorer(filled)


def _png(image: Tensor) -> str:
    """The image as an 8-bit PNG in base64."""
    pixels = (
        (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    )  # (H, W, C)
    pixels = pixels[..., 0] if len(image) == 1 else pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return b64encode(file.getvalue()).decode()
