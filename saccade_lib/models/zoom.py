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

from saccade_lib import zoom, zoom_reading
from saccade_lib.models.baselines import ResNet18
from saccade_lib.pyramid import Pyramids
from saccade_lib.train import Loss, evaluating

SHARE = zoom.CODE_SIGMA / zoom.CODE_CELLS  # sigma over the map's side, public code
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
        self.last = _flat(nn.Conv2d(width * 2 ** (stages - 1), 1, 1))

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
        self.last = _flat(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, H / 4, W / 4)`` of small copies ``(B, C, H, W)``."""
        return self.last(self.trunk(x))[:, 0]


@dataclass(frozen=True)
class Config:
    """How an image is read.

    Attributes:
        size: (H, W) of J, what the task network sees.
        look: side of I_l, what the saliency network sees; J's longer side if None.
        cells: side of the saliency map; 31 in the public code.
        share: sigma over the map's side; 1/3 in the paper, 0.178 in its code.
        padding: ``"reflect"`` (ours), or ``"replicate"`` as in the paper.
        prefilter: side of the squares over which the image is averaged before it is
            read; by default (None) each output pixel gets its own (`zoom_reading`).
        blur: share of the training during which J is blurred (section 3.3).
        least: smallest side to which blurring shrinks J, over its side; 64 of 224 in
            the public code.
    """

    size: tuple[int, int]
    look: int | None = None
    cells: int = 31
    share: float = SHARE
    padding: str = "reflect"
    prefilter: int | None = None
    blur: float = 0.0
    least: float = 64 / 224


@dataclass
class Stored:
    """A batch of images on disk, read in parts: files and which of them, ``(B,)``."""

    store: Pyramids
    index: Tensor


@dataclass
class Reading:
    """What the sampler made of a batch.

    Attributes:
        image: J, ``(B, C, H, W)``.
        saliency: S, ``(B, h, w)``, summing to 1.
        at: places that were read, ``(B, H, W, 2)``.
    """

    image: Tensor
    saliency: Tensor
    at: Tensor


@dataclass
class Prediction:
    """Class probabilities ``(B, classes)``, and where the image was read."""

    probabilities: Tensor
    saliency: Tensor
    at: Tensor


class SaliencySampler(nn.Module):
    """A task network that reads its images through a saliency map.

    Args:
        task: f_t, any network from ``(B, C, H, W)`` to its answer.
        saliency: f_s, from small copies ``(B, C, look, look)`` to logits of any number
            of places, ``(B, h, w)``.
        config: of the sampler.

    Both learn from the task's loss. The public code moves pretrained weights of f_s
    slowly: see `groups`.
    """

    def __init__(self, task: nn.Module, saliency: nn.Module, config: Config):
        super().__init__()
        if not 0 <= config.blur <= 1 or not 0 < config.least <= 1:
            raise ValueError(
                f"blur and least are shares: {config.blur}, {config.least}"
            )
        self.task, self.saliency, self.config = task, saliency, config

    def forward(self, images: Tensor | Stored) -> Tensor:
        """The task network's answer for images of any size."""
        return self.task(self.read(images).image)

    def read(self, images: Tensor | Stored) -> Reading:
        """J, with the map and the places behind it."""
        cfg = self.config
        S = self.salient(self.small(images))  # (B, h, w)
        at = zoom.positions(S, cfg.size, zoom.in_cells(cfg.share, S), cfg.padding)
        if isinstance(images, Stored):
            return Reading(
                zoom_reading.warp_files(images.store, images.index, at), S, at
            )
        if cfg.prefilter is None:
            return Reading(zoom_reading.warp(images, at), S, at)
        return Reading(zoom.warp(images, at, cfg.prefilter), S, at)

    def small(self, images: Tensor | Stored) -> Tensor:
        """I_l ``(B, C, look, look)``: averages over areas of the whole image."""
        side = self.config.look or max(self.config.size)
        if isinstance(images, Stored):
            return images.store.proxies(images.index, side)
        if images.dim() != 4 or not images.is_floating_point():
            raise ValueError(
                "images must be floats (B, C, H, W), got "
                f"{images.dtype} of shape {tuple(images.shape)}"
            )
        return F.interpolate(images.detach(), (side, side), mode="area")

    def salient(self, small: Tensor) -> Tensor:
        """S: a softmax over all cells."""
        logits = self.saliency(small)[:, None]  # (B, 1, ., .)
        cells = (self.config.cells,) * 2
        logits = F.interpolate(logits, cells, mode="bilinear")[:, 0]
        return logits.flatten(1).softmax(dim=1).view_as(logits)

    def loss(self, batch: dict) -> Loss:
        """Cross-entropy of the answer, J blurred for the first share of the training.

        Args:
            batch: ``image (B, C, H, W)``, ``label (B,)``; ``progress`` in [0, 1], the
                share of the training that is over (1 where it is missing).
        """
        seen = self.read(batch["image"])
        J = seen.image
        if self.training and batch.get("progress", 1.0) < self.config.blur:
            J = blurred(J, self.config.least)
        logits = self.task(J)
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        entropy = torch.special.entr(seen.saliency.detach()).sum(dim=(1, 2)).mean()
        return Loss(
            {"class": F.cross_entropy(logits, batch["label"])},
            {"train_accuracy": 100 * right, "map_entropy": entropy},
        )

    @torch.no_grad()
    def predict(
        self, images: Tensor | Stored, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify images; nothing is sampled, no batch is needed."""
        with evaluating(self):
            seen = self.read(images)
            logits = self.task(seen.image)
        return Prediction(logits.softmax(dim=1), seen.saliency, seen.at)

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


def blurred(J: Tensor, least: float) -> Tensor:
    """J averaged down to a random side and enlarged again: one side a batch."""
    H, W = J.shape[-2:]
    factor = least + (1 - least) * float(torch.rand(()))
    small = max(1, round(factor * H)), max(1, round(factor * W))
    return F.interpolate(F.adaptive_avg_pool2d(J, small), (H, W), mode="bilinear")


def _flat(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv
