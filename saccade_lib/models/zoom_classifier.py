"""Classifiers of one task network and one reader, as rows of runs name them.

Task networks that fit a small J: four blocks of convolutions, or a narrow residual
network in the role of the paper's second one. Both end in a global maximum: where a
thing is must not matter to them, only whether it is there. The paper's own networks are
torchvision's, untrained; `load_state_dict` takes its pretrained weights.

Letters: B images, C channels, H x W pixels.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib.deformable import DeformConv2d
from saccade_lib.models import readers, zoom
from saccade_lib.models.baselines import BasicBlock
from saccade_lib.session import one_of

TOLD = ("oracle", "random", "centre")
KINDS = ("sampler", "uniform", "affine", "tps", "grid", *TOLD)
TORCHVISION = {
    "resnet-50": "resnet50",
    "resnet-101": "resnet101",
    "inception-v3": "inception_v3",
}
TASKS = ("blocks", "residual", *TORCHVISION)
OFFSETS = 0.05


@dataclass(frozen=True, kw_only=True)
class ReaderConfig(readers.Config):
    """`readers.Config`, and which reader it is.

    Attributes:
        reader: one of `KINDS`.
        channels: C of the images.
        layers: of the saliency network, as the paper counts them: 6, 10 or 14, the
            beginning of ResNet-18, which reads three channels; 0 is a small network.
            The other networks that learn where to read have the same trunk.
        look_width: channels of its first stage.
        blob: width of a told map's blob, over the side of the image.
        points: control points a side of the thin plate.
        ratio: learning rates of the trunk and of what comes behind it, over the task
            network's. The public code has (0.001, 0.01), for pretrained weights.
    """

    reader: str = "sampler"
    channels: int = 1
    layers: int = 0
    look_width: int = 16
    blob: float = 0.11
    points: int = 4
    ratio: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self):
        super().__post_init__()
        one_of("reader", self.reader, KINDS)
        if not all(r > 0 for r in self.ratio) or len(self.ratio) != 2:
            raise ValueError(f"ratio must be two positive numbers, got {self.ratio}")
        if self.layers and self.channels != 3:
            raise ValueError(
                f"ResNet-18's beginning reads 3 channels, not {self.channels}: "
                "use layers=0"
            )


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(ReaderConfig):
    """`ReaderConfig`, and the task network behind the reader.

    Attributes:
        classes: number of classes.
        task: one of `TASKS`.
        width: channels of its first block; torchvision's have their own.
        deformable: how many of its last convolutions are deformable: of blocks, up to
            4; the paper makes the top three of AlexNet's so.
    """

    classes: int
    task: str = "blocks"
    width: int = 32
    deformable: int = 0

    def __post_init__(self):
        super().__post_init__()
        one_of("task", self.task, TASKS)
        most = 4 if self.task == "blocks" else 0
        if self.task in TORCHVISION and self.channels != 3:
            raise ValueError(f"{self.task} reads 3 channels, not {self.channels}")
        if not 0 <= self.deformable <= most:
            raise ValueError(
                f"{self.task} has {most} convolutions that may be deformable, "
                f"{self.deformable} were asked for"
            )


def make_reader(config: ReaderConfig) -> readers.Reader:
    """The reader of a configuration, with weights of its own where it learns."""
    if config.reader == "uniform":
        return readers.Uniform(config)
    if config.reader in TOLD:
        return readers.Told(config.reader, config, config.blob)
    if config.layers:
        looking = zoom.SaliencyNetwork(config.layers, config.look_width)
    else:
        looking = zoom.SmallSaliency(config.channels, config.look_width)
    if config.reader == "sampler":
        return readers.SaliencyReader(looking, config)
    features = looking.last.in_channels
    if config.reader == "affine":
        return readers.Affine(looking.trunk, features, config)
    if config.reader == "tps":
        return readers.ThinPlate(looking.trunk, features, config, config.points)
    return readers.GridEstimator(looking.trunk, features, config)


class Blocks(nn.Module):
    """Four 3x3 convolutions, three of them before a halving, and a global maximum."""

    def __init__(self, channels: int, classes: int, width: int, deformable: int = 0):
        super().__init__()
        widths = (channels, width, 2 * width, 2 * width, 4 * width)
        parts = []
        for k, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            if k >= 4 - deformable:
                conv = DeformConv2d(inputs, outputs)
            else:
                conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            parts += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            if k < 3:
                parts.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*parts)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).amax(dim=(2, 3)))  # (B, classes)


class Residual(nn.Module):
    """A 3x3 convolution, three residual blocks of stride 2, and a global maximum."""

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        widths = (width, width, 2 * width, 4 * width)
        pairs = zip(widths, widths[1:], strict=False)
        self.body = nn.Sequential(*(BasicBlock(a, b, 2) for a, b in pairs))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        return self.fc(self.body(x).amax(dim=(2, 3)))  # (B, classes)


def make_task(config: ClassifierConfig) -> nn.Module:
    """The task network: ``(B, channels, *config.size)`` to ``(B, classes)``."""
    if name := TORCHVISION.get(config.task):
        from saccade_lib._compat import torchvision  # takes a second to import

        # Inception's second answer is for training from nothing: not in the paper.
        inception = {"aux_logits": False, "init_weights": True}
        more = inception if config.task == "inception-v3" else {}
        make = getattr(torchvision.models, name)
        return make(weights=None, num_classes=config.classes, **more)
    size = config.channels, config.classes, config.width
    if config.task == "blocks":
        return Blocks(*size, config.deformable)
    return Residual(*size)


class ZoomClassifier(zoom.Zoomed):
    """A task network behind a reader, both from one configuration."""

    def __init__(self, config: ClassifierConfig):
        super().__init__(make_task(config), make_reader(config))

    def rates(self) -> list[dict]:
        """Parameters for `train.fit`, each group with its share of the rate."""
        return rates(self.task, self.reader)


def rates(task: nn.Module, reader: readers.Reader) -> list[dict]:
    """Groups of parameters and the ``ratio`` of their learning rates to f_t's.

    Offsets of deformable convolutions learn at `OFFSETS` of the rate: they are pixels
    of small maps, and at the rate of weights they leave the map before they have
    learned where to go.

    Args:
        reader: of `make_reader`.
    """
    trunk, last = reader.config.ratio
    named = dict(reader.named_parameters())
    ends = [k for k in named if k.removeprefix("saliency.").startswith("last.")]
    head = [named[k] for k in ends]
    rest = [named[k] for k in named if k not in ends]
    of_task = dict(task.named_parameters())
    offsets = [p for k, p in of_task.items() if ".offset." in k]
    weights = [p for k, p in of_task.items() if ".offset." not in k]
    groups = [(weights, 1.0), (offsets, OFFSETS), (rest, trunk), (head, last)]
    return [{"params": p, "ratio": ratio} for p, ratio in groups if p]
