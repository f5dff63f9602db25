"""Beside TNet's own rules: a learned weight for each vector, and sets without an order.

Papadopoulos et al. (2021) average the vectors of a traversal; a learned weighting of
them is an open end of their conclusion, here in its smallest form (ours). `of_sets`
trains the location module by what Kool et al. (2020) make of draws without
replacement.

Letters as in `tnet`; k cells chosen of K.
"""

from itertools import permutations

import torch
from torch import Tensor, nn

from saccade_lib import estimators


class WeightedMean(nn.Module):
    """A weight for each vector, from the vector itself; it begins as the mean."""

    def __init__(self, features: int):
        super().__init__()
        self.score = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """One vector ``(..., F)`` of many ``(..., A, F)``."""
        return (self.weights(vectors) * vectors).sum(dim=-2)

    def weights(self, vectors: Tensor) -> Tensor:
        """``(..., A, 1)``, of sum 1 over A."""
        return self.score(vectors).softmax(dim=-2)


def set_log_prob(log_p: Tensor, chosen: Tensor) -> Tensor:
    """log-probability ``(...)`` of k draws without replacement, in whatever order.

    The sum of eq. 9 over all k! orders. Its slope is the mean of theirs over the orders
    in which the set may have been drawn: the same expectation, less noise.

    Args:
        log_p: ``(..., K)``.
        chosen: ``(..., k)``, different cells.
    """
    orders = torch.tensor([*permutations(range(chosen.shape[-1]))])  # (k!, k)
    drawn = chosen[..., orders.to(chosen.device)]  # (..., k!, k)
    each = log_p[..., None, :].expand(*drawn.shape[:-1], -1)
    return estimators.ordered_log_probs(each, drawn).sum(dim=-1).logsumexp(dim=-1)


def of_sets(
    log_p: Tensor, chosen: Tensor, reward: Tensor, each: Tensor, baseline: Tensor
) -> tuple[Tensor, Tensor]:
    """Both parts of eq. 2's score function, of sets: two surrogate losses.

    The reward of all k cells belongs to their set. The reward of one cell is a function
    of this cell alone, so that k cells give the unordered-set estimator of the gradient
    of E R, one cell drawn, with its own baseline made of the others.

    Args:
        log_p: ``(B, K)``.
        chosen: ``(B, k)``, 2 to 6 cells drawn without replacement.
        reward: R^s, ``(B, 1)``.
        each: R^k, ``(B, k)``.
        baseline: b of eq. 7, for the set.
    """
    of_set = set_log_prob(log_p, chosen)[:, None]  # (B, 1)
    both = estimators.score(of_set, reward, baseline)
    # In double precision: what is left to draw may be next to nothing.
    single = estimators.unordered_set(log_p.double(), chosen, each.double())
    return both, single.to(both.dtype)
