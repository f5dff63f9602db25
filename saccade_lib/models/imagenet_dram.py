"""DRAM at ImageNet's size, as the Saccader authors released it for comparison.

The recurrent model of `recurrent_attention` with other parts: a glimpse is three
squares around one place, of 77, 150 and 224 pixels, all read at 77, each with two
channels that hold its coordinates: 15 channels, which a ResNet-50 (version 2, in the
"slim" form, whose strides stand in the last unit of a stage) reads at once. Two LSTMs
follow, one to classify and one to place. First the model looks once at the centre with
all three squares, which starts the second LSTM alone; then T times with the finest
square, while of the two coarse ones only the mean colour is left.

Built for its counts and its forward pass. `loss` is the released one, except that the
density of a place is that of the draw before it is clipped to the image.

Letters: B images, C channels, T glimpses, L x L pixels as read, N width of the LSTMs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import estimators, glimpse
from saccade_lib.models.bagnet import scaled
from saccade_lib.train import Loss, evaluating

STAGES = ((256, 3, 2), (512, 4, 2), (1024, 6, 2), (2048, 3, 1))  # width, units, stride


@dataclass(frozen=True)
class Config:
    """DRAM with a ResNet-50.

    Attributes:
        classes: number of classes.
        channels: C.
        glimpses: T; one more, of the context, comes before them.
        size: L.
        squares: number of squares of a glimpse, from L pixels to the whole image.
        width: factor on all numbers of channels; 1 is the paper's.
        sigma: standard deviation of a place in training, half-images.
        weight: of the score function.
    """

    classes: int
    channels: int = 3
    glimpses: int = 8
    size: int = 77
    squares: int = 3
    width: float = 1.0
    sigma: float = 0.1
    weight: float = 0.1


@dataclass
class Prediction:
    """Class probabilities and the glimpses behind them.

    Attributes:
        probabilities: ``(B, classes)``, of the last glimpse.
        location: ``(B, T, 2)``.
        scale: ``(B, T)``, side of the finest square over side of the image.
    """

    probabilities: Tensor
    location: Tensor
    scale: Tensor


class Unit(nn.Module):
    """1x1, 3x3, 1x1 behind a normalisation that the shortcut shares (He et al. 2016b).

    A stride stands at the 3x3; a shortcut of equal width then drops every other pixel.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        middle = outputs // 4
        self.before = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.before(x))
        x = x if self.shortcut is None else self.shortcut(y)
        y = F.relu(self.norm1(self.conv1(y)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        return x[:, :, :: self.stride, :: self.stride] + self.conv3(y)


class ResNetV2(nn.Module):
    """ResNet-50, version 2, to one vector; strides stand at the ends of stages."""

    def __init__(self, channels: int, width: float):
        super().__init__()
        inputs = scaled(64, width)
        layers = [
            nn.Conv2d(channels, inputs, 7, stride=2, padding=3),  # 77 -> 39
            nn.MaxPool2d(3, stride=2, padding=1),  # 39 -> 20
        ]
        for outputs, units, stride in STAGES:  # 20 -> 10 -> 5 -> 3 -> 3
            outputs = scaled(outputs, width)
            for number in range(units):
                last = number == units - 1
                layers.append(Unit(inputs, outputs, stride if last else 1))
                inputs = outputs
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(True))
        self.features = inputs

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean(dim=(2, 3))


class Lstm(nn.Module):
    """TensorFlow's LSTM: one bias, and one more in the forget gate."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.dense = nn.Linear(inputs + width, 4 * width)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, j, f, o = self.dense(torch.cat((x, h), dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(j)
        return torch.sigmoid(o) * torch.tanh(c), c


class ImagenetDram(nn.Module):
    """Glimpses of three squares, a ResNet-50, two LSTMs."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        N = scaled(1024, config.width)
        channels = config.squares * (config.channels + 2)
        self.read = ResNetV2(channels, config.width)
        self.what, self.where = Lstm(self.read.features, N), Lstm(N, N)
        self.place = nn.Linear(N, 2)
        self.classify = nn.Linear(N, config.classes)

    def glimpses(self, x: Tensor, location: Tensor, all_squares: bool) -> Tensor:
        """``(B, squares (C + 2), L, L)`` of images with coordinates, at ``(B, 2)``."""
        cfg, side = self.config, x.shape[-1]
        shares = torch.linspace(cfg.size / side, 1, cfg.squares).tolist()
        found = []
        for number, share in enumerate(shares):
            scale = int(share * side) / side  # whole pixels
            square = glimpse.crop(x, location[:, None], scale, cfg.size, "zeros")[:, 0]
            if number and not all_squares:
                square = square.mean(dim=(2, 3), keepdim=True).expand_as(square)
            found.append(square)
        return torch.cat(found, dim=1)

    def run(self, images: Tensor, glimpses: int, sample: bool) -> dict[str, Tensor]:
        """The context, then T glimpses.

        Returns:
            ``scores (B, T, classes)`` after each glimpse, ``location (B, T, 2)``, and
            ``log_prob (B, T)`` of the places.
        """
        cfg, side = self.config, images.shape[-1]
        if images.shape[-2] != side or side < cfg.size:
            raise ValueError(
                f"expected square images of {cfg.size} pixels or more a side, got "
                f"{images.shape[-2]} x {side}"
            )
        x = self._with_coordinates(2 * images - 1)  # (B, C + 2, S, S)
        location = images.new_zeros(len(images), 2)
        zero = images.new_zeros(len(images), self.where.dense.out_features // 4)
        what, where = (zero, zero), (zero, zero)
        places, log_probs, scores = [], [], []
        for t in range(glimpses + 1):
            seen = self.read(self.glimpses(x, location, all_squares=t == 0))
            what = self.what(seen, what)
            where = self.where(what[0], where)
            scores.append(glimpse.precise(self.classify(what[0])))  # (B, classes)
            mean = glimpse.precise(torch.tanh(self.place(where[0])))  # (B, 2)
            mean = (1 - cfg.size / side) * mean
            if t == 0:  # the context starts the second LSTM alone
                what = (zero, zero)
            if t < glimpses:
                location, log_prob = self._draw(mean, 1 - cfg.size / side, sample)
                places.append(location)
                log_probs.append(log_prob)
        found = {"scores": scores[1:], "location": places, "log_prob": log_probs}
        return {name: torch.stack(values, dim=1) for name, values in found.items()}

    def _draw(self, mean: Tensor, reach: float, sample: bool) -> tuple[Tensor, Tensor]:
        """Places inside the image, and the density of the draws behind them."""
        sigma = self.config.sigma
        drawn = mean + sigma * torch.randn_like(mean) if sample else mean
        drawn = drawn.detach()
        z = (drawn - mean) / sigma
        log_prob = (-0.5 * z**2 - math.log(sigma * math.sqrt(2 * math.pi))).sum(dim=1)
        return drawn.clamp(-reach, reach), log_prob

    @staticmethod
    def _with_coordinates(x: Tensor) -> Tensor:
        i = glimpse.pixel_centres(x.shape[-1], x.device, x.dtype)
        at = torch.stack(torch.meshgrid(i, i, indexing="xy"))  # (2, S, S): x, y
        return torch.cat((x, at.expand(len(x), -1, -1, -1)), dim=1)

    def loss(self, batch: dict) -> Loss:
        """Named terms.

        Args:
            batch: ``image (B, C, S, S)`` in [0, 1], ``label (B,)``.
        """
        x, label = glimpse.checked(batch["image"], self.config.channels), batch["label"]
        made = self.run(x, self.config.glimpses, sample=True)
        last = made["scores"][:, -1]  # (B, classes)
        right = (last.argmax(dim=1) == label).float()[:, None]  # (B, 1)
        # The released baseline is the mean reward of the batch.
        places = estimators.score(made["log_prob"], right, right.mean())
        terms = {
            "class": F.cross_entropy(last, label),
            "places": self.config.weight * places / self.config.glimpses,
        }
        return Loss(terms, {"train_accuracy": 100 * right.mean()})

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        sample: bool = False,
        batch: dict | None = None,
        glimpses: int | None = None,
    ) -> Prediction:
        """Classify ``(B, C, S, S)`` images in [0, 1] and say where the model looked.

        Args:
            sample: draw places; the means otherwise.
            glimpses: T; that of the configuration by default.
        """
        x = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            made = self.run(x, glimpses or self.config.glimpses, sample)
        location = made["location"]
        scale = location.new_full(
            location.shape[:2], self.config.size / images.shape[-1]
        )
        p = made["scores"][:, -1].softmax(dim=1)
        return Prediction(p, location, scale)
