"""TNet and Variational Saccading with some images that come with places (ours).

What PS-NOGS does for recurrent attention, for two other families: the first images of
every batch know where to look, and the part that chooses places is taught to say so.

    TNet: -log p of the k told cells, which are read; the others learn from rewards.
    Variational Saccading: -log q(z_1) at the told place, beside its bound.

Told are the true places: on these canvases they are known, and they are where one look
leaves the least uncertainty (chapter 43 measures that).

Letters: B images, N nodes, K cells, k chosen; T glimpses.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from saccade_lib.models import tnet, variational_saccading
from saccade_lib.models.tnet import TNet, Traversal, first
from saccade_lib.models.variational_saccading import VariationalSaccading
from saccade_lib.train import Loss


def check(share: float, weight: float) -> None:
    """Raise ValueError for a share of images, or a weight, that is none."""
    if not 0 <= share <= 1 or weight < 0:
        raise ValueError(
            "told is a share of the images in [0, 1] and told_weight not negative, "
            f"got {share} and {weight}"
        )


@dataclass(frozen=True)
class TNetConfig(tnet.Config):
    """`tnet.Config`, and:

    told: share of the images of a batch, the first ones, that come with places.
    told_weight: of their -log p, a mean over images and cells.
    """

    told: float = 0.1
    told_weight: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check(self.told, self.told_weight)
        if (len(self.locations), self.places, self.log_prob) != (1, "learned", "sum"):
            raise ValueError(
                'told are cells of two levels, with learned places and log_prob "sum"'
            )


class ToldTNet(TNet):
    """In training it reads the cells that it is told, where it is told any."""

    def _told(self, B: int) -> int:
        return round(self.config.told * B) if self.training else 0

    def _choose(self, level, maps, seen, k, size, sample, batch) -> None:
        super()._choose(level, maps, seen, k, size, sample, batch)
        n = self._told(len(level.corner))
        if not n or level.log_prob is None:
            return
        nearest = self._control(level, size, batch)[:n]  # of the true centres
        told = first(nearest, k).sort(dim=-1).values  # (n, N, k)
        level.chosen = torch.cat((told, level.chosen[n:]))
        level.log_prob = level.log_p.gather(-1, level.chosen)

    def _of_places(self, seen: Traversal, reward: Tensor, each: Tensor) -> dict:
        """Score function of those that choose for themselves; ``told`` of the rest."""
        log_prob, n = seen.log_prob, self._told(len(reward))  # (B, A)
        levels = [v for v in seen.levels if v.log_prob is not None]
        levels = [replace(v, log_prob=v.log_prob[n:]) for v in levels]
        rest = Traversal(levels, seen.size)
        terms = super()._of_places(rest, reward[n:], each[n:])
        told = -log_prob[:n].sum() / (len(reward) * log_prob.shape[1])
        return terms | {"told": self.config.told_weight * told}


@dataclass(frozen=True)
class SaccadingConfig(variational_saccading.Config):
    """`variational_saccading.Config`, and:

    told: share of the images of a batch, the first ones, that come with a place.
    told_weight: of -log q of it, nats, a mean over the images of a batch.
    """

    told: float = 0.1
    told_weight: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check(self.told, self.told_weight)
        if self.places != "learned" or self.window != "bounded":
            raise ValueError("told are learned places, of windows that stay inside")


class ToldSaccading(VariationalSaccading):
    """The first glimpse is told; the others are free."""

    _said: list | None = None  # mean and deviation of z at each step, in a loss

    def _kl(self, mu_q, sigma_q, mu_p, sigma_p, v) -> Tensor:
        if self._said is not None:
            self._said.append((mu_q, sigma_q))
        return super()._kl(mu_q, sigma_q, mu_p, sigma_p, v)

    def loss(self, batch: dict) -> Loss:
        """The terms of `VariationalSaccading.loss`, and ``told``.

        Args:
            batch: with ``centre (B, D, 2)``; the first of D is told.
        """
        self._said = []
        found = super().loss(batch)
        (mu, sigma), self._said = self._said[0], None
        n = round(self.config.told * len(mu))
        centre = batch["centre"][:n, 0].to(mu.dtype)  # (n, 2)
        z = self.pointing_at(centre, mu[:n, :1])
        log_q = torch.distributions.Normal(mu[:n, 1:], sigma[:n, 1:]).log_prob(z)
        told = -self.config.told_weight * log_q.sum() / len(mu)
        return Loss(found.terms | {"told": told}, found.metrics)

    def pointing_at(self, centre: Tensor, z_0: Tensor) -> Tensor:
        """z_{1,2} ``(n, 2)`` of windows in the middle of which ``(n, 2)`` lies, as far
        as the border allows."""
        reach = (1 - self._scale(z_0)).clamp(min=1e-6)  # (n, 1)
        return torch.atanh((centre / reach).clamp(-0.97, 0.97))
