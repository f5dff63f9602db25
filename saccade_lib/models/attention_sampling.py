"""Attention sampling (Katharopoulos and Fleuret, ICML 2019).

Soft attention over all places of an image, computed at a few of them. A small network
reads a small copy c of the image x and gives each of N places a probability a_i; a
feature network f reads windows x_i of the full image. What is classified is

    Psi(x) = sum_i a_i f(x_i)  =  E_{i ~ a} f(x_i),

and an expectation can be estimated from K draws, together with its slope: both
networks learn by plain backpropagation, from the windows that were drawn.

Drawn *with* replacement, each of K draws weighs w_k = 1/K. Drawn *without*, one after
the other, the estimate of Des Raj (1956) is as unbiased, and no window is read twice:

    w_k = [ (K - k) a_{i_k} + 1 - sum_{t<k} a_{i_t} ] / K,      k = 1 ... K,

the mean over k of "what was drawn before counts with its own a, the k-th draw stands
for all the rest". The slope of Psi is sum_i d(a_i f_i) = E[ d(a_i f_i) / a_i ]: the
same weights over other numbers.

Letters: B images, C channels, J x J pixels of c, N = J^2 places, K windows of L x L.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.models.variational_saccading import CropNet, Prediction, convolve
from saccade_lib.models.whole import dense
from saccade_lib.train import Loss, evaluating


@dataclass(frozen=True)
class Config:
    """What the paper leaves open.

    Attributes:
        classes: number of classes.
        channels: C.
        proxy: J; each pixel of c is a place, the middle of a window.
        glimpses: K.
        size: L.
        scale: side of a window over that of the image.
        features: F, width of a window's features.
        width: channels of the first convolution of both networks.
        replacement: draw with replacement.
        entropy: weight of the entropy of a, in nats, which keeps it from settling on
            few places before f can tell them apart.
    """

    classes: int
    channels: int = 1
    proxy: int = 32
    glimpses: int = 4
    size: int = 24
    scale: float = 0.25
    features: int = 128
    width: int = 16
    replacement: bool = False
    entropy: float = 0.01

    def __post_init__(self):
        if not 1 <= self.glimpses <= self.proxy**2:
            raise ValueError(
                f"{self.glimpses} of {self.proxy**2} places cannot be drawn"
            )
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be in (0, 1], got {self.scale}")
        if self.size % 2:
            raise ValueError(f"size must be even, got {self.size}")
        if self.entropy < 0:
            raise ValueError(f"entropy must not be negative, got {self.entropy}")


# --- the estimator --------------------------------------------------------------------


def draw(log_a: Tensor, count: int, replacement: bool = False) -> Tensor:
    """Numbers of places ``(B, K)``, drawn in turn from ``log_a (B, N)``.

    Without replacement the K largest of log a + Gumbel noise, the largest first, are
    such a draw (Vieira 2014).
    """
    if replacement:
        return torch.multinomial(log_a.exp(), count, replacement=True)
    noise = -torch.empty_like(log_a).exponential_().log()
    return (log_a.detach() + noise).topk(count, dim=1).indices


def weights(a: Tensor, replacement: bool = False) -> Tensor:
    """w ``(B, K)`` of the draws' probabilities ``(B, K)`` in the order drawn."""
    K = a.shape[1]
    if replacement:
        return torch.full_like(a, 1 / K)
    before = a.cumsum(dim=1) - a  # sum over t < k
    later = torch.arange(K - 1, -1, -1, device=a.device, dtype=a.dtype)  # K - k
    return (later * a + 1 - before) / K


def expectation(log_a: Tensor, features: Tensor, replacement: bool = False) -> Tensor:
    """Estimate of sum_i a_i f_i, ``(B, F)``, unbiased in value and in slope.

    Args:
        log_a: of the places drawn, in the order drawn, ``(B, K)``; slopes reach it.
        features: of their windows, ``(B, K, F)``.
    """
    a = log_a.detach().exp()
    # d(a f) / a = df + f d(log a): 1 in value, and the slope of log a.
    ratio = (log_a - log_a.detach()).exp()
    w = weights(a, replacement) * ratio  # (B, K)
    return (w[..., None] * features).sum(dim=1)


# --- the model ------------------------------------------------------------------------


class Attention(nn.Module):
    """log a over the pixels of c: three 3x3 convolutions and a 1x1."""

    def __init__(self, config: Config):
        super().__init__()
        w = config.width
        self.net = nn.Sequential(
            *convolve(config.channels, w, 3, 1),
            *convolve(w, w, 3, 1),
            *convolve(w, 2 * w, 3, 1),
            nn.Conv2d(2 * w, 1, 1),
        )
        nn.init.zeros_(self.net[-1].weight)  # all places alike, before training
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, c: Tensor) -> Tensor:
        """``(B, N)``, row by row."""
        return glimpse.precise(self.net(c).flatten(1)).log_softmax(dim=1)


class AttentionSampling(nn.Module):
    """Attention on a small copy, features of K windows of the full image."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.attend = Attention(config)
        self.read = CropNet(config.channels, config.features, config.width)
        self.classify = dense(config.features, config.classes)
        at = glimpse.grid_locations(config.proxy, 1 / config.proxy)  # (N, 2)
        reach = 1 - config.scale  # windows stay inside
        self.register_buffer("places", at.clamp(-reach, reach), persistent=False)

    def look(self, x: Tensor, sample: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits ``(B, classes)``, log a ``(B, N)``, location ``(B, K, 2)``, windows.

        Args:
            sample: draw the places; the K most probable ones otherwise.
        """
        cfg = self.config
        log_a = self.attend(glimpse.downsample(x, cfg.proxy))
        if sample:
            chosen = draw(log_a, cfg.glimpses, cfg.replacement)  # (B, K)
        else:
            chosen = log_a.topk(cfg.glimpses, dim=1).indices
        location = self.places[chosen]
        o = glimpse.crop(x, location, cfg.scale, cfg.size)  # (B, K, C, L, L)
        features = self.read(o.flatten(0, 1)).unflatten(0, o.shape[:2])  # (B, K, F)
        psi = expectation(log_a.gather(1, chosen), features, cfg.replacement)
        return self.classify(psi), log_a, location, o

    def loss(self, batch: dict) -> Loss:
        """Cross-entropy, and minus the weighted entropy of a.

        Args:
            batch: ``image (B, C, H, W)`` in [0, 1], ``label (B,)``.
        """
        x = glimpse.checked(batch["image"], self.config.channels)
        logits, log_a, _, _ = self.look(x, sample=True)
        entropy = -(log_a.exp() * log_a).sum(dim=1).mean()  # nats
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        terms = {
            "class": F.cross_entropy(logits, batch["label"]),
            "entropy": -self.config.entropy * entropy,
        }
        return Loss(terms, {"train_accuracy": 100 * right, "nats": entropy.detach()})

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify ``(B, C, H, W)`` images in [0, 1] and say where the model looked.

        Args:
            sample: draw the places, as in the paper; the most probable otherwise.
        """
        x = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            logits, _, location, o = self.look(x, sample)
        scale = location.new_full(location.shape[:2], self.config.scale)
        return Prediction(logits.softmax(dim=1), location, scale, o)
