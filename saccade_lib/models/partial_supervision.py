"""A recurrent attention network that is told some places (Harvey, Teng and Wood 2021).

The network q of PS-NOGS: a GRU of N units reads T patches of one scale; its state
classifies and, before each patch, draws the place from a grid of n x n. The state
before the first patch is learned, so T glimpses take T decisions, and the first is the
same distribution for every image. For some images a sequence of places l_1 ... l_T is
known. Equation 8 adds what both kinds say:

    L = sum_taught log q(theta, l_1:T | I) + sum_others log q(theta | I)

Where places are known the network is led there, and learns to choose them; elsewhere it
draws them and learns as RAM does: the score function of a right answer beside a learned
baseline. The class is learned everywhere. A batch may mix both.

`WsramFromStart` is the same network taught by wake and sleep.

Letters: B images, C channels, T glimpses, n x n cells, N width of the core.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import estimators, glimpse
from saccade_lib.data.taught import UNKNOWN
from saccade_lib.models import recurrent_attention, wsram
from saccade_lib.models.recurrent_attention import RecurrentAttention
from saccade_lib.train import Loss


@dataclass(frozen=True)
class Config(recurrent_attention.Config):
    """What the public code chooses, on a grid of the paper's shape.

    Attributes:
        taught: alpha, the weight of the mean of -log pi over the images of a batch.
            1 is equation 8 for each image. The public code sums over the batch where
            it averages all else: its batch of 64 makes that 64.
        drawn: share of training, at its beginning, in which places are those that the
            batch brings (``drawn``), and only the class is learned: pretraining of RAM
            (drawn evenly) and of RAM+ (drawn where a look is worth something).
    """

    glimpses: int = 5
    core: str = "gru"
    width: int = 64
    features: int = 32
    policy: str = "grid"
    grid: int = 13
    size: int = 16
    margin: float = 0.25  # of 64 pixels: the outermost patches end with the image
    weight: float = 1.0
    taught: float = 1.0
    drawn: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check(self)
        if self.runs != 1 or self.baseline != "learned":
            raise ValueError("places are taught with one run and a learned baseline")
        if self.taught < 0 or not 0 <= self.drawn < 1:
            raise ValueError(
                "taught must not be negative and drawn lies in [0, 1), got "
                f"{self.taught} and {self.drawn}"
            )


@dataclass(frozen=True)
class WsramConfig(wsram.Config):
    """`wsram.Config` for the network of this file; its start is a decision too."""

    glimpses: int = 5
    core: str = "gru"
    width: int = 64
    features: int = 32
    grid: int = 13
    size: int = 16
    margin: float = 0.25
    drawn: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check(self)

    @property
    def decisions(self) -> int:
        return self.glimpses


def check(config: recurrent_attention.Config) -> None:
    if config.policy != "grid" or config.core == "lstm" or config.targets != 1:
        raise ValueError(
            "this network has a grid policy, one target, and a core of one layer"
        )


class SumGlimpse(nn.Module):
    """g = ReLU(what + where) with normalised parts, as in the public code."""

    def __init__(self, config: recurrent_attention.Config):
        super().__init__()
        n = config.size // 4
        what = [
            nn.Conv2d(config.scales * config.channels, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.MaxPool2d(2),  # (B, 32, L / 4, L / 4)
            nn.Flatten(),
            nn.Linear(32 * n * n, 2 * config.width),
            nn.ReLU(),
            nn.Linear(2 * config.width, config.width),
            nn.BatchNorm1d(config.width),
        ]
        where = [
            nn.Linear(2, config.features),
            nn.ReLU(),
            nn.Linear(config.features, config.width),
            nn.BatchNorm1d(config.width),
        ]
        self.what, self.where = nn.Sequential(*what), nn.Sequential(*where)

    def forward(self, patches: Tensor, location: Tensor) -> Tensor:
        """``(B, N)`` of patches ``(B, k C, L, L)`` at ``(B, 2)``."""
        return F.relu(self.what(patches) + self.where(location))


class FromStart:
    """The parts in which this network differs from RAM: its reader and its start."""

    def __init__(self, config: recurrent_attention.Config):
        super().__init__(config)
        self.read = SumGlimpse(config)
        self.start = nn.Parameter(torch.zeros(config.width))

    def _start(self, x: Tensor, runs: int) -> tuple[Tensor, ...]:
        return (x.new_zeros(len(x) * runs, 1) + self.start,)  # (N, width)

    def _first(self, x: Tensor, runs: int) -> None:
        """No place is given: the start decides."""

    def _is_drawn(self, batch: dict) -> bool:
        """Whether this step only learns to read, at places drawn for it."""
        return self.training and batch.get("progress", 1.0) < self.config.drawn

    def _pretrained(self, batch: dict) -> Tensor:
        """Cross-entropy ``(B, classes)`` scores at the batch's own places."""
        trace = self.run(batch["image"], choose=led(batch["drawn"]))
        return self._log_p(trace.state)[:, 0]


