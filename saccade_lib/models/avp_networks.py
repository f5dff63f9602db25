"""The three networks that can be g (`avp`): from images and places to features.

Each has ``forward(images, places)``, features ``(B, F)`` after a look at all places;
``in_training``, features ``(B, R, F)`` after R numbers t of them; and ``tell``, logits.

The set network's ``content`` of a patch depends on neither its place nor other patches.
What an image's patches give is computed once, and kept.

Letters: B images, C channels, T glimpses at most, L places, S x S pixels of a glimpse,
K labels, A attributes, F features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib.design import observe

if TYPE_CHECKING:
    from saccade_lib.models.avp import Config


class Outputs(nn.Module):
    """Logits of the K labels and of the A attributes, from features."""

    def __init__(self, features: int, config: Config):
        super().__init__()
        self.drop = nn.Dropout(config.dropout)
        self.label = nn.Linear(features, config.classes)
        self.attributes = None
        if config.attributes:
            self.attributes = nn.Linear(features, config.attributes)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = self.drop(hidden)
        if self.attributes is None or not self.training:
            return self.label(hidden), None
        return self.label(hidden), self.attributes(hidden)


def distinct(places: Tensor) -> Tensor:
    """Whether a place did not come before in its row, ``(B, t)`` bool."""
    same = places[:, :, None] == places[:, None, :]  # (B, t, t)
    return ~same.tril(diagonal=-1).any(dim=2)


# --- the set network ------------------------------------------------------------------


class SetNetwork(nn.Module):
    """head(mean of e(patch, place), number of places)."""

    def __init__(self, config: Config):
        super().__init__()
        self.grid = config.grid()
        self.what = patch_reader(config)
        self.where = nn.Embedding(self.grid.L, config.features)
        self.count = nn.Embedding(config.glimpses, config.features)
        self.mix = nn.Linear(config.features, config.features, bias=False)
        self.tell = Outputs(config.features, config)
        nn.init.normal_(self.where.weight, std=0.5)

    def content(self, patches: Tensor) -> Tensor:
        """Features ``(..., F)`` of patches ``(..., C, S, S)``, wherever they lie."""
        return self.what(patches.flatten(0, -4)).view(*patches.shape[:-3], -1)

    def embed(self, content: Tensor, places: Tensor) -> Tensor:
        """e(patch, place), ``(..., F)``."""
        return F.relu(content + self.where(places))

    def head(self, total: Tensor, count: Tensor) -> Tensor:
        """Hidden ``(..., F)`` from the sum of e over ``count`` different places."""
        mean = total / count[..., None]
        return F.relu(self.mix(mean) + self.count(count - 1))

    def summed(self, images: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """e of each place, 0 where it came before ``(B, t, F)``; which count (B, t)."""
        e = self.embed(self.content(self.grid.patches(images, places)), places)
        new = distinct(places)
        return e * new[..., None], new

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        # In one order, whatever the order of the glimpses: sums are equal to the bit.
        e, new = self.summed(images, places.sort(dim=1).values)
        total = torch.zeros_like(e[:, 0])
        for t in range(e.shape[1]):
            total = total + e[:, t]
        return self.head(total, new.sum(dim=1))

    def in_training(self, images: Tensor, places: Tensor) -> Tensor:
        """After 1, 2, ... T glimpses, ``(B, T, F)``."""
        e, new = self.summed(images, places)
        return self.head(e.cumsum(dim=1), new.cumsum(dim=1))


def patch_reader(config: Config) -> nn.Sequential:
    """Convolutions and pooling until 4 x 4 places are left, then a dense layer."""
    layers, channels, side, width = [], config.channels, config.size, config.width
    while side > 4:
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        channels, side, width = width, side // 2, 2 * width
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * side**2, config.features)
    )


# --- networks on the masked image -----------------------------------------------------


class OnMasked(nn.Module):
    """A network on the C channels of the masked image, and the mask."""

    def __init__(self, config: Config):
        super().__init__()
        self.register_buffer("views", config.grid().views, persistent=False)
        self.body, features = self.made(config)
        self.tell = Outputs(features, config)

    def made(self, config: Config) -> tuple[nn.Module, int]:
        """The network up to its features, and how many these are."""
        raise NotImplementedError

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        return self.body(observe(images, self.views, places))

    def in_training(self, images: Tensor, places: Tensor) -> Tensor:
        """After t glimpses, t drawn for each image: ``(B, 1, F)``."""
        B, T = places.shape
        t = torch.randint(1, T + 1, (B, 1), device=places.device)
        # The first place again, in the stead of those that are not seen.
        seen = torch.where(torch.arange(T, device=t.device) < t, places, places[:, :1])
        return self(images, seen)[:, None]


class SmallCnn(OnMasked):
    """Four times two 3 x 3 convolutions, the first of each with stride 2."""

    def made(self, config: Config) -> tuple[nn.Module, int]:
        layers, channels = [], config.channels + 1
        for width in (config.width * 2**k for k in range(4)):
            for stride in (2, 1):
                layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False)]
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers), channels


class DenseNet121(OnMasked):
    """torchvision's DenseNet-121, untrained, with the mask as a further channel."""

    def made(self, config: Config) -> tuple[nn.Module, int]:
        from saccade_lib._compat import torchvision  # takes a second to import

        net = torchvision.models.densenet121(weights=None)
        net.features.conv0 = with_mask(net.features.conv0, config.channels)
        features = net.classifier.in_features
        net.classifier = nn.Identity()
        return net, features


def with_mask(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A first convolution that reads one channel more, with filters of zeros for it.

    Before training the mask changes nothing: pretrained weights begin as they are.
    """
    wider = nn.Conv2d(
        channels + 1,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        bias=False,
    )
    with torch.no_grad():
        wider.weight[:, :channels] = conv.weight[:, :channels]
        wider.weight[:, channels:] = 0
    return wider


NETWORKS = {"set": SetNetwork, "cnn": SmallCnn, "densenet": DenseNet121}
