"""BagNet-77: a residual network that never sees more than 77 pixels a side at once.

Brendel and Bethge (2019) gave it its name: replace most 3x3 convolutions of a ResNet-50
by 1x1, and each place of the last map answers for a small patch, a "word" of the image.
TNet (Papadopoulos et al. 2021, tables 3 and 4) takes it, without normalisation, as the
feature extraction of its ImageNet model and, on the whole image, as its baseline.

Letters: B images, C channels, H x W pixels, F features of the vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib.models.baselines import Classifier
from saccade_lib.session import one_of

SLOPE = 0.2  # of the leaky ReLU; not in the paper, TensorFlow's default in its code


class Spec(NamedTuple):
    """A block of table 4: kernel, channels at width 1, stride, zero padding or not."""

    kernel: int
    channels: int
    stride: int = 1
    same: bool = True


FULL = (
    (Spec(3, 256, 2), Spec(3, 256), Spec(1, 256)),
    (Spec(3, 512, 2), Spec(3, 512), *[Spec(1, 512)] * 2),
    (Spec(3, 1024, 2, False), Spec(3, 1024), *[Spec(1, 1024)] * 4),
    (Spec(3, 2048, 1, False), Spec(3, 2048), Spec(1, 2048)),
)
SMALL = tuple(group[:3] for group in FULL)  # ours: one 1x1 block a group
BLOCKS = {"full": FULL, "small": SMALL}
STEM, VECTOR = 64, 512  # channels of the first convolution; F at width 1


@dataclass(frozen=True)
class Config:
    """BagNet-77 on the whole image.

    Attributes:
        classes: number of classes.
        channels: C.
        width: factor on all numbers of channels; 1 is the paper's.
        blocks: ``"full"``, the 16 of table 4; or ``"small"``, with one 1x1 block a
            group, 12 in all (ours).
        dropout: probability to drop a channel of the last map (0.625 in the paper).
        gain: factor on Xavier's initial weights of the feature extraction (ours).
    """

    classes: int
    channels: int = 3
    width: float = 1.0
    blocks: str = "full"
    dropout: float = 0.0
    gain: float = 1.0


class ConvBlock(nn.Module):
    """1x1, k x k, 1x1 beside a shortcut (table 3); the middle is a quarter as wide.

    The last activation follows the sum. A block without padding drops (k - 1) / 2
    pixels at each border; so does its shortcut.
    """

    def __init__(self, inputs: int, outputs: int, spec: Spec):
        super().__init__()
        middle, k = outputs // 4, spec.kernel
        padding = k // 2 if spec.same else 0
        self.conv1 = nn.Conv2d(inputs, middle, 1)
        self.conv2 = nn.Conv2d(middle, middle, k, spec.stride, padding)
        self.conv3 = nn.Conv2d(middle, outputs, 1)
        self.crop = 0 if spec.same else (k - 1) // 2
        self.stride = spec.stride
        self.shortcut = None
        if spec.stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(x), SLOPE, inplace=True)
        y = F.leaky_relu(self.conv2(y), SLOPE, inplace=True)
        if self.crop:
            x = F.pad(x, (-self.crop,) * 4)
        if self.shortcut is not None:
            # A strided 1x1 convolution, written out: oneDNN's own writes beyond its
            # memory in the backward pass for channels-last maps of 130 pixels.
            x = self.shortcut(x[..., :: self.stride, :: self.stride])
        return F.leaky_relu(self.conv3(y) + x, SLOPE, inplace=True)


class BagNet(nn.Module):
    """Table 4: an image in [-1, 1] to a map for *where* and a vector for *what*.

    Attributes:
        map_channels: of the map, taken behind the third group: 9 x 9 for 77 pixels,
            each place of which has seen 45.
        features: F.
    """

    def __init__(
        self,
        channels: int = 3,
        width: float = 1.0,
        blocks: str = "full",
        dropout: float = 0.0,
        gain: float = 1.0,
    ):
        super().__init__()
        one_of("blocks", blocks, tuple(BLOCKS))
        self.specs = BLOCKS[blocks]
        inputs = scaled(STEM, width)
        self.stem = nn.Conv2d(channels, inputs, 3)
        groups = []
        for group in self.specs:
            built = []
            for spec in group:
                outputs = scaled(spec.channels, width)
                built.append(ConvBlock(inputs, outputs, spec))
                inputs = outputs
            groups.append(nn.Sequential(*built))
        self.groups = nn.ModuleList(groups)
        self.features = scaled(VECTOR, width)
        self.last = nn.Conv2d(inputs, self.features, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.map_channels = scaled(self.specs[2][-1].channels, width)
        initialise(self, gain)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)`` to a map ``(B, M, h, w)`` and a vector ``(B, F)``."""
        x = F.leaky_relu(self.stem(x), SLOPE, inplace=True)
        for group in self.groups[:3]:
            x = group(x)
        found = x  # (B, M, h, w)
        x = F.leaky_relu(self.last(self.groups[3](x)), SLOPE, inplace=True)
        return found, self.dropout(x).mean(dim=(2, 3))  # (B, F)

    def chain(self) -> Iterator[tuple[int, int, int]]:
        """Kernel, stride and padding of the layers that widen what is seen, in order.

        The first convolution, then the middle one of each block.
        """
        yield 3, 1, 0
        for spec in (spec for group in self.specs for spec in group):
            yield spec.kernel, spec.stride, spec.kernel // 2 if spec.same else 0


class BagNet77(Classifier):
    """The fully convolutional baseline: BagNet on the whole image, then one layer."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        c = config
        self.body = BagNet(c.channels, c.width, c.blocks, c.dropout, c.gain)
        self.classify = nn.Linear(self.body.features, c.classes)
        initialise(self.classify)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.body(2 * x - 1)[1])  # (B, classes)


def scaled(channels: int, width: float) -> int:
    """A number of channels times a width that leaves it whole.

    Raises ValueError where it does not, or leaves less than 4 (a block's quarter).
    """
    made = channels * width
    if made < 4 or made != int(made):
        raise ValueError(
            f"width {width} makes {channels} channels {made:g}: use 1, 1/2, 1/4, ..."
        )
    return int(made)


@torch.no_grad()
def initialise(net: nn.Module, gain: float = 1.0) -> None:
    """Xavier's normal weights times a gain, biases zero (TNet, appendix B.2)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
