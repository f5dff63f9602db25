"""The attentional variational posterior g of Near-Optimal Glimpse Sequences (eq. 7).

One network says p(theta | y_{1:t}, l_{1:t}) for every number of glimpses and all their
places. It is trained by cross-entropy on training images of which random glimpses are
shown,

    L = E_{u(t, l_{1:t})} E_{p(theta, y_{1:t} | l_{1:t})} [ -log g(theta | y, l) ],

t uniform on 1..T, places uniform on the grid: up to a constant the mean of KL(p || g).

Three networks can be g. All depend on the *set* of places that were seen, on their
pixels, and on nothing else, to the bit:

``"densenet"``  the paper's DenseNet-121, on the masked image and the mask (figure 3)
``"cnn"``       eight convolutions on the same input, for small machines
``"set"``       head(mean over places of e(patch, place), number of places): what e says
                of a patch can be kept, and a further glimpse costs a small head

Letters: B images, C channels, T glimpses at most, L places, S x S pixels of a glimpse,
K labels, A attributes, F features.
"""

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.design import Grid, entropy
from saccade_lib.models.avp_networks import NETWORKS, distinct
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating


@dataclass(frozen=True)
class Config:
    """What g reads and how wide it is.

    Attributes:
        classes: K.
        channels: C.
        side, size, stride: of the `Grid`, pixels.
        glimpses: T.
        network: ``"set"``, ``"cnn"`` or ``"densenet"``.
        width: channels of the first convolution; DenseNet-121 has its own.
        features: F, of the set network.
        dropout: share of the last features that are left out in training.
        attributes: A; with some, batches bring ``attributes`` and g learns to tell them
            too, which the paper's code does for birds.
        attribute_weight: of their mean binary cross-entropy.
    """

    classes: int
    channels: int = 3
    side: int = 64
    size: int = 16
    stride: int = 4
    glimpses: int = 5
    network: str = "set"
    width: int = 32
    features: int = 128
    dropout: float = 0.0
    attributes: int = 0
    attribute_weight: float = 1.0

    def __post_init__(self):
        one_of("network", self.network, ("set", "cnn", "densenet"))
        if self.glimpses < 1:
            raise ValueError(f"glimpses must be at least 1, got {self.glimpses}")
        self.grid()  # refuses glimpses that do not fit

    def grid(self) -> Grid:
        return Grid(self.side, self.size, self.stride)


@dataclass
class Prediction:
    """Class probabilities ``(B, K)``, and the places ``(B, t)`` they were read at."""

    probabilities: Tensor
    places: Tensor


