"""Where on the screen does a face look? A task network behind any reader.

Recasens et al. (2018), section 4.1: AlexNet with two outputs and a sigmoid reads J,
what a saliency sampler or one of its peers (`readers`) made of the camera's image. The
two numbers are stretched to the screen. Where an iris is within the face *is* the
answer, so nothing is pooled over the whole image: what is left of it goes into dense
layers place by place.

Letters: B images, C channels, H x W pixels of J.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saccade_lib.deformable import DeformConv2d
from saccade_lib.models import readers
from saccade_lib.models.zoom import Zoomed, watched
from saccade_lib.models.zoom_classifier import ReaderConfig, make_reader, rates
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating

TASKS = ("alexnet", "small")
TOP = 3  # of the convolutions, which may be deformable, as in the paper


@dataclass(frozen=True, kw_only=True)
class Config(ReaderConfig):
    """`ReaderConfig`, the screen, and the task network.

    A reader ``"oracle"`` has a blob of saliency on each eye.

    Attributes:
        edges: left, top, right, bottom of the screen, cm.
        task: ``"alexnet"``, or ``"small"`` for a small J.
        width: channels of the first convolution; 64 in AlexNet.
        hidden: width of the dense layers; 4096 in AlexNet.
        deformable: make the top three convolutions deformable.
        classes: numbers of an answer, two.
    """

    edges: tuple[float, float, float, float]
    channels: int = 3
    blob: float = 0.065
    task: str = "small"
    width: int = 24
    hidden: int = 128
    deformable: bool = False
    classes: int = 2

    def __post_init__(self):
        super().__post_init__()
        one_of("task", self.task, TASKS)
        left, top, right, bottom = self.edges
        if not (left < right and top < bottom):
            raise ValueError(f"edges are left, top, right, bottom, got {self.edges}")


@dataclass
class Prediction:
    """Where the face looks, and where the image was read.

    Attributes:
        place: ``(B, 2)``, cm from the camera.
        reading: J, S and the places; None for a network that has no reader.
    """

    place: Tensor
    reading: readers.Reading | None


class Gaze(Zoomed):
    """The place on the screen, from an image of any size."""

    def __init__(self, config: Config):
        reader = BothEyes(config) if config.reader == "oracle" else make_reader(config)
        make = alexnet if config.task == "alexnet" else small
        super().__init__(make(config), reader)
        left, top, right, bottom = config.edges
        self.register_buffer("corner", torch.tensor([left, top]), persistent=False)
        sides = torch.tensor([right - left, bottom - top])
        self.register_buffer("sides", sides, persistent=False)

    def answer(self, J: Tensor) -> Tensor:
        """Places ``(B, 2)`` on the screen, cm."""
        return self.corner + self.sides * self.task(2 * J - 1).float().sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """Places for images of any size."""
        return self.answer(self.read(images).image)

    def loss(self, batch: dict) -> Loss:
        """Mean distance on the screen, which is also what is reported.

        Args:
            batch: ``image (B, C, H, W)``, ``target (B, 2)`` in cm; ``progress``, and
                what a told map is told.
        """
        seen, J = self.looked(batch)
        terms = {"distance": distance(self.answer(J), batch["target"])}
        return Loss(terms, watched(seen))

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Nothing is sampled; a batch is needed by told maps only."""
        with evaluating(self):
            seen = self.read(images, batch)
            return Prediction(self.answer(seen.image), seen)

    def rates(self) -> list[dict]:
        """Parameters for `train.fit`, each group with its share of the rate."""
        return rates(self.task, self.reader)


def distance(told: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of places ``(B, 2)``."""
    return (told - target.to(told)).norm(dim=1).mean()


class BothEyes(readers.Told):
    """Told a blob of saliency on each eye of ``batch["eyes"] (B, 2, 4)``: what is left
    to gain if f_s found them."""

    def __init__(self, config: Config):
        super().__init__("oracle", config, config.blob, box="eyes")


def small(config: Config) -> nn.Sequential:
    """Four convolutions, each with a halving, and two dense layers."""
    parts = halvings(config.channels, config.width, TOP if config.deformable else 0)
    left = [side // 16 for side in config.size]
    features = 2 * config.width * left[0] * left[1]
    dense = [nn.Linear(features, config.hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(
        *parts, nn.Flatten(), *dense, nn.Linear(config.hidden, config.classes)
    )


def halvings(channels: int, w: int, bent: int = 0) -> list[nn.Module]:
    """Four 3x3 convolutions to 2 w channels, each with a halving; the last ``bent`` of
    them deformable."""
    widths = (channels, w, 2 * w, 2 * w, 2 * w)
    parts = []
    for k, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        parts += [DeformConv2d(inputs, outputs) if k >= 4 - bent else conv]
        parts += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return parts


def alexnet(config: Config) -> nn.Sequential:
    """AlexNet as torchvision has it, at any width, with two outputs.

    At width 64 and with its own dense layers, ``features`` and ``classifier`` take its
    pretrained weights by number, but for the last layer's.
    """
    w, h = config.width, config.hidden
    pool = nn.MaxPool2d(3, stride=2)

    def conv(inputs, outputs, k, stride, padding, top=False):
        if top and config.deformable:
            layer = DeformConv2d(inputs, outputs, k)
        else:
            layer = nn.Conv2d(inputs, outputs, k, stride, padding)
        return [layer, nn.ReLU(inplace=True)]

    features = nn.Sequential(
        *(*conv(config.channels, w, 11, 4, 2), pool),
        *(*conv(w, 3 * w, 5, 1, 2), pool),
        *conv(3 * w, 6 * w, 3, 1, 1, top=True),
        *conv(6 * w, 4 * w, 3, 1, 1, top=True),
        *(*conv(4 * w, 4 * w, 3, 1, 1, top=True), pool),
    )
    net = nn.Sequential()
    net.add_module("features", features)
    net.add_module("avgpool", nn.AdaptiveAvgPool2d(6))
    net.add_module("flatten", nn.Flatten())
    dense = [nn.Dropout(), nn.Linear(4 * w * 36, h), nn.ReLU(inplace=True)]
    dense += [nn.Dropout(), nn.Linear(h, h), nn.ReLU(inplace=True)]
    net.add_module("classifier", nn.Sequential(*dense, nn.Linear(h, config.classes)))
    return net
