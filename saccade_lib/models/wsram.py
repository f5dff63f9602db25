"""WSRAM: recurrent attention taught by reweighted wake-sleep (Ba et al. 2015).

The score function learns from places that the policy p(l | I) happens to draw. Here a
second network, the proposal q(l | y, I), sees image *and label* and learns to propose
the places that explain the label; the policy then learns from those. With K runs
l^1, ..., l^K from the proposal, and

    w^k = p(l^k | I) p(y | l^k, I) / q(l^k | y, I),    v^k = w^k / sum_j w^j,

    wake-p   sum_k v^k d log[ p(y | l^k, I) p(l^k | I) ]     raises log p(y | I)
    wake-q   sum_k v^k d log q(l^k | y, I)                   brings q to p(l | y, I)
    sleep-q  d log q(l | y, I),  (l, y) ~ p                  the same, on dreams

Both wake phases carry a control variate that leaves their expectation (`_controlled`).

No text of the paper was at hand that prints its architecture: what follows is the
method of Bornschein and Bengio (2015) on the model of `recurrent_attention`, with the
same core, retina and classifier, so that only the learning rule differs.

Letters as there, and K runs an image, n x n cells of the policy's grid.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import estimators, glimpse
from saccade_lib.models import recurrent_attention
from saccade_lib.models.recurrent_attention import RecurrentAttention
from saccade_lib.train import Loss


@dataclass(frozen=True)
class Config(recurrent_attention.Config):
    """`recurrent_attention.Config`, and what the proposal needs. Of the former,
    ``baseline``, ``reward`` and ``weight`` are not read: weights take their part.

    Attributes:
        runs: K.
        seen: side of the small image that the proposal sees.
        safe: share of the policy in what is drawn from, ``r = (1 - safe) q + safe p``.
            Above 0 no weight exceeds ``p(y | l) / safe^D``, however wrong q is.
        sleep: weight of the sleep phase.
    """

    policy: str = "grid"
    runs: int = 5
    seen: int = 28
    safe: float = 0.5
    sleep: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.policy != "grid" or self.places != "learned" or self.targets != 1:
            raise ValueError("wake-sleep needs a learned grid policy and one target")
        if self.decisions == 0:
            raise ValueError(
                "one glimpse without a context network has no place to decide: set "
                "glimpses to 2 or more, or context to a side"
            )
        if not 0 <= self.safe < 1:
            raise ValueError(f"safe must be in [0, 1), got {self.safe}")
        if self.sleep < 0:
            raise ValueError(f"sleep must not be negative, got {self.sleep}")
        if self.runs < 2:
            raise ValueError(
                f"one weight is always 1: runs must be 2 or more, got {self.runs}"
            )

    @property
    def decisions(self) -> int:
        """D: one less than glimpses where the first place is given."""
        return self.glimpses - (0 if self.context else 1)


class Proposal(nn.Module):
    """log q(l_d | y, I) over the cells, for each decision d by itself."""

    def __init__(self, config: Config):
        super().__init__()
        n = (config.seen + 3) // 4
        self.side = config.seen
        self.D = config.decisions
        self.see = nn.Sequential(
            nn.Conv2d(config.channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * n * n, config.width),
        )
        # Torch's own first weights let images look alike after three layers.
        for layer in self.see:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
        self.label = nn.Embedding(config.classes, config.width)
        self.head = nn.Linear(config.width, self.D * config.grid**2)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """``(B, D, n * n)`` of images ``(B, C, H, W)`` and labels ``(B,)``."""
        h = self.see(glimpse.downsample(x, self.side)) + self.label(label)  # (B, width)
        logits = self.head(F.relu(h)).unflatten(1, (self.D, -1))  # (B, D, n * n)
        return glimpse.precise(logits).log_softmax(dim=-1)


class Wsram(RecurrentAttention):
    """`RecurrentAttention` whose places learn by wake and sleep."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.proposal = Proposal(config)
        self.value = None  # no baseline is held against anything

    def loss(self, batch: dict) -> Loss:
        """Named terms: class and places (wake-p), wake and sleep (of the proposal)."""
        cfg = self.config
        x = glimpse.checked(batch["image"], cfg.channels)
        label = batch["label"]
        log_q = self.proposal(x, label)  # (B, D, n * n)
        log_q = log_q.repeat_interleave(cfg.runs, dim=0)  # (N, D, n * n)
        of_r: list[Tensor] = []  # log r of each action, (N,)
        trace = self.run(x, cfg.runs, self._chooser(log_q.detach(), of_r))
        log_p_y = self._log_p(trace.state)[:, 0]  # (N, classes)
        of_label = log_p_y.gather(1, label.repeat_interleave(cfg.runs)[:, None])[:, 0]
        of_l = trace.log_prob  # (N, D)
        of_q = log_q.gather(2, trace.action[..., None])[..., 0]  # (N, D)
        of_r = torch.stack(of_r, dim=1)  # (N, D)
        log_w = (of_label + (of_l - of_r).sum(dim=1)).detach()  # (N,)
        weights = estimators.normalised_weights(self._by_run(log_w))  # (K, B)
        terms = {
            "class": -self._mean(weights, of_label),
            "places": self._controlled(weights, of_l, of_r),
            "wake": self._controlled(weights, of_q, of_r),
            "sleep": cfg.sleep * self._sleep(x),
        }
        right = log_p_y.argmax(dim=1) == label.repeat_interleave(cfg.runs)
        ess = estimators.effective_sample_size(weights).mean()
        likelihood = self._by_run(log_w).logsumexp(dim=0).mean() - math.log(cfg.runs)
        return Loss(
            terms,
            {
                "train_accuracy": 100 * right.float().mean(),
                "effective_samples": ess,
                "log_likelihood": likelihood,
            },
        )

    def _chooser(self, log_q: Tensor, of_r: list[Tensor]):
        """Draws from r, and notes what it drew with which probability."""
        safe = self.config.safe

        def choose(log_p: Tensor, d: int) -> Tensor:
            log_r = log_q[:, d]
            if safe:
                log_r = torch.logaddexp(
                    log_r + math.log(1 - safe), log_p.detach() + math.log(safe)
                )
            action = self.policy.sample(log_r)
            of_r.append(self.policy.log_prob(log_r, action))
            return action

        return choose

    def _by_run(self, v: Tensor) -> Tensor:
        """``(K, B)`` of ``(N,)``."""
        return v.unflatten(0, (-1, self.config.runs)).T

    def _mean(self, weights: Tensor, v: Tensor) -> Tensor:
        """Weighted over runs, averaged over images."""
        return (weights * self._by_run(v)).sum(dim=0).mean()

    def _controlled(self, weights: Tensor, of: Tensor, of_r: Tensor) -> Tensor:
        """Minus the weighted log-probability of places under p or q, and a control
        variate: in each decision 1/K of its slope, times p/r or q/r of what was drawn.
        Drawn from r, this has the mean slope of log p or log q under itself: 0.

        Args:
            weights: ``(K, B)``; of: ``(N, D)``, log p or log q; of_r: ``(N, D)``.
        """
        ratio = (of - of_r).detach().exp()  # at most 1 / safe, or 1 / (1 - safe)
        control = (ratio * of).sum(dim=1).mean()
        return control - self._mean(weights, of.sum(dim=1))

    def _sleep(self, x: Tensor) -> Tensor:
        """-log q of places and labels that the model dreams for these images."""
        with torch.no_grad():
            dream = self.run(x)
            log_p = self._log_p(dream.state)[:, 0]  # (B, classes)
            label = self.policy.sample(log_p)  # a draw from any log-probabilities
        return -_taken(self.proposal(x, label), dream.action).mean()


def _taken(log_q: Tensor, action: Tensor) -> Tensor:
    """log q of a sequence, ``(N,)``, of ``(N, D, n * n)`` at cells ``(N, D)``."""
    return log_q.gather(2, action[..., None])[..., 0].sum(dim=1)
