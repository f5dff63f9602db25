"""The augmentation that TNet was trained on, made of torchvision's transforms.

Papadopoulos et al. 2021, appendix B.2: a part of at least 85 % of the picture's area
with an aspect of 1/2 to 2; brought to the network's size by a method drawn at random,
never antialiased; mirrored or not; its brightness, saturation, hue and contrast changed
in one of four orders, or in none. Evaluation is a plain bilinear resize of the whole
picture, whatever its aspect.

torchvision has three of the eight methods of resizing: nearest, bilinear, bicubic.
Left out are area (torch has it, torchvision has not), Lanczos with three lobes (Pillow
has it, antialiased only), Lanczos with five, Gaussian, and Mitchell's cubic. What else
differs from TensorFlow's operators: torchvision draws the aspect evenly on a
logarithmic scale and gives up after ten tries (then: the middle of the picture);
contrast is about the mean of the grey picture, saturation is mixing with it.
"""

import importlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saccade_lib.data.files import CorruptData

AREA, ASPECT = (0.85, 1.0), (0.5, 2.0)  # of the part that is cut out

Picture = Path | np.ndarray  # a file, or uint8 (H, W, 3)


def read(picture: Picture) -> Tensor:
    """A picture in colour, uint8 ``(3, H, W)``.

    Raises CorruptData, with its name, for a file that does not decode.
    """
    if isinstance(picture, np.ndarray):
        return torch.from_numpy(picture.copy()).permute(2, 0, 1)
    try:
        with Image.open(picture) as image:
            pixels = np.array(image.convert("RGB"))
    except OSError as error:
        raise CorruptData(f"{picture} is not a whole picture: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


@cache
def augmentation(side: int):
    """Pictures ``(3, H, W)`` in [0, 1] to random ones of ``(3, side, side)``.

    Its draws come from torch's global generator.
    """
    v2 = _transforms()
    part = {"scale": AREA, "ratio": ASPECT, "antialias": False}
    resized = [
        v2.RandomResizedCrop(side, interpolation=how, **part)
        for how in map(v2.InterpolationMode, ("nearest-exact", "bilinear", "bicubic"))
    ]
    brightness = v2.Lambda(lambda x: x + (2 * torch.rand(()) - 1) * 32 / 255)
    saturation = v2.ColorJitter(saturation=(0.5, 1.5))
    hue = v2.ColorJitter(hue=0.2)
    contrast = v2.ColorJitter(contrast=(0.5, 1.5))
    # The orders of Inception's public code, whose names the paper's code takes over.
    orders = (
        (brightness, saturation, hue, contrast),
        (saturation, brightness, contrast, hue),
        (contrast, hue, brightness, saturation),
        (hue, saturation, contrast, brightness),
    )
    coloured = [v2.Compose([*steps, _inside]) for steps in orders]
    return v2.Compose(
        [
            v2.RandomChoice(resized),
            _inside,  # bicubic overshoots
            v2.RandomHorizontalFlip(),
            v2.RandomChoice([*coloured, v2.Identity()]),
        ]
    )


def _transforms():
    """torchvision's transforms, imported where they are used: it takes a second."""
    from saccade_lib._compat import torchvision

    return importlib.import_module(f"{torchvision.__name__}.transforms.v2")


def _inside(x: Tensor) -> Tensor:
    return x.clamp(0, 1)


def plain(x: Tensor, side: int) -> Tensor:
    """``(3, H, W)`` at ``(3, side, side)``: bilinear, not antialiased."""
    v2 = _transforms()
    return v2.functional.resize(x, [side, side], antialias=False)


def prepared(picture: Picture, key: tuple[int, ...], side: int, train: bool) -> Tensor:
    """A picture as the network gets it, ``(3, side, side)`` in [0, 1].

    Args:
        key: what every draw of the augmentation is a function of.
    """
    x = read(picture).float() / 255
    if not train:
        return plain(x, side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, "u8")[0]))
        return augmentation(side)(x)
