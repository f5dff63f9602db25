"""What a saccading model is measured against.

ResNet-18 on the whole image, with the dense layers of the Variational Saccading
baseline (section 4.1), at torchvision's width for the paper's cost, and narrower for
small machines; the same over crops that tile the image; and a classifier that sees the
proxy alone.

Letters: B images, C channels, H x W pixels, N crops, F features.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from saccade_lib import glimpse
from saccade_lib.train import Loss, evaluating


@dataclass(frozen=True)
class Config:
    """A whole-image classifier.

    Attributes:
        classes: number of classes.
        channels: C; one channel is copied into three, as the paper's code does.
        width: channels of the first stage; 64 is ResNet-18.
        hidden: width of the dense layers behind it; 256 in the paper's code.
        resize: side to which images are enlarged or shrunk first, or None. The released
            code reads even its 100 x 100 images at 224.
    """

    classes: int
    channels: int = 1
    width: int = 64
    hidden: int = 256
    resize: int | None = None


@dataclass
class Prediction:
    """Class probabilities ``(B, classes)``; the whole image was looked at."""

    probabilities: Tensor


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 5, left)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 of any width, with torchvision's parameter names.

    torchvision's own cannot be made narrower; at width 64 the two are equal, and
    weights move between them by name.
    """

    def __init__(self, width: int = 64, outputs: int = 1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = (width, width, 2 * width, 4 * width, 8 * width)
        for k, stride in enumerate((1, 2, 2, 2), start=1):
            first = BasicBlock(widths[k - 1], widths[k], stride)
            second = BasicBlock(widths[k], widths[k], 1)
            setattr(self, f"layer{k}", nn.Sequential(first, second))
        self.fc = nn.Linear(8 * width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # (B, width, H/4, W/4)
        for k in range(1, 5):
            x = getattr(self, f"layer{k}")(x)  # (B, 8 width, H/32, W/32)
        return self.fc(x.mean(dim=(2, 3)))


class Classifier(nn.Module):
    """What these classifiers share: loss, prediction, and the check of their input."""

    config: "Config | CropsConfig | ProxyConfig"

    def loss(self, batch: dict) -> Loss:
        logits = self(self.checked(batch["image"]))
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        nll = F.cross_entropy(logits, batch["label"])
        return Loss({"class": nll}, {"train_accuracy": 100 * right})

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify ``(B, C, H, W)`` images; nothing is sampled, no batch is needed."""
        with evaluating(self):
            logits = self(self.checked(images))
        return Prediction(logits.softmax(dim=1))

    def checked(self, images: Tensor) -> Tensor:
        return glimpse.checked(images, self.config.channels)


class FullImage(Classifier):
    """ResNet-18, then the dense layers of the released baseline."""

    def __init__(self, config: "Config | CropsConfig"):
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.body = ResNet18(config.width, hidden)
        self.dense = nn.Sequential(
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, config.classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.config.resize:
            x = F.interpolate(x, (self.config.resize,) * 2, mode="bilinear")
        return self.dense(self.features(x))  # (B, classes)

    def features(self, x: Tensor) -> Tensor:
        """g(x), ``(B, F)``."""
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)  # (B, 3, H, W)
        return self.body(x)


@dataclass(frozen=True)
class CropsConfig:
    """ResNet-18 over crops that tile the image.

    Attributes:
        classes, channels, width, hidden: as in `Config`.
        crop: side of a crop, pixels; 224 in the paper.
        segment: crops of each image that go through g in one call; None is all. Batch
            normalisation sees one segment at a time, so it is part of the model.
        checkpoint: keep no activations of a segment, compute them again in the backward
            pass. Values and gradients stay the same.
    """

    classes: int
    channels: int = 1
    width: int = 64
    hidden: int = 256
    crop: int = 224
    segment: int | None = None
    checkpoint: bool = False


class OverCrops(FullImage):
    """y = f_d(sum_i g(x_i)) over the crops x_i of an image of any size (section 4.1).

    g is ResNet-18, f_d the dense layers behind it. An image smaller than one crop is
    enlarged to it, as the released code does.
    """

    def forward(self, x: Tensor) -> Tensor:
        cfg = self.config
        if min(x.shape[-2:]) < cfg.crop:
            H, W = (max(side, cfg.crop) for side in x.shape[-2:])
            x = F.interpolate(x, (H, W), mode="bilinear")
        corners = tiles(*x.shape[-2:], cfg.crop)  # N of (left, top)
        step = cfg.segment or len(corners)
        total = x.new_zeros(len(x), cfg.hidden)
        for start in range(0, len(corners), step):
            total = total + self._segment(x, corners[start : start + step])
        return self.dense(total)  # (B, classes)

    def _segment(self, x: Tensor, corners: list[tuple[int, int]]) -> Tensor:
        if not (self.config.checkpoint and torch.is_grad_enabled()):
            return self.pooled(x, corners)
        # The crops are cut within, so that what is kept for all segments is the image.
        return checkpoint(
            self.pooled,
            x,
            corners,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing is drawn
            context_fn=lambda: (nullcontext(), unmoved_statistics(self.body)),
        )

    def pooled(self, x: Tensor, corners: list[tuple[int, int]]) -> Tensor:
        """Sum of g over some crops of each image, ``(B, F)``."""
        L = self.config.crop
        crops = [x[:, :, top : top + L, left : left + L] for left, top in corners]
        features = self.features(torch.cat(crops))  # (N * B, F), crop by crop
        return features.unflatten(0, (len(corners), len(x))).sum(dim=0)


def tiles(height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """Corners (left, top) of crops that cover an image, row by row.

    As many whole crops an axis as fit, and one at the far edge where pixels are left:
    on 2528 pixels eleven of 224 and one more, which overlaps its neighbour by 160.
    """

    def line(side: int) -> list[int]:
        if side < crop:
            raise ValueError(f"an image of {side} pixels holds no crop of {crop}")
        whole = list(range(0, side - crop + 1, crop))
        return whole if whole[-1] + crop == side else [*whole, side - crop]

    return [(left, top) for top in line(height) for left in line(width)]


@contextmanager
def unmoved_statistics(net: nn.Module) -> Iterator[None]:
    """Within the block batch normalisation leaves its running statistics alone.

    Computing a segment a second time must not count it a second time.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m, m.momentum, m.num_batches_tracked.clone()) for m in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0  # running = 1 * running + 0 * batch
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


@dataclass(frozen=True)
class ProxyConfig:
    """A classifier that sees only the proxy, J x J.

    Attributes:
        classes: number of classes.
        channels: C.
        proxy: J.
        width: channels of the first convolution.
        features: F of the dense layer.
    """

    classes: int
    channels: int = 1
    proxy: int = 32
    width: int = 32
    features: int = 256


class ProxyOnly(Classifier):
    """How far p(y | c) goes: the control that shows what the proxy gives away."""

    def __init__(self, config: ProxyConfig):
        super().__init__()
        self.config = config
        w, left = config.width, (config.proxy + 3) // 4
        self.net = nn.Sequential(
            nn.Conv2d(config.channels, w, 3, padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(inplace=True),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * w, 2 * w, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(2 * w * left * left, config.features),
            nn.ReLU(inplace=True),
            nn.Linear(config.features, config.classes),
        )

    def loss(self, batch: dict) -> Loss:
        return super().loss(self._reading(batch))

    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """As of the parent; a batch with a ``proxy`` of its own is read instead."""
        read = self._reading({"image": images} | (batch or {}))
        return super().predict(read["image"])

    @staticmethod
    def _reading(batch: dict) -> dict:
        """The batch with its proxy, where it brings one, in the place of the image."""
        return batch | {"image": batch.get("proxy", batch["image"])}

    def forward(self, x: Tensor) -> Tensor:
        return self.net(glimpse.downsample(x, self.config.proxy))  # (B, classes)
