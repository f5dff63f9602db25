"""Learning to Zoom: a network that looks first, then reads the image on a bent grid.

Recasens et al. (2018), section 3. A small copy I_l of the image I gives a saliency map
S = f_s(I_l); the sampler reads I at places that S bends, J = g(I, S); the task network
answers from J, y = f_t(J). The sampler itself is `saccade_lib.zoom`; here it is wrapped
around any network, and `warp` is the sampler alone.

    model = SaliencySampler(task, SaliencyNetwork(layers=14), Config(size=(224, 224)))
    answer = model(images)  # of any size

Letters: B images, C channels, H x W pixels of J, h x w cells of S.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import zoom, zoom_measures, zoom_reading
from saccade_lib.models.baselines import ResNet18
from saccade_lib.models.readers import (
    SHARE,
    Config,
    Reader,
    Reading,
    SaliencyReader,
    Stored,
    zeroed,
)
from saccade_lib.train import Loss, evaluating

LAYERS = {6: 1, 10: 2, 14: 3}  # of ResNet-18 with the 1x1: stages behind the stem


def warp(
    image: Tensor,
    saliency: Tensor,
    strength: float = 1.0,
    size: tuple[int, int] | None = None,
    share: float = SHARE,
    padding: str = "reflect",
) -> Tensor:
    """Enlarge what is salient, at the cost of what is not: the sampler by itself.

    Args:
        image: ``(B, C, H_image, W_image)`` in any range.
        saliency: ``(B, h, w)``, positive, of any sum and any number of cells, laid over
            the whole image. Gradients flow to it.
        strength: power to which the map is raised: 0 leaves the image as it is, 2
            bends it twice as much, to first order.
        size: (H, W) of the result; the image's own by default.
        share: sigma of the kernel over the map's width, and over its height.
        padding: as of `zoom.positions`.

    Returns:
        ``(B, C, H, W)``.

    Raises:
        ValueError: what `zoom.positions` and `zoom.warp` refuse; a negative strength.
    """
    if not strength >= 0:
        raise ValueError(f"strength must be 0 or more, got {strength}")
    if image.dim() != 4 or saliency.dim() != 3:
        raise ValueError(
            "expected an image (B, C, H, W) and a saliency map (B, h, w), got "
            f"{tuple(image.shape)} and {tuple(saliency.shape)}: of single ones pass "
            "image[None] and saliency[None]"
        )
    top = saliency.detach().amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    S = (saliency / top) ** strength
    size = tuple(image.shape[-2:]) if size is None else size
    at = zoom.positions(S, size, zoom.in_cells(share, S), padding)
    return zoom_reading.warp(image, at)


class SaliencyNetwork(nn.Module):
    """f_s: the beginning of ResNet-18 and a 1x1 convolution (section 4).

    The paper's names count layers: 6 are the stem, the four convolutions of the first
    stage, and the 1x1; each further stage adds four. The 1x1 starts at zero, so that
    the map is even and the sampler begins as the identity.

    Args:
        layers: 6, 10 or 14; strides 4, 8, 16.
        width: channels of the first stage, 64 in ResNet-18.

    The trunk's parameters have torchvision's names: pretrained weights fit.
    """

    def __init__(self, layers: int = 14, width: int = 64):
        super().__init__()
        if layers not in LAYERS:
            raise ValueError(f"layers must be one of 6, 10, 14, got {layers}")
        whole, stages = ResNet18(width), LAYERS[layers]
        self.trunk = nn.Sequential()
        for name in ("conv1", "bn1", *(f"layer{k + 1}" for k in range(stages))):
            self.trunk.add_module(name, getattr(whole, name))
        self.last = zeroed(nn.Conv2d(width * 2 ** (stages - 1), 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, h, w)`` of small copies ``(B, 3, H, W)``."""
        for name, part in self.trunk.named_children():
            x = part(x)
            if name == "bn1":
                x = F.max_pool2d(F.relu(x, inplace=True), 3, stride=2, padding=1)
        return self.last(x)[:, 0]


