"""EfficientNet-B0 (Tan and Le 2019), as TNet uses it on satellite images (table 5).

TNet's authors call their backbone EfficientNet-B0 with another last layer; their table
5 prints 112 channels for blocks 13 to 15, where B0 has 192. With 192 the counts come
out, so 192 it is. Built here, and not taken from torchvision, because these counts, and
the map that the location module reads, are what the chapter is about; a test holds it
equal to torchvision's, layer by layer.

Letters: B images, C channels, H x W pixels, F features of the vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib.models.bagnet import scaled
from saccade_lib.models.baselines import Classifier
from saccade_lib.session import one_of


class Stage(NamedTuple):
    """Equal blocks in a row; the first one has the stride."""

    expansion: int
    kernel: int
    channels: int
    stride: int
    blocks: int


STAGES = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 2, 3),  # the location module reads its output
    Stage(6, 5, 112, 1, 3),
    Stage(6, 5, 192, 2, 4),
    Stage(6, 3, 320, 1, 1),
)
STEM, VECTOR, MAPPED = 32, 1280, 4  # channels; F; stages before the map


@dataclass(frozen=True)
class Config:
    """EfficientNet-B0 on the whole image.

    Attributes:
        classes: number of classes.
        channels: C.
        width: factor on all numbers of channels; 1 is B0's.
        blocks: ``"full"``; or ``"small"``, one block a stage (ours).
        dropout: probability to drop a feature before the classifier.
        depth_drop: probability to skip the last residual block in training; it grows
            from 0 block by block.
    """

    classes: int
    channels: int = 3
    width: float = 1.0
    blocks: str = "full"
    dropout: float = 0.0
    depth_drop: float = 0.0


class SqueezeExcite(nn.Module):
    """A factor for each channel, from the means of all: one multiplication an element.

    Eq. 11 does not count these; with them nearly all printed numbers come out.
    """

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * torch.sigmoid(self.excite(F.silu(self.squeeze(mean))))


def convolve(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution without bias, padded to keep the size, then normalisation."""
    return [
        nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs),
    ]


class MBConv(nn.Module):
    """Widen, convolve each channel by itself, rescale, narrow (table 3).

    Attributes:
        drop: probability to skip the block in training, image by image.
    """

    def __init__(self, inputs: int, stage: Stage, outputs: int, stride: int):
        super().__init__()
        hidden = inputs * stage.expansion
        layers = []
        if stage.expansion > 1:
            layers += [*convolve(inputs, hidden, 1), nn.SiLU(inplace=True)]
        layers += convolve(hidden, hidden, stage.kernel, stride, hidden)
        layers += [nn.SiLU(inplace=True)]
        layers += [SqueezeExcite(hidden, max(1, inputs // 4))]
        layers += convolve(hidden, outputs, 1)
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs
        self.drop = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if not self.residual:
            return y
        if self.training and self.drop:
            keep = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop
            y = y * keep / (1 - self.drop)
        return x + y


class EfficientNet(nn.Module):
    """Table 5: an image in [-1, 1] to a map for *where* and a vector for *what*.

    Attributes:
        map_channels: of the map: 14 x 14 for 224 pixels.
        features: F.
    """

    def __init__(
        self,
        channels: int = 3,
        width: float = 1.0,
        blocks: str = "full",
        depth_drop: float = 0.0,
    ):
        super().__init__()
        one_of("blocks", blocks, ("full", "small"))
        inputs = scaled(STEM, width)
        stem = convolve(channels, inputs, 3, 2)
        self.stem = nn.Sequential(*stem, nn.SiLU(inplace=True))
        stages = []
        for stage in STAGES:
            outputs = scaled(stage.channels, width)
            built = []
            for number in range(stage.blocks if blocks == "full" else 1):
                stride = stage.stride if number == 0 else 1
                built.append(MBConv(inputs, stage, outputs, stride))
                inputs = outputs
            stages.append(nn.Sequential(*built))
        self.stages = nn.ModuleList(stages)
        self.features = scaled(VECTOR, width)
        last = convolve(inputs, self.features, 1)
        self.last = nn.Sequential(*last, nn.SiLU(inplace=True))
        self.map_channels = scaled(STAGES[MAPPED - 1].channels, width)
        every = [block for stage in stages for block in stage]
        for number, block in enumerate(every):
            block.drop = depth_drop * number / max(1, len(every) - 1)
        initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)`` to a map ``(B, M, h, w)`` and a vector ``(B, F)``."""
        x = self.stem(x)
        for stage in self.stages[:MAPPED]:
            x = stage(x)
        found = x  # (B, M, h, w)
        for stage in self.stages[MAPPED:]:
            x = stage(x)
        return found, self.last(x).mean(dim=(2, 3))  # (B, F)

    def chain(self) -> Iterator[tuple[int, int, int]]:
        """Kernel, stride and padding of the layers that widen what is seen, in order.

        The first convolution, then the middle one of each block.
        """
        yield 3, 2, 1
        for stage, built in zip(STAGES, self.stages, strict=True):
            for number in range(len(built)):
                stride = stage.stride if number == 0 else 1
                yield stage.kernel, stride, stage.kernel // 2


class EfficientNetB0(Classifier):
    """The satellite baseline: B0 on the whole image, then one layer."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        c = config
        self.body = EfficientNet(c.channels, c.width, c.blocks, c.depth_drop)
        self.dropout = nn.Dropout(c.dropout)
        self.classify = nn.Linear(self.body.features, c.classes)
        initialise(self.classify)

    def forward(self, x: Tensor) -> Tensor:
        vector = self.dropout(self.body(2 * x - 1)[1])  # (B, F)
        return self.classify(vector)  # (B, classes)


@torch.no_grad()
def initialise(net: nn.Module) -> None:
    """As EfficientNet: variance 2 / fan-out, and 1 / (3 fan-out) of dense layers."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -1, 1).mul_(module.out_features**-0.5)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
