"""Glimpses in turn, and an answer after each: DT-RAM's role (Li et al. 2017).

DT-RAM is a recurrent attention model that learns when to stop. This one is the book's
`RecurrentAttention` with the label as its target after *every* glimpse, so that each
prefix of a run has an answer, and looking may end at any of them. What ends it, a
threshold on the best class's probability, is the caller's.

Letters: B images, T glimpses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saccade_lib.models.recurrent_attention import (
    Config,
    Prediction,
    RecurrentAttention,
)


@dataclass(frozen=True)
class DynamicConfig(Config):
    """`recurrent_attention.Config` with a target for each glimpse.

    Every answer is rewarded by the log-probability of its class, so that an early error
    does not silence what comes after it.
    """

    reward: str = "likelihood"

    def __post_init__(self):
        super().__post_init__()
        if self.targets != self.glimpses or self.reward != "likelihood":
            raise ValueError(
                f"one target for each of {self.glimpses} glimpses and the reward "
                f"'likelihood' are needed, got targets={self.targets} and reward="
                f"{self.reward!r}"
            )


class DynamicGlimpses(RecurrentAttention):
    """The label after every glimpse."""

    config: DynamicConfig

    def targets(self, batch: dict) -> Tensor:
        """The label, T times, ``(B, T)``."""
        return batch["label"][:, None].expand(-1, self.config.glimpses)

    def loss(self, batch: dict):
        """As RAM's; the class term is the mean over glimpses, not their sum."""
        found = super().loss(batch)
        terms = dict(found.terms)
        terms["class"] = terms["class"] / self.config.glimpses
        return type(found)(terms, found.metrics)

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        sample: bool = False,
        batch: dict | None = None,
        runs: int = 1,
    ) -> Prediction:
        """As RAM's: ``probabilities (B, classes)`` are those after the last glimpse."""
        seen = super().predict(images, sample, batch, runs)
        last = seen.probabilities[:, -1]
        return Prediction(last, seen.location, seen.scale, seen.crops)

    @torch.no_grad()
    def after_each(self, images: Tensor) -> Tensor:
        """Class probabilities after each glimpse, ``(B, T, classes)``."""
        return super().predict(images).probabilities