class SmallSaliency(nn.Module):
    """f_s for a CPU: four 3x3 convolutions, stride 4 in all, and a 1x1 (ours)."""

    def __init__(self, channels: int = 3, width: int = 16):
        super().__init__()
        widths = (channels, width, 2 * width, 2 * width, 2 * width)
        parts = []
        for k, stride in enumerate((2, 2, 1, 1)):
            conv = nn.Conv2d(widths[k], widths[k + 1], 3, stride, 1, bias=False)
            parts += [conv, nn.BatchNorm2d(widths[k + 1]), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*parts)
        self.last = zeroed(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, H / 4, W / 4)`` of small copies ``(B, C, H, W)``."""
        return self.last(self.trunk(x))[:, 0]


@dataclass
class Prediction:
    """Class probabilities ``(B, classes)``, and where the image was read.

    There is no map, None, where the reader has none.
    """

    probabilities: Tensor
    saliency: Tensor | None
    at: Tensor


class Zoomed(nn.Module):
    """A classifier that reads its images through a reader.

    Args:
        task: f_t, any network from ``(B, C, H, W)`` to its answer.
        reader: one of `saccade_lib.models.readers`.

    Both learn from the task's loss.
    """

    def __init__(self, task: nn.Module, reader: Reader):
        super().__init__()
        self.task, self.reader = task, reader

    @property
    def config(self) -> Config:
        """How images are read."""
        return self.reader.config

    def forward(self, images: Tensor | Stored) -> Tensor:
        """The task network's answer for images of any size."""
        return self.task(self.read(images).image)

    def read(self, images: Tensor | Stored, batch: dict | None = None) -> Reading:
        """J, with the map and the places behind it."""
        return self.reader.read(images, batch)

    def looked(self, batch: dict) -> tuple[Reading, Tensor]:
        """What is read, and J as the task network sees it in this step.

        J is blurred for the first share of the training. ``progress`` in [0, 1] is the
        share of the training that is over, 1 where it is missing.
        """
        seen, cfg = self.read(batch["image"], batch), self.config
        if self.training and batch.get("progress", 1.0) < cfg.blur:
            return seen, blurred(seen.image, cfg.least)
        return seen, seen.image

    def loss(self, batch: dict) -> Loss:
        """Cross-entropy of the answer.

        Args:
            batch: ``image (B, C, H, W)``, ``label (B,)``; ``progress``, as above; what
                a `readers.Told` map is told.
        """
        seen, J = self.looked(batch)
        logits = self.task(J)
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        metrics = {"train_accuracy": 100 * right} | watched(seen)
        return Loss({"class": F.cross_entropy(logits, batch["label"])}, metrics)

    @torch.no_grad()
    def predict(
        self, images: Tensor | Stored, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify images; nothing is sampled, a batch is needed by told maps only."""
        with evaluating(self):
            seen = self.read(images, batch)
            logits = self.task(seen.image)
        return Prediction(logits.softmax(dim=1), seen.saliency, seen.at)


class SaliencySampler(Zoomed):
    """A task network that reads its images through a saliency map.

    Args:
        task: f_t, any network from ``(B, C, H, W)`` to its answer.
        saliency: f_s, from small copies ``(B, C, look, look)`` to logits of any number
            of places, ``(B, h, w)``.
        config: of the sampler.

    The public code moves pretrained weights of f_s slowly: see `groups`.
    """

    def __init__(self, task: nn.Module, saliency: nn.Module, config: Config):
        super().__init__(task, SaliencyReader(saliency, config))

    @property
    def saliency(self) -> nn.Module:
        """f_s."""
        return self.reader.saliency

    def groups(self, rate: float, trunk: float = 1e-3, last: float = 1e-2) -> list:
        """Parameters for a torch optimiser, f_s slower than f_t.

        The factors are the public code's, for pretrained weights. Weights that start
        at random need larger ones.
        """
        ends = list(self.saliency.last.parameters())
        known = {id(p) for p in ends}
        rest = [p for p in self.saliency.parameters() if id(p) not in known]
        return [
            {"params": list(self.task.parameters()), "lr": rate},
            {"params": rest, "lr": trunk * rate},
            {"params": ends, "lr": last * rate},
        ]


def watched(seen: Reading) -> dict[str, Tensor]:
    """What training curves show of a reading: ``map_entropy``, if there is a map."""
    if seen.saliency is None:
        return {}
    return {"map_entropy": zoom_measures.entropy(seen.saliency.detach()).mean()}


def blurred(J: Tensor, least: float) -> Tensor:
    """J averaged down to a random side and enlarged again: one side a batch."""
    H, W = J.shape[-2:]
    factor = least + (1 - least) * float(torch.rand(()))
    small = max(1, round(factor * H)), max(1, round(factor * W))
    return F.interpolate(F.adaptive_avg_pool2d(J, small), (H, W), mode="bilinear")