def led(places: Tensor):
    """A choice that follows the cells ``(B, T)`` where they are known."""

    def choose(log_p: Tensor, d: int) -> Tensor:
        return places[:, d]

    return choose


def none_of(names: tuple[str, ...], like: Tensor) -> dict[str, Tensor]:
    """Terms that this step does not have: names stay the same in every step."""
    return dict.fromkeys(names, like.new_zeros(()))


class PartlySupervised(FromStart, RecurrentAttention):
    """Equation 8; without any known sequence it is RAM."""

    def loss(self, batch: dict) -> Loss:
        """Named terms: class; taught, of known places; places and baseline, of others.

        Args:
            batch: ``image (B, C, H, W)`` in [0, 1]; ``label (B,)``; ``places (B, T)``,
                cells row by row, or `UNKNOWN` throughout an image's row; ``drawn
                (B, T)`` for the steps that read at drawn places.
        """
        cfg, label = self.config, batch["label"]
        x = glimpse.checked(batch["image"], cfg.channels)
        if self._is_drawn(batch):
            log_p = self._pretrained(batch)
            terms = {"class": F.nll_loss(log_p, label)}
            if cfg.places == "learned":
                terms |= none_of(("taught", "places", "baseline"), log_p)
            return Loss(terms, accuracy(log_p, label))
        known = batch["places"][:, 0] != UNKNOWN  # (B,)

        def choose(ahead: Tensor, d: int) -> Tensor:
            return torch.where(known, batch["places"][:, d], self.policy.sample(ahead))

        trace = self.run(x, choose=choose)
        log_p = self._log_p(trace.state)[:, 0]  # (B, classes)
        terms = {"class": F.nll_loss(log_p, label)}
        if trace.log_prob is None:  # a control decides nothing
            return Loss(terms, accuracy(log_p, label))
        reward = (log_p.argmax(dim=1) == label).to(log_p.dtype)[:, None]  # (B, 1)
        value = glimpse.precise(self.value(trace.placing)[..., 0])  # (B, T)
        others = (~known)[:, None].to(log_p.dtype)  # (B, 1)
        of_known = trace.log_prob * (1 - others)  # (B, T)
        terms["taught"] = -cfg.taught * of_known.sum(dim=1).mean()
        terms["places"] = cfg.weight * estimators.score(
            trace.log_prob * others, reward, value
        )
        terms["baseline"] = ((value - reward).square() * others).mean()
        return Loss(terms, accuracy(log_p, label))


class WsramFromStart(FromStart, wsram.Wsram):
    """The same network taught by `wsram`; sequences that are known play no part."""

    def loss(self, batch: dict) -> Loss:
        """The terms of `wsram.Wsram.loss`; class alone at drawn places."""
        if not self._is_drawn(batch):
            return super().loss(batch)
        glimpse.checked(batch["image"], self.config.channels)
        log_p = self._pretrained(batch)
        terms = {"class": F.nll_loss(log_p, batch["label"])}
        terms |= none_of(("places", "wake", "sleep"), log_p)
        unused = none_of(("effective_samples", "log_likelihood"), log_p)
        return Loss(terms, accuracy(log_p, batch["label"]) | unused)


def accuracy(log_p: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Per cent of images classified right, as a metric."""
    return {"train_accuracy": 100 * (log_p.argmax(dim=1) == label).float().mean()}
