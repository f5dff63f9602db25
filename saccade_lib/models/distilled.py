"""A partly supervised network that is told maps, not places (ours).

Equation 8 has log q(l_t) of the one place that a designer chose. Here it is the mean of
log q(l) over places that are drawn with probability p_t(l), which falls with the
expected posterior entropy of the place:

    sum_t sum_l p_t(l) log q(l | y_1:t-1, l_1:t-1),   p_t(l) = softmax(-EPE_t(l) / tau).

As tau falls to 0, it becomes equation 8. The network still goes where the designer
went, since a map belongs to what was seen before it.

Letters: B images, T glimpses, L = n x n cells.
"""

import torch
from torch import Tensor

from saccade_lib.data.taught import UNKNOWN
from saccade_lib.models.partial_supervision import PartlySupervised
from saccade_lib.models.recurrent_attention import Choose, Trace
from saccade_lib.train import Loss


class Distilled(PartlySupervised):
    """`PartlySupervised` with soft targets; the configuration is the same."""

    def run(self, x: Tensor, runs: int = 1, choose: Choose | None = None, batch=None):
        """As of `RecurrentAttention.run`; what the policy said is noted."""
        choose = choose or (lambda log_p, d: self.policy.sample(log_p))
        self._said: list[Tensor] = []

        def noting(log_p: Tensor, d: int) -> Tensor:
            self._said.append(log_p)
            return choose(log_p, d)

        found: Trace = super().run(x, runs, noting, batch)
        return found

    def loss(self, batch: dict) -> Loss:
        """Terms as of `PartlySupervised.loss`; ``taught`` is of ``soft (B, T, L)``,

        whose rows sum to 1 where places are known.
        """
        found = super().loss(batch)
        said, self._said = self._said, []
        if "taught" not in found.terms or self._is_drawn(batch):
            return found
        log_p = torch.stack(said, dim=1)  # (B, T, L)
        known = batch["places"][:, 0] != UNKNOWN  # (B,)
        each = (batch["soft"] * log_p).sum(dim=(1, 2)) * known  # (B,)
        taught = -self.config.taught * each.mean()
        return Loss(found.terms | {"taught": taught}, found.metrics)