class Avp(nn.Module):
    """g, with a temperature for each number of places (`calibrate`)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.grid = config, config.grid()
        self.net = NETWORKS[config.network](config)
        self.register_buffer("temperature", torch.ones(config.glimpses))
        self.groups: Tensor | None = None  # (K, K'), of `about`

    def about(self, group: Tensor) -> "Avp":
        """The same g, asked for groups of its classes: their beliefs are added.

        A group is anything that the class decides, such as an attribute of a species.

        Args:
            group: ``(K,)``, numbers from 0; every group is some class's.
        """
        K = self.config.classes
        if group.shape != (K,) or len(group.unique()) != int(group.max()) + 1:
            raise ValueError(
                f"expected a group for each of {K} classes, numbered from 0 without "
                f"gaps, got {group.tolist()}"
            )
        asked = copy(self)  # of the same weights
        asked.groups = F.one_hot(group)
        return asked

    def loss(self, batch: dict) -> Loss:
        """Equation 7 on ``image``, ``label`` and T ``places`` an image.

        The set network gives all t at once, so that the mean over t is taken exactly.
        The others read one image a step: t is drawn for each.
        """
        images, places = self.checked(batch["image"], batch["places"])
        label = batch["label"]
        hidden = self.net.in_training(images, places)  # (B, R, F), R values of t
        logits, attributes = self.net.tell(hidden)
        nll = F.cross_entropy(logits.flatten(0, 1), _each(label, logits))
        right = (logits[:, -1].argmax(dim=1) == label).float().mean()
        terms = {"class": nll}
        if self.config.attributes:
            truth = _each(batch["attributes"], attributes)
            bce = F.binary_cross_entropy_with_logits(attributes.flatten(0, 1), truth)
            terms["attributes"] = self.config.attribute_weight * bce
        return Loss(terms, {"train_accuracy": 100 * right})

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """Logits ``(B, K)`` after a look at places ``(B, t)``, at its temperature."""
        images, places = self.checked(images, places)
        logits, _ = self.net.tell(self.net(images, places))
        return self.tempered(logits, distinct(places).sum(dim=1))

    def tempered(self, logits: Tensor, count: Tensor) -> Tensor:
        """Logits ``(..., K)`` over the temperature of so many places ``(...)``; of
        groups, where g is asked `about` them."""
        logits = logits / self.temperature[count - 1][..., None]
        if self.groups is None:
            return logits
        of_group = self.groups.to(logits.dtype).log()  # (K, K'), 0 or -inf
        return (logits[..., None] + of_group).logsumexp(dim=-2)  # (..., K')

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        places: Tensor | None = None,
        batch: dict | None = None,
    ) -> Prediction:
        """What g believes of images ``(B, C, H, W)`` after a look at places ``(B, t)``.

        Without places, those of the batch.
        """
        places = batch["places"] if places is None else places
        with evaluating(self):
            return Prediction(self(images, places).softmax(dim=1), places)

    @torch.no_grad()
    def calibrate(self, images: Tensor, label: Tensor, places: Tensor) -> None:
        """Set each t's temperature to the one of least cross-entropy on these images.

        Images that g was trained on would make it look too sure of itself: use others.

        Args:
            images: ``(B, C, H, W)``; label ``(B,)``; places ``(B, T)``, drawn as in
                training. The first t of them are taken for t.
        """
        self.temperature.fill_(1.0)
        with evaluating(self):
            for t in range(1, self.config.glimpses + 1):
                fresh = distinct(places[:, :t]).all(dim=1)  # else it is a smaller t
                if fresh.any():
                    logits = self(images[fresh], places[fresh, :t])
                    self.temperature[t - 1] = least_cross_entropy(logits, label[fresh])

    def checked(self, images: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError for images or places that g was not made for."""
        side, L, T = self.config.side, self.grid.L, self.config.glimpses
        images = glimpse.checked(images, self.config.channels)
        if images.shape[2:] != (side, side):
            raise ValueError(
                f"g reads images of {side} x {side}, got {tuple(images.shape)}"
            )
        if places.dim() != 2 or len(places) != len(images) or not places.shape[1]:
            raise ValueError(
                f"expected places (B, t) for {len(images)} images, at least one each, "
                f"got {tuple(places.shape)}"
            )
        if glimpse.may_look(places) and not ((places >= 0) & (places < L)).all():
            raise ValueError(f"places are numbers from 0 to {L - 1}")
        if places.shape[1] > T and (distinct(places).sum(dim=1) > T).any():
            raise ValueError(f"g was trained for at most {T} glimpses")
        return images, places


# --- how sure g is -----------------------------------------------------------------


def least_cross_entropy(logits: Tensor, label: Tensor) -> float:
    """The temperature of least cross-entropy, in [1/20, 20], by bisection.

    Cross-entropy is convex in one over the temperature.
    """
    low, high = 0.05, 20.0
    for _ in range(40):
        beta = (low * high) ** 0.5
        p = (beta * logits).softmax(dim=1)
        slope = (p * logits).sum(dim=1) - logits.gather(1, label[:, None])[:, 0]
        low, high = (low, beta) if slope.mean() > 0 else (beta, high)
    return 1 / (low * high) ** 0.5


def calibration(probabilities: Tensor, label: Tensor) -> dict[str, float]:
    """How sure g is and how sure it may be, in nats, and per cent right.

    Returns:
        ``entropy``, mean H[g]; ``cross_entropy``, mean -log g(theta); equal where g is
        calibrated. ``accuracy``.
    """
    of_label = probabilities.gather(1, label[:, None])
    right = probabilities.argmax(dim=1) == label
    return {
        "entropy": float(entropy(probabilities).mean()),
        "cross_entropy": float(-of_label.clamp_min(1e-12).log().mean()),
        "accuracy": 100 * float(right.float().mean()),
    }


def _each(target: Tensor, logits: Tensor) -> Tensor:
    """Targets ``(B, ...)`` for every one of the R values of t, ``(B R, ...)``."""
    return target.repeat_interleave(logits.shape[1], dim=0)
