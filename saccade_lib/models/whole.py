"""Reading everything: the whole image at one size, or all windows that tile it.

What methods that choose are measured against. All read with the crop network of
`variational_saccading`, whose last layer is a maximum over places, and classify with
the same two dense layers: of one image, or of the sum over windows, as in the
144-crop baseline of Variational Saccading (section 4.1).

Letters: B images, C channels, S x S pixels, N windows, L x L pixels of each as read.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saccade_lib import glimpse
from saccade_lib.models.baselines import Classifier
from saccade_lib.models.variational_saccading import CropNet


@dataclass(frozen=True)
class Config:
    """A classifier of whole images.

    Attributes:
        classes: number of classes.
        channels: C.
        side: to which the image is shrunk first, antialiased; 0 reads it as it is.
        features: F, width of what is read.
        width: channels of the first convolution.
    """

    classes: int
    channels: int = 1
    side: int = 0
    features: int = 128
    width: int = 16

    def __post_init__(self):
        if self.side % 2:
            raise ValueError(f"side must be even, got {self.side}")


@dataclass(frozen=True)
class TilesConfig:
    """A classifier of all windows.

    Attributes:
        classes, channels, features, width: as in `Config`.
        size: L.
        scale: side of a window over that of the image.
    """

    classes: int
    channels: int = 1
    size: int = 24
    scale: float = 0.25
    features: int = 128
    width: int = 16

    def __post_init__(self):
        if self.size % 2:
            raise ValueError(f"size must be even, got {self.size}")
        tiling(self.scale)  # says what is wrong with it


def tiling(scale: float) -> Tensor:
    """Centres ``(N, 2)`` of the fewest windows that cover an image, row by row.

    Windows that do not fit a whole number of times overlap, all by the same share.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be in (0, 1], got {scale}")
    return glimpse.grid_locations(math.ceil(1 / scale - 1e-9), scale)


def dense(features: int, classes: int) -> nn.Sequential:
    """From features to classes, as `variational_saccading` classifies."""
    return nn.Sequential(
        nn.Linear(features, features),
        nn.BatchNorm1d(features),
        nn.ReLU(inplace=True),
        nn.Linear(features, classes),
    )


class Whole(Classifier):
    """Everything at once, at one size."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.read = CropNet(config.channels, config.features, config.width)
        self.classify = dense(config.features, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.config.side:
            x = glimpse.downsample(x, self.config.side)
        return self.classify(self.read(x))  # (B, classes)


class Tiles(Classifier):
    """Everything in pieces: y = f(sum_i g(x_i)) over the windows x_i."""

    def __init__(self, config: TilesConfig):
        super().__init__()
        self.config = config
        self.read = CropNet(config.channels, config.features, config.width)
        self.classify = dense(config.features, config.classes)
        self.register_buffer("places", tiling(config.scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        places = self.places.expand(len(x), -1, -1)  # (B, N, 2)
        o = glimpse.crop(x, places, self.config.scale, self.config.size)
        features = self.read(o.flatten(0, 1)).unflatten(0, o.shape[:2])  # (B, N, F)
        return self.classify(torch.sum(features, dim=1))  # (B, classes)
